"""The table of the services that copy OpenAI's API, with OpenAI's own client."""

from __future__ import annotations

import hashlib
import io
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import requests
from werkzeug.wrappers import Response

from flask_portkey_files.call import Operation
from flask_portkey_files.providers.services import SERVICES
from tests.standins.base import json_response
from tests.standins.services import SERVICES as STANDINS

from .services import DIALECTS, Behind, behind

Call = Callable[[], Any]

LINES = b'{"custom_id": "request-1"}\n'
SHAPE = {"id", "object", "bytes", "created_at", "filename", "purpose", "status"}

WITH_CONTENT = [
    slug for slug, dialect in DIALECTS.items() if slug not in {"siliconflow", "openrouter"}
]
WITH_DELETE = [slug for slug in DIALECTS if slug != "siliconflow"]


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Behind]:
    with behind(request.param) as service:
        yield service


def services(*slugs: str) -> pytest.MarkDecorator:
    """Run a test on each of these services, on all if none is named."""
    return pytest.mark.parametrize("service", slugs or sorted(DIALECTS), indirect=True)


def upload(service: Behind, content: Any = LINES, purpose: str = "", **fields: Any) -> Any:
    return service.files.create(
        file=("data.jsonl", content), purpose=purpose or service.purpose, **fields
    )


def ids(page: Any) -> list[str]:
    return [file.id for file in page]


def test_each_row_has_a_stand_in_and_each_stand_in_a_row() -> None:
    assert sorted(DIALECTS) == sorted(STANDINS)
    assert set(SERVICES) < set(DIALECTS)


@services()
class TestFile:
    def test_upload(self, service: Behind) -> None:
        created = upload(service)
        stored = service.standin.files[created.id]
        assert b"".join(stored.blocks()) == LINES
        assert stored.extra["form"].order == ["purpose", "file"]
        assert created.to_dict().keys() >= SHAPE
        assert (created.object, created.status) == ("file", "processed")
        assert (created.bytes, created.filename) == (len(LINES), "data.jsonl")
        assert created.created_at == stored.created_at
        assert abs(created.created_at - time.time()) < 60

    def test_retrieve(self, service: Behind) -> None:
        created = upload(service)
        retrieved = service.files.retrieve(created.id)
        assert retrieved.to_dict().keys() >= SHAPE
        assert (retrieved.id, retrieved.object) == (created.id, "file")
        assert retrieved.status == "processed"
        assert retrieved.created_at == created.created_at

    def test_head(self, service: Behind) -> None:
        created = upload(service)
        url = f"{service.gateway.url}/v1/files"
        key = {"Authorization": f"Bearer {service.standin.key}"}
        for address in (url, f"{url}/{created.id}"):
            answer = requests.head(address, headers=key, timeout=5)
            assert (answer.status_code, answer.content) == (200, b"")

    def test_an_unknown_file(self, service: Behind) -> None:
        has = service.dialect.capabilities.operations
        calls = {
            Operation.RETRIEVE: service.files.retrieve,
            Operation.CONTENT: service.files.content,
            Operation.DELETE: service.files.delete,
        }
        for operation, call in calls.items():
            if operation in has:
                with pytest.raises(openai.NotFoundError) as caught:
                    call("file-none")
                assert caught.value.body["message"]  # type: ignore[index]

    def test_operations_that_there_are_not(self, service: Behind) -> None:
        has = service.dialect.capabilities.operations
        for operation in {Operation.CONTENT, Operation.DELETE} - has:
            with pytest.raises(openai.InternalServerError) as caught:
                getattr(service.files, str(operation))("file-1")
            assert caught.value.status_code == 501
        assert service.standin.seen == []


