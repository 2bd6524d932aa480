"""Real answers have the shapes of the document, and its examples are such answers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import ValidationError
from werkzeug.test import TestResponse

from flask_portkey_files import create_blueprint
from flask_portkey_files.openapi.examples import CONTENT, FILENAME
from flask_portkey_files.testing.embedded import EmbeddedServer
from flask_portkey_files.testing.server import create_store_app
from flask_portkey_files.testing.store import FileStore

from .conformance import PATHS, Conformance
from .conftest import LOCAL, gateway

UPLOAD = "/v1/files"


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    document: dict[str, Any] = app.test_client().get("/v1/openapi.json").get_json()
    return document


@pytest.fixture(scope="module")
def conformance(document: dict[str, Any]) -> Conformance:
    return Conformance(document)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def form(**fields: Any) -> dict[str, Any]:
    return {"purpose": "batch", **fields, "file": (io.BytesIO(CONTENT.encode()), FILENAME)}


@pytest.fixture
def file_id(client: FlaskClient) -> Iterator[str]:
    stored = client.post(UPLOAD, data=form(), headers=LOCAL).get_json()["id"]
    yield stored
    client.delete(f"{UPLOAD}/{stored}", headers=LOCAL)


def check(conformance: Conformance, operation: str, answer: TestResponse) -> None:
    with answer:
        method = answer.request.method
        conformance.check(
            operation, method, answer.status_code, answer.headers, answer.get_data()
        )


@pytest.mark.parametrize(
    ("operation", "path", "headers", "status"),
    [
        ("list", "", {}, 200),
        ("list", "?limit=1&order=asc&purpose=batch", {}, 200),
        ("retrieve", "/{}", {}, 200),
        ("content", "/{}/content", {}, 200),
        ("content", "/{}/content", {"Range": "bytes=1-3"}, 206),
        ("content", "/{}/content", {"If-None-Match": '"{}"'}, 304),
        ("content", "/{}/content", {"Range": "bytes=1000-"}, 416),
        ("content", "/{}/content", {"If-Match": '"other"'}, 412),
        ("list", "?after=file-unknown", {}, 400),
        ("list", "?limit=0", {}, 400),
        ("retrieve", "/file-unknown", {}, 404),
        ("content", "/file-unknown/content", {}, 404),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_answers_to_reads(
    client: FlaskClient,
    conformance: Conformance,
    file_id: str,
    operation: str,
    path: str,
    headers: dict[str, str],
    status: int,
    method: str,
) -> None:
    answer = client.open(
        f"{UPLOAD}{path.format(file_id)}",
        method=method,
        headers={**LOCAL, **{name: value.format(file_id) for name, value in headers.items()}},
    )
    assert answer.status_code == status
    check(conformance, operation, answer)


@pytest.mark.parametrize(
    ("fields", "headers", "status"),
    [
        ({}, {}, 200),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}, {}, 200),
        ({}, {"x-portkey-file-sha256": "0" * 64}, 400),
        ({"purpose": "unheard of"}, {}, 400),
    ],
)
def test_answers_to_uploads(
    client: FlaskClient,
    conformance: Conformance,
    fields: dict[str, str],
    headers: dict[str, str],
    status: int,
) -> None:
    answer = client.post(UPLOAD, data=form(**fields), headers={**LOCAL, **headers})
    assert answer.status_code == status, answer.text
    check(conformance, "upload", answer)


def test_answers_to_uploads_under_one_key(
    client: FlaskClient, conformance: Conformance
) -> None:
    headers = {**LOCAL, "Idempotency-Key": "one"}
    for purpose, status, replayed in (
        ("batch", 200, None),
        ("batch", 200, "true"),
        ("fine-tune", 422, None),
    ):
        answer = client.post(UPLOAD, data=form(purpose=purpose), headers=headers)
        assert answer.status_code == status
        assert answer.headers.get("Idempotent-Replayed") == replayed
        check(conformance, "upload", answer)


def test_answers_to_deletions(
    client: FlaskClient, conformance: Conformance, file_id: str
) -> None:
    for status in (200, 404):
        answer = client.delete(f"{UPLOAD}/{file_id}", headers=LOCAL)
        assert answer.status_code == status
        check(conformance, "delete", answer)


class Faulty:
    """A call that the gateway itself refuses, and with what."""

    def __init__(self, operation: str, code: str, status: int, **options: Any) -> None:
        self.operation, self.code, self.status, self.options = operation, code, status, options

    def __repr__(self) -> str:
        return f"{self.operation} {self.code}"

    def send(self, client: FlaskClient) -> TestResponse:
        path, method = PATHS[self.operation]
        path = f"/v1{path}".replace("{file_id}", self.options.get("file_id", "file-1"))
        headers = {**LOCAL, **self.options.get("headers", {})}
        if self.code != "missing_api_key":
            headers["Authorization"] = "Bearer sk-1"
        data = self.options.get("data", form() if method == "post" else None)
        kind = self.options.get("content_type")
        return client.open(
            path, method=method.upper(), headers=headers, data=data, content_type=kind
        )


LACKS_SOME = {"x-portkey-provider": "siliconflow"}
NOWHERE = {"x-portkey-provider": "nowhere"}
BY_OPENAI = {"x-portkey-provider": "openai"}
WRONG_CONFIG = '{"provider": "local", "retry": {"attempts": 9}}'
OF_ALL = [
    Faulty(operation, code, status, **options)
    for operation in PATHS
    for code, status, options in (
        ("invalid_route", 400, {"headers": NOWHERE}),
        ("invalid_config", 400, {"headers": {"x-portkey-config": WRONG_CONFIG}}),
        ("missing_api_key", 401, {"headers": BY_OPENAI}),
        ("upstream_error", 502, {"headers": {"x-portkey-provider": "dead"}}),
    )
]
OF_FILES = [
    Faulty(operation, "invalid_file_id", 400, file_id="a%5Cb")
    for operation in ("retrieve", "content", "delete")
]
OF_SOME = [
    *(
        Faulty(lacking, "unsupported_operation", 501, headers=dict(LACKS_SOME))
        for lacking in ("content", "delete")
    ),
    Faulty("upload", "invalid_content_type", 400, data=b"{}", content_type="text/plain"),
    Faulty("upload", "missing_required_parameter", 400, data=form(purpose=" ")),
    Faulty(
        *("upload", "invalid_file", 400),
        data={"purpose": "batch", "file": "text"},
        content_type="multipart/form-data",
    ),
    Faulty("upload", "invalid_digest", 400, headers={"x-portkey-file-sha256": "x"}),
    Faulty("upload", "digest_mismatch", 400, headers={"x-portkey-file-sha256": "0" * 64}),
    Faulty("upload", "field_too_large", 413, data=form(note="x" * 70_000)),
    Faulty(
        "upload", "form_too_large", 413, data=form(**{f"f{n}": "x" * 50_000 for n in range(3)})
    ),
    Faulty("upload", "headers_too_large", 431, headers={"x-any": "x" * 40_000}),
    Faulty("upload", "invalid_idempotency_key", 400, headers={"Idempotency-Key": " "}),
]


@pytest.fixture(scope="module")
def strict(store: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """An application with a provider that can't be reached besides."""
    app = Flask("strict")
    app.config["PORTKEY_FILES_IDEMPOTENCY"] = str(tmp_path_factory.mktemp("keys"))
    providers = {"local": f"{store.url}/v1", "dead": "http://127.0.0.1:1"}
    app.register_blueprint(create_blueprint(providers=providers), url_prefix="/v1")
    return app


