"""Anthropic's dialect in front of its stand-in, with OpenAI's own client."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from flask_portkey_files import Target
from flask_portkey_files.providers.anthropic import Anthropic
from tests.standins.anthropic import BETA, AnthropicStandin

from .gateway import Gateway
from .raw import END, file, part, post

REPORT = ("report.txt", b"What was found", "text/plain")
DAY = 24 * 3600


@pytest.fixture
def standin() -> Iterator[AnthropicStandin]:
    with AnthropicStandin() as standin:
        yield standin


@pytest.fixture
def gateway(standin: AnthropicStandin) -> Iterator[Gateway]:
    with Gateway({"anthropic": Anthropic(f"{standin.url}/v1")}) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway, standin: AnthropicStandin) -> Iterator[OpenAI]:
    with gateway.client("anthropic", standin.key) as client:
        yield client


@pytest.fixture
def beta(gateway: Gateway, standin: AnthropicStandin) -> Iterator[OpenAI]:
    header = f"prompt-caching-2024-07-31, {BETA}"
    with gateway.client("anthropic", standin.key, anthropic_beta=header) as client:
        yield client


@pytest.fixture(params=["client", "beta"])
def either(request: pytest.FixtureRequest) -> OpenAI:
    """A client in each of the two shapes."""
    client = request.getfixturevalue(request.param)
    assert isinstance(client, OpenAI)
    return client


class TestUpload:
    def test_stores_thefile(self, either: OpenAI, standin: AnthropicStandin) -> None:
        created = either.files.create(file=REPORT, purpose="assistants")
        stored = standin.files[created.id]
        assert b"".join(stored.blocks()) == REPORT[1]
        assert stored.extra["form"].order == ["file"]
        assert stored.extra["form"].content_type == "text/plain"
        assert (created.object, created.bytes, created.filename) == ("file", 14, "report.txt")
        assert (created.purpose, created.status) == ("user_data", "processed")
        assert created.created_at == stored.created_at
        assert created.expires_at is None
        assert (created.model_extra or {}) == {"mime_type": "text/plain", "downloadable": False}

    def test_says_who_asks(self, client: OpenAI, standin: AnthropicStandin) -> None:
        client.files.create(file=REPORT, purpose="user_data")
        [seen] = standin.seen
        assert seen.headers["x-api-key"] == standin.key
        assert seen.headers["anthropic-version"] == "2023-06-01"
        assert not {"Authorization", "anthropic-beta"} & set(seen.headers.keys())

    def test_passes_the_beta_header_on(self, beta: OpenAI, standin: AnthropicStandin) -> None:
        beta.files.create(file=REPORT, purpose="user_data")
        [seen] = standin.seen
        assert seen.headers["anthropic-beta"] == f"prompt-caching-2024-07-31, {BETA}"

    def test_drops_a_purpose_behind_thefile(
        self, gateway: Gateway, standin: AnthropicStandin
    ) -> None:
        parts = [part("purpose", "batch"), file(b"1234"), part("purpose", "vision")]
        status, _ = post(gateway, "anthropic", standin.key, b"".join(parts) + END)
        assert status == 200
        [stored] = standin.files.values()
        assert (stored.size, stored.extra["form"].order) == (4, ["file"])

    def test_converts_the_expiry(self, client: OpenAI, standin: AnthropicStandin) -> None:
        created = client.files.create(
            file=REPORT,
            purpose="user_data",
            expires_after={"anchor": "created_at", "seconds": 90 * DAY},
        )
        form = standin.files[created.id].extra["form"]
        assert form.fields == [("expires_in_seconds", str(90 * DAY))]
        assert created.expires_at == created.created_at + 90 * DAY

    @pytest.mark.parametrize("seconds", [3599, 90 * DAY + 1])
    def test_refuses_other_expiries(
        self, client: OpenAI, standin: AnthropicStandin, seconds: int
    ) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.files.create(
                file=REPORT,
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": seconds},
            )
        assert caught.value.code == "invalid_expires_after"
        assert not standin.seen

    def test_the_beta_knows_no_expiry(self, beta: OpenAI, standin: AnthropicStandin) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            beta.files.create(
                file=REPORT,
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": DAY},
            )
        assert caught.value.code == "unsupported_expires_after"
        assert not standin.seen

    def test_leaves_other_fields_for_anthropic_to_refuse(
        self, client: OpenAI, standin: AnthropicStandin
    ) -> None:
        with pytest.raises(openai.BadRequestError, match="colour: Extra inputs"):
            client.files.create(file=REPORT, purpose="batch", extra_body={"colour": "red"})
        assert not standin.files

    @pytest.mark.parametrize("name", ["what:is", "a" * 256])
    def test_passes_a_refusal_on(self, client: OpenAI, name: str) -> None:
        with pytest.raises(openai.BadRequestError, match="Invalid filename") as caught:
            client.files.create(file=(name, b"x"), purpose="batch")
        assert caught.value.code == "invalid_request_error"

    def test_too_large(self, client: OpenAI, standin: AnthropicStandin) -> None:
        standin.largest = 4
        with pytest.raises(openai.APIStatusError) as caught:
            client.files.create(file=("a.txt", b"12345"), purpose="batch")
        assert caught.value.status_code == 413

    def test_streams(self, client: OpenAI, standin: AnthropicStandin) -> None:
        content = random.Random(1).randbytes(30 * 1024 * 1024 + 7)
        created = client.files.create(file=("large.bin", content), purpose="user_data")
        assert created.bytes == len(content)
        digest = hashlib.sha256()
        for block in standin.files[created.id].blocks():
            digest.update(block)
        assert digest.digest() == hashlib.sha256(content).digest()
        assert standin.seen[0].headers["Transfer-Encoding"] == "chunked"

    def test_a_client_that_breaks_off_leaves_nothing(
        self, gateway: Gateway, standin: AnthropicStandin
    ) -> None:
        begun = part("purpose", "batch") + file(bytes(1024 * 1024))[:-2]
        status, body = post(
            gateway, "anthropic", standin.key, begun, announced=len(begun) + 100_000
        )
        assert status == 400
        assert b"incomplete_body" in body
        assert not standin.files


class TestList:
    @pytest.mark.parametrize("order", ["desc", "asc"])
    def test_to_the_end(self, either: OpenAI, standin: AnthropicStandin, order: Any) -> None:
        ids = standin.seed(3_200)
        listed = [file.id for file in either.files.list(limit=900, order=order)]
        assert listed == (ids if order == "asc" else ids[::-1])

    def test_whole(self, either: OpenAI, standin: AnthropicStandin) -> None:
        ids = standin.seed(3_200)
        page = either.files.list()
        assert [file.id for file in page.data] == ids[::-1]
        assert page.has_more is False
        assert len(standin.seen) == 4

    @pytest.mark.parametrize("order", ["desc", "asc"])
    def test_has_more_is_exact(
        self, either: OpenAI, standin: AnthropicStandin, order: Any
    ) -> None:
        ids = standin.seed(6)
        ids = ids if order == "asc" else ids[::-1]
        page = either.files.list(limit=3, after=ids[1], order=order)
        assert [file.id for file in page.data] == ids[2:5]
        assert page.has_more is True
        assert (page.model_extra or {}).get("first_id") == ids[2]
        assert (page.model_extra or {}).get("last_id") == ids[4]
        page = either.files.list(limit=3, after=ids[2], order=order)
        assert [file.id for file in page.data] == ids[3:]
        assert page.has_more is False

    def test_asks_for_no_more_than_is_needed(
        self, either: OpenAI, standin: AnthropicStandin
    ) -> None:
        standin.seed(1_000)
        either.files.list(limit=5)
        [seen] = standin.seen
        assert seen.query.to_dict() == {"limit": "6"}

    def test_the_beta_has_a_cursor_of_its_own(
        self, beta: OpenAI, standin: AnthropicStandin
    ) -> None:
        ids = standin.seed(1_000)
        beta.files.list(limit=5, after=ids[3])
        [seen] = standin.seen
        assert seen.query.to_dict() == {"limit": "6", "after_id": ids[3]}

    def test_purpose(self, either: OpenAI, standin: AnthropicStandin) -> None:
        ids = standin.seed(3)
        assert [file.id for file in either.files.list(purpose="user_data")] == ids[::-1]
        page = either.files.list(purpose="batch")
        assert (page.data, page.has_more) == ([], False)

    def test_empty(self, either: OpenAI) -> None:
        page = either.files.list()
        assert (page.data, page.has_more) == ([], False)

    def test_unknown_after(self, either: OpenAI, standin: AnthropicStandin) -> None:
        standin.seed(1)
        with pytest.raises(openai.BadRequestError):
            either.files.list(after="file_unknown")

    def test_head(self, gateway: Gateway, client: OpenAI, standin: AnthropicStandin) -> None:
        [file_id] = standin.seed(1)
        for path in ("/files", f"/files/{file_id}"):
            answer = client._client.head(f"{gateway.url}/v1{path}", headers=_headers(standin))
            assert (answer.status_code, answer.content) == (200, b"")
        assert [seen.method for seen in standin.seen] == ["GET", "GET"]


class TestFile:
    def test_retrieves(self, either: OpenAI, standin: AnthropicStandin) -> None:
        created = either.files.create(file=REPORT, purpose="vision")
        assert either.files.retrieve(created.id) == created

    def test_deletes(self, either: OpenAI, standin: AnthropicStandin) -> None:
        [file_id] = standin.seed(1)
        deleted = either.files.delete(file_id)
        assert (deleted.id, deleted.object, deleted.deleted) == (file_id, "file", True)
        assert not standin.files

    def test_downloads_what_a_tool_made(
        self, either: OpenAI, standin: AnthropicStandin
    ) -> None:
        [file_id] = standin.seed(1, downloadable=True)
        content = either.files.content(file_id)
        assert content.read() == b"file 1"
        assert content.response.headers["Content-Type"].startswith("text/plain")

    def test_an_upload_has_no_content(self, either: OpenAI, standin: AnthropicStandin) -> None:
        [file_id] = standin.seed(1)
        with pytest.raises(openai.BadRequestError, match="not downloadable") as caught:
            either.files.content(file_id)
        assert caught.value.code == "file_not_downloadable"

    def test_an_expired_file_has_no_content(
        self, client: OpenAI, standin: AnthropicStandin
    ) -> None:
        [file_id] = standin.seed(1, downloadable=True, expires=3600)
        with pytest.raises(openai.NotFoundError) as caught:
            client.files.content(file_id)
        assert caught.value.code == "file_expired"

    @pytest.mark.parametrize("operation", ["retrieve", "content", "delete"])
    def test_unknown(self, either: OpenAI, operation: str) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            getattr(either.files, operation)("file_unknown")
        assert (caught.value.code, caught.value.type) == ("not_found", "invalid_request_error")


CALLS: dict[str, Any] = {
    "upload": lambda files: files.create(file=REPORT, purpose="batch"),
    "list": lambda files: files.list(),
    "filtered": lambda files: files.list(purpose="batch"),
    "retrieve": lambda files: files.retrieve("file_1"),
    "content": lambda files: files.content("file_1"),
    "delete": lambda files: files.delete("file_1"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
class TestFailures:
    def test_wrong_key(self, gateway: Gateway, call: Any) -> None:
        with (
            gateway.client("anthropic", "wrong") as client,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            call(client.files)
        assert caught.value.code == "invalid_api_key"

    def test_too_often(self, either: OpenAI, standin: AnthropicStandin, call: Any) -> None:
        standin.fail(429)
        with pytest.raises(openai.RateLimitError) as caught:
            call(either.files)
        assert caught.value.response.headers["Retry-After"] == "1"
        assert caught.value.response.headers["request-id"]

    @pytest.mark.parametrize("status", [500, 529])
    def test_broken(
        self, client: OpenAI, standin: AnthropicStandin, call: Any, status: int
    ) -> None:
        standin.fail(status)
        with pytest.raises(openai.InternalServerError, match=f"refused: {status}") as caught:
            call(client.files)
        assert caught.value.status_code == status


class TestTargets:
    """What a target says of the beta and the version."""

    def _answer(self, target: Target, asked: str | None = None) -> Any:
        headers = {"anthropic-beta": asked} if asked else {}
        with (
            Gateway({"anthropic": Anthropic()}, resolver=lambda call: target) as gateway,
            gateway.client("anthropic", "unused") as client,
        ):
            return client.files.list(extra_headers=headers)

    @pytest.mark.parametrize(
        "sent",
        [{"headers": {"Anthropic-Beta": BETA}}, {"options": {"anthropic_beta": f"x,{BETA}"}}],
    )
    def test_chooses_the_beta(self, standin: AnthropicStandin, sent: dict[str, Any]) -> None:
        ids = standin.seed(1_500)
        target = Target("anthropic", api_key=standin.key, base_url=f"{standin.url}/v1", **sent)
        page = self._answer(target, asked="other")
        assert [file.id for file in page.data] == ids[::-1]
        assert "after_id" in standin.seen[1].query

    @pytest.mark.parametrize("sent", [{}, {"headers": {"anthropic-beta": "other-2024"}}])
    def test_chooses_none(self, standin: AnthropicStandin, sent: dict[str, Any]) -> None:
        ids = standin.seed(1_500)
        target = Target("anthropic", api_key=standin.key, base_url=f"{standin.url}/v1", **sent)
        page = self._answer(target, asked=BETA if sent else "other-2024")
        assert [file.id for file in page.data] == ids[::-1]
        assert "page" in standin.seen[1].query
        assert standin.seen[0].headers.get("anthropic-beta") == sent.get("headers", {}).get(
            "anthropic-beta"
        )

    def test_chooses_the_version(self, standin: AnthropicStandin) -> None:
        target = Target(
            "anthropic",
            api_key=standin.key,
            base_url=f"{standin.url}/v1",
            options={"anthropic_version": "2030-01-01"},
        )
        self._answer(target)
        assert standin.seen[0].headers["anthropic-version"] == "2030-01-01"

    def test_without_a_key(self, gateway: Gateway, standin: AnthropicStandin) -> None:
        with (
            gateway.client("anthropic", "OPENAI_API_KEY") as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.files.list()
        assert not standin.seen


@pytest.mark.parametrize("body", ["[]", "{}", '{"data": 1}', '{"data": [{"id": 1}]}', "no"])
def test_an_answer_that_is_none(
    client: OpenAI, standin: AnthropicStandin, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    from werkzeug.wrappers import Response

    monkeypatch.setattr(standin, "answer", lambda request: Response(body))
    for call in (CALLS["list"], CALLS["upload"], CALLS["retrieve"]):
        with pytest.raises(openai.InternalServerError) as caught:
            call(client.files)
        assert caught.value.status_code == 502


def _headers(standin: AnthropicStandin) -> dict[str, str]:
    return {"Authorization": f"Bearer {standin.key}", "x-portkey-provider": "anthropic"}
