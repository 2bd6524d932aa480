from __future__ import annotations

import io
import os
import re
from typing import IO, TYPE_CHECKING, Any, cast

import pytest
from urllib3.filepost import encode_multipart_formdata

from flask_portkey_files.testing.server import (
    MAX_PARTS,
    UPLOAD_PURPOSES,
    UploadForm,
    create_store_app,
)
from flask_portkey_files.testing.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

BOUNDARY = "frontier"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


@pytest.fixture
def client(store: FileStore) -> Iterator[FlaskClient]:
    with create_store_app(store).test_client() as client:
        yield client


def upload(
    client: FlaskClient,
    content: bytes = b"hello",
    name: str = "a.txt",
    **fields: Any,
) -> TestResponse:
    data = {"purpose": "user_data", "file": (name, content), **fields}
    # Not the test client's own encoder: that leaves the empty line out of an empty part.
    body, content_type = encode_multipart_formdata(
        [
            (key, value)
            for key, values in data.items()
            for value in (values if isinstance(values, list) else [values])
            if value is not None
        ]
    )
    return client.post("/v1/files", data=body, content_type=content_type)


def form_body(content: bytes = b"hello", disposition: str = 'filename="a.txt"') -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; {disposition}\r\n\r\n'
    )
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def assert_error(
    response: TestResponse, status: int, param: str | None = None, match: str = ""
) -> dict[str, Any]:
    assert response.status_code == status
    assert response.content_type == "application/json"
    assert set(response.get_json()) == {"error"}
    error: dict[str, Any] = response.get_json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert error["param"] == param
    assert re.search(match, error["message"])
    assert response.headers["x-request-id"]
    return error


def assert_empty(store: FileStore) -> None:
    assert store.list().files == ()
    assert list((store.data_dir / "incoming").iterdir()) == []
    assert list((store.data_dir / "blobs").iterdir()) == []


def test_upload_retrieve_delete(client: FlaskClient, store: FileStore) -> None:
    created = upload(client, b"12345", "naïve 文.txt")
    assert created.status_code == 200
    file = created.get_json()
    assert file["object"] == "file"
    assert file["bytes"] == 5
    assert file["filename"] == "naïve 文.txt"
    assert file["purpose"] == "user_data"
    assert file["status"] == "processed"
    assert file["expires_at"] is None
    assert client.get(f"/v1/files/{file['id']}").get_json() == file
    deleted = client.delete(f"/v1/files/{file['id']}")
    assert deleted.get_json() == {"id": file["id"], "object": "file", "deleted": True}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        response = client.open(f"/v1/files/{file['id']}{path}", method=method)
        error = assert_error(response, 404, "id")
        assert error["message"] == f"No such File object: {file['id']}"
    assert_empty(store)


