"""The openai Python SDK against the gateway."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import FileObject

from .conftest import LOCAL

LINES = b'{"custom_id": "request-1"}\n'
#: Several times what the gateway holds of a transfer, and no round number.
BIG = random.Random(1).randbytes(5 * 1024 * 1024 + 12_345)


@pytest.fixture
def client(base_url: str) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=base_url, api_key="sk-test", default_headers=LOCAL, max_retries=0
    ) as client:
        yield client


def upload(
    client: OpenAI, content: bytes = LINES, name: str = "data.jsonl", purpose: str = "batch"
) -> FileObject:
    return client.files.create(file=(name, content), purpose=purpose)  # type: ignore[arg-type]


def test_all_five_operations(client: OpenAI) -> None:
    created = client.files.create(file=("data.jsonl", LINES), purpose="batch")
    assert created.id.startswith("file-")
    assert (created.object, created.filename, created.purpose, created.bytes) == (
        "file",
        "data.jsonl",
        "batch",
        len(LINES),
    )

    page = client.files.list()
    assert [file.id for file in page.data] == [created.id]
    assert page.has_more is False

    assert client.files.retrieve(created.id) == created

    content = client.files.content(created.id)
    assert content.read() == LINES
    assert content.text == LINES.decode()

    deleted = client.files.delete(created.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (created.id, True, "file")
    assert client.files.list().data == []


def test_raw_response_of_each_operation(client: OpenAI) -> None:
    files = client.files.with_raw_response
    created = files.create(file=("data.jsonl", LINES), purpose="batch")
    file = created.parse()
    assert file.bytes == len(LINES)
    listed = files.list()
    assert [item.id for item in listed.parse()] == [file.id]
    retrieved = files.retrieve(file.id)
    assert retrieved.parse() == file
    content = files.content(file.id)
    assert content.content == LINES
    deleted = files.delete(file.id)
    assert deleted.parse().deleted

    answers = (created, listed, retrieved, content, deleted)
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.request_id == answer.headers["x-request-id"]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    for answer in (created, listed, retrieved, deleted):
        assert answer.headers["content-type"] == "application/json"
    assert content.headers["content-type"] == "application/octet-stream"
    assert "data.jsonl" in content.headers["content-disposition"]


def test_streamed_content(client: OpenAI, tmp_path: Path) -> None:
    file = upload(client, BIG)
    with client.files.with_streaming_response.content(file.id) as response:
        assert response.status_code == 200
        assert response.headers["content-length"] == str(len(BIG))
        digest = hashlib.sha256()
        for block in response.iter_bytes(64 * 1024):
            digest.update(block)
    assert digest.hexdigest() == hashlib.sha256(BIG).hexdigest()

    target = tmp_path / "copy"
    with client.files.with_streaming_response.content(file.id) as response:
        response.stream_to_file(target)
    assert target.read_bytes() == BIG


def test_streamed_content_that_is_not_read_to_its_end(client: OpenAI) -> None:
    file = upload(client, BIG)
    with client.files.with_streaming_response.content(file.id) as response:
        assert next(response.iter_bytes(1024)) == BIG[:1024]
    assert client.files.retrieve(file.id) == file


def test_content_of_a_few_megabytes(client: OpenAI) -> None:
    file = upload(client, BIG)
    assert file.bytes == len(BIG)
    content = client.files.content(file.id).read()
    assert hashlib.sha256(content).hexdigest() == hashlib.sha256(BIG).hexdigest()


def test_a_range_of_the_content(client: OpenAI) -> None:
    file = upload(client, BIG)
    response = client.files.with_raw_response.content(
        file.id, extra_headers={"Range": "bytes=1000000-1000099"}
    )
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes 1000000-1000099/{len(BIG)}"
    assert response.content == BIG[1000000:1000100]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_auto_pagination_sees_each_file_once(client: OpenAI, order: str) -> None:
    created = [upload(client, name=f"{n}.jsonl").id for n in range(5)]
    expected = created if order == "asc" else created[::-1]

    pages = list(client.files.list(limit=2, order=order).iter_pages())  # type: ignore[arg-type]
    assert [[file.id for file in page.data] for page in pages] == [
        expected[:2],
        expected[2:4],
        expected[4:],
    ]
    assert [page.has_more for page in pages] == [True, True, False]

    seen = [file.id for file in client.files.list(limit=2, order=order)]  # type: ignore[arg-type]
    assert seen == expected


def test_pagination_ends_on_a_full_page(client: OpenAI) -> None:
    created = [upload(client).id for _ in range(4)]
    pages = list(client.files.list(limit=2).iter_pages())
    assert [len(page.data) for page in pages] == [2, 2]
    assert [file.id for page in pages for file in page.data] == created[::-1]


def test_pagination_after_a_given_file(client: OpenAI) -> None:
    created = [upload(client).id for _ in range(5)]
    seen = [file.id for file in client.files.list(after=created[1], limit=2, order="asc")]
    assert seen == created[2:]
    assert client.files.list(after=created[4], order="asc").data == []


def test_the_list_of_one_purpose(client: OpenAI) -> None:
    tuning = [upload(client, purpose="fine-tune").id for _ in range(3)]
    upload(client, purpose="batch")
    upload(client, purpose="user_data")
    found = client.files.list(purpose="fine-tune")
    assert [file.id for file in found.data] == tuning[::-1]
    # The filter has to survive from page to page.
    paged = client.files.list(purpose="fine-tune", limit=1)
    assert [file.id for file in paged] == tuning[::-1]
    assert client.files.list(purpose="vision").data == []


def test_expires_after(client: OpenAI) -> None:
    file = client.files.create(
        file=("data.jsonl", LINES),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    assert file.expires_at == file.created_at + 7200
    assert client.files.retrieve(file.id).expires_at == file.created_at + 7200
    assert upload(client).expires_at is None


@pytest.mark.parametrize(
    "name",
    [
        "データ.jsonl",
        "naïve café €.jsonl",
        "two words; a=b.jsonl",
        'a "quoted" name.jsonl',
        "back\\slash.jsonl",
        "100%25 done.jsonl",
        "emoji 🙂.jsonl",
    ],
)
def test_file_names(client: OpenAI, name: str) -> None:
    file = upload(client, name=name)
    assert file.filename == name
    assert client.files.retrieve(file.id).filename == name
    assert client.files.content(file.id).read() == LINES


def test_a_file_of_no_bytes(client: OpenAI) -> None:
    file = upload(client, b"")
    assert file.bytes == 0
    response = client.files.with_raw_response.content(file.id)
    assert response.headers["content-length"] == "0"
    assert response.content == b""
    assert client.files.delete(file.id).deleted


def test_every_byte_value_and_what_looks_like_a_boundary(client: OpenAI) -> None:
    content = bytes(range(256)) + b"\r\n--\r\n--boundary--\r\n" + bytes(range(255, -1, -1))
    assert client.files.content(upload(client, content).id).read() == content


def test_a_path(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "from a path.jsonl"
    path.write_bytes(LINES)
    file = client.files.create(file=path, purpose="batch")
    assert file.filename == "from a path.jsonl"
    assert client.files.content(file.id).read() == LINES


def test_an_open_file(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "opened.bin"
    path.write_bytes(BIG)
    with path.open("rb") as stream:
        file = client.files.create(file=stream, purpose="user_data")
    assert (file.filename, file.bytes) == ("opened.bin", len(BIG))
    assert client.files.content(file.id).read() == BIG


def test_a_bytes_io(client: OpenAI) -> None:
    named = io.BytesIO(LINES)
    named.name = "named.jsonl"
    file = client.files.create(file=named, purpose="batch")
    assert (file.filename, file.bytes) == ("named.jsonl", len(LINES))

    # Without a name the SDK makes one up.
    file = client.files.create(file=io.BytesIO(LINES), purpose="batch")
    assert file.filename
    assert client.files.content(file.id).read() == LINES


def test_plain_bytes(client: OpenAI) -> None:
    file = client.files.create(file=LINES, purpose="batch")
    assert file.filename
    assert client.files.content(file.id).read() == LINES


def test_a_tuple_with_a_content_type(client: OpenAI) -> None:
    file = client.files.create(
        file=("typed.jsonl", io.BytesIO(LINES), "application/jsonl"), purpose="batch"
    )
    assert file.filename == "typed.jsonl"
    assert client.files.content(file.id).read() == LINES


@pytest.mark.parametrize("operation", ["retrieve", "content", "delete"])
def test_an_unknown_file_is_the_providers_error(client: OpenAI, operation: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        getattr(client.files, operation)("file-unknown")
    error = caught.value
    assert error.status_code == 404
    assert error.body == {
        "message": "No such File object: file-unknown",
        "type": "invalid_request_error",
        "param": "id",
        "code": None,
    }
    assert (error.type, error.param, error.code) == ("invalid_request_error", "id", None)
    assert "No such File object: file-unknown" in error.message
    assert (error.request_id or "").startswith("req_")


def test_an_unknown_file_when_streaming_the_content(client: OpenAI) -> None:
    streaming = client.files.with_streaming_response
    with (
        pytest.raises(openai.NotFoundError, match="No such File object"),
        streaming.content("file-unknown"),
    ):
        pytest.fail("there is no such content")


def test_a_deleted_file_is_gone(client: OpenAI) -> None:
    file = upload(client)
    client.files.delete(file.id)
    with pytest.raises(openai.NotFoundError, match=file.id):
        client.files.content(file.id)
    with pytest.raises(openai.NotFoundError, match=file.id):
        client.files.delete(file.id)


def test_a_bad_purpose_is_the_providers_error(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, purpose="no-such-purpose")
    assert (caught.value.param, caught.value.code) == ("purpose", "invalid_value")
    assert "'no-such-purpose'" in caught.value.message


def test_a_bad_limit_is_the_providers_error(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.list(limit=0)
    assert (caught.value.param, caught.value.code) == ("limit", "integer_below_min_value")


def test_an_upload_without_a_purpose(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, purpose="")
    error = caught.value
    assert (error.param, error.code) == ("purpose", "missing_required_parameter")


OPERATIONS = ("upload", "list", "retrieve", "content", "delete")


def call(
    client: OpenAI,
    operation: str,
    content: bytes = LINES,
    extra_headers: dict[str, str] | None = None,
) -> None:
    """Call *operation*, whatever comes of it."""
    match operation:
        case "upload":
            client.files.create(
                file=("data.jsonl", content), purpose="batch", extra_headers=extra_headers
            )
        case "list":
            client.files.list(extra_headers=extra_headers)
        case _:
            getattr(client.files, operation)("file-any", extra_headers=extra_headers)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Either x-portkey-config or x-portkey-provider header is required"),
        ({"x-portkey-provider": "no-such-provider"}, "Invalid provider passed"),
    ],
    ids=["none", "unknown"],
)
def test_no_usable_provider(
    base_url: str, operation: str, headers: dict[str, str], message: str
) -> None:
    with (
        OpenAI(
            base_url=base_url, api_key="sk-test", default_headers=headers, max_retries=0
        ) as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        call(client, operation)
    error = caught.value
    assert message in error.message
    assert (error.type, error.param, error.code) == (
        "invalid_request_error",
        "x-portkey-provider",
        "invalid_route",
    )


#: The SDK insists on a key, unless each call says that it is meant to be sent without.
KEYLESS: dict[str, Any] = {"Authorization": openai.Omit()}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "headers",
    [
        {"x-portkey-provider": "openai"},
        {"x-portkey-provider": "azure-openai", "x-portkey-azure-resource-name": "contoso"},
    ],
    ids=["openai", "azure-openai"],
)
def test_a_provider_without_its_key(
    base_url: str, operation: str, headers: dict[str, str]
) -> None:
    provider = headers["x-portkey-provider"]
    with (
        OpenAI(
            base_url=base_url, api_key="sk-unsent", default_headers=headers, max_retries=0
        ) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        call(client, operation, extra_headers=KEYLESS)
    error = caught.value
    assert f"No API key for the provider {provider}." in error.message
    assert (error.type, error.param, error.code) == (
        "invalid_request_error",
        None,
        "missing_api_key",
    )


# The gateway refuses these before it has read the upload, whose bytes are still coming in. If
# the connection is closed on them, whether the SDK sees the answer is a matter of luck: more
# than one try.
TRIES = 10


def test_a_large_upload_without_a_provider_is_refused_and_not_cut(base_url: str) -> None:
    with OpenAI(base_url=base_url, api_key="sk-test", max_retries=0) as client:
        for _ in range(TRIES):
            with pytest.raises(openai.BadRequestError, match="x-portkey-provider"):
                call(client, "upload", BIG)


def test_a_large_upload_without_a_key_is_refused_and_not_cut(client: OpenAI) -> None:
    for _ in range(TRIES):
        with pytest.raises(openai.AuthenticationError, match="No API key"):
            call(client, "upload", BIG, {"x-portkey-provider": "openai", **KEYLESS})


def test_the_client_goes_on_after_a_refused_upload(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Invalid provider"):
        call(client, "upload", BIG, {"x-portkey-provider": "no-such-provider"})
    assert client.files.content(upload(client).id).read() == LINES


def test_all_five_operations_at_once(base_url: str) -> None:
    async def one(client: AsyncOpenAI, number: int) -> str:
        content = BIG[: 200_000 + number]
        name = f"{number}.bin"
        file = await client.files.create(file=(name, content), purpose="user_data")
        assert (file.filename, file.bytes) == (name, len(content))
        assert (await client.files.retrieve(file.id)).id == file.id
        assert (await client.files.content(file.id)).read() == content
        async with client.files.with_streaming_response.content(file.id) as response:
            assert b"".join([block async for block in response.iter_bytes()]) == content
        return file.id

    async def main() -> None:
        async with AsyncOpenAI(
            base_url=base_url, api_key="sk-test", default_headers=LOCAL, max_retries=0
        ) as client:
            created = await asyncio.gather(*(one(client, number) for number in range(6)))
            seen = [file.id async for file in client.files.list(limit=2)]
            assert sorted(seen) == sorted(created)
            deleted = await asyncio.gather(*(client.files.delete(i) for i in created))
            assert all(item.deleted for item in deleted)
            with pytest.raises(openai.NotFoundError):
                await client.files.retrieve(created[0])

    asyncio.run(main())
