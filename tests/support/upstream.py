"""A provider on a raw socket, which does what a test tells it to, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType


class Connection:
    """One accepted connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()
        #: The head of the last request, without its blank line.
        self.head = b""

    def read_head(self) -> bytes:
        """Return the next request's head, the request line first; empty if there is none."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._fill():
                return b""
        self.head = self._take(self._buffer.index(b"\r\n\r\n"))
        self._take(4)
        return self.head

    def header(self, name: str) -> str | None:
        """Return a header of the last request."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name.lower().encode():
                return value.strip().decode("latin-1")
        return None

    def headers(self, name: str) -> list[str]:
        """Return every header of this name of the last request."""
        pairs = [line.partition(b":") for line in self.head.split(b"\r\n")[1:]]
        return [
            value.strip().decode("latin-1")
            for key, _, value in pairs
            if key.strip().lower() == name.lower().encode()
        ]

    def read_some(self) -> bytes:
        """Return what of the body has arrived, at least one byte; empty at the end."""
        if not self._buffer and not self._fill():
            return b""
        return self._take(len(self._buffer))

    def read_body(self) -> tuple[bytes, bool]:
        """Return the request's body, dechunked, and whether it was complete."""
        length = self.header("Content-Length")
        if length is not None:
            body = self._exactly(int(length))
            return body, len(body) == int(length)
        if (self.header("Transfer-Encoding") or "").lower() != "chunked":
            return b"", True
        chunks = bytearray()
        while True:
            line = self._line()
            if line is None:
                return bytes(chunks), False
            size = int(line, 16)
            chunk = self._exactly(size + 2)
            chunks += chunk[:size]
            if len(chunk) < size + 2:
                return bytes(chunks), False
            if size == 0:
                return bytes(chunks), True

    def _fill(self) -> bool:
        with contextlib.suppress(ConnectionError):
            data = self.sock.recv(65536)
            self._buffer += data
            return bool(data)
        return False

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size and self._fill():
            pass
        return self._take(size)

    def _line(self) -> bytes | None:
        while b"\r\n" not in self._buffer:
            if not self._fill():
                return None
        line = self._take(self._buffer.index(b"\r\n"))
        self._take(2)
        return line

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self.sock.sendall(data)

    def answer(
        self, body: bytes = b"{}", *, status: str = "200 OK", headers: tuple[str, ...] = ()
    ) -> None:
        """Send a whole response."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """Break the connection with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@dataclass
class Upstream:
    """Listens on a loopback port and runs *script* on each connection, in its own thread.

    A script that returns closes the connection. What a script raises is raised again when the
    ``with`` block ends.
    """

    script: Callable[[Connection], None]
    connections: int = 0
    _errors: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Upstream:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: list[tuple[threading.Thread, socket.socket]] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Closing alone would leave accept() waiting.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for thread, sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            thread.join()
            sock.close()
        if self._errors and error is None:
            raise self._errors[0]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._run, args=(sock,), daemon=True)
                self._open.append((thread, sock))
                thread.start()

    def _run(self, sock: socket.socket) -> None:
        try:
            self.script(Connection(sock))
        except ConnectionError:
            pass
        except BaseException as error:
            self._errors.append(error)
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
