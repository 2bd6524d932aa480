"""Files as objects of an S3 bucket, by OpenAI's SDK through the gateway."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree

import openai
import pytest
from werkzeug.datastructures import Headers

from flask_portkey_files import FilesCall, Operation, Target, aws
from flask_portkey_files.errors import UpstreamError
from flask_portkey_files.form import FilePart, FormField, UploadForm
from flask_portkey_files.providers.bedrock import Bedrock
from tests.standins.s3 import S3
from tests.support.gunicorn import Gunicorn
from tests.support.parts import require

from .bucket_app import S3_URL
from .gateway import Gateway
from .objects import MIB, Blocks, break_off, digest, form, post


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    for part in ("boto3", "moto"):
        require(importlib.util.find_spec(part), "pip install boto3 'moto[server,s3,sts,iam]'")
    with S3() as s3:
        yield s3


@pytest.fixture(scope="module")
def gateway(s3: S3) -> Iterator[Gateway]:
    with Gateway({"bedrock": Bedrock(s3.url, sts_url=s3.url)}) as gateway:
        yield gateway


def headers(s3: S3, **options: str) -> dict[str, str]:
    """Return Portkey's headers with the user's keys."""
    given = {
        "aws_s3_bucket": s3.bucket,
        "aws_region": s3.region,
        "aws_access_key_id": s3.key_id,
        "aws_secret_access_key": s3.secret,
        **options,
    }
    return {f"x-portkey-{name}".replace("_", "-"): value for name, value in given.items()}


Connect = Callable[..., openai.OpenAI]


@pytest.fixture
def connect(gateway: Gateway, s3: S3) -> Connect:
    """Make clients with the user's keys and further options."""

    def connect(**options: str) -> openai.OpenAI:
        return gateway.client("bedrock", "unused", **headers(s3, **options))

    return connect


@pytest.fixture
def client(connect: Connect) -> openai.OpenAI:
    return connect()


def uri(file_id: str) -> str:
    assert "/" not in file_id
    return unquote(file_id)


# --- The five operations --------------------------------------------------------------------


def test_a_file_from_upload_to_deletion(client: openai.OpenAI, s3: S3) -> None:
    content = b'{"custom_id": "1"}\n' * 10
    made = client.files.create(
        file=("é 1+~%.jsonl", content, "application/jsonl"), purpose="batch"
    )
    assert uri(made.id).startswith(f"s3://{s3.bucket}/20")
    assert uri(made.id).endswith("/batch/é 1+~_.jsonl")
    assert made.id == quote(uri(made.id), safe="!'()*")
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


@pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB, 9 * MIB + 1, 30 * MIB])
def test_files_of_all_sizes_while_they_arrive(client: openai.OpenAI, s3: S3, size: int) -> None:
    file = Blocks(size)
    before = len(s3.seen)
    made = post(client, file)
    requests = [(seen.method, len(seen.query)) for seen in s3.seen[before:]]
    if size <= 8 * MIB:
        assert requests == [("PUT", 0)]
    else:
        # A part is of whole blocks, so it may be somewhat larger.
        parts = [("PUT", 2)] * -(-size // (9 * MIB))
        assert requests == [("POST", 1), *parts, ("POST", 1)]
    assert made.bytes == client.files.retrieve(made.id).bytes == size
    with client.files.with_streaming_response.content(made.id) as response:
        assert digest(response.iter_bytes()) == (file.digest.hexdigest(), size)
    assert not s3._uploads


def test_a_spooled_file_is_one_request(client: openai.OpenAI, s3: S3) -> None:
    """With retries a file is held back, and its length is known."""
    content = os.urandom(20 * MIB)
    before = len(s3.seen)
    made = client.files.create(
        file=("a.bin", content), purpose="batch", extra_headers={"x-portkey-retry-count": "1"}
    )
    assert [seen.method for seen in s3.seen[before:]] == ["PUT"]
    assert s3.seen[-1].headers["Content-Length"] == str(len(content))
    assert client.files.content(made.id).content == content


@pytest.mark.parametrize("form_of_id", [lambda i: i, unquote, lambda i: quote(i, safe="")])
def test_takes_ids_escaped_and_unescaped(
    client: openai.OpenAI, gateway: Gateway, s3: S3, form_of_id: Callable[[str], str]
) -> None:
    made = client.files.create(file=("a b+é.txt", b"hello"), purpose="batch")
    path = quote(form_of_id(made.id), safe="/:%+~!'()*")
    for tail, expected in (("", made.id.encode()), ("/content", b"hello")):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        connection.request(
            "GET",
            f"/v1/files/{path}{tail}",
            headers={"x-portkey-provider": "bedrock", **headers(s3)},
        )
        answer = connection.getresponse()
        assert answer.status == 200
        assert expected in answer.read()
        connection.close()


def test_head(client: openai.OpenAI, gateway: Gateway, s3: S3) -> None:
    made = client.files.create(file=("a.txt", b"hello"), purpose="batch")
    for tail in ("", "/content"):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        connection.request(
            "HEAD",
            f"/v1/files/{made.id}{tail}",
            headers={"x-portkey-provider": "bedrock", **headers(s3)},
        )
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        if tail:
            assert answer.headers["Content-Length"] == "5"
        connection.close()


def test_keys_types_and_encryption_that_are_asked_for(connect: Connect, s3: S3) -> None:
    client = connect(
        provider_file_name="jobs/in put.jsonl",
        amz_server_side_encryption="aws:kms",
        amz_server_side_encryption_aws_kms_key_id="standin-key",
    )
    made = client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
    assert made.id == quote(f"s3://{s3.bucket}/jobs/in put.jsonl", safe="")
    sent = s3.seen[-1].headers
    assert sent["x-amz-server-side-encryption"] == "aws:kms"
    assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "standin-key"
    got = client.files.retrieve(made.id)
    assert (got.filename, got.purpose) == ("a.jsonl", "fine-tune")
    for key in ("../up", "a/./b", "/", "a/"):
        with pytest.raises(openai.BadRequestError):
            connect(aws_s3_object_key=key).files.create(file=("a", b"a"), purpose="batch")


# --- Lists ----------------------------------------------------------------------------------


def test_lists_2500_files_in_both_orders(connect: Connect, s3: S3) -> None:
    keys = s3.seed(2500, prefix="many/")
    ids = [quote(f"s3://{s3.bucket}/{key}", safe="") for key in keys]
    files = connect(aws_s3_prefix="many/").files
    before = len(s3.seen)
    listed = list(files.list(order="asc", limit=700))
    assert [file.id for file in listed] == ids
    assert len(s3.seen) - before == 4
    assert [seen.query.get("start-after") for seen in s3.seen[before:]] == [
        None,
        *(keys[n] for n in (699, 1399, 2099)),
    ]
    newest_first = list(files.list(limit=2000))
    assert [file.id for file in newest_first] == ids[::-1]

    whole = files.list()
    assert (len(whole.data), whole.has_more) == (2500, False)
    some = files.list(order="asc", limit=2, after=ids[-3])
    assert ([file.id for file in some.data], some.has_more) == (ids[-2:], False)
    some = files.list(order="asc", limit=1, after=ids[-3])
    assert (some.data[0].id, some.has_more) == (ids[-2], True)
    with pytest.raises(openai.BadRequestError):
        files.list(after="file-unknown")
    first = listed[0]
    assert (first.filename, first.purpose, first.bytes) == (
        keys[0].removeprefix("many/"),
        "batch",
        len(f"file {int(keys[0][5:11])}"),
    )


def test_lists_what_was_uploaded_by_purpose(connect: Connect) -> None:
    files = connect(aws_s3_prefix="mine/").files
    purposes: tuple[Any, ...] = ("batch", "fine-tune", "batch", "fine-tune")
    made = [
        files.create(file=(f"{n}.jsonl", b"x"), purpose=purpose)
        for n, purpose in enumerate(purposes)
    ]
    assert list(files.list(order="asc")) == made
    assert list(files.list()) == made[::-1]
    assert list(files.list(purpose="fine-tune", limit=1)) == [made[3], made[1]]
    assert list(files.list(purpose="fine-tune", limit=1, order="asc")) == [made[1], made[3]]
    assert list(connect(aws_s3_prefix="mine/none/").files.list()) == []


# --- What is out of bounds ------------------------------------------------------------------


@pytest.mark.parametrize(
    "file_id",
    [
        "s3://another-bucket/a",
        "gs://standin-bucket/in/a",
        "s3://standin-bucket/out/a",
        "s3://standin-bucket/in/../out/a",
        "s3://standin-bucket/in/./a",
        "s3://standin-bucket/in/\x01",
        "s3://standin-bucket",
        "s3://standin-bucket/in/unknown",
        "file-abc",
        "s3%",
    ],
)
def test_nothing_outside_is_told_from_what_there_is_not(
    connect: Connect, s3: S3, file_id: str
) -> None:
    s3.seed(1, prefix="out/")
    files = connect(aws_s3_prefix="in/").files
    before = len(s3.seen)
    texts = set()
    for call in (files.retrieve, files.content, files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(quote(file_id, safe=""))
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert "There is no such file in the bucket" in texts.pop()
    if not file_id.endswith("unknown"):
        assert len(s3.seen) == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("aws_region", "evil.example/"),
        ("aws_region", "us-east-1.evil"),
        ("aws_region", "us-east-1@evil"),
        ("aws_s3_bucket", "a/../b"),
        ("aws_s3_bucket", "a..b"),
        ("aws_s3_prefix", "/a"),
        ("aws_s3_prefix", "a/../"),
        ("aws_auth_type", "assumedRole"),
    ],
)
def test_refuses_wrong_options(connect: Connect, s3: S3, option: str, value: str) -> None:
    before = len(s3.seen)
    with pytest.raises(openai.BadRequestError):
        connect(**{option: value}).files.list()
    assert len(s3.seen) == before


