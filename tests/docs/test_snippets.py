"""The documentation against the code: its snippets run, its tables are complete."""

from __future__ import annotations

import ast
import dataclasses
import gc
import hashlib
import html
import importlib
import inspect
import io
import itertools
import json
import re
import runpy
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import requests
import requests_mock
from blinker import NamedSignal
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from werkzeug.datastructures import Headers

import flask_portkey_files
from example_app.__main__ import COMMANDS
from example_app.stored import read_stored
from flask_portkey_files import (
    AnswerHead,
    Attempt,
    AttemptOutcome,
    Conditional,
    Fallback,
    FilesCall,
    FilesError,
    HeaderResolver,
    LoadBalance,
    Operation,
    Outcome,
    Retry,
    Settings,
    Target,
    create_blueprint,
    errors,
)
from flask_portkey_files import providers as provider_names
from flask_portkey_files.backoff import FIRST, HEADERS, LONGEST
from flask_portkey_files.conditions import CONTEXTS, MAX_PATTERN, OPERATORS
from flask_portkey_files.conditions import MAX_DEPTH as QUERY_DEPTH
from flask_portkey_files.config import MAX_DEPTH, MAX_TARGETS
from flask_portkey_files.egress import EgressPolicy
from flask_portkey_files.errors import InvalidRoute
from flask_portkey_files.headers import HOP_BY_HOP, REQUEST_STOP, REQUEST_STOP_PREFIXES
from flask_portkey_files.journey import MAX_TRIES
from flask_portkey_files.providers import registry
from flask_portkey_files.relay import WHOLE_ANSWER
from flask_portkey_files.resolver import PLACEHOLDER_KEYS
from flask_portkey_files.response import _Lingering
from flask_portkey_files.routes import OBJECT_ROUTES, ROUTES
from flask_portkey_files.routing import MAX_ATTEMPTS, RETRY_STATUS_CODES, Chain, plan
from flask_portkey_files.settings import KIB, MIB
from flask_portkey_files.transport import MAX_JSON
from tests.support.gunicorn import Gunicorn
from tests.support.served import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTED_URL = "http://127.0.0.1:8000"
PACKAGE = ROOT / "flask_portkey_files"


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    heading: str
    #: Its place among the blocks of its language under this heading.
    index: int
    language: str
    line: int
    text: str


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[Block]:
    found: list[Block] = []
    heading = ""
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(read(name).splitlines(), 1):
        if opened is None and line.startswith("```"):
            opened, lines = (number, line.removeprefix("```")), []
        elif opened is not None and line == "```":
            if opened[1] == language:
                index = sum(block.heading == heading for block in found)
                text = "".join(f"{line}\n" for line in lines)
                found.append(Block(name, heading, index, language, opened[0], text))
            opened = None
        elif opened is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert opened is None, f"{name}: the block that begins in line {opened} does not end"
    return found


def prose(name: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", read(name), flags=re.MULTILINE | re.DOTALL)


def tables(name: str, heading: str) -> list[list[list[str]]]:
    """Return the cells of each table's rows, without its head, in the section *heading*."""
    text = re.split(rf"^#+ {re.escape(heading)}$", prose(name), maxsplit=1, flags=re.MULTILINE)
    assert len(text) == 2, f"{name} has no section {heading}"
    section = re.split(r"^#+ ", text[1], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"(?:^\|.*\|\n)+", section, flags=re.MULTILINE)
    rows = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for table in found
    ]
    for table in rows:
        assert all(len(row) == len(table[0]) for row in table), table
        assert set("".join(table[1])) == {"-"}, table
    return [table[2:] for table in rows]


def table(name: str, heading: str) -> list[list[str]]:
    (only,) = tables(name, heading)
    assert only
    return only


def code(cell: str) -> str:
    """Return what a cell holds, which must be one piece of code."""
    match = re.fullmatch(r"`([^`]+)`", cell)
    assert match, cell
    return match[1]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    data = tmp_path_factory.mktemp("example") / "data"
    with Gunicorn(env={"EXAMPLE_DATA_DIR": str(data)}) as server:
        yield server


