"""The stand-in provider: what a resolver's test sees of it, and how it fails."""

from __future__ import annotations

import http.client
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_portkey_files import Fallback, FilesCall, Retry, Target, create_blueprint
from flask_portkey_files.errors import BrokenTransfer
from flask_portkey_files.testing import Upstream

KEYS = {"Bearer a": "sk-a", "Bearer b": "sk-b"}
BEARER = {"Authorization": "Bearer a"}


def resolve(call: FilesCall) -> Target:
    return Target("openai", api_key=KEYS[call.headers["Authorization"]])


def client_of(*arguments: object, **options: object) -> FlaskClient:
    app = Flask(__name__)
    app.register_blueprint(
        create_blueprint(*arguments, **options),  # type: ignore[arg-type]
        url_prefix="/v1",
    )
    return app.test_client()


def upload(client: FlaskClient, content: bytes = b"{}\n") -> TestResponse:
    form = {"purpose": "batch", "file": (io.BytesIO(content), "data.jsonl")}
    return client.post("/v1/files", data=form, headers=BEARER)


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path) as upstream, upstream.instead_of_providers():
        yield upstream


class TestInsteadOfProviders:
    def test_each_caller_has_the_key_that_the_resolver_gave(self, upstream: Upstream) -> None:
        client = client_of(resolve)
        for caller in KEYS:
            headers = {"Authorization": caller}
            assert client.get("/v1/files?limit=3", headers=headers).status_code == 200
        assert [request.api_key for request in upstream.requests] == ["sk-a", "sk-b"]
        (request, _) = upstream.requests
        assert (request.method, request.url) == (
            "GET",
            "https://api.openai.com/v1/files?limit=3",
        )
        assert (request.host, request.path) == ("api.openai.com", "/v1/files")
        assert request.query == "limit=3"
        assert "sk-a" not in repr(request)
        assert "X-Stand-In-For" not in request.headers

    def test_an_upload_is_kept(self, upstream: Upstream) -> None:
        answer = upload(client_of(resolve), b"content\n")
        (file,) = upstream.files
        assert answer.get_json()["id"] == file.id
        assert (file.filename, file.purpose) == ("data.jsonl", "batch")
        assert file.content == b"content\n"

    def test_a_file_that_nobody_uploaded(self, upstream: Upstream) -> None:
        file_id = upstream.add_file(b"result\n", filename="out.jsonl", purpose="evals")
        client = client_of(resolve)
        with client.get(f"/v1/files/{file_id}/content", headers=BEARER) as answer:
            assert answer.data == b"result\n"
        assert client.delete(f"/v1/files/{file_id}", headers=BEARER).status_code == 200
        assert upstream.files == []

    @pytest.mark.parametrize(
        ("target", "url", "header"),
        [
            (
                Target("azure-openai", api_key="k", options={"azure_resource_name": "contoso"}),
                "https://contoso.openai.azure.com/openai/v1/files",
                "api-key",
            ),
            (Target("groq", api_key="k"), "https://api.groq.com/openai/v1/files", None),
            (
                Target("openai", api_key="k", base_url="https://eu.example/x"),
                "https://eu.example/x/files",
                None,
            ),
            (
                Target("anthropic", api_key="k"),
                "https://api.anthropic.com/v1/files",
                "x-api-key",
            ),
        ],
    )
    def test_other_providers(
        self, upstream: Upstream, target: Target, url: str, header: str | None
    ) -> None:
        client_of(lambda call: target).get("/v1/files")
        request = upstream.requests[0]
        assert request.url.partition("?")[0] == url
        assert request.api_key == "k"
        assert header is None or request.headers[header] == "k"

    def test_a_client_s_custom_host(
        self, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = Flask(__name__)
        app.config["PORTKEY_FILES_ALLOWED_HOSTS"] = "files.example"
        app.register_blueprint(create_blueprint(), url_prefix="/v1")
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": "https://files.example/v1",
            "Authorization": "Bearer k",
        }
        assert app.test_client().get("/v1/files", headers=headers).status_code == 200
        assert upstream.requests[0].host == "files.example"

    def test_ends_with_the_block(self, tmp_path: Path) -> None:
        with Upstream(tmp_path) as upstream, upstream.instead_of_providers():
            pass
        before = threading.active_count()
        app = Flask(__name__)
        app.config["PORTKEY_FILES_CONNECT_TIMEOUT"] = 5
        # Nobody listens there any more, and nothing leads elsewhere.
        target = Target("openai", api_key="k", base_url=upstream.base_url)
        app.register_blueprint(create_blueprint(lambda call: target), url_prefix="/v1")
        assert app.test_client().get("/v1/files").status_code == 502
        assert upstream.requests == []
        assert threading.active_count() == before


