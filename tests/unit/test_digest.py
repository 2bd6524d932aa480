"""A file's digest on its way."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_portkey_files import create_blueprint
from flask_portkey_files.digest import FileDigest
from flask_portkey_files.errors import InvalidRequest
from flask_portkey_files.signals import Outcome, call_finished

from ..support.upstream import Connection, Upstream
from .forms import CONTENT_TYPE, END, field, file

CONTENT = b"some content\r\n" * 1000
SHA256 = hashlib.sha256(CONTENT)
SHA512 = hashlib.sha512(CONTENT)


def field_of(name: str, digest: Any) -> str:
    return f"{name}=:{base64.b64encode(digest.digest()).decode()}:"


def upload(
    url: str, body: bytes, headers: dict[str, str] | None = None, **settings: Any
) -> tuple[Any, Outcome]:
    app = Flask(__name__)
    app.config.update({f"PORTKEY_FILES_{name.upper()}": v for name, v in settings.items()})
    app.register_blueprint(create_blueprint(providers={"acme": url}), url_prefix="/v1")
    client: FlaskClient = app.test_client()
    outcomes: list[Outcome] = []

    def finished(sender: Flask, *, outcome: Outcome, **_: Any) -> None:
        outcomes.append(outcome)

    with call_finished.connected_to(finished, app):
        response = client.post(
            "/v1/files",
            data=io.BytesIO(body),
            content_length=len(body),
            content_type=CONTENT_TYPE,
            headers={
                "x-portkey-provider": "acme",
                "Authorization": "Bearer sk-1",
                **(headers or {}),
            },
        )
        response.close()
    return response, outcomes[0]


def provider(got: list[tuple[bytes, bool]]) -> Any:
    def script(connection: Connection) -> None:
        while connection.read_head():
            got.append(connection.read_body())
            connection.answer(b'{"id": "file-1"}')

    return script


PURPOSE = field("purpose", "batch")
WAYS = pytest.mark.parametrize("live", [True, False], ids=["live", "spooled"])


def form(live: bool, *headers: str) -> bytes:
    part = file(CONTENT, "data.jsonl", *headers)
    return (PURPOSE + part if live else part + PURPOSE) + END


@WAYS
def test_told_if_it_is_set(live: bool) -> None:
    got: list[tuple[bytes, bool]] = []
    with Upstream(provider(got)) as upstream:
        response, outcome = upload(upstream.url, form(live), digest="true")
        assert response.headers["x-portkey-file-digest"] == field_of("sha-256", SHA256)
        assert outcome.sha256 == SHA256.hexdigest()
        response, outcome = upload(upstream.url, form(live))
        assert "x-portkey-file-digest" not in response.headers
        assert outcome.sha256 is None


@WAYS
@pytest.mark.parametrize(
    "value", [SHA256.hexdigest(), SHA256.hexdigest().upper(), field_of("", SHA256)[2:-1]]
)
def test_the_requests_header(live: bool, value: str) -> None:
    got: list[tuple[bytes, bool]] = []
    with Upstream(provider(got)) as upstream:
        headers = {"x-portkey-file-sha256": value}
        response, outcome = upload(upstream.url, form(live), headers)
    assert (response.status_code, outcome.sha256) == (200, SHA256.hexdigest())
    assert response.headers["x-portkey-file-digest"] == field_of("sha-256", SHA256)


@WAYS
@pytest.mark.parametrize("name", ["Content-Digest", "repr-digest"])
@pytest.mark.parametrize(
    "value",
    [
        field_of("sha-256", SHA256),
        field_of("sha-512", SHA512),
        f"{field_of('sha-512', SHA512)}, {field_of('sha-256', SHA256)}",
        f"md5=:AAAA:,{field_of('sha-256', SHA256)}",
    ],
)
def test_the_parts_headers(live: bool, name: str, value: str) -> None:
    got: list[tuple[bytes, bool]] = []
    with Upstream(provider(got)) as upstream:
        response, _ = upload(upstream.url, form(live, f"{name}: {value}"))
    assert response.status_code == 200
    assert got[0][1]


@WAYS
def test_another_file_never_gets_through(live: bool) -> None:
    got: list[tuple[bytes, bool]] = []
    other = hashlib.sha256(b"other")
    ways = [
        ({"x-portkey-file-sha256": other.hexdigest()}, form(live)),
        ({}, form(live, f"Content-Digest: {field_of('sha-256', other)}")),
        # One that fits does not make up for another that does not.
        (
            {"x-portkey-file-sha256": SHA256.hexdigest()},
            form(live, f"Repr-Digest: {field_of('sha-512', hashlib.sha512(b''))}"),
        ),
    ]
    with Upstream(provider(got)) as upstream:
        for headers, body in ways:
            response, outcome = upload(upstream.url, body, headers)
            assert response.status_code == 400
            assert response.get_json()["error"]["code"] == "digest_mismatch"
            assert outcome.sha256 is None
    # The provider has not even begun to get it, or never its end.
    assert all(not complete for _, complete in got)
    assert bool(got) == live


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ({"x-portkey-file-sha256": "abc"}, ()),
        ({"x-portkey-file-sha256": ""}, ()),
        ({"x-portkey-file-sha256": "z" * 64}, ()),
        ({}, ("Content-Digest: sha-256=abc",)),
        ({}, ("Content-Digest: sha-256=:AAAA:",)),
        ({}, ("Content-Digest: sha-256=:A:",)),
        ({}, ("Content-Digest: ",)),
    ],
)
def test_no_digest(headers: dict[str, str], part: tuple[str, ...]) -> None:
    got: list[tuple[bytes, bool]] = []
    with Upstream(provider(got)) as upstream:
        response, _ = upload(upstream.url, form(True, *part), headers)
    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == "invalid_digest"
    assert not got


def test_an_algorithm_that_is_not_known_is_no_promise() -> None:
    assert FileDigest.asked((("Content-Digest", "md5=:AAAA:"),), None, always=False) is None
    digest = FileDigest.asked((), None, always=True)
    assert digest is not None
    assert digest.field() is None
    with pytest.raises(InvalidRequest):
        FileDigest.asked((("Repr-Digest", "sha-512=:AAAA:"),), None, always=False)
