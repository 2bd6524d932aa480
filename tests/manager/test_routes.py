"""How a host mounts the page, and what it gets."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import requests_mock
from flask import Blueprint, Flask
from werkzeug.test import TestResponse

import flask_portkey_files.manager
from flask_portkey_files import FilesCall, Target, create_blueprint
from flask_portkey_files.manager import ASSETS, PAGE_HEADERS, create_file_manager
from tests.support.parts import require

STATIC = Path(flask_portkey_files.manager.__file__).parent / "static"


def resolve(call: FilesCall) -> Target:
    return Target("openai", api_key="sk")


def mounted(
    files: Blueprint, *, files_at: str = "/v1", at: str = "/manager", **options: Any
) -> Flask:
    app = Flask(__name__)
    app.register_blueprint(files, url_prefix=files_at)
    app.register_blueprint(create_file_manager(files, **options), url_prefix=at)
    return app


def page(app: Flask, path: str = "/manager/", **options: Any) -> TestResponse:
    answer = app.test_client().get(path, **options)
    assert answer.status_code == 200, answer.text
    return answer


def config(answer: TestResponse) -> dict[str, Any]:
    """Return what the page is told."""
    found = re.search(r'data-config="([^"]*)"', answer.text)
    assert found
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


def test_the_parts_for_the_other_tests_are_there() -> None:
    require(find_spec("playwright"), "pip install playwright axe-playwright-python")
    require(which("chromium"), "apt-get install chromium")


def test_it_is_off_unless_it_is_mounted() -> None:
    app = Flask(__name__)
    app.register_blueprint(create_blueprint(resolve), url_prefix="/v1")
    assert not [rule for rule in app.url_map.iter_rules() if "manager" in rule.endpoint]


def test_what_the_page_is_told() -> None:
    told = config(page(mounted(create_blueprint(resolve))))
    (provider,) = told.pop("providers")
    assert told == {
        "filesUrl": "/v1/files",
        "pageSize": 50,
        "keyHeader": None,
        "oneKey": False,
        "csrfToken": None,
    }
    assert provider == {
        "name": None,
        "operations": ["upload", "list", "retrieve", "content", "delete"],
        "purposes": None,
        "expiry": {"least": 3600, "most": 30 * 24 * 3600, "unit": 1},
        "maxBytes": 2 * 1024**3,
    }


def test_what_the_page_is_told_of_providers() -> None:
    files = create_blueprint(virtual_keys={"prod": Target("openai")}, api_keys=["gw"])
    app = mounted(files, providers=["mistral-ai", "groq", "@prod"], key_header="X-Key")
    told = config(page(app))
    assert told["oneKey"]
    assert told["keyHeader"] == "X-Key"
    mistral, groq, prod = told["providers"]
    assert mistral["purposes"] == ["fine-tune", "batch", "ocr", "agentic_safety"]
    assert mistral["expiry"]["unit"] == 3600
    assert groq["expiry"] is None
    assert (prod["name"], prod["purposes"]) == ("@prod", None)


def test_the_files_are_found_wherever_they_are() -> None:
    app = mounted(create_blueprint(resolve), files_at="/a/<team>/v1", at="/b/<team>/<desk>")
    path = "/b/red/1/"
    assert config(page(app, path))["filesUrl"] == "/a/red/v1/files"
    behind = page(app, path, environ_overrides={"SCRIPT_NAME": "/app"})
    assert config(behind)["filesUrl"] == "/app/a/red/v1/files"
    assert 'src="/app/b/red/1/file-manager/manager.js"' in behind.text
    # Under another name, and in a blueprint of the host's own.
    files = create_blueprint(resolve)
    parent = Blueprint("parent", __name__, url_prefix="/parent")
    parent.register_blueprint(files, url_prefix="/v1", name="child")
    app = Flask(__name__)
    app.register_blueprint(parent)
    app.register_blueprint(create_file_manager(files))
    assert config(page(app, "/"))["filesUrl"] == "/parent/v1/files"


def test_two_pages_in_one_application() -> None:
    app = Flask(__name__)
    for name in ("red", "blue"):
        files = create_blueprint(resolve, name=name)
        app.register_blueprint(files, url_prefix=f"/{name}/v1")
        manager = create_file_manager(files, name=f"{name}_page", title=name)
        app.register_blueprint(manager, url_prefix=f"/{name}")
    for name in ("red", "blue"):
        answer = page(app, f"/{name}/")
        assert config(answer)["filesUrl"] == f"/{name}/v1/files"
        assert f"<h1>{name}</h1>" in answer.text


def test_a_title_is_no_markup() -> None:
    answer = page(mounted(create_blueprint(resolve), title='<b>"&</b>'))
    assert "<b>" not in answer.text
    assert answer.text.count("&lt;b&gt;&#34;&amp;&lt;/b&gt;") == 2


def test_a_token_is_made_for_each_page() -> None:
    tokens = iter(['"><script>', "second"])
    app = mounted(create_blueprint(resolve), csrf_token=lambda: next(tokens))
    first, second = page(app), page(app)
    assert [config(answer)["csrfToken"] for answer in (first, second)] == [
        '"><script>',
        "second",
    ]
    assert "<script>" not in first.text
    assert first.headers["Cache-Control"] == "no-store"


def test_the_host_says_who_may_see_it() -> None:
    files = create_blueprint(resolve)
    manager = create_file_manager(files)

    @manager.before_request
    def check() -> tuple[str, int]:
        return "Log in.", 401

    app = Flask(__name__)
    app.register_blueprint(files, url_prefix="/v1")
    app.register_blueprint(manager, url_prefix="/manager")
    assert app.test_client().get("/manager/").status_code == 401


def test_headers_of_the_page() -> None:
    answer = page(mounted(create_blueprint(resolve)))
    assert {name: answer.headers[name] for name in PAGE_HEADERS} == PAGE_HEADERS
    policy = PAGE_HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    # Nothing inline, nothing from elsewhere.
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", answer.text)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
    assert addresses
    assert all(re.match(r"/manager/file-manager/|#", address) for address in addresses)


def test_assets_are_complete_and_refer_to_nothing_outside() -> None:
    assert sorted(ASSETS) == sorted(path.name for path in STATIC.iterdir())
    client = mounted(create_blueprint(resolve)).test_client()
    for name, kind in ASSETS.items():
        answer = client.get(f"/manager/file-manager/{name}")
        assert answer.data == (STATIC / name).read_bytes()
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        imported = re.findall(r'^import .* from "(.*)";$', answer.text, flags=re.MULTILINE)
        assert {f"./{other}" for other in ASSETS} >= set(imported)
        outside = set(re.findall(r"https?://[^\s\"')]+", answer.text))
        assert outside <= {"http://www.w3.org/2000/svg"}
        # Nothing from a provider is ever taken for markup.
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|document\.write|eval\(", answer.text
        )
        again = client.get(
            f"/manager/file-manager/{name}", headers={"If-None-Match": answer.headers["ETag"]}
        )
        assert again.status_code == 304
    for other in ("../__init__.py", "none.js", "%2e%2e/manager.css"):
        assert client.get(f"/manager/file-manager/{other}").status_code == 404


def test_no_answer_can_act_as_the_hosts() -> None:
    """Whatever a provider calls it: what is no file may be the page of an error."""
    app = mounted(create_blueprint(resolve))
    plain = Flask(__name__)
    plain.register_blueprint(create_blueprint(resolve), url_prefix="/v1")
    with requests_mock.Mocker() as provider:
        page = {"text": "<script>", "headers": {"Content-Type": "text/html"}}
        provider.get(requests_mock.ANY, status_code=404, **page)
        provider.get("https://api.openai.com/v1/files/f/content", **page)
        for path in (
            "/v1/files/f/content",
            "/v1/files/f",
            "/v1/files/%3Cscript%3E",
            "/v1/files",
        ):
            answer = app.test_client().get(path)
            assert answer.content_type == "text/html"
            assert answer.headers["Content-Security-Policy"] == "sandbox"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        without = plain.test_client().get("/v1/files/f/content")
    # Nothing else of the application is touched.
    for answer in (without, app.test_client().get("/nowhere")):
        assert "Content-Security-Policy" not in answer.headers


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"key_header": "X Key"}, "key_header must be a header's name, not 'X Key'"),
        ({"key_header": ""}, "key_header must be"),
        ({"page_size": 0}, "page_size must be from 1 to 1000, not 0"),
        ({"page_size": 1001}, "page_size"),
        ({"providers": ["nobody"]}, "no provider 'nobody' to offer"),
    ],
)
def test_what_cant_work(options: Mapping[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        mounted(create_blueprint(resolve), **options)


def test_the_files_have_to_be_there_first() -> None:
    files = create_blueprint(resolve)
    app = Flask(__name__)
    with pytest.raises(ValueError, match=r"'portkey_files'.* has to .* be registered"):
        app.register_blueprint(create_file_manager(files))


# --- Uploads that other origins' pages send ---------------------------------------------------

UPLOADED = "https://api.openai.com/v1/files"


def upload(headers: Mapping[str, str], trusted: str | None = None) -> TestResponse:
    app = Flask(__name__)
    app.config["PORTKEY_FILES_TRUSTED_ORIGINS"] = trusted
    app.register_blueprint(create_blueprint(resolve), url_prefix="/v1")
    with requests_mock.Mocker() as provider:
        provider.post(UPLOADED, json={})
        form = {"purpose": "batch", "file": (io.BytesIO(b"{}"), "a.jsonl")}
        # The client's own jar would take the place of the header.
        answer = app.test_client(use_cookies=False).post(
            "/v1/files", data=form, headers=headers, base_url="http://files.example:8000"
        )
        assert provider.called == (answer.status_code == 200)
        return answer


def test_a_name_that_was_pointed_here() -> None:
    """A page of that name is of the same origin, so it is the name that has to be refused."""
    app = mounted(create_blueprint(resolve))
    app.config["TRUSTED_HOSTS"] = ["files.example"]
    client = app.test_client()
    own = {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
    with requests_mock.Mocker() as provider:
        provider.register_uri(requests_mock.ANY, requests_mock.ANY, json={})
        for method, path in (("GET", "/v1/files"), ("POST", "/v1/files"), ("GET", "/manager/")):
            answer = client.open(
                path, method=method, headers=own, base_url="http://evil.example"
            )
            assert answer.status_code == 400
        assert not provider.called
        assert client.get("/v1/files", base_url="http://files.example").status_code == 200


OWN = "http://files.example:8000"
OTHER = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl and SDKs.
        {"Sec-Fetch-Site": "same-origin", "Origin": OWN},
        {"Sec-Fetch-Site": "none"},
        {"Origin": OWN},  # A browser, by plain http.
        {"Origin": OWN.upper()},
        # The page had to ask before it could send these.
        {**OTHER, "Authorization": "Bearer sk"},
        {**OTHER, "x-portkey-provider": "openai"},
    ],
)
def test_uploads_that_are_taken(headers: Mapping[str, str]) -> None:
    assert upload(headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        OTHER,
        {"Sec-Fetch-Site": "cross-site"},
        {**OTHER, "Sec-Fetch-Site": "same-site", "Origin": "http://other.example:8000"},
        {**OTHER, "Sec-Fetch-Site": "anything new"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://files.example"},
        {"Origin": "null"},
        # A browser adds these by itself, and so does a proxy that goes by the cookie.
        {**OTHER, "Authorization": "Basic dTpw"},
        {**OTHER, "Authorization": "Bearer sk", "Cookie": "session=1"},
        {**OTHER, "x-portkey-provider": "openai", "Cookie": "session=1"},
    ],
)
def test_uploads_that_are_refused(headers: Mapping[str, str]) -> None:
    answer = upload(headers)
    assert answer.status_code == 403
    error = answer.get_json()["error"]
    assert error["code"] == "cross_origin_request"
    assert error["param"] == "Origin"
    assert "PORTKEY_FILES_TRUSTED_ORIGINS" in error["message"]


def test_origins_that_are_trusted() -> None:
    trusted = "https://app.example, https://evil.example"
    assert upload({**OTHER, "Cookie": "session=1"}, trusted).status_code == 200
    assert upload(OTHER, "https://app.example:8443").status_code == 403
    assert upload(OTHER, "*").status_code == 200


@pytest.mark.parametrize(
    "wrong", ["app.example", "https://app.example/", "https://*.example", "ftp://a", "null"]
)
def test_origins_that_are_none(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"PORTKEY_FILES_TRUSTED_ORIGINS: .* is no origin"):
        upload({}, wrong)
