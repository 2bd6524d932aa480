"""The example application with all that watches it; what gunicorn serves in the tests."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from flask import Flask
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

#: Where each worker process writes its spans, a line each.
SPANS = "OBSERVED_SPANS"


def create_app() -> Flask:
    """Return the application, instrumented when the package is there already."""
    from example_app import create_app
    from flask_portkey_files import otel, prometheus

    _trace()
    RequestsInstrumentor().instrument(request_hook=otel.without_query)
    app = create_app()
    FlaskInstrumentor().instrument_app(app, excluded_urls="/metrics")
    otel.instrument(app)
    prometheus.instrument(app)
    app.add_url_rule("/metrics", view_func=prometheus.metrics_view())
    return app


def create_early_app() -> Flask:
    """Return the same, with requests instrumented before the package is imported."""
    RequestsInstrumentor().instrument()
    return create_app()


def _trace() -> None:
    folder = os.environ.get(SPANS)
    if not folder:
        return
    handle, _ = tempfile.mkstemp(dir=folder, suffix=".jsonl")
    out = os.fdopen(handle, "w", buffering=1)
    provider = TracerProvider()
    provider.add_span_processor(
        SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=_line))
    )
    trace.set_tracer_provider(provider)


def _line(span: ReadableSpan) -> str:
    text: str = span.to_json(indent=None)
    return f"{text}\n"


def read_spans(folder: Path) -> list[dict[str, Any]]:
    """Return the spans that have ended so far, of all the worker processes."""
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
