"""The stand-in of OpenRouter's files is what OpenRouter's own SDK takes it for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from tests.standins.openrouter import OpenRouterStandin
from tests.support.parts import require

LINES = b'{"custom_id": "request-1"}\n'
FILE = {"file_name": "data.jsonl", "content": LINES}


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(importlib.util.find_spec("openrouter"), "pip install openrouter")
    import openrouter

    return openrouter


@pytest.fixture
def standin() -> Iterator[OpenRouterStandin]:
    with OpenRouterStandin() as standin:
        yield standin


@pytest.fixture
def files(sdk: Any, standin: OpenRouterStandin) -> Iterator[Any]:
    # Without a configuration of its own, the SDK tries again for an hour.
    with sdk.OpenRouter(
        api_key=standin.key, server_url=f"{standin.url}/api/v1", retry_config=None
    ) as client:
        yield client.files


@pytest.fixture
def errors(sdk: Any) -> Any:
    from openrouter import errors

    return errors


def test_upload_retrieve_delete(files: Any, standin: OpenRouterStandin) -> None:
    created = files.upload(file=FILE)
    assert (created.shape, created.type, created.filename, created.size_bytes) == (
        "openrouter",
        "file",
        "data.jsonl",
        len(LINES),
    )
    assert created.id.startswith("or_file_")
    assert created.created_at.endswith("Z")
    assert created.downloadable is False
    assert standin.files[created.id].extra["form"].order == ["file"]
    assert files.retrieve(file_id=created.id) == created
    deleted = files.delete(file_id=created.id)
    assert (deleted.shape, deleted.id, deleted.type) == (
        "openrouter",
        created.id,
        "file_deleted",
    )
    assert not standin.files


def test_only_what_the_service_made_is_downloaded(
    files: Any, standin: OpenRouterStandin, errors: Any
) -> None:
    [made] = standin.seed(1, downloadable=True)
    assert files.download(file_id=made).read() == b"file 1"
    [uploaded] = standin.seed(1)
    with pytest.raises(errors.BadRequestResponseError):
        files.download(file_id=uploaded)


def test_list_to_the_end(files: Any, standin: OpenRouterStandin) -> None:
    ids = standin.seed(2500)
    found: list[str] = []
    answer = files.list(limit=1000)
    while answer is not None:
        assert answer.result.has_more is (answer.result.cursor is not None)
        found += [file.id for file in answer.result.data]
        answer = answer.next()
    assert found == ids
    assert len(files.list().result.data) == 100


def test_cursors_of_the_other_shapes(
    files: Any, standin: OpenRouterStandin, errors: Any
) -> None:
    ids = standin.seed(3)
    for cursor in ("after", "after_id"):
        page = files.list(**{cursor: ids[0]}).result
        assert [file.id for file in page.data] == ids[1:]
        assert (page.first_id, page.last_id) == (ids[1], ids[2])
    refused: list[dict[str, Any]] = [
        {"before_id": ids[2]},
        {"order": "desc"},
        {"limit": 1001},
        {"after": "none"},
        {"cursor": "none"},
    ]
    for query in refused:
        with pytest.raises(errors.BadRequestResponseError):
            files.list(**query)


def test_the_openai_shape(files: Any, standin: OpenRouterStandin) -> None:
    standin.shape = "openai"
    created = files.upload(file=FILE)
    assert (created.shape, created.object, created.bytes_, created.purpose) == (
        "openai",
        "file",
        len(LINES),
        "user_data",
    )
    page = files.list().result
    assert (page.shape, page.object, page.has_more) == ("openai", "list", False)
    assert page.data == [created]
    deleted = files.delete(file_id=created.id)
    assert (deleted.shape, deleted.DELETED) == ("openai", True)


def test_refusals(sdk: Any, files: Any, standin: OpenRouterStandin, errors: Any) -> None:
    for call in (files.retrieve, files.download, files.delete):
        with pytest.raises(errors.NotFoundResponseError) as caught:
            call(file_id="or_file_none")
        assert caught.value.data.error.code == 404
    with pytest.raises(errors.BadRequestResponseError):
        files.upload(file=FILE | {"content": b""})
    with pytest.raises(errors.ForbiddenResponseError):
        files.list(provider="openai")
    with (
        sdk.OpenRouter(
            api_key="wrong", server_url=f"{standin.url}/api/v1", retry_config=None
        ) as client,
        pytest.raises(errors.UnauthorizedResponseError),
    ):
        client.files.list()


def test_failures(files: Any, standin: OpenRouterStandin, errors: Any) -> None:
    standin.fail(429)
    with pytest.raises(errors.TooManyRequestsResponseError):
        files.list()
    standin.fail(500)
    with pytest.raises(errors.InternalServerResponseError):
        files.list()
    assert files.list().result.data == []
