"""How a request goes over a connection to a provider, and what is taken for its answer."""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.util import parse_url

from .deadline import DEADLINES, TimedSource, seconds_left, time_left
from .egress import EgressPolicy, GuardedConnection
from .redaction import SecretBytes
from .settings import KIB, Settings

# The bounds of a head are those of http.client.
_MAX_LINE = 64 * KIB
_MAX_FIELDS = 100
#: How many interim answers (RFC 9110, 15.2) may come before the one that counts.
_MAX_INTERIM = 100

# Of lines without the blanks at their end: with those left to them, both could be made to look
# for that end anew from each blank on.
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) +([1-9][0-9]{2})(?: +(.*))?", re.DOTALL)
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)", re.DOTALL)
_BLANKS = b" \t\r\n"
# Python makes no number of more than 4300 digits, and no body is that long.
_LENGTH = re.compile(r"[0-9]{1,18}")

# What would end a line of the head that is sent, or be taken for its end by somebody.
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNQUOTED = re.compile(r"[^!-~]+")

#: What a send on a connection raises that the other side has closed; the last two under TLS.
_CLOSED = (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)

#: A piece of a body from this size on is not copied to be framed.
_LARGE = 16 * KIB


def causes_of(error: BaseException) -> Iterator[BaseException]:
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


def pools(settings: Settings, egress: EgressPolicy | None) -> dict[str, Any]:
    """Return urllib3's connection pools, with :class:`Exchange` before them."""

    class Patient(Exchange):
        read_timeout = settings.read_timeout

    class Guarded(GuardedConnection):
        pass

    mixins: tuple[type, ...] = ()
    if egress is not None:
        Guarded.egress = egress
        mixins = (Guarded,)

    class HTTPPool(Patient, urllib3.HTTPConnectionPool):
        class ConnectionCls(*mixins, urllib3.connection.HTTPConnection):  # type: ignore[misc]
            """A connection over TCP."""

    class HTTPSPool(Patient, urllib3.HTTPSConnectionPool):
        class ConnectionCls(*mixins, urllib3.connection.HTTPSConnection):  # type: ignore[misc]
            """A connection over TLS."""

    return {"http": HTTPPool, "https": HTTPSPool}


class UnsendableHead(ValueError):
    """The head of a request has characters that no head may have."""


class WrongLength(RuntimeError):
    """A request's body has more or fewer bytes than its head says."""


