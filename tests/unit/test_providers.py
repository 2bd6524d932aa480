"""Conversations with plain values: what they ask for, and what they make of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from flask_portkey_files import (
    FilesCall,
    OpenAICompatible,
    Operation,
    Provider,
    Target,
    UploadForm,
)
from flask_portkey_files.errors import (
    FilesError,
    InvalidRequest,
    InvalidRoute,
    MissingCredential,
    UnsupportedOperation,
    UpstreamError,
)
from flask_portkey_files.form import FilePart
from flask_portkey_files.providers import registry
from flask_portkey_files.providers.azure import AzureOpenAI
from flask_portkey_files.providers.base import (
    Answer,
    Conversation,
    Relayed,
    Reshaped,
    UpstreamRequest,
)
from flask_portkey_files.providers.openai import OpenAI
from flask_portkey_files.settings import Settings
from flask_portkey_files.spool import SpooledFile


class Response:
    """An answer that is already here."""

    def __init__(self, status: int = 200, body: Any = None) -> None:
        self.status = status
        self.headers = Headers()
        self.body = body

    def hurry(self, *, whole: bool) -> None:
        pass

    def blocks(self) -> Iterator[bytes]:
        yield json.dumps(self.body).encode()

    def read(self, most: int) -> bytes:
        return json.dumps(self.body).encode()

    def json(self) -> Any:
        return self.body

    def close(self) -> None:
        pass


FORM = UploadForm((), FilePart("a", "text/plain", (), SpooledFile([b"x"], Settings())))
KEY = Target("openai", api_key="sk-1")


def call(
    operation: Operation,
    file_id: str | None = "file-1",
    *,
    query: str = "",
    method: str = "GET",
) -> FilesCall:
    return FilesCall(
        operation=operation,
        file_id=file_id,
        query_string=query,
        method=method,
        headers=Headers({"Accept-Encoding": "gzip", "Authorization": "Bearer client"}),
    )


def start(
    provider: Provider, what: FilesCall, target: Target
) -> tuple[Conversation, UpstreamRequest]:
    operation = getattr(provider, what.operation.value)
    conversation: Conversation = (
        operation(what, target, FORM)
        if what.operation is Operation.UPLOAD
        else operation(what, target)
    )
    return conversation, next(conversation)


def finish(conversation: Conversation, response: Response) -> Answer:
    with pytest.raises(StopIteration) as stop:
        conversation.send(response)
    answer: Answer = stop.value.value
    return answer


def ask(
    provider: Provider, what: FilesCall, target: Target, response: Response | None = None
) -> tuple[UpstreamRequest, Answer]:
    conversation, request = start(provider, what, target)
    return request, finish(conversation, response or Response())


class TestOpenAI:
    @pytest.mark.parametrize(
        ("operation", "method", "url"),
        [
            (Operation.UPLOAD, "POST", "https://api.openai.com/v1/files"),
            (Operation.LIST, "GET", "https://api.openai.com/v1/files"),
            (Operation.RETRIEVE, "GET", "https://api.openai.com/v1/files/file-1"),
            (Operation.CONTENT, "GET", "https://api.openai.com/v1/files/file-1/content"),
            (Operation.DELETE, "DELETE", "https://api.openai.com/v1/files/file-1"),
        ],
    )
    def test_requests(self, operation: Operation, method: str, url: str) -> None:
        response = Response()
        request, answer = ask(OpenAI(), call(operation), KEY, response)
        assert (request.method, request.url) == (method, url)
        assert dict(request.headers) == {
            "Accept-Encoding": "gzip",
            "Authorization": "Bearer sk-1",
        }
        assert request.body is (FORM if operation is Operation.UPLOAD else None)
        assert answer == Relayed(response)

    @pytest.mark.parametrize(
        "operation", [Operation.LIST, Operation.RETRIEVE, Operation.CONTENT]
    )
    def test_head_stays_head(self, operation: Operation) -> None:
        assert ask(OpenAI(), call(operation, method="HEAD"), KEY)[0].method == "HEAD"

    def test_the_query_passes_as_it_is(self) -> None:
        query = "purpose=fine-tune&purpose=batch&limit=0&x=%7E%2f+&empty&="
        request, _ = ask(OpenAI(), call(Operation.LIST, query=query), KEY)
        assert request.url == f"https://api.openai.com/v1/files?{query}"

    def test_organization_and_project_come_from_the_target(self) -> None:
        target = Target(
            "openai",
            api_key="k",
            options={"openai_organization": "org", "openai_project": "proj"},
            headers={"X-Extra": "1", "Authorization": "Bearer other"},
        )
        request, _ = ask(OpenAI(), call(Operation.LIST), target)
        assert request.headers["OpenAI-Organization"] == "org"
        assert request.headers["OpenAI-Project"] == "proj"
        assert request.headers["X-Extra"] == "1"
        assert request.headers.getlist("Authorization") == ["Bearer other"]

    @pytest.mark.parametrize(
        ("file_id", "segment"),
        [
            ("file-abc_1", "file-abc_1"),
            ("a b?c#d&e", "a%20b%3Fc%23d%26e"),
            ("v1", "v1"),
            ("...", "..."),
            ("ü%2F", "%C3%BC%252F"),
        ],
    )
    def test_a_file_id_is_one_segment(self, file_id: str, segment: str) -> None:
        request, _ = ask(OpenAI(), call(Operation.CONTENT, file_id), KEY)
        assert request.url == f"https://api.openai.com/v1/files/{segment}/content"

    @pytest.mark.parametrize(
        "file_id", [None, "", ".", "..", "a/b", "../models", "a\\b", "a\n"]
    )
    @pytest.mark.parametrize(
        "operation", [Operation.RETRIEVE, Operation.CONTENT, Operation.DELETE]
    )
    def test_or_none_at_all(self, file_id: str | None, operation: Operation) -> None:
        with pytest.raises(InvalidRequest) as raised:
            start(OpenAI(), call(operation, file_id), KEY)
        assert (raised.value.status, raised.value.param) == (400, "file_id")

    def test_no_key(self) -> None:
        with pytest.raises(MissingCredential, match="provider openai") as raised:
            OpenAI().check(call(Operation.UPLOAD), Target("openai"))
        assert raised.value.status == 401
        with pytest.raises(MissingCredential):
            start(OpenAI(), call(Operation.LIST), Target("openai", api_key=""))


class TestOpenAICompatible:
    def test_a_service_without_keys(self) -> None:
        provider = OpenAICompatible("http://10.0.0.5:8000/v1/", requires_api_key=False)
        request, _ = ask(provider, call(Operation.LIST), Target("own"))
        assert request.url == "http://10.0.0.5:8000/v1/files"
        assert "Authorization" not in request.headers

    def test_the_target_can_move_it(self) -> None:
        target = Target("own", api_key="k", base_url="https://eu.example/v1/")
        request, _ = ask(OpenAICompatible("http://a"), call(Operation.LIST), target)
        assert request.url == "https://eu.example/v1/files"

    @pytest.mark.parametrize(
        "url", ["", "example.com/v1", "ftp://a/v1", "http://", "http://a/v1?x=1", "http://a/#f"]
    )
    def test_a_bad_base_url(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"http|query"):
            OpenAICompatible(url)

    def test_credentials_in_a_base_url_are_refused_and_not_quoted(self) -> None:
        with pytest.raises(ValueError, match="credentials") as raised:
            OpenAICompatible("http://user:SECRET@a/v1")
        assert "SECRET" not in str(raised.value)


class TestRegistry:
    def test_own_providers(self) -> None:
        own = OpenAICompatible("http://a")
        providers = registry({"own": own, "other": "http://b/v1", "openai": "http://c/v1"})
        assert providers["own"] is own
        request, _ = ask(providers["other"], call(Operation.LIST), KEY)
        assert request.url == "http://b/v1/files"
        request, _ = ask(providers["openai"], call(Operation.LIST), KEY)
        assert request.url == "http://c/v1/files"

    def test_something_else(self) -> None:
        with pytest.raises(TypeError, match="'own' must be a Provider or a base URL, not int"):
            registry({"own": 1})  # type: ignore[dict-item]

    @pytest.mark.parametrize("operation", list(Operation))
    def test_a_provider_says_what_it_has_not(self, operation: Operation) -> None:
        with pytest.raises(UnsupportedOperation, match=f"own has no {operation} ") as raised:
            start(Provider(), call(operation), Target("own"))
        assert raised.value.status == 501


def azure(version: str | None = None, **options: str) -> Target:
    given = {"azure_resource_name": "contoso", **options}
    if version:
        given["azure_api_version"] = version
    return Target("azure-openai", api_key="key", options=given)


DATED = azure("2024-10-21")


class TestAzure:
    @pytest.mark.parametrize(
        ("target", "query", "url"),
        [
            (DATED, "", "/openai/files?api-version=2024-10-21"),
            (DATED, "purpose=batch", "/openai/files?purpose=batch&api-version=2024-10-21"),
            (DATED, "limit=2&after=x&order=asc", "/openai/files?api-version=2024-10-21"),
            (DATED, "api-version=1999-01-01", "/openai/files?api-version=2024-10-21"),
            (azure(), "api-version=2024-10-21", "/openai/files?api-version=2024-10-21"),
            (azure("v1"), "", "/openai/v1/files"),
            (azure("v1"), "limit=2&after=x", "/openai/v1/files?limit=2&after=x"),
            (azure(), "", "/openai/v1/files"),
            (azure("preview"), "limit=2", "/openai/v1/files?limit=2&api-version=preview"),
            (azure("a&b=c"), "", "/openai/files?api-version=a%26b%3Dc"),
        ],
    )
    def test_addresses(self, target: Target, query: str, url: str) -> None:
        _, request = start(AzureOpenAI(), call(Operation.LIST, query=query), target)
        assert request.url == f"https://contoso.openai.azure.com{url}"

    def test_the_key_goes_in_azures_header(self) -> None:
        _, request = start(AzureOpenAI(), call(Operation.LIST), DATED)
        assert request.headers["api-key"] == "key"
        assert "Authorization" not in request.headers

    @pytest.mark.parametrize("token", ["ey.J", "Bearer ey.J", "bearer ey.J"])
    def test_a_token_goes_instead_of_the_key(self, token: str) -> None:
        _, request = start(AzureOpenAI(), call(Operation.LIST), azure(azure_ad_token=token))
        assert request.headers["Authorization"] == "Bearer ey.J"
        assert "api-key" not in request.headers

    def test_neither(self) -> None:
        target = Target("azure-openai", options={"azure_resource_name": "contoso"})
        with pytest.raises(MissingCredential):
            AzureOpenAI().check(call(Operation.UPLOAD), target)

    @pytest.mark.parametrize(
        "name", ["", "a.b", "evil.com/", "evil.com#", "-a", "a" * 64, "a@b"]
    )
    def test_a_resource_name_is_no_way_to_another_host(self, name: str) -> None:
        target = Target("azure-openai", api_key="k", options={"azure_resource_name": name})
        with pytest.raises(InvalidRoute) as raised:
            AzureOpenAI().check(call(Operation.UPLOAD), target)
        assert raised.value.param == "x-portkey-azure-resource-name"

    @pytest.mark.parametrize(
        ("version", "url"),
        [
            ("2024-10-21", "http://proxy/openai/files?api-version=2024-10-21"),
            ("v1", "http://proxy/openai/v1/files"),
        ],
    )
    def test_a_base_url_of_the_hosts(self, version: str, url: str) -> None:
        target = Target(
            "azure-openai",
            api_key="k",
            base_url="http://proxy/openai/",
            options={"azure_api_version": version},
        )
        assert start(AzureOpenAI(), call(Operation.LIST), target)[1].url == url

    @pytest.mark.parametrize(
        ("azures", "openais"),
        [
            ("pending", "uploaded"),
            ("running", "uploaded"),
            ("notRunning", "uploaded"),
            ("succeeded", "processed"),
            ("failed", "error"),
            ("processed", "processed"),
            ("brand-new", "brand-new"),
        ],
    )
    @pytest.mark.parametrize("operation", [Operation.UPLOAD, Operation.RETRIEVE])
    def test_a_file_comes_out_in_openais_shape(
        self, operation: Operation, azures: str, openais: str
    ) -> None:
        response = Response(201, {"id": "file-1", "object": "file", "status": azures, "x": 1})
        request, answer = ask(AzureOpenAI(), call(operation), DATED, response)
        body = {"id": "file-1", "object": "file", "status": openais, "x": 1}
        # A size that is not known yet is none.
        assert answer == Reshaped(response, {**body, "bytes": None}, 200)
        # What is read here must be readable.
        assert request.headers["Accept-Encoding"] == "identity"

    @pytest.mark.parametrize("operation", list(Operation))
    def test_an_error_passes_as_it_is(self, operation: Operation) -> None:
        response = Response(404, {"error": {"code": "x"}})
        _, answer = ask(AzureOpenAI(), call(operation), DATED, response)
        assert answer == Relayed(response)

    def test_content_passes_as_it_is(self) -> None:
        response = Response(200)
        request, answer = ask(AzureOpenAI(), call(Operation.CONTENT), DATED, response)
        assert request.url.endswith("/openai/files/file-1/content?api-version=2024-10-21")
        assert request.headers["Accept-Encoding"] == "gzip"
        assert answer == Relayed(response)

    @pytest.mark.parametrize(("status", "length"), [(204, None), (200, "0"), (202, "0")])
    def test_deleted_without_a_word(self, status: int, length: str | None) -> None:
        response = Response(status)
        if length:
            response.headers.set("Content-Length", length)
        request, answer = ask(AzureOpenAI(), call(Operation.DELETE), DATED, response)
        assert request.method == "DELETE"
        assert answer == Reshaped(
            response, {"id": "file-1", "object": "file", "deleted": True}, 200
        )

    def test_deleted_in_openais_words(self) -> None:
        response = Response(200, {"id": "file-1", "object": "file", "deleted": True})
        _, answer = ask(AzureOpenAI(), call(Operation.DELETE), DATED, response)
        assert answer == Relayed(response)

    @pytest.mark.parametrize("operation", [Operation.LIST, Operation.RETRIEVE])
    def test_head_asks_for_what_it_reshapes(self, operation: Operation) -> None:
        response = Response(200, {"object": "list", "data": []})
        request, answer = ask(AzureOpenAI(), call(operation, method="HEAD"), DATED, response)
        assert request.method == "GET"
        assert isinstance(answer, Reshaped)


FILES: list[dict[str, Any]] = [
    {"id": "a", "created_at": 10, "status": "pending"},
    {"id": "b", "created_at": 30},
    {"id": "c", "created_at": 20},
    {"id": "d"},
]


class TestAzureList:
    def list(self, query: str, target: Target = DATED) -> Any:
        response = Response(200, {"object": "list", "data": [{**file} for file in FILES]})
        _, answer = ask(
            AzureOpenAI(), call(Operation.LIST, None, query=query), target, response
        )
        assert isinstance(answer, Reshaped)
        assert answer.status == 200
        return answer.body

    @pytest.mark.parametrize(
        ("query", "ids", "more"),
        [
            ("", "bcad", False),
            ("order=desc", "bcad", False),
            ("order=asc", "dacb", False),
            ("limit=2", "bc", True),
            ("limit=2&after=c", "ad", False),
            ("limit=4", "bcad", False),
            ("limit=1&after=b&order=desc", "c", True),
            ("after=d", "", False),
            ("after=", "bcad", False),
        ],
    )
    def test_paging(self, query: str, ids: str, more: bool) -> None:
        page = self.list(query)
        assert [file["id"] for file in page["data"]] == list(ids)
        assert page["has_more"] is more
        assert page["object"] == "list"
        assert page["first_id"] == (ids[0] if ids else None)
        assert page["last_id"] == (ids[-1] if ids else None)

    def test_statuses(self) -> None:
        assert [file.get("status") for file in self.list("order=asc")["data"]][1] == "uploaded"

    def test_v1_pages_itself(self) -> None:
        page = self.list("limit=1", azure("v1"))
        assert [file["id"] for file in page["data"]] == list("abcd")
        assert "has_more" not in page

    @pytest.mark.parametrize(
        ("query", "param"),
        [
            ("limit=0", "limit"),
            ("limit=10001", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("limit=x", "limit"),
            ("limit=", "limit"),
            ("limit=%C2%B2", "limit"),
            ("order=up", "order"),
            ("after=nobody", "after"),
        ],
    )
    def test_a_bad_parameter(self, query: str, param: str) -> None:
        with pytest.raises(FilesError) as raised:
            self.list(query)
        assert (raised.value.status, raised.value.param) == (400, param)

    @pytest.mark.parametrize("body", [[], {"data": 1}, {"data": [1]}, {}, None])
    def test_no_list_at_all(self, body: Any) -> None:
        conversation, _ = start(AzureOpenAI(), call(Operation.LIST), DATED)
        with pytest.raises(UpstreamError) as raised:
            conversation.send(Response(200, body))
        assert raised.value.status == 502

    def test_odd_dates_are_no_hindrance(self) -> None:
        files = [{"id": "a", "created_at": "x"}, {"id": "b", "created_at": 1}]
        _, answer = ask(
            AzureOpenAI(), call(Operation.LIST, None), DATED, Response(200, {"data": files})
        )
        assert isinstance(answer, Reshaped)
        assert [file["id"] for file in answer.body["data"]] == ["b", "a"]
