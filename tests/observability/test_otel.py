from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests_mock
from flask import Flask
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import (
    GenAiProviderNameValues,
)
from opentelemetry.trace import SpanKind, StatusCode

from flask_portkey_files import Fallback, FilesCall, Retry, Target, attempt_started
from flask_portkey_files.otel import GEN_AI_PROVIDERS, instrument, without_query
from flask_portkey_files.providers import registry

from .made import KEY, URL, MakeApp, call, form, to_openai, upload

TRACE, PARENT = "ab" * 16, "cd" * 8
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Spans:
    """Keeps the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def of(self, app: Flask) -> Flask:
        instrument(app, tracer_provider=self.provider)
        return app

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of this name, in the order in which they began."""
        found = [s for s in self._exporter.get_finished_spans() if s.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    # Nothing is left behind for the next request of a thread.
    assert not trace.get_current_span().get_span_context().is_valid
    spans.provider.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def test_an_upload(
    make_app: MakeApp, spans: Spans, requests_mock: requests_mock.Mocker
) -> None:
    within: list[Any] = []

    def store(request: Any, context: Any) -> str:
        within.append(trace.get_current_span().get_span_context().span_id)
        return str(len(request.body.read()))

    requests_mock.post(URL, text=store)
    app = spans.of(make_app(to_openai))
    body = form(b"x" * 300)
    answer = upload(app, body, headers={"x-portkey-trace-id": "t-1"})
    span, attempt = spans.one("files upload"), spans.one("files upload attempt")
    assert span.kind is SpanKind.SERVER
    assert span.parent is None
    assert attempt.parent == span.context
    assert attempt.context is not None
    assert within == [attempt.context.span_id]
    told = attributes(span)
    assert told.pop("portkey_files.time_to_first_byte") > 0
    assert told.pop("portkey_files.provider_time_to_first_byte") > 0
    assert told == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.request.body.size": len(body),
        "http.response.body.size": len(answer.data),
        "gen_ai.provider.name": "openai",
        "portkey_files.operation": "upload",
        "portkey_files.provider": "openai",
        "portkey_files.option": "config",
        "portkey_files.attempts": 1,
        "portkey_files.file_bytes": 300,
        "portkey_files.replayed": False,
        "portkey_files.trace_id": "t-1",
    }
    tried = attributes(attempt)
    assert tried["portkey_files.bytes_sent"] == int(answer.text)
    assert tried["portkey_files.requests"] == tried["portkey_files.attempt"] == 1
    assert [event.name for event in span.events] == ["answer started"]
    assert span.status.status_code is StatusCode.UNSET
    assert KEY not in f"{told}{tried}"


def test_each_attempt_has_its_span(
    make_app: MakeApp, spans: Spans, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, status_code=503, headers={"Retry-After": "0"}, json={})
    requests_mock.get("https://api.x.ai/v1/files", exc=ConnectionRefusedError)
    route = Fallback(
        [Target("openai", api_key=KEY, retry=Retry(attempts=1)), Target("x-ai", api_key=KEY)]
    )
    call(spans.of(make_app(lambda call: route)), "GET", "/v1/files")
    tried = [attributes(span) for span in spans.named("files list attempt")]
    assert [
        (
            t["gen_ai.provider.name"],
            t["portkey_files.option"],
            t["portkey_files.attempt"],
            t["portkey_files.retry"],
            t["error.type"],
        )
        for t in tried
    ] == [
        ("openai", "config.targets[0]", 1, 0, "503"),
        ("openai", "config.targets[0]", 2, 1, "503"),
        ("x_ai", "config.targets[1]", 3, 0, "upstream_error"),
    ]
    for span in (*spans.named("files list attempt"), spans.one("files list")):
        assert span.status.status_code is StatusCode.ERROR
    assert attributes(spans.one("files list"))["error.type"] == "upstream_error"


def test_a_clients_fault_is_no_error(make_app: MakeApp, spans: Spans) -> None:
    call(spans.of(make_app()), "GET", "/v1/files")
    span = spans.one("files list")
    assert attributes(span)["error.type"] == "invalid_route"
    assert "gen_ai.provider.name" not in attributes(span)
    assert span.status.status_code is StatusCode.UNSET


