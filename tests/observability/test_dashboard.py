"""The Grafana dashboard against the metrics, by a parser of PromQL and a real Prometheus."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import requests
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from flask_portkey_files.prometheus import Metrics

from ..streaming.wire import LIST, LIVE, TIMEOUT, UPLOADED, Body
from ..support.parts import require
from ..support.served import ROOT, Served
from ..support.upstream import Connection
from .test_under_gunicorn import Observed, serve

DASHBOARD = json.loads((ROOT / "docs/grafana/flask-portkey-files.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
#: What Prometheus adds to each sample by itself.
ADDED = {"job", "instance"}


def expressions(panel: dict[str, Any], **chosen: str) -> list[str]:
    """Return a panel's queries as Grafana sends them, with everything chosen."""
    values = {"job": ".*", "operation": ".*", "provider": ".*", "__rate_interval": "10s"}
    found = []
    for target in panel["targets"]:
        text: str = target["expr"]
        for name, value in {**values, **chosen}.items():
            text = text.replace(f"${name}", value)
        assert "$" not in text, text
        found.append(text)
    return found


def samples() -> dict[str, set[str]]:
    """Return the labels of each series that there can be, by its name."""
    found: dict[str, set[str]] = {}
    for metric in vars(Metrics(CollectorRegistry())).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        (described,) = metric.describe()
        labels = set(metric._labelnames)
        if described.type == "counter":
            found[f"{described.name}_total"] = labels
        elif described.type == "histogram":
            found[f"{described.name}_bucket"] = {*labels, "le"}
            found[f"{described.name}_sum"] = found[f"{described.name}_count"] = labels
        else:
            assert described.type == "gauge"
            found[described.name] = labels
    return found


SAMPLES = samples()


def names(expr: Any) -> set[str]:
    """Return the series that *expr* is about, having looked at each label in it."""
    if isinstance(expr, promql_parser.VectorSelector):
        assert expr.name in SAMPLES, f"there is no {expr.name}"
        asked = {matcher.name for matcher in expr.matchers.matchers}
        assert asked <= SAMPLES[expr.name] | ADDED, f"{expr.name} has no {asked}"
        return {expr.name}
    if isinstance(expr, promql_parser.MatrixSelector):
        return names(expr.vector_selector)
    if isinstance(expr, promql_parser.AggregateExpr):
        found = names(expr.expr)
        if expr.modifier is not None:
            by = set(expr.modifier.labels)
            for name in found:
                assert by <= SAMPLES[name] | ADDED, f"{name} has no {by}"
        return found
    if isinstance(expr, promql_parser.Call):
        found = set[str]().union(*map(names, expr.args))
        if expr.func.name == "histogram_quantile":
            assert all(name.endswith("_bucket") for name in found)
        if expr.func.name in {"rate", "increase"}:
            # Of what only grows.
            assert all(name.endswith(("_total", "_bucket")) for name in found)
        return found
    if isinstance(expr, promql_parser.BinaryExpr):
        return names(expr.lhs) | names(expr.rhs)
    if isinstance(expr, promql_parser.ParenExpr):
        return names(expr.expr)
    assert isinstance(expr, promql_parser.NumberLiteral), type(expr)
    return set()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_each_query_asks_for_what_there_is(panel: dict[str, Any]) -> None:
    for text in expressions(panel):
        assert names(promql_parser.parse(text)), text
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"


def test_a_query_for_what_there_is_not_is_noticed() -> None:
    for wrong in (
        "portkey_files_call_total",
        'portkey_files_calls_total{code="x"}',
        "sum by (tenant) (portkey_files_calls_total)",
        "rate(portkey_files_spooled_bytes[1m])",
        "histogram_quantile(0.5, portkey_files_calls_total)",
    ):
        with pytest.raises(AssertionError):
            names(promql_parser.parse(wrong))


def test_every_metric_is_shown() -> None:
    shown = set[str]()
    for panel in PANELS:
        for text in expressions(panel):
            shown |= names(promql_parser.parse(text))
    parts = ("_sum", "_count")
    assert shown == {name for name in SAMPLES if not name.endswith(parts)}


def test_the_variables_are_labels() -> None:
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            metric = variable["query"]["query"].removeprefix("label_values(").partition(",")[0]
            assert name in SAMPLES[metric] | ADDED
            # A call may have no provider, which Grafana's own word for all would leave out.
            assert variable["allValue"] == ".*"


