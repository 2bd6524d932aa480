"""Metrics for Prometheus, made of the signals. Needs the extra ``prometheus``."""

from __future__ import annotations

import contextlib
import http
import os
import struct
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from .call import FilesCall
from .signals import (
    Attempt,
    AttemptOutcome,
    Outcome,
    attempt_finished,
    call_finished,
    call_started,
    spool_changed,
)

#: Upper ends of the histograms' buckets, in seconds: what is answered from a cache takes
#: milliseconds, and the transfer of a large file hours.
BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1800, 3600, 7200),
)

#: How many codes of errors are told apart. The package's own are far fewer; those that a host
#: or a provider of its own adds count as well.
MAX_CODES = 100

#: The folder through which the worker processes of a server share what they count, as
#: prometheus_client has it: https://prometheus.github.io/client_python/multiprocess/
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

#: How often the workers' files are looked at, and how many seconds later again.
_LOOKS = 20
_PAUSE = 0.01

_EXTENSION = "portkey_files_prometheus"
#: Where a registry keeps them.
_METRICS = "_portkey_files_metrics"
_STATUSES = {int(status) for status in http.HTTPStatus}


def instrument(app: Flask, *, registry: CollectorRegistry = REGISTRY) -> None:
    """Count the calls of an application's blueprints.

    May be called before or after the blueprints are registered. Several applications of one
    process can share a registry; they are then counted together.

    :param registry: where the metrics are registered, the first time that it is given.
    """
    # A registry refuses a metric that it has, and an application may be made several times.
    metrics: Metrics = vars(registry).get(_METRICS) or Metrics(registry)
    vars(registry)[_METRICS] = metrics
    # A signal keeps no receiver alive.
    app.extensions[_EXTENSION] = metrics
    call_started.connect(metrics.start_call, app)
    attempt_finished.connect(metrics.finish_attempt, app)
    call_finished.connect(metrics.finish_call, app)
    spool_changed.connect(metrics.change_spool, app)


def metrics_view(registry: CollectorRegistry = REGISTRY) -> Callable[[], Response]:
    """Return a view with all the metrics of *registry*, for a route such as ``/metrics``.

    Where the environment has ``PROMETHEUS_MULTIPROC_DIR``, it shows those of all the worker
    processes instead. It asks for no credential: see to it who can reach its route.
    """

    def metrics() -> Response:
        shown = registry
        if os.environ.get(FOLDER):
            shown = CollectorRegistry()
            MultiProcessCollector(shown)  # type: ignore[no-untyped-call]
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        for _ in range(_LOOKS):
            # Between its making and its first write, a worker's file is empty, and
            # prometheus_client (0.26) finds no number in it.
            with contextlib.suppress(struct.error):
                return Response(encode(shown), content_type=content_type)
            time.sleep(_PAUSE)
        return Response("A worker's metrics can't be read yet.\n", 503, mimetype="text/plain")

    return metrics


