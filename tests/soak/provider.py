"""The provider of the soak test: it stores files, and fails as it is told to."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from ..streaming.wire import boundary_of, parts_of
from ..support.upstream import Connection, Upstream
from .app import CALL, FAULT

#: How long a slow answer takes, in seconds.
SLOW = 0.3

#: What is broken on purpose: a byte of a file, a file that is acknowledged and not kept, an
#: answer that is another call's.
BREAKS = ("bytes", "lost", "answer")


@dataclass(frozen=True)
class Stored:
    """A file that was uploaded whole.

    :param call: the call that it came with.
    """

    content: bytes
    call: str


class Broken(Exception):
    """The connection is closed now."""


class Provider:
    """Stores files in memory; a call's header says what goes wrong with it.

    :param broken: what this provider does wrong to every hundredth call, one of :data:`BREAKS`.
    """

    def __init__(self, broken: str | None = None) -> None:
        self.files: dict[str, Stored] = {}
        #: How many uploads came that were cut.
        self.cut = 0
        self._broken = broken
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._upstream = Upstream(self._run)

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Listen, and give the address."""
        with self._upstream:
            yield self._upstream.url

    def _run(self, conn: Connection) -> None:
        with contextlib.suppress(Broken):
            while conn.read_head():
                self._answer(conn)

    def _answer(self, conn: Connection) -> None:
        method, target, _ = conn.head.split(b"\r\n")[0].decode().split(" ")
        path = target.partition("?")[0]
        fault = conn.header(FAULT) or ""
        if method == "POST":
            self._upload(conn, fault)
            return
        if fault == "reset":
            conn.reset()
            raise Broken
        file_id, _, content = path.removeprefix("/v1/files").strip("/").partition("/")
        stored = self.files.get(file_id)
        if file_id and stored is None:
            _send(conn, b'{"error":{"message":"No such file."}}', fault, status="404 Not Found")
        elif stored is None:
            entries = [_metadata(key, value) for key, value in list(self.files.items())[-20:]]
            _send_json(conn, {"object": "list", "data": entries, "has_more": False}, fault)
        elif content:
            _send_content(conn, stored.content, fault)
        elif method == "DELETE":
            if fault != "503":
                self.files.pop(file_id, None)
            _send_json(conn, {"id": file_id, "object": "file", "deleted": True}, fault)
        else:
            _send_json(conn, _metadata(file_id, stored), fault)

    def _upload(self, conn: Connection, fault: str) -> None:
        if fault == "reset":
            conn.read_some()
            conn.reset()
            raise Broken
        if fault == "early":
            conn.read_some()
            _send(conn, b'{"error":{"message":"Too much."}}', "", status="413 Too Large")
            raise Broken
        body, complete = conn.read_body()
        if not complete:
            with self._lock:
                self.cut += 1
            raise Broken
        content = dict(parts_of(body, boundary_of(conn)))["file"]
        call = conn.header(CALL) or ""
        with self._lock:
            number = next(self._numbers)
            file_id = f"file-{number}"
            wrong = self._broken if number % 100 == 0 else None
            if wrong == "bytes":
                content = content[:-1] + bytes([content[-1] ^ 1])
            if fault != "503" and wrong != "lost":
                self.files[file_id] = Stored(content, call)
        if fault == "lost":
            conn.reset()
            raise Broken
        stored = Stored(content, call if wrong != "answer" else "another")
        _send_json(conn, _metadata(file_id, stored), fault, call=stored.call)


def _metadata(file_id: str, stored: Stored) -> dict[str, object]:
    return {
        "id": file_id,
        "object": "file",
        "bytes": len(stored.content),
        "filename": stored.call,
        "purpose": "batch",
    }


def _send_json(conn: Connection, body: object, fault: str, *, call: str | None = None) -> None:
    _send(conn, json.dumps(body).encode(), fault, call=call)


def _send_content(conn: Connection, content: bytes, fault: str) -> None:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", conn.header("Range") or "")
    if not found:
        _send(conn, content, fault, kind="application/octet-stream")
        return
    start, end = int(found[1]), min(int(found[2]) + 1, len(content))
    _send(
        conn,
        content[start:end],
        fault,
        kind="application/octet-stream",
        status="206 Partial Content",
        more=f"Content-Range: bytes {start}-{end - 1}/{len(content)}\r\n",
    )


def _send(
    conn: Connection,
    body: bytes,
    fault: str,
    *,
    status: str = "200 OK",
    kind: str = "application/json",
    more: str = "",
    call: str | None = None,
) -> None:
    """Send an answer, in the way that *fault* says."""
    if fault == "503":
        body, status, kind = b'{"error":{"message":"Busy."}}', "503 Busy", "application/json"
    call = conn.header(CALL) if call is None else call
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{CALL}: {call}\r\n{more}"
    data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    if fault == "cut":
        # One byte of the body is missing, or most of it.
        conn.send(data[: -1 - (len(body) - 1) // 2 * (len(body) % 2)])
        raise Broken
    if fault == "slow":
        for start in range(3):
            conn.send(data[start * 20 : start * 20 + 20])
            threading.Event().wait(SLOW / 3)
        data = data[60:]
    conn.send(data)
