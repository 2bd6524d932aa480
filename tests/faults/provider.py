"""The provider behind the matrix: at each stage it does what that stage is about."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from ..streaming.wire import LIST, TIMEOUT, UPLOADED, boundary_of, noise, parts_of
from ..support.upstream import Connection, Upstream

#: What each operation is answered with if all goes well.
ANSWERS = {
    "upload": UPLOADED,
    "list": LIST,
    "retrieve": UPLOADED,
    "content": noise(100_000),
    "delete": b'{"id":"file-1","object":"file","deleted":true}',
}


@dataclass
class Case:
    """One call: what it is to be answered with, and what the provider saw of it.

    :param answer: the body of the right answer.
    """

    answer: bytes
    #: How many requests have come.
    requests: int = 0
    #: The file of each upload whose body was read; ``None`` if it was not complete.
    uploads: list[bytes | None] = field(default_factory=list)
    #: Set when the provider has come to where the client is to leave.
    reached: threading.Event = field(default_factory=threading.Event)
    #: Set when the client has the head of the answer.
    opened: threading.Event = field(default_factory=threading.Event)
    #: Set when the client has left.
    left: threading.Event = field(default_factory=threading.Event)
    #: Set when the provider has seen its connection end in the middle of its answer.
    let_go: threading.Event = field(default_factory=threading.Event)

    def read_body(self, conn: Connection) -> None:
        """Take the request's body in."""
        body, complete = conn.read_body()
        if conn.head.startswith(b"POST "):
            parts = parts_of(body, boundary_of(conn)) if complete else []
            self.uploads.append(dict(parts).get("file"))


#: What the provider does once the head of a request is there; it returns true if the
#: connection is to be kept.
Script: TypeAlias = Callable[[Connection, Case], "bool | None"]


class Provider:
    """One provider for all calls: the gateway keeps its connections from call to call."""

    def __init__(self) -> None:
        self._upstream = Upstream(self._run)
        self._script: tuple[Script, Case] | None = None
        self._pairs: dict[bytes, threading.Barrier] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Listen, and give the address."""
        with self._upstream:
            yield self._upstream.url

    @contextlib.contextmanager
    def doing(self, script: Script, case: Case) -> Iterator[None]:
        """Do what *script* says with what comes in."""
        self._script = script, case
        try:
            yield
        finally:
            self._script = None

    @contextlib.contextmanager
    def pair(self, name: bytes) -> Iterator[None]:
        """Answer the two lists whose query is *name* when both are there."""
        self._pairs[name] = threading.Barrier(2)
        yield
        del self._pairs[name]

    def _run(self, conn: Connection) -> None:
        while True:
            # The gateway may keep it for as long as it likes.
            conn.sock.settimeout(None)
            if not (head := conn.read_head()):
                return
            conn.sock.settimeout(TIMEOUT)
            found = re.search(rb"\?(pair-\d+) ", head)
            if found:
                with contextlib.suppress(KeyError, threading.BrokenBarrierError):
                    self._pairs[found[1]].wait(1)
                    conn.answer(LIST)
                    continue
                return
            assert self._script is not None, head
            script, case = self._script
            case.requests += 1
            if not script(conn, case):
                return
