"""What no provider may do to the gateway, and no client by way of it, whatever they send."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.wrappers import Request, Response

from flask_portkey_files import (
    Fallback,
    FilesCall,
    FilesError,
    HeaderResolver,
    Operation,
    Target,
    create_blueprint,
    gcp,
)
from flask_portkey_files.errors import InvalidCredential
from flask_portkey_files.providers import registry
from flask_portkey_files.providers.paging import MAX_PAGES, MAX_STALE
from flask_portkey_files.routing import legs, plan
from tests.standins.base import Form, Standin
from tests.support.parts import require

OPTIONS = {
    "bedrock": {
        "aws_s3_bucket": "bucket",
        "aws_access_key_id": "key-id",
        "aws_secret_access_key": "secret",
    },
    "vertex-ai": {"vertex_storage_bucket_name": "bucket"},
    "fireworks-ai": {"fireworks_account_id": "account"},
    "replicate": {"replicate_owner": "me", "replicate_signing_secret": "secret"},
}
IDS = {"bedrock": "s3%3A%2F%2Fbucket%2Fk", "vertex-ai": "gs%3A%2F%2Fbucket%2Fk"}

#: Those that read their answers with libraries of their own, or of each kind one.
PROVIDERS = (
    *("azure-openai", "anthropic", "google", "bedrock", "vertex-ai", "mistral-ai", "x-ai"),
    *("together-ai", "fireworks-ai", "cohere", "replicate", "openrouter", "groq", "zhipu"),
)

Answering: TypeAlias = Callable[[Request], Response]


class Hostile(Standin):
    """A service that answers as it likes, and takes each key."""

    answering: Answering

    def answer(self, request: Request) -> Response:
        """Return whatever the test wants."""
        for _ in iter(lambda: request.stream.read(65536), b""):
            pass
        return self.answering(request)

    def error(self, status: int) -> Response:
        """Return an error."""
        return Response(status=status)


@pytest.fixture(scope="module")
def service() -> Iterator[Hostile]:
    with Hostile() as standin:
        yield standin


@pytest.fixture(scope="module")
def client(service: Hostile) -> FlaskClient:
    def resolve(call: FilesCall) -> Target:
        provider = call.headers["x-provider"]
        return Target(
            provider, api_key="key", base_url=service.url, options=OPTIONS.get(provider, {})
        )

    app = Flask("gateway")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.register_blueprint(create_blueprint(resolve), url_prefix="/v1")
    return app.test_client()


def every_operation(client: FlaskClient, provider: str) -> Iterator[tuple[str, Any]]:
    """Yield the method and the answer of each operation."""
    path = f"/v1/files/{IDS.get(provider, 'abc').replace('%', '%25')}"
    for method, url in (
        ("POST", "/v1/files"),
        ("GET", "/v1/files"),
        ("GET", "/v1/files?order=asc&limit=2"),
        ("GET", path),
        ("HEAD", path),
        ("GET", f"{path}/content"),
        ("DELETE", path),
    ):
        form = {"purpose": "batch", "file": (io.BytesIO(b"{}\n"), "f.jsonl")}
        yield (
            method,
            client.open(
                url,
                method=method,
                headers={"x-provider": provider},
                data=form if method == "POST" else None,
            ),
        )


MEMBERS = (
    *("bytes", "size", "sizeBytes", "size_bytes", "created_at", "createTime", "timeCreated"),
    *("expires_at", "expirationTime", "status", "state", "processing_status", "purpose"),
    *("validation_status", "metadata", "filename", "displayName", "dataset_type", "url"),
    *("original_url", "nextPageToken", "next", "next_page", "has_more", "total", "index"),
    *("pagination_token", "error", "detail", "filenameToSignedUrls", "dataset_parts"),
)


def full_of(value: Any) -> bytes:
    """Return an answer of every provider's shape whose members are all *value*."""
    item = {**dict.fromkeys(MEMBERS, value), "id": "abc", "name": "files/abc"}
    lists = ("data", "datasets", "files", "items", "results")
    body = {**item, **{name: [item] for name in lists}, "dataset": item, "file": item}
    return json.dumps(body).encode()


def error_of(response: Any) -> dict[str, Any]:
    error: dict[str, Any] = response.json["error"]
    return error


def json_answer(body: bytes, status: int = 200) -> Answering:
    headers = {"X-Goog-Upload-URL": "http://127.0.0.1:9/", "ETag": '"e"'}
    return lambda _: Response(body, status, headers, content_type="application/json")