@services()
class TestErrors:
    def test_a_wrong_key(self, service: Behind) -> None:
        with service.gateway.client(service.slug, "wrong") as client:
            calls: list[Call] = [
                client.files.list,
                lambda: client.files.retrieve("file-1"),
                lambda: client.files.create(file=("a.jsonl", LINES), purpose="batch"),
            ]
            for call in calls:
                with pytest.raises(openai.AuthenticationError) as caught:
                    call()
                assert caught.value.body["message"]  # type: ignore[index]

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(429, openai.RateLimitError), (500, openai.InternalServerError)],
    )
    def test_the_services_own(self, service: Behind, status: int, kind: type) -> None:
        calls: list[Call] = [
            service.files.list,
            lambda: service.files.retrieve("file-1"),
            lambda: upload(service),
        ]
        for call in calls:
            service.standin.fail(status)
            with pytest.raises(kind) as caught:
                call()
            assert caught.value.body["message"]  # type: ignore[attr-defined]
            assert caught.value.body["type"]  # type: ignore[attr-defined]

    def test_a_purpose_that_is_not_taken(self, service: Behind) -> None:
        if service.dialect.capabilities.purposes is None:
            upload(service, purpose="vision")
        else:
            with pytest.raises(openai.BadRequestError, match="purpose"):
                upload(service, purpose="vision")
            assert service.standin.seen == []

    def test_when_a_file_expires(self, service: Behind) -> None:
        expires: Any = {"anchor": "created_at", "seconds": 7200}
        if service.dialect.capabilities.expiry is None:
            with pytest.raises(openai.BadRequestError, match="expires_after"):
                upload(service, expires_after=expires)
            assert service.standin.seen == []
        else:
            created = upload(service, expires_after=expires)
            assert created.expires_at == created.created_at + 7200


class TestList:
    @services()
    @pytest.mark.parametrize("order", ["asc", "desc"])
    def test_all_pages(self, service: Behind, order: str) -> None:
        seeded = service.standin.seed(7)
        expected = seeded if order == "asc" else seeded[::-1]
        assert ids(service.files.list(order=order, limit=2)) == expected
        assert ids(service.files.list(order=order)) == expected

    @services("cerebras", "mistral-ai", "x-ai", "zhipu")
    @pytest.mark.parametrize("order", ["asc", "desc"])
    def test_more_than_three_of_the_services_pages(self, service: Behind, order: str) -> None:
        seeded = service.standin.seed(350)
        expected = seeded if order == "asc" else seeded[::-1]
        page = service.files.list(order=order)
        assert [file.id for file in page.data] == expected
        assert page.has_more is False
        page = service.files.list(order=order, limit=300, after=expected[9])
        assert [file.id for file in page.data] == expected[10:310]
        assert page.has_more is True

    @services()
    def test_is_the_newest_first(self, service: Behind) -> None:
        seeded = service.standin.seed(3)
        assert ids(service.files.list()) == seeded[::-1]

    @services()
    @pytest.mark.parametrize("order", ["asc", "desc"])
    def test_says_whether_there_is_more(self, service: Behind, order: str) -> None:
        seeded = service.standin.seed(3)
        expected = seeded if order == "asc" else seeded[::-1]
        for limit, more in ((2, True), (3, False), (4, False)):
            page = service.files.list(order=order, limit=limit)
            assert page.has_more is more
            assert page.model_extra == {
                "object": "list",
                "first_id": expected[0],
                "last_id": expected[:limit][-1],
            }
        rest = service.files.list(order=order, after=expected[1])
        assert ids(rest) == expected[2:]
        assert rest.has_more is False

    @services()
    def test_is_empty(self, service: Behind) -> None:
        page = service.files.list()
        assert (page.data, page.has_more, page.object) == ([], False, "list")

    @services()
    def test_shapes_its_files(self, service: Behind) -> None:
        created = upload(service)
        (listed,) = service.files.list()
        assert listed.to_dict().keys() >= SHAPE
        assert (listed.object, listed.status) == ("file", "processed")
        assert (listed.id, listed.created_at) == (created.id, created.created_at)

    @services(*sorted(set(DIALECTS) - {"openrouter", "x-ai"}))
    def test_of_one_purpose(self, service: Behind) -> None:
        purposes = service.standin.purposes[:2]
        seeded = {purpose: service.standin.seed(3, purpose=purpose) for purpose in purposes}
        for purpose in purposes:
            page = service.files.list(purpose=purpose, order="asc", limit=2)
            assert page.has_more is True
            assert ids(page) == seeded[purpose]

    @services()
    def test_an_after_that_is_no_file(self, service: Behind) -> None:
        service.standin.seed(2)
        for order in ("asc", "desc"):
            # Nebius' 422 is the service's own.
            with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError)):
                service.files.list(after="file-none", order=order)

    @services()
    def test_a_query_that_is_none(self, service: Behind) -> None:
        if service.slug in {"deepinfra", "kluster-ai"}:
            return  # They judge it themselves.
        for query in ({"limit": 0}, {"limit": 10_001}, {"order": "up"}):
            with pytest.raises(openai.BadRequestError):
                service.files.list(extra_query=query)
        assert service.standin.seen == []


