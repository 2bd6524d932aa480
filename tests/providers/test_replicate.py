"""Replicate's dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from flask_portkey_files.providers.replicate import Replicate
from tests.providers.checks import (
    EXPIRY,
    SHAPE,
    LargeFile,
    break_off,
    check_lists,
    check_refusals,
    check_refused_uploads,
    digest,
    large_digest,
    shape,
)
from tests.providers.gateway import Gateway
from tests.standins.base import json_response
from tests.standins.replicate import DAY, ReplicateStandin

SLUG = "replicate"


@pytest.fixture
def service() -> Iterator[ReplicateStandin]:
    with ReplicateStandin() as standin:
        yield standin


@pytest.fixture
def gateway(service: ReplicateStandin) -> Iterator[Gateway]:
    with Gateway({SLUG: Replicate(f"{service.url}/v1")}) as gateway:
        yield gateway


@pytest.fixture
def signing(service: ReplicateStandin) -> dict[str, str]:
    return {
        "x_portkey_replicate_owner": service.owner,
        "x_portkey_replicate_signing_secret": service.signing_secret,
    }


@pytest.fixture
def client(
    gateway: Gateway, service: ReplicateStandin, signing: dict[str, str]
) -> openai.OpenAI:
    return gateway.client(SLUG, service.key, **signing)


def test_upload_and_back(client: openai.OpenAI, service: ReplicateStandin) -> None:
    content = b'{"a": 1}\n' * 3
    file = ("données.jsonl", content, "application/x-a")
    uploaded = client.files.create(file=file, purpose="batch")
    assert shape(uploaded) == SHAPE
    assert (uploaded.bytes, uploaded.filename) == (len(content), "données.jsonl")
    assert (uploaded.purpose, uploaded.status) == ("batch", "processed")
    assert uploaded.expires_at == uploaded.created_at + DAY
    extra = uploaded.model_extra or {}
    assert extra["content_type"] == "application/x-a"
    assert "urls" not in extra
    stored = service.files[uploaded.id]
    assert stored.extra["metadata"] == {"purpose": "batch"}
    assert stored.extra["form"].order == ["filename", "type", "metadata", "content"]
    assert service.seen[0].headers["Transfer-Encoding"] == "chunked"
    assert client.files.retrieve(uploaded.id) == uploaded
    assert client.files.list().data == [uploaded]
    assert client.files.content(uploaded.id).read() == content
    assert "Authorization" not in service.seen[-1].headers
    deleted = client.files.delete(uploaded.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (uploaded.id, "file", True)
    assert service.files == {}


def test_lists(client: openai.OpenAI, service: ReplicateStandin) -> None:
    ids = service.seed(450, metadata={"purpose": "batch"})
    check_lists(client, ids, purpose="batch", limit=150)
    before = len(service.seen)
    assert len(client.files.list(limit=5).data) == 5
    assert len(service.seen) == before + 1


@pytest.mark.parametrize("metadata", [{}, {"purpose": 3}, {"purpose": ""}])
def test_file_without_a_purpose(
    client: openai.OpenAI, service: ReplicateStandin, metadata: dict[str, Any]
) -> None:
    (file_id,) = service.seed(1, metadata=metadata)
    assert client.files.retrieve(file_id).purpose == "user_data"


def test_next_page_is_asked_of_the_same_host(
    client: openai.OpenAI, service: ReplicateStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = service.seed(150)
    cursor = service._cursor

    def elsewhere(*arguments: Any) -> str:
        return cursor(*arguments).replace(service.url, "https://elsewhere.invalid")

    monkeypatch.setattr(service, "_cursor", elsewhere)
    assert [file.id for file in client.files.list()] == ids[::-1]
    for following in (3, "https://elsewhere.invalid/", "https://[/?cursor=a"):
        monkeypatch.setattr(service, "_cursor", lambda *_, f=following: f)
        with pytest.raises(openai.APIStatusError) as refused:
            client.files.list()
        assert refused.value.status_code == 502


def test_refusals(client: openai.OpenAI, service: ReplicateStandin) -> None:
    files = client.files
    check_refusals(client, service, files.retrieve, files.content, files.delete)
    check_refused_uploads(client, service, expires_after=EXPIRY)
    service.limit = 3
    with pytest.raises(openai.APIStatusError) as refused:
        files.create(file=("a.jsonl", b"1234"), purpose="batch")
    assert (refused.value.status_code, refused.value.code) == (413, "payload_too_large")


@pytest.mark.parametrize(
    "missing", ["x_portkey_replicate_owner", "x_portkey_replicate_signing_secret"]
)
def test_content_without_a_signature(
    gateway: Gateway, service: ReplicateStandin, signing: dict[str, str], missing: str
) -> None:
    (file_id,) = service.seed(1)
    options = {name: value for name, value in signing.items() if name != missing}
    client = gateway.client(SLUG, service.key, **options)
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.content(file_id)
    assert (refused.value.status_code, refused.value.code) == (501, "unsupported_operation")
    assert service.seen == []
    assert client.files.retrieve(file_id).id == file_id


def test_content_with_a_wrong_secret(
    gateway: Gateway, service: ReplicateStandin, signing: dict[str, str]
) -> None:
    (file_id,) = service.seed(1)
    wrong = {**signing, "x_portkey_replicate_signing_secret": "a wrong one"}
    with pytest.raises(openai.AuthenticationError) as refused:
        gateway.client(SLUG, service.key, **wrong).files.content(file_id)
    assert "a wrong one" not in refused.value.response.text


def test_head(gateway: Gateway, service: ReplicateStandin, signing: dict[str, str]) -> None:
    (file_id,) = service.seed(1)
    headers = {
        "x-portkey-provider": SLUG,
        "Authorization": f"Bearer {service.key}",
        **{name.replace("_", "-"): value for name, value in signing.items()},
    }
    for path in ("", f"/{file_id}", f"/{file_id}/content"):
        answer = requests.head(f"{gateway.url}/v1/files{path}", headers=headers, timeout=10)
        assert (answer.status_code, answer.content) == (200, b"")


def test_answers_that_are_none(
    client: openai.OpenAI, service: ReplicateStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[Any] = [[], {"results": 3}, {"results": [3]}]
    for body in bodies:
        monkeypatch.setattr(service, "page", lambda _, b=body: json_response(b))
        with pytest.raises(openai.APIStatusError) as refused:
            client.files.list()
        assert refused.value.status_code == 502


def test_large_upload(client: openai.OpenAI, service: ReplicateStandin) -> None:
    uploaded = client.files.create(file=LargeFile(), purpose="batch")  # type: ignore[arg-type]
    assert digest(service.files[uploaded.id].blocks()) == large_digest()
    with client.files.with_streaming_response.content(uploaded.id) as response:
        assert digest(response.iter_bytes()) == large_digest()


def test_upload_that_breaks_off(gateway: Gateway, service: ReplicateStandin) -> None:
    headers = {"x-portkey-provider": SLUG, "Authorization": f"Bearer {service.key}"}
    break_off(gateway, headers, started=lambda: service.seen)
    assert [seen.method for seen in service.seen] == ["POST"]
    assert service.files == {}
