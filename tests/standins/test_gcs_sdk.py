"""The stand-in of Google Cloud Storage is what Google's SDK takes it for.

The second half speaks the JSON API with requests alone, which is how a gateway streams through
its own transport; its tokens come from google-auth and the stand-in of the token endpoint.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import requests

from tests.standins.gcs import GCS, INSTALL, QUANTUM, binary
from tests.standins.google_token import GoogleToken
from tests.support.parts import require

# The SDK's own import warns where its gRPC part is not complete.
pytestmark = pytest.mark.filterwarnings("ignore:Please install grpcio-status:ImportWarning")

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


def found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(scope="module")
def gcs() -> Iterator[GCS]:
    require(binary(), INSTALL)
    with GCS() as gcs:
        yield gcs


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(found("google.cloud.storage"), "pip install google-cloud-storage")
    return import_module("google.cloud.storage")


@pytest.fixture
def client(sdk: Any, gcs: GCS, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Make clients; they find the stand-in by the variable that Google's SDKs read."""
    credentials = import_module("google.oauth2.credentials")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    made = []

    def make(token: str = gcs.key) -> Any:
        client = sdk.Client(project="standin", credentials=credentials.Credentials(token=token))
        # It would read the bucket in a thread of its own, at a time of its own.
        client._bucket_metadata_cache = None
        made.append(client)
        return client

    yield make
    for each in made:
        each.close()


@pytest.fixture
def bucket(client: Callable[..., Any], gcs: GCS) -> Any:
    return client().bucket(gcs.bucket)


# --- google-cloud-storage -------------------------------------------------------------------


def test_uploads_in_chunks(bucket: Any, gcs: GCS) -> None:
    content = bytes(range(256)) * 2048 + b"the end"
    blob = bucket.blob("chunks/a b+é.jsonl", chunk_size=QUANTUM)
    blob.metadata = {"purpose": "batch", "filename": "é.jsonl"}
    before = len(gcs.seen)
    blob.upload_from_file(io.BytesIO(content), content_type="application/jsonl")
    sent = [seen.headers.get("Content-Range") for seen in gcs.seen[before:]]
    assert sent == [
        None,
        "bytes 0-262143/*",
        "bytes 262144-524287/*",
        "bytes 524288-524294/524295",
    ]

    read = bucket.get_blob("chunks/a b+é.jsonl")
    assert read.metadata == {"purpose": "batch", "filename": "é.jsonl"}
    assert (read.size, read.content_type) == (len(content), "application/jsonl")
    assert read.time_created is not None
    assert read.download_as_bytes() == content


def test_uploads_at_once(bucket: Any) -> None:
    blob = bucket.blob("once")
    blob.metadata = {"purpose": "batch"}
    blob.upload_from_string(b"content", content_type="text/plain")
    blob.reload()
    assert (blob.size, blob.metadata) == (7, {"purpose": "batch"})


def test_reads_a_range(bucket: Any) -> None:
    blob = bucket.blob("ranged")
    blob.upload_from_string(b"0123456789")
    assert blob.download_as_bytes(start=2, end=4) == b"234"


def test_changes_metadata(bucket: Any) -> None:
    blob = bucket.blob("patched")
    blob.upload_from_string(b"content")
    blob.metadata = {"purpose": "fine-tune"}
    blob.patch()
    assert bucket.get_blob("patched").metadata == {"purpose": "fine-tune"}


def test_deletes_and_knows_no_unknown_object(bucket: Any) -> None:
    not_found: Any = import_module("google.api_core.exceptions").NotFound
    blob = bucket.blob("deleted/é")
    blob.upload_from_string(b"content")
    blob.delete()
    assert bucket.get_blob("deleted/é") is None
    with pytest.raises(not_found, match="No such object: standin-bucket/deleted/é"):
        blob.delete()
    with pytest.raises(not_found):
        blob.download_as_bytes()


def test_lists_2500_objects(client: Callable[..., Any], gcs: GCS) -> None:
    names = gcs.seed(2500, prefix="many/", metadata={"purpose": "batch"})
    before = len(gcs.seen)
    pages = list(client().list_blobs(gcs.bucket, prefix="many/", page_size=1000).pages)
    blobs = [blob for page in pages for blob in page]
    assert [page.num_items for page in pages] == [1000, 1000, 500]
    assert [blob.name for blob in blobs] == names
    assert blobs[-1].metadata == {"purpose": "batch"}
    assert [("pageToken" in seen.query) for seen in gcs.seen[before:]] == [False, True, True]


def test_refuses_a_wrong_token(client: Callable[..., Any], gcs: GCS) -> None:
    unauthorized: Any = import_module("google.api_core.exceptions").Unauthorized
    no_token: Any = import_module("google.auth.exceptions").RefreshError
    # A token that the service refuses is one that the SDK tries to renew.
    with pytest.raises((unauthorized, no_token)):
        client("wrong").bucket(gcs.bucket).get_blob("x")


