"""The stand-in of Gemini's files is what Google's own SDK takes it for."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.standins.google import GRANULARITY, VERSIONS, GoogleStandin
from tests.support.parts import require

START = {
    "X-Goog-Upload-Protocol": "resumable",
    "X-Goog-Upload-Command": "start",
    "X-Goog-Upload-Header-Content-Type": "text/plain",
}


@pytest.fixture(scope="module")
def genai() -> Any:
    # What is asked for a part of a package that is missing altogether raises.
    found = importlib.util.find_spec("google") and importlib.util.find_spec("google.genai")
    require(found, "pip install google-genai")
    from google import genai

    return genai


@pytest.fixture
def standin() -> Iterator[GoogleStandin]:
    with GoogleStandin() as standin:
        yield standin


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, genai: Any, standin: GoogleStandin) -> Iterator[Any]:
    with _client(genai, standin, api_version=request.param) as client:
        yield client


def _client(genai: Any, standin: GoogleStandin, **options: str) -> Any:
    key = options.pop("key", standin.key)
    # Without a choice of its own, the SDK would heed this machine's environment.
    options = {"base_url": standin.url, "api_version": "v1"} | options
    return genai.Client(api_key=key, vertexai=False, http_options=options)


@pytest.fixture
def http(standin: GoogleStandin) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["x-goog-api-key"] = standin.key
        yield session


def test_uploads_and_reads_metadata(
    client: Any, standin: GoogleStandin, tmp_path: Path
) -> None:
    report = tmp_path / "report.txt"
    report.write_text("What was found")
    uploaded = client.files.upload(file=report, config={"display_name": "report.txt"})
    assert uploaded.name.startswith("files/")
    assert (uploaded.display_name, uploaded.mime_type, uploaded.size_bytes) == (
        "report.txt",
        "text/plain",
        14,
    )
    assert uploaded.state.name == "ACTIVE"
    assert uploaded.source.name == "UPLOADED"
    assert (uploaded.expiration_time - uploaded.create_time).days == 2
    assert client.files.get(name=uploaded.name) == uploaded
    stored = standin.files[uploaded.name.removeprefix("files/")]
    assert b"".join(stored.blocks()) == b"What was found"


def test_uploads_in_chunks(client: Any, standin: GoogleStandin) -> None:
    content = bytes(GRANULARITY + 5)
    config = {"mime_type": "application/octet-stream", "name": "large-one"}
    uploaded = client.files.upload(file=io.BytesIO(content), config=config)
    assert uploaded.name == "files/large-one"
    assert uploaded.size_bytes == GRANULARITY + 5
    commands = [seen.headers["X-Goog-Upload-Command"] for seen in standin.seen]
    assert commands == ["start", "upload", "upload, finalize"]
    assert getattr(standin.files["large-one"].content, "_rolled", True)


def test_uploads_nothing(client: Any) -> None:
    uploaded = client.files.upload(file=io.BytesIO(), config={"mime_type": "text/plain"})
    assert not uploaded.size_bytes


def test_a_video_is_worked_on(client: Any) -> None:
    uploaded = client.files.upload(file=io.BytesIO(b"x"), config={"mime_type": "video/mp4"})
    assert uploaded.state.name == "PROCESSING"
    assert client.files.get(name=uploaded.name).state.name == "ACTIVE"


def test_work_can_fail(client: Any, standin: GoogleStandin) -> None:
    [name] = standin.seed(1, state="FAILED")
    file = client.files.get(name=name)
    assert file.state.name == "FAILED"
    assert file.error.code == 3


def test_pages(client: Any, standin: GoogleStandin) -> None:
    names = [f"files/{name}" for name in standin.seed(2_500)]
    assert [file.name for file in client.files.list(config={"page_size": 100})] == names[::-1]
    assert len(standin.seen) == 25


def test_pages_ten_by_default(
    client: Any, http: requests.Session, standin: GoogleStandin
) -> None:
    assert http.get(f"{standin.url}/v1beta/files").json() == {}
    standin.seed(11)
    page = client.files.list()
    assert len(page.page) == 10


def test_deletes(genai: Any, client: Any, standin: GoogleStandin) -> None:
    [name] = standin.seed(1)
    client.files.delete(name=name)
    with pytest.raises(genai.errors.ClientError) as caught:
        client.files.delete(name=name)
    assert caught.value.code == 403


def test_downloads_only_what_was_generated(
    genai: Any, client: Any, standin: GoogleStandin
) -> None:
    [generated] = standin.seed(1, source="GENERATED", mimeType="video/mp4")
    assert client.files.download(file=client.files.get(name=generated)) == b"file 1"
    [uploaded] = standin.seed(1)
    with pytest.raises(genai.errors.ClientError) as caught:
        client.files.download(file=uploaded)
    assert caught.value.code == 400


def test_unknown_file(genai: Any, client: Any) -> None:
    with pytest.raises(genai.errors.ClientError) as caught:
        client.files.get(name="files/unknown")
    assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")


def test_wrong_key(genai: Any, standin: GoogleStandin) -> None:
    with (
        _client(genai, standin, key="wrong") as client,
        pytest.raises(genai.errors.ClientError) as caught,
    ):
        client.files.list()
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert requests.get(f"{standin.url}/v1beta/files").status_code == 403
    assert requests.get(f"{standin.url}/v1beta/files?key={standin.key}").status_code == 200


@pytest.mark.parametrize(("status", "name"), [(429, "ClientError"), (500, "ServerError")])
def test_fails(genai: Any, client: Any, standin: GoogleStandin, status: int, name: str) -> None:
    standin.fail(status)
    with pytest.raises(getattr(genai.errors, name)) as caught:
        client.files.list()
    assert caught.value.code == status
    client.files.list()


@pytest.mark.parametrize(
    "query", ["pageSize=101", "pageSize=x", "pageToken=x", "limit=5", "purpose=batch"]
)
def test_refuses_parameters(http: requests.Session, standin: GoogleStandin, query: str) -> None:
    assert http.get(f"{standin.url}/v1beta/files?{query}").status_code == 400


def test_methods_and_paths(http: requests.Session, standin: GoogleStandin) -> None:
    assert http.put(f"{standin.url}/v1beta/files").status_code == 405
    assert http.get(f"{standin.url}/v1alpha/files").status_code == 404
    assert http.get(f"{standin.url}/v1beta/files/a/content").status_code == 404


class TestResumable:
    """What the SDK never does wrong."""

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ({"X-Goog-Upload-Protocol": "raw"}, {}),
            ({"X-Goog-Upload-Command": "upload"}, {}),
            ({"X-Goog-Upload-Header-Content-Length": ""}, {}),
            ({"X-Goog-Upload-Header-Content-Type": ""}, {}),
            ({"X-Goog-Upload-Header-Content-Length": str(2 * 1024**3 + 1)}, {}),
            ({}, {"file": {"purpose": "batch"}}),
            ({}, {"file": {"name": "files/-Wrong-"}}),
        ],
    )
    def test_refuses_starts(
        self,
        http: requests.Session,
        standin: GoogleStandin,
        headers: dict[str, str],
        body: dict[str, Any],
    ) -> None:
        all_headers = START | {"X-Goog-Upload-Header-Content-Length": "4"} | headers
        url = f"{standin.url}/upload/v1beta/files"
        assert http.post(url, headers=all_headers, json=body).status_code == 400

    def test_refuses_a_name_twice(self, http: requests.Session, standin: GoogleStandin) -> None:
        [name] = standin.seed(1)
        answer = _start(http, standin, 4, {"file": {"name": f"files/{name}"}})
        assert answer.status_code == 409

    def test_asks_for_the_key_to_start_only(
        self, http: requests.Session, standin: GoogleStandin
    ) -> None:
        url = f"{standin.url}/upload/v1beta/files"
        assert requests.post(url, headers=START).status_code == 403
        upload_url = _start(http, standin, 4).headers["X-Goog-Upload-URL"]
        answer = requests.post(upload_url, b"1234", headers=_chunk("upload, finalize", 0))
        assert answer.json()["file"]["sizeBytes"] == "4"

    @pytest.mark.parametrize(
        ("commands", "offset"), [("upload, finalize", 3), ("push", 0), ("", 0)]
    )
    def test_refuses_offsets_and_commands(
        self, http: requests.Session, standin: GoogleStandin, commands: str, offset: int
    ) -> None:
        upload_url = _start(http, standin, 4).headers["X-Goog-Upload-URL"]
        answer = http.post(upload_url, b"1234", headers=_chunk(commands, offset))
        assert answer.status_code == 400
        assert answer.headers["X-Goog-Upload-Status"] == "active"
        assert http.post(upload_url, b"1234", headers=_chunk("upload, finalize", 0)).ok

    @pytest.mark.parametrize(
        ("commands", "content"),
        [("upload, finalize", b"123"), ("upload, finalize", b"12345"), ("upload", b"12")],
    )
    def test_refuses_lengths(
        self, http: requests.Session, standin: GoogleStandin, commands: str, content: bytes
    ) -> None:
        upload_url = _start(http, standin, 4).headers["X-Goog-Upload-URL"]
        answer = http.post(upload_url, content, headers=_chunk(commands, 0))
        assert answer.status_code == 400
        assert not standin.files

    def test_queries_and_cancels(self, http: requests.Session, standin: GoogleStandin) -> None:
        length = GRANULARITY + 1
        upload_url = _start(http, standin, length).headers["X-Goog-Upload-URL"]
        assert http.post(upload_url, bytes(GRANULARITY), headers=_chunk("upload", 0)).ok
        answer = http.post(upload_url, headers={"X-Goog-Upload-Command": "query"})
        assert answer.headers["X-Goog-Upload-Size-Received"] == str(GRANULARITY)
        answer = http.post(upload_url, headers={"X-Goog-Upload-Command": "cancel"})
        assert answer.headers["X-Goog-Upload-Status"] == "cancelled"
        answer = http.post(upload_url, b"1", headers=_chunk("upload, finalize", GRANULARITY))
        assert answer.status_code == 400

    def test_finalizes_apart(self, http: requests.Session, standin: GoogleStandin) -> None:
        upload_url = _start(http, standin, GRANULARITY).headers["X-Goog-Upload-URL"]
        assert http.post(upload_url, bytes(GRANULARITY), headers=_chunk("upload", 0)).ok
        answer = http.post(upload_url, headers={"X-Goog-Upload-Command": "finalize"})
        assert answer.json()["file"]["sizeBytes"] == str(GRANULARITY)

    def test_unknown_upload(self, http: requests.Session, standin: GoogleStandin) -> None:
        url = f"{standin.url}/upload/v1beta/files?upload_id=unknown"
        assert http.post(url, b"1", headers=_chunk("upload", 0)).status_code == 404


def _start(
    http: requests.Session,
    standin: GoogleStandin,
    length: int,
    body: dict[str, Any] | None = None,
) -> requests.Response:
    headers = START | {"X-Goog-Upload-Header-Content-Length": str(length)}
    return http.post(f"{standin.url}/upload/v1beta/files", headers=headers, json=body or {})


def _chunk(commands: str, offset: int) -> dict[str, str]:
    return {"X-Goog-Upload-Command": commands, "X-Goog-Upload-Offset": str(offset)}
