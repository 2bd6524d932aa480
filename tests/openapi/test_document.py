"""The document says what the code and the pages say, is valid, and is there when asked for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from flask import Blueprint, Flask
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from flask_portkey_files import (
    FilesCall,
    HeaderResolver,
    Operation,
    Settings,
    Target,
    create_blueprint,
)
from flask_portkey_files.headers import REQUEST_HEADERS
from flask_portkey_files.openapi import openapi_document
from flask_portkey_files.openapi.codes import CODES
from flask_portkey_files.openapi.parameters import PASSED, RESOLVER_HEADERS
from flask_portkey_files.openapi.responses import MARKS
from flask_portkey_files.providers import OpenAICompatible, registry
from flask_portkey_files.routes import ROUTES

from ..docs.test_snippets import code, table
from .conformance import PATHS

OPENAPI = "/v1/openapi.json"


def plain(markdown: str) -> str:
    """Return a cell's text without its links."""
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", markdown)


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        described["operationId"]: described
        for item in document["paths"].values()
        for described in item.values()
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"resolver_headers": False},
        {"gateway_keys": True},
        {"server": "/<tenant>/<string:part>/v1"},
        {"server": ""},
        {"providers": {}},
        {"settings": Settings(max_bytes=0)},
    ],
    ids=str,
)
def test_it_is_valid(options: dict[str, Any]) -> None:
    document = openapi_document(**options)
    validate(document, cls=OpenAPIV31SpecValidator)
    assert json.loads(json.dumps(document)) == document


