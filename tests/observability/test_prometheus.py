from __future__ import annotations

import gc
import math
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests_mock
from flask import Flask
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from flask_portkey_files import Fallback, FilesCall, Retry, Target, create_blueprint, prometheus
from flask_portkey_files.errors import InvalidRequest
from flask_portkey_files.prometheus import BUCKETS, MAX_CODES, instrument, metrics_view

from .made import KEY, URL, MakeApp, call, form, to_openai, upload


class Shown:
    """An instrumented application, and what its metrics say."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.registry = CollectorRegistry()
        instrument(app, registry=self.registry)

    def value(self, name: str, **labels: str) -> float:
        """Return a sample's value, 0 if there is none."""
        return self.registry.get_sample_value(f"portkey_files_{name}", labels) or 0.0

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of each sample of this name."""
        return [
            dict(sample.labels)
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == f"portkey_files_{name}"
        ]


def test_an_upload(make_app: MakeApp, requests_mock: requests_mock.Mocker) -> None:
    shown = Shown(make_app(to_openai))
    sent: list[int] = []

    def store(request: Any, context: Any) -> Any:
        sent.append(len(request.body.read()))
        assert shown.value("calls_in_flight", operation="upload") == 1
        return {"id": "file-1"}

    requests_mock.post(URL, json=store)
    body = form(b"x" * 1000)
    answer = upload(shown.app, body)
    target = {"operation": "upload", "provider": "openai"}
    assert shown.value("calls_in_flight", operation="upload") == 0
    assert shown.value("calls_total", **target, status="200", error="") == 1
    assert shown.value("attempts_total", **target, status="200", error="") == 1
    assert shown.value("received_bytes_total", **target) == len(body)
    assert shown.value("sent_bytes_total", **target) == len(answer.data)
    assert shown.value("file_bytes_total", **target) == 1000
    assert shown.value("provider_sent_bytes_total", **target) == sent[0]
    assert shown.value("provider_requests_total", **target) == 1
    for histogram in ("call_duration", "call_first_byte", "provider_first_byte"):
        assert shown.value(f"{histogram}_seconds_count", **target) == 1
        assert 0 < shown.value(f"{histogram}_seconds_sum", **target) < 60
    assert shown.value("spooled_bytes") == 0


def test_retries_and_fallbacks(make_app: MakeApp, requests_mock: requests_mock.Mocker) -> None:
    requests_mock.get(URL, status_code=503, headers={"Retry-After": "0"}, json={})
    requests_mock.get("https://api.x.ai/v1/files", json={"data": []})
    route = Fallback(
        [
            Target("openai", api_key=KEY, retry=Retry(attempts=2)),
            Target("x-ai", api_key=KEY),
        ]
    )
    shown = Shown(make_app(lambda call: route))
    assert call(shown.app, "GET", "/v1/files").status_code == 200
    openai = {"operation": "list", "provider": "openai"}
    x_ai = {"operation": "list", "provider": "x-ai"}
    assert shown.value("attempts_total", **openai, status="503", error="") == 3
    assert shown.value("retries_total", **openai) == 2
    assert shown.value("fallbacks_total", **x_ai) == 1
    assert shown.labels("fallbacks_total") == [x_ai]
    assert shown.value("calls_total", **x_ai, status="200", error="") == 1
    assert shown.labels("calls_total") == [{**x_ai, "status": "200", "error": ""}]


def test_a_held_back_upload(make_app: MakeApp, requests_mock: requests_mock.Mocker) -> None:
    retry = Retry(attempts=1)
    shown = Shown(make_app(lambda call: Target("openai", api_key=KEY, retry=retry)))
    held: list[float] = []

    def fail(request: Any, context: Any) -> str:
        held.append(shown.value("spooled_bytes"))
        return "{}"

    requests_mock.post(URL, text=fail)
    upload(shown.app, form(b"x" * 700))
    assert held == [700]
    assert shown.value("spooled_bytes") == 0


def test_the_gateways_own_errors(
    make_app: MakeApp, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, exc=ConnectionRefusedError)
    shown = Shown(make_app(to_openai))
    call(shown.app, "GET", "/v1/files")
    labels = {
        "operation": "list",
        "provider": "openai",
        "status": "502",
        "error": "upstream_error",
    }
    assert shown.labels("calls_total") == [labels]
    assert shown.labels("attempts_total") == [labels]
    assert shown.labels("provider_first_byte_seconds_count") == []


def test_no_label_is_a_clients_to_choose(
    make_app: MakeApp, requests_mock: requests_mock.Mocker
) -> None:
    shown = Shown(make_app(lambda call: Target(call.headers["X-Any"], api_key=KEY)))
    for number in range(5):
        call(shown.app, "GET", f"/v1/files/f-{number}", headers={"X-Any": f"p-{number}"})
    requests_mock.get(URL, status_code=799, json={})
    call(shown.app, "GET", "/v1/files", headers={"X-Any": "openai"})
    # Without a provider at all.
    other = make_app(None)
    instrument(other, registry=shown.registry)
    call(other, "GET", "/v1/files", headers={"x-portkey-provider": "any"})
    refused = {"status": "400", "error": "invalid_route"}
    expected = [
        {"operation": "list", "provider": "", **refused},
        {"operation": "list", "provider": "openai", "status": "other", "error": ""},
        {"operation": "retrieve", "provider": "other", **refused},
    ]
    assert sorted(shown.labels("calls_total"), key=str) == sorted(expected, key=str)
    assert shown.value("calls_total", **expected[2]) == 5


def test_a_hosts_own_codes_are_counted_within_bounds(make_app: MakeApp) -> None:
    def refuse(call: FilesCall) -> Target:
        raise InvalidRequest("no", code=call.headers["X-Code"])

    shown = Shown(make_app(refuse))
    for number in range(MAX_CODES + 20):
        call(shown.app, "GET", "/v1/files", headers={"X-Code": f"code-{number}"})
    codes = [labels["error"] for labels in shown.labels("calls_total")]
    assert len(codes) == MAX_CODES + 1
    assert "code-0" in codes
    labels = {"operation": "list", "provider": "", "status": "400", "error": "other"}
    assert shown.value("calls_total", **labels) == 20


def test_what_breaks_off_is_not_left_in_flight(
    make_app: MakeApp, requests_mock: requests_mock.Mocker
) -> None:
    app = make_app(to_openai)
    app.config["TESTING"] = True

    @app.after_request
    def hook(response: Any) -> Any:
        raise KeyError("hook")

    shown = Shown(app)
    requests_mock.get(URL, json={})
    with pytest.raises(KeyError):
        app.test_client().get("/v1/files")
    assert shown.value("calls_in_flight", operation="list") == 0
    labels = {"operation": "list", "provider": "openai", "status": "500"}
    assert shown.value("calls_total", **labels, error="internal_error") == 1


def test_applications_share_a_registry(
    make_app: MakeApp, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, json={})
    shown = Shown(make_app(to_openai))
    second, aside = make_app(to_openai), make_app(to_openai)
    # Twice is once.
    instrument(second, registry=shown.registry)
    instrument(second, registry=shown.registry)
    for app in (shown.app, second, aside):
        call(app, "GET", "/v1/files")
    labels = {"operation": "list", "provider": "openai", "status": "200", "error": ""}
    assert shown.value("calls_total", **labels) == 2


def test_before_the_blueprint_is_registered(requests_mock: requests_mock.Mocker) -> None:
    requests_mock.get(URL, json={})
    shown = Shown(Flask("host"))
    shown.app.register_blueprint(create_blueprint(to_openai), url_prefix="/v1")
    call(shown.app, "GET", "/v1/files")
    assert [labels["provider"] for labels in shown.labels("calls_total")] == ["openai"]


def test_a_registry_and_its_metrics_go_together(make_app: MakeApp) -> None:
    shown = Shown(make_app(to_openai))
    kept = weakref.ref(shown.registry)
    del shown
    gc.collect()
    assert kept() is None


def test_the_view(
    make_app: MakeApp, requests_mock: requests_mock.Mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    requests_mock.get(URL, json={})
    shown = Shown(make_app(to_openai))
    assert call(shown.app, "GET", "/metrics").status_code == 404
    app = make_app(to_openai)
    app.add_url_rule("/metrics", view_func=metrics_view(shown.registry))
    call(shown.app, "GET", "/v1/files")
    answer = call(app, "GET", "/metrics")
    assert answer.content_type.startswith("text/plain; version=")
    found = {metric.name: metric for metric in text_string_to_metric_families(answer.text)}
    assert found["portkey_files_calls"].samples[0].value == 1
    (buckets,) = [
        [float(sample.labels["le"]) for sample in metric.samples if "le" in sample.labels]
        for name, metric in found.items()
        if name == "portkey_files_call_duration_seconds"
    ]
    assert buckets == [*BUCKETS, math.inf]
    asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
    other = call(app, "GET", "/metrics", headers=asked)
    assert other.content_type.startswith("application/openmetrics-text")
    assert other.text.endswith("# EOF\n")


def test_a_workers_file_that_is_only_just_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is empty for a moment, in which the library can't read it."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    made = tmp_path / "counter_1.db"
    made.touch()
    app = Flask(__name__)
    app.add_url_rule("/metrics", view_func=metrics_view())
    looks = []

    def write(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            made.write_bytes(bytes(64))

    monkeypatch.setattr(prometheus, "time", SimpleNamespace(sleep=write))
    assert app.test_client().get("/metrics").status_code == 200
    assert len(looks) == 3
    made.write_bytes(b"")
    assert app.test_client().get("/metrics").status_code == 503
