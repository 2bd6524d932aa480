"""Google's dialect in front of its stand-in, with OpenAI's own client."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request, Response

from flask_portkey_files import Target
from flask_portkey_files.call import FilesCall, Operation
from flask_portkey_files.errors import UpstreamError
from flask_portkey_files.providers.google import Google
from flask_portkey_files.providers.shape import Refusal
from tests.standins.base import Standin
from tests.standins.google import KEPT_FOR, GoogleStandin

from .gateway import Gateway
from .raw import END, file, part, post

REPORT = ("report.txt", b"What was found", "text/plain")


@pytest.fixture
def standin() -> Iterator[GoogleStandin]:
    with GoogleStandin() as standin:
        yield standin


@pytest.fixture
def gateway(standin: GoogleStandin) -> Iterator[Gateway]:
    with Gateway({"google": Google(standin.url)}) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway, standin: GoogleStandin) -> Iterator[OpenAI]:
    with gateway.client("google", standin.key) as client:
        yield client


class TestUpload:
    def test_stores_the_file(self, client: OpenAI, standin: GoogleStandin) -> None:
        created = client.files.create(file=REPORT, purpose="assistants")
        stored = standin.files[created.id]
        assert b"".join(stored.blocks()) == REPORT[1]
        assert (stored.filename, stored.extra["mimeType"]) == ("report.txt", "text/plain")
        assert (created.object, created.bytes, created.filename) == ("file", 14, "report.txt")
        assert (created.purpose, created.status) == ("user_data", "processed")
        assert created.created_at == stored.created_at
        assert created.expires_at == stored.created_at + KEPT_FOR
        extra = created.model_extra or {}
        assert extra["uri"] == f"{standin.url}/v1beta/files/{created.id}"
        assert (extra["mimeType"], extra["source"]) == ("text/plain", "UPLOADED")

    def test_shows_the_key_only_to_start(self, client: OpenAI, standin: GoogleStandin) -> None:
        client.files.create(file=REPORT, purpose="user_data", extra_headers={"Range": "x=1"})
        start, rest = standin.seen
        assert start.headers["x-goog-api-key"] == standin.key
        assert not {"Authorization", "x-portkey-provider"} & set(start.headers.keys())
        assert {name.lower() for name, _ in rest.headers} == {
            "host",
            "accept-encoding",
            "content-length",
            "content-type",
            "user-agent",
            "x-goog-upload-command",
            "x-goog-upload-offset",
        }
        assert rest.headers["User-Agent"] == "flask-portkey-files"

    @pytest.mark.parametrize("content", [b"", b"x" * 1_500_000])
    def test_sizes(self, client: OpenAI, standin: GoogleStandin, content: bytes) -> None:
        created = client.files.create(file=("a.bin", content), purpose="batch")
        assert created.bytes == len(content)
        assert standin.seen[1].headers["Content-Length"] == str(len(content))

    @pytest.mark.parametrize("name", ['what"is.txt', "Übersicht 数.txt"])
    def test_names(self, client: OpenAI, name: str) -> None:
        assert client.files.create(file=(name, b"x"), purpose="batch").filename == name

    def test_a_video_is_worked_on(self, client: OpenAI) -> None:
        video = ("a.mp4", b"x", "video/mp4")
        created = client.files.create(file=video, purpose="user_data")
        assert created.status == "uploaded"
        assert client.files.retrieve(created.id).status == "processed"

    def test_knows_no_expiry(self, client: OpenAI, standin: GoogleStandin) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.files.create(
                file=REPORT,
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": 3600},
            )
        assert caught.value.code == "unsupported_expires_after"
        assert not standin.seen

    @pytest.mark.parametrize("content_type", ["text", "text/plain; name=Ü", "text/a\x01"])
    def test_refuses_what_is_no_type(
        self, gateway: Gateway, standin: GoogleStandin, content_type: str
    ) -> None:
        form = part("purpose", "batch") + file(b"x", f"Content-Type: {content_type}") + END
        status, body = post(gateway, "google", standin.key, form)
        assert status == 400
        assert b"invalid_content_type" in body
        assert not standin.seen

    def test_a_large_file(self, client: OpenAI, standin: GoogleStandin) -> None:
        content = random.Random(1).randbytes(30 * 1024 * 1024 + 7)
        created = client.files.create(file=("large.bin", content), purpose="user_data")
        digest = hashlib.sha256()
        for block in standin.files[created.id].blocks():
            digest.update(block)
        assert digest.digest() == hashlib.sha256(content).digest()
        assert created.bytes == len(content)

    def test_a_client_that_breaks_off_begins_nothing(
        self, gateway: Gateway, standin: GoogleStandin
    ) -> None:
        begun = part("purpose", "batch") + file(bytes(1024 * 1024))[:-2]
        status, body = post(gateway, "google", standin.key, begun, len(begun) + 100_000)
        assert status == 400
        assert b"incomplete_body" in body
        assert not standin.seen

    @pytest.mark.parametrize(
        ("status", "error"),
        [(429, openai.RateLimitError), (500, openai.InternalServerError)],
    )
    def test_cancels_what_fails(
        self,
        client: OpenAI,
        standin: GoogleStandin,
        status: int,
        error: type[openai.APIStatusError],
    ) -> None:
        standin.fail(0)
        standin.fail(status)
        with pytest.raises(error, match=f"refused: {status}"):
            client.files.create(file=REPORT, purpose="user_data")
        [session] = standin.sessions.values()
        assert session.status == "cancelled"
        assert not standin.files

    def test_says_what_failed_if_that_can_not_be_cancelled(
        self, client: OpenAI, standin: GoogleStandin
    ) -> None:
        standin.fail(0)
        standin.fail(429)
        standin.fail(500)
        with pytest.raises(openai.RateLimitError):
            client.files.create(file=REPORT, purpose="user_data")

    def test_cancels_when_the_answer_is_none(
        self, client: OpenAI, standin: GoogleStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(standin, "receive", lambda *_: Response("{}"))
        with pytest.raises(openai.InternalServerError) as caught:
            client.files.create(file=REPORT, purpose="user_data")
        assert caught.value.status_code == 502
        [session] = standin.sessions.values()
        assert session.status == "cancelled"

    def test_starts_anew_with_each_try(self, gateway: Gateway, standin: GoogleStandin) -> None:
        standin.fail(0)
        standin.fail(503)
        with gateway.client("google", standin.key, x_portkey_retry_count="1") as client:
            client.files.create(file=REPORT, purpose="user_data")
        states = [session.status for session in standin.sessions.values()]
        assert states == ["cancelled", "final"]
        [stored] = standin.files.values()
        assert b"".join(stored.blocks()) == REPORT[1]

    @pytest.mark.parametrize(
        "address", [None, "/upload", "ftp://127.0.0.1/x", "http://user:pass@127.0.0.1/x"]
    )
    def test_goes_to_no_other_kind_of_address(
        self,
        client: OpenAI,
        standin: GoogleStandin,
        monkeypatch: pytest.MonkeyPatch,
        address: str | None,
    ) -> None:
        headers = {"X-Goog-Upload-URL": address} if address else {}
        monkeypatch.setattr(standin, "start", lambda *_: Response(headers=headers))
        with pytest.raises(openai.InternalServerError) as caught:
            client.files.create(file=REPORT, purpose="user_data")
        assert caught.value.status_code == 502
        assert "127.0.0.1" not in caught.value.message
        assert len(standin.seen) == 1


class TestList:
    @pytest.mark.parametrize("order", ["desc", "asc"])
    def test_to_the_end(self, client: OpenAI, standin: GoogleStandin, order: Any) -> None:
        ids = standin.seed(350)
        listed = [file.id for file in client.files.list(limit=60, order=order)]
        assert listed == (ids if order == "asc" else ids[::-1])

    def test_sorts(self, client: OpenAI, standin: GoogleStandin) -> None:
        """Google does not say in which order its pages are."""
        ids = standin.seed(250)
        standin.files = dict(random.Random(1).sample(sorted(standin.files.items()), 250))
        assert [file.id for file in client.files.list(limit=99)] == ids[::-1]

    @pytest.mark.parametrize("order", ["desc", "asc"])
    def test_has_more_is_exact(
        self, client: OpenAI, standin: GoogleStandin, order: Any
    ) -> None:
        ids = standin.seed(6)
        ids = ids if order == "asc" else ids[::-1]
        page = client.files.list(limit=3, after=ids[1], order=order)
        assert [file.id for file in page.data] == ids[2:5]
        assert page.has_more is True
        assert (page.model_extra or {}).get("first_id") == ids[2]
        assert (page.model_extra or {}).get("last_id") == ids[4]
        page = client.files.list(limit=3, after=ids[2], order=order)
        assert [file.id for file in page.data] == ids[3:]
        assert page.has_more is False

    def test_whole(self, client: OpenAI, standin: GoogleStandin) -> None:
        standin.seed(350)
        page = client.files.list()
        assert (len(page.data), page.has_more) == (350, False)
        assert [seen.query.get("pageSize") for seen in standin.seen] == ["100"] * 4

    def test_purpose(self, client: OpenAI, standin: GoogleStandin) -> None:
        ids = standin.seed(3)
        assert [file.id for file in client.files.list(purpose="user_data")] == ids[::-1]
        page = client.files.list(purpose="batch")
        assert (page.data, page.has_more) == ([], False)

    def test_empty(self, client: OpenAI) -> None:
        page = client.files.list()
        assert (page.data, page.has_more) == ([], False)

    def test_unknown_after(self, client: OpenAI, standin: GoogleStandin) -> None:
        standin.seed(1)
        with pytest.raises(openai.BadRequestError):
            client.files.list(after="unknown")

    def test_head(self, gateway: Gateway, client: OpenAI, standin: GoogleStandin) -> None:
        [file_id] = standin.seed(1)
        headers = {"Authorization": f"Bearer {standin.key}", "x-portkey-provider": "google"}
        for path in ("/files", f"/files/{file_id}"):
            answer = client._client.head(f"{gateway.url}/v1{path}", headers=headers)
            assert (answer.status_code, answer.content) == (200, b"")
        assert [seen.method for seen in standin.seen] == ["GET", "GET"]


class TestFile:
    def test_retrieves(self, client: OpenAI) -> None:
        created = client.files.create(file=REPORT, purpose="vision")
        assert client.files.retrieve(created.id) == created

    def test_without_a_name(self, client: OpenAI, standin: GoogleStandin) -> None:
        [file_id] = standin.seed(1, displayName=None)
        assert client.files.retrieve(file_id).filename == file_id

    def test_work_can_fail(self, client: OpenAI, standin: GoogleStandin) -> None:
        [file_id] = standin.seed(1, state="FAILED")
        file = client.files.retrieve(file_id)
        assert file.status == "error"
        assert (file.model_extra or {})["error"]["code"] == 3

    def test_deletes(self, client: OpenAI, standin: GoogleStandin) -> None:
        [file_id] = standin.seed(1)
        deleted = client.files.delete(file_id)
        assert (deleted.id, deleted.object, deleted.deleted) == (file_id, "file", True)
        assert not standin.files

    def test_downloads_what_was_generated(self, client: OpenAI, standin: GoogleStandin) -> None:
        [file_id] = standin.seed(1, source="GENERATED", mimeType="video/mp4")
        content = client.files.content(file_id)
        assert content.read() == b"file 1"
        assert content.response.headers["Content-Type"] == "video/mp4"

    def test_an_upload_has_no_content(self, client: OpenAI, standin: GoogleStandin) -> None:
        [file_id] = standin.seed(1)
        with pytest.raises(openai.BadRequestError, match="Only generated files"):
            client.files.content(file_id)

    @pytest.mark.parametrize("operation", ["retrieve", "content", "delete"])
    def test_unknown(self, client: OpenAI, operation: str) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            getattr(client.files, operation)("unknown")
        assert (caught.value.code, caught.value.type) == ("not_found", "invalid_request_error")

    @pytest.mark.parametrize("operation", ["retrieve", "content", "delete"])
    @pytest.mark.parametrize("file_id", ["standin000001:download", ":x"])
    def test_no_id(
        self, client: OpenAI, standin: GoogleStandin, operation: str, file_id: str
    ) -> None:
        standin.seed(1)
        with pytest.raises(openai.BadRequestError) as caught:
            getattr(client.files, operation)(file_id)
        assert caught.value.code == "invalid_file_id"
        assert not standin.seen


class Elsewhere(Standin):
    """Holds what a download is redirected to."""

    def answer(self, request: Request) -> Response:
        return Response(b"elsewhere", mimetype="video/mp4")


class TestRedirects:
    @pytest.fixture
    def generated(self, standin: GoogleStandin) -> str:
        [file_id] = standin.seed(1, source="GENERATED")
        return file_id

    def test_to_google_itself(
        self,
        client: OpenAI,
        standin: GoogleStandin,
        generated: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        answers = [_redirect("/v1beta/download?x=1"), Response(b"moved")]
        monkeypatch.setattr(standin, "answer", lambda _: answers.pop(0))
        assert client.files.content(generated).read() == b"moved"
        assert standin.seen[1].path == "/v1beta/download"
        assert standin.seen[1].headers["x-goog-api-key"] == standin.key

    def test_elsewhere_without_the_key(
        self,
        client: OpenAI,
        standin: GoogleStandin,
        generated: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with Elsewhere() as elsewhere:
            moved = f"{elsewhere.url}/video?sig=1"
            monkeypatch.setattr(standin, "answer", lambda _: _redirect(moved))
            headers = {"If-Match": "x", "Range": "bytes=0-"}
            content = client.files.content(generated, extra_headers=headers)
            assert content.read() == b"elsewhere"
        [seen] = elsewhere.seen
        assert seen.query.to_dict() == {"sig": "1"}
        assert {name.lower() for name, _ in seen.headers} == {
            "host",
            "user-agent",
            "accept-encoding",
            "range",
        }

    @pytest.mark.parametrize("location", ["http://a:b@127.0.0.1/", "ftp://x/", "http://x:0/"])
    def test_nowhere(
        self,
        client: OpenAI,
        standin: GoogleStandin,
        generated: str,
        monkeypatch: pytest.MonkeyPatch,
        location: str,
    ) -> None:
        monkeypatch.setattr(standin, "answer", lambda _: _redirect(location))
        with pytest.raises(openai.InternalServerError) as caught:
            client.files.content(generated)
        assert caught.value.status_code == 502

    def test_in_a_circle(
        self,
        client: OpenAI,
        standin: GoogleStandin,
        generated: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(standin, "answer", lambda _: _redirect("/again"))
        with pytest.raises(openai.InternalServerError):
            client.files.content(generated)
        assert len(standin.seen) == 4


CALLS: dict[str, Callable[[Any], object]] = {
    "upload": lambda files: files.create(file=REPORT, purpose="batch"),
    "list": lambda files: files.list(),
    "filtered": lambda files: files.list(purpose="batch"),
    "retrieve": lambda files: files.retrieve("a"),
    "content": lambda files: files.content("a"),
    "delete": lambda files: files.delete("a"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
class TestFailures:
    def test_wrong_key(self, gateway: Gateway, call: Callable[[Any], object]) -> None:
        with (
            gateway.client("google", "wrong") as client,
            pytest.raises(openai.AuthenticationError, match="not valid") as caught,
        ):
            call(client.files)
        assert caught.value.code == "invalid_api_key"

    def test_no_permission(
        self,
        client: OpenAI,
        standin: GoogleStandin,
        monkeypatch: pytest.MonkeyPatch,
        call: Callable[[Any], object],
    ) -> None:
        """Not each 403 is about a file."""
        error = standin.error(403, "The API is disabled in this project.")
        monkeypatch.setattr(standin, "answer", lambda _: error)
        with pytest.raises(openai.PermissionDeniedError, match="disabled") as caught:
            call(client.files)
        assert caught.value.code == "PERMISSION_DENIED"

    @pytest.mark.parametrize(
        ("status", "error"),
        [(429, openai.RateLimitError), (503, openai.InternalServerError)],
    )
    def test_fails(
        self,
        client: OpenAI,
        standin: GoogleStandin,
        call: Callable[[Any], object],
        status: int,
        error: type[openai.APIStatusError],
    ) -> None:
        standin.fail(status)
        with pytest.raises(error, match=f"refused: {status}") as caught:
            call(client.files)
        assert caught.value.status_code == status


def test_without_a_key(gateway: Gateway, standin: GoogleStandin) -> None:
    with (
        gateway.client("google", "OPENAI_API_KEY") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.files.list()
    assert not standin.seen


@pytest.mark.parametrize("body", ["[]", '{"files": 1}', '{"files": [{}]}', "no"])
def test_an_answer_that_is_none(
    client: OpenAI, standin: GoogleStandin, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(standin, "answer", lambda _: Response(body))
    for call in (CALLS["list"], CALLS["retrieve"]):
        with pytest.raises(openai.InternalServerError) as caught:
            call(client.files)
        assert caught.value.status_code == 502


def test_a_size_that_is_none(
    client: OpenAI, standin: GoogleStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Response('{"name": "files/a", "sizeBytes": "many"}')
    monkeypatch.setattr(standin, "answer", lambda _: answer)
    file = client.files.retrieve("a")
    assert not file.bytes
    assert file.status == "uploaded"


class TestContentWithoutIO:
    """What the stand-in does not say."""

    class Empty:
        def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.status, self.headers, self._body = status, Headers(headers), body

        def read(self, most: int) -> bytes:
            body, self._body = self._body, b""
            return body

    def _ask(self, method: str = "HEAD", **headers: str) -> Any:
        call = FilesCall(
            operation=Operation.CONTENT, method=method, file_id="a", headers=Headers(headers)
        )
        return Google().content(call, Target("google", api_key="key"))

    def test_redirected_to_nothing(self) -> None:
        conversation = self._ask("GET")
        next(conversation)
        with pytest.raises(UpstreamError):
            conversation.send(self.Empty(302, Location="https://["))

    def test_never_without_tls(self) -> None:
        conversation = self._ask("GET")
        next(conversation)
        with pytest.raises(UpstreamError):
            conversation.send(self.Empty(302, Location="http://example.com/"))

    def test_not_modified(self) -> None:
        conversation = self._ask("GET", If_None_Match="x")
        next(conversation)
        with pytest.raises(StopIteration) as caught:
            conversation.send(self.Empty(304))
        assert caught.value.value.status == 304

    def test_head_of_an_unknown_file(self) -> None:
        """An error without a body does not say what is wrong."""
        conversation = self._ask()
        assert next(conversation).method == "HEAD"
        assert conversation.send(self.Empty(403)).method == "GET"
        said = b'{"error": {"message": "You ... or it may not exist."}}'
        with pytest.raises(Refusal) as caught:
            conversation.send(self.Empty(403, said))
        assert caught.value.answer.status == 404

    def test_head_of_an_upload(self) -> None:
        conversation = self._ask()
        next(conversation)
        asked = conversation.send(self.Empty(400))
        assert asked.url.endswith("/v1beta/files/a")
        with pytest.raises(Refusal) as caught:
            conversation.send(self.Empty(200))
        assert caught.value.answer.status == 400


def _redirect(location: str) -> Response:
    return Response(status=302, headers={"Location": location})
