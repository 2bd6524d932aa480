"""A provider that reads an upload only as far as a test lets it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.upstream import Connection, Upstream

STORED = {
    "id": "file-slow",
    "object": "file",
    "bytes": 1,
    "created_at": 1_790_000_000,
    "filename": "slow.bin",
    "purpose": "batch",
    "status": "processed",
}


class SlowProvider:
    """Lists nothing, and stops in mid-upload until `go_on` is set."""

    #: More than all buffers on the way hold, so that the client can't have sent all of it.
    SIZE = 160 * 1024 * 1024
    READ_FIRST = 12 * 1024 * 1024

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.ended = threading.Event()
        #: Whether each upload was complete when it ended.
        self.complete: list[bool] = []
        self.keys: list[str | None] = []

    def __call__(self, connection: Connection) -> None:
        while head := connection.read_head():
            if head.startswith(b"POST"):
                self._take(connection)
            else:
                connection.answer(json.dumps({"object": "list", "data": []}).encode())

    def _take(self, connection: Connection) -> None:
        self.keys.append(connection.header("Idempotency-Key"))
        read, tail = 0, b""
        while not tail.endswith(b"\r\n0\r\n\r\n") and (block := connection.read_some()):
            tail = (tail + block)[-16:]
            read += len(block)
            if read >= self.READ_FIRST:
                self.go_on.wait(30)
        self.go_on.wait(30)
        self.complete.append(tail.endswith(b"\r\n0\r\n\r\n"))
        self.ended.set()
        if self.complete[-1]:
            connection.answer(json.dumps(STORED).encode())


@contextmanager
def slow_provider() -> Iterator[tuple[SlowProvider, str]]:
    """Run one, and give its address."""
    provider = SlowProvider()
    with Upstream(provider) as upstream:
        try:
            yield provider, upstream.url
        finally:
            provider.go_on.set()
