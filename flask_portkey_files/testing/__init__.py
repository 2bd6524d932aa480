"""A provider to try the blueprint on and to test against: OpenAI's Files API on loopback.

Needs the extra ``testing``. The blueprint itself uses nothing of it.
"""

from __future__ import annotations

from .upstream import ReceivedRequest as ReceivedRequest
from .upstream import Upstream as Upstream
from .upstream import UpstreamFile as UpstreamFile