class TestByItsAddress:
    def test_target(self, tmp_path: Path) -> None:
        with Upstream(tmp_path) as upstream:
            client = client_of(lambda call: upstream.target("openai", api_key="k"))
            assert upload(client).status_code == 200
            (request,) = upstream.requests
            assert request.url == f"{upstream.base_url}/files"
            assert request.api_key == "k"

    def test_a_provider_of_the_hosts(self, tmp_path: Path) -> None:
        with Upstream(tmp_path) as upstream:
            client = client_of(
                lambda call: Target("own", api_key="k"), providers={"own": upstream.base_url}
            )
            assert upload(client).status_code == 200
            assert len(upstream.files) == 1


class TestFaults:
    def test_an_answer_instead_of_its_own(self, upstream: Upstream) -> None:
        upstream.answer_next(429, headers={"Retry-After": "7"})
        client = client_of(resolve)
        answer = upload(client, b"x" * 400_000)
        assert answer.status_code == 429
        assert answer.headers["Retry-After"] == "7"
        assert answer.get_json()["error"]["type"] == "rate_limit_error"
        assert upstream.files == []
        assert upload(client).status_code == 200

    def test_a_body_of_ones_own(self, upstream: Upstream) -> None:
        upstream.answer_next(200, body=b'{"mine": true}')
        client = client_of(resolve)
        assert client.get("/v1/files", headers=BEARER).get_json() == {"mine": True}
        upstream.answer_next(200, body=b"text", headers={"Content-Type": "text/plain"})
        answer = client.head("/v1/files/file-1/content", headers=BEARER)
        assert (answer.data, answer.content_type) == (b"", "text/plain")

    def test_a_retry_meets_the_next_answer(self, upstream: Upstream) -> None:
        upstream.answer_next(500, times=2, headers={"Retry-After": "0"})
        target = Target("openai", api_key="k", retry=Retry(attempts=2))
        answer = upload(client_of(lambda call: target))
        assert answer.status_code == 200
        assert len(upstream.requests) == 3
        assert len(upstream.files) == 1

    def test_a_fallback(self, upstream: Upstream) -> None:
        upstream.answer_next(503)
        targets = [Target("openai", api_key="one"), Target("groq", api_key="two")]
        answer = upload(client_of(lambda call: Fallback(targets)))
        assert answer.status_code == 200
        assert [request.api_key for request in upstream.requests] == ["one", "two"]

    def test_a_download_that_is_cut(self, upstream: Upstream) -> None:
        file_id = upstream.add_file(b"x" * 3_000_000)
        client = client_of(resolve)
        upstream.cut_next(after=2_000_000)
        with client.get(f"/v1/files/{file_id}/content", headers=BEARER) as answer:
            assert answer.status_code == 200
            with pytest.raises(BrokenTransfer):
                answer.get_data()
        with client.get(f"/v1/files/{file_id}/content", headers=BEARER) as answer:
            assert len(answer.data) == 3_000_000

    @pytest.mark.parametrize("after", [0, 3])
    def test_how_much_comes_before_the_cut(self, upstream: Upstream, after: int) -> None:
        file_id = upstream.add_file(b"content")
        upstream.cut_next(after=after)
        connection = http.client.HTTPConnection(urlsplit(upstream.url).netloc, timeout=30)
        connection.request("GET", f"/v1/files/{file_id}/content")
        answer = connection.getresponse()
        assert answer.getheader("Content-Length") == "7"
        with pytest.raises(http.client.IncompleteRead) as raised:
            answer.read()
        assert raised.value.partial == b"content"[:after]
        connection.close()

    def test_no_answer_at_all(self, upstream: Upstream) -> None:
        upstream.drop_next()
        assert upload(client_of(resolve), b"x" * 400_000).status_code == 502
        assert upstream.files == []
        assert len(upstream.requests) == 1

    def test_what_can_t_be_asked(self, upstream: Upstream) -> None:
        with pytest.raises(ValueError, match="times must be at least 1"):
            upstream.answer_next(500, times=0)
        with pytest.raises(ValueError, match="after must not be negative"):
            upstream.cut_next(after=-1)
        assert requests.get(f"{upstream.base_url}/files", timeout=30).status_code == 200
