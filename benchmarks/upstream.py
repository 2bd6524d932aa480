"""The provider behind every gateway: it keeps nothing and is never what is waited for.

``python -m benchmarks.upstream CHAIN KEY`` prints its two ports, plain and TLS, and serves
until its standard input ends. Metadata is answered from one loop without threads; an upload
or a download gets a thread, in which all that takes long leaves the interpreter's lock free.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

from .form import BLOCK, block, twice
from .receipt import Receipt
from .source import Ended, Source

_METADATA = json.dumps(
    {
        "id": "file-1048576",
        "object": "file",
        "bytes": 1048576,
        "created_at": 1700000000,
        "expires_at": None,
        "filename": "data.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
).encode()
#: No answer here has a date: a gateway that needs one makes its own.
_LINES = "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n"


def _answer(body: bytes, status: str = "200 OK") -> bytes:
    return _LINES.format(status, "application/json", len(body)).encode() + body


_FIXED = _answer(_METADATA)
_DELETED = _answer(b'{"id": "file-1048576", "object": "file", "deleted": true}')
_LIST = _answer(b'{"object": "list", "data": [' + _METADATA + b'], "has_more": false}')


class Upstream:
    """Serves plain and TLS connections until the process ends."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain, key)
        self._plain = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._tls = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.ports = self._plain.getsockname()[1], self._tls.getsockname()[1]
        self._receipts: list[Receipt] = []
        self._poll = select.epoll()
        self._idle: dict[int, socket.socket] = {}

    def serve(self) -> None:
        """Serve until the process ends."""
        threading.Thread(target=self._accept_tls, daemon=True).start()
        self._plain.setblocking(False)
        listener = self._plain.fileno()
        self._poll.register(listener, select.EPOLLIN)
        while True:
            for number, _ in self._poll.poll():
                if number == listener:
                    self._accept_plain()
                else:
                    self._answer_at_once(self._idle[number])

    def _accept_plain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._plain.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._wait_for(connection)

    def _wait_for(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._idle[connection.fileno()] = connection
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def _answer_at_once(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data.startswith(b"GET /v1/files/") and data.endswith(b"\r\n\r\n"):
            path = data[: data.index(b"\r\n")].split(b" ")[1].partition(b"?")[0]
            if not path.endswith(b"/content"):
                with contextlib.suppress(OSError):  # The close is seen at the next read.
                    connection.send(_FIXED)
                return
        self._poll.unregister(connection.fileno())
        del self._idle[connection.fileno()]
        if not data:
            connection.close()
            return
        connection.setblocking(True)
        threading.Thread(target=self._one_plain, args=(connection, data), daemon=True).start()

    def _one_plain(self, connection: socket.socket, data: bytes) -> None:
        source = Source(connection, data)
        try:
            again = True
            while again and not source.empty:
                again = self._exchange(connection, source)
        except (Ended, OSError, ValueError):
            again = False
        if again:
            self._wait_for(connection)
        else:
            connection.close()

    def _accept_tls(self) -> None:
        while True:
            connection, _ = self._tls.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._all_tls, args=(connection,), daemon=True).start()

    def _all_tls(self, connection: socket.socket) -> None:
        with (
            contextlib.suppress(Ended, OSError, ValueError),
            self._context.wrap_socket(connection, server_side=True) as wrapped,
        ):
            source = Source(wrapped)
            while self._exchange(wrapped, source):
                pass

    def _exchange(self, connection: socket.socket, source: Source) -> bool:
        """Answer one request, and say whether there may be another."""
        first, headers = source.head()
        method, target, _ = first.split(" ", 2)
        path = target.partition("?")[0]
        if method == "POST":
            self._receive(connection, source, headers)
        elif path == "/control/uploads":
            taken, self._receipts = self._receipts, []
            connection.sendall(_answer(json.dumps([r.record() for r in taken]).encode()))
        elif path.endswith("/content"):
            return _send(connection, path.split("/")[-2], headers.get("range", ""))
        elif method == "DELETE":
            connection.sendall(_DELETED)
        elif path == "/v1/files":
            connection.sendall(_LIST)
        else:
            connection.sendall(_FIXED)
        return True

    def _receive(
        self, connection: socket.socket, source: Source, headers: dict[str, str]
    ) -> None:
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        receipt = Receipt(headers.get("content-type", ""))
        known = False
        for piece in source.body(headers):
            receipt.feed(piece)
            if not known:
                self._receipts.append(receipt)
                known = True
        receipt.finish()
        answer = {**json.loads(_METADATA), "bytes": receipt.size}
        connection.sendall(_answer(json.dumps(answer).encode()))


def _send(connection: socket.socket, file_id: str, wanted: str) -> bool:
    """Send the file that *file_id* asks for: ``file-SIZE``, or ``file-cut-SIZE`` for half."""
    total = int(file_id.rpartition("-")[2])
    start, end, status, more = 0, total, "200 OK", ""
    if found := re.fullmatch(r"bytes=(\d+)-(\d+)", wanted):
        start, end = int(found[1]), min(total, int(found[2]) + 1)
        status = "206 Partial Content"
        more = f"Content-Range: bytes {start}-{end - 1}/{total}\r\n"
    head = _LINES.format(status, "application/octet-stream", end - start)
    connection.sendall((head[:-2] + more + "\r\n").encode())
    cut = "cut" in file_id
    if cut:
        end = start + (end - start) // 2
    view = memoryview(twice("random"))
    while start < end:
        offset = start % BLOCK
        count = min(BLOCK, end - start)
        connection.sendall(view[offset : offset + count])
        start += count
    return not cut


def main() -> None:
    """Serve until standard input ends."""
    for kind in ("text", "random"):
        block(kind)
        twice(kind)
    upstream = Upstream(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"ports": upstream.ports, "started": time.monotonic()}), flush=True)
    threading.Thread(target=upstream.serve, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
