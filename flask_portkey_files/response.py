"""The client's response: its body and how that ends, its headers, its errors."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from flask import Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from .body import RequestBody
from .digest import RESPONSE_HEADER
from .errors import BrokenTransfer, FilesError, UpstreamError, envelope
from .form import UploadForm
from .pace import Pace, Watch
from .progress import Progress
from .providers.base import UpstreamResponse
from .settings import MIB
from .uwsgi import break_off, is_uwsgi

logger = logging.getLogger("flask_portkey_files")

#: Headers that no longer fit a body that was made anew.
_BODY_HEADERS = (
    "Content-Digest",
    "Content-Encoding",
    "Content-Length",
    "Content-Location",
    "Content-MD5",
    "ETag",
    "Location",
    "Operation-Location",
)


def linger(response: Response, body: RequestBody, connection: socket.socket) -> None:
    """Make *response* read what is left of the request's body once it has been sent."""
    data = response.get_data()
    response.content_length = len(data)
    response.response = _Lingering(data, body, connection)


class _Lingering:
    """A short answer to an upload that has not been read to its end.

    A server that closes a connection on which bytes still come in resets it, and a client that
    is still sending may then never see the answer. So the rest is read once the client has the
    answer, and within bounds: most clients stop sending by themselves.
    """

    MOST = 64 * MIB
    SECONDS = 5.0

    def __init__(self, data: bytes, body: RequestBody, connection: socket.socket) -> None:
        self._data = data
        self._body = body
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        yield self._data

    def close(self) -> None:
        """Read the rest of the body; the WSGI server has sent the answer by now."""
        self._body.discard(self._connection, most=self.MOST, seconds=self.SECONDS)


class Stream:
    """The body of a response: the provider's, as it arrives, broken off if that breaks off.

    :param watch: what looks after clients that are too slow.
    """

    def __init__(self, upstream: UpstreamResponse, progress: Progress, watch: Watch) -> None:
        self._upstream = upstream
        # Looked up now, since the request is gone by the time that it may be needed.
        old = request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0"
        self._connection = client_connection()
        self._http_1_0 = self._connection if old else None
        self._watch = watch
        self._pace: Pace | None = None
        self._size = 0
        self._uwsgi = is_uwsgi(request.environ)
        self._blocks = upstream.blocks()
        self._progress = progress
        self._done = False
        #: What has been read and not been handed out.
        self.ahead = b""

    def read_ahead(self, size: int) -> bool:
        """Read until *size* bytes are there, and return whether that was all there is."""
        blocks: list[bytes] = []
        missing = size
        for block in self._blocks:
            blocks.append(block)
            missing -= len(block)
            if missing <= 0:
                break
        self.ahead = b"".join(blocks)
        return missing > 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._pace is not None:
            self._pace.rest(self._size)
        block, self.ahead = self.ahead, b""
        try:
            block = block or next(self._blocks)
        except StopIteration:
            self._done = True
            raise
        except UpstreamError as error:
            self._progress.error = BrokenTransfer.default_code
            logger.warning("the answer was cut short: %s", error)
            if self._uwsgi:
                break_off()
            elif self._http_1_0 is not None:
                _reset(self._http_1_0)
            raise BrokenTransfer(error.message) from error
        self._size = len(block)
        self._progress.bytes_out += self._size
        if self._connection is not None:
            if self._pace is None:
                self._pace = self._watch.taker(self._connection, self._progress.deadline)
            # Until it asks for the next block, the server is sending this one.
            self._pace.begin(self._size)
        return block

    def close(self) -> None:
        """Let go of the provider; called by the WSGI server, however the response ended."""
        self._upstream.close()
        if self._pace is not None:
            self._watch.release(self._pace)
            if self._pace.over:
                self._progress.error = "download_too_slow"
        if not self._done and self._progress.error is None:
            self._progress.error = "client_disconnected"
        self._progress.finish()


def client_connection() -> socket.socket | None:
    """Return the client's connection, where the WSGI server hands it out."""
    environ = request.environ
    return environ.get("gunicorn.socket") or environ.get("werkzeug.socket")


def _reset(connection: socket.socket) -> None:
    """Break the connection so that nobody takes its end for the end of the body.

    HTTP/1.0, which a reverse proxy may speak to this server, has no other mark for the end of
    a body without a length, and a WSGI server ends a connection properly even after an error.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with socket.socket() as unconnected:
        # Closes the connection, and leaves the server a socket that it can close itself.
        os.dup2(unconnected.fileno(), connection.fileno())


def make_response(
    body: Iterable[bytes], status: int, headers: Headers | Mapping[str, str]
) -> Response:
    """Return a response with these headers and no others."""
    response = Response(body, status)
    # In place of the content type that Flask gives every response.
    response.headers = headers if isinstance(headers, Headers) else Headers(headers)
    return response


def json_response(body: object, status: int, headers: Headers | Mapping[str, str]) -> Response:
    """Return *body* as JSON, under *headers* as far as they can still be true of it."""
    data = json.dumps(body, separators=(",", ":")).encode()
    response = make_response([data], status, headers)
    for name in _BODY_HEADERS:
        response.headers.pop(name, None)
    response.headers["Content-Type"] = "application/json"
    return response


def tell_digest(response: Response, form: UploadForm, progress: Progress) -> None:
    """Say in *response* and in *progress* what the digest of an upload's file is, if known."""
    if form.digest and (digest := form.digest.field()):
        response.headers.add(RESPONSE_HEADER, digest)
        progress.sha256 = form.digest.sha256


def error_response(error: FilesError) -> Response:
    """Return the client's response to an error of the gateway's own."""
    return json_response(error.body(), error.status, error.headers)


def http_error_response(error: HTTPException) -> Response:
    """Return an HTTP error, such as a resolver's ``flask.abort(403)``, in OpenAI's envelope."""
    if error.response is not None:
        return cast(Response, error.response)
    status = error.code or 500
    kind = "invalid_request_error" if status < 500 else "server_error"
    headers = [(name, value) for name, value in error.get_headers() if name != "Content-Type"]
    return json_response(envelope(_message(error), type=kind), status, Headers(headers))


def _message(error: HTTPException) -> str:
    if isinstance(error, NotFound) and error.description == NotFound.description:
        return f"Unknown request URL: {request.method} {request.path}."
    if isinstance(error, MethodNotAllowed):
        return f"Not allowed to {request.method} on {request.path}."
    return error.description or error.name
