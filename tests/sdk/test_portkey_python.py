"""The portkey-ai Python SDK against the gateway."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import portkey_ai._vendor.openai as vendored
import pytest
from portkey_ai import AsyncPortkey, Portkey

from .conftest import Recording
from .recorder import CONTENT, FILE, Recorded

LINES = b'{"custom_id": "request-1"}\n'
BIG = random.Random(2).randbytes(3 * 1024 * 1024 + 321)

#: What the SDK sends as ``Authorization: Bearer`` when it was given no key for the provider.
PLACEHOLDER = "OPENAI_API_KEY"

KEY = "pk-of-the-client"


@pytest.fixture
def open_portkey() -> Iterator[Callable[..., Any]]:
    """Return a function that makes a client, which is closed when the test is over.

    `Portkey` has its own retries, which cannot be turned off where it is created.
    """
    made: list[Any] = []

    def make(base_url: str, **options: Any) -> Any:
        client = Portkey(base_url=base_url, **options)
        client.openai_client.max_retries = 0
        made.append(client)
        return client

    yield make
    for client in made:
        client.openai_client.close()
        client._client.close()


@pytest.fixture
def client(base_url: str, open_portkey: Callable[..., Any]) -> Any:
    return open_portkey(base_url, api_key=KEY, provider="local")


def test_all_five_operations(client: Any) -> None:
    created = client.files.create(file=("data.jsonl", LINES), purpose="batch")
    assert created.id.startswith("file-")
    assert (created.object, created.filename, created.purpose, created.bytes) == (
        "file",
        "data.jsonl",
        "batch",
        len(LINES),
    )

    listed = client.files.list()
    assert [file.id for file in listed.data] == [created.id]

    retrieved = client.files.retrieve(created.id)
    assert retrieved.model_dump() == created.model_dump()

    content = client.files.content(created.id)
    assert content.content == LINES
    assert content.read() == LINES

    deleted = client.files.delete(created.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (created.id, True, "file")
    assert client.files.list().data == []


def test_a_file_of_a_few_megabytes(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(BIG)
    with path.open("rb") as stream:
        created = client.files.create(file=stream, purpose="user_data")
    assert (created.filename, created.bytes) == ("big.bin", len(BIG))
    digest = hashlib.sha256()
    for block in client.files.content(created.id).iter_bytes(64 * 1024):
        digest.update(block)
    assert digest.hexdigest() == hashlib.sha256(BIG).hexdigest()


def test_retrieve_content(client: Any) -> None:
    created = client.files.create(file=("data.jsonl", LINES), purpose="batch")
    with pytest.warns(DeprecationWarning, match="content"):
        content = client.files.retrieve_content(created.id)
    assert content.content == LINES


def test_pages(client: Any) -> None:
    created = [
        client.files.create(file=(f"{n}.jsonl", LINES), purpose="batch").id for n in range(5)
    ]
    seen: list[str] = []
    sizes: list[int] = []
    after: dict[str, str] = {}
    while True:
        page = client.files.list(limit=2, order="asc", purpose="batch", **after)
        sizes.append(len(page.data))
        seen += [file.id for file in page.data]
        if not page.has_more:
            break
        after = {"after": page.last_id}
    assert sizes == [2, 2, 1]
    assert seen == created


def test_the_list_of_one_purpose(client: Any) -> None:
    wanted = client.files.create(file=("a.jsonl", LINES), purpose="fine-tune")
    client.files.create(file=("b.jsonl", LINES), purpose="batch")
    assert [file.id for file in client.files.list(purpose="fine-tune").data] == [wanted.id]


def test_expires_after(client: Any) -> None:
    created = client.files.create(
        file=("data.jsonl", LINES),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert created.expires_at == created.created_at + 3600


@pytest.mark.parametrize("operation", ["retrieve", "content", "delete"])
def test_an_unknown_file_is_the_providers_error(client: Any, operation: str) -> None:
    with pytest.raises(vendored.NotFoundError) as caught:
        getattr(client.files, operation)("file-unknown")
    assert "No such File object: file-unknown" in caught.value.message
    assert (caught.value.param, caught.value.type) == ("id", "invalid_request_error")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Either x-portkey-config or x-portkey-provider header is required"),
        ({"provider": "no-such-provider"}, "Invalid provider passed"),
    ],
    ids=["none", "unknown"],
)
def test_no_usable_provider(
    base_url: str, open_portkey: Callable[..., Any], options: dict[str, str], message: str
) -> None:
    client = open_portkey(base_url, api_key=KEY, **options)
    with pytest.raises(vendored.BadRequestError) as caught:
        client.files.create(file=("data.jsonl", LINES), purpose="batch")
    assert message in caught.value.message
    assert caught.value.code == "invalid_route"


@pytest.mark.parametrize("given", [{}, {"api_key": PLACEHOLDER}], ids=["no key", "its name"])
def test_a_placeholder_is_no_key(
    base_url: str, open_portkey: Callable[..., Any], given: dict[str, str]
) -> None:
    client = open_portkey(base_url, provider="openai", **given)
    with pytest.raises(vendored.AuthenticationError) as caught:
        client.files.list()
    assert "No API key for the provider openai." in caught.value.message
    assert caught.value.code == "missing_api_key"


def test_asynchronously(base_url: str) -> None:
    async def main() -> None:
        client: Any = AsyncPortkey(base_url=base_url, api_key=KEY, provider="local")
        client.openai_client.max_retries = 0
        try:
            created = await client.files.create(file=("data.jsonl", LINES), purpose="batch")
            assert [file.id for file in (await client.files.list()).data] == [created.id]
            assert (await client.files.retrieve(created.id)).bytes == len(LINES)
            assert (await client.files.content(created.id)).content == LINES
            assert (await client.files.delete(created.id)).deleted
            with pytest.raises(vendored.NotFoundError):
                await client.files.retrieve(created.id)
        finally:
            await client.openai_client.close()
            await client._client.aclose()

    asyncio.run(main())


def all_five(client: Any) -> None:
    file = ("data.jsonl", LINES)
    assert client.files.create(file=file, purpose="batch").id == FILE["id"]
    assert [item.id for item in client.files.list(limit=3).data] == [FILE["id"]]
    assert client.files.retrieve(FILE["id"]).filename == FILE["filename"]
    assert client.files.content(FILE["id"]).content == CONTENT
    assert client.files.delete(FILE["id"]).deleted


CALLS = [
    ("POST", "/v1/files"),
    ("GET", "/v1/files?limit=3"),
    ("GET", "/v1/files/file-recorded"),
    ("GET", "/v1/files/file-recorded/content"),
    ("DELETE", "/v1/files/file-recorded"),
]


def authorizations(requests: list[Recorded]) -> list[list[str]]:
    return [request.values("Authorization") for request in requests]


def test_what_the_sdk_sends(recording: Recording, open_portkey: Callable[..., Any]) -> None:
    """The premise of the tests below: the SDK in front of the provider, without the gateway."""
    all_five(open_portkey(recording.provider_url, api_key=KEY, provider="local"))
    assert [(request.method, request.path) for request in recording.requests] == CALLS
    assert authorizations(recording.requests) == [[f"Bearer {PLACEHOLDER}"]] * 5
    for request in recording.requests:
        assert request.values("x-portkey-api-key") == [KEY]
        assert request.values("x-portkey-provider") == ["local"]
    # It deletes with a body, which is an empty JSON object.
    assert recording.requests[-1].body == b"{}"


def test_what_goes_up(recording: Recording, open_portkey: Callable[..., Any]) -> None:
    with httpx.Client(headers={"Cookie": "session=of-the-host"}) as own:
        client = open_portkey(
            recording.base_url,
            api_key=KEY,
            provider="local",
            trace_id="trace-1",
            metadata={"_user": "someone"},
            http_client=own,
        )
        all_five(client)
    assert [(request.method, request.path) for request in recording.requests] == CALLS
    assert authorizations(recording.requests) == [[f"Bearer {KEY}"]] * 5
    for request in recording.requests:
        assert not [name for name in request.names if name.startswith("x-portkey-")]
        assert "cookie" not in request.names
        assert "x-stainless-lang" not in request.names
        assert request.values("User-Agent")[0].startswith("OpenAI/Python")
        assert request.values("Host") == [recording.provider_url.split("/")[2]]

    upload, *others = recording.requests
    assert upload.values("Content-Type")[0].startswith("multipart/form-data; boundary=")
    assert upload.body.count(b'name="file"; filename="data.jsonl"') == 1
    assert LINES in upload.body
    for request in others:
        assert request.body == b""
        assert "content-type" not in request.names


def test_what_comes_down(recording: Recording, open_portkey: Callable[..., Any]) -> None:
    client = open_portkey(recording.base_url, api_key=KEY, provider="local")
    headers = client.files.retrieve(FILE["id"])._headers
    assert headers["x-request-id"] == "req_recorded"
    assert "set-cookie" not in headers


def test_a_real_key_in_authorization_goes_first(
    recording: Recording, open_portkey: Callable[..., Any]
) -> None:
    client = open_portkey(
        recording.base_url, api_key=KEY, provider="local", Authorization="sk-of-the-provider"
    )
    all_five(client)
    assert authorizations(recording.requests) == [["Bearer sk-of-the-provider"]] * 5


def test_no_key_at_all(recording: Recording, open_portkey: Callable[..., Any]) -> None:
    all_five(open_portkey(recording.base_url, provider="local"))
    assert authorizations(recording.requests) == [[]] * 5