@pytest.mark.parametrize("status", [429, 500])
def test_fails(bucket: Any, gcs: GCS, status: int) -> None:
    error: Any = import_module("google.api_core.exceptions").GoogleAPICallError
    gcs.fail(status)
    with pytest.raises(error) as caught:
        bucket.get_blob("x", retry=None)
    assert caught.value.code == status


# --- requests alone -------------------------------------------------------------------------


@pytest.fixture
def http(gcs: GCS) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {gcs.key}"
        yield session


def begin(http: requests.Session, gcs: GCS, name: str, **resource: Any) -> str:
    """Begin a resumable upload; return its address."""
    answer = http.post(
        f"{gcs.url}/upload/storage/v1/b/{gcs.bucket}/o?uploadType=resumable",
        json={"name": name, **resource},
        headers={"X-Upload-Content-Type": "application/jsonl"},
    )
    assert (answer.status_code, answer.content) == (200, b"")
    return answer.headers["Location"]


def put(address: str, content_range: str, data: bytes = b"") -> requests.Response:
    """Continue an upload; its address is its credential."""
    return requests.put(
        address,
        data=data,
        headers={"Content-Range": content_range},
        allow_redirects=False,
        timeout=30,
    )


def object_url(gcs: GCS, name: str) -> str:
    return f"{gcs.url}/storage/v1/b/{gcs.bucket}/o/{quote(name, safe='')}"


def test_uploads_what_has_no_known_length(http: requests.Session, gcs: GCS) -> None:
    """The last chunk is the first whose end is known: it alone tells the total."""
    source = io.BytesIO(b"a" * QUANTUM + b"b" * QUANTUM + b"c")
    address = begin(http, gcs, "hand/é 1.jsonl", metadata={"filename": "é 1.jsonl"})
    offset, chunk = 0, source.read(QUANTUM)
    while True:
        following = source.read(QUANTUM)
        end = offset + len(chunk)
        total = "*" if following else str(end)
        answer = put(address, f"bytes {offset}-{end - 1}/{total}", chunk)
        if not following:
            break
        assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{end - 1}")
        offset, chunk = end, following
    assert answer.status_code == 200
    made = answer.json()
    assert (made["name"], made["size"]) == ("hand/é 1.jsonl", str(2 * QUANTUM + 1))
    assert made["metadata"] == {"filename": "é 1.jsonl"}
    assert http.get(object_url(gcs, "hand/é 1.jsonl")).json()["size"] == made["size"]
    got = http.get(object_url(gcs, "hand/é 1.jsonl"), params={"alt": "media"})
    assert got.content == source.getvalue()
    assert got.headers["Content-Type"] == made["contentType"]


def test_ends_on_a_full_chunk(http: requests.Session, gcs: GCS) -> None:
    """An end that is found only after a full chunk is told by a request without content."""
    address = begin(http, gcs, "full")
    assert put(address, f"bytes 0-{QUANTUM - 1}/*", bytes(QUANTUM)).status_code == 308
    answer = put(address, f"bytes */{QUANTUM}")
    assert (answer.status_code, answer.json()["size"]) == (200, str(QUANTUM))


def test_uploads_an_empty_file(http: requests.Session, gcs: GCS) -> None:
    answer = put(begin(http, gcs, "empty"), "bytes */0")
    assert (answer.status_code, answer.json()["size"]) == (200, "0")


def test_streams_in_one_request(http: requests.Session, gcs: GCS) -> None:
    """A resumable upload's only request may be chunked, without length or range."""
    address = begin(http, gcs, "streamed")
    answer = requests.put(address, data=iter([b"one", b"two"]), timeout=30)
    assert (answer.status_code, answer.json()["size"]) == (200, "6")


def test_streams_metadata_and_content_in_one_request(http: requests.Session, gcs: GCS) -> None:
    """uploadType=multipart, chunked: nothing of it is there until all of it is."""
    resource = {"name": "related", "metadata": {"purpose": "batch"}}

    def body() -> Iterator[bytes]:
        yield b"--b\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
        yield json.dumps(resource).encode()
        yield b"\r\n--b\r\nContent-Type: application/jsonl\r\n\r\n"
        yield b"content\r\n"
        yield b"\r\n--b--\r\n"

    answer = http.post(
        f"{gcs.url}/upload/storage/v1/b/{gcs.bucket}/o?uploadType=multipart",
        data=body(),
        headers={"Content-Type": "multipart/related; boundary=b"},
    )
    assert answer.status_code == 200
    made = answer.json()
    assert (made["size"], made["contentType"]) == ("9", "application/jsonl")
    assert made["metadata"] == {"purpose": "batch"}