def test_the_address_is_the_regions() -> None:
    call = FilesCall(operation=Operation.LIST)
    for region, url in (
        ("", "https://s3.us-east-1.amazonaws.com"),
        ("us-gov-west-1", "https://s3.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn"),
    ):
        target = Target("bedrock", options={"aws_region": region} if region else {})
        assert Bedrock().base_url(call, target) == url


def test_names_the_headers_that_are_missing(gateway: Gateway, s3: S3) -> None:
    bare = gateway.client("bedrock", "unused")
    with pytest.raises(openai.AuthenticationError, match="x-portkey-aws-access-key-id"):
        bare.files.list()
    keys = headers(s3)
    del keys["x-portkey-aws-s3-bucket"]
    with pytest.raises(openai.BadRequestError, match="x-portkey-aws-s3-bucket"):
        gateway.client("bedrock", "unused", **keys).files.list()


def test_refuses_purposes_and_expiry(client: openai.OpenAI, s3: S3) -> None:
    before = len(s3.seen)
    purpose: Any = "a/b"
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a", b"a"), purpose=purpose)
    assert caught.value.code == "unsupported_purpose"
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a", b"a"), purpose="batch", expires_after=expiry)
    assert caught.value.code == "unsupported_expires_after"
    assert len(s3.seen) == before


def test_without_botocore(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(
        openai.InternalServerError, match=r"flask-portkey-files\[bedrock\]"
    ) as e:
        client.files.list()
    assert e.value.status_code == 501


# --- Credentials ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"aws_secret_access_key": "wrong"},
        {"aws_access_key_id": "AKIAWRONG"},
        {"aws_session_token": "wrong"},
    ],
)
def test_wrong_keys(connect: Connect, s3: S3, wrong: dict[str, str]) -> None:
    files = connect(**wrong).files
    file_id = quote(f"s3://{s3.bucket}/x", safe="")
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


