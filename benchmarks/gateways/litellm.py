"""LiteLLM's proxy."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Mapping
from pathlib import Path

from .base import Gateway, Provider

REQUIREMENT = "litellm[proxy]<1.107"
_PARTS = ("litellm", "fastapi", "uvicorn", "openai", "httpx")


class LiteLLM(Gateway):
    """One worker, no database, no key to ask for."""

    name = "litellm"

    def install(self) -> None:
        """Install it into an environment of its own."""
        if (self._programs / "litellm").exists():
            return
        venv.create(self.cache / "venv", with_pip=True)
        subprocess.run(
            [self._programs / "pip", "install", "--quiet", REQUIREMENT],
            check=True,
        )

    @property
    def _programs(self) -> Path:
        return self.cache / "venv" / "bin"

    def versions(self) -> dict[str, str]:
        """Return the versions of what a call goes through."""
        script = (
            "import importlib.metadata as m, platform\n"
            "print('python', platform.python_version())\n"
            f"for name in {_PARTS!r}: print(name, m.version(name))"
        )
        lines = subprocess.check_output(
            [self._programs / "python", "-c", script], text=True
        ).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def command(self, provider: Provider, folder: Path) -> list[str]:
        """Write a configuration for files and serve it."""
        config = folder / "config.yaml"
        config.write_text(
            "model_list: []\n"
            "files_settings:\n"
            "  - custom_llm_provider: openai\n"
            f"    api_base: {provider.url}/v1\n"
            "    api_key: x\n"
        )
        return [
            str(self._programs / "litellm"),
            "--config",
            str(config),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--num_workers",
            "1",
            "--telemetry",
            "False",
        ]

    def environment(self, provider: Provider) -> Mapping[str, str]:
        """Trust the provider's authority, log little and load nothing from the network."""
        found = {
            # The other gateways ask for no key either, and this one can only be reached from
            # the machine itself.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            # Uploads go by the configuration, all else by these.
            "OPENAI_API_KEY": "x",
            "OPENAI_BASE_URL": f"{provider.url}/v1",
            "OPENAI_API_BASE": f"{provider.url}/v1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
        }
        if provider.authority:
            found["SSL_CERT_FILE"] = str(provider.authority)
        return found

    def headers(self, provider: Provider) -> dict[str, str]:
        """Need none besides a key that is not looked at."""
        return {"Authorization": "Bearer x"}