def test_every_answer_has_its_own_request_id(client: FlaskClient) -> None:
    ids = {client.get("/v1/files").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("purpose", UPLOAD_PURPOSES)
def test_purposes(client: FlaskClient, purpose: str) -> None:
    assert upload(client, purpose=purpose).get_json()["purpose"] == purpose


@pytest.mark.parametrize(
    ("fields", "param", "match"),
    [
        ({"purpose": None}, "purpose", "Missing required"),
        ({"purpose": ""}, "purpose", "Missing required"),
        ({"purpose": "assistants_output"}, "purpose", "Invalid value: 'assistants_output'"),
        ({"file": None}, "file", "Missing required"),
        ({"file": "text, not a file"}, "file", "Missing required"),
        ({"expires_after[seconds]": "3600"}, "expires_after[anchor]", "Missing"),
        ({"expires_after[anchor]": "created_at"}, "expires_after[seconds]", "Missing"),
        (
            {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "expires_after[anchor]",
            "'created_at'",
        ),
        *(
            (
                {"expires_after[anchor]": "created_at", "expires_after[seconds]": seconds},
                "expires_after[seconds]",
                match,
            )
            for seconds, match in (
                ("3599", ">= 3600"),
                ("2592001", "<= 2592000"),
                ("-1", ">= 3600"),
                ("4_000", "expected an integer"),
                ("9" * 5000, "expected an integer"),
                ("", "expected an integer"),
            )
        ),
    ],
)
def test_refused_uploads(
    client: FlaskClient, store: FileStore, fields: dict[str, Any], param: str, match: str
) -> None:
    assert_error(upload(client, **fields), 400, param, match)
    assert_empty(store)


def test_two_files_are_refused(client: FlaskClient, store: FileStore) -> None:
    files = [("1", b"1"), ("2", b"2")]
    assert_error(upload(client, file=files), 400, "file")
    assert_empty(store)


def test_file_parts_of_other_names_are_dropped(client: FlaskClient, store: FileStore) -> None:
    assert upload(client, other=("o", b"other")).status_code == 200
    assert list((store.data_dir / "incoming").iterdir()) == []
    assert len(list((store.data_dir / "blobs").iterdir())) == 1


@pytest.mark.parametrize("seconds", [3600, 2592000])
def test_expiry(client: FlaskClient, seconds: int) -> None:
    fields: dict[str, Any] = {
        "expires_after[anchor]": "created_at",
        "expires_after[seconds]": str(seconds),
    }
    file = upload(client, **fields).get_json()
    assert file["expires_at"] - file["created_at"] == seconds


def test_an_empty_file(client: FlaskClient) -> None:
    file = upload(client, b"").get_json()
    assert file["bytes"] == 0
    with client.get(f"/v1/files/{file['id']}/content") as response:
        assert response.status_code == 200
        assert response.data == b""
        assert response.content_length == 0


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
def test_other_bodies_are_refused(client: FlaskClient, content_type: str | None) -> None:
    response = client.post("/v1/files", data=b"{}", content_type=content_type)
    assert_error(response, 400, None, "expected multipart/form-data")


@pytest.mark.parametrize("cut", [1, 30, 60, 100, 150, -5, -10, -14, -20])
def test_a_body_without_its_closing_boundary(
    client: FlaskClient, store: FileStore, cut: int
) -> None:
    assert_error(client.post("/v1/files", data=form_body()[:cut], headers=FORM), 400)
    assert_empty(store)


@pytest.mark.parametrize("header", ["multipart/form-data", "multipart/form-data; boundary="])
def test_a_form_without_a_boundary(client: FlaskClient, header: str) -> None:
    assert_error(client.post("/v1/files", data=form_body(), content_type=header), 400)


@pytest.mark.parametrize("missing", [1, 2, 9, 100])
def test_a_server_that_hides_the_end_of_the_connection(
    client: FlaskClient, store: FileStore, missing: int
) -> None:
    # Such a server marks the stream as terminated and ends it early without an error.
    body = form_body()
    response = client.post(
        "/v1/files",
        input_stream=io.BytesIO(body),
        headers=FORM,
        environ_overrides={
            "wsgi.input_terminated": True,
            "CONTENT_LENGTH": str(len(body) + missing),
        },
    )
    assert_error(response, 400, None, "ended before it was complete")
    assert_empty(store)


class Blocks(io.RawIOBase):
    """A stream that is read in just these blocks."""

    def __init__(self, *blocks: bytes) -> None:
        self.blocks = list(blocks)

    def read(self, size: int = -1) -> bytes:
        return self.blocks.pop(0) if self.blocks else b""


# Beginnings of boundaries, so that the parser has something to hold back.
TRICKY = b"\r\n--front\r\r\n--frontie\n\r\n-\r"


@pytest.mark.parametrize("content", [b"", b"x", b"hello\r\n", b"\r", TRICKY])
@pytest.mark.parametrize("epilogue", [b"", b"epilogue"])
def test_a_form_in_any_blocks(content: bytes, epilogue: bytes) -> None:
    body = form_body(content) + epilogue
    streams = [
        *((Blocks(body[:cut], body[cut:]), len(body)) for cut in range(1, len(body))),
        *((io.BytesIO(body), size) for size in range(1, len(body) + 1)),
    ]
    for stream, block_size in streams:
        file = io.BytesIO()
        form = UploadForm(BOUNDARY, file)
        form.read(cast("IO[bytes]", stream), len(body), block_size)
        assert file.getvalue() == content
        assert form.filenames == ["a.txt"]
        assert form.get("purpose") == "batch"


def test_a_block_that_ends_inside_the_closing_boundary(client: FlaskClient) -> None:
    """werkzeug's form parser stores a CR too many where it ends one byte behind the text."""
    around = len(form_body(b""))
    # From a block that ends before the boundary's line break to one that ends behind it all.
    for left in range(-1, len(f"\r\n--{BOUNDARY}--\r\n") + 2):
        content = os.urandom(2 * 64 * 1024 - around + left)
        answer = client.post("/v1/files", data=form_body(content), headers=FORM)
        assert answer.get_json()["bytes"] == len(content)
        with client.get(f"/v1/files/{answer.get_json()['id']}/content") as response:
            assert response.data == content


def test_a_part_without_an_empty_line_is_refused(client: FlaskClient, store: FileStore) -> None:
    later = b'--frontier\r\nContent-Disposition: form-data; name="later"\r\n\r\nyes\r\n'
    for end in (b"--frontier--\r\n", later + b"--frontier--\r\n"):
        body = form_body(b"").removesuffix(b"\r\n--frontier--\r\n") + end
        assert_error(client.post("/v1/files", data=body, headers=FORM), 400, None, "malformed")
    assert_empty(store)


def test_bytes_after_the_closing_boundary_are_ignored(client: FlaskClient) -> None:
    response = client.post("/v1/files", data=form_body() + b"epilogue", headers=FORM)
    assert response.get_json()["bytes"] == 5


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=0", "limit", "integer_below_min_value"),
        ("limit=-3", "limit", "integer_below_min_value"),
        ("limit=10001", "limit", "integer_above_max_value"),
        ("limit=ten", "limit", "invalid_type"),
        ("limit=", "limit", "invalid_type"),
        ("order=random", "order", "invalid_value"),
        ("after=file-none", "after", None),
        ("after=", "after", None),
    ],
)
def test_refused_listings(
    client: FlaskClient, query: str, param: str, code: str | None
) -> None:
    error = assert_error(client.get(f"/v1/files?{query}"), 400, param)
    assert error["code"] == code