@pytest.mark.parametrize("default", ["", "true"])
def test_there_must_be_keys(
    s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, default: str
) -> None:
    """The default chain is looked through where a target says so, and it may be empty."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    options = {"aws_s3_bucket": s3.bucket, "aws_use_default_credentials": default}
    target = Target("bedrock", options=options)
    with (
        Gateway({"bedrock": Bedrock(s3.url)}, resolver=lambda call: target) as gateway,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        gateway.client("bedrock", "unused").files.list()
    assert caught.value.code == "missing_api_key"


def test_sts_can_not_be_reached(s3: S3) -> None:
    provider = Bedrock(s3.url, sts_url="http://127.0.0.1:1")
    named = headers(s3, aws_role_arn=s3.role)
    with (
        Gateway({"bedrock": provider}) as gateway,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        gateway.client("bedrock", "unused", **named).files.list()
    assert caught.value.status_code == 502


def test_roles_are_no_more_than_are_kept(monkeypatch: pytest.MonkeyPatch, s3: S3) -> None:
    monkeypatch.setattr(aws, "MAX_ROLES", 1)
    provider = Bedrock(s3.url, sts_url=s3.url)
    role = {"aws_role_arn": s3.role, "aws_external_id": s3.external_id}
    with Gateway({"bedrock": provider}) as gateway:
        for region in (s3.region, "us-east-1", s3.region):
            before = len(s3.seen)
            named = headers(s3, **role, aws_region=region)
            client = gateway.client("bedrock", "unused", **named)
            with contextlib.suppress(openai.BadRequestError):
                client.files.list(limit=1, order="asc")
            assert s3.seen[before].path == "/"


def test_another_region(connect: Connect) -> None:
    with pytest.raises(openai.BadRequestError, match="x-portkey-aws-region"):
        connect(aws_region="us-west-2").files.list()


def test_assumes_a_role_once(connect: Connect, s3: S3) -> None:
    role = {"aws_auth_type": "assumedRole", "aws_role_arn": s3.role}
    files = connect(**role, aws_external_id=s3.external_id).files
    before = len(s3.seen)
    files.list(order="asc", limit=1)
    made = files.create(file=("a", b"a"), purpose="batch")
    files.delete(made.id)
    paths = [seen.path for seen in s3.seen[before:]]
    assert paths.count("/") == 1
    assert "X-Amz-Security-Token" in s3.seen[-1].headers
    with pytest.raises(openai.PermissionDeniedError) as caught:
        connect(**role).files.list()
    assert caught.value.code == "role_denied"
    with pytest.raises(openai.PermissionDeniedError):
        connect(aws_role_arn=f"{s3.role}-other").files.list()
    wrong = {"aws_external_id": s3.external_id, "aws_secret_access_key": "wrong"}
    with pytest.raises(openai.AuthenticationError):
        connect(**role, **wrong).files.list()


def test_a_file_is_looked_for_in_each_bucket(gateway: Gateway, s3: S3) -> None:
    """That an id is of another bucket is an answer, after which the next target is asked."""
    keys = s3.seed(1, prefix="second/")
    targets = [
        {
            "provider": "bedrock",
            "aws_s3_prefix": prefix,
            "aws_s3_bucket": s3.bucket,
            "aws_region": s3.region,
            "aws_access_key_id": s3.key_id,
            "aws_secret_access_key": s3.secret,
        }
        for prefix in ("first/", "second/")
    ]
    config = json.dumps({"strategy": {"mode": "fallback"}, "targets": targets})
    client = gateway.client("bedrock", "unused", x_portkey_config=config)
    file_id = quote(f"s3://{s3.bucket}/{keys[0]}", safe="")
    assert client.files.retrieve(file_id).id == file_id


@pytest.fixture
def chain(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the user's keys be those of the machine."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret)


@pytest.mark.usefixtures("chain")
def test_the_machines_own_keys_are_for_the_hosts_targets_alone(s3: S3) -> None:
    options = {
        "aws_s3_bucket": s3.bucket,
        "aws_region": s3.region,
        "aws_use_default_credentials": "true",
    }

    def resolve(call: FilesCall) -> Target:
        return Target("bedrock", options=options)

    providers = {"bedrock": Bedrock(s3.url)}
    with Gateway(providers, resolver=resolve) as gateway:
        assert gateway.client("bedrock", "unused").files.list(limit=1) is not None
    named = {f"x-portkey-{name}".replace("_", "-"): value for name, value in options.items()}
    with Gateway(providers) as gateway:
        before = len(s3.seen)
        with pytest.raises(openai.BadRequestError, match="gateway's own targets"):
            gateway.client("bedrock", "unused", **named).files.list()
        assert len(s3.seen) == before


# --- Faults ---------------------------------------------------------------------------------


def test_s3_fails(client: openai.OpenAI, s3: S3) -> None:
    s3.fail(429)
    with pytest.raises(openai.RateLimitError):
        client.files.list()
    s3.fail(500)
    with pytest.raises(openai.InternalServerError) as caught:
        client.files.list()
    assert caught.value.status_code == 500


@pytest.mark.parametrize("requests", [0, 1, 3])
def test_a_part_fails(s3: S3, requests: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin, two parts, complete: whichever fails, nothing stays open."""
    with failing_after(s3, requests, monkeypatch), Gateway({"bedrock": Bedrock(s3.url)}) as g:
        files = g.client("bedrock", "unused", **headers(s3, aws_s3_prefix="failed/"))
        with pytest.raises(openai.InternalServerError) as caught:
            post(files, Blocks(12 * MIB))
        assert caught.value.status_code == 500
        assert not s3._uploads
        assert list(files.files.list()) == []
        assert s3.seen[-2].method == ("DELETE" if requests else "POST")


