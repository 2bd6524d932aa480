"""A provider that records what it is sent, and does not know what an Idempotency-Key is."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Queue
from typing import Any

from multipart import MultipartParser  # type: ignore[import-untyped]

from ..support.upstream import Connection

TIMEOUT = 30.0


@dataclass(frozen=True)
class Stored:
    """A file that came whole."""

    id: str
    filename: str
    purpose: str
    content: bytes
    created_at: int

    def object(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class Recorder:
    """The script of such a provider, for an ``Upstream``.

    :param gives_content: whether it gives files back.
    """

    def __init__(self, *, gives_content: bool = True) -> None:
        self._gives_content = gives_content
        self._lock = threading.Lock()
        self.files: list[Stored] = []
        #: How many uploads broke off.
        self.broken = 0
        #: The file names in the order in which their uploads came whole, for who waits.
        self.whole: Queue[str] = Queue()
        #: Returns whether the upload of a name waits for :attr:`release` with its answer.
        self.holds: Callable[[str], bool] = lambda filename: False
        #: Returns after how many seconds a file is stored, and listed.
        self.delay: Callable[[str], float] = lambda filename: 0.0
        #: The status that the next uploads get, without being stored, or after they are.
        self.refuses_with: str | None = None
        self.fails_with: str | None = None
        self.release = threading.Event()
        #: Whether it can be asked for its files.
        self.lists = True

    def __call__(self, conn: Connection) -> None:
        conn.sock.settimeout(TIMEOUT)
        while head := conn.read_head():
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            path = target.partition("?")[0]
            if method == "POST" and path == "/v1/files":
                if not self._store(conn):
                    return
            elif path == "/v1/files":
                self._list(conn)
            else:
                self._content(conn, path.split("/")[3])

    def _store(self, conn: Connection) -> bool:
        body, complete = conn.read_body()
        if not complete:
            with self._lock:
                self.broken += 1
            return False
        if self.refuses_with is not None:
            conn.answer(b'{"error":{"message":"no"}}', status=self.refuses_with)
            return True
        boundary = (conn.header("Content-Type") or "").partition("boundary=")[2].strip('"')
        parser = MultipartParser(io.BytesIO(body), boundary)
        part = parser.get("file")
        purpose = parser.get("purpose")
        assert part is not None
        assert purpose is not None
        name, content, told = part.filename or "", part.raw, purpose.value
        for piece in parser.parts():
            piece.close()
        with self._lock:
            number = len(self.files) + 1

        def keep() -> Stored:
            with self._lock:
                file = Stored(
                    f"file-{len(self.files) + 1}", name, told, content, int(time.time())
                )
                self.files.append(file)
                return file

        seconds = self.delay(name)
        if seconds:
            timer = threading.Timer(seconds, keep)
            timer.daemon = True
            timer.start()
            stored = Stored(f"file-{number}", name, told, content, int(time.time()))
        else:
            stored = keep()
        self.whole.put(name)
        if self.holds(name):
            assert self.release.wait(TIMEOUT)
        if self.fails_with is not None:
            conn.answer(b'{"error":{"message":"late"}}', status=self.fails_with)
        else:
            conn.answer(
                json.dumps(stored.object()).encode(),
                headers=("Content-Type: application/json",),
            )
        return True

    def _list(self, conn: Connection) -> None:
        if not self.lists:
            conn.answer(b"{}", status="503 Service Unavailable")
            return
        with self._lock:
            data = [file.object() for file in reversed(self.files)]
        conn.answer(
            json.dumps({"object": "list", "data": data, "has_more": False}).encode(),
            headers=("Content-Type: application/json",),
        )

    def _content(self, conn: Connection, file_id: str) -> None:
        with self._lock:
            found = [file for file in self.files if file.id == file_id]
        if found and self._gives_content:
            conn.answer(found[0].content)
        else:
            conn.answer(b'{"error":{"message":"no"}}', status="400 Bad Request")

    def named(self, filename: str) -> list[Stored]:
        """Return the files of this name."""
        with self._lock:
            return [file for file in self.files if file.filename == filename]


def noise(seed: str, size: int) -> bytes:
    """Return *size* bytes that no other *seed* gives."""
    return hashlib.shake_128(seed.encode()).digest(size)