@pytest.fixture(scope="module")
def stored_example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The example application with the file of stored credentials of the page on routing."""
    folder = tmp_path_factory.mktemp("stored")
    (documented,) = blocks("docs/routing.md", "toml")
    stored = folder / "stored.toml"
    stored.write_text(documented.text)
    env = {"EXAMPLE_DATA_DIR": str(folder / "data"), "EXAMPLE_STORED": str(stored)}
    with Gunicorn(env=env) as server:
        yield server


# --- What the Python blocks do --------------------------------------------------------------

Names = dict[str, Any]
OPENAI_LIST = "https://api.openai.com/v1/files"


@pytest.fixture
def provider() -> Iterator[requests_mock.Mocker]:
    """Every provider at once; an address that no check has registered fails."""
    with requests_mock.Mocker() as mocker:
        yield mocker


def get(names: Names, path: str, headers: Mapping[str, str] | None = None) -> Any:
    app = names["app"]
    assert isinstance(app, Flask)
    with app.test_client().get(path, headers=headers or {}) as response:
        response.get_data()
        return response


def check_readme_resolver(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    refused = get(names, "/v1/files", {"Authorization": "Bearer someone"})
    assert refused.status_code == 401
    assert refused.get_json()["error"]["message"] == "Unknown token."
    assert not provider.called
    answer = get(names, "/v1/files", {"Authorization": "Bearer token-of-team-a"})
    assert answer.get_json() == {"data": []}
    assert provider.request_history[0].headers["Authorization"] == "Bearer sk-from-environment"


def check_readme_openai(names: Names, provider: requests_mock.Mocker) -> None:
    assert "data.jsonl" in names["names"]
    assert names["content"] == b"{}\n"
    with pytest.raises(openai.NotFoundError):
        names["client"].files.retrieve(names["uploaded"].id)


def check_readme_portkey(names: Names, provider: requests_mock.Mocker) -> None:
    assert names["same_content"] == b"{}\n"
    with pytest.raises(openai.NotFoundError):
        names["client"].files.retrieve(names["stored"].id)


def check_settings(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={})
    headers = {"x-portkey-provider": "openai", "x-portkey-api-key": "sk"}
    assert get(names, "/v1/files", headers).status_code == 200
    timeout: Any = provider.request_history[0].timeout
    assert timeout == (10.0, 300.0)
    form = {"purpose": "batch", "file": (io.BytesIO(b"x" * 200_000), "data.jsonl")}
    answer = names["app"].test_client().post("/v1/files", data=form, headers=headers)
    assert answer.status_code == 413
    assert "at most 2000 bytes" in answer.text  # As the environment has it.


def check_mount(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    headers = {"x-portkey-provider": "openai", "x-portkey-api-key": "sk-client"}
    assert get(names, "/v1/files", headers).get_json() == {"data": []}
    assert provider.request_history[0].headers["Authorization"] == "Bearer sk-client"


def check_manager(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    client = names["app"].test_client()
    assert client.get("/files/").status_code == client.get("/v1/files").status_code == 401
    with client.session_transaction() as session:
        session["user"] = "anna"
    assert "<h1>Training data</h1>" in client.get("/files/").text
    assert client.get("/v1/files").status_code == 200
    assert provider.request_history[0].headers["Authorization"] == "Bearer sk-of-annas-team"


def check_manager_token(names: Names, provider: requests_mock.Mocker) -> None:
    provider.delete(f"{OPENAI_LIST}/file-1", json={"deleted": True})
    client = names["app"].test_client()
    config = html.unescape(client.get("/files/").text)
    token = re.search(r'"csrfToken": "([^"]+)"', config)
    assert token
    refused = client.delete("/v1/files/file-1")
    assert refused.status_code == 400
    assert (
        refused.get_json()["error"]["message"] == "The CSRF token is missing. Reload the page."
    )
    assert not provider.called
    answer = client.delete("/v1/files/file-1", headers={"X-CSRFToken": token[1]})
    assert answer.status_code == 200


def check_tenants(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    provider.get("https://contoso.openai.azure.com/openai/v1/files", json={"data": []})
    for token in ("anna", "ben"):
        answer = get(names, "/v1/files", {"Authorization": f"Bearer token-of-{token}"})
        assert answer.status_code == 200
    anna, ben = provider.request_history
    assert anna.headers["Authorization"] == "Bearer sk-anna"
    assert anna.headers["OpenAI-Project"] == "proj_1"
    assert ben.headers["api-key"] == "azure-ben"
    assert get(names, "/v1/files", {"Authorization": "Bearer x"}).status_code == 401


def check_wrapped(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    headers = {"x-portkey-provider": "openai"}
    assert get(names, "/v1/files", headers).status_code == 403
    assert get(names, "/v1/files", {"X-Team": "research"}).status_code == 400
    assert not provider.called
    headers["X-Team"] = "research"
    get(names, "/v1/files", headers)
    get(names, "/v1/files", {**headers, "Authorization": "Bearer sk-client"})
    sent = [request.headers["Authorization"] for request in provider.request_history]
    assert sent == ["Bearer sk-of-the-host", "Bearer sk-client"]
    # The host's key goes nowhere else, and a strategy passes.
    provider.get(OPENAI_LIST, status_code=503)
    headers["x-portkey-custom-host"] = "https://evil.example/v1"
    assert get(names, "/v1/files", headers).status_code == 400
    assert provider.call_count == len(sent)
    del headers["x-portkey-custom-host"]
    leaf = {"provider": "openai", "api_key": "sk-client"}
    config = {"strategy": {"mode": "fallback"}, "targets": [leaf, leaf]}
    headers["x-portkey-config"] = json.dumps(config)
    answer = get(names, "/v1/files", headers)
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[1]"


def check_compatible(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get("https://api.groq.com/openai/v1/files", json={"data": []})
    provider.post("http://10.0.0.5:8000/v1/files", json={"id": "file-1"})
    groq = {"x-portkey-provider": "groq"}
    assert get(names, "/v1/files", groq).status_code == 401
    assert get(names, "/v1/files", {**groq, "x-portkey-api-key": "gsk"}).status_code == 200
    answer = (
        names["app"]
        .test_client()
        .post(
            "/v1/files",
            data={"purpose": "batch", "file": (io.BytesIO(b"{}"), "data.jsonl")},
            headers={"x-portkey-provider": "local"},
        )
    )
    assert answer.get_json() == {"id": "file-1"}
    sent = provider.request_history[-1].headers
    assert int(sent["Content-Length"]) > 2
    assert "Authorization" not in sent


def check_subclass(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get("https://archive.example/v1/files/a/content", content=b"old")
    assert get(names, "/v1/files/a/content").data == b"old"
    sent = provider.request_history[0].headers
    assert sent["X-Archive-Token"] == "secret"
    assert "Authorization" not in sent


def check_provider(names: Names, provider: requests_mock.Mocker) -> None:
    app = names["app"] = Flask(__name__)
    files = create_blueprint(providers={"notes": names["Notes"]()})
    app.register_blueprint(files, url_prefix="/v1")
    headers = {"x-portkey-provider": "notes", "Authorization": "Bearer t"}
    address = "https://notes.example/api"
    found = {"key": "a", "size": 3, "stored": 1, "title": "A"}
    provider.get(f"{address}/notes/a", json=found)
    provider.get(f"{address}/notes/b", json={"detail": "no"}, status_code=404)
    provider.get(f"{address}/notes/a/raw", content=b"old")
    sent: list[bytes] = []

    def store(request: Any, context: object) -> Any:
        sent.append(request.body.read())
        return found

    provider.post(f"{address}/folders/x", json=store)
    assert get(names, "/v1/files/a", headers).get_json() == {
        "id": "a",
        "object": "file",
        "bytes": 3,
        "created_at": 1,
        "filename": "A",
        "purpose": "user_data",
        "status": "processed",
    }
    assert provider.request_history[0].headers["Authorization"] == "Bearer t"
    missing = get(names, "/v1/files/b", headers)
    assert missing.status_code == 404
    assert missing.get_json()["error"]["message"] == "no"
    assert get(names, "/v1/files/a/content", headers).data == b"old"
    assert get(names, "/v1/files", headers).status_code == 501
    assert get(names, "/v1/files/a").status_code == 400

    def upload(purpose: str, seconds: int) -> Any:
        form = {
            "purpose": purpose,
            "expires_after[seconds]": str(seconds),
            "file": (io.BytesIO(b"{}"), "a.jsonl"),
        }
        folder = {**headers, "x-portkey-notes-folder": "x"}
        return app.test_client().post("/v1/files", data=form, headers=folder).get_json()

    assert upload("user_data", 7200)["id"] == "a"
    assert b'name="hours"\r\n\r\n2\r\n' in sent[0]
    assert upload("user_data", 7201)["error"]["code"] == "invalid_expires_after"
    assert upload("batch", 7200)["error"]["code"] == "unsupported_purpose"
    count = provider.call_count
    admin = {**headers, "x-portkey-notes-as-admin": "1"}
    assert get(names, "/v1/files/a", admin).status_code == 400
    assert provider.call_count == count


def check_two_blueprints(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    for prefix in ("/staff/v1", "/guests/v1"):
        assert get(names, f"{prefix}/files").status_code == 200
    sent = [request.headers["Authorization"] for request in provider.request_history]
    assert sent == ["Bearer sk-staff", "Bearer sk-guests"]


def check_prefix(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    assert get(names, "/acme/v1/files").get_json() == {"data": []}
    assert provider.request_history[0].headers["Authorization"] == "Bearer sk-acme"
    assert get(names, "/acme/v1/nothing").is_json
    assert get(names, "/acme/nothing").mimetype == "text/html"


def check_workers(names: Names, provider: requests_mock.Mocker) -> None:
    """It is what the example has."""
    (shown,) = blocks("docs/deployment.md", "python")

    def functions(source: str) -> dict[str, list[str]]:
        return {
            node.name: [
                ast.dump(statement)
                for statement in node.body
                if not isinstance(statement, ast.Expr)  # A docstring.
            ]
            for node in ast.parse(source).body
            if isinstance(node, ast.FunctionDef)
        }

    assert functions(shown.text) == functions(read("example_app/gunicorn.conf.py"))
    assert names["SocketUnreader"].max_body_chunk == Settings().block_size


def check_own_limit(names: Names, provider: requests_mock.Mocker) -> None:
    provider.post(OPENAI_LIST, json={"id": "file-1"})
    form = {"purpose": "batch", "file": (io.BytesIO(b"x" * 20_000), "data.jsonl")}
    answer = names["app"].test_client().post("/v1/files", data=form, headers={"X-Plan": "paid"})
    assert answer.get_json() == {"id": "file-1"}


def check_signals(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(f"{OPENAI_LIST}/file-1/content", content=b"twelve bytes")
    get(names, "/v1/files/file-1/content")
    assert names["lines"] == ["content openai 200 12"]


def check_virtual_keys(names: Names, provider: requests_mock.Mocker) -> None:
    azure = "https://contoso.openai.azure.com/openai/v1/files"
    provider.get(OPENAI_LIST, json={"data": []})
    provider.get(azure, json={"data": []})
    key = {"x-portkey-api-key": "gateway-key-of-team-a"}
    for slug, name, value in (
        ("openai-prod", "OpenAI-Project", "proj_1"),
        ("azure-eu", "api-key", "az-host"),
    ):
        for header in ({"x-portkey-virtual-key": slug}, {"x-portkey-provider": f"@{slug}"}):
            # What a client brings itself is ignored beside it.
            own = {"Authorization": "Bearer sk-client", "x-portkey-openai-project": "other"}
            assert get(names, "/v1/files", {**key, **header, **own}).status_code == 200
            sent = provider.request_history[-1].headers
            assert sent[name] == value
            assert "sk-client" not in str(sent)
    called = provider.call_count
    virtual = {**key, "x-portkey-virtual-key": "openai-prod"}
    host = {**virtual, "x-portkey-custom-host": "https://evil.example"}
    assert get(names, "/v1/files", host).status_code == 400
    # A header completes no strategy.
    retry = {"retry": {"attempts": 1}}
    for config in (
        {"strategy": {"mode": "fallback"}, "targets": [retry]},
        {"virtual_key": "openai-prod", "api_key": "x"},
        {"virtual_key": "openai-prod", "openai_project": "x"},
    ):
        headers = {**virtual, "x-portkey-config": json.dumps(config)}
        assert get(names, "/v1/files", headers).get_json()["error"]["code"] == "invalid_config"
    assert get(names, "/v1/files", {**key, "x-portkey-virtual-key": "x"}).status_code == 400
    for headers, code_ in (
        ({}, "missing_api_key"),
        ({"x-portkey-api-key": "wrong"}, "invalid_api_key"),
    ):
        refused = get(names, "/v1/files", {"x-portkey-virtual-key": "azure-eu", **headers})
        assert refused.status_code == 401
        assert refused.get_json()["error"]["code"] == code_
    assert provider.call_count == called
    # But a config that names no provider.
    for header in (virtual, {**key, "x-portkey-provider": "@openai-prod"}):
        headers = {**header, "x-portkey-config": json.dumps(retry)}
        assert get(names, "/v1/files", headers).status_code == 200
        assert provider.request_history[-1].headers["Authorization"] == "Bearer sk-host"
    stored = {**key, "x-portkey-config": "pc-files"}
    used = {get(names, "/v1/files", stored).headers["x-portkey-provider"] for _ in range(60)}
    assert used == {"openai", "azure-openai"}


def check_strategies(names: Names, provider: requests_mock.Mocker) -> None:
    azure = "https://contoso.openai.azure.com/openai/v1/files"
    provider.get(OPENAI_LIST, json={"data": []})
    provider.get(azure, json={"data": []})
    provider.get(f"{OPENAI_LIST}/f", status_code=404)
    provider.get(f"{azure}/f", json={"id": "f", "object": "file"})

    def option(path: str, **headers: str) -> str:
        answer = get(names, path, headers)
        assert answer.status_code == 200
        return str(answer.headers["x-portkey-last-used-option-index"])

    region = {"x-portkey-metadata": '{"region": "eu"}'}
    assert option("/v1/files", **region) == "config.targets[1]"
    both = {option("/v1/files") for _ in range(60)}
    assert both == {"config.targets[0].targets[0]", "config.targets[0].targets[1]"}
    assert option("/v1/files/f") == "config.targets[1]"


def check_scope(names: Names, provider: requests_mock.Mocker) -> None:
    ids = iter(["file-1", "file-2", "file-3", "file-4"])
    provider.post(OPENAI_LIST, json=lambda request, context: {"id": next(ids)})
    key = str(uuid.uuid4())

    def upload(session: str) -> Any:
        form = {"purpose": "batch", "file": (io.BytesIO(b"{}"), "data.jsonl")}
        headers = {"X-Session": session, "Idempotency-Key": key}
        client = names["app"].test_client()
        return client.post("/v1/files", data=form, headers=headers).get_json()["id"]

    assert [upload(f"session-{number}") for number in (1, 2, 3)] == [
        "file-1",
        "file-1",
        "file-2",
    ]


def check_metrics(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={})
    get(names, "/v1/files", {"x-portkey-provider": "openai", "x-portkey-api-key": "sk"})
    shown = get(names, "/metrics").text
    assert re.search(
        r'^portkey_files_calls_total{.*operation="list",provider="openai",.*} 1.0$',
        shown,
        flags=re.MULTILINE,
    )


def check_traces(names: Names, provider: requests_mock.Mocker) -> None:
    kept = InMemorySpanExporter()
    try:
        trace.get_tracer_provider().add_span_processor(  # type: ignore[attr-defined]
            SimpleSpanProcessor(kept)
        )
        provider.get(OPENAI_LIST, json={})
        get(names, "/v1/files", {"x-portkey-provider": "openai", "x-portkey-api-key": "sk"})
    finally:
        names["FlaskInstrumentor"]().uninstrument_app(names["app"])
    spans = {span.name: span for span in kept.get_finished_spans()}
    # The fourth, of the request to the provider, is where requests-mock is now.
    nested = ["GET /v1/files", "files list", "files list attempt"]
    assert set(spans) == set(nested)
    for outer, inner in itertools.pairwise(nested):
        assert spans[inner].parent == spans[outer].context
    rows, _ = tables("docs/observability.md", "Traces with OpenTelemetry")
    assert len(rows) == len(nested) + 1


def check_access_log(names: Names, provider: requests_mock.Mocker) -> None:
    names["logger"].handlers.clear()
    (shown,) = blocks("docs/observability.md", "json")
    assert list(json.loads(shown.text)) == list(names["line"])


def test_the_attributes_of_spans_are_documented() -> None:
    first, attributes = tables("docs/observability.md", "Traces with OpenTelemetry")
    documented = {name for row in attributes for name in re.findall(r"`([^`]+)`", row[0])}
    source = (PACKAGE / "otel.py").read_text()
    named = set(re.findall(r'"((?:portkey_files|http|gen_ai|error)\.[a-z_.]+)"', source))
    named |= {
        f"portkey_files.{name}" for name in re.findall(r'_set_seconds\(span, "(\w+)"', source)
    }
    assert documented == named - {"http.url"}
    assert first


def test_the_documented_configuration_counts_over_all_workers(tmp_path: Path) -> None:
    (shown,) = [
        block for block in blocks("docs/observability.md", "python") if MODULE.match(block.text)
    ]
    assert shown.text.startswith("# gunicorn.conf.py\n")
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(f"{shown.text}\ncontrol_socket_disable = True\n")
    arguments = ("--config", str(config), "--worker-class", "gthread", "--workers", "2")
    app = "tests.observability.app:create_app()"
    env = {"TMPDIR": str(tmp_path), "EXAMPLE_STORE_URL": "http://127.0.0.1:9"}
    calls = 0
    with Gunicorn(app, env=env, arguments=arguments) as server, requests.Session() as session:
        session.trust_env = False

        def ask(path: str) -> str:
            headers = {"Connection": "close"}
            return session.get(f"{server.url}{path}", headers=headers, timeout=20).text

        while len(list(tmp_path.glob("metrics-*/counter_*.db"))) < 2:
            ask("/v1/files")
            calls += 1
            assert calls < 500
        for _ in range(4):
            assert (
                'portkey_files_calls_total{error="invalid_route",operation="list",provider="",'
                f'status="400"}} {calls}.0\n'
            ) in ask("/metrics")


#: What a Python block has done, by page, heading and its place under that.
CHECKS: dict[tuple[str, str, int], Callable[[Names, requests_mock.Mocker], None]] = {
    ("README.md", "Mount it in your application", 0): check_readme_resolver,
    ("README.md", "Use it from Python", 0): check_readme_openai,
    ("README.md", "Use it from Python", 1): check_readme_portkey,
    ("docs/configuration.md", "Settings", 0): check_settings,
    ("docs/deployment.md", "One processor for each worker", 0): check_workers,
    ("docs/embedding.md", "Mount the blueprint", 0): check_mount,
    ("docs/embedding.md", "Look up a tenant", 0): check_tenants,
    ("docs/embedding.md", "Add to the header resolver", 0): check_wrapped,
    ("docs/embedding.md", "Register an OpenAI-compatible service", 0): check_compatible,
    ("docs/embedding.md", "Write a provider", 0): check_subclass,
    ("docs/embedding.md", "Write a provider", 1): check_provider,
    ("docs/embedding.md", "Two blueprints in one application", 0): check_two_blueprints,
    ("docs/embedding.md", "A prefix with variables", 0): check_prefix,
    ("docs/embedding.md", "Limit the size of uploads", 1): check_own_limit,
    ("docs/embedding.md", "Listen to signals", 0): check_signals,
    ("docs/file-manager.md", "Mount it", 0): check_manager,
    ("docs/file-manager.md", "Flask-WTF", 0): check_manager_token,
    ("docs/idempotency.md", "Whose a key is", 0): check_scope,
    ("docs/observability.md", "Metrics for Prometheus", 0): check_metrics,
    ("docs/observability.md", "Traces with OpenTelemetry", 0): check_traces,
    ("docs/observability.md", "Access log", 0): check_access_log,
    ("docs/routing.md", "Virtual keys", 0): check_virtual_keys,
    ("docs/routing.md", "Strategies as Python values", 0): check_strategies,
}

#: How a block begins that is a file of its own, for which its page's own tests care.
MODULE = re.compile(r"# ([\w.]+)\.py\n")

PYTHON = [
    block
    for page in PAGES
    for block in blocks(str(page.relative_to(ROOT)), "python")
    if not MODULE.match(block.text)
]


@pytest.mark.parametrize("name", sorted({block.page for block in PYTHON}))
def test_python_blocks_run(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = "stored_example" if name == "docs/routing.md" else "example"
    example: Gunicorn = request.getfixturevalue(server)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
    monkeypatch.setenv("PORTKEY_FILES_MAX_BYTES", "2000")
    names: Names = {"__name__": "documented"}
    for block in PYTHON:
        if block.page == name:
            # So that a traceback has the page's own line.
            source = "\n" * block.line + block.text.replace(DOCUMENTED_URL, example.url)
            exec(compile(source, str(ROOT / name), "exec", dont_inherit=True), names)
            if check := CHECKS.get((block.page, block.heading, block.index)):
                with requests_mock.Mocker() as provider:
                    check(names, provider)
    # A script leaves its clients open until it ends.
    if "OpenAI" in names:
        names["client"].close()
    if "Portkey" in names:
        names["portkey"].openai_client.close()
        names["portkey"]._client.close()
    if "RequestsInstrumentor" in names:
        names["RequestsInstrumentor"]().uninstrument()
    assert not hasattr(requests.Session.send, "__wrapped__")
    # What else a snippet leaves open has to come out here, not in another test.
    names.clear()
    gc.collect()


def test_every_python_block_is_checked() -> None:
    checked = {(block.page, block.heading, block.index) for block in PYTHON}
    assert set(CHECKS) <= checked
    unchecked = [
        f"{block.page}:{block.line}"
        for block in PYTHON
        if (block.page, block.heading, block.index) not in CHECKS
        and not re.search(r"^ *assert ", block.text, flags=re.MULTILINE)
    ]
    assert unchecked == []


# --- Commands -------------------------------------------------------------------------------


def commands(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith(("curl ", "echo "))]


PRINTED = commands(COMMANDS.format(url=DOCUMENTED_URL, data_dir="example_data"))


def documented_commands(name: str) -> list[str]:
    return [line for block in blocks(name, "sh") for line in commands(block.text)]


def test_readme_opens_with_the_two_commands() -> None:
    first = [block.text for block in blocks("README.md", "sh")][:2]
    assert first == [
        "python3 -m venv .venv && .venv/bin/pip install -e '.[example]' && "
        ".venv/bin/python -m example_app\n",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest\n",
    ]


def test_curl_commands_are_those_the_example_prints() -> None:
    assert len(PRINTED) == 6
    assert documented_commands("README.md") == PRINTED
    assert documented_commands("docs/quickstart.md")[:6] == PRINTED


def test_readmes_curl_commands_do_what_it_says(example: Gunicorn, tmp_path: Path) -> None:
    (documented,) = blocks("README.md", "text")
    shown = documented.text.splitlines()
    file_id = "FILE_ID"
    answers: list[bytes] = []

    def run(command: str) -> bytes:
        command = command.replace(DOCUMENTED_URL, example.url).replace("FILE_ID", file_id)
        command = re.sub(r"^curl ", "curl --silent --show-error --fail --noproxy '*' ", command)
        return subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True, timeout=30
        ).stdout

    for command in documented_commands("README.md"):
        answer = run(command)
        if command.startswith("curl "):
            answers.append(answer)
            if len(answers) == 1:
                file_id = json.loads(answer)["id"]

    upload, listed, retrieved, content, deleted = answers
    source = (tmp_path / "data.jsonl").read_bytes()
    assert hashlib.sha256(content).digest() == hashlib.sha256(source).digest()
    assert json.loads(retrieved) == json.loads(upload)
    assert json.loads(upload) in json.loads(listed)["data"]
    assert {file["purpose"] for file in json.loads(listed)["data"]} == {"batch"}
    assert json.loads(deleted) == {"id": file_id, "object": "file", "deleted": True}
    with pytest.raises(subprocess.CalledProcessError):
        run(f"curl {DOCUMENTED_URL}/v1/files/FILE_ID -H 'x-portkey-provider: local'")

    # The answers shown are of this kind.
    assert shown[3].encode() + b"\n" == content
    for line, answer in zip(shown, answers, strict=True):
        if answer is not content:
            assert set(json.loads(line)) == set(json.loads(answer))
    assert set(json.loads(shown[1])["data"][0]) == set(json.loads(upload))


# --- Links ----------------------------------------------------------------------------------


def links(name: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(name))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(str(page.relative_to(ROOT))), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "name",
    [
        str(page.relative_to(ROOT))
        for page in PAGES
        if any("://" not in link for link in links(str(page.relative_to(ROOT))))
    ],
)
def test_links_between_pages_resolve(name: str) -> None:
    for link in links(name):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / name).parent / path if path else ROOT / name).resolve()
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_every_page_is_linked(name: str) -> None:
    base = (ROOT / name).parent
    linked = {(base / link.partition("#")[0]).resolve() for link in links(name)}
    # The site has a page of its own that includes the changelog.
    changelog = ROOT / ("docs/changelog.md" if name == "README.md" else "CHANGELOG.md")
    pages = {page for page in PAGES if page.name not in ("README.md", "index.md")}
    assert pages - {changelog} <= linked


# --- Tables ---------------------------------------------------------------------------------


def test_settings_table_is_complete() -> None:
    rows = table("docs/configuration.md", "Settings")
    assert tuple(code(row[0]) for row in rows) == Settings.names()
    for field, (name, default, least, unit, meaning) in zip(
        dataclasses.fields(Settings), rows, strict=True
    ):
        value = re.match(r"`([^`]+)`(?: \((\d+) ([KMG])iB\))?$", default)
        assert value, name
        assert ast.literal_eval(value[1]) == field.default, name
        assert type(ast.literal_eval(value[1])) is type(field.default), name
        if value[2]:
            power = "KMG".index(value[3]) + 1
            assert int(value[2]) * KIB**power == field.default, name
            assert unit == "bytes", name
        expected = field.metadata["least"]
        assert (ast.literal_eval(code(least)) if least else None) == expected, name
        assert (unit == "seconds") == (field.type == "float"), name
        assert meaning == field.metadata["doc"], name


def test_least_values_are_the_least() -> None:
    with_least = [row for row in table("docs/configuration.md", "Settings") if row[2]]
    assert with_least
    for row in with_least:
        name, least = code(row[0]), ast.literal_eval(code(row[2]))
        Settings.from_mapping({name: str(least)})
        with pytest.raises(ValueError, match=name):
            Settings.from_mapping({name: str(least - type(least)(1))})


def test_headers_table_is_complete() -> None:
    heading = "Headers that the header resolver reads"
    rows = table("docs/configuration.md", heading)
    general = {code(header) for header, provider, _ in rows if provider == "all"}
    source = "".join((PACKAGE / f"{name}.py").read_text() for name in ("resolver", "call"))
    read_ = re.findall(r'headers(?:\.get\(|, )"([\w-]+)"', source)
    assert general == set(read_)
    documented = {
        (provider, code(row[0]))
        for row in rows
        if row[1] != "all"
        for provider in re.findall(r"`([^`]+)`", row[1])
    }
    assert documented == {
        (name, f"x-portkey-{option.replace('_', '-')}")
        for name, provider in registry().items()
        for option in provider.options
    }
    text = read("docs/configuration.md")
    assert all(f"`{word}`" in text for word in PLACEHOLDER_KEYS)


def test_example_variables_table_is_complete() -> None:
    rows, stored = tables("docs/configuration.md", "The example application")
    source = "".join(path.read_text() for path in (ROOT / "example_app").glob("*.py"))
    assert {code(row[0]) for row in rows} == set(re.findall(r"\bEXAMPLE_[A-Z_]+", source))
    assert [code(row[0]) for row in stored] == ["api_keys", "virtual_keys", "configs"]


def test_stored_credentials_may_be_json(tmp_path: Path) -> None:
    (documented,) = blocks("docs/configuration.md", "json")
    file = tmp_path / "stored.json"
    file.write_text(documented.text)
    stored = read_stored(str(file))
    assert stored["virtual_keys"]["azure-eu"] == Target(
        "azure-openai", api_key="az-host", options={"azure_resource_name": "contoso"}
    )
    call = FilesCall(
        operation=Operation.LIST,
        headers=Headers(
            {
                "x-portkey-api-key": "gateway-key-of-team-a",
                "x-portkey-config": "pc-azure",
            }
        ),
    )
    assert HeaderResolver(**stored)(call) == dataclasses.replace(
        stored["virtual_keys"]["azure-eu"], retry=Retry(2)
    )
    file.write_text('{"keys": {}}')
    with pytest.raises(ValueError, match="keys"):
        read_stored(str(file))


def test_routes_table_is_complete() -> None:
    assert {code(row[0]) for row in table("README.md", "Routes")} == {
        f"{method} {rule}" for method, rule, _ in ROUTES
    }
    # And that is all that the host's application gets, as the architecture page says.
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(create_blueprint(), url_prefix="/v1")
    added = [rule.rule for rule in app.url_map.iter_rules()]
    assert sorted(added) == sorted(f"/v1{rule}" for _, rule, _ in (*ROUTES, *OBJECT_ROUTES))


def test_readme_names_the_providers() -> None:
    section = read("README.md").partition("## Providers\n")[2].partition("\n## ")[0]
    named = [
        name
        for line in section.splitlines()
        if line.startswith("- ")
        for name in re.findall(r"`([^`]+)`", line)
    ]
    assert sorted(named) == sorted(registry())


def test_providers_table_is_the_commands() -> None:
    app = Flask(__name__)
    app.register_blueprint(create_blueprint(), url_prefix="/v1")
    command = ["portkey-files", "providers", "--format", "markdown"]
    printed = app.test_cli_runner().invoke(args=command)
    assert printed.exit_code == 0, printed.output
    marks = [f"<!-- {which} of what the command prints -->\n" for which in ("Begin", "End")]
    shown = read("docs/providers.md").partition(marks[0])[2].partition(marks[1])[0]
    assert shown.strip("\n") == printed.stdout.strip("\n")


def test_every_provider_has_a_section() -> None:
    text = read("docs/providers.md")
    headings = re.findall(r"^### (.+)$", text, flags=re.MULTILINE)
    named = [name for heading in headings for name in re.findall(r"`([^`]+)`", heading)]
    assert sorted(named) == sorted(registry())
    # Each option is told of where its provider is.
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        for name in re.findall(r"`([^`]+)`", section.partition("\n")[0]):
            for option in registry()[name].options:
                assert f"`{option}`" in section, (name, option)


def test_extras_are_those_of_the_package() -> None:
    extras = re.findall(r"^(\w+) = \[", read("pyproject.toml"), flags=re.MULTILINE)
    rows = table("docs/providers.md", "Extras")
    assert {code(row[0]) for row in rows} <= set(extras)
    assert {code(row[0]) for row in rows} == {"azure", "bedrock", "vertex"}


def test_resolver_tables_are_complete() -> None:
    call, target = tables("docs/embedding.md", "Write a resolver")
    for rows, documented in ((call, FilesCall), (target, Target)):
        fields = [field.name for field in dataclasses.fields(documented)]
        fields += [n for n, v in vars(documented).items() if isinstance(v, cached_property)]
        assert [code(row[0]) for row in rows] == fields
    assert all(operation.name in call[0][1] for operation in Operation)
    section = read("docs/embedding.md").partition("## Listen to signals")[2]
    for told in (Outcome, Attempt, AttemptOutcome, AnswerHead):
        assert all(f"`{field.name}`" in section for field in dataclasses.fields(told))
    (sent, _) = tables("docs/embedding.md", "Listen to signals")
    assert {code(row[0]) for row in sent} == {
        name
        for name in dir(flask_portkey_files)
        if isinstance(getattr(flask_portkey_files, name), NamedSignal)
    }


def test_numbers_in_deployment_are_the_codes() -> None:
    text = read("docs/deployment.md")
    conf = runpy.run_path(str(ROOT / "example_app" / "gunicorn.conf.py"))
    assert conf["worker_class"] == "gthread"
    assert f"The example has {conf['graceful_timeout']} seconds" in text
    assert f"The example has {conf['keepalive']} seconds" in text
    settings = Settings()
    nginx_page = read("docs/nginx.md")
    assert f"`PORTKEY_FILES_READ_TIMEOUT`, {settings.read_timeout:.0f} seconds" in nginx_page
    assert f"`PORTKEY_FILES_BLOCK_SIZE`, {settings.block_size // KIB} KiB" in text
    assert (
        f"`PORTKEY_FILES_SPOOL_MEMORY` bytes of it, {settings.spool_memory // MIB} MiB" in text
    )
    assert f"threads above {settings.pool_size}," in text
    assert f"read whole up to {WHOLE_ANSWER // KIB} KiB" in text
    assert f"up to {MAX_JSON // MIB} MiB" in text
    assert f"for up to {_Lingering.SECONDS:.0f} seconds after the answer" in text
    bounds = f"at most {_Lingering.MOST // MIB} MiB or {_Lingering.SECONDS:.0f} seconds"
    assert bounds in read("docs/errors.md")
    assert bounds in read("docs/architecture.md")
    nginx = re.search(r"client_max_body_size (\d+)m;", nginx_page)
    assert nginx
    assert int(nginx[1]) * MIB >= settings.max_bytes + settings.max_form_bytes


# --- Routing and security -------------------------------------------------------------------


def test_routings_commands_do_what_it_says(stored_example: Gunicorn, tmp_path: Path) -> None:
    start, documented = blocks("docs/routing.md", "sh")
    assert start.text == "EXAMPLE_STORED=stored.toml .venv/bin/python -m example_app\n"
    answers: list[str] = []
    for line in commands(documented.text):
        command = line.replace(DOCUMENTED_URL, stored_example.url)
        command = re.sub(r"^curl ", "curl --silent --show-error --fail --noproxy '*' ", command)
        run = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True, timeout=30
        )
        answers.append(run.stdout.decode())
    _, uploaded, listed = answers
    head, body = uploaded.replace("\r\n", "\n").split("\n\n", 1)
    (shown,) = blocks("docs/routing.md", "text")
    assert set(shown.text.splitlines()) <= set(head.splitlines())
    assert json.loads(body) in json.loads(listed)["data"]
    # The first target was tried, and no key got into the log.
    stored_example.wait_for("upload: Could not reach the provider openai")
    assert "gateway-key" not in stored_example.log
    assert "sk-of-the-host" not in stored_example.log
    headers = [code(row[0]) for row in table("docs/routing.md", "Response headers")]
    assert [line.partition(":")[0] for line in shown.text.splitlines()] == headers
    # The commands that the example prints have no gateway key.
    with (
        pytest.raises(openai.AuthenticationError) as refused,
        openai.OpenAI(
            base_url=f"{stored_example.url}/v1",
            api_key="unused",
            default_headers={"x-portkey-provider": "local"},
        ) as client,
    ):
        client.files.list()
    assert refused.value.code == "missing_api_key"


def test_response_headers_table_is_complete() -> None:
    rows = table("docs/routing.md", "Response headers")
    source = (PACKAGE / "relay.py").read_text()
    added = re.findall(r'headers\.add\("(x-portkey-.+?)"', source)
    assert [code(row[0]) for row in rows] == added


@pytest.mark.parametrize("block", blocks("docs/routing.md", "json"), ids=lambda b: b.heading)
def test_configs_shown_are_valid(block: Block) -> None:
    headers = {"x-portkey-config": json.dumps(json.loads(block.text))}
    call = FilesCall(operation=Operation.LIST, headers=Headers(headers))
    route = HeaderResolver()(call)
    assert isinstance(route, Fallback if block.heading == "Configs" else Conditional)


def test_config_table_is_complete() -> None:
    rows = table("docs/routing.md", "Configs")
    keys = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    source = ast.parse((PACKAGE / "config.py").read_text())
    nodes = {"node", "target"}
    read_ = {"strategy"}
    for call in ast.walk(source):
        if not isinstance(call, ast.Call):
            continue
        names = [a.id for a in call.args if isinstance(a, ast.Name)]
        texts = [a.value for a in call.args if isinstance(a, ast.Constant)]
        on = call.func.value if isinstance(call.func, ast.Attribute) else None
        if nodes & {*names, *([on.id] if isinstance(on, ast.Name) else [])}:
            read_ |= {text for text in texts if isinstance(text, str) and text.isidentifier()}
    read_ -= {"on_status_codes"}  # It is in `strategy` and in `retry`.
    options = {option for provider in registry().values() for option in provider.options}
    assert keys - options == read_
    assert keys & options


def test_operators_table_is_complete() -> None:
    rows = table("docs/routing.md", "Strategies")
    documented = [name for row in rows for name in re.findall(r"`(\$\w+)`", row[0])]
    assert documented == list(OPERATORS)


def test_python_values_table_is_complete() -> None:
    rows = table("docs/routing.md", "Strategies as Python values")
    for name, meaning in rows:
        value = getattr(flask_portkey_files, code(name))
        fields = {f.name for f in dataclasses.fields(value) if f.name != "_"}
        if value is not Target:
            assert fields <= set(re.findall(r"`(\w+)`", meaning)), name
    assert [code(name) for name, _ in rows] == [
        kind.__name__ for kind in (Target, Retry, Fallback, LoadBalance, Conditional)
    ]


def test_numbers_in_routing_are_the_codes() -> None:
    text = read("docs/routing.md")
    *most, last = sorted(RETRY_STATUS_CODES)
    assert f"if absent {', '.join(map(str, most))} and {last};" in text
    assert f"from 0 to {MAX_ATTEMPTS}." in text
    security = read("docs/security.md")
    assert f"nested {MAX_DEPTH} deep, and a config may have {MAX_TARGETS} targets" in text
    assert f"at most {MAX_TARGETS} targets, nested {MAX_DEPTH} deep" in security
    assert f"Queries may be nested {QUERY_DEPTH} deep" in text
    assert f"queries nest {QUERY_DEPTH} deep too" in security
    assert f"A call makes at most {MAX_TRIES} requests in all" in text
    for page in (security, read("CHANGELOG.md"), text):
        assert f"a call makes at most {MAX_TRIES} requests" in page.replace("A call", "a call")
    assert f"It makes at most {MAX_TRIES} requests" in read("docs/deployment.md")
    assert f"tried again at most {MAX_ATTEMPTS} times" in security
    waits = [min(FIRST * 2**n, LONGEST) for n in range(MAX_ATTEMPTS)]
    *first, last_ = [f"{wait:g}" for wait in waits]
    assert f"half and all of {', '.join(first)} and {last_} seconds" in text
    names = [f"`{name}`" for name in ("retry-after-ms", "x-ms-retry-after-ms", "Retry-After")]
    assert [name.strip("`").lower() for name in names] == [name for name, _ in HEADERS]
    assert f"{names[0]}, {names[1]} or {names[2]}" in text
    seconds = Settings().max_retry_wait
    assert f"`PORTKEY_FILES_MAX_RETRY_WAIT`, {seconds:.0f} seconds by default" in text
    assert f"at most {MAX_PATTERN} characters" in text


def test_what_queries_may_name_is_named() -> None:
    *first, last = (f"`{context}.`" for context in CONTEXTS)
    assert f"a name behind {', '.join(first)} or {last}" in read("docs/routing.md")


def test_statuses_that_end_a_fallback_are_named() -> None:
    section = read("docs/routing.md").partition("**`fallback`**")[2].partition("\n")[0]
    named = re.search(r"leads to the next target but 2xx, (\d+), (\d+) and (\d+);", section)
    assert named
    target = Target("openai")
    trip = plan(Fallback([target, target]), FilesCall(operation=Operation.LIST))
    assert isinstance(trip, Chain)
    final = {status for status in range(300, 600) if not trip.goes_on(status)}
    assert final == set(map(int, named.groups()))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda target: Retry(MAX_ATTEMPTS + 1),
        lambda target: Target("openai", request_timeout=0),
        lambda target: Fallback([]),
        lambda target: LoadBalance([target], [1, 1]),
        lambda target: LoadBalance([target], [-1]),
        lambda target: LoadBalance([target], [0]),
        lambda target: Conditional([target], [({"x": 1}, 0)]),
        lambda target: Conditional([target], [({"metadata.x": 1}, 1)]),
        lambda target: create_blueprint(lambda call: target, api_keys=["gw"]),
        lambda target: HeaderResolver(api_keys=[]),
        lambda target: HeaderResolver(virtual_keys={}),
        lambda target: HeaderResolver(virtual_keys={"a": Target("nobody")}, api_keys=["gw"]),
        lambda target: HeaderResolver(configs={"a": {"retry": 1}}, api_keys=["gw"]),
        lambda target: HeaderResolver(
            virtual_keys={"a": target},
            configs={"b": {"virtual_key": "a", "api_key": "sk"}},
            api_keys=["gw"],
        ),
    ],
)
def test_what_cant_work_is_a_value_error(wrong: Callable[[Target], object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong(Target("openai", api_key="sk"))


def test_gateway_keys_are_refused_as_documented() -> None:
    with pytest.raises(TypeError):
        HeaderResolver(api_keys="gw")
    app = Flask(__name__)
    app.config["PORTKEY_FILES_API_KEYS"] = "gw"
    with pytest.raises(ValueError, match="PORTKEY_FILES_API_KEYS"):
        app.register_blueprint(create_blueprint(lambda call: Target("openai")))


def test_what_wins_is_as_documented() -> None:
    """The order in the section on what is inherited."""
    stored = Target("openai", api_key="sk", retry=Retry(4), request_timeout=9)
    resolver = HeaderResolver(virtual_keys={"a": stored}, api_keys=["gw"])

    def route(config: Mapping[str, object], **headers: str) -> Target:
        given = {f"x-portkey-{name.replace('_', '-')}": v for name, v in headers.items()}
        given |= {"x-portkey-api-key": "gw", "x-portkey-config": json.dumps(config)}
        found = resolver(FilesCall(operation=Operation.LIST, headers=Headers(given)))
        assert isinstance(found, Target)
        return found

    assert route({"virtual_key": "a"}) == stored
    assert route({"virtual_key": "a"}, retry_count="0").retry == Retry(0)
    own = {"virtual_key": "a", "retry": {"attempts": 1}, "request_timeout": 2000}
    found = route(own, retry_count="3", request_timeout="3000")
    assert (found.retry, found.request_timeout) == (Retry(1), 3)
    assert route({**own, "request_timeout": 0}, request_timeout="0").request_timeout == 9
    # The client's key is for the provider that the headers name.
    for name, key in (("openai", "sk-client"), ("azure-openai", None), ("@a", None)):
        lent = resolver(
            FilesCall(
                operation=Operation.LIST,
                headers=Headers(
                    {
                        "x-portkey-api-key": "gw",
                        "x-portkey-provider": name,
                        "x-portkey-config": '{"provider": "openai"}',
                        "Authorization": "Bearer sk-client",
                    }
                ),
            )
        )
        assert isinstance(lent, Target)
        assert lent.api_key == key
    # Azure's options without their prefix.
    azure = {"provider": "azure-openai", "api_key": "az", "resource_name": "contoso"}
    assert route(azure).options == {"azure_resource_name": "contoso"}


def test_headers_that_are_not_forwarded_are_named() -> None:
    section = read("docs/routing.md").partition("## Forwarded headers")[2].partition("##")[0]
    named = {name.lower() for name in re.findall(r"`([A-Z][\w-]+)`", section)}
    assert named == REQUEST_STOP - HOP_BY_HOP
    prefixes = re.findall(r"`([a-z-]+-)\*`", section)
    assert tuple(prefixes) == REQUEST_STOP_PREFIXES


def test_custom_hosts_are_allowed_as_the_examples_say() -> None:
    rows = table("docs/security.md", "Examples")
    assert {row[3] for row in rows} == {"reached", "refused"}
    for setting, host, address, result in rows:
        policy = EgressPolicy("" if setting == "unset" else code(setting))
        url = urlsplit(code(host))
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        try:
            policy.check_url(code(host))
            policy.check_address(code(address), port)
        except InvalidRoute:
            assert result == "refused", (setting, host)
        else:
            assert result == "reached", (setting, host)


def test_forms_of_allowed_hosts_are_forms() -> None:
    section = read("docs/security.md").partition("### The setting")[2].partition("###")[0]
    entries = [e for row in table("docs/security.md", "The setting") for e in row[0].split(",")]
    assert len(entries) == 7
    with_ports = re.findall(r"`([^`]+:\d{3,4})`", section)
    assert len(with_ports) == 4
    for entry in [*(code(entry.strip()) for entry in entries), *with_ports]:
        EgressPolicy(entry)


def test_a_client_forwards_no_project_beside_a_stored_key(
    provider: requests_mock.Mocker,
) -> None:
    """What the page on security says."""
    provider.get(OPENAI_LIST, json={})
    options = {"openai_project": "stored", "openai_organization": "stored"}
    app = Flask(__name__)
    files = create_blueprint(
        virtual_keys={
            "fixed": Target("openai", api_key="sk", options=options),
            "open": Target("openai", api_key="sk"),
        },
        api_keys=["gw"],
    )
    app.register_blueprint(files, url_prefix="/v1")
    for slug, expected in (("fixed", "stored"), ("open", None)):
        headers = {
            "x-portkey-api-key": "gw",
            "x-portkey-virtual-key": slug,
            "x-portkey-forward-headers": "OpenAI-Project, OpenAI-Organization",
            "OpenAI-Project": "clients",
            "OpenAI-Organization": "clients",
        }
        assert app.test_client().get("/v1/files", headers=headers).status_code == 200
        sent = provider.request_history[-1].headers
        assert sent.get("OpenAI-Project") == sent.get("OpenAI-Organization") == expected


# --- Errors ---------------------------------------------------------------------------------

Error = tuple[str, int, str]


def error_classes() -> dict[str, type[FilesError]]:
    """Return the package's errors, wherever they are defined."""
    found: dict[str, type[FilesError]] = {}
    for module in imports():
        imported = importlib.import_module(f"{PACKAGE.name}.{module}".removesuffix(".__init__"))
        classes = inspect.getmembers(imported, inspect.isclass)
        found.update((name, kind) for name, kind in classes if issubclass(kind, FilesError))
    return found