def child_exit(server: object, worker: Any) -> None:  # noqa: ARG001 - gunicorn's own signature
    """Forget what a worker process had under way when it ended; a hook for gunicorn.

    To be imported in gunicorn's configuration file under this name. What the worker counted
    stays.
    """
    if os.environ.get(FOLDER):
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics, and the signals' receivers that keep them.

    No label has what a client can choose freely: a provider that no blueprint knows is
    ``other``, as is a status that HTTP does not know.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        target = ["operation", "provider"]
        result = [*target, "status", "error"]

        def counter(name: str, doc: str, labels: list[str]) -> Counter:
            return Counter(f"portkey_files_{name}", doc, labels, registry=registry)

        def seconds(name: str, doc: str) -> Histogram:
            return Histogram(
                f"portkey_files_{name}_seconds", doc, target, registry=registry, buckets=BUCKETS
            )

        def gauge(name: str, doc: str, labels: list[str]) -> Gauge:
            return Gauge(
                f"portkey_files_{name}",
                doc,
                labels,
                registry=registry,
                multiprocess_mode="livesum",
            )

        self._codes: set[str] = set()
        self._calls = counter("calls", "Calls that are over.", result)
        self._in_flight = gauge("calls_in_flight", "Calls that are not over.", ["operation"])
        self._received = counter(
            "received_bytes", "Bytes read of clients' request bodies.", target
        )
        self._sent = counter("sent_bytes", "Bytes of response bodies sent to clients.", target)
        self._file_bytes = counter(
            "file_bytes", "Bytes of files that were uploaded or downloaded.", target
        )
        self._duration = seconds("call_duration", "From a call's start until it is over.")
        self._first_byte = seconds(
            "call_first_byte", "From a call's start until its response begins."
        )
        self._attempts = counter("attempts", "Attempts at targets that are over.", result)
        self._retries = counter(
            "retries", "Attempts at a target that was tried before.", target
        )
        self._fallbacks = counter("fallbacks", "First attempts at a further target.", target)
        self._requests = counter("provider_requests", "Requests made to providers.", target)
        self._provider_bytes = counter(
            "provider_sent_bytes", "Bytes of request bodies sent to providers.", target
        )
        self._provider_first_byte = seconds(
            "provider_first_byte", "From an attempt's start until the provider's answer begins."
        )
        self._spooled = gauge("spooled_bytes", "Bytes of uploads that are held back.", [])

    def start_call(self, sender: Flask, call: FilesCall) -> None:  # noqa: ARG002 - the signal's
        """Receive ``call_started``."""
        self._in_flight.labels(call.operation.value).inc()

    def finish_call(self, sender: Flask, call: FilesCall, outcome: Outcome) -> None:
        """Receive ``call_finished``."""
        operation = call.operation.value
        target = operation, _provider(sender, outcome.provider)
        self._calls.labels(*target, _status(outcome.status), self._code(outcome.error)).inc()
        self._received.labels(*target).inc(outcome.bytes_in)
        self._sent.labels(*target).inc(outcome.bytes_out)
        self._file_bytes.labels(*target).inc(outcome.file_bytes)
        self._duration.labels(*target).observe(outcome.duration)
        if outcome.time_to_first_byte is not None:
            self._first_byte.labels(*target).observe(outcome.time_to_first_byte)
        # Last: while a call is neither, a scrape would know nothing of it.
        self._in_flight.labels(operation).dec()

    def finish_attempt(
        self, sender: Flask, call: FilesCall, attempt: Attempt, outcome: AttemptOutcome
    ) -> None:
        """Receive ``attempt_finished``."""
        target = call.operation.value, _provider(sender, attempt.provider)
        self._attempts.labels(*target, _status(outcome.status), self._code(outcome.error)).inc()
        if attempt.retry:
            self._retries.labels(*target).inc()
        elif attempt.number > 1:
            self._fallbacks.labels(*target).inc()
        self._requests.labels(*target).inc(outcome.requests)
        self._provider_bytes.labels(*target).inc(outcome.bytes_sent)
        if outcome.time_to_first_byte is not None:
            self._provider_first_byte.labels(*target).observe(outcome.time_to_first_byte)

    def change_spool(self, sender: Flask, change: int) -> None:  # noqa: ARG002 - the signal's
        """Receive ``spool_changed``."""
        self._spooled.inc(change)

    def _code(self, code: str | None) -> str:
        if code is None or code in self._codes:
            return code or ""
        if len(self._codes) >= MAX_CODES:
            return "other"
        self._codes.add(code)
        return code


def _provider(app: Flask, name: str | None) -> str:
    """Return a provider's name as a label: what a resolver takes from a client may be any."""
    if name is None:
        return ""
    relays = app.extensions.get("portkey_files", {}).values()
    return name if any(name in relay.providers for relay in relays) else "other"


def _status(status: int) -> str:
    return str(status) if status in _STATUSES else "other"