class Exchange:
    """Sends a request over one of a pool's connections, and reads the head of the answer.

    To be put before one of urllib3's pools. urllib3 makes the connections, with all that
    belongs to TLS and proxies, keeps them, and reads the body of an answer. What is between is
    done here, for three reasons. urllib3 and ``http.client`` take each request and answer
    through several forms, which is half of what a small one costs. They leave the connect
    timeout on until a request is sent: a provider that pauses in the middle of an upload would
    be given up as if it could not be reached. And they take a head that is cut for a short
    one, and wait anew for each byte of it.
    """

    read_timeout: float

    def exchange(
        self: Any,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: Iterable[bytes] | None,
        connect_timeout: float,
    ) -> urllib3.HTTPResponse:
        """Send a request and return its answer, with the body still on the wire.

        A ``GET`` or ``HEAD`` is sent once more if its connection was closed on it: a provider
        may close an idle connection just when it is used again. What was sent then was not
        read, and these can be repeated in any case.

        :param target: the path with its query, or the whole address where a proxy wants it.
        :param body: what to send in chunks, or as it is if *headers* has its length.
        :raises UnsendableHead: the request can't be sent.
        :raises WrongLength: what is in *body* is not what *headers* say.
        :raises OSError: as the socket does, and urllib3's and ``http.client``'s own errors.
        """
        length = None
        if body is not None and "Content-Length" in headers:
            length = int(headers["Content-Length"])
        head = _head(
            method, target, {**self._framing(method, target, headers, body), **headers}
        )
        if head is None:
            raise UnsendableHead
        again = method in {"GET", "HEAD"}
        while True:
            connection = self._get_conn()
            if getattr(connection.sock, "pending", int)():
                # More than an answer came, and TLS holds it where the pool does not look.
                connection.close()
            used = connection.sock is not None
            try:
                self._connect(connection, target, connect_timeout)
                connection.sock.settimeout(time_left(self.read_timeout))
                # It may have answered before it had all.
                with contextlib.suppress(*_CLOSED):
                    self._send(connection.sock, head, body, length)
                answer = Answer(connection.sock, method, self.read_timeout)
            except ConnectionError:
                connection.close()
                if not (used and again):
                    raise
                again = False
            except BaseException:
                # Half a request must not be taken for a whole one.
                connection.close()
                raise
            else:
                break
        if answer.will_close:
            # The answer still holds the socket.
            connection.close()
        return urllib3.HTTPResponse(
            body=answer,
            headers=answer.fields,
            status=answer.status,
            version=answer.version,
            reason=answer.reason,
            preload_content=False,
            decode_content=False,
            original_response=answer,
            pool=self,
            connection=connection,
            request_method=method,
        )

    def _framing(
        self: Any, method: str, target: str, headers: Mapping[str, str], body: Any
    ) -> dict[str, str]:
        """Return what a request needs besides its own headers."""
        scheme, host, port = self.scheme, self.host, self.port
        framing: dict[str, str] = {}
        if not target.startswith("/"):
            scheme, _, host, port, *_ = parse_url(target)
            # A tunnel has them in its own request.
            framing.update((n, v) for n, v in self.proxy_headers.items() if n not in headers)
        if ":" in host:
            host = f"[{host.strip('[]').partition('%')[0]}]"
        if port not in {None, {"http": 80, "https": 443}[scheme]}:
            host = f"{host}:{port}"
        if "Host" not in headers:
            framing["Host"] = host
        if "Accept-Encoding" not in headers:
            framing["Accept-Encoding"] = "identity"
        if body is None:
            if method in {"POST", "PUT", "PATCH"}:
                framing["Content-Length"] = "0"
        elif "Content-Length" not in headers:
            framing["Transfer-Encoding"] = "chunked"
        return framing

    def _connect(self: Any, connection: Any, target: str, timeout: float) -> None:
        if connection.sock is not None:
            return
        connection.timeout = timeout
        if self.proxy is None:
            connection.connect()
            return
        try:
            if target.startswith("/"):
                self._prepare_proxy(connection)  # Opens a tunnel, if it is one for TLS.
            if connection.sock is None:
                connection.connect()
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise urllib3.exceptions.ProxyError("Cannot connect", error) from error

    def _send(
        self,
        sock: socket.socket,
        head: bytes,
        body: Iterable[bytes] | None,
        length: int | None,
    ) -> None:
        """Send a request: its head together with the first piece of its body.

        :param length: the body's length; it goes in chunks without one.
        """
        chunked = body is not None and length is None
        left = length or 0
        patience = sock.gettimeout()
        for piece in body or ():
            if chunked and not piece:
                continue
            if patience != (patience := time_left(self.read_timeout)):
                sock.settimeout(patience)
            if chunked:
                pieces = [head, b"%x\r\n" % len(piece), piece, b"\r\n"]
            else:
                pieces = [head, piece]
                left -= len(piece)
                if left < 0:
                    # What is too much would be the beginning of the next request.
                    raise WrongLength(f"a body of {length} bytes is longer")
            head = b""
            _send_all(sock, pieces, patience)
        if left:
            # And the next request would be the end of this one.
            raise WrongLength(f"a body of {length} bytes is {left} bytes shorter")
        end = b"0\r\n\r\n" if chunked else b""
        if head or end:
            sock.sendall(SecretBytes(head + end))


def _head(method: str, target: str, headers: Mapping[str, str]) -> SecretBytes | None:
    """Return a request's head, ``None`` if something in it would end a line, or has no bytes.

    Raised here, an error would show the lines with it.
    """
    target = _UNQUOTED.sub(lambda found: quote(found[0]), target)
    lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
    if any(map(_UNSENDABLE.search, lines)) or not all(map(_NAME.fullmatch, (method, *headers))):
        return None
    return SecretBytes("\r\n".join([*lines, "\r\n"]).encode("latin-1"))


def _send_all(sock: socket.socket, pieces: list[bytes], patience: float) -> None:
    """Send *pieces*, without copying a large one where the socket can do that.

    :param patience: the most seconds that it may take, which is the socket's timeout.
    """
    if type(sock) is not socket.socket:
        # Under TLS it can't, and its timeout begins anew with each record.
        end = time.monotonic() + patience
        rest = memoryview(b"".join(pieces))
        while rest:
            sock.settimeout(seconds_left(patience, end))
            rest = rest[sock.send(rest) :]
        return
    if max(map(len, pieces)) < _LARGE:
        sock.sendall(b"".join(pieces))
        return
    sent = sock.sendmsg(pieces)
    for piece in pieces:
        if sent < len(piece):
            sock.sendall(memoryview(piece)[sent:])
        sent = max(0, sent - len(piece))


