"""The only module that talks to providers: it sends a request and maps what goes wrong."""

from __future__ import annotations

import contextlib
import http.client
import http.cookiejar
import io
import json
import math
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from werkzeug.datastructures import Headers

from .egress import EgressPolicy, EgressRefused, GuardedConnection
from .encoder import DeadlineExceeded, FormEncoder
from .errors import RequestTimeout, UpstreamError, UpstreamTimeout
from .providers.base import UpstreamRequest
from .settings import MIB, Settings

#: The longest answer that is read whole, to be reshaped.
MAX_JSON = 16 * MIB

#: When the answer to the request that is being sent must have begun, by ``time.monotonic()``.
_deadline: ContextVar[float | None] = ContextVar("_deadline", default=None)

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]+[ \t]*")

_NEVER_CONNECTED = (
    socket.gaierror,
    ssl.SSLCertVerificationError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NameResolutionError,
    urllib3.exceptions.NewConnectionError,
)

_TIMEOUTS = (TimeoutError, requests.Timeout, urllib3.exceptions.ReadTimeoutError)

#: The shape of what is wrong, looked for along an exception's causes, and what to call it.
_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ssl.SSLCertVerificationError,), "its TLS certificate could not be verified"),
    ((ssl.SSLError, urllib3.exceptions.SSLError), "the TLS connection failed"),
    (
        (urllib3.exceptions.NameResolutionError, socket.gaierror),
        "its name could not be resolved",
    ),
    ((ConnectionRefusedError,), "the connection was refused"),
    ((urllib3.exceptions.ProxyError,), "the proxy did not let the request through"),
    ((ConnectionError, urllib3.exceptions.ProtocolError), "it closed the connection"),
)


class Response:
    """A provider's answer with its head read and its body still on the wire."""

    def __init__(
        self, raw: urllib3.BaseHTTPResponse, *, provider: str, block_size: int
    ) -> None:
        self._raw = raw
        self._provider = provider
        self._block_size = block_size
        self.status = raw.status
        # Older releases of urllib3 leave a folded header's line break in, and http.client lets
        # other control characters through; WSGI servers refuse to send either.
        self.headers = Headers(
            [(name, _CONTROLS.sub(" ", value)) for name, value in raw.headers.items()]
        )

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, undecoded.

        :raises UpstreamError: the provider broke off.
        :raises UpstreamTimeout: it stopped sending.
        """
        with _mapped(self._provider, answered=True):
            while block := self._raw.read1(self._block_size, decode_content=False):
                yield block

    def json(self) -> Any:
        """Read the whole body as JSON.

        :raises UpstreamError: the provider broke off, or the body is no JSON or far too long.
        """
        with _mapped(self._provider, answered=True):
            body = self._raw.read(MAX_JSON + 1, decode_content=True)
        if len(body) <= MAX_JSON:
            with contextlib.suppress(ValueError):
                return json.loads(body)
        raise _answered(
            f"The provider {self._provider} answered {self.status} with a body that is not the "
            "JSON expected."
        )

    def close(self) -> None:
        """Let go of the connection: back to the pool if the body was read, else closed."""
        self._raw.close()


class Transport:
    """The connections to the providers of one mounted blueprint."""

    def __init__(self, settings: Settings, egress: EgressPolicy | None = None) -> None:
        self._settings = settings
        self._session = _Session(settings)
        # Without the proxy, which would look a custom host's name up once more.
        self._guarded = _Session(replace(settings, proxy=None), egress or EgressPolicy(""))

    def send(
        self,
        request: UpstreamRequest,
        *,
        provider: str,
        timeout: float | None = None,
        guarded: bool = False,
    ) -> Response:
        """Send *request* and return the answer once its head is there.

        :param provider: the provider's name, for error messages.
        :param timeout: seconds within which that has to be, the sending included.
        :param guarded: whether the address was a client's to choose, so that what is connected
            to has to be permitted.
        :raises UpstreamError: the provider can't be reached or speaks no HTTP.
        :raises UpstreamTimeout: it did not connect or answer in time.
        :raises RequestTimeout: it did not within *timeout*.
        :raises InvalidRoute: the address is not permitted.
        """
        settings = self._settings
        encoder = FormEncoder(request.body) if request.body is not None else None
        prepared = _prepare(request, encoder)
        deadline = None if timeout is None else time.monotonic() + timeout
        if encoder is not None:
            encoder.deadline = deadline
        token = _deadline.set(deadline)
        try:
            with _mapped(provider):
                response = (self._guarded if guarded else self._session).send(
                    prepared,
                    stream=True,
                    allow_redirects=False,
                    timeout=(
                        min(settings.connect_timeout, timeout or math.inf),
                        settings.read_timeout,
                    ),
                )
        except (UpstreamError, DeadlineExceeded) as error:
            if guarded and any(isinstance(cause, socket.gaierror) for cause in _causes(error)):
                # Told apart, the two would show which names there are inside.
                raise EgressRefused from error
            if timeout is None or deadline is None or time.monotonic() < deadline:
                raise
            late = RequestTimeout(
                f"Request exceeded the timeout sent in the request: {round(timeout * 1000)}ms"
            )
            late.sent = getattr(error, "sent", True)
            raise late from error
        finally:
            _deadline.reset(token)
        if response.status_code < 200:
            # http.client takes what is not 100 for final; the real answer is still to come.
            response.close()
            raise _answered(
                f"The provider {provider} answered {response.status_code}, which is no answer."
            )
        if response.ok and encoder is not None and encoder.started and not encoder.finished:
            response.close()
            raise _answered(
                f"The provider {provider} answered {response.status_code} before it had the "
                "whole file; look whether it has the file, and send it again if not."
            )
        return Response(response.raw, provider=provider, block_size=self._settings.block_size)


class _Session(requests.Session):
    """A session that keeps nothing of one call for the next, and takes nothing from outside.

    An entry in a netrc file would replace the target's credential, and a proxy from the
    environment would be looked up for each call: ``trust_env`` is off. No cookie is kept.
    """

    def __init__(self, settings: Settings, egress: EgressPolicy | None = None) -> None:
        super().__init__()
        self.trust_env = False
        self.headers.clear()
        self.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        if settings.proxy:
            self.proxies = {"http": settings.proxy, "https": settings.proxy}
        if settings.ca_bundle:
            self.verify = settings.ca_bundle
        for prefix in ("http://", "https://"):
            self.mount(prefix, _Adapter(settings, egress))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Take a redirect for an answer like any other.

        Even with ``allow_redirects=False`` requests would read its body and prepare the next
        request.
        """


