"""OpenAI's shapes, its paging over other pages, and expiry in a provider's terms."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from flask_portkey_files import FilesCall, Operation, Target
from flask_portkey_files.errors import InvalidRequest, UpstreamError
from flask_portkey_files.form import FilePart, FormField, UploadForm
from flask_portkey_files.providers.base import Provider, UpstreamRequest, UpstreamResponse
from flask_portkey_files.providers.capabilities import Capabilities, Expiry
from flask_portkey_files.providers.paging import MAX_PAGES, ListQuery, Page, walk
from flask_portkey_files.providers.shape import (
    Refusal,
    failure,
    file_object,
    succeeded,
    unix_seconds,
)
from flask_portkey_files.settings import Settings
from flask_portkey_files.spool import SpooledFile


class Response:
    """An answer that is already here."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers = Headers()
        self.body = body

    def hurry(self, *, whole: bool) -> None:
        pass

    def blocks(self) -> Iterator[bytes]:
        yield self.body

    def read(self, most: int) -> bytes:
        if len(self.body) > most:
            raise UpstreamError("too long")
        return self.body

    def json(self) -> Any:
        return json.loads(self.body)

    def close(self) -> None:
        """Nothing is held."""


class TestTime:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (1_700_000_000, 1_700_000_000),
            (1_700_000_000.9, 1_700_000_000),
            (1_700_000_000_123, 1_700_000_000),
            ("1700000000", 1_700_000_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000),
            ("2023-11-14T22:13:20.123456789Z", 1_700_000_000),
            ("2023-11-14T22:13:20.1Z", 1_700_000_000),
            ("2023-11-15T00:13:20+02:00", 1_700_000_000),
            ("2023-11-14T22:13:20", 1_700_000_000),
            ("yesterday", None),
            ("", None),
            (None, None),
            (True, None),
            ({}, None),
        ],
    )
    def test_unix_seconds(self, value: Any, seconds: int | None) -> None:
        assert unix_seconds(value) == seconds


class TestFailure:
    @pytest.mark.parametrize(
        ("body", "message", "code"),
        [
            (b'{"error": {"message": "m", "code": "c", "param": "p"}}', "m", "c"),
            (b'{"error": {"message": "m", "status": "NOT_FOUND"}}', "m", "NOT_FOUND"),
            (b'{"error": "m", "code": "c"}', "m", "c"),
            (b'{"detail": "m"}', "m", "not_found"),
            (
                b'{"detail": [{"loc": ["body", "file"], "msg": "m"}]}',
                "body.file: m",
                "not_found",
            ),
            (b'{"code": 20012, "message": "m", "data": null}', "m", "20012"),
            (b'{"title": "t", "detail": "m"}', "m", "not_found"),
            (b'"m"', "m", "not_found"),
            (b"<html>", "The provider answered 404.", "not_found"),
            (b"[1]", "The provider answered 404.", "not_found"),
            (b"", "The provider answered 404.", "not_found"),
            (b"x" * 100_000, "The provider answered 404.", "not_found"),
        ],
    )
    def test_every_shape(self, body: bytes, message: str, code: str) -> None:
        answer = failure(Response(404, body))
        assert answer.status == 404
        error = answer.body["error"]
        assert (error["message"], error["code"]) == (message, code)
        assert set(error) == {"message", "type", "param", "code"}

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(400, "invalid_request_error"), (429, "rate_limit_error"), (503, "server_error")],
    )
    def test_types(self, status: int, kind: str) -> None:
        assert failure(Response(status, b"{}")).body["error"]["type"] == kind

    def test_another_status(self) -> None:
        answer = failure(Response(403, b"{}"), status=404, code="not_found")
        assert (answer.status, answer.body["error"]["code"]) == (404, "not_found")

    def test_a_success_is_none(self) -> None:
        response = Response(201, b"")
        assert succeeded(response) is response
        with pytest.raises(Refusal) as refusal:
            succeeded(Response(409, b'{"message": "there"}'))
        assert refusal.value.answer.status == 409

    def test_a_redirect_is_no_answer(self) -> None:
        with pytest.raises(UpstreamError, match="redirect"):
            succeeded(Response(302, b""))


def objects(count: int) -> list[dict[str, Any]]:
    return [
        file_object(
            id=f"f{number}",
            size=1,
            created_at=number,
            filename="a",
            purpose="batch" if number % 2 else "evals",
        )
        for number in range(count)
    ]


def run(query: ListQuery, *, order: str | None, count: int = 25, size: int = 4) -> Any:
    """Return the page, and how many of the provider's pages it took."""
    files = objects(count)
    if order == "desc":
        files.reverse()
    asked = 0

    def fetch(cursor: Any) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
        nonlocal asked
        asked += 1
        yield UpstreamRequest(method="GET", url="", headers=Headers())
        start = cursor or 0
        more = start + size < len(files)
        end = start + size
        return Page(files[start:end], end if more else None, Response(200, b""))

    conversation = walk(fetch, query, order=order)
    try:
        next(conversation)
        while True:
            conversation.send(Response(200, b""))
    except StopIteration as stop:
        return stop.value.body, asked