def test_listing(client: FlaskClient) -> None:
    empty: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None}
    assert client.get("/v1/files").get_json() == {**empty, "has_more": False}
    files = [upload(client, name=str(n)).get_json() for n in range(3)]
    everything = client.get("/v1/files").get_json()
    assert everything["data"] == files[::-1]
    assert everything["has_more"] is False
    page = client.get("/v1/files?limit=2&order=asc").get_json()
    assert page["data"] == files[:2]
    assert (page["first_id"], page["last_id"]) == (files[0]["id"], files[1]["id"])
    assert page["has_more"] is True
    rest = client.get(f"/v1/files?limit=2&order=asc&after={page['last_id']}").get_json()
    assert rest["data"] == files[2:]
    assert rest["has_more"] is False
    assert client.get("/v1/files?limit=10000&purpose=batch").get_json()["data"] == []


def test_content(client: FlaskClient) -> None:
    # As browsers and HTTP clients escape a quotation mark.
    body = form_body(b"0123456789", 'filename="π %22q%22.txt"')
    file = client.post("/v1/files", data=body, headers=FORM).get_json()
    assert file["filename"] == 'π "q".txt'
    url = f"/v1/files/{file['id']}/content"
    with client.get(url) as full:
        assert full.data == b"0123456789"
        assert full.content_type == "application/octet-stream"
        assert full.content_length == 10
        assert full.headers["Accept-Ranges"] == "bytes"
        disposition = full.headers["Content-Disposition"]
        assert disposition.startswith("attachment")
        assert "filename*=UTF-8''%CF%80%20%22q%22.txt" in disposition
        etag = full.headers["ETag"]
    with client.head(url) as head:
        assert head.content_length == 10
        assert head.headers["ETag"] == etag
        assert head.data == b""
    with client.get(url, headers={"If-None-Match": etag}) as unchanged:
        assert unchanged.status_code == 304
        assert unchanged.headers["x-request-id"]


