"""A real gunicorn in a process of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from . import served
from .served import Served

ROOT = served.ROOT


class Gunicorn(Served):
    """Serves *app* on a loopback port that the system picks, until the ``with`` block ends.

    :param app: what gunicorn is to serve, e.g. ``"example_app:create_app()"``.
    :param env: environment variables besides this process's own.
    :param arguments: further command line arguments.
    """

    def __init__(
        self,
        app: str = "example_app:create_app()",
        *,
        env: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = ("--worker-class", "gthread", "--threads", "8"),
    ) -> None:
        super().__init__(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "--bind",
                "127.0.0.1:0",
                "--config",
                "python:tests.support.gunicorn_conf",
                *arguments,
                app,
            ],
            listening=r"Listening at: (http://127\.0\.0\.1:(\d+))",
            env=env,
        )

    def wait_until_ready(self) -> None:
        """Wait for a worker."""
        self.wait_for(r"Booting worker")

    def peak_memory(self) -> int:
        """Return the largest resident memory any worker has had, in bytes (Linux)."""
        peaks = []
        for process in self.workers():
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            assert found, "no VmHWM"
            peaks.append(int(found[1]) * 1024)
        return max(peaks)
