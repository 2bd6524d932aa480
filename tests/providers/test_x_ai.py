"""xAI's dialect in front of its stand-in, with OpenAI's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import requests

from .services import Behind, behind

LINES = b'{"custom_id": "request-1"}\n'


@pytest.fixture
def xai() -> Iterator[Behind]:
    with behind("x-ai") as xai:
        yield xai


class TestExpiry:
    def test_in_seconds(self, xai: Behind) -> None:
        created = xai.files.create(
            file=("data.jsonl", LINES),
            purpose="assistants",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        form = xai.standin.files[created.id].extra["form"]
        assert form.order == ["purpose", "expires_after", "file"]
        assert form.get("expires_after") == "3600"
        assert created.expires_at == created.created_at + 3600

    def test_that_comes_too_late(self, xai: Behind) -> None:
        parts: list[Any] = [
            ("purpose", (None, "assistants")),
            ("file", ("data.jsonl", LINES)),
            ("expires_after[seconds]", (None, "3600")),
        ]
        answer = requests.post(
            f"{xai.gateway.url}/v1/files",
            files=parts,
            headers={"Authorization": f"Bearer {xai.standin.key}"},
            timeout=5,
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "expires_after_too_late"
        assert xai.standin.files == {}

    def test_out_of_range(self, xai: Behind) -> None:
        with pytest.raises(openai.BadRequestError, match="between 3600 and 2592000"):
            xai.files.create(
                file=("data.jsonl", LINES),
                purpose="assistants",
                expires_after={"anchor": "created_at", "seconds": 60},
            )
        assert xai.standin.seen == []


class TestList:
    def test_asks_for_no_more_than_it_needs(self, xai: Behind) -> None:
        seeded = xai.standin.seed(9)
        page = xai.files.list(limit=3)
        assert [file.id for file in page.data] == seeded[:5:-1]
        (seen,) = xai.standin.seen
        expected = {"limit": "4", "order": "desc", "sort_by": "created_at"}
        assert seen.query.to_dict() == expected

    def test_of_one_purpose(self, xai: Behind) -> None:
        batches = xai.standin.seed(120, purpose="batch")
        xai.standin.seed(120, purpose="vision")
        page = xai.files.list(purpose="batch", limit=100)
        assert page.has_more is True
        assert [file.id for file in page] == batches[::-1]

    def test_clients_can_not_page_it_otherwise(self, xai: Behind) -> None:
        seeded = xai.standin.seed(3)
        query = {"sort_by": "size", "pagination_token": seeded[0]}
        assert [file.id for file in xai.files.list(extra_query=query)] == seeded[::-1]

    def test_with_a_last_page_that_is_empty(self, xai: Behind) -> None:
        seeded = xai.standin.seed(100)
        page = xai.files.list()
        assert [file.id for file in page.data] == seeded[::-1]
        assert page.has_more is False
        assert len(xai.standin.seen) == 2


class TestErrors:
    def test_a_wrong_key(self, xai: Behind) -> None:
        with xai.gateway.client("x-ai", "wrong") as client:
            calls: list[Callable[[], Any]] = [
                client.files.list,
                lambda: client.files.retrieve("file-1"),
                lambda: client.files.content("file-1"),
                lambda: client.files.delete("file-1"),
            ]
            for call in calls:
                with pytest.raises(openai.AuthenticationError, match="Incorrect") as caught:
                    call()
                assert caught.value.code == "invalid_api_key"

    def test_another_bad_request(self, xai: Behind) -> None:
        xai.standin.fail(400)
        with pytest.raises(openai.BadRequestError, match="refused: 400") as caught:
            xai.files.list()
        assert caught.value.code == "Client specified an invalid argument"
        assert caught.value.type == "invalid_request_error"
