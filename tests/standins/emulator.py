"""Stand-ins whose files are kept by an emulator, a process of its own behind a strict front."""

from __future__ import annotations

import http.client
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from werkzeug.wrappers import Request, Response

from .base import BLOCK, Standin

ROOT = Path(__file__).resolve().parents[2]
#: Headers that belong to one connection, and those that the front's own server writes.
_OF_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "server", "date"}


class Emulated(Standin):
    """A front that records and judges requests, and an emulator behind it that answers them.

    The emulators hold a whole file in memory at times, so they get a process of their own:
    what a test measures of its own process or of the gateway's stays free of it. The front
    refuses what the service refuses and the emulator lets pass.
    """

    def command(self) -> Sequence[str]:
        """Return the command that starts the emulator; :attr:`url` is known already."""
        raise NotImplementedError

    def started(self, line: str) -> int | None:
        """Return the emulator's port if *line* of its output says that it listens."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        super().__enter__()
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._process.kill()
        self._process.wait()
        if hasattr(self, "_reader"):
            self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def process_id(self) -> int:
        """The emulator's process, for tests that measure it."""
        return self._process.pid

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self.command(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = self._process.stdout
        assert output is not None
        said: deque[str] = deque(maxlen=50)
        for line in output:
            said.append(line)
            port = self.started(line)
            if port is not None:
                self._port = port
                break
        else:
            raise RuntimeError("The emulator did not start:\n" + "".join(said))
        # An emulator that logs to a full pipe stands still.
        self._reader = threading.Thread(target=said.extend, args=(output,), daemon=True)
        self._reader.start()

    def forward(
        self,
        request: Request,
        body: IO[bytes] | bytes | None = None,
        size: int | None = None,
        *,
        target: str | None = None,
        drop: Sequence[str] = (),
    ) -> Response:
        """Have the emulator answer the request.

        :param body: what to send instead of the request's own body, and its *size*.
        :param target: path and query to ask for instead of the request's own, as they came.
        :param drop: names of headers, in lower case, that the emulator is not to see.
        """
        length = request.content_length if size is None else size
        left_out = {*_OF_CONNECTION, *drop, "content-length"}
        headers = {
            name: value.encode("latin-1")
            for name, value in request.headers.items()
            if name.lower() not in left_out
        }
        if length is not None:
            headers["Content-Length"] = str(length).encode()
        if isinstance(body, bytes):
            source: Any = body
        else:
            file: IO[bytes] = request.stream if body is None else body
            if body is not None:
                body.seek(0)
            source = iter(lambda: file.read(BLOCK), b"")
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request(
            request.method,
            request.environ["RAW_URI"] if target is None else target,
            body=source if length != 0 else None,
            headers=headers,
            encode_chunked=length is None,
        )
        answer = connection.getresponse()
        return Response(
            _blocks(connection, answer),
            answer.status,
            [item for item in answer.getheaders() if item[0].lower() not in _OF_CONNECTION],
            direct_passthrough=True,
        )


class _blocks:  # noqa: N801 - reads as the function that it would be but for its close().
    """An answer's body; closes the connection at its end, or when it is closed unread."""

    def __init__(
        self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
    ) -> None:
        self._connection = connection
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        try:
            while block := self._answer.read(BLOCK):
                yield block
        finally:
            self.close()

    def close(self) -> None:
        self._answer.close()
        self._connection.close()
