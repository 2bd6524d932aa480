"""Together AI's dialect."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests
from werkzeug.wrappers import Response

from flask_portkey_files.call import FilesCall
from flask_portkey_files.providers.together_ai import TogetherAI
from flask_portkey_files.routing import Retry, Target
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
from tests.standins.together import TogetherStandin

SLUG = "together-ai"


@pytest.fixture
def service() -> Iterator[TogetherStandin]:
    with TogetherStandin() as standin:
        yield standin


@pytest.fixture
def gateway(service: TogetherStandin) -> Iterator[Gateway]:
    with Gateway({SLUG: TogetherAI(f"{service.url}/v1")}) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway, service: TogetherStandin) -> openai.OpenAI:
    return gateway.client(SLUG, service.key)


def test_upload_and_back(client: openai.OpenAI, service: TogetherStandin) -> None:
    content = b'{"a": 1}\n' * 3
    uploaded = client.files.create(file=("données.jsonl", content), purpose="batch")
    assert shape(uploaded) == SHAPE
    assert (uploaded.bytes, uploaded.filename) == (len(content), "données.jsonl")
    assert (uploaded.purpose, uploaded.status) == ("batch", "processed")
    assert (uploaded.model_extra or {})["FileType"] == "jsonl"
    fields = {"purpose": "batch-api", "file_name": "données.jsonl", "file_type": "jsonl"}
    assert service.files[uploaded.id].extra["fields"] == fields
    steps = [(seen.method, seen.path.split("/")[1]) for seen in service.seen]
    assert steps == [("POST", "v1"), ("PUT", "storage"), ("POST", "v1")]
    put = service.seen[1].headers
    assert put["Content-Length"] == str(len(content))
    assert "Authorization" not in put
    assert client.files.retrieve(uploaded.id) == uploaded
    assert client.files.list().data == [uploaded]
    assert client.files.content(uploaded.id).read() == content
    deleted = client.files.delete(uploaded.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (uploaded.id, "file", True)
    assert service.files == {}


@pytest.mark.parametrize(
    ("purpose", "name", "own", "kind"),
    [
        ("fine-tune", "a.csv", "fine-tune", "csv"),
        ("evals", "a.PARQUET", "eval", "parquet"),
        ("calibration", "a.jsonl", "calibration", "jsonl"),
        ("eval", "a", "eval", None),
    ],
)
def test_purposes_and_types(
    client: openai.OpenAI,
    service: TogetherStandin,
    purpose: Any,
    name: str,
    own: str,
    kind: str | None,
) -> None:
    uploaded = client.files.create(file=(name, b"x"), purpose=purpose)
    fields = service.files[uploaded.id].extra["fields"]
    assert (fields["purpose"], fields.get("file_type")) == (own, kind)
    assert uploaded.purpose == {"eval": "evals"}.get(purpose, purpose)
    assert client.files.list(purpose=purpose).data == [uploaded]


def test_lists(client: openai.OpenAI, service: TogetherStandin) -> None:
    check_lists(client, service.seed(1200), purpose="batch", limit=400)


def test_refusals(client: openai.OpenAI, service: TogetherStandin) -> None:
    files = client.files
    check_refusals(client, service, files.retrieve, files.content, files.delete)
    check_refused_uploads(client, service, purpose="vision")
    check_refused_uploads(client, service, expires_after=EXPIRY)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("PENDING", "uploaded"),
        ("RUNNING", "uploaded"),
        ("FAILED", "error"),
        ("INVALID_FORMAT", "error"),
        (None, "processed"),
    ],
)
def test_status(
    client: openai.OpenAI, service: TogetherStandin, state: str | None, status: str
) -> None:
    (file_id,) = service.seed(1)
    service.files[file_id].extra["processing_status"] = state
    assert client.files.retrieve(file_id).status == status


def test_content_from_the_storage(client: openai.OpenAI, service: TogetherStandin) -> None:
    (file_id,) = service.seed(1)
    service.redirects = True
    assert client.files.content(file_id).read() == b"file 1"
    seen = service.seen[-1]
    assert seen.path.startswith("/storage/")
    assert "Authorization" not in seen.headers
    part = client.files.content(file_id, extra_headers={"Range": "bytes=5-"})
    assert (part.response.status_code, part.read()) == (206, b"1")


@pytest.mark.parametrize("redirects", [False, True])
def test_head(
    client: openai.OpenAI, gateway: Gateway, service: TogetherStandin, redirects: bool
) -> None:
    (file_id,) = service.seed(1)
    service.redirects = redirects
    headers = {"x-portkey-provider": SLUG, "Authorization": f"Bearer {service.key}"}
    for path in ("", f"/{file_id}", f"/{file_id}/content"):
        answer = requests.head(f"{gateway.url}/v1/files{path}", headers=headers, timeout=10)
        assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == "6"


def test_redirects_that_are_not_followed(
    client: openai.OpenAI, service: TogetherStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file_id,) = service.seed(1)
    service.redirects = True
    for address in ("file:///etc/hosts", "http://u:secret@localhost/", "http:///a", "//"):
        monkeypatch.setattr(service, "presign_download", lambda *_, a=address: a)
        with pytest.raises(openai.APIStatusError) as refused:
            client.files.content(file_id)
        assert refused.value.status_code == 502
        assert "secret" not in refused.value.response.text
    loop = f"{service.url}/v1/files/{file_id}/content"
    monkeypatch.setattr(service, "presign_download", lambda *_: loop)
    with pytest.raises(openai.APIStatusError):
        client.files.content(file_id)
    # It went there without the key, which ended it.
    assert "Authorization" not in service.seen[-1].headers


@pytest.mark.parametrize("step", ["storage", "preprocess"])
def test_what_fails_half_way_is_undone(
    client: openai.OpenAI,
    service: TogetherStandin,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if step == "storage":
        service.fail_storage(503)
    else:
        monkeypatch.setattr(service, "preprocess", lambda _: service.error(400))
    with pytest.raises(openai.APIStatusError) as failed:
        client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    assert failed.value.status_code == (502 if step == "storage" else 400)
    assert "X-Amz" not in failed.value.response.text
    assert service.seen[-1].method == "DELETE"
    assert service.files == {}


def test_upload_is_tried_again_from_its_start(service: TogetherStandin) -> None:
    def resolve(call: FilesCall) -> Target:
        retry = Retry(1, use_retry_after_header=False)
        return Target(SLUG, api_key=service.key, base_url=f"{service.url}/v1", retry=retry)

    service.fail_storage(503)
    with Gateway({SLUG: TogetherAI()}, resolver=resolve) as gateway:
        client = gateway.client(SLUG, "any")
        uploaded = client.files.create(file=("a.jsonl", b"content"), purpose="batch")
        assert client.files.content(uploaded.id).read() == b"content"
    assert list(service.files) == [uploaded.id]


def test_answers_that_are_none(
    client: openai.OpenAI, service: TogetherStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[Any] = [[], {"data": 3}, {"data": [3]}]
    for body in bodies:
        monkeypatch.setattr(service, "api", lambda _, b=body: json_response(b))
        with pytest.raises(openai.APIStatusError) as refused:
            client.files.list()
        assert refused.value.status_code == 502
    redirect = Response(status=302, headers={"Location": "/a", "X-Together-File-Id": "../a"})
    for answer in (json_response({}), redirect):
        monkeypatch.setattr(service, "api", lambda _, a=answer: a)
        with pytest.raises(openai.APIStatusError) as refused:
            client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
        assert refused.value.status_code == 502


def test_compressed_answer(
    client: openai.OpenAI, service: TogetherStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers compress whatever they were asked for."""
    answer = Response(gzip.compress(b'{"data": []}'), headers={"Content-Encoding": "gzip"})
    monkeypatch.setattr(service, "api", lambda _: answer)
    assert client.files.list().data == []
    assert service.seen[-1].headers["Accept-Encoding"] == "identity"


