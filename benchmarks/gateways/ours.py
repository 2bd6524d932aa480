"""The example application of this repository under gunicorn."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from .base import Gateway, Provider

_PARTS = ("flask-portkey-files", "gunicorn", "flask", "werkzeug", "urllib3", "requests")


class Ours(Gateway):
    """One worker with threads."""

    def __init__(
        self,
        cache: Path,
        *,
        name: str = "ours",
        threads: int = 8,
        arguments: str = "",
        only: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(cache)
        self.name = name
        self.only = only
        self._threads = threads
        self._arguments = shlex.split(arguments)

    def install(self) -> None:
        """Use what runs this."""

    def versions(self) -> dict[str, str]:
        """Return the versions of what a call goes through."""
        return {part: version(part) for part in _PARTS}

    def command(self, provider: Provider, folder: Path) -> list[str]:
        """Run gunicorn as the documentation says."""
        return [
            sys.executable,
            "-m",
            "gunicorn",
            "--bind",
            f"127.0.0.1:{self.port}",
            "--config",
            "example_app/gunicorn.conf.py",
            "--worker-class=gthread",
            "--workers=1",
            f"--threads={self._threads}",
            "--keep-alive=75",
            "--graceful-timeout=2",
            *self._arguments,
            "example_app:create_app()",
        ]

    def environment(self, provider: Provider) -> Mapping[str, str]:
        """Point the example at the provider."""
        found = {"EXAMPLE_STORE_URL": provider.url}
        if provider.authority:
            found["PORTKEY_FILES_CA_BUNDLE"] = str(provider.authority)
        return found

    def headers(self, provider: Provider) -> dict[str, str]:
        """Name the provider that the example has."""
        return {"x-portkey-provider": "local", "Authorization": "Bearer x"}
