"""What every gateway has in common: a process that is started, waited for and stopped."""

from __future__ import annotations

import abc
import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

#: How long a gateway may take to start, and to stop.
START, STOP = 60.0, 10.0


@dataclass(frozen=True)
class Provider:
    """Where the gateways find the provider."""

    url: str
    #: The authority that its certificate is verified with, if it speaks TLS.
    authority: Path | None = None


class Gateway(abc.ABC):
    """A gateway that can be started and stopped any number of times."""

    #: What it is called in the report.
    name: str
    #: The cases it takes part in; all, if there are none.
    only: frozenset[str] = frozenset()

    def __init__(self, cache: Path) -> None:
        #: A folder for what is installed.
        self.cache = cache
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def install(self) -> None:
        """Install it into its folder, unless it is there."""

    @abc.abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions of its parts."""

    @abc.abstractmethod
    def command(self, provider: Provider, folder: Path) -> list[str]:
        """Return the command that serves on ``self.port``; *folder* is for its files."""

    def environment(self, provider: Provider) -> Mapping[str, str]:
        """Return environment variables besides this process's own."""
        return {}

    @abc.abstractmethod
    def headers(self, provider: Provider) -> dict[str, str]:
        """Return the headers that a client sends it."""

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def root(self) -> int:
        """The id of the process that all others of it are below."""
        assert self._process is not None
        return self._process.pid

    def start(self, provider: Provider, folder: Path) -> None:
        """Start it before *provider*, without waiting for it."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._provider = provider
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(provider, folder),
                env={**os.environ, **self.environment(provider)},
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        assert self._process is not None
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                with contextlib.closing(asked):
                    asked.request(
                        "GET", "/v1/files/file-1048576", headers=self.headers(self._provider)
                    )
                    if asked.getresponse().status == 200:
                        return
            time.sleep(0.1)
        log = self._log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{self.name} did not start:\n{log}")

    def stop(self) -> None:
        """Stop it with all its processes."""
        if self._process is None:
            return
        processes = []
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process = None