@pytest.mark.parametrize("faulty", [*OF_ALL, *OF_FILES, *OF_SOME], ids=repr)
def test_the_gateways_own_errors(
    strict: Flask, conformance: Conformance, faulty: Faulty
) -> None:
    answer = faulty.send(strict.test_client())
    body = answer.get_json()
    assert (answer.status_code, body["error"]["code"]) == (faulty.status, faulty.code)
    check(conformance, faulty.operation, answer)
    # And not only because a provider may say anything.
    own = conformance.own(faulty.operation, faulty.status)
    conformance.validate(body, own)
    with pytest.raises(ValidationError):
        conformance.validate({**body, "error": {**body["error"], "code": "other"}}, own)


def test_what_does_not_conform_is_found(conformance: Conformance) -> None:
    json_type = {"Content-Type": "application/json"}
    stored = {
        "id": "file-1",
        "object": "file",
        "bytes": 1,
        "created_at": 1,
        "filename": "a",
        "purpose": "batch",
    }
    conformance.check("retrieve", "GET", 200, json_type, json.dumps(stored).encode())
    for name in stored:
        cut = {key: value for key, value in stored.items() if key != name}
        with pytest.raises(ValidationError):
            conformance.check("retrieve", "GET", 200, json_type, json.dumps(cut).encode())
    with pytest.raises(ValidationError):
        conformance.check("list", "GET", 400, json_type, b'{"message": "no envelope"}')
    with pytest.raises(AssertionError, match="is never text/html"):
        conformance.check("retrieve", "GET", 200, {"Content-Type": "text/html"}, b"<p>")
    with pytest.raises(AssertionError, match="has no answer 302"):
        conformance.check("retrieve", "GET", 302, {}, b"")


