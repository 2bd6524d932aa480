"""The clients of the soak test: what they ask, and what they make of the answers."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from ..streaming.wire import BOUNDARY, FILE, KEY, LIVE, SPOOLED
from .app import CALL, FAULT
from .provider import Provider

#: How often something goes wrong on purpose.
FAULTS = 0.1

#: How many files a client keeps before it rather deletes one.
MOST = 30

SIZES = (1, 1000, 20_000, 150_000, 600_000, 2_000_000)

#: What may go wrong with each operation, at the provider or, as `leave`, with the client.
KINDS = {
    "upload": ("reset", "early", "503", "lost", "cut", "slow", "leave"),
    "list": ("reset", "503", "cut", "slow"),
    "retrieve": ("reset", "503", "cut", "slow"),
    "content": ("reset", "503", "cut", "slow", "leave"),
    "delete": ("reset", "503", "cut", "slow"),
}


@dataclass
class Book:
    """What has happened, over all clients."""

    calls: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    #: What must not happen, in words.
    wrong: list[str] = field(default_factory=list)
    #: The calls of uploads that ended in an error or without an answer.
    unacknowledged: set[str] = field(default_factory=set)
    #: The calls of uploads that the client broke off.
    left: set[str] = field(default_factory=set)
    #: The ids of files that may have been deleted: what was answered is not known.
    unsure: set[str] = field(default_factory=set)
    acknowledged: int = 0
    uploaded: int = 0
    downloaded: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Answer:
    """A response that was read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Client:
    """Calls the gateway until it is told to stop, and keeps book.

    :param port: the gateway's.
    :param provider: to look at what it has.
    :param pause: seconds between the beginnings of two calls.
    :param gate: closed while nobody is to call.
    """

    def __init__(
        self,
        name: str,
        *,
        port: int,
        provider: Provider,
        book: Book,
        pause: float,
        gate: threading.Event,
        over: threading.Event,
        seed: int,
    ) -> None:
        self.name = name
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._port = port
        self._provider = provider
        self._book = book
        self._pause = pause
        self._gate = gate
        self._over = over
        self._random = random.Random(f"{name} {seed}")
        self._numbers = itertools.count(1)
        self._connection: http.client.HTTPConnection | None = None
        #: Set while it waits at the gate.
        self.idle = threading.Event()
        #: The files that are its own, by id.
        self.files: dict[str, bytes] = {}

    def start(self) -> None:
        """Begin to call."""
        self._thread.start()

    def join(self) -> None:
        """Wait until it has stopped."""
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            if not self._gate.is_set():
                self._close()
                self.idle.set()
                self._gate.wait()
                self.idle.clear()
                continue
            started = time.monotonic()
            try:
                self._call()
            except Exception as error:
                self._wrong(f"{error!r}")
                self._close()
            self._over.wait(max(0.0, started + self._pause - time.monotonic()))
        self._close()

    def _call(self) -> None:
        operation = self._choose()
        fault = ""
        if self._random.random() < FAULTS:
            fault = self._random.choice(KINDS[operation])
        self._id = f"{self.name}-{next(self._numbers)}"
        with self._book.lock:
            self._book.calls[operation] += 1
            self._book.faults[fault] += bool(fault)
        getattr(self, f"_{operation}")(fault)
        if fault:
            # The server may have closed it without a word.
            self._close()

    def _choose(self) -> str:
        if not self.files:
            return "upload"
        weights = {"upload": 30, "list": 15, "retrieve": 15, "content": 30, "delete": 10}
        if len(self.files) >= MOST:
            weights["upload"], weights["delete"] = 0, 40
        return self._random.choices(list(weights), list(weights.values()))[0]

    def _upload(self, fault: str) -> None:
        size = self._random.choice(SIZES)
        content = hashlib.shake_128(self._id.encode()).digest(size)
        opening, closing = self._random.choice((LIVE, SPOOLED))
        named = FILE.replace(b"data.jsonl", self._id.encode())
        body = opening.replace(FILE, named) + content + closing
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        if fault == "leave":
            with self._book.lock:
                self._book.left.add(self._id)
            self._leave("POST", "/v1/files", headers, body)
            return
        # Before it is sent, so that nobody takes what is stored meanwhile for a stray.
        with self._book.lock:
            self._book.unacknowledged.add(self._id)
        answer = self._ask("POST", "/v1/files", fault, headers=headers, body=body)
        if answer is None:
            return
        file_id = json.loads(answer.body)["id"]
        with self._book.lock:
            self._book.unacknowledged.discard(self._id)
            self._book.acknowledged += 1
            self._book.uploaded += size
        stored = self._provider.files.get(file_id)
        if stored is None:
            self._wrong("an acknowledged upload is not at the provider")
        elif (stored.content, stored.call) != (content, self._id):
            self._wrong("an upload is not what was sent")
        self.files[file_id] = content

    def _list(self, fault: str) -> None:
        answer = self._ask("GET", "/v1/files", fault)
        if answer is not None and json.loads(answer.body)["object"] != "list":
            self._wrong("a list is none")

    def _retrieve(self, fault: str) -> None:
        file_id = self._random.choice(list(self.files))
        answer = self._ask("GET", f"/v1/files/{file_id}", fault)
        if answer is not None:
            found = json.loads(answer.body)
            if (found["id"], found["bytes"]) != (file_id, len(self.files[file_id])):
                self._wrong("metadata of another file")

    def _content(self, fault: str) -> None:
        file_id = self._random.choice(list(self.files))
        content, path = self.files[file_id], f"/v1/files/{file_id}/content"
        if fault == "leave":
            self._leave("GET", path, {}, b"")
            return
        headers, status = {}, 200
        if self._random.random() < 0.4:
            start = self._random.randrange(len(content))
            end = self._random.randrange(start, len(content))
            headers, status = {"Range": f"bytes={start}-{end}"}, 206
            content = content[start : end + 1]
        answer = self._ask("GET", path, fault, headers=headers)
        if answer is not None:
            if (answer.status, answer.body) != (status, content):
                self._wrong("a download is not what was stored")
            with self._book.lock:
                self._book.downloaded += len(answer.body)

    def _delete(self, fault: str) -> None:
        file_id = self._random.choice(list(self.files))
        # Whatever comes of it, it can't be counted on any more.
        del self.files[file_id]
        answer = self._ask("DELETE", f"/v1/files/{file_id}", fault)
        if answer is None:
            with self._book.lock:
                self._book.unsure.add(file_id)
        if answer is not None and file_id in self._provider.files:
            self._wrong("a file that was deleted is there")

    def _ask(
        self,
        method: str,
        path: str,
        fault: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer | None:
        """Return the answer to a call that went well; ``None`` to one that was meant not to."""
        try:
            answer = self._send(method, path, {FAULT: fault, **(headers or {})}, body)
        except (OSError, http.client.HTTPException) as error:
            self._close()
            if fault in {"", "slow"}:
                self._wrong(f"{method} {path}: {error!r}")
            return None
        call = answer.headers[CALL]
        if call not in {None, self._id} or (call is None and answer.status < 300):
            self._wrong(f"{method} {path}: the answer to {call}")
        if answer.status >= 500 and answer.status not in {502, 503}:
            self._wrong(f"{method} {path}: {answer.status} {answer.body!r}")
        if fault in {"", "slow"}:
            if answer.status >= 300:
                self._wrong(f"{method} {path}: {answer.status} {answer.body!r}")
                return None
            return answer
        if answer.status < 300:
            self._wrong(f"{method} {path}: {answer.status} in spite of {fault}")
        return None

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        own = {CALL: self._id, "Authorization": f"Bearer {KEY}"}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # It may be answered before it is through.
            self._connection.request(method, path, body=body, headers={**own, **headers})
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def _leave(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """Send half of an upload, or read half of a download, and go."""
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway.example", f"{CALL}: {self._id}"]
        lines += [f"Authorization: Bearer {KEY}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall("\r\n".join([*lines, "", ""]).encode() + body[: len(body) // 2])
                if not body:
                    sock.recv(1000)
            if self._random.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _wrong(self, what: str) -> None:
        with self._book.lock:
            self._book.wrong.append(f"{self._id}: {what}")
