"""What a host application can listen to, for logs, metrics and accounting."""

from __future__ import annotations

from dataclasses import dataclass

from blinker import Namespace

_signals = Namespace()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call ended.

    :param provider: the provider's name; ``None`` if the resolver picked none.
    :param option: where the last target that was tried stands in the route, e.g.
        ``config.targets[1]``; ``config`` if the route is a single target.
    :param retries: how often that target was tried again.
    :param status: the HTTP status that the client was sent.
    :param bytes_in: bytes read of the client's request body.
    :param bytes_out: bytes of the response body handed to the WSGI server.
    :param duration: seconds from the call's start until its response was closed.
    :param error: the ``code`` of the gateway's own error, e.g. ``upstream_timeout`` or
        ``broken_transfer``; ``client_disconnected`` if the client left before the response was
        through; ``None`` if the answer, even an error, is the provider's.
    :param sha256: the SHA-256 of the file that was uploaded, in hexadecimal, if it was
        computed.
    :param replayed: whether the answer is that of an earlier upload under the same
        ``Idempotency-Key``.
    """

    provider: str | None
    option: str
    retries: int
    status: int
    bytes_in: int
    bytes_out: int
    duration: float
    error: str | None
    sha256: str | None = None
    replayed: bool = False


#: Sent when a call has come in, before the resolver runs. Sender: the Flask application.
#: Argument: ``call``, the :class:`~flask_portkey_files.FilesCall`.
call_started = _signals.signal("portkey-files-call-started")

#: Sent when a call is over: its response has been sent, or broken off. By then the request
#: context is gone. Sender: the Flask application. Arguments: ``call``, the
#: :class:`~flask_portkey_files.FilesCall`, and ``outcome``, the :class:`Outcome`.
call_finished = _signals.signal("portkey-files-call-finished")