def test_a_download_that_the_client_leaves(
    make_app: MakeApp, spans: Spans, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(f"{URL}/f/content", content=bytes(300_000))
    app = spans.of(make_app(to_openai, PORTKEY_FILES_BLOCK_SIZE=1024))
    response = app.test_client().get("/v1/files/f/content", buffered=False)
    next(response.iter_encoded())
    assert spans.named("files content") == []
    response.close()
    span = spans.one("files content")
    assert attributes(span)["error.type"] == "client_disconnected"
    assert attributes(span)["portkey_files.file_id"] == "f"
    assert attributes(span)["http.response.body.size"] == 1024
    assert span.status.status_code is StatusCode.ERROR


def test_without_other_instrumentation_it_goes_on_with_the_clients_trace(
    make_app: MakeApp, spans: Spans, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, json={})
    headers = {"traceparent": TRACEPARENT, "tracestate": "host=1", "baggage": "user=7"}
    call(spans.of(make_app(to_openai)), "GET", "/v1/files", headers=headers)
    span = spans.one("files list")
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    # Nothing injects: what came in is passed on.
    sent = requests_mock.request_history[0].headers
    assert sent["traceparent"] == TRACEPARENT
    assert not {"tracestate", "baggage"} & {name.lower() for name in sent}


def test_within_flasks_instrumentation(
    make_app: MakeApp, spans: Spans, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(f"{URL}/f/content", content=bytes(5000))
    app = make_app(to_openai)
    FlaskInstrumentor().instrument_app(app, tracer_provider=spans.provider)
    try:
        call(spans.of(app), "GET", "/v1/files/f/content", headers={"traceparent": TRACEPARENT})
    finally:
        FlaskInstrumentor().uninstrument_app(app)
    request = spans.one("GET /v1/files/<file_id>/content")
    span = spans.one("files content")
    assert span.kind is SpanKind.INTERNAL
    assert span.parent == request.context
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT


def test_another_receiver_that_fails_leaves_no_span_open(
    make_app: MakeApp, spans: Spans, requests_mock: requests_mock.Mocker
) -> None:
    def receiver(sender: Any, **told: Any) -> None:
        raise KeyError("receiver")

    app = spans.of(make_app(to_openai, TESTING=True))
    with attempt_started.connected_to(receiver), pytest.raises(KeyError):
        app.test_client().get("/v1/files")
    assert attributes(spans.one("files list"))["error.type"] == "internal_error"


def test_instrumented_twice_it_is_one_span(
    make_app: MakeApp, spans: Spans, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, json={})
    app = spans.of(spans.of(make_app(to_openai)))
    call(app, "GET", "/v1/files")
    assert len(spans.named("files list")) == len(spans.named("files list attempt")) == 1


def test_the_query_is_taken_out() -> None:
    class Request:
        url = "https://host.example/upload?X-Amz-Signature=secret"

    spans = Spans()
    tracer = spans.provider.get_tracer("test")
    for name in ("http.url", "url.full"):
        with tracer.start_as_current_span(name, attributes={name: Request.url}) as span:
            without_query(span, Request())
        assert attributes(spans.one(name)) == {name: "https://host.example/upload"}
    with tracer.start_as_current_span("none") as span:
        without_query(span, Request())
    assert attributes(spans.one("none")) == {}


def test_the_providers_names_are_those_of_the_conventions() -> None:
    assert set(GEN_AI_PROVIDERS) <= set(registry())
    known = {str(value.value) for value in GenAiProviderNameValues}
    assert set(GEN_AI_PROVIDERS.values()) <= known
    # What has a name in both is listed.
    assert {name for name in registry() if name in known} <= set(GEN_AI_PROVIDERS)


def test_the_resolver_runs_outside_of_the_attempt(make_app: MakeApp, spans: Spans) -> None:
    seen: list[bool] = []

    def resolve(call: FilesCall) -> Target:
        seen.append(trace.get_current_span().get_span_context().is_valid)
        return Target("nobody")

    call(spans.of(make_app(resolve)), "GET", "/v1/files")
    assert seen == [False]
