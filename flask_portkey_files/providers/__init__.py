"""The dialects of the providers, and what it takes to write one."""

from __future__ import annotations

from collections.abc import Mapping

from .anthropic import Anthropic as Anthropic
from .azure import AzureOpenAI as AzureOpenAI
from .azure_ai import AzureAI as AzureAI
from .base import Conversation as Conversation
from .base import HTTPProvider as HTTPProvider
from .base import Provider as Provider
from .base import Relayed as Relayed
from .base import Reshaped as Reshaped
from .base import UpstreamRequest as UpstreamRequest
from .base import UpstreamResponse as UpstreamResponse
from .base import checked_base_url as checked_base_url
from .base import file_segment as file_segment
from .bedrock import Bedrock as Bedrock
from .capabilities import Capabilities as Capabilities
from .capabilities import Expiry as Expiry
from .cohere import Cohere as Cohere
from .fireworks_ai import FireworksAI as FireworksAI
from .google import Google as Google
from .mistral_ai import MistralAI as MistralAI
from .openai import OpenAI as OpenAI
from .openai import OpenAICompatible as OpenAICompatible
from .openrouter import OpenRouter as OpenRouter
from .replicate import Replicate as Replicate
from .services import SERVICES
from .together_ai import TogetherAI as TogetherAI
from .vertex_ai import VertexAI as VertexAI
from .x_ai import XAI as XAI


def registry(own: Mapping[str, Provider | str] | None = None) -> dict[str, Provider]:
    """Return the built-in providers by name, and the host application's *own* over them.

    :param own: providers by name; a string is the base URL of an OpenAI-compatible service.
    :raises ValueError: a base URL is not an http or https address.
    :raises TypeError: something else was given for a provider.
    """
    providers: dict[str, Provider] = {
        "openai": OpenAI(),
        "azure-openai": AzureOpenAI(),
        "azure-ai": AzureAI(),
        "anthropic": Anthropic(),
        "google": Google(),
        "bedrock": Bedrock(),
        "vertex-ai": VertexAI(),
        "mistral-ai": MistralAI(),
        "x-ai": XAI(),
        "together-ai": TogetherAI(),
        "fireworks-ai": FireworksAI(),
        "cohere": Cohere(),
        "replicate": Replicate(),
        "openrouter": OpenRouter(),
        **SERVICES,
    }
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
