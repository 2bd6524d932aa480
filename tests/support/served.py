"""A server in a process of its own, told apart by what it prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]


class Served:
    """Runs *command* until the ``with`` block ends.

    :param command: what to run, in the project's folder.
    :param listening: the pattern of what it prints when it listens: its address, with the port
        as the second group.
    :param env: environment variables besides this process's own.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        listening: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._listening = listening
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._lines: list[str] = []
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
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
            listening = self.wait_for(self._listening)
            self.wait_until_ready()
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

    def wait_until_ready(self) -> None:
        """Wait for what is needed besides an address."""

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
        assert found, f"{pattern!r} not in the server's log:\n{self.log}"
        return found

    @property
    def process(self) -> psutil.Process:
        """The process that was started."""
        return psutil.Process(self._process.pid)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that it has started."""
        return self.process.children(recursive=True)