def test_tells_how_far_an_upload_is(http: requests.Session, gcs: GCS) -> None:
    address = begin(http, gcs, "status")
    none = put(address, "bytes */*")
    assert (none.status_code, "Range" in none.headers) == (308, False)
    put(address, f"bytes 0-{QUANTUM - 1}/*", bytes(QUANTUM))
    some = put(address, "bytes */*")
    assert (some.status_code, some.headers["Range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    # What was sent already is taken no second time.
    again = put(address, f"bytes 0-{QUANTUM}/{QUANTUM + 1}", bytes(QUANTUM + 1))
    assert (again.status_code, again.json()["size"]) == (200, str(QUANTUM + 1))


@pytest.mark.parametrize(
    ("content_range", "size"),
    [
        ("bytes 0-99/*", 100),  # Not a multiple of 256 KiB.
        (f"bytes 0-{QUANTUM - 1}/*", 100),  # Another length than it says.
        (f"bytes {QUANTUM}-{2 * QUANTUM - 1}/*", QUANTUM),  # Bytes are missing.
        ("bytes 0-99/50", 100),  # Beyond its own end.
        ("0-99/100", 100),
    ],
)
def test_refuses_a_wrong_chunk(
    http: requests.Session, gcs: GCS, content_range: str, size: int
) -> None:
    answer = put(begin(http, gcs, "refused"), content_range, bytes(size))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)


def test_cancels_an_upload(http: requests.Session, gcs: GCS) -> None:
    address = begin(http, gcs, "cancelled")
    assert http.delete(address).status_code == 499
    assert put(address, "bytes */*").status_code == 404
    assert http.get(object_url(gcs, "cancelled")).status_code == 404


def test_answers_as_google_documents(http: requests.Session, gcs: GCS) -> None:
    unknown = http.get(object_url(gcs, "un/known"))
    assert unknown.status_code == 404
    message = f"No such object: {gcs.bucket}/un/known"
    assert unknown.json()["error"] == {
        "code": 404,
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": "notFound"}],
    }
    media = http.get(object_url(gcs, "un/known"), params={"alt": "media"})
    assert (media.status_code, media.text) == (404, message)
    assert http.delete(object_url(gcs, "un/known")).status_code == 404
    elsewhere = http.get(f"{gcs.url}/storage/v1/b/no-such-bucket/o")
    assert elsewhere.status_code == 404

    put(begin(http, gcs, "known"), "bytes 0-9/10", b"0123456789")
    ranged = http.get(
        object_url(gcs, "known"), params={"alt": "media"}, headers={"Range": "bytes=2-4"}
    )
    assert (ranged.status_code, ranged.content) == (206, b"234")
    assert ranged.headers["Content-Range"] == "bytes 2-4/10"
    gone = http.delete(object_url(gcs, "known"))
    assert (gone.status_code, gone.content) == (204, b"")


def test_refuses_requests_without_a_token_and_wrong_pages(
    http: requests.Session, gcs: GCS
) -> None:
    listing = f"{gcs.url}/storage/v1/b/{gcs.bucket}/o"
    anonymous = requests.get(listing, timeout=30)
    assert anonymous.status_code == 401
    assert anonymous.json()["error"]["errors"][0]["reason"] == "authError"
    for wrong in ({"pageToken": "not ours"}, {"maxResults": "0"}, {"maxResults": "x"}):
        assert http.get(listing, params=wrong).status_code == 400
    none = http.get(listing, params={"prefix": "none/"}).json()
    assert none == {"kind": "storage#objects"}


def test_takes_the_tokens_of_the_token_endpoint(gcs: GCS) -> None:
    require(found("google.auth"), "pip install google-auth")
    transport = import_module("google.auth.transport.requests")
    service_account = import_module("google.oauth2.service_account")
    with GoogleToken(gcs.tokens) as endpoint, requests.Session() as session:
        credentials = service_account.Credentials.from_service_account_info(
            endpoint.account(), scopes=[SCOPE]
        )
        headers: dict[str, str] = {}
        # What a request calls; it fetches a token only where there is no valid one.
        for _ in range(3):
            credentials.before_request(transport.Request(session), "GET", gcs.url, headers)
            answer = session.get(
                f"{gcs.url}/storage/v1/b/{gcs.bucket}/o?maxResults=1", headers=headers
            )
            assert answer.status_code == 200
        assert len(endpoint.seen) == 1


@pytest.mark.timeout(60)
def test_a_large_file_stays_out_of_this_process(http: requests.Session, gcs: GCS) -> None:
    """The emulator holds a whole object in memory; the front and the caller hold none."""
    me = psutil.Process()
    address = begin(http, gcs, "large")
    chunk = bytes(8 * 1024 * 1024)
    before = me.memory_info().rss
    for number in range(4):
        first, end = number * len(chunk), (number + 1) * len(chunk)
        total = "*" if number < 3 else str(end)
        answer = put(address, f"bytes {first}-{end - 1}/{total}", chunk)
    assert answer.status_code == 200
    with http.get(object_url(gcs, "large"), params={"alt": "media"}, stream=True) as response:
        size = sum(len(block) for block in response.iter_content(256 * 1024))
    assert size == 4 * len(chunk)
    assert me.memory_info().rss - before < 2 * len(chunk)
    assert http.delete(object_url(gcs, "large")).status_code == 204
