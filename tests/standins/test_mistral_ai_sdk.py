"""The stand-in of Mistral's files is what Mistral's own SDK takes it for."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.standins.mistral_ai import MistralStandin
from tests.support.parts import require

LINES = b'{"custom_id": "request-1"}\n'
FILE = {"file_name": "data.jsonl", "content": LINES, "content_type": "application/jsonl"}


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(importlib.util.find_spec("mistralai"), "pip install mistralai")
    from mistralai import client

    return client


@pytest.fixture
def standin() -> Iterator[MistralStandin]:
    with MistralStandin() as standin:
        yield standin


@pytest.fixture
def files(sdk: Any, standin: MistralStandin) -> Iterator[Any]:
    # Without a configuration of retries, the SDK makes none.
    with sdk.Mistral(api_key=standin.key, server_url=standin.url) as client:
        yield client.files


def test_upload_retrieve_content_delete(files: Any, standin: MistralStandin) -> None:
    created = files.upload(file=FILE, purpose="batch", expiry=24, visibility="user")
    assert (created.object, created.filename, created.size_bytes) == (
        "file",
        "data.jsonl",
        len(LINES),
    )
    assert (created.purpose, created.sample_type, created.source) == (
        "batch",
        "batch_request",
        "upload",
    )
    assert (created.mimetype, created.visibility) == ("application/jsonl", "user")
    assert created.expires_at > created.created_at

    form = standin.files[created.id].extra["form"]
    assert form.fields == [("expiry", "24"), ("visibility", "user"), ("purpose", "batch")]

    found = files.retrieve(file_id=created.id)
    assert (found.id, found.filename, found.deleted) == (created.id, "data.jsonl", False)
    assert files.download(file_id=created.id).read() == LINES
    deleted = files.delete(file_id=created.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (created.id, "file", True)
    assert not standin.files


def test_what_an_upload_gets_by_default(files: Any) -> None:
    created = files.upload(file=FILE)
    assert (created.purpose, created.visibility) == ("fine-tune", "workspace")
    assert created.expires_at is None


def test_a_file_that_goes_to_disk_comes_back_as_it_was(files: Any) -> None:
    content = random.Random(1).randbytes(3 * 1024 * 1024 + 17)
    created = files.upload(file={"file_name": "data.bin", "content": content}, purpose="ocr")
    assert created.size_bytes == len(content)
    assert files.download(file_id=created.id).read() == content


def test_list_to_the_end(files: Any, standin: MistralStandin) -> None:
    ids = standin.seed(2500, purpose="batch")
    found: list[str] = []
    page = 0
    while True:
        answer = files.list(page=page, page_size=1000)
        assert (answer.object, answer.total) == ("list", 2500)
        if not answer.data:
            break
        found += [file.id for file in answer.data]
        page += 1
    assert page == 3
    assert found == ids[::-1]


def test_list_by_default_and_filtered(files: Any, standin: MistralStandin) -> None:
    standin.seed(120, purpose="batch")
    kept = standin.seed(2, purpose="ocr")
    assert len(files.list().data) == 100
    ocr = files.list(purpose="ocr")
    assert [file.id for file in ocr.data] == kept[::-1]
    assert ocr.total == 2
    assert files.list(include_total=False).total is None
    assert files.list(search="file-7.").total == 1
    assert files.list(sample_type=["ocr_input"]).total == 2
    assert files.list(source=["mistral"]).total == 0


def test_a_signed_address(files: Any, standin: MistralStandin) -> None:
    [file_id] = standin.seed(1)
    assert files.get_signed_url(file_id=file_id, expiry=1).url.startswith(standin.url)


def refused(sdk: Any, call: Any, **arguments: Any) -> Any:
    with pytest.raises(sdk.errors.SDKError) as caught:
        call(**arguments)
    return caught.value


def test_an_unknown_file(sdk: Any, files: Any) -> None:
    for call in (files.retrieve, files.download, files.delete):
        error = refused(sdk, call, file_id="00000000-0000-4000-8000-000000000000")
        assert error.status_code == 404
        assert error.body == '{"detail": "No file matches the given query."}'


def test_a_wrong_key(sdk: Any, standin: MistralStandin) -> None:
    with sdk.Mistral(api_key="wrong", server_url=standin.url) as client:
        error = refused(sdk, client.files.list)
    assert (error.status_code, error.body) == (401, '{"detail": "Unauthorized"}')


def test_what_is_not_taken(sdk: Any, files: Any) -> None:
    assert refused(sdk, files.upload, file=FILE, purpose="assistants").status_code == 422
    assert refused(sdk, files.list, page_size=0).status_code == 422
    assert refused(sdk, files.list, page=-1).status_code == 422


def test_a_form_without_a_file_and_no_form(standin: MistralStandin) -> None:
    key = {"Authorization": f"Bearer {standin.key}"}
    url = f"{standin.url}/v1/files"
    bare = requests.post(url, headers=key, files={"purpose": (None, "batch")}, timeout=5)
    assert (bare.status_code, list(bare.json())) == (422, ["detail"])
    assert requests.post(url, headers=key, data=b"{}", timeout=5).status_code == 422


@pytest.mark.parametrize("status", [429, 500])
def test_failures(sdk: Any, files: Any, standin: MistralStandin, status: int) -> None:
    standin.fail(status)
    assert refused(sdk, files.list).status_code == status
    assert files.list().total == 0
