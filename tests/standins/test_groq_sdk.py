"""The stand-in of Groq's files is what Groq's own SDK takes it for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from tests.standins.services import GroqStandin
from tests.support.parts import require

LINES = b'{"custom_id": "request-1"}\n'


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(importlib.util.find_spec("groq"), "pip install groq")
    import groq

    return groq


@pytest.fixture
def standin() -> Iterator[GroqStandin]:
    with GroqStandin() as standin:
        yield standin


@pytest.fixture
def files(sdk: Any, standin: GroqStandin) -> Iterator[Any]:
    with sdk.Groq(api_key=standin.key, base_url=standin.url, max_retries=0) as client:
        yield client.files


def test_all_five_operations(files: Any, standin: GroqStandin) -> None:
    created = files.create(file=("data.jsonl", LINES), purpose="batch")
    assert (created.object, created.filename, created.bytes, created.purpose) == (
        "file",
        "data.jsonl",
        len(LINES),
        "batch",
    )
    assert "status" not in created.to_dict()
    assert standin.files[created.id].extra["form"].order == ["purpose", "file"]
    assert files.info(created.id).to_dict() == created.to_dict()
    assert files.content(created.id).read() == LINES
    deleted = files.delete(created.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (created.id, True, "file")
    assert not standin.files


def test_a_list_holds_all_files(files: Any, standin: GroqStandin) -> None:
    ids = standin.seed(2500)
    answer = files.list(extra_query={"limit": "1", "after": ids[7], "purpose": "other"})
    assert sorted(file.id for file in answer.data) == sorted(ids)
    assert answer.to_dict().keys() == {"object", "data"}


def test_refusals(sdk: Any, files: Any, standin: GroqStandin) -> None:
    for call in (files.info, files.content, files.delete):
        with pytest.raises(sdk.NotFoundError):
            call("file_none")
    with pytest.raises(sdk.BadRequestError):
        files.create(file=("data.jsonl", LINES), purpose="assistants")
    with (
        sdk.Groq(api_key="wrong", base_url=standin.url, max_retries=0) as client,
        pytest.raises(sdk.AuthenticationError, match="Invalid API Key"),
    ):
        client.files.list()


def test_failures(sdk: Any, files: Any, standin: GroqStandin) -> None:
    standin.fail(429)
    with pytest.raises(sdk.RateLimitError):
        files.list()
    standin.fail(500)
    with pytest.raises(sdk.InternalServerError):
        files.list()
    assert files.list().data == []
