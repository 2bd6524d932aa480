"""The client that uploads and downloads, in a process of its own, as cheap as Python can be.

``python -m benchmarks.client`` reads a job per line from its standard input, as JSON, and
answers each with a line. What fails comes back as a reason, never as a time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from . import form
from .sizes import KIB
from .source import Ended, Source

#: How long one send or receive may take.
TIMEOUT = 120.0
#: How long the provider's first byte is waited for.
PATIENCE = 2.0


class Failed(Exception):
    """A transfer that came to nothing, and why."""


@dataclass
class Job:
    """What the client is to do."""

    action: Literal["upload", "download", "first byte"]
    port: int
    headers: dict[str, str]
    size: int
    kind: form.Kind = "random"
    count: int = 1
    concurrency: int = 1
    #: Where the provider is asked for the first byte.
    upstream_port: int = 0


@dataclass
class Result:
    """What came of a job."""

    wall: float = 0.0
    #: Seconds that each transfer took.
    durations: list[float] = field(default_factory=list)
    #: Seconds to the provider's first byte, from that of the body.
    from_body: list[float] = field(default_factory=list)
    #: Seconds to the provider's first byte, from when the fields were sent.
    from_fields: list[float] = field(default_factory=list)
    reason: str | None = None


class Connection:
    """One connection to a gateway, opened again whenever it has been closed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._socket: socket.socket | None = None

    def open(self) -> socket.socket:
        """Return the connection."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._job.port), TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._source = Source(self._socket)
        return self._socket

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def head(self, method: str, path: str, **more: str) -> bytes:
        """Return a request's head."""
        fields = {"Host": f"127.0.0.1:{self._job.port}", **self._job.headers}
        fields |= {name.replace("_", "-"): value for name, value in more.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()

    def upload(self) -> None:
        """Send a file, and read the answer."""
        job = self._job
        connection = self.open()
        whole = memoryview(form.block(job.kind))
        try:
            connection.sendall(self.upload_head() + form.OPENING)
            left = job.size
            while left:
                count = min(left, form.BLOCK)
                connection.sendall(whole[:count])
                left -= count
            connection.sendall(form.CLOSING)
        except OSError as error:
            # It may have answered before it broke off.
            with contextlib.suppress(Ended, OSError, ValueError):
                connection.settimeout(1)
                self._finish(*self._source.head(), collect=True)
            raise Failed(f"broke off in mid-upload: {_name(error)}") from error
        body = self._finish(*self._source.head(), collect=True)
        if json.loads(body).get("object") != "file":
            raise Failed(f"answered with {body[:100]!r}")

    def upload_head(self) -> bytes:
        """Return the head of an upload."""
        length = len(form.OPENING) + self._job.size + len(form.CLOSING)
        return self.head(
            "POST", "/v1/files", Content_Type=form.CONTENT_TYPE, Content_Length=str(length)
        )

    def download(self) -> None:
        """Get a file and compare it."""
        job = self._job
        connection = self.open()
        connection.sendall(self.head("GET", f"/v1/files/file-{job.size}/content"))
        self._finish(*self._source.head(), collect=False)

    def _finish(self, first: str, headers: dict[str, str], *, collect: bool) -> bytes:
        """Read the rest of an answer: to *collect* it, or to compare it with the file."""
        status = first.split(" ", 1)[-1]
        position, collected = 0, bytearray()
        good = status.startswith("2")
        for piece in self._source.body(headers, until_end=True):
            if collect or not good:
                collected += piece[: 64 * KIB]
            elif not form.agrees(piece, "random", position):
                raise Failed(f"wrong bytes after {position} of {self._job.size}")
            position += len(piece)
        lengthless = not {"content-length", "transfer-encoding"} & headers.keys()
        if lengthless or headers.get("connection", "").lower() == "close":
            self.close()
        if not good:
            text = bytes(collected[:160]).decode("latin-1").replace("\n", " ")
            raise Failed(f"{status.strip()}: {text}".rstrip(": "))
        if not collect and position != self._job.size:
            raise Failed(f"{position} of {self._job.size} bytes")
        return bytes(collected)

    def first_byte(self) -> tuple[float, float]:
        """Send the fields and 1 KiB, wait, and return how long the provider's first byte took.

        The first figure counts from the body's first byte, the second from the end of the
        fields.
        """
        job = self._job
        uploads(job.upstream_port)
        connection = self.open()
        try:
            connection.sendall(self.upload_head())
            begun = time.monotonic()
            connection.sendall(form.OPENING)
            sent = time.monotonic()
            connection.sendall(form.block(job.kind)[:KIB])
            while time.monotonic() < sent + PATIENCE:
                time.sleep(0.02)
                if records := uploads(job.upstream_port):
                    first = float(records[0]["first"])
                    return first - begun, first - sent
        finally:
            # The rest of the upload never comes.
            self.close()
        raise Failed(f"nothing had reached the provider {PATIENCE:g} s after the fields")


def uploads(port: int) -> list[dict[str, Any]]:
    """Return what the provider knows of the uploads since the last time."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(asked):
        asked.request("GET", "/control/uploads")
        records: list[dict[str, Any]] = json.load(asked.getresponse())
        return records


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def run(job: Job) -> Result:
    """Do what *job* says."""
    result = Result()
    lock = threading.Lock()
    turns = iter(range(job.count))

    def work() -> None:
        connection = Connection(job)
        actions: dict[str, Callable[[], object]] = {
            "upload": connection.upload,
            "download": connection.download,
            "first byte": connection.first_byte,
        }
        action = actions[job.action]
        while True:
            with lock:
                if result.reason or next(turns, None) is None:
                    break
            began = time.monotonic()
            try:
                done = action()
            except Failed as error:
                result.reason = str(error)
            except (Ended, OSError, ValueError) as error:
                result.reason = _name(error)
            else:
                with lock:
                    result.durations.append(time.monotonic() - began)
                    if isinstance(done, tuple):
                        result.from_body.append(done[0])
                        result.from_fields.append(done[1])
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(job.concurrency)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.wall = time.monotonic() - began
    return result


def main() -> None:
    """Do one job after the other until standard input ends."""
    for kind in ("text", "random"):
        form.twice(kind)
    for line in sys.stdin:
        print(json.dumps(asdict(run(Job(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