def raised() -> Iterator[tuple[type[FilesError], ast.Call]]:
    """Yield each place of the package where an error of its own is made."""
    classes = error_classes()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            made = node
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
                made = ast.Call(node.exc, [], [])
            if (
                isinstance(made, ast.Call)
                and isinstance(made.func, ast.Name)
                and (kind := classes.get(made.func.id))
            ):
                yield kind, made


def keyword(call: ast.Call, name: str) -> str | None:
    """Return what an argument is, ``None`` without it, and no text where it is worked out."""
    for argument in call.keywords:
        if argument.arg == name:
            value = argument.value
            return str(value.value) if isinstance(value, ast.Constant) else ""
    return None


def test_errors_table_is_complete() -> None:
    produced: set[Error] = set()
    for kind, call in raised():
        code_ = keyword(call, "code") or kind.default_code
        if code_ is not None and kind is not errors.BrokenTransfer:
            produced.add((code_, kind.status, kind.type))
    rows = table("docs/errors.md", "Errors with a code")
    documented = [(code(row[0]), int(row[1]), code(row[2])) for row in rows]
    assert len(documented) == len(set(documented))
    assert set(documented) == produced
    # Each class's own code is among them.
    own = {kind.default_code for kind in error_classes().values()} - {None}
    assert own - {errors.BrokenTransfer.default_code} <= {name for name, _, _ in documented}
    assert [status for _, status, _ in documented] == sorted(s for _, s, _ in documented)


