"""What every stand-in of a provider's API is made of."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, ClassVar

import multipart  # type: ignore[import-untyped]
from werkzeug.datastructures import Headers, MultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

BLOCK = 256 * 1024
#: What is above this is held on disk.
IN_MEMORY = 1024 * 1024
#: How often a server looks whether it is to end, in seconds; its own default is half a one.
POLL = 0.01
#: How long requests may take to their end once the server has stopped, in seconds.
GRACE = 2
#: The part that is a file even where it has no file name.
FILE = "file"


@dataclass(frozen=True)
class Seen:
    """One request that came in."""

    method: str
    path: str
    query: MultiDict[str, str]
    headers: Headers


@dataclass
class Form:
    """A multipart form as it came in: its fields in their order, then its file."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    filename: str | None = None
    content_type: str | None = None
    file: IO[bytes] | None = None
    size: int = 0
    #: The names of all parts in the order in which they came.
    order: list[str] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """Return the first field of this name."""
        return next((value for key, value in self.fields if key == name), None)


@dataclass
class Stored:
    """A file that the stand-in holds."""

    id: str
    filename: str
    content: IO[bytes]
    size: int
    created_at: int
    extra: dict[str, Any] = field(default_factory=dict)

    def blocks(self) -> Iterator[bytes]:
        """Yield the content from its start."""
        self.content.seek(0)
        while block := self.content.read(BLOCK):
            yield block


class Standin:
    """A provider's API on a loopback port that the system picks, until the block ends.

    A subclass answers requests in :meth:`answer`, in the shapes that its ``source`` documents,
    and refuses what the real service refuses, its credential included. A malformed form and a
    body that breaks off are answered with the service's own 400.
    """

    #: Where the shapes were read.
    source: ClassVar[str] = ""
    #: The key that the stand-in takes; every other is refused as the service refuses it.
    key: ClassVar[str] = "standin-key"

    def __init__(self) -> None:
        #: Every request, in the order in which they came.
        self.seen: list[Seen] = []
        #: What has the server speak TLS.
        self.ssl_context: ssl.SSLContext | None = None
        self._held: list[IO[bytes]] = []
        self._failures: list[int] = []
        self._lock = threading.Lock()
        self._running = 0
        self._is_over = False
        self._idle = threading.Condition(self._lock)
        self._ids = 0

    # --- For subclasses ---------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Return the service's answer. The lock is not held."""
        raise NotImplementedError

    def error(self, status: int) -> Response:
        """Return the service's own error of this status, in its own shape."""
        raise NotImplementedError

    def next_id(self) -> int:
        """Return a number that no file has had."""
        with self._lock:
            self._ids += 1
            return self._ids

    def spool(self) -> IO[bytes]:
        """Return an empty file, in memory until it is large; it is closed at the end."""
        with self._lock:
            if self._is_over:
                # A request that only comes to run now; nobody would close its file.
                raise OSError("the stand-in is closed")
            file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
            self._held.append(file)
            return file

    def form(self, request: Request) -> Form:
        """Read the request's multipart form; its file goes to disk if it is large.

        :raises multipart.MultipartError: the form is malformed or incomplete.
        """
        form = Form()
        value: bytearray | IO[bytes] = bytearray()
        name = ""
        boundary = request.mimetype_params.get("boundary", "")
        with multipart.PushMultipartParser(boundary) as parser:
            while not parser.closed:
                for event in parser.parse(request.stream.read(BLOCK)):
                    if isinstance(event, multipart.MultipartSegment):
                        name = event.name
                        form.order.append(name)
                        value = bytearray()
                        if event.filename is not None or name == FILE:
                            form.filename = event.filename
                            form.content_type = event.header("Content-Type")
                            form.file = value = self.spool()
                    elif event is None:
                        if isinstance(value, bytearray):
                            form.fields.append((name, value.decode()))
                    elif isinstance(value, bytearray):
                        value += event
                    else:
                        form.size += len(event)
                        value.write(event)
        return form

    def body(self, request: Request) -> tuple[IO[bytes], int]:
        """Return the request's body and its size."""
        content = self.spool()
        while block := request.stream.read(BLOCK):
            content.write(block)
        return content, content.tell()

    # --- For tests --------------------------------------------------------------------------

    def fail(self, status: int, *, times: int = 1) -> None:
        """Have the next requests answered with the service's own error of this status."""
        with self._lock:
            self._failures += [status] * times

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store *count* small files of different times; return their ids, oldest first."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The server's address, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> Any:
        self._server = make_server(
            "127.0.0.1",
            0,
            self._wsgi,
            threaded=True,
            request_handler=_Handler,
            ssl_context=self.ssl_context,
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        # A client that broke off does not wait for the request's end, but its files have to.
        with self._idle:
            self._idle.wait_for(lambda: not self._running, GRACE)
            self._is_over = True
        for file in self._held:
            file.close()

    # --- The server -------------------------------------------------------------------------

    def _wsgi(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        with self._lock:
            self.seen.append(
                Seen(request.method, request.path, request.args, Headers(request.headers))
            )
            failure = self._failures.pop(0) if self._failures else None
            self._running += 1
        try:
            response = self.error(failure) if failure else self._answer(request)
            _drain(request)
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            return self.answer(request)
        except HTTPException as error:
            return self.error(error.code or 500)
        except (multipart.MultipartError, OSError):
            return self.error(400)


def json_response(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return *body* as JSON."""
    import json

    return Response(json.dumps(body), status, headers, mimetype="application/json")


def file_response(stored: Stored, content_type: str = "application/octet-stream") -> Response:
    """Return a file's content."""
    return Response(
        stored.blocks(),
        headers={"Content-Length": str(stored.size)},
        content_type=content_type,
        direct_passthrough=True,
    )


def _drain(request: Request) -> None:
    """Read what is left of the body: the connection is used again."""
    with contextlib.suppress(Exception):
        while request.stream.read(BLOCK):
            pass


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *args: object) -> None:
        """Say nothing."""