class _Adapter(HTTPAdapter):
    def __init__(self, settings: Settings, egress: EgressPolicy | None) -> None:
        self._settings = settings
        self._egress = egress
        super().__init__(
            pool_connections=settings.pool_size,
            pool_maxsize=settings.pool_size,
            max_retries=_StaleConnection(),
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make urllib3 send in larger blocks than its 16 KiB, and with the read timeout."""
        super().init_poolmanager(*args, blocksize=self._settings.block_size, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._settings, self._egress)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Do the same where a proxy is used."""
        manager = super().proxy_manager_for(
            *args, blocksize=self._settings.block_size, **kwargs
        )
        manager.pool_classes_by_scheme = _pools(self._settings, self._egress)
        return manager


def _time_left(most: float) -> float:
    """Return for how long a socket may be waited for: *most* seconds, or until the deadline.

    :raises TimeoutError: that is over.
    """
    deadline = _deadline.get()
    if deadline is None:
        return most
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the call's time is over")
    return min(most, left)


def _pools(settings: Settings, egress: EgressPolicy | None) -> dict[str, Any]:
    """Return urllib3's connection pools with connections of our own.

    Their sends have the read timeout, or what the call allows. urllib3 leaves the connect
    timeout on until the request is sent: a provider that pauses in the middle of an upload
    would be given up as if it could not be reached.
    """

    class Patient:
        response_class: type[http.client.HTTPResponse] = _WholeHead
        sock: socket.socket
        timeout: float | None
        requests = 0

        def endheaders(self, *args: Any, **kwargs: Any) -> None:
            self.requests += 1
            super().endheaders(*args, **kwargs)  # type: ignore[misc]
            self.sock.settimeout(_time_left(settings.read_timeout))

        def getresponse(self) -> Any:
            # Kept, since http.client lets go of the socket of a last answer with its head.
            sock = self.sock
            self.timeout = _time_left(settings.read_timeout)
            try:
                response = super().getresponse()  # type: ignore[misc]
            except ConnectionError as error:
                raise (_Stale(str(error)) if self.requests > 1 else error) from None
            sock.settimeout(settings.read_timeout)
            return response

    mixins: tuple[type, ...] = (Patient,)
    if egress is not None:
        policy = egress

        class Guarded(GuardedConnection):
            egress = policy

        mixins = (Patient, Guarded)

    class HTTPPool(urllib3.HTTPConnectionPool):
        class ConnectionCls(*mixins, urllib3.connection.HTTPConnection):  # type: ignore[misc]
            """A connection over TCP."""

    class HTTPSPool(urllib3.HTTPSConnectionPool):
        class ConnectionCls(*mixins, urllib3.connection.HTTPSConnection):  # type: ignore[misc]
            """A connection over TLS."""

    return {"http": HTTPPool, "https": HTTPSPool}


class _WholeHead(http.client.HTTPResponse):
    """An answer whose head is whole, and there in time.

    http.client takes a head that is cut for a short one, and waits anew for each byte of it.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock = sock

    def begin(self) -> None:
        """Read the head."""
        stream = self.fp
        self.fp = cast(Any, _WholeLines(stream, self._sock))
        try:
            super().begin()
        finally:
            if self.fp is not None:  # It is where there is no body to come.
                self.fp = stream
            del self._sock


class _WholeLines:
    """Reads lines, and takes one without an end for a connection that was cut."""

    def __init__(self, stream: io.BufferedReader, sock: socket.socket) -> None:
        self._stream = stream
        self._sock = sock
        self.close = stream.close

    def readline(self, limit: int) -> bytes:
        if _deadline.get() is None:
            line = self._stream.readline(limit)
        else:
            line = self._readline_in_time(limit)
        if not line.endswith(b"\n") and len(line) < limit:
            raise http.client.RemoteDisconnected("the connection ended in an answer's head")
        return line

    def _readline_in_time(self, limit: int) -> bytes:
        line = b""
        while len(line) < limit and not line.endswith(b"\n"):
            self._sock.settimeout(_time_left(math.inf))
            ready = self._stream.peek(1)[: limit - len(line)]
            if not ready:
                break
            line += self._stream.read(ready.find(b"\n") + 1 or len(ready))
        return line


class _Stale(http.client.RemoteDisconnected):
    """A connection from the pool was closed before it answered once more."""


class _StaleConnection(urllib3.Retry):
    """Sends a request without a body once more if its connection was closed on it.

    A provider may close an idle connection just when it is used again. What was sent then was
    not read, and a GET can be repeated in any case.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**ONCE_MORE, **options})

    def _is_read_error(self, err: Exception) -> bool:
        return any(isinstance(cause, _Stale) for cause in _causes(err))


