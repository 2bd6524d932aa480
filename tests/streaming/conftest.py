"""Fixtures: the gateway under a real gunicorn, before a provider that a test scripts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from ..support.gunicorn import Gunicorn
from ..support.parts import require
from ..support.upstream import Connection, Upstream
from .wire import KEY, TIMEOUT, Gateway


class Serve(Protocol):
    """Starts the gateway before a provider that does what *script* says."""

    def __call__(
        self,
        script: Callable[[Connection], None],
        *,
        env: Mapping[str, str] | None = None,
    ) -> Gateway: ...


class Curl(Protocol):
    """Runs curl."""

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[bytes]: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start gunicorn with one worker of one thread, and look for the key in its log after."""
    with ExitStack() as stack:
        started: list[Gateway] = []

        def start(
            script: Callable[[Connection], None], *, env: Mapping[str, str] | None = None
        ) -> Gateway:
            def run(conn: Connection) -> None:
                conn.sock.settimeout(TIMEOUT)
                script(conn)

            upstream = stack.enter_context(Upstream(run))
            gunicorn = stack.enter_context(
                Gunicorn(
                    env={"EXAMPLE_STORE_URL": upstream.url, **(env or {})},
                    arguments=(
                        *("--worker-class", "gthread", "--workers", "1", "--threads", "1"),
                        # At the end of a test there is nothing to wait for.
                        *("--graceful-timeout", "0"),
                    ),
                )
            )
            started.append(Gateway(gunicorn, upstream))
            return started[-1]

        yield start
        for gateway in started:
            assert KEY not in gateway.gunicorn.log


@pytest.fixture
def proc() -> None:
    """Need what Linux tells of a process's files and memory."""
    require(Path("/proc/self/fd").exists(), "needs Linux' /proc")


@pytest.fixture
def curl() -> Curl:
    """Run curl with the headers for the provider `local`."""
    path = shutil.which("curl")
    require(path, "needs curl: apt-get install curl")
    assert path is not None

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [
            *(path, "--disable", "--silent", "--show-error", "--noproxy", "*"),
            *("--max-time", "60", "-H", "x-portkey-provider: local"),
            *("-H", f"Authorization: Bearer {KEY}", *arguments),
        ]
        return subprocess.run(command, capture_output=True, check=False, timeout=90)

    return run
