"""A real gunicorn in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil

ROOT = Path(__file__).parents[2]


class Gunicorn:
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
        self._command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--bind",
            "127.0.0.1:0",
            "--config",
            "python:tests.support.gunicorn_conf",
            *arguments,
            app,
        ]
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._lines: list[str] = []
        self._changed = threading.Condition()

    def __enter__(self) -> Gunicorn:
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            listening = self.wait_for(r"Listening at: (http://127\.0\.0\.1:(\d+))")
            self.wait_for(r"Booting worker")
        except BaseException:
            self._stop()
            raise
        self.url = listening[1]
        self.port = int(listening[2])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            for process in [*self.workers(), psutil.Process(self._process.pid)]:
                process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()

    @property
    def log(self) -> str:
        """What it has printed so far."""
        with self._changed:
            return "".join(self._lines)

    def wait_for(self, pattern: str, *, timeout: float = 20) -> re.Match[str]:
        """Return the first match of *pattern* in the log, once it is there."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: re.search(pattern, "".join(self._lines)), timeout
            )
        assert found, f"{pattern!r} not in gunicorn's log:\n{self.log}"
        return found

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def peak_memory(self) -> int:
        """Return the largest resident memory any worker has had, in bytes (Linux)."""
        peaks = []
        for process in self.workers():
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            assert found, "no VmHWM"
            peaks.append(int(found[1]) * 1024)
        return max(peaks)
