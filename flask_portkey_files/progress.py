"""What is known of a call while it runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType

from flask import Flask, Response

from .body import RequestBody
from .call import FilesCall, Operation
from .errors import FilesError
from .multipart import FormReader
from .providers.base import Answer
from .signals import (
    AnswerHead,
    Attempt,
    AttemptOutcome,
    Outcome,
    answer_started,
    attempt_finished,
    attempt_started,
    call_finished,
)


class Progress:
    """What is known of a call while it runs, for the signals."""

    def __init__(self, app: Flask, call: FilesCall) -> None:
        self._app = app
        self._call = call
        self._started = time.monotonic()
        self._first_byte: float | None = None
        #: When the call must be over, by ``time.monotonic()``.
        self.deadline = math.inf
        self._finished = False
        self.status = 500
        self.provider: str | None = None
        #: Where the last target stands in the route, and how often it was tried again.
        self.option = "config"
        self.retries = 0
        #: How many requests were made in all, and how many seconds were waited between them.
        self.tries = 0
        self.waited = 0.0
        self.body: RequestBody | None = None
        self.reader: FormReader | None = None
        self.bytes_out = 0
        self.error: str | None = None
        self.sha256: str | None = None
        #: Called before another try than the first one; it may end the call by an exception.
        self.before_again: Callable[[], None] | None = None
        #: Whether the answer is that of an earlier upload under the same Idempotency-Key.
        self.replayed = False
        self.provider_first_byte: float | None = None

    def attempt(self) -> OpenAttempt:
        """Return the attempt that begins, to be entered."""
        return OpenAttempt(self._app, self._call, self)

    def answer(self, response: Response) -> None:
        """Note that the client's response is ready, and send the signal."""
        self._first_byte = time.monotonic() - self._started
        if not answer_started.receivers:
            return
        head = AnswerHead(
            provider=self.provider,
            option=self.option,
            attempts=self.tries,
            status=self.status,
            error=self.error,
            time_to_first_byte=self._first_byte,
            length=response.content_length,
        )
        answer_started.send(self._app, call=self._call, answer=head)

    def fail(self) -> None:
        """Note that the host's own code failed: the response is another one, or none."""
        self.status = 500
        self.error = "internal_error"

    def finish(self) -> None:
        """Send the signal, once."""
        if self._finished:
            return
        self._finished = True
        if not call_finished.receivers:
            return
        outcome = Outcome(
            provider=self.provider,
            option=self.option,
            retries=self.retries,
            status=self.status,
            bytes_in=self.body.received if self.body else 0,
            bytes_out=self.bytes_out,
            duration=time.monotonic() - self._started,
            error=self.error,
            sha256=self.sha256,
            replayed=self.replayed,
            attempts=self.tries,
            file_bytes=self._file_bytes(),
            time_to_first_byte=self._first_byte,
            provider_time_to_first_byte=self.provider_first_byte,
        )
        call_finished.send(self._app, call=self._call, outcome=outcome)

    def _file_bytes(self) -> int:
        if self.reader is not None:
            return self.reader.file_bytes
        whole = self._call.operation is Operation.CONTENT and self.status < 300
        return self.bytes_out if whole else 0


class OpenAttempt:
    """An attempt while it runs; its end is that of the ``with`` block."""

    def __init__(self, app: Flask, call: FilesCall, progress: Progress) -> None:
        self._app = app
        self._call = call
        self._progress = progress
        self._told: Attempt | None = None
        self._first_byte: float | None = None
        self._answer: Answer | None = None
        self._requests = 0
        self._bytes_sent = 0

    def sent(self, count: int) -> None:
        """Note that a request was made, and *count* bytes of its body sent."""
        self._requests += 1
        self._bytes_sent += count

    def answered(self) -> None:
        """Note that the head of an answer is there."""
        self._first_byte = time.monotonic() - self._started

    def ends_with(self, answer: Answer) -> Answer:
        """Note what the attempt comes to, and return it."""
        self._answer = answer
        return answer

    def __enter__(self) -> OpenAttempt:
        self._started = time.monotonic()
        if attempt_started.receivers or attempt_finished.receivers:
            progress = self._progress
            self._told = Attempt(
                provider=progress.provider or "",
                option=progress.option,
                number=progress.tries,
                retry=progress.retries,
            )
            try:
                attempt_started.send(self._app, call=self._call, attempt=self._told)
            except BaseException as error:
                self._finish(error)
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.provider_first_byte = self._first_byte
        if self._told is None:
            return
        try:
            self._finish(error)
        except BaseException:
            if self._answer is not None:
                self._answer.response.close()
            raise

    def _finish(self, error: BaseException | None) -> None:
        status: int = 500
        code: str | None = "internal_error"
        if self._answer is not None:
            status, code = self._answer.status, None
        elif isinstance(error, FilesError):
            status, code = error.status, error.code
        outcome = AttemptOutcome(
            status=status,
            error=code,
            requests=self._requests,
            bytes_sent=self._bytes_sent,
            time_to_first_byte=self._first_byte,
            duration=time.monotonic() - self._started,
        )
        attempt_finished.send(self._app, call=self._call, attempt=self._told, outcome=outcome)
