"""Flask-Limiter, -Login, -CORS, -WTF and flask-smorest in one application with the blueprint.

Each test shows both: that the extension does its work, and that the Files API does.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests_mock
from flask.testing import FlaskClient

from ..support.parts import require

OPENAI = "https://api.openai.com/v1/files"
ANNA = {"Authorization": "Bearer token-of-anna"}
ORIGIN = {"Origin": "https://app.example"}
PACKAGES = ("flask_cors", "flask_limiter", "flask_login", "flask_smorest", "flask_wtf")


@pytest.fixture
def client() -> FlaskClient:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    require(not missing, f"needs {', '.join(missing)}: pip install '.[sdks]'")
    from .service import create_service

    return create_service().test_client()


@pytest.fixture
def provider() -> Iterator[requests_mock.Mocker]:
    def store(request: Any, context: object) -> Any:
        assert b"{}\n" in request.body.read()
        return {"id": "file-1", "object": "file"}

    with requests_mock.Mocker() as mocker:
        mocker.post(OPENAI, json=store)
        mocker.get(OPENAI, json={"object": "list", "data": []})
        mocker.get(f"{OPENAI}/file-1/content", content=b"{}\n")
        yield mocker


def upload(client: FlaskClient, **headers: str) -> Any:
    form = {"purpose": "batch", "file": (io.BytesIO(b"{}\n"), "data.jsonl")}
    return client.post("/v1/files", data=form, headers={**ANNA, **headers})


def code_and_type(answer: Any) -> tuple[Any, Any]:
    error = answer.get_json()["error"]
    return error["code"], error["type"]


def test_limiter_limits_the_files_and_answers_in_their_envelope(
    client: FlaskClient, provider: requests_mock.Mocker
) -> None:
    from .service import FILES_PER_DAY, PETS_PER_DAY

    answers = [upload(client) for _ in range(FILES_PER_DAY)]
    assert [answer.status_code for answer in answers] == [200] * FILES_PER_DAY
    refused = upload(client)
    assert refused.status_code == 429
    assert refused.get_json()["error"] == {
        "message": f"{FILES_PER_DAY} per 1 day",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    # It never came to the provider, and the service's own API has a limit of its own.
    assert provider.call_count == FILES_PER_DAY
    pets = [client.get("/pets/1").status_code for _ in range(PETS_PER_DAY + 1)]
    assert pets == [200] * PETS_PER_DAY + [429]


def test_login_protects_by_session_and_by_token(
    client: FlaskClient, provider: requests_mock.Mocker
) -> None:
    refused = client.get("/v1/files")
    assert refused.status_code == 401
    assert refused.get_json()["error"]["message"] == "Log in first."
    assert client.get("/me").status_code == 401
    assert not provider.called
    assert upload(client).status_code == 200
    assert provider.request_history[-1].headers["Authorization"] == "Bearer sk-anna"
    assert client.get("/login/ben").text == "Welcome."
    assert client.get("/me").text == "ben"
    assert client.get("/v1/files").status_code == 200
    sent = provider.request_history[-1].headers
    assert sent["Authorization"] == "Bearer sk-ben"
    # The session's cookie stays here.
    assert "Cookie" not in sent


def test_cors_headers_are_the_services_and_come_once(
    client: FlaskClient, provider: requests_mock.Mocker
) -> None:
    theirs = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Credentials": "false",
        "Access-Control-Expose-Headers": "x-theirs",
        "x-request-id": "req-1",
    }
    provider.get(OPENAI, json={"data": []}, headers=theirs)
    provider.get(f"{OPENAI}/file-1/content", content=b"{}\n", headers=theirs)
    for path in ("/v1/files", "/v1/files/file-1/content"):
        with client.get(path, headers={**ANNA, **ORIGIN}) as answer:
            assert answer.status_code == 200
            assert answer.headers.getlist("Access-Control-Allow-Origin") == [ORIGIN["Origin"]]
            assert answer.headers.getlist("Access-Control-Allow-Credentials") == ["true"]
            assert answer.headers.getlist("Access-Control-Expose-Headers") == ["x-request-id"]
            assert answer.headers["x-request-id"] == "req-1"
    # An error's too, so that a page can read it; and none for another origin.
    assert client.get("/v1/files", headers=ORIGIN).headers["Access-Control-Allow-Origin"]
    other = client.get("/v1/files", headers={**ANNA, "Origin": "https://other.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_a_browsers_preflight_is_answered(
    client: FlaskClient, provider: requests_mock.Mocker
) -> None:
    asked = {
        **ORIGIN,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization, x-portkey-provider",
    }
    answer = client.options("/v1/files/file-1", headers=asked)
    assert answer.status_code == 200
    assert answer.headers.getlist("Access-Control-Allow-Origin") == [ORIGIN["Origin"]]
    assert "DELETE" in answer.headers["Access-Control-Allow-Methods"]
    assert "x-portkey-provider" in answer.headers["Access-Control-Allow-Headers"]
    assert not provider.called


def test_csrf_protects_the_form_and_leaves_uploads_alone(
    client: FlaskClient, provider: requests_mock.Mocker
) -> None:
    assert client.post("/form", data={"a": "b"}).status_code == 400
    form = {"csrf_token": client.get("/token").text}
    assert client.post("/form", data=form).text == "Saved."
    assert upload(client).get_json() == {"id": "file-1", "object": "file"}


def test_csrf_without_exemption_says_what_is_wrong(
    client: FlaskClient, provider: requests_mock.Mocker
) -> None:
    """CSRF looks for its token in the form, and so reads the upload; this can't be missed."""
    client.application.extensions["csrf"]._exempt_blueprints.clear()
    answer = upload(client)
    assert answer.status_code == 400
    assert answer.get_json()["error"]["message"] == "The CSRF token is missing."
    assert not provider.called


def test_smorest_keeps_its_routes_errors_and_document(
    client: FlaskClient, provider: requests_mock.Mocker
) -> None:
    assert client.get("/pets/1").get_json() == {"name": "Rex"}
    # Its own handler of errors has its own form, and the blueprint's keep theirs beside it.
    assert client.get("/pets/2").get_json()["status"] == "Not Found"
    assert code_and_type(client.get("/v1/nothing")) == (None, "invalid_request_error")
    assert code_and_type(client.put("/v1/files", headers=ANNA)) == (
        None,
        "invalid_request_error",
    )
    assert client.get("/openapi.json").get_json()["paths"].keys() == {"/pets/{number}"}
    # A provider's error is passed on as it is.
    error = {"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit"}}
    provider.get(OPENAI, status_code=429, json=error, headers={"Retry-After": "3"})
    answer = client.get("/v1/files", headers=ANNA)
    assert (answer.status_code, answer.get_json()) == (429, error)
    assert answer.headers["Retry-After"] == "3"