def test_it_has_the_routes_and_no_others() -> None:
    document = openapi_document()
    found = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method != "head"
    }
    assert found == {(method, re.sub(r"<(\w+)>", r"{\1}", rule)) for method, rule, _ in ROUTES}
    for path, item in document["paths"].items():
        assert ("head" in item) == ("get" in item), path
        for described in item.values():
            named = {one["name"] for one in described["parameters"] if one.get("in") == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
    assert len(operations(document)) == len(ROUTES) + 3


def test_codes_are_those_of_the_page() -> None:
    rows = table("docs/errors.md", "Errors with a code")
    assert [(c.name, c.kind.status, c.kind.type, c.when) for c in CODES] == [
        (code(name), int(status), code(kind), plain(when)) for name, status, kind, when in rows
    ]


def test_every_code_is_in_the_answers_that_have_it() -> None:
    document = openapi_document()
    for known in CODES:
        for operation in Operation:
            path, method = PATHS[operation.value]
            responses = document["paths"][path][method]["responses"]
            answer = responses.get(str(known.kind.status), {"description": ""})
            has = operation in known.operations
            assert (f"- `{known.name}`: {known.when}" in answer["description"]) == has
            own = answer.get("content", {}).get("application/json", {}).get("schema", {})
            assert (f'"{known.name}"' in json.dumps(own)) == has


def test_headers_are_those_of_the_pages() -> None:
    rows = table("docs/configuration.md", "Headers that the header resolver reads")
    documented = {code(name): plain(text) for name, of, text in rows if of == "all"}
    keys = {name: documented.pop(name) for name in ("Authorization", "x-portkey-api-key")}
    assert documented == RESOLVER_HEADERS
    schemes = openapi_document()["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    own = {s["name"]: s for s in schemes.values() if s["type"] == "apiKey"}
    assert set(own) == {
        "x-portkey-api-key",
        *(name for name in re.findall(r"`([\w-]+)` for", keys["Authorization"])),
    }
    marks = table("docs/routing.md", "Response headers")
    assert {code(name): plain(text) for name, text in marks} == MARKS
    assert {*PASSED, "Accept"} == set(REQUEST_HEADERS)


def test_options_of_providers() -> None:
    shared = openapi_document()["components"]["parameters"]
    for name, provider in registry().items():
        for option in provider.options:
            described = shared[f"x-portkey-{option.replace('_', '-')}"]
            assert f"`{name}`" in described["description"]
    names = shared["x-portkey-provider"]["schema"]["anyOf"][0]["enum"]
    assert names == list(registry())


def test_limits_are_those_of_the_settings() -> None:
    document = openapi_document(settings=Settings(max_bytes=4321, max_parts=7))
    body = operations(document)["uploadFile"]["requestBody"]
    assert body["x-limits"]["max_bytes"] == 4321
    assert "at most 7 parts" in body["description"]
    form = body["content"]["multipart/form-data"]["schema"]
    assert "at most 4321 bytes" in form["properties"]["file"]["description"]


def test_times_are_what_some_provider_takes() -> None:
    form = operations(openapi_document())["uploadFile"]["requestBody"]["content"]
    seconds = form["multipart/form-data"]["schema"]["properties"]["expires_after[seconds]"]
    bounds = [p.capabilities.expiry for p in registry().values() if p.capabilities.expiry]
    assert seconds["minimum"] == min(one.least for one in bounds)
    assert seconds["maximum"] == max(one.most for one in bounds)


def test_each_document_is_its_own() -> None:
    changed = openapi_document()
    changed["components"]["schemas"]["File"]["properties"].clear()
    changed["components"]["headers"].clear()
    assert openapi_document()["components"]["schemas"]["File"]["properties"]
    assert openapi_document()["components"]["headers"]


class TestServed:
    def test_on_request(self, app: Flask) -> None:
        answer = app.test_client().get(OPENAPI)
        assert (answer.status_code, answer.content_type) == (200, "application/json")
        assert answer.get_json() == openapi_document(
            settings=Settings.from_mapping(
                {name: app.config[name] for name in Settings.names() if name in app.config}
            ),
            providers=registry(
                {"local": OpenAICompatible("http://127.0.0.1/v1", requires_api_key=False)}
            ),
        )
        assert app.test_client().post(OPENAPI).status_code == 405

    def test_not_unless_asked_for(self) -> None:
        app = Flask(__name__)
        app.register_blueprint(create_blueprint(), url_prefix="/v1")
        assert app.test_client().get(OPENAPI).status_code == 404

    def test_nothing_is_imported_before(self) -> None:
        program = (
            "import sys, flask, flask_portkey_files\n"
            "app = flask.Flask('app')\n"
            "files = flask_portkey_files.create_blueprint(openapi=True)\n"
            "app.register_blueprint(files, url_prefix='/v1')\n"
            "print('flask_portkey_files.openapi' in sys.modules)\n"
            f"assert app.test_client().get('{OPENAPI}').status_code == 200\n"
            "print('flask_portkey_files.openapi' in sys.modules)\n"
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["False", "True"]

    def test_the_server_is_where_it_was_asked_for(self) -> None:
        app = Flask(__name__)
        app.register_blueprint(create_blueprint(openapi=True), url_prefix="/<tenant>/v1")
        answer = app.test_client().get(
            "/acme/v1/openapi.json", environ_overrides={"SCRIPT_NAME": "/apps"}
        )
        assert answer.get_json()["servers"] == [{"url": "/apps/acme/v1"}]

    def test_own_settings_and_providers(self) -> None:
        app = Flask(__name__)
        app.config["PORTKEY_FILES_MAX_BYTES"] = 12345
        app.config["PORTKEY_FILES_API_KEYS"] = "gateway-secret"
        files = create_blueprint(providers={"own": "https://own.example"}, openapi=True)
        app.register_blueprint(files, url_prefix="/v1")
        answer = app.test_client().get(OPENAPI)
        assert "12345 bytes" in answer.text
        assert '"own"' in answer.text
        assert "gateway-secret" not in answer.text
        assert "own.example" not in answer.text
        assert all("portkeyApiKey" in one for one in answer.get_json()["security"])

    def test_a_resolver_of_the_hosts_own(self) -> None:
        def resolve(call: FilesCall) -> Target:
            return Target("openai", api_key="sk-test")

        app = Flask(__name__)
        app.register_blueprint(create_blueprint(resolve, openapi=True), url_prefix="/v1")
        document = app.test_client().get(OPENAPI).get_json()
        assert "security" not in document
        assert "securitySchemes" not in document["components"]
        portkey = {n for n in document["components"]["parameters"] if n.startswith("x-portkey")}
        assert portkey == {"x-portkey-metadata", "x-portkey-trace-id"}

    def test_a_header_resolver_of_the_hosts(self) -> None:
        resolver = HeaderResolver(api_keys={"a": "gateway"})
        app = Flask(__name__)
        app.register_blueprint(create_blueprint(resolver, openapi=True), url_prefix="/v1")
        document = app.test_client().get(OPENAPI).get_json()
        assert {} not in document["security"]
        assert "x-portkey-config" in document["components"]["parameters"]


class TestCommand:
    def run(self, *args: str, prefix: str = "/v1", **options: Any) -> dict[str, Any]:
        app = Flask(__name__)
        app.register_blueprint(create_blueprint(**options), url_prefix=prefix)
        result = app.test_cli_runner().invoke(args=["portkey-files", "openapi", *args])
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.output))

    def test_prints_the_document(self) -> None:
        assert self.run() == openapi_document()

    def test_a_prefix_with_variables(self) -> None:
        (server,) = self.run(prefix="/<tenant>/v1")["servers"]
        assert server == {
            "url": "/{tenant}/v1",
            "variables": {"tenant": {"default": "tenant"}},
        }

    def test_a_named_server(self) -> None:
        document = self.run("--server", "https://files.example/v1")
        assert document["servers"] == [{"url": "https://files.example/v1"}]

    def test_of_a_nested_blueprint_among_others(self) -> None:
        app = Flask(__name__)
        outer = Blueprint("outer", __name__)
        outer.register_blueprint(create_blueprint(name="inner"), url_prefix="/files-api")
        app.register_blueprint(create_blueprint(), url_prefix="/v1")
        app.register_blueprint(outer, url_prefix="/outer")
        result = app.test_cli_runner().invoke(args=["inner", "openapi"])
        assert json.loads(result.output)["servers"] == [{"url": "/outer/files-api"}]
