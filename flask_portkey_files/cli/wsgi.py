"""An application of this process behind ``requests``, without a server in between."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from ..errors import FilesError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


class WSGIAdapter(BaseAdapter):
    """Has *app* answer, streamed both ways."""

    def __init__(self, app: WSGIApplication) -> None:
        super().__init__()
        self._app = app
        self._answers = HTTPAdapter()

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:  # type: ignore[override]
        """Return the application's answer to *request*, its body still to be read."""
        # Applications that are served pay nothing for it.
        from werkzeug.test import run_wsgi_app

        blocks, status, headers = run_wsgi_app(self._app, _environ(request))
        raw = urllib3.HTTPResponse(
            body=io.BufferedReader(_Answer(iter(blocks), getattr(blocks, "close", None))),
            headers=urllib3.HTTPHeaderDict(headers.to_wsgi_list()),
            status=int(status.partition(" ")[0]),
            reason=status.partition(" ")[2],
            preload_content=False,
            request_method=request.method,
        )
        return self._answers.build_response(request, raw)

    def close(self) -> None:
        """Do nothing: there is no connection."""


class _Answer(io.RawIOBase):
    """A WSGI answer as a file."""

    def __init__(self, blocks: Iterator[bytes], close: Any) -> None:
        self._blocks = blocks
        self._close_blocks = close
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            while not self._rest:
                self._rest = memoryview(next(self._blocks))
        except StopIteration:
            return 0
        except FilesError as error:
            raise urllib3.exceptions.ProtocolError(str(error)) from error
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def close(self) -> None:
        if not self.closed and self._close_blocks is not None:
            self._close_blocks()
        super().close()


class _Body(io.RawIOBase):
    """A request's body as a file, be it bytes, text, or something that yields blocks."""

    def __init__(self, body: Any) -> None:
        if isinstance(body, str):
            body = body.encode()
        self._blocks = iter([body] if isinstance(body, bytes) else body or ())
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _environ(request: requests.PreparedRequest) -> WSGIEnvironment:
    """Return what a server would hand the application for *request* (PEP 3333)."""
    parts = urlsplit(request.url or "")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path).decode("latin-1"),
        "QUERY_STRING": parts.query,
        # How the client wrote the path, which the blueprint looks at.
        "REQUEST_URI": request.path_url,
        "SERVER_NAME": parts.hostname,
        "SERVER_PORT": str(parts.port or 80),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": parts.netloc,
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BufferedReader(_Body(request.body), 128 * 1024),
        # It ends where the body does, with or without a length.
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        if key in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            environ[key] = value
        elif key != "TRANSFER_ENCODING":
            environ[f"HTTP_{key}"] = value
    return environ