def test_errors_with_the_default_code_are_those_of_paging() -> None:
    params = {
        keyword(call, "param")
        for kind, call in raised()
        if kind is errors.InvalidRequest and keyword(call, "code") is None
    }
    rows = table("docs/errors.md", "Errors with a code")
    (row,) = (r for r in rows if code(r[0]) == errors.InvalidRequest.default_code)
    named = re.findall(r"`([a-z]+)`", row[3].partition(" is not valid")[0])
    # One has no parameter at fault: a header that can't be sent on.
    assert {*named, None} == params
    assert "characters that can't be sent on" in row[3]


def test_every_error_of_its_own_has_a_code() -> None:
    for kind, call in raised():
        assert keyword(call, "code") or kind.default_code, ast.unparse(call)


def test_codes_that_only_a_signal_has() -> None:
    rows = table("docs/errors.md", "A transfer that breaks")
    assigned: set[str | None] = {errors.BrokenTransfer.default_code}
    for module in ("progress", "relay", "response"):
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
                and isinstance(node.targets[0], ast.Attribute)
                and node.targets[0].attr == "error"
            ):
                assigned.add(node.value.value)
    assert {code(row[0]) for row in rows} == assigned
    assert len(assigned) == 4


def test_error_bodies_are_as_shown(provider: requests_mock.Mocker) -> None:
    app = Flask(__name__)
    app.register_blueprint(create_blueprint(), url_prefix="/v1")
    purpose, route, config = blocks("docs/errors.md", "json")
    answer = app.test_client().post(
        "/v1/files",
        data={"purpose": "", "file": (io.BytesIO(b"{}"), "data.jsonl")},
        headers={"x-portkey-provider": "openai", "x-portkey-api-key": "sk"},
    )
    assert answer.status_code == 400
    assert answer.get_json() == json.loads(purpose.text)
    answer = app.test_client().get("/v1/files", headers={"x-portkey-provider": "nobody"})
    assert answer.status_code == 400
    assert answer.get_json() == json.loads(route.text)
    (given,) = re.findall(r"`x-portkey-config` was `(.+?)`:\n", read("docs/errors.md"))
    answer = app.test_client().get("/v1/files", headers={"x-portkey-config": given})
    assert answer.status_code == 400
    assert answer.get_json() == json.loads(config.text)
    assert not provider.called


