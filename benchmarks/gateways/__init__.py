"""The gateways that are compared: how each is installed and started."""

from __future__ import annotations

from .base import Gateway, Provider
from .litellm import LiteLLM
from .nginx import Nginx
from .ours import Ours
from .portkey import Portkey

__all__ = ["Gateway", "LiteLLM", "Nginx", "Ours", "Portkey", "Provider"]
