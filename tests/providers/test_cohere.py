"""Cohere's dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import requests

from flask_portkey_files.providers.cohere import Cohere
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
from tests.standins.cohere import CohereStandin

SLUG = "cohere"


@pytest.fixture
def service() -> Iterator[CohereStandin]:
    with CohereStandin() as standin:
        yield standin


@pytest.fixture
def gateway(service: CohereStandin) -> Iterator[Gateway]:
    with Gateway({SLUG: Cohere(f"{service.url}/v1")}) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway, service: CohereStandin) -> openai.OpenAI:
    return gateway.client(SLUG, service.key)


def test_upload_and_back(client: openai.OpenAI, service: CohereStandin) -> None:
    content = b'{"a": 1}\n' * 3
    uploaded = client.files.create(file=("données & a.jsonl", content), purpose="batch")
    assert shape(uploaded) == SHAPE
    assert (uploaded.bytes, uploaded.filename) == (len(content), "données & a.jsonl")
    assert (uploaded.purpose, uploaded.status) == ("batch", "processed")
    assert uploaded.expires_at == uploaded.created_at + 30 * 24 * 3600
    options = service.files[uploaded.id].extra["options"]
    assert options == {
        "name": "données & a.jsonl",
        "type": "batch-openai-chat-input",
        "keep_original_file": "true",
    }
    create = service.seen[0].headers
    assert create["Transfer-Encoding"] == "chunked"
    (part,) = (uploaded.model_extra or {})["dataset_parts"]
    assert not any("url" in name for name in part)
    assert client.files.retrieve(uploaded.id) == uploaded
    assert client.files.list().data == [uploaded]
    assert client.files.content(uploaded.id).read() == content
    assert "Authorization" not in service.seen[-1].headers
    deleted = client.files.delete(uploaded.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (uploaded.id, "file", True)
    assert service.files == {}


@pytest.mark.parametrize(
    ("purpose", "own", "common"),
    [
        ("fine-tune", "chat-finetune-input", "fine-tune"),
        ("embed-input", "embed-input", "embed-input"),
        ("batch-openai-chat-input", "batch-openai-chat-input", "batch"),
    ],
)
def test_purposes(
    client: openai.OpenAI, service: CohereStandin, purpose: Any, own: str, common: str
) -> None:
    service.seed(3, type="batch-chat-input")
    uploaded = client.files.create(file=("a.jsonl", b"{}"), purpose=purpose)
    assert service.files[uploaded.id].extra["options"]["type"] == own
    assert uploaded.purpose == common
    assert client.files.list(purpose=purpose).data == [uploaded]
    assert service.seen[-1].query["datasetType"] == own


def test_lists(client: openai.OpenAI, service: CohereStandin) -> None:
    service.cap = 60
    check_lists(client, service.seed(300), purpose="embed-input", limit=100)


def test_refusals(client: openai.OpenAI, service: CohereStandin) -> None:
    files = client.files
    check_refusals(client, service, files.retrieve, files.content, files.delete)
    check_refused_uploads(client, service, purpose="vision")
    check_refused_uploads(client, service, expires_after=EXPIRY)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("queued", "uploaded"),
        ("processing", "uploaded"),
        ("failed", "error"),
        ("skipped", "processed"),
    ],
)
def test_status(client: openai.OpenAI, service: CohereStandin, state: str, status: str) -> None:
    service.status = state
    uploaded = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    assert (uploaded.status, client.files.retrieve(uploaded.id).status) == (status, status)


def test_dataset_that_has_not_been_looked_at(
    client: openai.OpenAI, service: CohereStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = service.dataset_object
    monkeypatch.setattr(
        service, "dataset_object", lambda stored: {**whole(stored), "dataset_parts": None}
    )
    uploaded = client.files.create(file=("a.jsonl", b"12345"), purpose="batch")
    assert uploaded.bytes == 5
    assert client.files.retrieve(uploaded.id).bytes is None


def test_content_that_was_not_kept(client: openai.OpenAI, service: CohereStandin) -> None:
    (file_id,) = service.seed(1)
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.content(file_id)
    assert (refused.value.status_code, refused.value.code) == (501, "unsupported_operation")


def test_head_and_range(
    client: openai.OpenAI, gateway: Gateway, service: CohereStandin
) -> None:
    file_id = client.files.create(file=("a.jsonl", b"file 1"), purpose="batch").id
    part = client.files.content(file_id, extra_headers={"Range": "bytes=5-"})
    assert (part.response.status_code, part.read()) == (206, b"1")
    headers = {"x-portkey-provider": SLUG, "Authorization": f"Bearer {service.key}"}
    for path in ("", f"/{file_id}", f"/{file_id}/content"):
        answer = requests.head(f"{gateway.url}/v1/files{path}", headers=headers, timeout=10)
        assert (answer.status_code, answer.content) == (200, b"")


def test_upload_without_metadata_is_undone(
    client: openai.OpenAI, service: CohereStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = service.create

    def created(request: Any) -> Any:
        service.fail(503)
        return create(request)

    monkeypatch.setattr(service, "create", created)
    with pytest.raises(openai.InternalServerError):
        client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    assert service.seen[-1].method == "DELETE"
    assert service.files == {}


def test_answers_that_are_none(
    client: openai.OpenAI, service: CohereStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[Any] = [[], {"dataset": 3}, {}, {"id": 3}]
    calls: list[Callable[[], Any]] = [
        lambda: client.files.retrieve("a"),
        lambda: client.files.create(file=("a.jsonl", b"{}"), purpose="batch"),
    ]
    for body in bodies:
        monkeypatch.setattr(service, "api", lambda _, b=body: json_response(b))
        for call in calls:
            with pytest.raises(openai.APIStatusError) as refused:
                call()
            assert refused.value.status_code == 502


def test_large_upload(client: openai.OpenAI, service: CohereStandin) -> None:
    uploaded = client.files.create(file=LargeFile(), purpose="batch")  # type: ignore[arg-type]
    assert digest(service.files[uploaded.id].blocks()) == large_digest()
    with client.files.with_streaming_response.content(uploaded.id) as response:
        assert digest(response.iter_bytes()) == large_digest()


def test_upload_that_breaks_off(gateway: Gateway, service: CohereStandin) -> None:
    headers = {"x-portkey-provider": SLUG, "Authorization": f"Bearer {service.key}"}
    break_off(gateway, headers, started=lambda: service.seen)
    assert [seen.method for seen in service.seen] == ["POST"]
    assert service.files == {}


def test_form_that_ends_without_its_end(gateway: Gateway, service: CohereStandin) -> None:
    """What follows the file is read as well: a form that is cut there is not sent whole."""
    form = (
        '--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n'
    )
    late = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n3600\r\n'
    for end, status in (
        (late.format("expires_after[seconds]") + "--x--\r\n", 400),
        (late.format("note"), 400),
        (late.format("note") + "--x--\r\n", 200),
    ):
        answer = requests.post(
            f"{gateway.url}/v1/files",
            data=(form + end).encode(),
            headers={
                "x-portkey-provider": SLUG,
                "Authorization": f"Bearer {service.key}",
                "Content-Type": "multipart/form-data; boundary=x",
            },
            timeout=10,
        )
        assert answer.status_code == status
        assert len(service.files) == (status == 200)