def test_examples_are_answers(
    tmp_path: Path, document: dict[str, Any], conformance: Conformance
) -> None:
    """Each answer of a new store is the example, but for its id and its time."""
    with EmbeddedServer(create_store_app(FileStore(tmp_path / "files"))) as server:
        client = gateway(server.url, tmp_path).test_client()
        uploaded = client.post(UPLOAD, data=form(), headers=LOCAL)
        stored = uploaded.get_json()
        at = f"{UPLOAD}/{stored['id']}"
        answers = {
            "upload": uploaded,
            "list": client.get(UPLOAD, headers=LOCAL),
            "retrieve": client.get(at, headers=LOCAL),
            "content": client.get(f"{at}/content", headers=LOCAL),
            "delete": client.delete(at, headers=LOCAL),
        }
        shown = conformance.response("upload", 200)["content"]["application/json"]["example"]
        for operation, answer in answers.items():
            with answer:
                content = conformance.response(operation, 200)["content"]
                text = answer.get_data(as_text=True)
            kind = answer.content_type
            if kind == "application/json":
                real = text.replace(stored["id"], shown["id"]).replace(
                    str(stored["created_at"]), str(shown["created_at"])
                )
                assert json.loads(real) == content[kind]["example"]
                conformance.validate(content[kind]["example"], content[kind]["schema"])
            else:
                assert text == content[kind]["example"]


def test_examples_of_errors_are_answers(app: Flask, conformance: Conformance) -> None:
    client = app.test_client()
    seen: set[str] = set()
    for operation in PATHS:
        path, method = PATHS[operation]
        responses = conformance.document["paths"][path][method]["responses"]
        for status, response in responses.items():
            media = response.get("content", {}).get("application/json", {})
            for code, example in media.get("examples", {}).items():
                conformance.validate(example["value"], conformance.own(operation, int(status)))
                seen.add(code)
                headers = {
                    "invalid_route": NOWHERE,
                    "missing_api_key": BY_OPENAI,
                    "unsupported_operation": LACKS_SOME,
                }.get(code, LOCAL)
                if code == "too_many_uploads":
                    continue  # tests/unit/test_limits.py has that one.
                environ = {}
                if code == "file_too_large":
                    environ = {"CONTENT_LENGTH": str(10**12)}
                at = f"/v1{path}".replace(
                    "{file_id}", "a%5Cb" if code == "invalid_file_id" else "file-1"
                )
                answer = client.open(
                    at,
                    method=method.upper(),
                    headers=headers,
                    data=form() if method == "post" else None,
                    environ_overrides=environ,
                )
                with answer:
                    assert answer.status_code == int(status), code
                    assert answer.get_json() == example["value"]
    assert seen == {
        *("invalid_route", "missing_api_key", "unsupported_operation", "file_too_large"),
        *("too_many_uploads", "invalid_file_id"),
    }
