"""What is known of a call while it runs."""

from __future__ import annotations

import time

from flask import Flask

from .call import FilesCall
from .multipart import RequestBody
from .signals import Outcome, call_finished


class Progress:
    """What is known of a call while it runs, for the signal at its end."""

    def __init__(self, app: Flask, call: FilesCall) -> None:
        self._app = app
        self._call = call
        self._started = time.monotonic()
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
        self.bytes_out = 0
        self.error: str | None = None
        self.sha256: str | None = None
        #: Whether the answer is that of an earlier upload under the same Idempotency-Key.
        self.replayed = False

    def finish(self) -> None:
        """Send the signal, once."""
        if self._finished:
            return
        self._finished = True
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
        )
        call_finished.send(self._app, call=self._call, outcome=outcome)
