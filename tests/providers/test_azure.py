"""Azure OpenAI and Microsoft Foundry, as OpenAI's SDK sees them through the gateway."""

from __future__ import annotations

import hashlib
import http.client
import io
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import openai
import pytest
import requests

from flask_portkey_files import FilesCall, HeaderResolver, Target
from flask_portkey_files.providers.azure import AzureOpenAI
from flask_portkey_files.providers.azure_ai import AzureAI
from tests.providers.gateway import Gateway
from tests.standins.azure import (
    AzureDatedStandin,
    AzureV1Standin,
    FoundryStandin,
    _AzureStandin,
)

FILE = ("batch.jsonl", b'{"custom_id": "1"}\n', "application/jsonl")
TOKEN = "eyJ-an-entra-token"
PROVIDERS = {"azure-openai": AzureOpenAI(), "azure-ai": AzureAI()}
HEADERS = HeaderResolver(PROVIDERS)


@dataclass(frozen=True)
class Way:
    """One of the ways to a files API of Azure's."""

    provider: str
    standin: type[_AzureStandin]
    #: What is behind the stand-in's address in the target's.
    path: str = ""
    version: str = ""
    #: Whether it takes a token instead of the key.
    by_token: bool = False
    #: Below the stand-in's address, what is asked for.
    asked: str = "/openai/v1/files"


