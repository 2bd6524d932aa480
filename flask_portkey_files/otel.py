"""Spans for OpenTelemetry, made of the signals. Needs the extra ``otel``."""

from __future__ import annotations

from contextvars import Token
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from opentelemetry import context, propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from .call import FilesCall
from .signals import (
    AnswerHead,
    Attempt,
    AttemptOutcome,
    Outcome,
    answer_started,
    attempt_finished,
    attempt_started,
    call_finished,
    call_started,
)

#: The providers' names in the semantic conventions for generative AI, where they have one:
#: https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/
GEN_AI_PROVIDERS = {
    "anthropic": "anthropic",
    "azure-ai": "azure.ai.inference",
    "azure-openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "cohere": "cohere",
    "google": "gcp.gemini",
    "groq": "groq",
    "mistral-ai": "mistral_ai",
    "openai": "openai",
    "vertex-ai": "gcp.vertex_ai",
    "x-ai": "x_ai",
}

#: The most characters of what a client may write as it likes.
MAX_TEXT = 256

#: How a transfer can fail whose status was a success.
_BROKEN = {"broken_transfer", "client_disconnected"}

_EXTENSION = "portkey_files_otel"
#: Where a call has its spans: what is lost with it, nobody has to clean up.
_SPANS = "_portkey_files_spans"


def instrument(app: Flask, *, tracer_provider: TracerProvider | None = None) -> None:
    """Make spans of the calls of an application's blueprints.

    Each call has one from its start until the last byte of its response is sent, within the
    span of the request if there is one. The span of a request ends before a download does,
    with OpenTelemetry's instrumentation of Flask. Each attempt has one within it, in which the
    spans of the instrumentation of requests are.

    :param tracer_provider: OpenTelemetry's global one if absent.
    """
    # A signal keeps no receiver alive.
    traces = app.extensions[_EXTENSION] = Traces(tracer_provider)
    call_started.connect(traces.start_call, app)
    attempt_started.connect(traces.start_attempt, app)
    attempt_finished.connect(traces.finish_attempt, app)
    answer_started.connect(traces.start_answer, app)
    call_finished.connect(traces.finish_call, app)


def without_query(span: Span, request: Any) -> None:
    """Take the query out of the address in a span of the instrumentation of requests.

    To be given to it as ``request_hook``. Some providers hand out addresses whose query is
    what lets a file be uploaded or downloaded.

    :param request: the ``requests.PreparedRequest``.
    """
    address = (request.url or "").partition("?")[0].partition("#")[0]
    known = getattr(span, "attributes", None) or {}
    for name in ("http.url", "url.full"):
        if name in known:
            span.set_attribute(name, address)


@dataclass
class _Spans:
    call: Span
    attempts: list[tuple[Span, Token[Any]]] = field(default_factory=list)


class Traces:
    """The signals' receivers that make the spans."""

    def __init__(self, tracer_provider: TracerProvider | None) -> None:
        self._tracer = trace.get_tracer("flask_portkey_files", None, tracer_provider)

    def start_call(self, sender: Flask, call: FilesCall) -> None:  # noqa: ARG002 - the signal's
        """Receive ``call_started``."""
        within = trace.get_current_span().get_span_context().is_valid
        span = self._tracer.start_span(
            f"files {call.operation}",
            context=None if within else propagate.extract(call.headers),
            kind=SpanKind.INTERNAL if within else SpanKind.SERVER,
            attributes={
                "http.request.method": call.method,
                "portkey_files.operation": call.operation.value,
                "portkey_files.trace_id": call.trace_id[:MAX_TEXT],
                **({"portkey_files.file_id": call.file_id[:MAX_TEXT]} if call.file_id else {}),
            },
        )
        vars(call)[_SPANS] = _Spans(span)

    def start_attempt(self, sender: Flask, call: FilesCall, attempt: Attempt) -> None:  # noqa: ARG002
        """Receive ``attempt_started``."""
        spans = _spans(call)
        if spans is None:
            return
        span = self._tracer.start_span(
            f"files {call.operation} attempt",
            context=trace.set_span_in_context(spans.call),
            attributes={
                **_target(attempt.provider, attempt.option),
                "portkey_files.attempt": attempt.number,
                "portkey_files.retry": attempt.retry,
            },
        )
        # What is sent to the provider is within it.
        spans.attempts.append((span, context.attach(trace.set_span_in_context(span))))

    def finish_attempt(
        self,
        sender: Flask,  # noqa: ARG002
        call: FilesCall,
        attempt: Attempt,  # noqa: ARG002
        outcome: AttemptOutcome,
    ) -> None:
        """Receive ``attempt_finished``."""
        spans = _spans(call)
        if spans is None or not spans.attempts:
            return
        span, token = spans.attempts.pop()
        context.detach(token)
        span.set_attribute("http.response.status_code", outcome.status)
        span.set_attribute("portkey_files.requests", outcome.requests)
        span.set_attribute("portkey_files.bytes_sent", outcome.bytes_sent)
        _set_seconds(span, "time_to_first_byte", outcome.time_to_first_byte)
        _set_status(span, outcome.status, outcome.error)
        span.end()

    def start_answer(self, sender: Flask, call: FilesCall, answer: AnswerHead) -> None:  # noqa: ARG002
        """Receive ``answer_started``."""
        spans = _spans(call)
        if spans is not None:
            spans.call.add_event("answer started", {"http.response.status_code": answer.status})

    def finish_call(self, sender: Flask, call: FilesCall, outcome: Outcome) -> None:  # noqa: ARG002
        """Receive ``call_finished``."""
        spans = _spans(call)
        if spans is None:
            return
        span = spans.call
        for name, value in _target(outcome.provider, outcome.option).items():
            span.set_attribute(name, value)
        span.set_attribute("http.response.status_code", outcome.status)
        span.set_attribute("http.request.body.size", outcome.bytes_in)
        span.set_attribute("http.response.body.size", outcome.bytes_out)
        span.set_attribute("portkey_files.file_bytes", outcome.file_bytes)
        span.set_attribute("portkey_files.attempts", outcome.attempts)
        span.set_attribute("portkey_files.replayed", outcome.replayed)
        _set_seconds(span, "time_to_first_byte", outcome.time_to_first_byte)
        _set_seconds(span, "provider_time_to_first_byte", outcome.provider_time_to_first_byte)
        _set_status(span, outcome.status, outcome.error)
        span.end()


def _spans(call: FilesCall) -> _Spans | None:
    """Return the spans of *call*; there are none if another receiver failed first."""
    return vars(call).get(_SPANS)


def _target(provider: str | None, option: str) -> dict[str, str]:
    if provider is None:
        return {}
    name = provider[:MAX_TEXT]
    return {
        "gen_ai.provider.name": GEN_AI_PROVIDERS.get(name, name),
        "portkey_files.provider": name,
        "portkey_files.option": option,
    }


def _set_seconds(span: Span, name: str, value: float | None) -> None:
    if value is not None:
        span.set_attribute(f"portkey_files.{name}", value)


def _set_status(span: Span, status: int, error: str | None) -> None:
    """Say whether it failed, as the conventions for HTTP have it for the side that answers."""
    if error is not None or status >= 500:
        span.set_attribute("error.type", error or str(status))
    if status >= 500 or error in _BROKEN:
        span.set_status(Status(StatusCode.ERROR))
