"""Files as objects of a Cloud Storage bucket, by OpenAI's SDK through the gateway."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import openai
import pytest

from flask_portkey_files import FilesCall, Target
from flask_portkey_files.providers.vertex_ai import VertexAI
from tests.standins.gcs import GCS, INSTALL, binary
from tests.standins.google_token import GoogleToken
from tests.support.gunicorn import Gunicorn
from tests.support.parts import require

from .bucket_app import GCS_URL
from .gateway import Gateway
from .objects import MIB, Blocks, break_off, digest, post


@pytest.fixture(scope="module")
def gcs() -> Iterator[GCS]:
    require(binary(), INSTALL)
    with GCS() as gcs:
        yield gcs


@pytest.fixture(scope="module")
def endpoint(gcs: GCS) -> Iterator[GoogleToken]:
    try:
        there = importlib.util.find_spec("google.auth") is not None
    except ModuleNotFoundError:
        there = False
    require(there, "pip install google-auth")
    with GoogleToken(gcs.tokens) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def gateway(gcs: GCS, endpoint: GoogleToken) -> Iterator[Gateway]:
    provider = VertexAI(gcs.url, token_uri=endpoint.token_uri)
    with Gateway({"vertex-ai": provider}) as gateway:
        yield gateway


def headers(gcs: GCS, **options: str) -> dict[str, str]:
    given = {"vertex_storage_bucket_name": gcs.bucket, **options}
    return {f"x-portkey-{name}".replace("_", "-"): value for name, value in given.items()}


Connect = Callable[..., openai.OpenAI]


@pytest.fixture
def connect(gateway: Gateway, gcs: GCS) -> Connect:
    """Make clients with an access token and further options."""

    def connect(key: str = gcs.key, **options: str) -> openai.OpenAI:
        return gateway.client("vertex-ai", key, **headers(gcs, **options))

    return connect


@pytest.fixture
def client(connect: Connect) -> openai.OpenAI:
    return connect()


# --- The five operations --------------------------------------------------------------------


def test_a_file_from_upload_to_deletion(client: openai.OpenAI, gcs: GCS) -> None:
    content = b'{"custom_id": "1"}\n' * 10
    made = client.files.create(
        file=("é 1+~%.jsonl", content, "application/jsonl"), purpose="batch"
    )
    address = unquote(made.id)
    assert address.startswith(f"gs://{gcs.bucket}/20")
    assert address.endswith("/batch/é 1+~_.jsonl")
    assert made.id == quote(address, safe="!'()*")
    assert (made.bytes, made.filename, made.purpose) == (190, "é 1+~%.jsonl", "batch")
    assert (made.object, made.status) == ("file", "processed")
    assert abs(made.created_at - time.time()) < 10

    assert client.files.retrieve(made.id) == made
    got = client.files.content(made.id)
    assert got.content == content
    assert got.response.headers["Content-Type"] == "application/jsonl"
    ranged = client.files.content(made.id, extra_headers={"Range": "bytes=2-10"})
    assert (ranged.response.status_code, ranged.content) == (206, b"custom_id")

    deleted = client.files.delete(made.id)
    assert deleted.model_dump() == {"id": made.id, "object": "file", "deleted": True}
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(made.id)
        assert caught.value.code == "not_found"


@pytest.mark.parametrize("size", [0, 1, 30 * MIB])
@pytest.mark.parametrize("retries", ["0", "1"], ids=["live", "spooled"])
def test_an_upload_is_one_request(
    client: openai.OpenAI, gcs: GCS, size: int, retries: str
) -> None:
    file = Blocks(size)
    before = len(gcs.seen)
    made = post(client.with_options(default_headers={"x-portkey-retry-count": retries}), file)
    assert [seen.method for seen in gcs.seen[before:]] == ["POST"]
    assert ("Content-Length" in gcs.seen[-1].headers) == (retries == "1")
    assert made.bytes == client.files.retrieve(made.id).bytes == size
    with client.files.with_streaming_response.content(made.id) as response:
        assert digest(response.iter_bytes()) == (file.digest.hexdigest(), size)


@pytest.mark.parametrize("form_of_id", [lambda i: i, unquote, lambda i: quote(i, safe="")])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_takes_ids_escaped_and_unescaped(
    client: openai.OpenAI,
    gateway: Gateway,
    gcs: GCS,
    form_of_id: Callable[[str], str],
    method: str,
) -> None:
    made = client.files.create(file=("a b+é.txt", b"hello"), purpose="batch")
    path = quote(form_of_id(made.id), safe="/:%+~!'()*")
    sent = {
        "x-portkey-provider": "vertex-ai",
        "Authorization": f"Bearer {gcs.key}",
        **headers(gcs),
    }
    for tail, expected in (("", made.id.encode()), ("/content", b"hello")):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        connection.request(method, f"/v1/files/{path}{tail}", headers=sent)
        answer = connection.getresponse()
        assert answer.status == 200
        body = answer.read()
        assert expected in body if method == "GET" else body == b""
        connection.close()


def test_names_that_are_asked_for(connect: Connect, gcs: GCS) -> None:
    client = connect(provider_file_name="jobs/in put.jsonl", vertex_storage_prefix="p/")
    made = client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
    assert made.id == quote(f"gs://{gcs.bucket}/p/jobs/in put.jsonl", safe="")
    assert (made.filename, made.purpose) == ("a.jsonl", "fine-tune")
    assert list(client.files.list()) == [made]
    for name in ("../up", "a/./b", "a/"):
        with pytest.raises(openai.BadRequestError):
            connect(provider_file_name=name).files.create(file=("a", b"a"), purpose="batch")


# --- Lists ----------------------------------------------------------------------------------


def test_lists_2500_files_in_both_orders(connect: Connect, gcs: GCS) -> None:
    names = gcs.seed(2500, prefix="many/")
    ids = [quote(f"gs://{gcs.bucket}/{name}", safe="") for name in names]
    files = connect(vertex_storage_prefix="many/").files
    before = len(gcs.seen)
    listed = list(files.list(order="asc", limit=700))
    assert [file.id for file in listed] == ids
    assert [seen.query.get("startOffset") for seen in gcs.seen[before:]] == [
        None,
        *(names[n] for n in (699, 1399, 2099)),
    ]
    newest_first = [file.id for file in files.list(limit=2000)]
    assert sorted(newest_first) == ids
    created = {file.id: file.created_at for file in listed}
    times = [created[each] for each in newest_first]
    assert times == sorted(times, reverse=True)

    whole = files.list()
    assert (len(whole.data), whole.has_more) == (2500, False)
    some = files.list(order="asc", limit=2, after=ids[-3])
    assert ([file.id for file in some.data], some.has_more) == (ids[-2:], False)
    some = files.list(order="asc", limit=1, after=ids[-3])
    assert (some.data[0].id, some.has_more) == (ids[-2], True)
    with pytest.raises(openai.BadRequestError):
        files.list(after="file-unknown")


def test_lists_what_was_uploaded_by_purpose(connect: Connect) -> None:
    files = connect(vertex_storage_prefix="mine/").files
    purposes: tuple[Any, ...] = ("batch", "fine-tune", "batch", "fine-tune")
    made = [
        files.create(file=(f"{n} %.jsonl", b"x"), purpose=purpose)
        for n, purpose in enumerate(purposes)
    ]
    assert list(files.list(order="asc")) == made
    assert list(files.list()) == made[::-1]
    assert list(files.list(purpose="fine-tune", limit=1)) == [made[3], made[1]]
    assert list(files.list(purpose="fine-tune", limit=1, order="asc")) == [made[1], made[3]]
    assert list(connect(vertex_storage_prefix="mine/none/").files.list()) == []


# --- What is out of bounds ------------------------------------------------------------------


@pytest.mark.parametrize(
    "file_id",
    [
        "gs://another-bucket/a",
        "s3://standin-bucket/in/a",
        "gs://standin-bucket/out/a",
        "gs://standin-bucket/in/../out/a",
        "gs://standin-bucket/in/\x01",
        "gs://standin-bucket/in/unknown",
        "file-abc",
    ],
)
def test_nothing_outside_is_told_from_what_there_is_not(
    connect: Connect, gcs: GCS, file_id: str
) -> None:
    gcs.seed(1, prefix="out/")
    files = connect(vertex_storage_prefix="in/").files
    before = len(gcs.seen)
    texts = set()
    for call in (files.retrieve, files.content, files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(quote(file_id, safe=""))
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert "There is no such file in the bucket" in texts.pop()
    if not file_id.endswith("unknown"):
        assert len(gcs.seen) == before


def test_refuses_wrong_options(connect: Connect, gateway: Gateway, gcs: GCS) -> None:
    before = len(gcs.seen)
    for wrong in (
        {"vertex_storage_bucket_name": "a/b"},
        {"vertex_storage_bucket_name": "a..b"},
        {"vertex_storage_prefix": "a/../"},
        {"vertex_service_account_json": "{}"},
        {"vertex_service_account_json": "[]"},
        {"vertex_service_account_json": "no JSON"},
        {
            "vertex_service_account_json": json.dumps(
                {"type": "service_account", "private_key": "x", "client_email": "y"}
            )
        },
    ):
        with pytest.raises(openai.BadRequestError):
            connect(**wrong).files.list()
    with pytest.raises(openai.BadRequestError, match="x-portkey-vertex-storage-bucket-name"):
        gateway.client("vertex-ai", gcs.key).files.list()
    with pytest.raises(openai.AuthenticationError, match="service-account-json"):
        gateway.client("vertex-ai", "undefined", **headers(gcs)).files.list()
    assert len(gcs.seen) == before


def test_refuses_purposes_and_expiry(client: openai.OpenAI, gcs: GCS) -> None:
    before = len(gcs.seen)
    purpose: Any = "a/b"
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a", b"a"), purpose=purpose)
    assert caught.value.code == "unsupported_purpose"
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a", b"a"), purpose="batch", expires_after=expiry)
    assert caught.value.code == "unsupported_expires_after"
    assert len(gcs.seen) == before


# --- Credentials ----------------------------------------------------------------------------


def test_without_google_auth(
    connect: Connect, endpoint: GoogleToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = json.dumps(endpoint.account())
    monkeypatch.setitem(sys.modules, "google.auth.transport.requests", None)
    with pytest.raises(openai.InternalServerError, match=r"flask-portkey-files\[vertex\]") as e:
        connect(vertex_service_account_json=account).files.list()
    assert e.value.status_code == 501
    # A token needs none of it.
    connect().files.list(order="asc", limit=1)


def test_a_wrong_token(connect: Connect, gcs: GCS) -> None:
    files = connect("wrong").files
    file_id = quote(f"gs://{gcs.bucket}/x", safe="")
    calls: list[Callable[[], object]] = [
        files.list,
        lambda: files.create(file=("a", b"a"), purpose="batch"),
        lambda: files.retrieve(file_id),
        lambda: files.content(file_id),
        lambda: files.delete(file_id),
    ]
    for call in calls:
        with pytest.raises(openai.AuthenticationError) as caught:
            call()
        assert caught.value.code == "invalid_api_key"


def test_a_service_account_gets_one_token(connect: Connect, endpoint: GoogleToken) -> None:
    with GoogleToken() as elsewhere:
        # Where the file says to ask is not where it is asked.
        account = json.dumps(endpoint.account(token_uri=elsewhere.token_uri))
        files = connect("undefined", vertex_service_account_json=account).files
        before = len(endpoint.seen)
        files.list(order="asc", limit=1)
        made = files.create(file=("a", b"a"), purpose="batch")
        files.delete(made.id)
        assert len(endpoint.seen) - before == 1
        assert elsewhere.seen == []
        other = json.dumps({**elsewhere.account(), "private_key_id": "other"})
    with pytest.raises(openai.AuthenticationError) as caught:
        connect("undefined", vertex_service_account_json=other).files.list()
    assert caught.value.code == "invalid_api_key"


def test_the_token_endpoint_fails(
    connect: Connect, endpoint: GoogleToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda seconds: None)
    endpoint.fail(500, times=5)
    account = json.dumps({**endpoint.account(), "private_key_id": "another"})
    with pytest.raises(openai.InternalServerError) as caught:
        connect("undefined", vertex_service_account_json=account).files.list()
    assert caught.value.status_code == 502
    endpoint._failures.clear()


def test_the_token_endpoint_can_not_be_reached(gcs: GCS, endpoint: GoogleToken) -> None:
    provider = VertexAI(gcs.url, token_uri="http://127.0.0.1:1/token")
    named = headers(gcs, vertex_service_account_json=json.dumps(endpoint.account()))
    with (
        Gateway({"vertex-ai": provider}) as gateway,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        gateway.client("vertex-ai", "undefined", **named).files.list()
    assert caught.value.status_code == 502


def test_the_machines_own_account_is_for_the_hosts_targets_alone(
    gcs: GCS, endpoint: GoogleToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(endpoint.account()))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    options = {
        "vertex_storage_bucket_name": gcs.bucket,
        "vertex_use_default_credentials": "true",
    }

    def resolve(call: FilesCall) -> Target:
        return Target("vertex-ai", options=options)

    providers = {"vertex-ai": VertexAI(gcs.url)}
    with Gateway(providers, resolver=resolve) as gateway:
        assert gateway.client("vertex-ai", "undefined").files.list(limit=1) is not None
    named = {f"x-portkey-{name}".replace("_", "-"): value for name, value in options.items()}
    with Gateway(providers) as gateway:
        before = len(gcs.seen)
        with pytest.raises(openai.BadRequestError, match="gateway's own targets"):
            gateway.client("vertex-ai", "undefined", **named).files.list()
        config = json.dumps({"provider": "vertex-ai", **options})
        with pytest.raises(openai.BadRequestError):
            gateway.client("vertex-ai", "undefined", x_portkey_config=config).files.list()
        assert len(gcs.seen) == before


# --- Faults ---------------------------------------------------------------------------------


def test_google_fails(client: openai.OpenAI, gcs: GCS) -> None:
    gcs.fail(429)
    with pytest.raises(openai.RateLimitError):
        client.files.list()
    gcs.fail(500)
    with pytest.raises(openai.InternalServerError) as caught:
        client.files.create(file=("a", b"a"), purpose="batch")
    assert caught.value.status_code == 500


def test_an_upload_that_the_client_breaks_off(
    connect: Connect, gateway: Gateway, gcs: GCS, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()
    wsgi = gcs._server.app

    def watched(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            yield from wsgi(environ, start_response)
        finally:
            if environ["REQUEST_METHOD"] == "POST":
                gone.set()

    monkeypatch.setattr(gcs._server, "app", watched)
    given = {
        "x-portkey-provider": "vertex-ai",
        "Authorization": f"Bearer {gcs.key}",
        **headers(gcs, vertex_storage_prefix="broken/"),
    }
    break_off(gateway.port, given, 20 * MIB)
    assert gone.wait(30)
    assert list(connect(vertex_storage_prefix="broken/").files.list()) == []


# --- Large files ----------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_200_mib_stay_out_of_the_gateway(gcs: GCS) -> None:
    require(Path("/proc/self/status").exists(), "needs Linux' /proc")
    with Gunicorn(
        "tests.providers.bucket_app:create_app()",
        env={GCS_URL: gcs.url},
        arguments=("--worker-class", "gthread", "--threads", "2", "--graceful-timeout", "0"),
    ) as server:
        client = openai.OpenAI(
            base_url=f"{server.url}/v1",
            api_key=gcs.key,
            default_headers={"x-portkey-provider": "vertex-ai", **headers(gcs)},
            max_retries=0,
            timeout=60,
        )
        small = client.files.create(file=("a", os.urandom(1)), purpose="batch")
        client.files.delete(small.id)
        before = server.peak_memory()
        file = Blocks(200 * MIB)
        made = post(client, file)
        with client.files.with_streaming_response.content(made.id) as response:
            assert digest(response.iter_bytes()) == (file.digest.hexdigest(), file.size)
        rise = server.peak_memory() - before
        client.files.delete(made.id)
    assert rise < 40 * MIB