def failing_after(
    s3: S3, requests: int, monkeypatch: pytest.MonkeyPatch
) -> AbstractContextManager[None]:
    """Have the stand-in fail once, after so many requests."""
    answer, left = s3.answer, [requests]

    def failing(request: Any) -> Any:
        left[0] -= 1
        return s3.error(500) if left[0] == -1 else answer(request)

    @contextlib.contextmanager
    def patched() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(s3, "answer", failing)
            yield

    return patched()


def test_a_completion_that_fails_behind_its_200(
    client: openai.OpenAI, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = s3.answer

    def failing(request: Any) -> Any:
        if request.method == "POST" and "uploadId" in request.args:
            response = s3.error(500)
            response.status_code = 200
            response.set_data(b"  \n" + response.get_data())
            return response
        return answer(request)

    monkeypatch.setattr(s3, "answer", failing)
    with pytest.raises(openai.InternalServerError, match="InternalError") as caught:
        post(client, Blocks(9 * MIB))
    assert caught.value.status_code == 500
    assert not s3._uploads


@pytest.mark.parametrize("abort_fails", [False, True])
def test_a_connection_fails_in_the_middle(s3: S3, abort_fails: bool) -> None:
    """What was begun is given up, and the client hears of what went wrong first."""
    options = {
        "aws_s3_bucket": s3.bucket,
        "aws_access_key_id": "AKIA",
        "aws_secret_access_key": "secret",
    }
    call = FilesCall(operation=Operation.UPLOAD, method="POST")
    upload = Bedrock().upload(call, Target("bedrock", options=options), _form(9 * MIB))
    assert next(upload).method == "POST"
    part = upload.send(_Answer(b"<Result><UploadId>a/b</UploadId></Result>"))
    assert part.url.endswith("?partNumber=1&uploadId=a%2Fb")
    broken = UpstreamError("it broke")
    abort = upload.throw(broken)
    assert (abort.method, abort.url.partition("?")[2]) == ("DELETE", "uploadId=a%2Fb")
    with pytest.raises(UpstreamError) as caught:
        upload.throw(UpstreamError("so too")) if abort_fails else upload.send(_Answer(b""))
    assert caught.value is broken


@pytest.mark.parametrize("fault", ["unsupported_expires_after", "malformed_form"])
def test_a_fault_behind_the_file(gateway: Gateway, s3: S3, fault: str) -> None:
    """Nothing is stored of a form whose end is wrong."""
    expiry = b'--b\r\nContent-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n3600'
    pieces = list(form(Blocks(10), "b"))
    end = {
        "unsupported_expires_after": [b"\r\n", expiry, pieces[-1]],
        "malformed_form": [pieces[-1].rstrip(b"-\r\n")],
    }
    body = b"".join([*pieces[:-1], *end[fault]])
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    before = len(s3.seen)
    sent = {"x-portkey-provider": "bedrock", **headers(s3)}
    sent["Content-Type"] = "multipart/form-data; boundary=b"
    connection.request("POST", "/v1/files", body, sent)
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["error"]["code"]) == (400, fault)
    connection.close()
    assert len(s3.seen) == before


