"""A provider for tests: it keeps files, remembers what it was asked, and fails on demand."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import urlsplit

from werkzeug.datastructures import EnvironHeaders, Headers
from werkzeug.wsgi import ClosingIterator, get_input_stream

from ..headers import bearer
from ..providers.base import UpstreamRequest
from ..routing import Target
from ..transport import Response, Transport
from .embedded import EmbeddedServer
from .faults import Fault, Faults, Severed, drain, error_body, severed_after
from .server import create_store_app
from .store import FileStore

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Carries the address that a request was on its way to when it was led here.
_MEANT_FOR = "X-Stand-In-For"

_KEY_HEADERS = ("api-key", "x-api-key", "x-goog-api-key")


@dataclass(frozen=True)
class ReceivedRequest:
    """A request that the stand-in got.

    :param method: the HTTP method.
    :param url: the address that it was for, with its query: the provider's own if it was led
        here, else the stand-in's.
    :param headers: its headers, as they came over the wire.
    """

    method: str
    url: str
    headers: Headers = field(repr=False)

    @property
    def host(self) -> str:
        """The host of ``url``, with its port if that has one."""
        return urlsplit(self.url).netloc

    @property
    def path(self) -> str:
        """The path of ``url``, escaped as it was sent."""
        return urlsplit(self.url).path

    @property
    def query(self) -> str:
        """The query of ``url``, without the ``?``."""
        return urlsplit(self.url).query

    @property
    def api_key(self) -> str | None:
        """The key that it came with, as a bearer or in a provider's own header."""
        key = bearer(self.headers.get("Authorization"))
        return key or next(
            (value for name in _KEY_HEADERS if (value := self.headers.get(name))), None
        )


@dataclass(frozen=True)
class UpstreamFile:
    """A file that the stand-in has.

    :param content: its bytes.
    """

    id: str
    filename: str
    purpose: str
    content: bytes = field(repr=False)


class Upstream:
    """OpenAI's Files API on a loopback port, for as long as a ``with`` block lasts.

    :param folder: where it keeps its files.
    """

    def __init__(self, folder: Path) -> None:
        self._store = FileStore(folder)
        self._app = create_store_app(self._store)
        self._faults = Faults()
        self._lock = threading.Lock()
        self._requests: list[ReceivedRequest] = []

    def __enter__(self) -> Upstream:
        self._server = EmbeddedServer(self._serve)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.close()

    # --- Where it is ------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Its address, such as ``http://127.0.0.1:45678``."""
        return self._server.url

    @property
    def base_url(self) -> str:
        """What a provider's base URL has to be to mean it: the address that has ``/files``."""
        return f"{self.url}/v1"

    def target(self, provider: str = "openai", **options: Any) -> Target:
        """Return a :class:`~flask_portkey_files.Target` whose calls come here.

        :param options: the target's other arguments, such as ``api_key``.
        """
        return Target(provider, base_url=self.base_url, **options)

    @contextlib.contextmanager
    def instead_of_providers(self) -> Iterator[Upstream]:
        """Lead here what this process's blueprints send to providers, in the ``with`` block.

        Nothing of it reaches the network. Requests that get credentials, from Microsoft Entra,
        AWS or Google, are none to a provider.
        """
        send = Transport.send
        base_url = self.base_url

        def led_here(
            transport: Transport, request: UpstreamRequest, **options: Any
        ) -> Response:
            headers = Headers(request.headers)
            headers.set(_MEANT_FOR, request.url)
            parts = urlsplit(request.url)
            tail = parts.path.partition("/files")
            url = base_url + (tail[1] + tail[2] if tail[1] else parts.path)
            if parts.query:
                url += f"?{parts.query}"
            # This machine is no host that a client may name, but it was not the client's idea.
            options["guarded"] = False
            return send(transport, replace(request, url=url, headers=headers), **options)

        with mock.patch.object(Transport, "send", led_here):
            yield self

    # --- What it got ------------------------------------------------------------------------

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests so far, in the order in which they came."""
        with self._lock:
            return list(self._requests)

    @property
    def files(self) -> list[UpstreamFile]:
        """The files that it has, the oldest first, with their content."""
        return [
            UpstreamFile(
                id=stored.id,
                filename=stored.filename,
                purpose=stored.purpose,
                content=path.read_bytes(),
            )
            for stored in self._store.list(order="asc").files
            if (path := self._store.path(stored.id)) is not None
        ]

    def add_file(
        self, content: bytes, *, filename: str = "data.jsonl", purpose: str = "batch"
    ) -> str:
        """Have it keep a file that nobody uploaded, and return the file's id."""
        with self._store.incoming() as incoming:
            incoming.file.write(content)
            return self._store.add(filename=filename, purpose=purpose, content=incoming).id

    def clear(self) -> None:
        """Forget the requests, the files and the faults that have not happened yet."""
        for stored in self._store.list().files:
            self._store.delete(stored.id)
        self._faults.clear()
        with self._lock:
            self._requests.clear()

    # --- What it does wrong -----------------------------------------------------------------

    def answer_next(
        self,
        status: int,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Answer the next request with *status* instead of what was asked for.

        The request's body is read first, and nothing is stored.

        :param body: the answer's body; an error in OpenAI's envelope if absent.
        :param headers: its headers, such as ``Retry-After``; of the type JSON if absent.
        :param times: for how many requests.
        :raises ValueError: *times* is not at least 1.
        """
        fault = Fault(
            status=status,
            headers={"Content-Type": "application/json", **(headers or {})},
            body=error_body(status) if body is None else body,
        )
        self._faults.add(fault, times)

    def cut_next(self, *, after: int = 0, times: int = 1) -> None:
        """Break the connection after so many bytes of the body of the next answer.

        :param after: how many bytes of the body are sent. An answer that is no longer than
            that is whole.
        :param times: for how many requests.
        :raises ValueError: *after* is negative, or *times* not at least 1.
        """
        if after < 0:
            raise ValueError(f"after must not be negative, but is {after}")
        self._faults.add(Fault(cut=after), times)

    def drop_next(self, *, times: int = 1) -> None:
        """Close the connection of the next request without an answer, once it has been read.

        :param times: for how many requests. The blueprint sends a ``GET`` that meets this on a
            connection that it had kept open a second time; the stand-in keeps none open.
        :raises ValueError: *times* is not at least 1.
        """
        self._faults.add(Fault(cut=-1), times)

    # --- How it answers ---------------------------------------------------------------------

    def _serve(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        self._remember(environ)
        fault = self._faults.take()
        if fault is None:
            return self._app(environ, start_response)
        if fault.status is None and fault.cut != -1:
            return _severed(self._app, fault.cut or 0, environ, start_response)
        drain(get_input_stream(environ))
        if fault.status is None:
            raise Severed("The stand-in was told to give no answer")
        answer = Headers(fault.headers)
        answer.set("Content-Length", str(len(fault.body)))
        start_response(f"{fault.status} Told", answer.to_wsgi_list())
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [fault.body]

    def _remember(self, environ: WSGIEnvironment) -> None:
        headers = Headers(EnvironHeaders(environ))
        meant = headers.pop(_MEANT_FOR, None)
        url = meant or self.url + (environ.get("REQUEST_URI") or environ["PATH_INFO"])
        with self._lock:
            self._requests.append(ReceivedRequest(environ["REQUEST_METHOD"], url, headers))


def _severed(
    app: WSGIApplication, most: int, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    answer = app(environ, start_response)
    close = getattr(answer, "close", None)
    return ClosingIterator(severed_after(iter(answer), most), [close] if close else None)
