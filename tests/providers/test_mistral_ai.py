"""Mistral's dialect in front of its stand-in, with OpenAI's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from flask_portkey_files.providers.mistral_ai import MistralAI
from tests.standins.base import json_response

from .services import Behind, behind

HOUR = 3600
LINES = b'{"custom_id": "request-1"}\n'


@pytest.fixture
def mistral() -> Iterator[Behind]:
    with behind("mistral-ai") as mistral:
        yield mistral


def upload(mistral: Behind, seconds: int) -> Any:
    return mistral.files.create(
        file=("data.jsonl", LINES),
        purpose="ocr",
        expires_after={"anchor": "created_at", "seconds": seconds},
    )


def test_knows_its_own_address() -> None:
    with pytest.raises(ValueError, match="not an http"):
        MistralAI("mistral")


class TestExpiry:
    def test_in_hours(self, mistral: Behind) -> None:
        created = upload(mistral, 48 * HOUR)
        form = mistral.standin.files[created.id].extra["form"]
        assert form.fields == [("purpose", "ocr"), ("expiry", "48")]
        assert created.expires_at == created.created_at + 48 * HOUR

    @pytest.mark.parametrize("seconds", [HOUR - 1, HOUR + 1, 31 * 24 * HOUR])
    def test_that_is_none(self, mistral: Behind, seconds: int) -> None:
        with pytest.raises(openai.BadRequestError, match="a multiple of 3600"):
            upload(mistral, seconds)
        assert mistral.standin.seen == []

    def test_without_one(self, mistral: Behind) -> None:
        mistral.standin.seed(1)
        (file,) = mistral.files.list()
        assert file.expires_at is None
        # What has no place in OpenAI's shape keeps its own name.
        assert file.model_extra["sample_type"] == "instruct"


class TestList:
    def test_asks_for_no_more_than_it_needs(self, mistral: Behind) -> None:
        seeded = mistral.standin.seed(9)
        page = mistral.files.list(limit=3, purpose="fine-tune")
        assert [file.id for file in page.data] == seeded[:5:-1]
        (seen,) = mistral.standin.seen
        expected = {"purpose": "fine-tune", "page": "0", "page_size": "4"}
        assert seen.query.to_dict() == expected

    def test_passes_on_what_only_mistral_knows(self, mistral: Behind) -> None:
        seeded = mistral.standin.seed(3)
        query = {"search": "file-2", "source": ["upload", "repository"], "page": 3}
        assert [file.id for file in mistral.files.list(extra_query=query)] == [seeded[1]]

    def test_without_a_total(self, mistral: Behind) -> None:
        seeded = mistral.standin.seed(200)
        page = mistral.files.list(extra_query={"include_total": "false"})
        assert [file.id for file in page.data] == seeded[::-1]
        assert len(mistral.standin.seen) == 3

    def test_while_a_file_comes_in(
        self, mistral: Behind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seeded = mistral.standin.seed(150)
        page = mistral.standin.page

        def late(request: Any) -> Any:
            answer = page(request)
            mistral.standin.seed(1)
            return answer

        monkeypatch.setattr(mistral.standin, "page", late)
        assert [file.id for file in mistral.files.list()] == seeded[::-1]

    def test_with_too_many_pages(
        self, mistral: Behind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def endless(request: Any) -> Any:
            file = {"id": f"file-{request.args['page']}", "created_at": 1, "purpose": "batch"}
            return json_response({"data": [file], "total": 10**9})

        monkeypatch.setattr(mistral.standin, "page", endless)
        with pytest.raises(openai.BadRequestError, match="too many files"):
            mistral.files.list()


class TestErrors:
    def test_a_detail(self, mistral: Behind) -> None:
        with pytest.raises(openai.NotFoundError, match="No file matches") as caught:
            mistral.files.retrieve("file-none")
        assert caught.value.code == "not_found"

    def test_details_by_field(self, mistral: Behind) -> None:
        with pytest.raises(openai.UnprocessableEntityError, match="visibility: refused"):
            mistral.files.create(
                file=("data.jsonl", LINES), purpose="ocr", extra_body={"visibility": "all"}
            )