ONCE_MORE: dict[str, Any] = {
    "total": None,
    "connect": 0,
    "read": 1,
    "redirect": 0,
    "status": 0,
    "other": 0,
    "allowed_methods": frozenset({"GET", "HEAD"}),
    "raise_on_redirect": False,
    "raise_on_status": False,
}


def _prepare(request: UpstreamRequest, encoder: FormEncoder | None) -> requests.PreparedRequest:
    """Return *request* as requests sends it.

    Filled in by hand, since ``Request.prepare()`` would rewrite the query and add headers of
    the library's own.
    """
    prepared = requests.PreparedRequest()
    prepared.method = request.method
    prepared.url = request.url
    prepared.headers = CaseInsensitiveDict(request.headers.items())
    # Without this, urllib3 would send its own.
    prepared.headers.setdefault("User-Agent", "flask-portkey-files")
    prepared.hooks = default_hooks()
    if encoder is not None:
        prepared.body = encoder
        prepared.headers["Content-Type"] = encoder.content_type
        if hasattr(encoder, "len"):
            prepared.headers["Content-Length"] = str(encoder.len)
    return prepared


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and all that it wraps, whichever way the libraries wrapped it."""
    queue, seen = [error], set()
    while queue:
        error = queue.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        linked = (
            error.__cause__,
            error.__context__,
            getattr(error, "reason", None),
            *error.args,
        )
        queue += [cause for cause in linked if isinstance(cause, BaseException)]


def _answered(message: str) -> UpstreamError:
    """Return the error for an answer that had begun and can't be used."""
    error = UpstreamError(message)
    error.answered = True
    return error


@contextlib.contextmanager
def _mapped(provider: str, *, answered: bool = False) -> Iterator[None]:
    """Turn the libraries' exceptions into ours.

    Their own texts are left out: they quote addresses, and with those whatever is in a query.

    :param answered: whether the provider's answer has begun.
    """
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        causes = list(_causes(error))
        ours: UpstreamError
        if any(isinstance(cause, _TIMEOUTS) for cause in causes):
            ours = UpstreamTimeout(
                f"The provider {provider} did not answer in time; try again later."
            )
        else:
            reason = next(
                (text for types, text in _REASONS if any(isinstance(c, types) for c in causes)),
                "the request could not be sent",
            )
            ours = UpstreamError(f"Could not reach the provider {provider}: {reason}.")
        ours.sent = not any(isinstance(cause, _NEVER_CONNECTED) for cause in causes)
        ours.answered = answered
        raise ours from error
