"""The dialects of the providers, and what it takes to write one."""

from __future__ import annotations

from collections.abc import Mapping

from .azure import AzureOpenAI
from .base import Conversation as Conversation
from .base import Provider as Provider
from .base import Relayed as Relayed
from .base import Reshaped as Reshaped
from .base import UpstreamRequest as UpstreamRequest
from .base import UpstreamResponse as UpstreamResponse
from .base import checked_base_url as checked_base_url
from .base import file_segment as file_segment
from .openai import OpenAI, OpenAICompatible


def registry(own: Mapping[str, Provider | str] | None = None) -> dict[str, Provider]:
    """Return the built-in providers by name, and the host application's *own* over them.

    :param own: providers by name; a string is the base URL of an OpenAI-compatible service.
    :raises ValueError: a base URL is not an http or https address.
    :raises TypeError: something else was given for a provider.
    """
    providers: dict[str, Provider] = {"openai": OpenAI(), "azure-openai": AzureOpenAI()}
    for name, provider in (own or {}).items():
        if isinstance(provider, str):
            providers[name] = OpenAICompatible(provider)
        elif isinstance(provider, Provider):
            providers[name] = provider
        else:
            raise TypeError(
                f"provider {name!r} must be a Provider or a base URL, "
                f"not {type(provider).__name__}"
            )
    return providers