@pytest.mark.parametrize("own", ["asc", "desc", None])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("purpose", [None, "batch"])
@pytest.mark.parametrize("limit", [1, 3, 4, 5, 12, 13, 25, 100])
def test_walking_finds_each_file_once(
    own: str | None, order: str, purpose: str | None, limit: int
) -> None:
    got: list[str] = []
    after = None
    while True:
        body, _ = run(ListQuery(limit, order, after, purpose), order=own)
        ids = [file["id"] for file in body["data"]]
        assert (body["first_id"], body["last_id"]) == ((ids or [None])[0], (ids or [None])[-1])
        assert len(ids) == limit or not body["has_more"]
        got += ids
        if not body["has_more"]:
            break
        after = body["last_id"]
    expected = [f["id"] for f in objects(25) if purpose in {None, f["purpose"]}]
    assert got == (expected if order == "asc" else expected[::-1])


def test_a_page_in_order_takes_no_more_than_it_needs() -> None:
    assert run(ListQuery(4, "desc"), order="desc")[1] == 2
    assert run(ListQuery(3, "desc"), order="desc")[1] == 1
    assert run(ListQuery(4, "asc"), order="desc")[1] == 7


@pytest.mark.parametrize("own", ["asc", None])
def test_an_unknown_cursor(own: str | None) -> None:
    with pytest.raises(InvalidRequest, match="after"):
        run(ListQuery(4, "asc", "f99"), order=own)


def test_an_endless_list() -> None:
    with pytest.raises(InvalidRequest, match="too many files"):
        run(ListQuery(4, "asc"), order=None, count=MAX_PAGES + 1, size=1)


class TestAccept:
    """What an upload's form becomes in a provider's terms."""

    def form(self, *pairs: tuple[str, str], trailing: Any = ()) -> UploadForm:
        fields = tuple(FormField(name, value.encode()) for name, value in pairs)
        body = SpooledFile([b"x"], Settings())
        return UploadForm(fields, FilePart("a", "text/plain", (), body), trailing)

    def accept(self, capabilities: Capabilities, form: UploadForm) -> dict[str, str]:
        provider = Provider()
        provider.capabilities = capabilities
        accepted = provider.accept(Target("acme"), form)
        return {
            field.name: field.value.decode() for field in (*accepted.fields, *accepted.trailing)
        }

    def test_a_purpose_that_is_none_of_the_providers(self) -> None:
        capabilities = Capabilities(purposes=("batch", "fine-tune"))
        with pytest.raises(InvalidRequest, match="one of: batch, fine-tune") as raised:
            self.accept(capabilities, self.form(("purpose", "evals")))
        assert (raised.value.param, raised.value.code) == ("purpose", "unsupported_purpose")

    def test_the_providers_own_word(self) -> None:
        capabilities = Capabilities(aliases={"batch": "batch-api"})
        assert self.accept(capabilities, self.form(("purpose", "batch"), ("a", "b"))) == {
            "purpose": "batch-api",
            "a": "b",
        }
        assert capabilities.common_purpose("batch-api") == "batch"
        assert capabilities.common_purpose("other") == "other"

    @pytest.mark.parametrize(
        "pairs",
        [
            [("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "7200")],
            [("expires_after[seconds]", "7200")],
            [("expires_after", "7200")],
            [("expires_after", '{"anchor": "created_at", "seconds": 7200}')],
            [("expires_after.anchor", "created_at"), ("expires_after.seconds", "7200")],
        ],
    )
    def test_expiry_in_the_providers_field(self, pairs: list[tuple[str, str]]) -> None:
        capabilities = Capabilities(expiry=Expiry(field="expiry", unit=3600))
        form = self.form(("purpose", "batch"), *pairs)
        assert self.accept(capabilities, form) == {"purpose": "batch", "expiry": "2"}

    @pytest.mark.parametrize(
        "pairs",
        [
            [("expires_after[seconds]", "3599")],
            [("expires_after[seconds]", "2592001")],
            [("expires_after[seconds]", "5000")],  # No whole hours.
            [("expires_after[seconds]", "soon")],
            [("expires_after[seconds]", "7200"), ("expires_after[anchor]", "last_active_at")],
            [("expires_after[anchor]", "created_at")],
            [("expires_after[minutes]", "120")],
            [("expires_after", "{")],
        ],
    )
    def test_no_time(self, pairs: list[tuple[str, str]]) -> None:
        capabilities = Capabilities(expiry=Expiry(field="expiry", unit=3600))
        with pytest.raises(InvalidRequest) as raised:
            self.accept(capabilities, self.form(("purpose", "batch"), *pairs))
        assert raised.value.code == "invalid_expires_after"

    @pytest.mark.parametrize("name", ["expires_after", "expires_after[seconds]"])
    def test_never_dropped(self, name: str) -> None:
        form = self.form(("purpose", "batch"), (name, "7200"))
        with pytest.raises(InvalidRequest) as raised:
            self.accept(Capabilities(), form)
        assert raised.value.code == "unsupported_expires_after"
        late = self.form(("purpose", "batch"), trailing=[FormField(name, b"7200")])
        for capabilities, code in (
            (Capabilities(), "unsupported_expires_after"),
            (Capabilities(expiry=Expiry(field="expiry")), "expires_after_too_late"),
        ):
            with pytest.raises(InvalidRequest) as raised:
                self.accept(capabilities, late)
            assert raised.value.code == code


def test_an_operation_that_the_provider_lacks() -> None:
    provider = Provider()
    provider.capabilities = Capabilities(operations=frozenset({Operation.UPLOAD}))
    call = FilesCall(operation=Operation.LIST)
    with pytest.raises(InvalidRequest, match="no list operation for files; it has: upload"):
        provider.check(call, Target("acme"))
