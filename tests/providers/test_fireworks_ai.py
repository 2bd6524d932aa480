"""Fireworks' dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from flask_portkey_files.providers.fireworks_ai import FireworksAI
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
from tests.standins.fireworks import FireworksStandin

SLUG = "fireworks-ai"


class SmallForms(FireworksAI):
    """Sends what has more than a few bytes through the storage."""

    form_limit = 10


@pytest.fixture
def service() -> Iterator[FireworksStandin]:
    with FireworksStandin() as standin:
        yield standin


@pytest.fixture
def gateway(service: FireworksStandin) -> Iterator[Gateway]:
    url = f"{service.url}/v1"
    with Gateway({SLUG: FireworksAI(url), "small": SmallForms(url)}) as gateway:
        yield gateway


def connect(gateway: Gateway, service: FireworksStandin, slug: str) -> openai.OpenAI:
    account = {"x_portkey_fireworks_account_id": service.account}
    return gateway.client(slug, service.key, **account)


@pytest.fixture
def client(gateway: Gateway, service: FireworksStandin) -> openai.OpenAI:
    return connect(gateway, service, SLUG)


@pytest.fixture
def small(gateway: Gateway, service: FireworksStandin) -> openai.OpenAI:
    return connect(gateway, service, "small")


def verbs(service: FireworksStandin) -> list[tuple[str, str]]:
    """Return the requests, without the ids in them."""
    return [
        (seen.method, seen.path.rpartition(":")[2] if ":" in seen.path else "")
        for seen in service.seen
    ]


@pytest.mark.parametrize("purpose", ["batch", "fine-tune"])
def test_form_and_back(client: openai.OpenAI, service: FireworksStandin, purpose: Any) -> None:
    content = b'{"a": 1}\n{"b": 2}'
    uploaded = client.files.create(file=("données.jsonl", content), purpose=purpose)
    assert shape(uploaded) == SHAPE
    assert (uploaded.bytes, uploaded.filename) == (len(content), "données.jsonl")
    assert (uploaded.purpose, uploaded.status) == (purpose, "processed")
    dataset = service.datasets[uploaded.id]
    assert dataset.fields == {
        "displayName": "données.jsonl",
        "userUploaded": {},
        "exampleCount": "2",
    }
    assert dataset.files["données.jsonl"].extra["form"].order == ["file"]
    assert verbs(service) == [("POST", ""), ("POST", "upload"), ("GET", "")]
    assert client.files.retrieve(uploaded.id) == uploaded
    (listed,) = client.files.list(purpose=purpose).data
    assert listed.to_dict() == {**uploaded.to_dict(), "bytes": None}
    assert client.files.content(uploaded.id).read() == content
    deleted = client.files.delete(uploaded.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (uploaded.id, "file", True)
    assert service.datasets == {}


def test_through_the_storage(small: openai.OpenAI, service: FireworksStandin) -> None:
    content = b"0123456789abcde\n"
    uploaded = small.files.create(file=("a.jsonl", content), purpose="batch")
    assert (uploaded.bytes, uploaded.status) == (16, "processed")
    assert verbs(service) == [
        ("POST", ""),
        ("POST", "getUploadEndpoint"),
        ("PUT", ""),
        ("POST", "validateUpload"),
        ("GET", ""),
    ]
    put = service.seen[2].headers
    assert "Authorization" not in put
    assert put["X-Goog-Content-Length-Range"] == "16,16"
    assert small.files.content(uploaded.id).read() == content
    assert "Authorization" not in service.seen[-1].headers


def test_long_name(client: openai.OpenAI, service: FireworksStandin) -> None:
    uploaded = client.files.create(file=("x" * 80 + ".jsonl", b"{}"), purpose="batch")
    assert uploaded.filename == "x" * 57 + ".jsonl"
    uploaded = client.files.create(file=("a." + "x" * 80, b"{}"), purpose="batch")
    assert len(uploaded.filename) == 63


@pytest.mark.parametrize("name", ["../b/a.jsonl", "b\\a.jsonl"])
def test_name_with_folders(small: openai.OpenAI, service: FireworksStandin, name: str) -> None:
    uploaded = small.files.create(file=(name, b"0123456789abcde\n"), purpose="batch")
    assert uploaded.filename == "a.jsonl"
    assert list(service.datasets[uploaded.id].files) == ["a.jsonl"]


def test_lists(client: openai.OpenAI, service: FireworksStandin) -> None:
    check_lists(client, service.seed(900), purpose="fine-tune", limit=300)
    before = len(service.seen)
    assert len(client.files.list(limit=5).data) == 5
    assert [seen.query["pageSize"] for seen in service.seen[before:]] == ["6"]


def test_refusals(client: openai.OpenAI, service: FireworksStandin) -> None:
    files = client.files
    check_refusals(client, service, files.retrieve, files.content, files.delete)
    check_refused_uploads(client, service, purpose="vision")
    check_refused_uploads(client, service, expires_after=EXPIRY)
    before = len(service.seen)
    with pytest.raises(openai.BadRequestError) as refused:
        files.retrieve("mine:upload")
    assert (refused.value.code, len(service.seen)) == ("invalid_file_id", before)


@pytest.mark.parametrize("account", [None, "..", "a/b", "a?b"])
def test_account(gateway: Gateway, service: FireworksStandin, account: str | None) -> None:
    options = {} if account is None else {"x_portkey_fireworks_account_id": account}
    client = gateway.client(SLUG, service.key, **options)
    for call in (
        client.files.list,
        lambda: client.files.create(file=b"{}", purpose="batch"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            call()
        assert refused.value.param == "x-portkey-fireworks-account-id"
    assert service.seen == []


def test_another_account(gateway: Gateway, service: FireworksStandin) -> None:
    client = gateway.client(SLUG, service.key, x_portkey_fireworks_account_id="another")
    with pytest.raises(openai.PermissionDeniedError):
        client.files.list()


def test_dataset_that_is_not_ready(client: openai.OpenAI, service: FireworksStandin) -> None:
    (file_id,) = service.seed(1)
    service.datasets[file_id].state = "UPLOADING"
    file = client.files.retrieve(file_id)
    assert file.status == "uploaded"
    assert file.to_dict()["bytes"] is None
    with pytest.raises(openai.BadRequestError):
        client.files.content(file_id)


def test_size_that_is_not_known(client: openai.OpenAI, service: FireworksStandin) -> None:
    (file_id,) = service.seed(1)
    assert client.files.retrieve(file_id).bytes == 6
    service.fail_storage(503)
    assert client.files.retrieve(file_id).bytes is None
    service.fail_storage(503)
    with pytest.raises(openai.APIStatusError) as failed:
        client.files.content(file_id)
    assert failed.value.status_code == 502


def test_head_and_range(
    client: openai.OpenAI, gateway: Gateway, service: FireworksStandin
) -> None:
    (file_id,) = service.seed(1)
    part = client.files.content(file_id, extra_headers={"Range": "bytes=5-"})
    assert (part.response.status_code, part.read()) == (206, b"1")
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.content(file_id, extra_headers={"Range": "bytes=99-"})
    assert (refused.value.status_code, refused.value.code) == (416, "invalid_range")
    headers = {
        "x-portkey-provider": SLUG,
        "x-portkey-fireworks-account-id": service.account,
        "Authorization": f"Bearer {service.key}",
    }
    for path in ("", f"/{file_id}", f"/{file_id}/content"):
        answer = requests.head(f"{gateway.url}/v1/files{path}", headers=headers, timeout=10)
        assert (answer.status_code, answer.content) == (200, b"")


def test_several_files(client: openai.OpenAI, service: FireworksStandin) -> None:
    (file_id,) = service.seed(1)
    dataset = service.datasets[file_id]
    stored = dataset.files.pop("file-1.jsonl")
    dataset.files = {"b.jsonl": service.datasets[service.seed(1)[0]].files["file-2.jsonl"]}
    dataset.files["a.jsonl"] = stored
    assert client.files.content(file_id).read() == b"file 1"
    dataset.files = {}
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.content(file_id)
    assert refused.value.code == "no_content"


@pytest.mark.parametrize("step", ["upload", "validate_upload", "upload_endpoint", "storage"])
def test_what_fails_half_way_is_undone(
    client: openai.OpenAI,
    small: openai.OpenAI,
    service: FireworksStandin,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if step == "storage":
        service.fail_storage(403)
    else:
        monkeypatch.setattr(service, step, lambda *_: service.error(400))
    with pytest.raises(openai.APIStatusError) as failed:
        (client if step == "upload" else small).files.create(
            file=("a.jsonl", b"0123456789abcde\n"), purpose="batch"
        )
    assert failed.value.status_code == (502 if step == "storage" else 400)
    assert "X-Goog" not in failed.value.response.text
    assert service.seen[-1].method == "DELETE"
    assert service.datasets == {}


def test_undoing_that_fails(
    client: openai.OpenAI, service: FireworksStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upload(*_: Any) -> Any:
        service.fail(500)
        return service.error(429)

    monkeypatch.setattr(service, "upload", upload)
    with pytest.raises(openai.RateLimitError) as failed:
        client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    assert failed.value.response.headers["Retry-After"] == "1"


def test_addresses_that_are_not_asked(
    client: openai.OpenAI,
    small: openai.OpenAI,
    service: FireworksStandin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (file_id,) = service.seed(1)
    given: list[Any] = [{"a": "ftp://a/?secret"}, {"a": 3}, [3], {"a": "http://u:secret@a/"}]
    for urls in given:
        answer = json_response({"filenameToSignedUrls": urls})
        monkeypatch.setattr(service, "download_endpoint", lambda _, a=answer: a)
        with pytest.raises(openai.APIStatusError) as refused:
            client.files.content(file_id)
        assert "secret" not in refused.value.response.text
    monkeypatch.setattr(service, "upload_endpoint", lambda *_: json_response({}))
    with pytest.raises(openai.APIStatusError) as refused:
        small.files.create(file=("a.jsonl", b"0123456789abcde\n"), purpose="batch")
    assert refused.value.status_code == 502
    assert list(service.datasets) == [file_id]


@pytest.mark.parametrize("slug", [SLUG, "small"])
def test_large_upload(gateway: Gateway, service: FireworksStandin, slug: str) -> None:
    client = connect(gateway, service, slug)
    uploaded = client.files.create(file=LargeFile(), purpose="batch")  # type: ignore[arg-type]
    stored = service.datasets[uploaded.id].files["large.jsonl"]
    assert digest(stored.blocks()) == large_digest()
    with client.files.with_streaming_response.content(uploaded.id) as response:
        assert digest(response.iter_bytes()) == large_digest()


def test_upload_that_breaks_off(gateway: Gateway, service: FireworksStandin) -> None:
    headers = {
        "x-portkey-provider": SLUG,
        "x-portkey-fireworks-account-id": service.account,
        "Authorization": f"Bearer {service.key}",
    }
    break_off(gateway, headers)
    # Nothing is created before the file is there.
    assert service.seen == []
