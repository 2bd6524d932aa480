"""The services that copy OpenAI's API, each behind a gateway and in front of its stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from openai import OpenAI

from flask_portkey_files import Target
from flask_portkey_files.call import FilesCall
from flask_portkey_files.headers import bearer
from flask_portkey_files.providers.mistral_ai import MistralAI
from flask_portkey_files.providers.openrouter import OpenRouter
from flask_portkey_files.providers.service import Service
from flask_portkey_files.providers.services import SERVICES
from flask_portkey_files.providers.x_ai import XAI
from tests.standins.services import SERVICES as STANDINS

from .gateway import Gateway

DIALECTS: Mapping[str, Service] = {
    **SERVICES,
    "mistral-ai": MistralAI(),
    "openrouter": OpenRouter(),
    "x-ai": XAI(),
}


@dataclass(frozen=True)
class Behind:
    """A service's stand-in, and OpenAI's own client of the gateway in front of it."""

    slug: str
    dialect: Service
    standin: Any
    gateway: Gateway
    client: OpenAI

    @property
    def files(self) -> Any:
        """The client's files; untyped, for the services have purposes of their own."""
        return self.client.files

    @property
    def purpose(self) -> str:
        """The first of the purposes."""
        return (self.standin.purposes or ("batch",))[0]

    def paths(self) -> list[str]:
        """Return the paths that the stand-in was asked for."""
        return [seen.path.removeprefix(self.standin.prefix) for seen in self.standin.seen]


@contextmanager
def behind(slug: str) -> Iterator[Behind]:
    """Serve a service's stand-in and a gateway to it."""
    with STANDINS[slug]() as standin:

        def resolve(call: FilesCall) -> Target:
            return Target(
                slug,
                api_key=bearer(call.headers.get("Authorization")),
                base_url=f"{standin.url}{standin.prefix}",
            )

        dialect = DIALECTS[slug]
        with (
            Gateway({slug: dialect}, resolver=resolve) as gateway,
            gateway.client(slug, standin.key) as client,
        ):
            yield Behind(slug, dialect, standin, gateway, client)
