"""A socket that is read through one large buffer: heads, lines and bodies of HTTP/1.1."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from .sizes import MIB


class Ended(Exception):
    """The other side has closed the connection."""


class Source:
    """Reads *connection*, of which *initial* has been read before."""

    def __init__(self, connection: socket.socket, initial: bytes = b"") -> None:
        self._connection = connection
        self._buffer = memoryview(bytearray(MIB))
        self._buffer[: len(initial)] = initial
        self._start, self._end = 0, len(initial)

    @property
    def empty(self) -> bool:
        """Whether all that was read has been taken."""
        return self._start == self._end

    def until(self, mark: bytes) -> bytes:
        """Return what comes before *mark* and take both."""
        while True:
            held = bytes(self._buffer[self._start : min(self._end, self._start + 65536)])
            at = held.find(mark)
            if at >= 0:
                self._start += at + len(mark)
                return held[:at]
            if len(held) >= 65536:
                raise Ended(f"no {mark!r} in {len(held)} bytes")
            self._buffer[: len(held)] = held
            self._start, self._end = 0, len(held)
            self._receive()

    def take(self, limit: int) -> memoryview:
        """Return from 1 to *limit* bytes, which hold until the next call."""
        if self.empty:
            self._start = self._end = 0
            self._receive()
        end = min(self._end, self._start + limit)
        piece = self._buffer[self._start : end]
        self._start = end
        return piece

    def _receive(self) -> None:
        count = self._connection.recv_into(self._buffer[self._end :])
        if not count:
            raise Ended("the connection was closed")
        self._end += count

    def head(self) -> tuple[str, dict[str, str]]:
        """Return a message's first line and its header fields, by lower-case names."""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        return first, {name.strip().lower(): value.strip() for name, _, value in fields}

    def body(self, headers: dict[str, str], *, until_end: bool = False) -> Iterator[memoryview]:
        """Yield a body in pieces, each of which holds until the next.

        :param until_end: that a body without a length goes on until the connection ends.
        """
        if "chunked" in headers.get("transfer-encoding", ""):
            while left := int(self.until(b"\r\n").partition(b";")[0], 16):
                yield from self._exactly(left)
                self.until(b"\r\n")
            while self.until(b"\r\n"):
                pass
        elif "content-length" in headers:
            yield from self._exactly(int(headers["content-length"]))
        elif until_end:
            while True:
                try:
                    piece = self.take(MIB)
                except Ended:
                    return
                yield piece

    def _exactly(self, left: int) -> Iterator[memoryview]:
        while left:
            piece = self.take(left)
            left -= len(piece)
            yield piece