def test_the_panels_have_a_place_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (at["x"] + right, at["y"] + down)
            for right in range(at["w"])
            for down in range(at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


@dataclass
class Prometheus:
    """A Prometheus that looks at the application several times a second."""

    url: str

    def query(self, expression: str) -> list[Any]:
        """Return what a query gives now."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                f"{self.url}/api/v1/query", params={"query": expression}, timeout=TIMEOUT
            )
        told = answer.json()
        assert told["status"] == "success", (expression, told)
        result: list[Any] = told["data"]["result"]
        return result


@pytest.fixture
def observed(tmp_path: Path) -> Iterator[Observed]:
    def provider(conn: Connection) -> None:
        while head := conn.read_head():
            if head.startswith(b"POST "):
                assert sum(map(len, Body(conn)))
                conn.answer(UPLOADED)
                return
            if b"/busy" in head:
                conn.answer(b"{}", status="503 Busy", headers=("Retry-After: 0",))
            elif b"/gone" in head:
                return
            elif b"/cut/content" in head:
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhalf")
                return
            else:
                conn.answer(LIST)

    with serve(provider, tmp_path) as observed:
        yield observed


@pytest.fixture
def prometheus(observed: Observed, tmp_path: Path) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    require(program, "needs Prometheus: apt-get install --no-install-recommends prometheus")
    assert program is not None
    config = tmp_path / "prometheus.json"
    jobs = [
        {
            "job_name": "files",
            "static_configs": [{"targets": [f"127.0.0.1:{observed.gunicorn.port}"]}],
        }
    ]
    # JSON is YAML.
    times = {"scrape_interval": "200ms", "scrape_timeout": "200ms"}
    config.write_text(json.dumps({"global": times, "scrape_configs": jobs}))
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    listening = r"Listening on.* address=(127\.0\.0\.1:(\d+))"
    with Served(command, listening=listening) as served:
        yield Prometheus(f"http://127.0.0.1:{served.port}")


#: A fallback from a provider that is busy, which is tried again, to one that answers.
CONFIG = json.dumps(
    {
        "strategy": {"mode": "fallback", "on_status_codes": [503]},
        "targets": [
            {"provider": "local", "retry": {"attempts": 1}},
            {"provider": "local"},
        ],
    }
)


def traffic(observed: Observed) -> None:
    """Make calls of every kind that a panel is about."""
    opening, closing = LIVE
    body = opening + b"x" * 5000 + closing
    with observed.client() as client:
        client.begin_upload(len(body), "Connection: close")
        client.send(body)
        assert client.answer().status == 200
    calls = (
        ("/v1/files/file-1/content", 200, ()),
        ("/v1/files", 200, ()),
        ("/v1/files/busy", 503, (f"x-portkey-config: {CONFIG}",)),
        ("/v1/files/gone", 502, ()),
        ("/v1/files", 400, ("x-portkey-request-timeout: soon",)),
    )
    for path, status, headers in calls:
        with observed.client() as client:
            client.request("GET", path, "Connection: close", *headers)
            assert client.answer().status == status, path
    with observed.client() as client:
        client.request("GET", "/v1/files/cut/content", "Connection: close")
        with client.open() as response, pytest.raises(Exception, match="more expected"):
            response.read()


def test_a_real_prometheus_draws_every_panel(
    observed: Observed, prometheus: Prometheus
) -> None:
    deadline = time.monotonic() + TIMEOUT
    missing = [text for panel in PANELS for text in expressions(panel)]
    while missing:
        traffic(observed)
        missing = [text for text in missing if not _drawn(prometheus, text)]
        assert time.monotonic() < deadline, missing
    # What they are drawn of is what happened.
    counted = observed.metrics()
    calls = sum(v for k, v in counted.items() if "portkey_files_calls_total" in k)

    def scraped() -> float:
        (sample,) = prometheus.query("sum(portkey_files_calls_total)")
        return float(sample["value"][1])

    while scraped() != calls:
        assert time.monotonic() < deadline + TIMEOUT
        time.sleep(0.1)


def _drawn(prometheus: Prometheus, expression: str) -> bool:
    """Return whether a query gives a number for something."""
    return any(sample["value"][1] != "NaN" for sample in prometheus.query(expression))


def test_promtool_finds_no_fault(observed: Observed) -> None:
    program = shutil.which("promtool")
    require(program, "needs promtool: apt-get install --no-install-recommends prometheus")
    assert program is not None
    traffic(observed)
    with observed.client() as client:
        client.request("GET", "/metrics", "Connection: close")
        text = client.answer().body
    ran = subprocess.run(
        [program, "check", "metrics"],
        input=text,
        capture_output=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_the_docs_table_of_metrics_is_complete() -> None:
    text = (ROOT / "docs/observability.md").read_text()
    for name in SAMPLES:
        base = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        assert f"| `{base}` |" in text, base
