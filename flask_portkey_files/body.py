"""The client's request body, counted."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Protocol

from .errors import PayloadTooLarge, RequestBroken, UploadTooSlow
from .pace import Pace
from .settings import KIB


class Readable(Protocol):
    """A WSGI input stream."""

    def read(self, size: int, /) -> bytes:
        """Return at most *size* bytes, none at the end."""
        ...


class RequestBody:
    """The client's request body, counted, so that a body cut short is never taken for whole.

    gunicorn reports the end of a body that stopped before its ``Content-Length`` as an
    ordinary end, others raise what they please: both come out as :class:`RequestBroken`.

    :param stream: the WSGI input stream.
    :param content_length: the length that the client announced, if it did.
    """

    def __init__(self, stream: Readable, *, content_length: int | None) -> None:
        self._stream = stream
        self._content_length = content_length
        #: How many bytes have been read.
        self.received = 0
        #: Whether there is nothing left to read, be it because the client broke off.
        self.ended = False
        #: The host application's own limit of a request's size, if it has one.
        self.most: int | None = None
        #: How fast the client sends, if that is looked at.
        self.pace: Pace | None = None

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, none at the end of a complete body.

        :raises RequestBroken: the body ended early or can't be read.
        :raises UploadTooSlow: it did not come fast enough.
        :raises PayloadTooLarge: the host application's own ``MAX_CONTENT_LENGTH`` is reached.
        """
        try:
            data = self._waited_for(size)
        except Exception as error:
            # Deliberately wide: what a server raises here need not be an OSError, and an
            # OSError let through would be taken for the provider's fault.
            raise self._broken(f"could not be read after {self.received} bytes") from error
        if not data:
            self.ended = True
            announced = self._content_length
            if announced is not None and self.received < announced:
                raise self._broken(f"ended after {self.received} of {announced} bytes")
        self.received += len(data)
        if self.most is not None and self.received > self.most:
            raise request_too_large()
        return data

    def _waited_for(self, size: int) -> bytes:
        if self.pace is None:
            return self._stream.read(size)
        data = b""
        self.pace.begin(size)
        try:
            data = self._stream.read(size)
        finally:
            self.pace.rest(len(data))
        return data

    def _broken(self, how: str) -> RequestBroken:
        self.ended = True
        if self.pace is not None and self.pace.over:
            return UploadTooSlow(
                f"The upload was too slow: {self.received} bytes of the request body had come "
                "when it was given up. Send it again over a faster connection."
            )
        return RequestBroken(f"The request body {how}; send the upload again.")

    def discard(self, connection: socket.socket, *, most: int, seconds: float) -> None:
        """Read on and keep nothing, until the end or one of the bounds is reached.

        :param connection: the client's; no more is read from it after *seconds*, even if a
            read is under way.
        """

        def stop() -> None:
            with contextlib.suppress(OSError):  # The client may have closed it.
                connection.shutdown(socket.SHUT_RD)

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        self.most = None
        try:
            while most > 0 and not self.ended:
                most -= len(self.read(64 * KIB))
        except RequestBroken:
            pass
        finally:
            timer.cancel()


def request_too_large() -> PayloadTooLarge:
    """Return the error for a request above the host application's own limit."""
    return PayloadTooLarge("The request is larger than this service accepts.")