class Answer(http.client.HTTPResponse):
    """An answer whose head is whole, and there in time.

    :param patience: the most seconds to wait for the whole head, and for each next piece of
        the body.
    :raises TimeoutError: the head was not there in time.
    :raises http.client.HTTPException: it is no answer, or its head is far too long.
    :raises ConnectionError: the connection ended before the head did.
    """

    def __init__(self, sock: socket.socket, method: str, patience: float) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        #: What the answer is read from.
        self.source = TimedSource(sock, patience)
        self.fp = io.BufferedReader(self.source)
        self._method_asked = method
        self.fields = urllib3.HTTPHeaderDict()
        deadlines = DEADLINES.get()
        self.source.deadline = min(time.monotonic() + patience, deadlines.answer)
        try:
            self.begin()
        except BaseException:
            self.close()
            raise
        self.source.deadline = deadlines.end
        if self.length is None and not self.chunked and isinstance(sock, ssl.SSLSocket):
            # The connection's end is the body's only with TLS's own mark of it (RFC 9112, 9.8):
            # anybody on the way can cut the connection itself.
            sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]

    def begin(self) -> None:
        """Read the head."""
        for _ in range(_MAX_INTERIM + 1):
            found = _STATUS_LINE.fullmatch(self._line().rstrip(_BLANKS))
            if not found:
                raise http.client.BadStatusLine("no status line")
            self.version = 10 if found[1] == b"0" else 11
            self.status = int(found[2])
            self.reason = (found[3] or b"").decode("latin-1")
            self.fields = self._read_fields()
            # Behind a 101 there is no HTTP.
            if self.status >= 200 or self.status == 101:
                break
        else:
            raise http.client.HTTPException("too many interim answers")
        # Where requests looks for cookies.
        self.msg = http.client.HTTPMessage()
        self._frame()

    def _frame(self) -> None:
        """Find out where the body ends (RFC 9112, 6.3)."""
        fields = self.fields
        # Repeated, it may have become a list on its way.
        lengths = {value.strip() for value in fields.get("Content-Length", "").split(",")}
        transfer = fields.get("Transfer-Encoding", "").strip().lower()
        if transfer not in {"", "chunked", "identity"}:
            raise http.client.HTTPException("an unknown transfer encoding")
        self.chunked = transfer == "chunked"
        self.chunk_left = None
        self.length = None
        if not self.chunked:
            length = lengths.pop()
            if lengths:
                raise http.client.HTTPException("more than one length")
            if _LENGTH.fullmatch(length):
                self.length = int(length)
                if fields["Content-Length"] != length:
                    fields["Content-Length"] = length
            elif "Content-Length" in fields:
                # With the end of the connection for its end, one that is cut would look whole.
                raise http.client.HTTPException("a length that can't be")
        if self.status in {204, 304} or self.status < 200 or self._method_asked == "HEAD":
            # Even if it says how the body would have come.
            self.chunked = False
            self.length = 0
        connection = fields.get("Connection", "").lower()
        if self.version == 10:
            self.will_close = "keep-alive" not in connection
        else:
            self.will_close = "close" in connection
        if not self.chunked and self.length is None:
            self.will_close = True

    def _read_fields(self) -> urllib3.HTTPHeaderDict:
        fields = urllib3.HTTPHeaderDict()
        pairs: list[tuple[str, str]] = []
        for _ in range(_MAX_FIELDS + 1):
            line = self._line()
            if line in {b"\r\n", b"\n"}:
                break
            found = _FIELD_LINE.fullmatch(line.rstrip(_BLANKS))
            if found:
                pairs.append((found[1].decode("ascii"), found[2].decode("latin-1")))
            elif line[:1] in b" \t" and pairs:
                # A field that was folded into several lines (RFC 9112, 5.2).
                name, value = pairs[-1]
                pairs[-1] = name, f"{value} {line.decode('latin-1').strip()}".strip()
            else:
                # All that follows could mean something else than was meant.
                raise http.client.HTTPException("a line that is no header field")
        else:
            raise http.client.HTTPException("too many header lines")
        for name, value in pairs:
            fields.add(name, value)
        return fields

    def _line(self) -> bytes:
        """Return the next line of the head."""
        limit = _MAX_LINE + 1
        line = self.fp.readline(limit)
        if not line.endswith(b"\n"):
            if len(line) >= limit:
                raise http.client.LineTooLong("header line")
            raise http.client.RemoteDisconnected("the connection ended in an answer's head")
        return line