@pytest.mark.parametrize(
    ("asked", "content_range", "content"),
    [
        ("bytes=2-4", "bytes 2-4/10", b"234"),
        ("bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=-2", "bytes 8-9/10", b"89"),
    ],
)
def test_ranges(client: FlaskClient, asked: str, content_range: str, content: bytes) -> None:
    url = f"/v1/files/{upload(client, b'0123456789').get_json()['id']}/content"
    with client.get(url, headers={"Range": asked}) as response:
        assert response.status_code == 206
        assert response.headers["Content-Range"] == content_range
        assert response.content_length == len(content)
        assert response.data == content
        etag = response.headers["ETag"]
    for if_range, status in ((etag, 206), ('"other"', 200)):
        with client.get(url, headers={"Range": asked, "If-Range": if_range}) as response:
            assert response.status_code == status


def test_a_range_past_the_end(client: FlaskClient) -> None:
    url = f"/v1/files/{upload(client, b'0123456789').get_json()['id']}/content"
    response = client.get(url, headers={"Range": "bytes=10-"})
    assert_error(response, 416)
    assert response.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize("encoded", ["a%0D%0AX-Evil%3A%201", "%00%1B.txt"])
def test_a_name_with_control_characters(client: FlaskClient, encoded: str) -> None:
    body = form_body(disposition=f"filename*=UTF-8''{encoded}")
    created = client.post("/v1/files", data=body, headers=FORM)
    assert created.status_code == 200
    with client.get(f"/v1/files/{created.get_json()['id']}/content") as response:
        assert response.status_code == 200
        assert "X-Evil" not in response.headers
        assert not re.search(r"[\x00-\x1f]", response.headers["Content-Disposition"])


def test_a_blob_that_vanished(client: FlaskClient, store: FileStore) -> None:
    file_id = upload(client).get_json()["id"]
    path = store.path(file_id)
    assert path is not None
    path.unlink()
    assert_error(client.get(f"/v1/files/{file_id}/content"), 404, "id")


@pytest.mark.parametrize("path", ["/", "/v1/file", "/v1/files/", "/v1//files", "/v1/files/a/b"])
def test_unknown_urls(client: FlaskClient, path: str) -> None:
    assert_error(client.get(path), 404, None, r"^Invalid URL \(GET ")


def test_wrong_methods(client: FlaskClient) -> None:
    response = client.put("/v1/files")
    assert_error(response, 405, None, "Not allowed to PUT")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


def test_too_large(client: FlaskClient, store: FileStore) -> None:
    # A text field is held in memory, so its size is limited; a file is not.
    big = form_body(b"x" * 1_000_000)
    assert client.post("/v1/files", data=big, headers=FORM).status_code == 200
    long_field = big.replace(b'; filename="a.txt"', b"")
    assert_error(client.post("/v1/files", data=long_field, headers=FORM), 413)
    # The file part is on disk already when the field after it turns out to be too long.
    after = form_body().removesuffix(f"--{BOUNDARY}--\r\n".encode()) + long_field
    assert_error(client.post("/v1/files", data=after, headers=FORM), 413)
    client.application.config["MAX_CONTENT_LENGTH"] = 1000
    assert_error(client.post("/v1/files", data=big, headers=FORM), 413)
    assert len(store.list().files) == 1
    assert list((store.data_dir / "incoming").iterdir()) == []


def test_too_many_parts(client: FlaskClient, store: FileStore) -> None:
    for more, status in ((MAX_PARTS - 2, 200), (MAX_PARTS - 1, 413)):
        fields: dict[str, Any] = {str(n): "" for n in range(more)}
        assert upload(client, **fields).status_code == status
    assert len(store.list().files) == 1
    assert list((store.data_dir / "incoming").iterdir()) == []


def test_unexpected_errors(
    client: FlaskClient, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_kwargs: object) -> None:
        raise OSError("a secret path")

    monkeypatch.setattr(store, "add", fail)
    error = assert_error(upload(client), 500)
    assert "secret" not in error["message"]
    assert_empty(store)


def test_any_or_no_credentials(client: FlaskClient) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "nonsense"}):
        assert client.get("/v1/files", headers=headers).status_code == 200
