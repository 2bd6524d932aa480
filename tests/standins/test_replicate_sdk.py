"""Replicate's stand-in as Replicate's own SDK sees it.

The SDK (1.0) lists the first page only and does not download: the other pages, and the download
with a signature, are tested over plain HTTP. It sends a GET again after a 429, with pauses, so
the refusal of one is tested on an upload.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import requests

from tests.standins.replicate import ReplicateStandin
from tests.support.parts import require

BEARER = {"Authorization": f"Bearer {ReplicateStandin.key}"}


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(find_spec("replicate"), "replicate is not there: pip install replicate")
    return importlib.import_module("replicate")


@pytest.fixture
def errors(sdk: Any) -> Any:
    return importlib.import_module("replicate.exceptions")


@pytest.fixture
def service() -> Iterator[ReplicateStandin]:
    with ReplicateStandin() as standin:
        yield standin


@pytest.fixture
def client(sdk: Any, service: ReplicateStandin) -> Any:
    return sdk.Client(api_token=service.key, base_url=service.url)


def pages(url: str, way: str) -> Iterator[list[str]]:
    following: str | None = url
    while following is not None:
        page = requests.get(following, headers=BEARER, timeout=10).json()
        yield [file["id"] for file in page["results"]]
        following = page[way]


def post(service: ReplicateStandin, parts: dict[str, Any]) -> requests.Response:
    return requests.post(f"{service.url}/v1/files", files=parts, headers=BEARER, timeout=10)


def test_create_and_back(client: Any, service: ReplicateStandin) -> None:
    created = client.files.create(
        io.BytesIO(b"content"),
        filename="a.bin",
        content_type="application/x-a",
        metadata={"purpose": "batch"},
    )
    assert (created.name, created.size) == ("a.bin", 7)
    assert created.content_type == "application/x-a"
    assert created.metadata == {"purpose": "batch"}
    assert created.checksums["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert created.created_at.endswith("Z")
    assert created.expires_at > created.created_at
    assert service.files[created.id].extra["form"].order == ["metadata", "content"]
    assert client.files.get(created.id) == created
    assert client.files.list() == [created]
    assert client.files.delete(created.id) is True
    assert client.files.list() == []


def test_download_takes_a_signature_and_no_key(client: Any, service: ReplicateStandin) -> None:
    content = b"0123456789abcde\n" * 500_000
    created = client.files.create(io.BytesIO(content), filename="large.bin")
    url = f"{service.url}/v1/files/{created.id}/download"
    expiry = str(int(time.time()) + 60)
    query = {
        "owner": service.owner,
        "expiry": expiry,
        "signature": service.signature(created.id, expiry),
    }
    answer = requests.get(url, params=query, timeout=10)
    assert answer.content == content
    assert answer.headers["Content-Type"] == "application/octet-stream"
    past = str(int(time.time()) - 60)
    late = {**query, "expiry": past, "signature": service.signature(created.id, past)}
    for refused in ({}, late, {**query, "owner": "another"}, {**query, "signature": "x"}):
        answer = requests.get(url, params=refused, headers=BEARER, timeout=10)
        assert answer.status_code == 401


def test_pages(client: Any, service: ReplicateStandin) -> None:
    ids = service.seed(2500)
    assert [file.id for file in client.files.list()] == ids[:-101:-1]
    listed = list(pages(f"{service.url}/v1/files", "next"))
    assert [len(page) for page in listed] == [100] * 25
    assert [file_id for page in listed for file_id in page] == ids[::-1]


def test_pages_back_and_after_a_delete(client: Any, service: ReplicateStandin) -> None:
    ids = service.seed(250)
    url = f"{service.url}/v1/files"
    second = requests.get(url, headers=BEARER, timeout=10).json()["next"]
    client.files.delete(ids[150])
    page = requests.get(second, headers=BEARER, timeout=10).json()
    assert [file["id"] for file in page["results"]] == ids[149:49:-1]
    back = list(pages(page["previous"], "previous"))
    assert back == [ids[:150:-1]]


def test_refusals(client: Any, sdk: Any, errors: Any, service: ReplicateStandin) -> None:
    for call in (client.files.get, client.files.delete):
        with pytest.raises(errors.ReplicateError) as refused:
            call("none")
        assert refused.value.status == 404
        assert refused.value.detail == "The requested resource could not be found."
    with pytest.raises(errors.ReplicateError) as refused:
        sdk.Client(api_token="wrong", base_url=service.url).files.list()
    assert (refused.value.status, refused.value.title) == (401, "Unauthenticated")
    service.fail(429)
    with pytest.raises(errors.ReplicateError) as refused:
        client.files.create(io.BytesIO(b"x"), filename="a")
    assert refused.value.status == 429
    service.fail(500)
    with pytest.raises(errors.ReplicateError) as refused:
        client.files.list()
    assert refused.value.status == 500


def test_create_refuses(service: ReplicateStandin) -> None:
    content = ("a.txt", b"12345")
    assert post(service, {"content": content}).status_code == 201
    assert post(service, {"content": (None, b"12345")}).status_code == 400
    assert post(service, {"file": content}).status_code == 400
    assert post(service, {"content": ("é" * 128, b"12345")}).status_code == 400
    assert post(service, {"content": content, "metadata": (None, "[]")}).status_code == 400
    assert post(service, {"content": content, "metadata": (None, "{")}).status_code == 400
    both = {"content": (None, b"12345"), "other": content}
    assert post(service, both).status_code == 400
    url = f"{service.url}/v1/files"
    assert requests.post(url, json={}, headers=BEARER, timeout=10).status_code == 400
    service.limit = 4
    assert post(service, {"content": content}).status_code == 413


def test_create_takes_type_and_name_as_fields(service: ReplicateStandin) -> None:
    """The reference names fields that the SDK does not send; the order is the client's."""
    parts = {
        "content": ("ignored", b"x", "text/plain"),
        "filename": (None, "b.zip"),
        "type": (None, "application/zip"),
        "metadata": (None, '{"a": 1}', "application/json"),
    }
    created = post(service, parts).json()
    assert (created["name"], created["content_type"]) == ("b.zip", "application/zip")
    assert created["metadata"] == {"a": 1}


def test_other_requests(service: ReplicateStandin) -> None:
    (file_id,) = service.seed(1)
    url = f"{service.url}/v1/files"
    assert requests.put(f"{url}/{file_id}", headers=BEARER, timeout=10).status_code == 405
    assert requests.get(f"{url}?cursor=x", headers=BEARER, timeout=10).status_code == 404
    token = {"Authorization": f"Token {service.key}"}
    deleted = requests.delete(f"{url}/{file_id}", headers=token, timeout=10)
    assert (deleted.status_code, deleted.content) == (204, b"")
