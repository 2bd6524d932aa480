"""The servers that the matrix is run under, and what they hold on to."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..streaming.wire import Client
from ..support.gunicorn import Gunicorn
from ..support.served import Served

#: What each server is called in the page of the matrix.
SERVERS = {
    "gthread": "gunicorn with threads",
    "gevent": "gunicorn with gevent",
    "werkzeug": "Flask's own server",
}

APP = "tests.faults.app:create_app()"

#: How long is waited for a server to have let go of everything.
PATIENCE = 10.0


@dataclass(frozen=True)
class Held:
    """What a worker holds on to.

    :param calls: calls that have begun and are not over.
    :param threads: the threads of the process.
    :param greenlets: the greenlets, under gevent.
    :param sockets: the descriptors of sockets.
    :param files: the names of what else it has open.
    """

    calls: int
    threads: int
    greenlets: int
    sockets: int
    files: tuple[str, ...]

    def beyond(self, before: Held) -> list[str]:
        """Return what is held now and was not *before*, in words."""
        counts = [
            f"{name}: {now} instead of {then}"
            for name in ("calls", "threads", "greenlets", "sockets")
            if (now := getattr(self, name)) > (then := getattr(before, name))
        ]
        files = list(self.files)
        for name in before.files:
            if name in files:
                files.remove(name)
        return counts + [f"open: {name}" for name in files]


class Server:
    """A server with the matrix's gateways on it.

    :param kind: a key of :data:`SERVERS`.
    :param served: the running server.
    :param spool: the folder that the gateways hold files back in.
    """

    def __init__(self, kind: str, served: Served, spool: Path) -> None:
        self.kind = kind
        self.port = served.port
        self.spool = spool
        self._served = served
        # Flask's own server is the process itself.
        (self._worker,) = served.workers() or [served.process]

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self._served.log

    def _inside(self) -> dict[str, int]:
        with Client(self.port) as client:
            client.request("GET", "/under-way", "Connection: close")
            answer = b""
            # To the end of the connection: then the server lets go of it as well. A pause lets
            # it do that, or on a busy machine it might be looked at too early each time.
            while data := client.sock.recv(65536):
                answer += data
        time.sleep(0.002)
        inside: dict[str, int] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return inside

    def is_idle(self) -> bool:
        """Return whether no call is under way, once that is so."""
        end = time.monotonic() + PATIENCE
        while (calls := self._inside()["calls"]) and time.monotonic() < end:
            time.sleep(0.005)
        return not calls

    def held(self) -> Held:
        """Return what the worker holds on to."""
        inside = self._inside()
        links = []
        folder = f"/proc/{self._worker.pid}/fd"
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # Closed meanwhile.
                links.append(os.readlink(f"{folder}/{name}"))
        sockets = [link for link in links if link.startswith("socket:")]
        files = [link for link in links if link not in sockets]
        threads, greenlets, watching = self._worker.num_threads(), 0, inside["watching"]
        if self.kind == "gevent":  # Whose threads are greenlets.
            greenlets = inside["greenlets"] - watching
        else:
            threads -= watching
        return Held(
            calls=inside["calls"],
            threads=threads,
            greenlets=greenlets,
            sockets=len(sockets),
            files=tuple(sorted([*files, *map(str, self.spool.iterdir())])),
        )

    def left_over(self, before: Held) -> list[str]:
        """Return what is still held that was not *before*, once nothing changes any more."""
        end = time.monotonic() + PATIENCE
        while (left := self.held().beyond(before)) and time.monotonic() < end:
            time.sleep(0.005)
        return left

    def quiet(self) -> Held:
        """Return the least that is held when nothing goes on."""
        samples = []
        for _ in range(50):
            samples.append(self.held())
            time.sleep(0.01)
        return min(samples, key=lambda held: (held.calls, held.sockets, held.threads))


@contextlib.contextmanager
def serve(kind: str, spool: Path) -> Iterator[Server]:
    """Run a server of *kind* with one worker, which can take two calls at a time at least."""
    # Above this many bytes a file that is held back is on disk.
    env = {"PORTKEY_FILES_SPOOL_DIR": str(spool), "PORTKEY_FILES_SPOOL_MEMORY": "1000"}
    with _process(kind, env) as served:
        yield Server(kind, served, spool)


def _process(kind: str, env: Mapping[str, str]) -> Served:
    if kind == "werkzeug":
        return Served(
            [sys.executable, "-m", "flask", "--app", APP, "run", "--port", "0"],
            listening=r"Running on (http://127\.0\.0\.1:(\d+))",
            env=env,
        )
    threads = ("--threads", "2") if kind == "gthread" else ()
    return Gunicorn(
        APP,
        env=env,
        arguments=(
            *("--worker-class", kind, "--workers", "1", *threads),
            *("--graceful-timeout", "0"),
        ),
    )
