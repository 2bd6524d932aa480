"""Portkey's own gateway, under Node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .base import Gateway, Provider

VERSION = "1.15.2"
#: The lowest versions that its package.json allows, in place of the lock file that the package
#: does not have. With them it passes on downloads of application/octet-stream.
FLOORS = {
    "@aws-crypto/sha256-js": "5.2.0",
    "@cfworker/json-schema": "4.0.3",
    "@hono/node-server": "1.3.3",
    "@hono/node-ws": "1.2.0",
    "@portkey-ai/mustache": "2.1.3",
    "@smithy/signature-v4": "2.1.1",
    "@types/mustache": "4.2.5",
    "async-retry": "1.3.3",
    "avsc": "5.7.7",
    "hono": "4.9.7",
    "ioredis": "5.8.0",
    "jose": "6.0.11",
    "patch-package": "8.0.1",
    "ws": "8.18.0",
    "zod": "3.22.4",
}


class Portkey(Gateway):
    """The package as npm has it, with its dependencies *pinned* or as new as they may be."""

    def __init__(self, cache: Path, *, pinned: bool) -> None:
        super().__init__(cache)
        self.name = "portkey (lock)" if pinned else "portkey (npx)"
        self._pinned = pinned

    def install(self) -> None:
        """Install it with npm."""
        manifest: dict[str, object] = {
            "private": True,
            "dependencies": {"@portkey-ai/gateway": VERSION},
        }
        if self._pinned:
            manifest["overrides"] = FLOORS
        text = json.dumps(manifest, indent=2)
        file = self.cache / "package.json"
        if self._package.exists() and file.exists() and file.read_text() == text:
            return
        self.cache.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=self.cache,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    @property
    def _package(self) -> Path:
        return self.cache / "node_modules" / "@portkey-ai" / "gateway"

    def versions(self) -> dict[str, str]:
        """Return the versions of the gateway, of Node and of what serves HTTP."""
        found = {"node": subprocess.check_output(["node", "--version"], text=True).strip()}
        for name in ("@portkey-ai/gateway", "hono", "@hono/node-server"):
            file = self.cache / "node_modules" / name / "package.json"
            found[name] = str(json.loads(file.read_text())["version"])
        return found

    def command(self, provider: Provider, folder: Path) -> list[str]:
        """Run its server without the page that shows a log."""
        loopback = Path(__file__).parents[1] / "loopback.cjs"
        server = self._package / "build" / "start-server.js"
        return [
            "node",
            "--require",
            str(loopback),
            str(server),
            f"--port={self.port}",
            "--headless",
        ]

    def environment(self, provider: Provider) -> Mapping[str, str]:
        """Trust the provider's authority."""
        found = {"NODE_ENV": "production"}
        if provider.authority:
            found["NODE_EXTRA_CA_CERTS"] = str(provider.authority)
        return found

    def headers(self, provider: Provider) -> dict[str, str]:
        """Name the provider by its address."""
        return {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{provider.url}/v1",
            "Authorization": "Bearer x",
        }
