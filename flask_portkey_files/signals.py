"""What a host application can listen to, for logs, metrics and accounting.

What is told is told in frozen dataclasses with keyword arguments, so that more can be told one
day. Nothing is made, and nothing is looked at, for a signal that has no receivers.
"""

from __future__ import annotations

from dataclasses import dataclass

from blinker import Namespace

_signals = Namespace()


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of one target. It may take several requests, with a provider that needs them.

    :param provider: the provider's name, as the resolver gave it.
    :param option: where the target stands in the route, e.g. ``config.targets[1]``; ``config``
        if the route is a single target.
    :param number: which attempt of the call it is, from 1 on.
    :param retry: how often the same target has been tried before; 0 the first time.
    """

    provider: str
    option: str
    number: int
    retry: int


@dataclass(frozen=True, kw_only=True)
class AttemptOutcome:
    """How an attempt ended: with the head of an answer, or without one.

    :param status: the HTTP status of the provider's answer, or that of the gateway's own error.
    :param error: the ``code`` of the gateway's own error, e.g. ``upstream_timeout``; ``None``
        if the provider answered, even with an error.
    :param requests: how many requests were made; 0 if the call was refused before the first.
    :param bytes_sent: bytes of the requests' bodies that were sent.
    :param time_to_first_byte: seconds from the attempt's start until the head of the
        provider's last answer was there; for an upload that includes sending it. ``None`` if
        there was no answer.
    :param duration: seconds from the attempt's start until it was known what comes of it.
    """

    status: int
    error: str | None
    requests: int
    bytes_sent: int
    time_to_first_byte: float | None
    duration: float


@dataclass(frozen=True, kw_only=True)
class AnswerHead:
    """The beginning of what the client gets.

    :param provider: the provider's name; ``None`` if the resolver picked none.
    :param option: where the last target that was tried stands in the route.
    :param attempts: how many attempts were made, over all targets.
    :param status: the HTTP status.
    :param error: the ``code`` of the gateway's own error, ``None`` if the answer is the
        provider's.
    :param time_to_first_byte: seconds from the call's start until now.
    :param length: the length of the body in bytes, ``None`` if it is not known.
    """

    provider: str | None
    option: str
    attempts: int
    status: int
    error: str | None
    time_to_first_byte: float
    length: int | None


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
    :param attempts: how many attempts were made, over all targets.
    :param file_bytes: bytes of the file itself that came in or went out: of an upload without
        the form around it, of a download that was not refused.
    :param time_to_first_byte: seconds from the call's start until the head of its response and
        the first piece of the body were ready for the client; ``None`` if it never had one.
    :param provider_time_to_first_byte: the last attempt's ``time_to_first_byte``.
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
    attempts: int = 0
    file_bytes: int = 0
    time_to_first_byte: float | None = None
    provider_time_to_first_byte: float | None = None


#: Sent when a call has come in, before the resolver runs. Sender: the Flask application.
#: Argument: ``call``, the :class:`~flask_portkey_files.FilesCall`.
call_started = _signals.signal("portkey-files-call-started")

#: Sent before a target is tried. Sender: the Flask application. Arguments: ``call``, the
#: :class:`~flask_portkey_files.FilesCall`, and ``attempt``, the :class:`Attempt`.
attempt_started = _signals.signal("portkey-files-attempt-started")

#: Sent when it is known what comes of an attempt, by the same thread that sent
#: ``attempt_started``, for each one that was sent. What the provider answered may still be on
#: its way. Sender: the Flask application. Arguments: ``call``, ``attempt``, and ``outcome``,
#: the :class:`AttemptOutcome`.
attempt_finished = _signals.signal("portkey-files-attempt-finished")

#: Sent when the head of the client's response is ready, with the first piece of its body.
#: Sender: the Flask application. Arguments: ``call``, the
#: :class:`~flask_portkey_files.FilesCall`, and ``answer``, the :class:`AnswerHead`.
answer_started = _signals.signal("portkey-files-answer-started")

#: Sent when a call is over: its response has been sent, or broken off. By then the request
#: context is gone. Sender: the Flask application. Arguments: ``call``, the
#: :class:`~flask_portkey_files.FilesCall`, and ``outcome``, the :class:`Outcome`.
call_finished = _signals.signal("portkey-files-call-finished")

#: Sent when an upload takes room to be held back, and when it gives it up. Sender: the Flask
#: application. Argument: ``change``, in bytes, negative for what is given up.
spool_changed = _signals.signal("portkey-files-spool-changed")