# --- Modules --------------------------------------------------------------------------------


def imports() -> dict[str, tuple[set[str], set[str]]]:
    """Return for each module what it imports of the package, and of others' packages."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in PACKAGE.rglob("*.py"):
        *package, name = path.relative_to(PACKAGE).with_suffix("").parts
        if not (name == "__init__" and package):
            module = ".".join([*package, name])
        else:
            module = ".".join(package)
        own: set[str] = set()
        others: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1]
                own.add(".".join([*base, *([node.module] if node.module else [])]))
            elif isinstance(node, ast.ImportFrom):
                others.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Import):
                others |= {alias.name.partition(".")[0] for alias in node.names}
        found[module] = own, others
    return found


def test_module_table_is_complete() -> None:
    rows = table("docs/architecture.md", "Modules")
    order = [code(row[0]) for row in rows]
    actual = imports()
    assert sorted(order) == sorted(actual)
    for place, (module, _, imported) in enumerate(rows):
        names = re.findall(r"`([^`]+)`", imported)
        assert set(names) == actual[code(module)][0], module
        assert set(names) <= set(order[place + 1 :]), f"{module} imports upward"


def test_the_few_importers_of_libraries_are_named() -> None:
    text = read("docs/architecture.md")
    libraries = ("flask", "click", "requests", "requests_toolbelt", "urllib3", "blinker")
    importers = {
        library: sorted(
            module for module, (_, others) in imports().items() if library in others
        )
        for library in (*libraries, "multipart")
    }
    for library, modules in importers.items():
        stated = re.search(rf"`{library}`(?: is imported)? by ((?:`[^`]+`|[^.`])*?) only", text)
        assert stated, library
        assert sorted(re.findall(r"`([^`]+)`", stated[1])) == modules, library


def test_a_providers_author_finds_all_that_is_named() -> None:
    text = read("docs/embedding.md").partition("All that it takes is in")[2]
    module, *names = re.findall(r"`([\w.]+)(?:\(\))?`", text.partition("\n")[0])
    assert module == provider_names.__name__
    assert all(hasattr(provider_names, name) for name in names)
    source = ast.parse(inspect.getsource(provider_names))
    exported = {
        alias.asname
        for node in source.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    dialects = {type(provider).__name__ for provider in registry().values()}
    assert set(names) == exported - dialects - {"OpenAICompatible"}


def test_versions_are_those_of_the_package() -> None:
    project = read("pyproject.toml")
    for pattern, documented in (
        (r'^requires-python = ">=([\d.]+)"', "Python {} and newer are supported"),
        (r'^    "flask>=([\d.]+)"', "Flask {} or newer"),
        (r'^    "werkzeug>=([\d.]+)"', "werkzeug {} or newer"),
    ):
        least = re.search(pattern, project, flags=re.MULTILINE)
        assert least, pattern
        assert documented.format(least[1]) in read("README.md")


# --- The changelog --------------------------------------------------------------------------


def test_changelog_tells_what_is_coming() -> None:
    unreleased = re.findall(r"^## \[(.+)\]", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert unreleased[0] == "Unreleased"
    assert flask_portkey_files.__version__ in read("CHANGELOG.md")
