"""The blueprint as a client and a host application see it; requests-mock is the provider."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import unquote

import flask
import pytest
import requests_mock
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException

from flask_portkey_files import (
    FilesCall,
    OpenAICompatible,
    Operation,
    Target,
    call_finished,
    create_blueprint,
)

from .conftest import MakeClient
from .forms import CONTENT_TYPE, END, field, file, parse

URL = "https://api.openai.com/v1/files"
FORM = field("purpose", "batch") + file(b"content") + END


def post(client: FlaskClient, body: bytes = FORM, **options: Any) -> Any:
    return client.post("/v1/files", data=body, content_type=CONTENT_TYPE, **options)


class TestRelay:
    def test_the_answer_passes_byte_for_byte(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker
    ) -> None:
        body = b'{ "id":"file-1", "caf\\u00e9" : 1.0 }\n'
        requests_mock.get(
            f"{URL}/file-1",
            content=body,
            headers={"Content-Type": "application/json; charset=x", "x-request-id": "req_1"},
        )
        response = client.get("/v1/files/file-1")
        assert response.data == body
        assert response.headers["Content-Type"] == "application/json; charset=x"
        assert response.headers["x-request-id"] == "req_1"

    @pytest.mark.parametrize(
        ("path", "status", "content_type"),
        [
            ("/file-1", 200, "application/json"),
            ("/file-1/content", 200, "application/octet-stream"),
            ("/file-1/content", 404, "application/json"),
        ],
    )
    def test_an_answer_without_a_type_gets_the_contracts(
        self,
        client: FlaskClient,
        requests_mock: requests_mock.Mocker,
        path: str,
        status: int,
        content_type: str,
    ) -> None:
        requests_mock.get(f"{URL}{path}", content=b"{}", status_code=status)
        response = client.get(f"/v1/files{path}")
        assert response.headers["Content-Type"] == content_type

    def test_an_answer_without_a_body_gets_no_type(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.delete(f"{URL}/file-1", content=b"")
        response = client.delete("/v1/files/file-1")
        assert "Content-Type" not in response.headers

    def test_list_with_its_query(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(URL, json={"object": "list", "data": []})
        query = "purpose=batch&purpose=fine-tune&limit=0&order=asc&after=file-1"
        response = client.get(f"/v1/files?{query}")
        assert response.json == {"object": "list", "data": []}
        assert requests_mock.last_request is not None
        assert requests_mock.last_request.query == query

    def test_a_query_that_is_no_proper_one_arrives_as_it_was_meant(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(URL, json={})
        query = "after=\u00e9".encode() + b"&a=100%&b=%20&c=a b"
        client.get("/v1/files", environ_overrides={"QUERY_STRING": query.decode("latin-1")})
        assert requests_mock.last_request is not None
        assert requests_mock.last_request.url.partition("?")[2] == (
            "after=%C3%A9&a=100%25&b=%20&c=a%20b"
        )

    @pytest.mark.parametrize("status", [400, 401, 404, 409, 429, 500, 503])
    def test_a_providers_error_passes(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker, status: int
    ) -> None:
        error = {"error": {"message": "m", "type": "t", "param": None, "code": "c"}}
        headers = {"Retry-After": "3", "x-ratelimit-remaining-requests": "0"}
        requests_mock.delete(f"{URL}/file-1", status_code=status, json=error, headers=headers)
        response = client.delete("/v1/files/file-1")
        assert (response.status_code, response.json) == (status, error)
        assert response.headers["Retry-After"] == "3"
        assert response.headers["x-ratelimit-remaining-requests"] == "0"

    def test_a_body_on_get_and_delete_is_dropped(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.register_uri(requests_mock_any(), f"{URL}/file-1", json={})
        for method in ("GET", "DELETE"):
            client.open("/v1/files/file-1", method=method, json={})
            sent = requests_mock.last_request
            assert sent is not None
            assert sent.body is None
            assert "Content-Type" not in sent.headers
            assert "Content-Length" not in sent.headers

    def test_what_the_client_says_who_it_is_stays_here(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(URL, json={}, headers={"Set-Cookie": "a=b", "X-Frame": "1"})
        client.set_cookie("session", "secret")
        response = client.get(
            "/v1/files",
            headers={"Authorization": "Bearer client", "x-portkey-api-key": "p", "X-Own": "1"},
        )
        sent = requests_mock.last_request
        assert sent is not None
        assert sent.headers["Authorization"] == "Bearer sk-host"
        assert not {"cookie", "x-portkey-api-key", "x-own"} & {k.lower() for k in sent.headers}
        assert "Set-Cookie" not in response.headers

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker, status: int
    ) -> None:
        requests_mock.get(
            f"{URL}/file-1",
            status_code=status,
            headers={"Location": "https://evil.example/?k=1"},
        )
        response = client.get("/v1/files/file-1")
        assert response.status_code == 502
        assert response.get_json()["error"]["code"] == "upstream_redirect"
        assert b"evil" not in response.data
        assert requests_mock.call_count == 1

    @pytest.mark.parametrize("status", [204, 304])
    def test_answers_without_a_body(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker, status: int
    ) -> None:
        requests_mock.get(f"{URL}/file-1", status_code=status, headers={"ETag": '"e"'})
        response = client.get("/v1/files/file-1")
        assert (response.status_code, response.data) == (status, b"")
        assert response.headers["ETag"] == '"e"'
        assert "Content-Length" not in response.headers

    def test_a_large_answer_is_streamed(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker
    ) -> None:
        body = bytes(range(256)) * 4000
        requests_mock.get(URL, content=body, headers={"Content-Length": str(len(body))})
        response = client.get("/v1/files", buffered=False)
        assert response.is_streamed
        assert response.data == body


def requests_mock_any() -> Any:
    return requests_mock.ANY


class TestUpload:
    def test_live(self, client: FlaskClient, requests_mock: requests_mock.Mocker) -> None:
        def answer(request: Any, context: Any) -> Any:
            sent = parse(request.body.read(), request.headers["Content-Type"])
            assert [part[:3] for part in sent] == [
                ("purpose", None, b"batch"),
                ("file", "data.jsonl", b"content"),
            ]
            assert "Content-Length" not in request.headers
            return {"id": "file-1"}

        requests_mock.post(URL, json=answer)
        assert post(client).json == {"id": "file-1"}

    def test_spooled(self, client: FlaskClient, requests_mock: requests_mock.Mocker) -> None:
        requests_mock.post(URL, json={"id": "file-1"})
        body = file(b"content") + field("purpose", "batch") + END
        assert post(client, body).json == {"id": "file-1"}
        sent = requests_mock.last_request
        assert sent is not None
        data = sent.body.read()
        assert sent.headers["Content-Length"] == str(len(data))
        names = [part[0] for part in parse(data, sent.headers["Content-Type"])]
        assert names == ["purpose", "file"]

    def test_spooled_for_a_service_that_needs_the_length(
        self, make_client: MakeClient, requests_mock: requests_mock.Mocker
    ) -> None:
        own = OpenAICompatible("http://own.example", requires_api_key=False, needs_length=True)
        client = make_client(lambda call: Target("own"), providers={"own": own})
        requests_mock.post("http://own.example/files", json={})
        assert post(client).status_code == 200
        assert requests_mock.last_request is not None
        assert "Content-Length" in requests_mock.last_request.headers

    def test_azure(self, make_client: MakeClient, requests_mock: requests_mock.Mocker) -> None:
        options = {"azure_resource_name": "contoso", "azure_api_version": "2024-10-21"}
        client = make_client(lambda call: Target("azure-openai", api_key="k", options=options))
        requests_mock.post(
            "https://contoso.openai.azure.com/openai/files?api-version=2024-10-21",
            status_code=201,
            json={"id": "file-1", "status": "pending"},
            headers={"ETag": '"e"', "apim-request-id": "r", "Content-Length": "99"},
        )
        response = post(client)
        assert (response.status_code, response.json) == (
            200,
            {"id": "file-1", "status": "uploaded", "bytes": None},
        )
        assert response.headers["apim-request-id"] == "r"
        assert response.headers["Content-Length"] == str(len(response.data))
        assert "ETag" not in response.headers

    @pytest.mark.parametrize(
        ("config", "length"),
        [
            ({"PORTKEY_FILES_MAX_BYTES": 10, "PORTKEY_FILES_MAX_FORM_BYTES": 1024}, 1035),
            ({"MAX_CONTENT_LENGTH": 100}, 101),
        ],
    )
    def test_too_large_is_said_before_anything_is_read(
        self, make_client: MakeClient, config: dict[str, int], length: int
    ) -> None:
        class Stream(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                pytest.fail("read")

        client = make_client(lambda call: Target("openai", api_key="k"), config=config)
        response = client.post(
            "/v1/files",
            content_type=CONTENT_TYPE,
            input_stream=Stream(),
            environ_overrides={"CONTENT_LENGTH": str(length)},
        )
        assert response.status_code == 413
        assert response.json is not None
        assert response.json["error"]["type"] == "invalid_request_error"

    def test_the_key_is_missed_before_anything_is_read(self, make_client: MakeClient) -> None:
        response = make_client().post(
            "/v1/files", data=b"garbage", headers={"x-portkey-provider": "openai"}
        )
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("attribute", ["form", "files", "values", "data"])
    def test_a_resolver_that_reads_the_body_is_told(
        self, make_client: MakeClient, attribute: str
    ) -> None:
        def resolve(call: FilesCall) -> Target:
            getattr(flask.request, attribute)
            return Target("openai", api_key="k")

        with pytest.raises(RuntimeError, match="has been read before"):
            post(make_client(resolve))


class TestResolver:
    def test_is_asked_once_with_what_the_client_wants(
        self, make_client: MakeClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.register_uri(requests_mock_any(), requests_mock_any(), json={})
        calls: list[FilesCall] = []

        def resolve(call: FilesCall) -> Target:
            calls.append(call)
            return Target("openai", api_key="k")

        client = make_client(resolve)
        client.get("/v1/files?a=1&a=2", headers={"X-Tenant": "t"})
        client.head("/v1/files/f")
        client.get("/v1/files/f/content")
        client.delete("/v1/files/f")
        post(client)
        assert [(c.operation, c.method, c.file_id) for c in calls] == [
            (Operation.LIST, "GET", None),
            (Operation.RETRIEVE, "HEAD", "f"),
            (Operation.CONTENT, "GET", "f"),
            (Operation.DELETE, "DELETE", "f"),
            (Operation.UPLOAD, "POST", None),
        ]
        assert calls[0].query_string == "a=1&a=2"
        assert calls[0].headers["x-tenant"] == "t"
        assert "X-Tenant" not in repr(calls[0])

    def test_may_abort(self, make_client: MakeClient) -> None:
        client = make_client(lambda call: flask.abort(403, "Not for you."))
        response = client.get("/v1/files")
        assert (response.status_code, response.json) == (
            403,
            {
                "error": {
                    "message": "Not for you.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
            },
        )

    def test_may_abort_with_headers_or_a_response_of_its_own(
        self, make_client: MakeClient
    ) -> None:
        from werkzeug.exceptions import Unauthorized

        def challenge(call: FilesCall) -> Target:
            raise Unauthorized(www_authenticate=flask.wrappers.Response().www_authenticate)

        assert make_client(challenge).get("/v1/files").status_code == 401
        own = flask.Response("own", 418)
        response = make_client(lambda call: flask.abort(own)).get("/v1/files")
        assert (response.status_code, response.data) == (418, b"own")

    def test_an_unknown_provider(self, make_client: MakeClient) -> None:
        response = make_client(lambda call: Target("nobody")).get("/v1/files")
        assert response.status_code == 400
        assert response.json is not None
        assert response.json["message"] == "Invalid provider passed"

    def test_something_that_is_no_target(self, make_client: MakeClient) -> None:
        with pytest.raises(TypeError, match="not a Target or a strategy"):
            make_client(lambda call: None).get("/v1/files")

    def test_what_goes_wrong_in_it_is_a_500_in_json(self, make_client: MakeClient) -> None:
        def resolve(call: FilesCall) -> Target:
            raise KeyError("SECRET")

        client = make_client(resolve)
        client.application.config["PROPAGATE_EXCEPTIONS"] = False
        response = client.get("/v1/files")
        assert response.status_code == 500
        assert response.json is not None
        assert response.json["error"]["type"] == "server_error"
        assert b"SECRET" not in response.data


class TestPaths:
    @pytest.mark.parametrize(
        ("method", "path", "status", "allow"),
        [
            ("GET", "/v1/nothing", 404, None),
            ("GET", "/v1/files/", 404, None),
            ("DELETE", "/v1/files/", 404, None),
            ("GET", "/v1/files//content", 404, None),
            ("GET", "/v1/files/a/b", 404, None),
            ("GET", "/v1/files/a/content/", 404, None),
            ("PUT", "/v1/files", 405, "GET, HEAD, OPTIONS, POST"),
            ("DELETE", "/v1/files", 405, "GET, HEAD, OPTIONS, POST"),
            ("POST", "/v1/files/a", 405, "DELETE, GET, HEAD, OPTIONS"),
            ("DELETE", "/v1/files/a/content", 405, "GET, HEAD, OPTIONS"),
            ("PROPFIND", "/v1/files/a", 405, "DELETE, GET, HEAD, OPTIONS"),
            ("GET", "/v1", 404, None),
            ("PATCH", "/v1/files/a/content", 405, "GET, HEAD, OPTIONS"),
        ],
    )
    def test_what_is_not_there_is_said_in_json(
        self, client: FlaskClient, method: str, path: str, status: int, allow: str | None
    ) -> None:
        response = client.open(path, method=method)
        assert response.status_code == status
        assert response.json is not None
        assert response.json["error"]["type"] == "invalid_request_error"
        assert path in response.json["error"]["message"]
        assert ", ".join(sorted(response.allow)) == (allow or "")

    @pytest.mark.parametrize(
        "path",
        [
            "/v1/files/a%2Fcontent",
            "/v1/files/..%2Fmodels",
            "/v1/files/%2e%2e",
            "/v1/files/..",
            "/v1/files/%2e%2e/content",
            "/v1/files/a%5c..",
            "/v1/files/%0a",
        ],
    )
    def test_a_file_id_is_no_path(
        self, client: FlaskClient, requests_mock: requests_mock.Mocker, path: str
    ) -> None:
        response = client.get(path)
        assert response.status_code in {400, 404}
        assert response.json is not None
        assert requests_mock.call_count == 0

    def test_options(self, client: FlaskClient) -> None:
        response = client.options("/v1/files")
        assert response.status_code == 200
        assert {"GET", "POST", "HEAD", "OPTIONS"} <= set(response.allow)


class TestHost:
    def test_its_own_routes_and_errors_stay_its_own(self) -> None:
        app = Flask("host")
        app.register_blueprint(create_blueprint(), url_prefix="/v1")

        @app.post("/v1/chat")
        def chat() -> str:
            return "chat"

        @app.errorhandler(HTTPException)
        @app.errorhandler(404)
        @app.errorhandler(400)
        def own(error: HTTPException) -> tuple[str, int]:
            return "own", error.code or 500

        client = app.test_client()
        assert client.post("/v1/chat").data == b"chat"
        wrong = client.get("/v1/chat")
        assert (wrong.status_code, set(wrong.allow)) == (405, {"POST", "OPTIONS"})
        assert set(client.options("/v1/chat").allow) == {"POST", "OPTIONS"}
        assert client.get("/elsewhere").data == b"own"
        for path, status in (("/v1/files", 400), ("/v1/files/a/b", 404), ("/v1/nothing", 404)):
            response = client.get(path)
            assert (response.status_code, response.is_json) == (status, True)

    def test_a_prefix_may_name_the_tenant(self, requests_mock: requests_mock.Mocker) -> None:
        requests_mock.get(f"{URL}/f", json={})
        app = Flask("host")
        seen = []

        def resolve(call: FilesCall) -> Target:
            seen.append((flask.request.view_args or {})["tenant"])
            return Target("openai", api_key="k")

        app.register_blueprint(create_blueprint(resolve), url_prefix="/<tenant>/v1")
        assert app.test_client().get("/acme/v1/files/f").status_code == 200
        assert seen == ["acme"]
        assert app.test_client().get("/acme/v1/nothing").is_json
        assert not app.test_client().get("/acme/other").is_json

    def test_without_a_prefix_it_answers_for_its_own_paths_only(self) -> None:
        app = Flask("host")
        app.register_blueprint(create_blueprint())
        client = app.test_client()
        assert client.get("/files").status_code == 400
        for path in ("/files/", "/files/a/b"):
            assert client.get(path).is_json
        assert client.put("/files").status_code == 405
        assert not client.get("/elsewhere").is_json

    def test_two_blueprints_and_two_applications(
        self, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get("http://a.example/files", json="a")
        requests_mock.get("http://b.example/files", json="b")
        # A mock reads no body unless told to, and so would never meet the limit.
        requests_mock.post("http://a.example/files", json=lambda sent, _: str(sent.body.read()))

        def blueprint(name: str) -> Blueprint:
            return create_blueprint(
                lambda call: Target("own", api_key="k"),
                name=name,
                providers={"own": f"http://{name}.example"},
            )

        a, b = blueprint("a"), blueprint("b")
        first, second = Flask("first"), Flask("second")
        first.register_blueprint(a, url_prefix="/a")
        first.register_blueprint(b, url_prefix="/b")
        outer = Blueprint("outer", "outer", url_prefix="/outer")
        outer.register_blueprint(a, url_prefix="/inner")
        first.register_blueprint(outer)
        first.register_blueprint(a, url_prefix="/again", name="again")
        second.config["PORTKEY_FILES_MAX_BYTES"] = 1
        second.register_blueprint(a, url_prefix="/a")
        client = first.test_client()
        for prefix in ("a", "outer/inner", "again"):
            assert client.get(f"/{prefix}/files").json == "a"
            assert client.get(f"/{prefix}/nothing").is_json
        assert client.get("/b/files").json == "b"
        assert second.test_client().get("/a/files").json == "a"
        assert (
            second.test_client()
            .post("/a/files", data=FORM, content_type=CONTENT_TYPE)
            .status_code
            == 413
        )

    def test_a_hook_that_fails_leaves_nothing_open(
        self, make_client: MakeClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(f"{URL}/f/content", content=bytes(300_000))
        client = make_client(lambda call: Target("openai", api_key="k"))
        outcomes: list[Any] = []

        @client.application.after_request
        def hook(response: flask.Response) -> flask.Response:
            response.get_data()
            return response

        def finished(sender: Any, call: FilesCall, outcome: Any) -> None:
            outcomes.append(outcome)

        with (
            call_finished.connected_to(finished),
            pytest.raises(RuntimeError, match="passthrough"),
        ):
            client.get("/v1/files/f/content")
        assert [outcome.error for outcome in outcomes] == ["internal_error"]

    def test_a_bad_setting_is_said_when_the_blueprint_is_registered(
        self, make_client: MakeClient
    ) -> None:
        with pytest.raises(ValueError, match="PORTKEY_FILES_MAX_BYTES"):
            make_client(config={"PORTKEY_FILES_MAX_BYTES": "lots"})

    def test_a_hook_that_wants_the_data_does_not_get_a_whole_file(
        self, make_client: MakeClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(f"{URL}/f/content", content=bytes(300_000))
        client = make_client(lambda call: Target("openai", api_key="k"))
        seen = []

        @client.application.after_request
        def hook(response: flask.Response) -> flask.Response:
            seen.append(response.direct_passthrough)
            return response

        assert len(client.get("/v1/files/f/content").data) == 300_000
        assert seen == [True]


@pytest.mark.parametrize(
    ("method", "path", "operation", "file_id"),
    [
        ("GET", "s3%3A%2F%2Fb%2Fdir%2Fx.jsonl", Operation.RETRIEVE, "s3://b/dir/x.jsonl"),
        (
            "GET",
            "s3%3A%2F%2Fb%2Fdir%2Fx.jsonl/content",
            Operation.CONTENT,
            "s3://b/dir/x.jsonl",
        ),
        ("GET", "s3%3A%2F%2Fb%2Fdir%2Fcontent", Operation.RETRIEVE, "s3://b/dir/content"),
        ("GET", "s3%3A%2F%2Fb%2Fcontent/content", Operation.CONTENT, "s3://b/content"),
        ("DELETE", "gs%3A%2F%2Fb%2Fdir%2Fcontent", Operation.DELETE, "gs://b/dir/content"),
        ("GET", "gs%3A%2F%2Fb%2F%2Fa%2F", Operation.RETRIEVE, "gs://b//a/"),
        ("GET", "gs://b/a/content", Operation.CONTENT, "gs://b/a"),
        ("GET", "s3%253A%252F%252Fb%252Fk", Operation.RETRIEVE, "s3%3A%2F%2Fb%2Fk"),
    ],
)
def test_an_object_is_named_by_its_escaped_uri(
    method: str, path: str, operation: Operation, file_id: str
) -> None:
    calls: list[FilesCall] = []

    def resolve(call: FilesCall) -> Target:
        calls.append(call)
        return Target("openai", api_key="sk-1")

    app = Flask(__name__)
    app.register_blueprint(create_blueprint(resolve), url_prefix="/v1")
    raw = f"/v1/files/{path}"
    environ = {"PATH_INFO": unquote(raw), "RAW_URI": raw}
    with requests_mock.Mocker() as mock:
        mock.register_uri(requests_mock.ANY, requests_mock.ANY, json={})
        response = app.test_client().open("/", method=method, environ_overrides=environ)
    assert [(call.operation, call.file_id) for call in calls] == [(operation, file_id)]
    # OpenAI has no such ids, and no slash gets into the path of another request.
    assert response.status_code == (400 if "/" in file_id else 200)
