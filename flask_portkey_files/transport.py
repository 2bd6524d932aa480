"""The only module that talks to providers: it sends a request and maps what goes wrong."""

from __future__ import annotations

import contextlib
import http.client
import http.cookiejar
import json
import math
import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from types import MethodType
from typing import Any, cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from werkzeug.datastructures import Headers

from .connection import Answer, UnsendableHead, causes_of, pools
from .deadline import DEADLINES, Deadlines
from .egress import EgressPolicy, EgressRefused
from .encoder import Body, DeadlineExceeded, FormEncoder, RawBody
from .errors import InvalidRequest, RequestTimeout, UpstreamError, UpstreamTimeout
from .form import UploadForm
from .progress import OpenAttempt
from .providers.base import UpstreamRequest
from .redaction import Secret
from .settings import MIB, Settings

#: The longest answer that is read whole, to be reshaped.
MAX_JSON = 16 * MIB

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]+[ \t]*")

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

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
    ((http.client.HTTPException,), "what it answered is not HTTP"),
)


class Response:
    """A provider's answer with its head read and its body still on the wire."""

    def __init__(
        self, raw: urllib3.BaseHTTPResponse, *, provider: str, settings: Settings, end: float
    ) -> None:
        self._raw = raw
        self._provider = provider
        self._block_size = settings.block_size
        self._patience = settings.read_timeout
        self._end = end
        self._is_read = False
        self.status = raw.status
        # Older releases of urllib3 leave a folded header's line break in, and http.client lets
        # other control characters through; WSGI servers refuse to send either.
        self.headers = Headers(
            [(name, _CONTROLS.sub(" ", value)) for name, value in raw.headers.items()]
        )

    def hurry(self, *, whole: bool) -> None:
        """Say whether what is read now has to be there as a whole within the read timeout.

        Without that, the timeout is for each next piece.
        """
        answer = getattr(self._raw, "_original_response", None)
        if isinstance(answer, Answer):  # None of those who mock requests has a socket.
            soon = time.monotonic() + self._patience if whole else math.inf
            answer.source.deadline = min(soon, self._end)

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, undecoded; nothing of one that has been read whole.

        :raises UpstreamError: the provider broke off.
        :raises UpstreamTimeout: it stopped sending.
        """
        if self._is_read:
            # urllib3 gives no undecoded rest of what it has begun to decode.
            return
        with _mapped(self._provider, answered=True):
            while block := self._raw.read1(self._block_size, decode_content=False):
                yield block

    def read(self, most: int) -> bytes:
        """Read the whole body, decoded.

        :raises UpstreamError: the provider broke off, or the body is longer than *most* bytes.
        :raises UpstreamTimeout: it was not there in time.
        """
        self._is_read = True
        self.hurry(whole=True)
        with _mapped(self._provider, answered=True):
            body = self._raw.read(most + 1, decode_content=True)
        if len(body) > most:
            raise _answered(
                f"The provider {self._provider} answered {self.status} with a body that is far "
                "too long."
            )
        return body

    def json(self) -> Any:
        """Read the whole body as JSON.

        :raises UpstreamError: the provider broke off, or the body is no JSON or far too long.
        """
        with contextlib.suppress(ValueError, RecursionError):
            return _loaded(self.read(MAX_JSON).decode("utf-8-sig"))
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
        end: float = math.inf,
        guarded: bool = False,
        attempt: OpenAttempt | None = None,
    ) -> Response:
        """Send *request* and return the answer once its head is there.

        :param provider: the provider's name, for error messages.
        :param timeout: seconds within which that has to be, the sending included.
        :param end: when all of the call has to be over, by ``time.monotonic()``.
        :param guarded: whether the address was a client's to choose, so that what is connected
            to has to be permitted.
        :param attempt: what the request is part of, to be told of it.
        :raises UpstreamError: the provider can't be reached or speaks no HTTP.
        :raises UpstreamTimeout: it did not connect or answer in time.
        :raises RequestTimeout: it did not within *timeout*.
        :raises InvalidRoute: the address is not permitted.
        """
        settings = self._settings
        body = request.body
        encoder: Body | None = None
        if isinstance(body, UploadForm):
            encoder = FormEncoder(body)
        elif body is not None:
            encoder = RawBody(body)
        prepared = _prepare(request, encoder)
        now = time.monotonic()
        deadlines = Deadlines(answer=min(now + (timeout or math.inf), end), end=end)
        if encoder is not None:
            encoder.deadline = deadlines.answer
        token = DEADLINES.set(deadlines)
        try:
            with _mapped(provider):
                response = (self._guarded if guarded else self._session).go(
                    prepared,
                    timeout=(
                        min(settings.connect_timeout, max(deadlines.answer - now, 0.001)),
                        settings.read_timeout,
                    ),
                )
            if attempt is not None:
                attempt.answered()
        except UnsendableHead as error:
            # The gateway's own parts are checked where they come from: this one is a client's.
            raise InvalidRequest(
                "A header of this call, or of its file part, has characters that can't be sent "
                "on; use printable ASCII."
            ) from error
        except (UpstreamError, DeadlineExceeded) as error:
            causes = causes_of(error) if guarded else ()
            if any(isinstance(cause, socket.gaierror) for cause in causes):
                # Told apart, the two would show which names there are inside.
                raise EgressRefused from error
            ours = self._overrun(timeout, deadlines)
            if ours is None:
                raise
            ours.sent = getattr(error, "sent", True)
            raise ours from error
        finally:
            DEADLINES.reset(token)
            if attempt is not None:
                attempt.sent(0 if encoder is None else encoder.sent)
        if response.status_code < 200:
            # A switch to another protocol, which nobody asked for.
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
        return Response(response.raw, provider=provider, settings=settings, end=end)

    def _overrun(self, timeout: float | None, deadlines: Deadlines) -> UpstreamTimeout | None:
        """Return the error for the deadline that is over, ``None`` if none is."""
        now = time.monotonic()
        if now >= deadlines.end:
            return UpstreamTimeout(
                f"The call took longer than {self._settings.total_timeout:g} seconds, and was "
                "given up."
            )
        if timeout is not None and now >= deadlines.answer:
            return RequestTimeout(
                f"Request exceeded the timeout sent in the request: {round(timeout * 1000)}ms"
            )
        return None


#: Where the functions of requests' sessions are at home.
_SESSIONS = vars(requests.sessions)


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
            self.proxies = dict.fromkeys(("http", "https"), Secret(settings.proxy))
        if settings.ca_bundle:
            self.verify = settings.ca_bundle
        for prefix in ("http://", "https://"):
            self.mount(prefix, _Adapter(settings, egress))

    def go(
        self, request: requests.PreparedRequest, *, timeout: tuple[float, float]
    ) -> requests.Response:
        """Send *request*, past what a session adds to its adapter.

        That is nothing here, and takes a tenth of a small request's time. But who mocks or
        traces requests puts a function, or another object, of theirs in the place of
        ``Session.send``, be it before this module is imported: it is asked then.
        """
        send: Any = self.send
        if type(send) is not MethodType or send.__func__.__globals__ is not _SESSIONS:
            response: requests.Response = send(
                request, stream=True, allow_redirects=False, timeout=timeout
            )
            return response
        adapter = self.get_adapter(request.url or "")
        verify = True if self.verify is None else self.verify
        return adapter.send(
            request, stream=True, timeout=timeout, verify=verify, proxies=self.proxies
        )

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
        )

    def send(  # noqa: PLR0917 - requests' own
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send *request* as the base class does, without what a relay has no use for.

        That is a second look at what is on the way in any case: decoded headers, cookies,
        the encoding, the request on the response. urllib3's exceptions come out as they are.
        """
        if proxies:
            pool: Any = self.get_connection_with_tls_context(request, verify, proxies, cert)
        else:
            # What the base class comes to as well, after another look at the address.
            pool = self._pool(request.url or "")
        # By the pool's own scheme: what is unencrypted may go through a proxy that is not.
        self.cert_verify(pool, f"{pool.scheme}://", verify, cert)  # type: ignore[no-untyped-call]
        response = requests.Response()
        response.raw = pool.exchange(
            request.method,
            Secret(self.request_url(request, proxies) if proxies else request.path_url),
            headers=request.headers,
            body=request.body,
            connect_timeout=timeout[0],
        )
        response.status_code = response.raw.status
        return response

    def _pool(self, url: str) -> Any:
        parts = urlsplit(url)
        return self.poolmanager.connection_from_host(
            parts.hostname, parts.port, parts.scheme, {"cert_reqs": "CERT_REQUIRED"}
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have urllib3 use connections of our own."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = pools(self._settings, self._egress)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Do the same where a proxy is used."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = pools(self._settings, self._egress)
        return manager


def _prepare(request: UpstreamRequest, encoder: Body | None) -> requests.PreparedRequest:
    """Return *request* as requests sends it.

    Filled in by hand, since ``Request.prepare()`` would rewrite the query and add headers of
    the library's own.
    """
    prepared = requests.PreparedRequest()
    prepared.method = request.method
    prepared.url = request.url
    # A provider's credential may be in any of them.
    prepared.headers = CaseInsensitiveDict((n, Secret(v)) for n, v in request.headers.items())
    for name in ("Content-Length", "Transfer-Encoding"):
        # What is sent decides on these; a second opinion would hide another request in it.
        prepared.headers.pop(name, None)
    # Without this, urllib3 would send its own.
    prepared.headers.setdefault("User-Agent", "flask-portkey-files")
    prepared.hooks = default_hooks()
    if encoder is not None:
        # What requests sends besides bytes and text, its types do not say.
        prepared.body = cast(Any, encoder)
        if encoder.content_type is not None:
            prepared.headers["Content-Type"] = encoder.content_type
        if hasattr(encoder, "len"):
            prepared.headers["Content-Length"] = str(encoder.len)
    return prepared


def _loaded(text: str) -> Any:
    """Return the JSON in *text* without what Python reads, and nobody else could be told."""
    if _SURROGATE.search(text):
        # Half a character can't be written again, be it in an address.
        whole = json.dumps(json.loads(text), ensure_ascii=False)
        text = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


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
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        OSError,
    ) as error:
        causes = list(causes_of(error))
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
