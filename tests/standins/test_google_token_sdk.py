"""The stand-in of Google's token endpoint is what google-auth takes it for."""

from __future__ import annotations

import datetime
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.standins.google_token import AUDIENCE, EMAIL, JWT_BEARER, PROJECT, GoogleToken
from tests.support.parts import require

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


@pytest.fixture
def endpoint() -> Iterator[GoogleToken]:
    try:
        there = importlib.util.find_spec("google.auth") is not None
    except ModuleNotFoundError:
        there = False
    require(there, "pip install google-auth")
    with GoogleToken() as endpoint:
        yield endpoint


@pytest.fixture
def transport() -> Iterator[Any]:
    transport = import_module("google.auth.transport.requests")
    with requests.Session() as session:
        session.trust_env = False
        yield transport.Request(session)


def credentials(endpoint: GoogleToken, **changes: str) -> Any:
    service_account = import_module("google.oauth2.service_account")
    return service_account.Credentials.from_service_account_info(
        endpoint.account(**changes), scopes=[SCOPE]
    )


def test_a_signed_assertion_gets_a_token(endpoint: GoogleToken, transport: Any) -> None:
    account = credentials(endpoint)
    assert not account.valid
    account.refresh(transport)
    assert account.valid
    assert {account.token} == endpoint.tokens
    left = account.expiry - datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    assert 3500 < left.total_seconds() < 3600
    claims = endpoint.claims[0]
    assert (claims["iss"], claims["aud"], claims["scope"]) == (EMAIL, AUDIENCE, SCOPE)
    assert account.project_id == PROJECT


def test_a_token_is_kept_until_shortly_before_its_end(
    endpoint: GoogleToken, transport: Any
) -> None:
    account = credentials(endpoint)
    for _ in range(3):
        account.before_request(transport, "GET", "http://127.0.0.1", {})
    assert len(endpoint.seen) == 1
    # 3 minutes and 45 seconds before its end it is taken for expired.
    account.expiry -= datetime.timedelta(seconds=3599 - 224)
    headers: dict[str, str] = {}
    account.before_request(transport, "GET", "http://127.0.0.1", headers)
    assert len(endpoint.seen) == 2
    assert headers["authorization"] == f"Bearer {account.token}"


def test_refuses_another_account(endpoint: GoogleToken, transport: Any) -> None:
    error: Any = import_module("google.auth.exceptions").RefreshError
    with pytest.raises(error, match="account not found"):
        credentials(endpoint, client_email="other@example.com").refresh(transport)


def test_refuses_another_key(endpoint: GoogleToken, transport: Any) -> None:
    error: Any = import_module("google.auth.exceptions").RefreshError
    with GoogleToken() as other:
        key = other.account()["private_key"]
    with pytest.raises(error, match="Invalid JWT Signature") as caught:
        credentials(endpoint, private_key=key).refresh(transport)
    assert caught.value.retryable is False


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": JWT_BEARER}, "invalid_grant"),
        ({"grant_type": JWT_BEARER, "assertion": "a.b.c"}, "invalid_grant"),
    ],
)
def test_refuses_a_wrong_form(endpoint: GoogleToken, form: dict[str, str], error: str) -> None:
    answer = requests.post(endpoint.token_uri, data=form, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_fails(endpoint: GoogleToken) -> None:
    endpoint.fail(500)
    answer = requests.post(endpoint.token_uri, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_failure")


def default_token(endpoint: GoogleToken, **environment: str) -> list[str]:
    """Return what the default credentials give in a process with this environment."""
    code = (
        "import google.auth, google.auth.transport.requests as t\n"
        f"c, project = google.auth.default(scopes=[{SCOPE!r}])\n"
        "c.refresh(t.Request())\n"
        "print(type(c).__module__, project, c.token)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "NO_PROXY": "*", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


def test_default_credentials_are_those_of_a_key_file(
    endpoint: GoogleToken, tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(endpoint.account()))
    module, project, token = default_token(endpoint, GOOGLE_APPLICATION_CREDENTIALS=str(path))
    assert (module, project) == ("google.oauth2.service_account", PROJECT)
    assert {token} == endpoint.tokens


def test_default_credentials_are_those_of_the_machine(
    endpoint: GoogleToken, tmp_path: Path
) -> None:
    host = endpoint.url.removeprefix("http://")
    module, project, token = default_token(
        endpoint, HOME=str(tmp_path), GCE_METADATA_HOST=host, GCE_METADATA_IP=host
    )
    assert (module, project) == ("google.auth.compute_engine.credentials", PROJECT)
    assert {token} == endpoint.tokens