def test_large_upload(client: openai.OpenAI, service: TogetherStandin) -> None:
    uploaded = client.files.create(file=LargeFile(), purpose="batch")  # type: ignore[arg-type]
    assert digest(service.files[uploaded.id].blocks()) == large_digest()
    service.redirects = True
    with client.files.with_streaming_response.content(uploaded.id) as response:
        assert digest(response.iter_bytes()) == large_digest()


def test_upload_that_breaks_off(gateway: Gateway, service: TogetherStandin) -> None:
    break_off(gateway, {"x-portkey-provider": SLUG, "Authorization": f"Bearer {service.key}"})
    # Nothing is announced before the file is there.
    assert service.seen == []


def test_redirects_of_the_storage(
    client: openai.OpenAI, service: TogetherStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage may lead on to another one: the file is sent there as well, a few times."""
    storage = service._storage
    leads_on = 4

    def lead_on(request: Any) -> Response:
        nonlocal leads_on
        leads_on -= 1
        if leads_on < 0:
            return storage(request)
        location = f"{request.path}?{request.query_string.decode()}"
        response = Response(status=307, headers={"Location": location})
        response.autocorrect_location_header = False
        return response

    monkeypatch.setattr(service, "_storage", lead_on)
    uploaded = client.files.create(file=("a.jsonl", b"content"), purpose="batch")
    assert client.files.content(uploaded.id).read() == b"content"
    leads_on = 5
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.create(file=("a.jsonl", b"content"), purpose="batch")
    assert refused.value.status_code == 502
    assert list(service.files) == [uploaded.id]
