"""What the streaming tests share: a client on a raw socket, forms, and a body reader."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Queue
from types import TracebackType
from typing import Any, TypeVar

import psutil

from ..support.gunicorn import Gunicorn
from ..support.upstream import Connection, Upstream

T = TypeVar("T")

MIB = 1024 * 1024
#: How long anything is waited for before a test counts as failed.
TIMEOUT = 20.0
#: The client's key; it has to turn up nowhere but at the provider.
KEY = "sk-must-stay-secret-4711"
BOUNDARY = "c1ient-b0undary"

PURPOSE = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
).encode()
FILE = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="data.jsonl"\r\n'
    "Content-Type: application/jsonl\r\n\r\n"
).encode()
END = f"--{BOUNDARY}--\r\n".encode()

#: What is around the file when it can be passed on live, and when it has to be spooled.
LIVE = (PURPOSE + FILE, b"\r\n" + END)
SPOOLED = (FILE, b"\r\n" + PURPOSE + END)

UPLOADED = b'{"id":"file-1","object":"file"}'
LIST = b'{"object":"list","data":[]}'


def noise(size: int) -> bytes:
    """Return *size* bytes that repeat nowhere, the same ones each time."""
    return hashlib.shake_128(b"noise").digest(size)


def wait(told: Queue[T]) -> T:
    """Return what another thread puts into *told*."""
    return told.get(timeout=TIMEOUT)


@dataclass
class Answer:
    """A response, read to its end."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the only header of this name, if there is one."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return every header of this name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def error(self) -> dict[str, Any]:
        """Return what is in OpenAI's error envelope."""
        assert self.header("Content-Type") == "application/json"
        error = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error, dict)
        return error


class Client:
    """A client's connection to the gateway."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._chunked = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.sock.close()

    def request(self, method: str, path: str, *headers: str, body: bytes = b"") -> None:
        """Send a request to the provider `local`."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: gateway.example",
            "x-portkey-provider: local",
            f"Authorization: Bearer {KEY}",
            *headers,
        ]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def begin_upload(self, length: int | None, *headers: str) -> None:
        """Send the head of an upload, a chunked one if it has no *length*."""
        self._chunked = length is None
        self.request(
            "POST",
            "/v1/files",
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
            "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
            *headers,
        )

    def send(self, data: bytes) -> None:
        """Send a piece of an upload's body."""
        self.sock.sendall(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        """Send what comes after an upload's body."""
        if self._chunked:
            self.sock.sendall(b"0\r\n\r\n")

    def open(self, method: str = "GET") -> http.client.HTTPResponse:
        """Return the response once its head is there; the caller closes it."""
        response = http.client.HTTPResponse(self.sock, method=method)
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        return response

    def answer(self, method: str = "GET") -> Answer:
        """Return the response, read to its end."""
        with self.open(method) as response:
            return Answer(response.status, response.getheaders(), response.read())

    def reset(self) -> None:
        """Break the connection with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@dataclass
class Gateway:
    """The gateway with the provider behind it."""

    gunicorn: Gunicorn
    upstream: Upstream

    def client(self) -> Client:
        """Connect."""
        return Client(self.gunicorn.port)

    def call(
        self, method: str, path: str, *headers: str, body: bytes = b"", close: bool = True
    ) -> Answer:
        """Make one request on a connection of its own."""
        with self.client() as client:
            extra = ("Connection: close",) if close else ()
            client.request(method, path, *headers, *extra, body=body)
            return client.answer(method)

    def upload(self, body: bytes, *, chunked: bool = False) -> Answer:
        """Send a form whole, or as much of it as the gateway takes."""
        with self.client() as client:
            client.begin_upload(None if chunked else len(body))
            with contextlib.suppress(ConnectionError):
                client.send(body)
                client.end()
            return client.answer()

    def is_free(self) -> bool:
        """Return whether a request is answered: with one thread, whether that is free."""
        return self.call("GET", "/v1/files").body == LIST

    @property
    def worker(self) -> psutil.Process:
        """The only worker."""
        (worker,) = self.gunicorn.workers()
        return worker

    def open_files(self) -> list[str]:
        """Return what the worker has open besides sockets, pipes and the like."""
        folder = f"/proc/{self.worker.pid}/fd"
        links = []
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # Closed meanwhile.
                links.append(os.readlink(f"{folder}/{fd}"))
        return sorted(
            link for link in links if link.startswith("/") and not link.startswith("/dev/")
        )


class Body:
    """The body of a request as it arrives at the provider, dechunked."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        #: Whether all of it has come.
        self.complete = False

    def __iter__(self) -> Iterator[bytes]:
        length = self._conn.header("Content-Length")
        return self._chunks() if length is None else self._exactly(int(length))

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            data = self._conn.read_some()
            if not data:
                return
            length -= len(data)
            yield data
        self.complete = True

    def _chunks(self) -> Iterator[bytes]:
        assert self._conn.header("Transfer-Encoding") == "chunked"
        buffer = bytearray()
        while True:
            while b"\r\n" not in buffer:
                if not self._fill(buffer):
                    return
            line, _, buffer = buffer.partition(b"\r\n")
            left = int(line, 16)
            last = left == 0
            while left:
                if not buffer and not self._fill(buffer):
                    return
                piece = bytes(buffer[:left])
                del buffer[:left]
                left -= len(piece)
                yield piece
            while len(buffer) < 2:
                if not self._fill(buffer):
                    return
            assert buffer[:2] == b"\r\n"
            del buffer[:2]
            if last:
                self.complete = True
                return

    def _fill(self, buffer: bytearray) -> bool:
        data = self._conn.read_some()
        buffer += data
        return bool(data)


def posts_to(handle: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """Return a script that gives uploads to *handle* and answers all else with a list."""

    def script(conn: Connection) -> None:
        while head := conn.read_head():
            if head.startswith(b"POST "):
                handle(conn)
                return
            conn.answer(LIST)

    return script


def downloads_from(handle: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """Return a script that gives downloads to *handle* and answers all else with a list."""

    def script(conn: Connection) -> None:
        while head := conn.read_head():
            if b"/content " in head.split(b"\r\n")[0]:
                handle(conn)
                return
            conn.answer(LIST)

    return script


def boundary_of(conn: Connection) -> bytes:
    """Return the boundary of the upload that the provider got."""
    found = re.search(r"boundary=\"?([^\";]+)", conn.header("Content-Type") or "")
    assert found
    return found[1].encode()


def parts_of(body: bytes, boundary: bytes) -> list[tuple[str, bytes]]:
    """Return the names and contents of a form's parts, in their order."""
    first, *parts, last = body.split(b"--" + boundary)
    assert first == b""
    assert last == b"--\r\n"
    result = []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        assert name
        assert content.endswith(b"\r\n")
        result.append((name[1].decode(), content[:-2]))
    return result