class _Answer:
    """An answer of S3's."""

    status = 200

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.headers = Headers()

    def hurry(self, *, whole: bool) -> None:
        pass

    def blocks(self) -> Iterator[bytes]:
        return iter([self.body])

    def read(self, most: int) -> bytes:
        return self.body

    def json(self) -> Any:
        raise AssertionError

    def close(self) -> None:
        pass


class _Live:
    """A file that is still coming in."""

    length = None

    def __init__(self, size: int) -> None:
        self._size = size

    def blocks(self) -> Iterator[bytes]:
        for _ in range(self._size // MIB):
            yield bytes(MIB)

    def close(self) -> None:
        pass


def _form(size: int) -> UploadForm:
    file = FilePart("a.jsonl", "application/jsonl", (), _Live(size))
    return UploadForm((FormField("purpose", b"batch"),), file)


def test_an_upload_that_the_client_breaks_off(
    connect: Connect, gateway: Gateway, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()
    forward = s3._follow

    def follow(request: Any, upload: Any, response: Any) -> None:
        forward(request, upload, response)
        if request.method == "DELETE" and upload:
            gone.set()

    monkeypatch.setattr(s3, "_follow", follow)
    given = {"x-portkey-provider": "bedrock", **headers(s3, aws_s3_prefix="broken/")}
    break_off(gateway.port, given, 20 * MIB)
    assert gone.wait(30)
    assert not s3._uploads
    assert list(connect(aws_s3_prefix="broken/").files.list()) == []


def test_entities_are_not_expanded(connect: Connect, monkeypatch: Any, s3: S3) -> None:
    from werkzeug.wrappers import Response

    body = '<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>'
    ElementTree.fromstring(body)
    monkeypatch.setattr(s3, "answer", lambda request: Response(body))
    with pytest.raises(openai.InternalServerError) as caught:
        connect().files.list()
    assert caught.value.status_code == 502


# --- Large files ----------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_200_mib_stay_out_of_the_gateway(s3: S3) -> None:
    require(Path("/proc/self/status").exists(), "needs Linux' /proc")
    with Gunicorn(
        "tests.providers.bucket_app:create_app()",
        env={S3_URL: s3.url},
        arguments=("--worker-class", "gthread", "--threads", "2", "--graceful-timeout", "0"),
    ) as server:
        client = openai.OpenAI(
            base_url=f"{server.url}/v1",
            api_key="unused",
            default_headers={"x-portkey-provider": "bedrock", **headers(s3)},
            max_retries=0,
            timeout=60,
        )
        client.files.delete(client.files.create(file=("a", b"a"), purpose="batch").id)
        before = server.peak_memory()
        file = Blocks(200 * MIB)
        made = post(client, file)
        with client.files.with_streaming_response.content(made.id) as response:
            assert digest(response.iter_bytes()) == (file.digest.hexdigest(), file.size)
        rise = server.peak_memory() - before
        client.files.delete(made.id)
    assert rise < 40 * MIB
