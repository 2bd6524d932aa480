"""Calls that the OpenAPI document allows, and some that it does not: never a server error.

The blueprint stands before the embedded store. It also stands before servers that no dialect
but one was made for, with each dialect in turn: answers come that no such provider gives.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import platform
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flask_portkey_files import FilesCall, HeaderResolver, Route, Target, create_blueprint
from flask_portkey_files.providers import registry
from flask_portkey_files.routes import ROUTES
from flask_portkey_files.testing.embedded import EmbeddedServer
from flask_portkey_files.testing.server import create_store_app
from flask_portkey_files.testing.store import FileStore

from ..openapi.conftest import LOCAL, gateway
from ..standins.anthropic import AnthropicStandin
from ..standins.base import Standin
from ..support.parts import require
from .profile import bounded

schemathesis: Any = None
if importlib.util.find_spec("schemathesis"):
    schemathesis = importlib.import_module("schemathesis")

DOCUMENT = "/v1/openapi.json"
#: Statuses of the gateway's own that are no fault of its code.
DOCUMENTED = [501, 502, 503, 504]
CONFIG = {
    # With some seventy headers it would alone take minutes.
    "phases": {"coverage": {"enabled": False}},
    "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", *DOCUMENTED]}},
}
#: What leads away by itself, and what depends on the time that something takes.
LEFT_OUT = (
    "x-portkey-config",
    "x-portkey-custom-host",
    "x-portkey-request-timeout",
    "x-portkey-virtual-key",
    # Its tokens come from elsewhere, by a library of its own.
    "x-portkey-aws-role-arn",
    "x-portkey-azure-auth-mode",
)
OPERATIONS = [
    (method, path)
    for route, rule, _ in ROUTES
    for method in ([route, "HEAD"] if route == "GET" else [route])
    for path in (rule.replace("<", "{").replace(">", "}"),)
]


class Astray(HeaderResolver):
    """Reads the headers, and takes each call to one address, whatever the provider."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def __call__(self, call: FilesCall, /) -> Route:
        route = super().__call__(call)
        return replace(route, base_url=self._url) if isinstance(route, Target) else route


@pytest.fixture(autouse=True)
def part() -> None:
    """Need schemathesis, which there is from Python 3.11 on."""
    if tuple(map(int, platform.python_version_tuple()[:2])) < (3, 11):
        pytest.skip("schemathesis takes Python 3.11")
    require(schemathesis, "needs schemathesis: pip install '.[sdks]'")


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no name be looked up but this machine's own."""
    look_up = socket.getaddrinfo

    def here(host: Any, *args: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(f"{host} is somewhere else")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", here)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("store")
    with EmbeddedServer(create_store_app(FileStore(folder))) as server:
        yield server


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with AnthropicStandin() as standin:
        yield standin


def schema_of(app: Flask) -> Any:
    config = schemathesis.config.SchemathesisConfig.from_dict(CONFIG)
    return schemathesis.openapi.from_wsgi(DOCUMENT, app, config=config)


def checks() -> list[Any]:
    """Return what holds for each answer; what a provider takes is for itself to say."""
    from schemathesis.specs.openapi import checks as known

    return [
        schemathesis.checks.not_a_server_error,
        known.status_code_conformance,
        known.content_type_conformance,
        known.response_headers_conformance,
        known.response_schema_conformance,
    ]


def leave_out(case: Any) -> None:
    for name in LEFT_OUT:
        case.headers.pop(name, None)


def astray(url: str, folder: Path) -> Flask:
    app = Flask("astray")
    app.config.update(
        PORTKEY_FILES_IDEMPOTENCY=str(folder),
        PORTKEY_FILES_MAX_RETRY_WAIT=0,
        PORTKEY_FILES_READ_TIMEOUT=5,
    )
    app.register_blueprint(create_blueprint(Astray(url), openapi=True), url_prefix="/v1")
    return app


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_before_the_embedded_store(
    store: EmbeddedServer, tmp_path: Path, method: str, path: str
) -> None:
    app = gateway(store.url, tmp_path)
    with app.test_client() as client:
        form = {"purpose": "batch", "file": (io.BytesIO(b"known\n"), "known.txt")}
        known = client.post("/v1/files", data=form, headers=LOCAL).get_json()["id"]
    operation = schema_of(app)[path][method]
    seen: set[int] = set()

    @bounded(20)
    @given(operation.as_strategy(), st.booleans())
    def call(case: Any, by_itself: bool) -> None:
        case.headers.update(LOCAL)
        if not by_itself:
            # What is named by chance alone is never there, and no purpose.
            leave_out(case)
            if "file_id" in (case.path_parameters or {}):
                case.path_parameters["file_id"] = known
            if method == "POST" and isinstance(case.body, dict):
                case.body["purpose"] = "batch"
        seen.add(case.call_and_validate(checks=checks()).status_code)

    call()
    # Not just refusals; a deletion works once.
    assert seen & {200, 206, 304}


@pytest.mark.parametrize("by", ["store", "standin"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_before_a_server_of_another_dialect(
    request: pytest.FixtureRequest, tmp_path: Path, by: str, method: str, path: str
) -> None:
    server = request.getfixturevalue(by)
    url = f"{server.url}/v1"
    operation = schema_of(astray(url, tmp_path))[path][method]
    key = getattr(server, "key", "sk-1")

    @bounded(20)
    @given(operation.as_strategy(), st.sampled_from(list(registry())))
    def call(case: Any, provider: str) -> None:
        leave_out(case)
        case.headers["x-portkey-provider"] = provider
        if method == "POST" and isinstance(case.body, dict):
            case.body["purpose"] = (registry()[provider].capabilities.purposes or ["batch"])[0]
        case.headers["Authorization"] = f"Bearer {key}"
        case.call_and_validate(checks=checks())

    call()


def test_one_call_after_the_other(store: EmbeddedServer, tmp_path: Path) -> None:
    """What an upload returns is asked for, read and deleted, by the document's links."""
    seen: set[tuple[str, int]] = set()

    class Machine(schema_of(gateway(store.url, tmp_path)).as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: Any) -> None:
            case.headers.update(LOCAL)
            leave_out(case)
            if isinstance(case.body, dict):
                case.body["purpose"] = "batch"

        def after_call(self, response: Any, case: Any) -> None:
            seen.add((case.method, response.status_code))

        def validate_response(self, response: Any, case: Any, **options: Any) -> None:
            case.validate_response(response, checks=checks())

    Machine.run(settings=bounded(5, steps=8))
    assert {("POST", 200), ("GET", 200), ("DELETE", 200)} <= seen
