"""A WSGI application behind a port of its own, in this process."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wsgi import FileWrapper

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed import WriteableBuffer
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_HOST = "127.0.0.1"
_LONGEST_LINE = 8192
_MOST_TRAILERS = 100


class EmbeddedServer:
    """Serves `app` on a loopback port from the moment it is created until `close()`."""

    def __init__(self, app: WSGIApplication, *, port: int = 0) -> None:
        # Bound here because werkzeug answers a port in use by ending the process.
        with socket.create_server((_HOST, port), backlog=128) as listener:
            self._server = _Server(_HOST, port, app, _Handler, fd=listener.fileno())
        self.port: int = self._server.port
        self.url = f"http://{_HOST}:{self.port}"
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name=f"embedded-server-{self.port}",
            daemon=True,
        )
        self._thread.start()

    def close(self, *, grace: float = 5.0) -> None:
        """Stop listening and wait for every thread; may be called again.

        No more bytes of uploads are taken. Answers on their way get `grace` seconds.
        """
        with self._closing:
            if self._closed:
                return
            self._server.shutdown()
            self._thread.join()
            self._server.finish_requests(grace)
            self._closed = True

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Server(ThreadedWSGIServer):
    """A threaded server that knows its threads, so that they can be waited for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._running: dict[threading.Thread, socket.socket] = {}
        self._running_lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        with self._running_lock:
            self._running[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._running_lock:
                self._running.pop(threading.current_thread(), None)

    def finish_requests(self, grace: float) -> None:
        # A thread that waits for bytes (an idle connection, a slow upload) sees their end.
        running = self._shut_down(socket.SHUT_RD)
        deadline = time.monotonic() + grace
        for thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))
        for thread in self._shut_down(socket.SHUT_RDWR):
            thread.join()

    def _shut_down(self, how: int) -> list[threading.Thread]:
        with self._running_lock:
            running = dict(self._running)
        for connection in running.values():
            with contextlib.suppress(OSError):  # The client, or its thread, was faster.
                connection.shutdown(how)
        return list(running)


class _Handler(WSGIRequestHandler):
    """Speaks HTTP/1.1 with one request per connection, and keeps no log.

    werkzeug ends every connection after its answer, because it could not find the start
    of a next request behind a body that the application did not read.
    """

    protocol_version = "HTTP/1.1"
    # An answer's head and body are two writes: without this the second one may wait for
    # the client's delayed acknowledgement of the first.
    disable_nagle_algorithm = True

    def make_environ(self) -> WSGIEnvironment:
        environ = super().make_environ()
        if environ.get("wsgi.input_terminated"):
            environ["wsgi.input"] = _ChunkedBody(self.rfile)
        environ["wsgi.file_wrapper"] = _file_wrapper
        return environ

    def connection_dropped(self, *_details: Any) -> None:
        """Close the connection, even if it was only the application that said it is gone."""
        self.close_connection = True

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        pass


def _file_wrapper(file: IO[bytes], _buffer_size: int = 0) -> FileWrapper:
    # The 8 KiB that are asked for are too many system calls per file.
    return FileWrapper(file, 64 * 1024)


class _ChunkedBody(io.RawIOBase):
    """The body of a request with `Transfer-Encoding: chunked`.

    werkzeug's own counts the bytes it asked for, not those that came: a connection cut
    inside a large chunk would go on as that many bytes of nothing.
    """

    def __init__(self, raw: io.BufferedIOBase) -> None:
        self._raw = raw
        self._left = 0
        self._between_chunks = False
        self._done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._left == 0 and not self._done:
            self._next_chunk()
        if self._done:
            return 0
        view = memoryview(buffer).cast("B")
        data = self._raw.read(min(len(view), self._left))
        if not data:
            raise ConnectionError("The connection ended inside a chunk")
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def _next_chunk(self) -> None:
        if self._between_chunks and self._line():
            raise OSError("A chunk is longer than its size")
        self._between_chunks = True
        size = self._line().partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
            raise OSError("Not the size of a chunk")
        self._left = int(size, 16)
        if self._left == 0:
            self._skip_trailers()
            self._done = True

    def _skip_trailers(self) -> None:
        for _ in range(_MOST_TRAILERS):
            if not self._line():
                return
        raise OSError("Too many trailers")

    def _line(self) -> bytes:
        line = self._raw.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionError("The connection ended inside a chunked body")
        return line.rstrip(b"\r\n")