class TestContent:
    @services(*WITH_CONTENT)
    def test_of_a_batch(self, service: Behind) -> None:
        created = upload(service, purpose="batch")
        assert service.files.content(created.id).read() == LINES

    @services("zhipu", "z-ai", "moonshot")
    def test_of_what_has_none(self, service: Behind) -> None:
        purpose = {"moonshot": "image"}.get(service.slug, "agent")
        created = upload(service, purpose=purpose)
        with pytest.raises(openai.BadRequestError):
            service.files.content(created.id)

    @services("groq", "mistral-ai")
    def test_that_the_client_has(
        self, service: Behind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        created = upload(service, purpose="batch")
        unchanged = Response(status=304, headers={"ETag": '"tag"'})
        monkeypatch.setattr(service.standin, "content", lambda stored: unchanged)
        url = f"{service.gateway.url}/v1/files/{created.id}/content"
        headers = {
            "Authorization": f"Bearer {service.standin.key}",
            "If-None-Match": '"tag"',
        }
        answer = requests.get(url, headers=headers, timeout=5)
        assert (answer.status_code, answer.headers["ETag"]) == (304, '"tag"')
        assert service.standin.seen[-1].headers["If-None-Match"] == '"tag"'

    @services(*WITH_DELETE)
    def test_is_gone_once_it_is_deleted(self, service: Behind) -> None:
        created = upload(service)
        deleted = service.files.delete(created.id)
        assert deleted.to_dict().keys() >= {"id", "object", "deleted"}
        assert (deleted.id, deleted.object, deleted.deleted) == (created.id, "file", True)
        assert service.standin.files == {}


@services()
class TestStreaming:
    def test_a_large_file(self, service: Behind) -> None:
        content = random.Random(1).randbytes(1024 * 1024) * 30
        created = upload(service, io.BytesIO(content))
        digest = hashlib.sha256()
        for block in service.standin.files[created.id].blocks():
            digest.update(block)
        assert digest.digest() == hashlib.sha256(content).digest()
        # As it came in: with its length it would have been spooled.
        (seen,) = service.standin.seen
        assert seen.headers["Transfer-Encoding"] == "chunked"
        assert created.bytes == len(content)

    def test_an_upload_that_is_broken_off(self, service: Behind) -> None:
        head = (
            "POST /v1/files HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
            f"Authorization: Bearer {service.standin.key}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n"
            "--b\r\nContent-Disposition: form-data; name=purpose\r\n\r\n"
            f"{service.purpose}\r\n"
            '--b\r\nContent-Disposition: form-data; name=file; filename="a.jsonl"\r\n\r\n'
        )
        with socket.create_connection(("127.0.0.1", service.gateway.port)) as connection:
            connection.sendall(head.encode() + b"x" * 2_000_000)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        assert service.standin.files == {}


class TestMoonshot:
    @services("moonshot")
    def test_status(self, service: Behind) -> None:
        assert service.standin.status == "ok"
        assert upload(service).status == "processed"

    @services("moonshot")
    def test_the_content_is_what_was_read(self, service: Behind) -> None:
        created = upload(service, b"a text", purpose="file-extract")
        assert service.files.content(created.id).json()["content"] == "a text"


class TestDashScope:
    @services("dashscope")
    def test_content_that_is_refused(
        self, service: Behind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        created = upload(service)

        def content(stored: Any) -> Any:
            return service.standin.error(400)

        monkeypatch.setattr(service.standin, "content", content)
        with pytest.raises(openai.BadRequestError, match="refused: 400"):
            service.files.content(created.id)
        with pytest.raises(openai.NotFoundError):
            service.files.content("file-none")

    @services("dashscope")
    def test_its_answers_come_untouched(self, service: Behind) -> None:
        created = upload(service)
        raw = service.files.with_raw_response.retrieve(created.id).text
        assert raw.startswith('{"id": "')
        assert "status_details" in raw
        service.standin.fail(429)
        with pytest.raises(openai.RateLimitError) as caught:
            service.files.retrieve(created.id)
        assert caught.value.response.json()["request_id"] == "standin-request"

    @services("dashscope")
    def test_further_parameters(self, service: Behind) -> None:
        service.files.list(extra_query={"create_after": "20260101"}, limit=1)
        (seen,) = service.standin.seen
        assert seen.query.to_dict() == {"create_after": "20260101", "limit": "2000"}


class TestZhipu:
    @services("zhipu")
    def test_files_of_all_purposes(self, service: Behind) -> None:
        seeded = []
        for purpose in service.standin.purposes * 2:
            seeded += service.standin.seed(1, purpose=purpose)
        assert ids(service.files.list(limit=3)) == seeded[::-1]
        assert service.files.retrieve(seeded[3]).purpose == service.standin.purposes[3]

    @services("zhipu")
    def test_a_purpose_that_is_not_listed(
        self, service: Behind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(type(service.standin), "purposes", ("agent", "batch"))
        seeded = [*service.standin.seed(2), *service.standin.seed(2, purpose="batch")]
        assert ids(service.files.list()) == seeded[::-1]
        with pytest.raises(openai.BadRequestError):
            service.files.list(purpose="retrieval")
        monkeypatch.setattr(type(service.standin), "purposes", ("other",))
        with pytest.raises(openai.BadRequestError):
            service.files.list()


class TestRequests:
    """No more is asked for than is needed."""

    @services("cerebras")
    def test_a_page_in_the_services_order(self, service: Behind) -> None:
        seeded = service.standin.seed(5)
        page = service.files.list(order="asc", limit=2, after=seeded[0], purpose="batch")
        assert [file.id for file in page.data] == seeded[1:3]
        (seen,) = service.standin.seen
        expected = {"purpose": "batch", "limit": "3", "after": seeded[0]}
        assert seen.query.to_dict() == expected

    @services("nebius")
    def test_a_list_that_has_but_one_page(self, service: Behind) -> None:
        seeded = service.standin.seed(25)
        assert ids(service.files.list(limit=10)) == seeded[::-1]
        assert {seen.query["limit"] for seen in service.standin.seen} == {"10000"}

    @services("groq", "novita-ai")
    def test_a_list_without_parameters(self, service: Behind) -> None:
        service.files.list(limit=1, order="asc", purpose="batch")
        (seen,) = service.standin.seen
        assert not seen.query

    @services("deepinfra", "kluster-ai")
    def test_openais_own_parameters(self, service: Behind) -> None:
        service.files.list(limit=1, order="asc", purpose="batch")
        (seen,) = service.standin.seen
        assert seen.query.to_dict() == {"limit": "1", "order": "asc", "purpose": "batch"}

    @services("groq")
    def test_no_header_that_changes_what_is_read(self, service: Behind) -> None:
        headers = {"If-None-Match": '"tag"', "Range": "bytes=0-1", "Accept-Encoding": "br"}
        service.files.list(extra_headers=headers)
        (seen,) = service.standin.seen
        assert seen.headers["Accept-Encoding"] == "identity"
        assert not {"If-None-Match", "Range"} & set(seen.headers.keys())


@services("novita-ai")
def test_an_answer_that_is_none(service: Behind, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[Any] = [[], {"data": None}, {"data": ["file"]}, {"code": 20012}]
    for body in bodies:
        monkeypatch.setattr(service.standin, "answer", lambda _, b=body: json_response(b))
        for call in (service.files.list, lambda: service.files.retrieve("file-1")):
            with pytest.raises(openai.InternalServerError) as caught:
                call()
            assert caught.value.status_code == 502