def redirect(location: str) -> Answering:
    headers = {"Location": location, "X-Together-File-Id": "file-1"}
    return lambda _: Response(status=302, headers=headers)


_MEMBERS: dict[str, Any] = {
    "null": None,
    "lists": [],
    "objects": {"a": []},
    "texts": "²",
    "below zero": -5,
    "infinite": float("inf"),
    "no number": float("nan"),
    "digits": "9" * 5000,
    "huge": 10**4000,
    "half a character": "\ud800",
    "mixed": [{"index": "a"}, {"index": 1}, {"index": {}}],
    "nested": [[[[[[]]]]]],
}

ANSWERS: dict[str, Answering] = {
    "empty": json_answer(b""),
    "no content": lambda _: Response(status=204),
    "html": json_answer(b"<html>"),
    "null": json_answer(b"null"),
    "deep": json_answer(b"[" * 100_000),
    "not utf-8": json_answer(b'{"id": "\xff"}'),
    "unknown encoding": json_answer(b'<?xml version="1.0" encoding="no"?><a/>'),
    "encoding that expat has not": json_answer(b'<?xml version="1.0" encoding="utf-7"?><a/>'),
    "sizes that are none": json_answer(
        "<L><Contents><Key>k</Key><Size>²</Size></Contents></L>".encode()
    ),
    "sizes beyond all": json_answer(
        b"<L><Contents><Key>k</Key><Size>" + b"9" * 5000 + b"</Size></Contents></L>"
    ),
    "dates beyond all": lambda _: Response(
        b"{}", headers={"Last-Modified": f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT"}
    ),
    "redirect to no address": redirect("http://["),
    "redirect to itself": redirect("/again"),
    "error without a place": json_answer(b'{"detail": [{"loc": null, "msg": "x"}]}', 400),
    "error with another place": json_answer(b'{"detail": [{"loc": 5}]}', 422),
    "deep error": json_answer(b'{"error":' * 9000, 400),
    **{f"members {name}": json_answer(full_of(value)) for name, value in _MEMBERS.items()},
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_no_answer_is_too_much(
    service: Hostile, client: FlaskClient, provider: str, answer: str
) -> None:
    service.answering = ANSWERS[answer]
    for method, response in every_operation(client, provider):
        # What the gateway could not handle would have been raised here.
        assert response.status_code < 600
        if response.status_code >= 500 and method != "HEAD" and response.is_json:
            assert set(error_of(response)) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_reshaped_is_json(service: Hostile, client: FlaskClient, provider: str) -> None:
    service.answering = json_answer(full_of(float("nan")))
    response = client.get("/v1/files?order=asc", headers={"x-provider": provider})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(response.data, parse_constant=refuse)


@pytest.mark.parametrize("provider", ["anthropic", "google", "fireworks-ai", "mistral-ai"])
def test_a_list_that_repeats_itself_ends(
    service: Hostile, client: FlaskClient, provider: str
) -> None:
    before = len(service.seen)
    service.answering = json_answer(full_of("more"))
    if provider == "mistral-ai":
        service.answering = json_answer(full_of(10**9))
    response = client.get("/v1/files", headers={"x-provider": provider})
    assert response.status_code == 502
    assert "repeats itself" in error_of(response)["message"]
    assert len(service.seen) - before == MAX_STALE + 1


def test_pages_without_files_are_read_on(service: Hostile, client: FlaskClient) -> None:
    """Google's pages may be empty in between; they are as many as there may be."""
    before = len(service.seen)

    def page(request: Request) -> Response:
        token = int(request.args.get("pageToken", 0)) + 1
        body: dict[str, Any] = {"nextPageToken": str(token)}
        if token == 10:
            body = {"files": [{"name": "files/abc"}]}
        return Response(json.dumps(body), content_type="application/json")

    service.answering = page
    response = client.get("/v1/files", headers={"x-provider": "google"})
    assert [file["id"] for file in json.loads(response.data)["data"]] == ["abc"]
    assert len(service.seen) - before == 10 < MAX_PAGES


@pytest.mark.parametrize("limit", ["²", "9" * 5000, "000000001" + "9" * 5000, "1e3", "-1"])
@pytest.mark.parametrize("provider", [name for name in PROVIDERS[1:] if name != "groq"])
def test_limits_that_are_none(client: FlaskClient, provider: str, limit: str) -> None:
    if provider == "bedrock":
        require(importlib.util.find_spec("botocore"), "pip install '.[bedrock]'")
    response = client.get(
        "/v1/files", query_string={"limit": limit}, headers={"x-provider": provider}
    )
    assert (response.status_code, error_of(response)["param"]) == (400, "limit")


@pytest.mark.parametrize("provider", ["google", "together-ai", "cohere", "replicate"])
def test_an_allowed_host_leads_to_no_other(service: Hostile, provider: str) -> None:
    """What a custom host hands out is connected to only if that is allowed as well."""
    with Hostile() as internal:
        internal.answering = json_answer(b"internal")
        address = f"{internal.url}/stored?signature=1"

        def hand_out(request: Request) -> Response:
            part = {"original_url": address}
            if "/content" in request.path or "download" in request.path:
                return redirect(address)(request)
            if request.path == "/files" and request.method == "POST":
                return redirect(address)(request)
            body = {"id": "abc", "dataset": {"id": "abc", "dataset_parts": [part]}}
            return Response(
                json.dumps(body),
                headers={"X-Goog-Upload-URL": address},
                content_type="application/json",
            )

        service.answering = hand_out
        app = Flask("gateway")
        app.config["PORTKEY_FILES_ALLOWED_HOSTS"] = service.url.removeprefix("http://")
        app.register_blueprint(create_blueprint(), url_prefix="/v1")
        headers = {
            "x-portkey-provider": provider,
            "x-portkey-custom-host": service.url,
            "x-portkey-replicate-owner": "me",
            "x-portkey-replicate-signing-secret": "secret",
            "Authorization": "Bearer key",
        }
        content = app.test_client().get("/v1/files/abc/content", headers=headers)
        assert content.status_code == 400
        assert "signature" not in content.text
        form = {"purpose": "batch", "file": (io.BytesIO(b"{}\n"), "f.jsonl")}
        uploaded = app.test_client().post("/v1/files", headers=headers, data=form)
        assert uploaded.status_code in {200, 400, 502}
        assert not internal.seen


HOST_OPTIONS: tuple[dict[str, str], ...] = (
    {"azure_auth_mode": "managed"},
    {"auth_mode": "workload"},
    {"azure_auth_mode": " MANAGED"},
    {"aws_use_default_credentials": "true"},
    {"vertex_use_default_credentials": "True"},
)


@pytest.mark.parametrize("provider", ["azure-openai", "azure-ai", "bedrock", "vertex-ai"])
@pytest.mark.parametrize("option", HOST_OPTIONS, ids=str)
def test_no_config_speaks_for_the_host(provider: str, option: dict[str, str]) -> None:
    stored = {"own": Target("openai", api_key="key")}
    resolver = HeaderResolver(virtual_keys=stored, api_keys=["gateway-key"])
    target: dict[str, Any] = {"provider": provider, **option, "name": "a"}
    case = {"query": {"metadata.a": "b"}, "then": "a"}
    conditional = {"mode": "conditional", "conditions": [case], "default": "a"}
    own = {"virtual_key": "own"}
    for config in (
        target,
        {"strategy": {"mode": "fallback"}, "targets": [own, target]},
        {"strategy": {}, "targets": [{"strategy": {}, "targets": [target]}]},
        {"strategy": conditional, "targets": [target, own]},
        {**target, "provider": None},
    ):
        headers = {
            "x-portkey-api-key": "gateway-key",
            "x-portkey-provider": provider,
            "x-portkey-config": json.dumps(config),
        }
        given = [*(set(registry()[provider].options) & set(option)), "azure_auth_mode"]
        for more in ({}, {f"x-portkey-{given[0]}".replace("_", "-"): "managed"}):
            with Flask("gateway").test_request_context(headers={**headers, **more}) as context:
                call = FilesCall(operation=Operation.LIST, headers=context.request.headers)
            try:
                targets = [leg.target for leg in legs(plan(resolver(call), call))]
            except FilesError:
                continue
            for found in targets:
                # The options of another provider are none.
                assert not set(found.options) & set(option), config
                assert not set(found.options) & {"azure_auth_mode"}, config


def test_each_fallback_starts_from_the_clients_own_form() -> None:
    """A purpose and an expiry in one provider's words never reach the next one."""
    targets = [
        Target(name, api_key=f"key-of-{name}") for name in ("mistral-ai", "anthropic", "x-ai")
    ]
    app = Flask("gateway")
    blueprint = create_blueprint(lambda call: Fallback(targets))
    app.register_blueprint(blueprint, url_prefix="/v1")
    with Recorder() as recorder:
        targets[:] = [replace(target, base_url=recorder.url) for target in targets]
        form = {
            "purpose": "batch",
            "expires_after[anchor]": "created_at",
            "expires_after[seconds]": "7200",
            "file": (io.BytesIO(b"{}\n"), "f.jsonl"),
        }
        response = app.test_client().post("/v1/files", data=form)
        assert response.status_code == 500
        assert [dict(form.fields) for form in recorder.forms] == [
            {"purpose": "batch", "expiry": "2"},
            {"expires_in_seconds": "7200"},
            {"purpose": "batch", "expires_after": "7200"},
        ]
        assert [seen.headers.get("Authorization") for seen in recorder.seen] == [
            "Bearer key-of-mistral-ai",
            None,
            "Bearer key-of-x-ai",
        ]
        targets[:] = [
            Target(name, api_key="key", base_url=recorder.url)
            for name in ("together-ai", "cohere", "mistral-ai")
        ]
        del recorder.forms[:], recorder.seen[:]
        form = {"purpose": "batch", "file": (io.BytesIO(b"{}\n"), "f.jsonl")}
        app.test_client().post("/v1/files", data=form)
        purposes = [form.get("purpose") for form in recorder.forms]
        assert purposes == ["batch-api", None, "batch"]
        assert recorder.seen[1].query["type"] == "batch-openai-chat-input"


class Recorder(Standin):
    """A service that reads each form and refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def answer(self, request: Request) -> Response:
        """Keep the form."""
        self.forms.append(self.form(request))
        return self.error(500)

    def error(self, status: int) -> Response:
        """Return an error."""
        return Response(b"{}", status=status, content_type="application/json")


@pytest.mark.parametrize("provider", ["mistral-ai", "together-ai", "cohere", "groq"])
@pytest.mark.parametrize("late", [False, True])
def test_a_second_purpose_is_not_passed_by(provider: str, late: bool) -> None:
    with Recorder() as recorder:
        target = Target(provider, api_key="key", base_url=recorder.url)
        app = Flask("gateway")
        app.register_blueprint(create_blueprint(lambda call: target), url_prefix="/v1")
        purpose, second, file = (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n',
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nother\r\n',
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.jsonl"\r\n'
            b"Content-Type: text/plain\r\n\r\n{}\r\n",
        )
        parts = [purpose, file, second] if late else [purpose, second, file]
        response = app.test_client().post(
            "/v1/files",
            data=b"".join(parts) + b"--b--\r\n",
            content_type="multipart/form-data; boundary=b",
        )
        assert (response.status_code, error_of(response)["code"]) == (
            400,
            "ambiguous_purpose",
        )
        assert not recorder.forms


def test_accounts_that_get_no_token_push_nobodys_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcp, "MAX_ACCOUNTS", 2)
    made: list[str] = []

    class Account:
        def __init__(self, make: Callable[[], Any]) -> None:
            self.make = make

        def token(self) -> str:
            return str(self.make())

    def make(text: str, token_uri: str) -> str:
        made.append(text)
        if text.startswith("wrong"):
            raise InvalidCredential("no")
        return f"token of {text}"

    monkeypatch.setattr(gcp, "_Account", Account)
    monkeypatch.setattr(gcp, "_service_account", make)
    tokens = gcp.Tokens()
    first = tokens.of("a"), tokens.of("b")
    kept = dict(tokens._accounts)
    for number in range(5):
        with pytest.raises(InvalidCredential):
            tokens.of(f"wrong {number}")
    assert (first, dict(tokens._accounts)) == (("token of a", "token of b"), kept)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(tokens.of, [name for name in "cdef" for _ in range(50)]))
    assert set(found) == {f"token of {name}" for name in "cdef"}
    assert len(tokens._accounts) <= 2


@pytest.mark.parametrize("provider", ["azure-openai", "azure-ai"])
def test_what_is_reshaped_is_not_asked_for_in_part(
    service: Hostile, client: FlaskClient, provider: str
) -> None:
    service.answering = json_answer(b'{"id": "abc", "data": []}')
    headers = {"x-provider": provider, "Range": "bytes=0-1", "If-Range": '"e"'}
    for path in ("/v1/files", "/v1/files/abc"):
        assert client.get(path, headers=headers).status_code == 200
        assert not {"Range", "If-Range"} & set(service.seen[-1].headers.keys())
