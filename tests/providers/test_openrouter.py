"""OpenRouter's dialect in front of its stand-in, in each shape, with OpenAI's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.standins.base import json_response

from .services import Behind, behind

LINES = b'{"custom_id": "request-1"}\n'


@pytest.fixture(params=["openrouter", "openai"])
def openrouter(request: pytest.FixtureRequest) -> Iterator[Behind]:
    with behind("openrouter") as openrouter:
        openrouter.standin.shape = request.param
        yield openrouter


class TestFile:
    def test_in_openais_shape(self, openrouter: Behind) -> None:
        created = openrouter.files.create(file=("data.jsonl", LINES), purpose="user_data")
        retrieved = openrouter.files.retrieve(created.id)
        (listed,) = openrouter.files.list()
        for file in (created, retrieved, listed):
            shaped = {
                "id": created.id,
                "object": "file",
                "bytes": len(LINES),
                "created_at": openrouter.standin.files[created.id].created_at,
                "filename": "data.jsonl",
                "purpose": "user_data",
                "status": "processed",
            }
            if openrouter.standin.shape == "openrouter":
                shaped |= {"mime_type": "application/x-ndjson", "downloadable": False}
            assert file.to_dict() == shaped

    def test_an_upload_has_no_content(self, openrouter: Behind) -> None:
        created = openrouter.files.create(file=("data.jsonl", LINES), purpose="user_data")
        with pytest.raises(openai.BadRequestError, match="Invalid request parameters"):
            openrouter.files.content(created.id)

    def test_what_the_service_made_has(self, openrouter: Behind) -> None:
        (made,) = openrouter.standin.seed(1, downloadable=True)
        assert openrouter.files.content(made).read() == b"file 1"

    def test_is_gone_once_it_is_deleted(self, openrouter: Behind) -> None:
        (made,) = openrouter.standin.seed(1)
        deleted = openrouter.files.delete(made).to_dict()
        assert deleted == {"id": made, "object": "file", "deleted": True}
        assert openrouter.standin.files == {}


class TestList:
    @pytest.mark.parametrize("order", ["asc", "desc"])
    def test_all_pages(self, openrouter: Behind, order: str) -> None:
        seeded = openrouter.standin.seed(7)
        expected = seeded if order == "asc" else seeded[::-1]
        listed = openrouter.files.list(order=order, limit=2)
        assert [file.id for file in listed] == expected

    def test_goes_on_behind_a_file(self, openrouter: Behind) -> None:
        seeded = openrouter.standin.seed(7)
        page = openrouter.files.list(order="asc", limit=2, after=seeded[2])
        assert [file.id for file in page.data] == seeded[3:5]
        (seen,) = openrouter.standin.seen
        assert seen.query.to_dict() == {"limit": "3", "after": seeded[2]}

    def test_beyond_the_longest_page(self, openrouter: Behind) -> None:
        seeded = openrouter.standin.seed(3100)
        page = openrouter.files.list()
        assert [file.id for file in page.data] == seeded[::-1]
        assert len(openrouter.standin.seen) == 4

    def test_in_anthropics_shape(
        self, openrouter: Behind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = {
            "id": "file_1",
            "type": "file",
            "filename": "a.txt",
            "mime_type": "text/plain",
            "size_bytes": 5,
            "created_at": "2026-01-02T03:04:05.678Z",
            "downloadable": False,
        }
        body = {"data": [file], "has_more": False, "first_id": "file_1", "last_id": "file_1"}

        def page(request: Any) -> Any:
            return json_response(body)

        monkeypatch.setattr(openrouter.standin, "page", page)
        (listed,) = openrouter.files.list()
        assert (listed.bytes, listed.created_at) == (5, 1767323045)
        assert (listed.object, listed.purpose) == ("file", "user_data")


def test_a_code_that_is_the_status_is_none(openrouter: Behind) -> None:
    with pytest.raises(openai.NotFoundError, match="Resource not found") as caught:
        openrouter.files.retrieve("or_file_none")
    assert caught.value.code == "not_found"
