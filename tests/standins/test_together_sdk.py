"""Together's stand-in as Together's own SDK sees it.

The SDK (3.1) has every operation. What it does not send, the reference documents: the upload of
a whole form (``POST /v1/files/upload``), which is tested over plain HTTP, as are the storage's
refusals.
"""

from __future__ import annotations

import hashlib
import importlib
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.standins.together import TogetherStandin
from tests.support.parts import require

BEARER = {"Authorization": f"Bearer {TogetherStandin.key}"}


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(find_spec("together"), "together is not there: pip install together")
    return importlib.import_module("together")


@pytest.fixture
def service() -> Iterator[TogetherStandin]:
    with TogetherStandin() as standin:
        yield standin


@pytest.fixture
def client(sdk: Any, service: TogetherStandin) -> Any:
    return sdk.Together(api_key=service.key, base_url=service.url, max_retries=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "données.jsonl"
    path.write_bytes(b'{"text": "hello"}\n' * 3)
    return path


def announce(service: TogetherStandin, **fields: str) -> requests.Response:
    fields = {"purpose": "batch-api", "file_name": "a.jsonl", **fields}
    return requests.post(
        f"{service.url}/v1/files",
        files={name: (None, value) for name, value in fields.items() if value},
        headers=BEARER,
        allow_redirects=False,
        timeout=10,
    )


def test_upload_and_back(client: Any, service: TogetherStandin, path: Path) -> None:
    uploaded = client.files.upload(path, purpose="batch-api", check=False)
    assert uploaded.bytes == path.stat().st_size
    assert uploaded.filename == "données.jsonl"
    assert uploaded.purpose == "batch-api"
    assert uploaded.file_type == "jsonl"
    assert uploaded.processing_status == "COMPLETED"
    assert [(seen.method, seen.path.split("/")[1]) for seen in service.seen] == [
        ("POST", "v1"),
        ("PUT", "storage"),
        ("POST", "v1"),
    ]
    assert "Authorization" not in service.seen[1].headers
    assert service.files[uploaded.id].extra["fields"] == {
        "purpose": "batch-api",
        "file_name": "données.jsonl",
        "file_type": "jsonl",
        "checksum": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert client.files.retrieve(uploaded.id) == client.files.list().data[0]
    assert client.files.content(uploaded.id).read() == path.read_bytes()
    deleted = client.files.delete(uploaded.id)
    assert (deleted.id, deleted.deleted) == (uploaded.id, True)
    assert client.files.list().data == []


def test_large_file(client: Any, service: TogetherStandin, tmp_path: Path) -> None:
    large = tmp_path / "large.jsonl"
    large.write_bytes(b"0123456789abcde\n" * 500_000)
    uploaded = client.files.upload(large, check=False)
    service.redirects = True
    with client.files.with_streaming_response.content(uploaded.id) as response:
        digest = hashlib.sha256()
        for block in response.iter_bytes():
            digest.update(block)
    assert digest.hexdigest() == hashlib.sha256(large.read_bytes()).hexdigest()


def test_content_from_the_storage(client: Any, service: TogetherStandin) -> None:
    (file_id,) = service.seed(1)
    service.redirects = True
    assert client.files.content(file_id).read() == b"file 1"
    assert service.seen[-1].path.startswith("/storage/")
    assert "Authorization" not in service.seen[-1].headers


def test_same_content_twice(
    client: Any, sdk: Any, service: TogetherStandin, path: Path
) -> None:
    first = client.files.upload(path, check=False)
    assert client.files.upload(path, check=False).id == first.id
    errors = importlib.import_module("together.lib.resources.files")
    with pytest.raises(errors.FileAlreadyExistsError):
        client.files.upload(path, check=False, raise_if_already_exists=True)


def test_list_is_one_page(client: Any, service: TogetherStandin) -> None:
    ids = service.seed(2500)
    listed = [file.id for file in client.files.list(extra_query={"limit": 3}).data]
    assert len(listed) == 2500
    assert set(listed) == set(ids)
    assert listed not in (ids, ids[::-1])


def test_refusals(client: Any, sdk: Any, service: TogetherStandin) -> None:
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(sdk.NotFoundError):
            call("file-none")
    with pytest.raises(sdk.NotFoundError):
        client.post("/v1/files/file-none/preprocess", cast_to=object)
    stranger = client.with_options(api_key="wrong")
    with pytest.raises(sdk.AuthenticationError):
        stranger.files.list()
    service.fail(429)
    with pytest.raises(sdk.RateLimitError):
        client.files.list()
    service.fail(500)
    with pytest.raises(sdk.InternalServerError):
        client.files.list()


@pytest.mark.parametrize(
    "fields",
    [{"purpose": "user_data"}, {"purpose": ""}, {"file_name": ""}, {"file_type": "txt"}],
)
def test_bad_announcements(service: TogetherStandin, fields: dict[str, str]) -> None:
    answer = announce(service, **fields)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_preprocess_before_the_bytes(service: TogetherStandin) -> None:
    file_id = announce(service).headers["X-Together-File-Id"]
    url = f"{service.url}/v1/files/{file_id}"
    assert requests.get(url, headers=BEARER, timeout=10).status_code == 404
    assert requests.post(f"{url}/preprocess", headers=BEARER, timeout=10).status_code == 400


def test_storage_takes_a_length_and_no_credentials(service: TogetherStandin) -> None:
    address = announce(service).headers["Location"]
    with_key = requests.put(address, data=b"x", headers=BEARER, timeout=10)
    assert (with_key.status_code, "Only one auth" in with_key.text) == (400, True)
    chunked = requests.put(address, data=iter([b"x"]), timeout=10)
    assert (chunked.status_code, "NotImplemented" in chunked.text) == (501, True)
    changed = requests.put(address.replace("Signature=", "Signature=0"), data=b"x", timeout=10)
    assert (changed.status_code, "SignatureDoesNotMatch" in changed.text) == (403, True)
    assert requests.get(address, timeout=10).status_code == 403
    assert requests.put(address, data=b"x", timeout=10).status_code == 200
    again = requests.put(address, data=b"x", timeout=10)
    assert (again.status_code, "expired" in again.text) == (403, True)


def test_storage_fails_and_expires(service: TogetherStandin) -> None:
    address = announce(service).headers["Location"]
    service.fail_storage(503)
    assert requests.put(address, data=b"x", timeout=10).status_code == 503
    service.expire_addresses()
    assert requests.put(address, data=b"x", timeout=10).status_code == 403
    assert service.files == {}


def test_storage_keeps_no_part_of_a_file(service: TogetherStandin) -> None:
    address = announce(service).headers["Location"]
    host, _, target = address.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        head = f"PUT /{target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n"
        connection.sendall(head.encode() + b"half")
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(1000)
    assert service.files == {}


def test_storage_answers_ranges(service: TogetherStandin) -> None:
    (file_id,) = service.seed(1)
    address = service.presign_download("a", service.files[file_id])
    answer = requests.get(address, headers={"Range": "bytes=5-5"}, timeout=10)
    assert (answer.status_code, answer.content) == (206, b"1")
    assert answer.headers["Content-Range"] == "bytes 5-5/6"


def test_announced_in_the_query(service: TogetherStandin) -> None:
    """The SDK for Node announces a file in the query and in a urlencoded form."""
    fields = {"purpose": "eval", "file_name": "a.csv", "file_type": "csv"}
    answer = requests.post(
        f"{service.url}/v1/files",
        params=fields,
        data=fields,
        headers=BEARER,
        allow_redirects=False,
        timeout=10,
    )
    assert answer.status_code == 302


def test_whole_form(client: Any, service: TogetherStandin) -> None:
    form: dict[str, Any] = {
        "purpose": (None, "batch-api"),
        "file_name": (None, "b.jsonl"),
        "file_type": (None, "jsonl"),
        "file": ("ignored.jsonl", b"content", "application/jsonl"),
    }
    url = f"{service.url}/v1/files/upload"
    answer = requests.post(url, files=form, headers=BEARER, timeout=10).json()
    assert (answer["filename"], answer["bytes"]) == ("b.jsonl", 7)
    assert service.files[answer["id"]].extra["form"].order[-1] == "file"
    assert client.files.content(answer["id"]).read() == b"content"
    for name in ("purpose", "file_name", "file"):
        less = {key: value for key, value in form.items() if key != name}
        answer = requests.post(url, files=less, headers=BEARER, timeout=10)
        assert answer.status_code == 400