WAYS = {
    "dated": Way(
        "azure-openai", AzureDatedStandin, "/openai", "2024-10-21", asked="/openai/files"
    ),
    "v1": Way("azure-openai", AzureV1Standin, "/openai"),
    "preview": Way("azure-openai", AzureV1Standin, "/openai", "preview"),
    "foundry": Way("azure-ai", FoundryStandin, "/models"),
    "foundry-dated": Way(
        "azure-ai", AzureDatedStandin, "", "2024-10-21", asked="/openai/files"
    ),
    "project": Way(
        "azure-ai",
        FoundryStandin,
        "/api/projects/one",
        by_token=True,
        asked="/api/projects/one/openai/v1/files",
    ),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture
def standin(way: Way) -> Iterator[Any]:
    with way.standin(tokens={TOKEN}) as standin:
        yield standin


@pytest.fixture
def gateway(way: Way, standin: Any) -> Iterator[Gateway]:
    def resolve(call: FilesCall) -> Target:
        target = HEADERS(call)
        assert isinstance(target, Target)
        return replace(target, base_url=standin.url + way.path)

    with Gateway(PROVIDERS, resolver=resolve) as gateway:
        yield gateway


def _client(gateway: Gateway, way: Way, key: str) -> openai.OpenAI:
    headers = {"x_portkey_azure_api_version": way.version} if way.version else {}
    if way.by_token:
        headers["x_portkey_azure_ad_token"] = TOKEN if key == _AzureStandin.key else key
    return gateway.client(way.provider, key, **headers)


@pytest.fixture
def client(gateway: Gateway, way: Way) -> Iterator[openai.OpenAI]:
    with _client(gateway, way, _AzureStandin.key) as client:
        yield client


def _head(way: Way) -> dict[str, str]:
    """Return the headers of a request that no SDK makes."""
    headers = {
        "x-portkey-provider": way.provider,
        "x-portkey-api-key": _AzureStandin.key,
        "x-portkey-azure-api-version": way.version,
    }
    return headers | ({"x-portkey-azure-ad-token": TOKEN} if way.by_token else {})


class TestUpload:
    def test_a_file(self, client: openai.OpenAI, standin: Any, way: Way) -> None:
        uploaded = client.files.create(file=FILE, purpose="batch")
        stored = standin.files[uploaded.id]
        form = stored.extra["form"]
        assert b"".join(stored.blocks()) == FILE[1]
        assert (form.filename, form.content_type) == (FILE[0], FILE[2])
        assert form.order == ["purpose", "file"]
        assert (
            uploaded.to_dict().items()
            >= {
                "id": stored.id,
                "object": "file",
                "created_at": stored.created_at,
                "filename": FILE[0],
                "purpose": "batch",
            }.items()
        )
        seen = standin.seen[-1]
        assert seen.path == way.asked
        assert seen.query.get("api-version", "") == way.version
        authorization = f"Bearer {TOKEN}" if way.by_token else None
        assert seen.headers.get("Authorization") == authorization
        assert seen.headers.get("api-key") == (None if way.by_token else standin.key)

    def test_it_expires(self, client: openai.OpenAI) -> None:
        uploaded = client.files.create(
            file=FILE, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert uploaded.expires_at == uploaded.created_at + 3600

    @pytest.mark.parametrize(
        "fields",
        [
            {"purpose": "nothing"},
            {
                "purpose": "batch",
                "expires_after": {"anchor": "created_at", "seconds": 1},
            },
        ],
    )
    def test_azure_says_what_it_does_not_take(
        self, client: openai.OpenAI, standin: Any, fields: Any
    ) -> None:
        """Purposes and expiries come and go with versions."""
        with pytest.raises(openai.BadRequestError):
            client.files.create(file=FILE, **fields)
        assert len(standin.seen) == 1
        assert not standin.files

    def test_a_part_without_a_type_gets_one(
        self, gateway: Gateway, standin: Any, way: Way
    ) -> None:
        answer = requests.post(
            f"{gateway.url}/v1/files",
            files={"purpose": (None, b"batch"), "file": FILE[:2]},
            headers=_head(way),
        )
        assert answer.status_code == 200
        (stored,) = standin.files.values()
        assert stored.extra["form"].content_type == "application/octet-stream"

    def test_a_large_file_is_streamed(self, client: openai.OpenAI, standin: Any) -> None:
        content = hashlib.shake_128(b"azure").digest(30 * 1024 * 1024)
        uploaded = client.files.create(file=("big", io.BytesIO(content)), purpose="batch")
        assert standin.seen[-1].headers["Transfer-Encoding"] == "chunked"
        received = hashlib.sha256()
        for block in standin.files[uploaded.id].blocks():
            received.update(block)
        assert received.digest() == hashlib.sha256(content).digest()

    def test_broken_off(self, gateway: Gateway, standin: Any, way: Way) -> None:
        boundary = "b0"
        head = "\r\n".join(
            [
                "POST /v1/files HTTP/1.1",
                f"Host: 127.0.0.1:{gateway.port}",
                *(f"{name}: {value}" for name, value in _head(way).items()),
                f"Content-Type: multipart/form-data; boundary={boundary}",
                "Content-Length: 9000000",
                "",
                f"--{boundary}",
                'Content-Disposition: form-data; name="purpose"',
                "",
                "batch",
                f"--{boundary}",
                'Content-Disposition: form-data; name="file"; filename="f"',
                "",
                "",
            ]
        )
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.sendall(head.encode() + b"x" * 500_000)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
        assert b" 400 " in answer.partition(b"\r\n")[0]
        assert not standin.files


class TestList:
    def test_everything(self, client: openai.OpenAI, standin: Any) -> None:
        ids = standin.seed(35, purpose="batch")
        standin.seed(2, purpose="assistants")
        for order, expected in (("asc", ids), ("desc", ids[::-1])):
            listed = client.files.list(limit=10, purpose="batch", order=order)  # type: ignore[arg-type]
            assert [file.id for file in listed] == expected
        assert len(list(client.files.list(limit=10))) == 37

    def test_one_page(self, client: openai.OpenAI, standin: Any) -> None:
        ids = standin.seed(5, purpose="batch")
        page = client.files.list(limit=2, after=ids[4])
        assert [file.id for file in page.data] == [ids[3], ids[2]]
        assert page.has_more is True
        assert (page.first_id, page.last_id) == (ids[3], ids[2])  # type: ignore[attr-defined]
        page = client.files.list(limit=2, after=ids[2])
        assert [file.id for file in page.data] == [ids[1], ids[0]]
        assert page.has_more is False

    @pytest.mark.parametrize("query", ["limit=0", "limit=x", "order=up", "after=nothing"])
    def test_a_bad_parameter(
        self, gateway: Gateway, standin: Any, way: Way, query: str
    ) -> None:
        answer = requests.get(f"{gateway.url}/v1/files?{query}", headers=_head(way))
        assert answer.status_code == 400
        assert "error" in answer.json()

    def test_head(self, gateway: Gateway, standin: Any, way: Way) -> None:
        [file_id] = standin.seed(1)
        for path in ("", f"/{file_id}"):
            answer = requests.head(f"{gateway.url}/v1/files{path}", headers=_head(way))
            assert (answer.status_code, answer.content) == (200, b"")


class TestOneFile:
    def test_retrieved_read_and_deleted(self, client: openai.OpenAI, standin: Any) -> None:
        uploaded = client.files.create(file=FILE, purpose="batch")
        retrieved = client.files.retrieve(uploaded.id)
        assert (retrieved.id, retrieved.bytes) == (uploaded.id, len(FILE[1]))
        assert client.files.content(uploaded.id).read() == FILE[1]
        deletion = client.files.delete(uploaded.id)
        assert (deletion.id, deletion.object, deletion.deleted) == (uploaded.id, "file", True)
        assert not standin.files

    @pytest.mark.parametrize("operation", ["retrieve", "content", "delete"])
    def test_unknown(self, client: openai.OpenAI, operation: str) -> None:
        with pytest.raises(openai.NotFoundError):
            getattr(client.files, operation)("file-unknown")


class TestRefused:
    def test_wrong_key(self, gateway: Gateway, way: Way, standin: Any) -> None:
        [file_id] = standin.seed(1)
        with _client(gateway, way, "wrong") as client:
            for call in (
                lambda: client.files.create(file=FILE, purpose="batch"),
                client.files.list,
                lambda: client.files.retrieve(file_id),
                lambda: client.files.content(file_id),
                lambda: client.files.delete(file_id),
            ):
                with pytest.raises(openai.AuthenticationError):
                    call()
        assert list(standin.files) == [file_id]

    def test_no_key(self, gateway: Gateway, way: Way, standin: Any) -> None:
        answer = requests.get(
            f"{gateway.url}/v1/files", headers={"x-portkey-provider": way.provider}
        )
        assert answer.status_code == 401
        assert not standin.seen

    @pytest.mark.parametrize(
        ("status", "error"),
        [(429, openai.RateLimitError), (500, openai.InternalServerError)],
    )
    def test_upstream(
        self,
        client: openai.OpenAI,
        standin: Any,
        status: int,
        error: type[openai.APIStatusError],
    ) -> None:
        standin.fail(status)
        with pytest.raises(error) as caught:
            client.files.list()
        if status == 429:
            assert caught.value.response.headers["Retry-After"] == "1"


class TestDated:
    """What is particular to the versions that are dates."""

    @pytest.fixture(params=["dated"])
    def way(self, request: pytest.FixtureRequest) -> Way:
        return WAYS[request.param]

    def test_a_file_on_its_way(self, client: openai.OpenAI, standin: Any) -> None:
        answer = client.files.with_raw_response.create(file=FILE, purpose="batch")
        assert answer.status_code == http.client.OK
        assert "Location" not in answer.headers
        uploaded = answer.parse()
        assert uploaded.status == "uploaded"
        assert answer.http_response.json()["bytes"] is None
        page = client.files.list()
        assert page.data[0].to_dict()["bytes"] is None
        # "running", then "processed".
        statuses = [client.files.retrieve(uploaded.id).status for _ in range(2)]
        assert statuses == ["uploaded", "processed"]

    def test_deleted_without_a_word(self, gateway: Gateway, standin: Any) -> None:
        [file_id] = standin.seed(1)
        client = gateway.client(
            "azure-openai", standin.key, x_portkey_azure_api_version="2024-06-01"
        )
        with client:
            assert client.files.delete(file_id).deleted is True

    def test_the_version_in_the_query(self, gateway: Gateway, standin: Any) -> None:
        """As OpenAI's own client for Azure sends it."""
        standin.seed(3)
        with openai.AzureOpenAI(
            base_url=f"{gateway.url}/v1",
            api_key=standin.key,
            api_version="2024-10-21",
            default_headers={
                "x-portkey-provider": "azure-openai",
                "x-portkey-api-key": standin.key,
            },
            max_retries=0,
        ) as client:
            assert len(list(client.files.list(limit=1))) == 3
