"""How a connection to a provider behaves: its timeouts, and what it takes for an answer."""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, cast

import urllib3

from .egress import EgressPolicy, GuardedConnection
from .settings import Settings

#: When the answer to the request that is being sent must have begun, by ``time.monotonic()``.
DEADLINE: ContextVar[float | None] = ContextVar("DEADLINE", default=None)


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


def time_left(most: float) -> float:
    """Return for how long a socket may be waited for: *most* seconds, or until the deadline.

    :raises TimeoutError: that is over.
    """
    deadline = DEADLINE.get()
    if deadline is None:
        return most
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the call's time is over")
    return min(most, left)


def pools(settings: Settings, egress: EgressPolicy | None) -> dict[str, Any]:
    """Return urllib3's connection pools with connections of our own.

    Their sends have the read timeout, or what the call allows. urllib3 leaves the connect
    timeout on until the request is sent: a provider that pauses in the middle of an upload
    would be given up as if it could not be reached.
    """

    class Patient:
        response_class: type[http.client.HTTPResponse] = WholeHead
        sock: socket.socket
        timeout: float | None
        requests = 0

        def endheaders(self, *args: Any, **kwargs: Any) -> None:
            self.requests += 1
            super().endheaders(*args, **kwargs)  # type: ignore[misc]
            self.sock.settimeout(time_left(settings.read_timeout))

        def getresponse(self) -> Any:
            # Kept, since http.client lets go of the socket of a last answer with its head.
            sock = self.sock
            self.timeout = time_left(settings.read_timeout)
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


class WholeHead(http.client.HTTPResponse):
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
        if DEADLINE.get() is None:
            line = self._stream.readline(limit)
        else:
            line = self._readline_in_time(limit)
        if not line.endswith(b"\n") and len(line) < limit:
            raise http.client.RemoteDisconnected("the connection ended in an answer's head")
        return line

    def _readline_in_time(self, limit: int) -> bytes:
        line = b""
        while len(line) < limit and not line.endswith(b"\n"):
            self._sock.settimeout(time_left(math.inf))
            ready = self._stream.peek(1)[: limit - len(line)]
            if not ready:
                break
            line += self._stream.read(ready.find(b"\n") + 1 or len(ready))
        return line


class _Stale(http.client.RemoteDisconnected):
    """A connection from the pool was closed before it answered once more."""


class StaleConnection(urllib3.Retry):
    """Sends a request without a body once more if its connection was closed on it.

    A provider may close an idle connection just when it is used again. What was sent then was
    not read, and a GET can be repeated in any case.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**ONCE_MORE, **options})

    def _is_read_error(self, err: Exception) -> bool:
        return any(isinstance(cause, _Stale) for cause in causes_of(err))


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
