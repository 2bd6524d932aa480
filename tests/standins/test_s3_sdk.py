"""The stand-in of S3 and STS is what boto3 takes it for, and takes requests signed by hand.

The second half sends no byte through boto3: it signs with botocore and sends with requests,
which is how a gateway streams through its own transport.
"""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import psutil
import pytest
import requests

from tests.standins.s3 import S3, object_path
from tests.support.parts import require

PART = 5 * 1024 * 1024
UNSIGNED = "UNSIGNED-PAYLOAD"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"

Client = Callable[..., Any]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    for part in ("boto3", "moto"):
        require(importlib.util.find_spec(part), "pip install boto3 'moto[server,s3,sts,iam]'")
    with S3() as s3:
        yield s3


@pytest.fixture
def client(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Make a client of a service, with the user's keys unless others are given."""
    boto3, config = import_module("boto3"), import_module("botocore.config")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def make(service: str = "s3", **options: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=s3.url,
            config=config.Config(retries={"total_max_attempts": 1}),
            **{
                "region_name": s3.region,
                "aws_access_key_id": s3.key_id,
                "aws_secret_access_key": s3.secret,
                **options,
            },
        )

    return make


@pytest.fixture
def files(client: Client) -> Any:
    return client()


def refused(call: Callable[[], object]) -> tuple[int, str]:
    """Return the status and the code with which the service refuses *call*."""
    error: Any = import_module("botocore.exceptions").ClientError
    with pytest.raises(error) as caught:
        call()
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def upload_in_parts(files: Any, s3: S3, key: str, *parts: bytes, **options: Any) -> Any:
    upload = files.create_multipart_upload(Bucket=s3.bucket, Key=key, **options)["UploadId"]
    where = {"Bucket": s3.bucket, "Key": key, "UploadId": upload}
    tags = [
        files.upload_part(**where, PartNumber=number, Body=part)["ETag"]
        for number, part in enumerate(parts, 1)
    ]
    listed = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
    return files.complete_multipart_upload(**where, MultipartUpload={"Parts": listed})


# --- boto3 ----------------------------------------------------------------------------------


def test_uploads_in_parts(files: Any, s3: S3) -> None:
    made = upload_in_parts(
        files,
        s3,
        "parts/a b+é.jsonl",
        b"x" * PART,
        b"y",
        ContentType="application/jsonl",
        Metadata={"purpose": "batch"},
    )
    assert made["ETag"].endswith('-2"')
    head = files.head_object(Bucket=s3.bucket, Key="parts/a b+é.jsonl")
    assert head["ContentLength"] == PART + 1
    assert head["ContentType"] == "application/jsonl"
    assert head["Metadata"] == {"purpose": "batch"}
    assert head["ETag"] == made["ETag"]
    body = files.get_object(Bucket=s3.bucket, Key="parts/a b+é.jsonl")["Body"]
    assert body.read() == b"x" * PART + b"y"


def test_a_part_but_the_last_has_5_mib(files: Any, s3: S3) -> None:
    too_small = (400, "EntityTooSmall")
    assert refused(lambda: upload_in_parts(files, s3, "small", b"x", b"y")) == too_small


def test_aborts(files: Any, s3: S3) -> None:
    upload = files.create_multipart_upload(Bucket=s3.bucket, Key="aborted")["UploadId"]
    where = {"Bucket": s3.bucket, "Key": "aborted", "UploadId": upload}
    files.upload_part(**where, PartNumber=1, Body=b"x")
    files.abort_multipart_upload(**where)
    gone = (404, "NoSuchUpload")
    parts = {"Parts": [{"PartNumber": 1, "ETag": "x"}]}
    assert refused(lambda: files.upload_part(**where, PartNumber=2, Body=b"y")) == gone
    assert refused(lambda: files.abort_multipart_upload(**where)) == gone
    assert (
        refused(lambda: files.complete_multipart_upload(**where, MultipartUpload=parts)) == gone
    )
    assert refused(lambda: files.head_object(Bucket=s3.bucket, Key="aborted"))[0] == 404


def test_replaces_metadata_by_a_copy(files: Any, s3: S3) -> None:
    where = {"Bucket": s3.bucket, "Key": "copied"}
    files.put_object(**where, Body=b"content", Metadata={"purpose": "batch"})
    files.copy_object(
        **where,
        CopySource=where,
        Metadata={"purpose": "fine-tune"},
        MetadataDirective="REPLACE",
    )
    head = files.head_object(**where)
    assert (head["Metadata"], head["ContentLength"]) == ({"purpose": "fine-tune"}, 7)


def test_lists_2500_objects(files: Any, s3: S3) -> None:
    keys = s3.seed(2500, prefix="many/", metadata={"purpose": "batch"})
    paginator = files.get_paginator("list_objects_v2")
    pages = list(paginator.paginate(Bucket=s3.bucket, Prefix="many/"))
    assert [page["KeyCount"] for page in pages] == [1000, 1000, 500]
    listed = [item for page in pages for item in page["Contents"]]
    assert [item["Key"] for item in listed] == keys
    times = [item["LastModified"] for item in listed]
    assert times == sorted(times)
    assert times[0] < times[-1]
    assert listed[0]["Size"] == len(f"file {int(keys[0][5:11])}")
    head = files.head_object(Bucket=s3.bucket, Key=keys[-1])
    assert head["Metadata"] == {"purpose": "batch"}
    after = files.list_objects_v2(
        Bucket=s3.bucket, Prefix="many/", StartAfter=keys[-2], MaxKeys=2
    )
    assert [item["Key"] for item in after["Contents"]] == keys[-1:]
    assert after["IsTruncated"] is False


def test_refuses_a_wrong_continuation_token(files: Any, s3: S3) -> None:
    wrong = {"Bucket": s3.bucket, "ContinuationToken": "wrong"}
    assert refused(lambda: files.list_objects_v2(**wrong)) == (400, "InvalidArgument")


def test_reads_a_range(files: Any, s3: S3) -> None:
    where = {"Bucket": s3.bucket, "Key": "ranged"}
    files.put_object(**where, Body=b"0123456789")
    answer = files.get_object(**where, Range="bytes=2-4")
    assert answer["Body"].read() == b"234"
    assert answer["ContentRange"] == "bytes 2-4/10"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert refused(lambda: files.get_object(**where, Range="bytes=10-")) == (
        416,
        "InvalidRange",
    )


def test_deletes_and_knows_no_unknown_key(files: Any, s3: S3) -> None:
    where = {"Bucket": s3.bucket, "Key": "deleted"}
    files.put_object(**where, Body=b"x")
    files.delete_object(**where)
    assert refused(lambda: files.get_object(**where)) == (404, "NoSuchKey")
    # HEAD has no body, so there is no code in it.
    assert refused(lambda: files.head_object(**where)) == (404, "404")
    again = files.delete_object(**where)
    assert again["ResponseMetadata"]["HTTPStatusCode"] == 204
    elsewhere = {"Bucket": "no-such-bucket", "Key": "x"}
    assert refused(lambda: files.get_object(**elsewhere)) == (404, "NoSuchBucket")


@pytest.mark.parametrize(
    "wanted",
    [
        {"ServerSideEncryption": "AES256"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "standin-key"},
    ],
)
def test_keeps_the_encryption(files: Any, s3: S3, wanted: dict[str, str]) -> None:
    made = upload_in_parts(files, s3, "encrypted", b"x", **wanted)
    head = files.head_object(Bucket=s3.bucket, Key="encrypted")
    for answer in (made, head):
        assert {name: answer[name] for name in wanted} == wanted


def test_the_sdk_refuses_metadata_that_is_not_ascii(files: Any, s3: S3) -> None:
    error: Any = import_module("botocore.exceptions").ParamValidationError
    with pytest.raises(error):
        files.put_object(Bucket=s3.bucket, Key="x", Body=b"", Metadata={"name": "ü"})
    metadata = {"name": quote("ü 1.jsonl")}
    files.put_object(Bucket=s3.bucket, Key="x", Body=b"", Metadata=metadata)
    assert files.head_object(Bucket=s3.bucket, Key="x")["Metadata"] == metadata


def test_refuses_wrong_credentials(client: Client, s3: S3) -> None:
    def listing(**options: str) -> tuple[int, str]:
        return refused(lambda: client(**options).list_objects_v2(Bucket=s3.bucket))

    assert listing(aws_secret_access_key="wrong") == (403, "SignatureDoesNotMatch")
    assert listing(aws_access_key_id="AKIAWRONG") == (403, "InvalidAccessKeyId")
    assert listing(aws_session_token="wrong") == (400, "InvalidToken")


def test_assumes_a_role_with_the_external_id(client: Client, s3: S3) -> None:
    wanted = {"RoleArn": s3.role, "RoleSessionName": "gateway"}
    sts = client("sts")
    made = sts.assume_role(**wanted, ExternalId=s3.external_id)["Credentials"]
    keys = {
        "aws_access_key_id": made["AccessKeyId"],
        "aws_secret_access_key": made["SecretAccessKey"],
    }
    answer = client(**keys, aws_session_token=made["SessionToken"]).list_objects_v2(
        Bucket=s3.bucket, MaxKeys=1
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    broken = client(**keys, aws_session_token="wrong")
    assert refused(lambda: broken.list_objects_v2(Bucket=s3.bucket)) == (400, "InvalidToken")

    denied = (403, "AccessDenied")
    assert refused(lambda: sts.assume_role(**wanted)) == denied
    assert refused(lambda: sts.assume_role(**wanted, ExternalId="wrong")) == denied
    other = {**wanted, "RoleArn": f"{s3.role}-other", "ExternalId": s3.external_id}
    assert refused(lambda: sts.assume_role(**other)) == denied
    wrong = client("sts", aws_secret_access_key="wrong")
    assert refused(lambda: wrong.assume_role(**wanted, ExternalId=s3.external_id)) == (
        403,
        "SignatureDoesNotMatch",
    )


@pytest.mark.parametrize(
    ("status", "expected"), [(429, (503, "SlowDown")), (500, (500, "InternalError"))]
)
def test_fails(files: Any, s3: S3, status: int, expected: tuple[int, str]) -> None:
    s3.fail(status)
    assert refused(lambda: files.list_objects_v2(Bucket=s3.bucket)) == expected
    assert s3.seen[-1].query["list-type"] == "2"


# --- Signed by hand, sent by requests -------------------------------------------------------


def signed(
    s3: S3,
    method: str,
    target: str,
    *,
    headers: dict[str, str] | None = None,
    payload: str = UNSIGNED,
    credentials: Any = None,
    region: str | None = None,
) -> dict[str, str]:
    """Return the headers with which S3 takes this request.

    *target* is signed as it stands: it has to be sent just so. A body is not looked at.
    """
    credentials = credentials or user(s3)
    auth = import_module("botocore.auth").S3SigV4Auth(credentials, "s3", region or s3.region)
    # What was decided; of itself it hashes the body of a request over plain HTTP.
    auth.payload = lambda request: payload
    request = import_module("botocore.awsrequest").AWSRequest(
        method=method, url=s3.url + target, headers=headers or {}
    )
    auth.add_auth(request)
    return dict(request.headers)


def user(s3: S3) -> Any:
    return import_module("botocore.credentials").Credentials(s3.key_id, s3.secret)


@pytest.fixture
def send(s3: S3) -> Iterator[Callable[..., requests.Response]]:
    with requests.Session() as session:
        session.trust_env = False

        def send(method: str, target: str, data: Any = None, **options: Any) -> Any:
            return session.request(
                method,
                s3.url + target,
                data=data,
                headers=signed(s3, method, target, **options),
                allow_redirects=False,
                timeout=30,
            )

        yield send


Send = Callable[..., requests.Response]


def element(response: requests.Response, name: str) -> str | None:
    return ElementTree.fromstring(response.content).findtext(f"{NAMESPACE}{name}")


def code(response: requests.Response) -> str | None:
    """Return an error's code: errors have no namespace."""
    return ElementTree.fromstring(response.content).findtext("Code")


def test_uploads_what_has_no_known_length(send: Send, s3: S3, files: Any) -> None:
    """Three parts of a source that tells its end only when it is read."""
    path = object_path("by hand/é+~.jsonl")
    source = io.BytesIO(b"a" * PART + b"b" * PART + b"c")
    headers = {
        "Content-Type": "application/jsonl",
        "x-amz-meta-filename": quote("é.jsonl"),
        "x-amz-server-side-encryption": "AES256",
    }
    begun = send("POST", f"{path}?uploads=", headers=headers)
    assert begun.status_code == 200
    assert begun.headers["x-amz-server-side-encryption"] == "AES256"
    upload = element(begun, "UploadId")
    listed = ""
    number = 0
    while part := source.read(PART):
        number += 1
        answer = send("PUT", f"{path}?partNumber={number}&uploadId={upload}", part)
        assert (answer.status_code, answer.content) == (200, b"")
        tag = answer.headers["ETag"]
        listed += f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
    done = send(
        "POST",
        f"{path}?uploadId={upload}",
        f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>",
    )
    assert done.status_code == 200
    assert element(done, "Key") == "by hand/é+~.jsonl"
    assert number == 3

    head = send("HEAD", path)
    assert head.headers["Content-Length"] == str(2 * PART + 1)
    assert head.headers["x-amz-meta-filename"] == quote("é.jsonl")
    got = files.get_object(Bucket=s3.bucket, Key="by hand/é+~.jsonl")["Body"].read()
    assert got == source.getvalue()


def test_streams_a_part_of_known_length(send: Send, s3: S3) -> None:
    """Neither held nor hashed: a stream with its own Content-Length."""

    class Stream:
        def __init__(self, blocks: int) -> None:
            self.left = blocks

        def __len__(self) -> int:
            return self.left * 1024

        def read(self, size: int = -1) -> bytes:
            self.left, had = 0, self.left
            return b"x" * 1024 * had

    answer = send("PUT", object_path("streamed"), Stream(64))
    assert answer.status_code == 200
    seen = s3.seen[-1].headers
    assert (seen["Content-Length"], seen["X-Amz-Content-Sha256"]) == ("65536", UNSIGNED)
    assert "Transfer-Encoding" not in seen


def test_refuses_a_body_of_unknown_length(send: Send) -> None:
    answer = send("PUT", object_path("chunked"), iter([b"x", b"y"]))
    assert (answer.status_code, code(answer)) == (501, "NotImplemented")


def test_refuses_another_payload_than_was_signed(send: Send) -> None:
    answer = send("PUT", object_path("other"), b"x", payload="0" * 64)
    assert (answer.status_code, code(answer)) == (400, "XAmzContentSHA256Mismatch")


def test_refuses_another_region_and_says_which(send: Send, client: Client, s3: S3) -> None:
    answer = send("GET", f"/{s3.bucket}?list-type=2", region="us-east-1")
    assert (answer.status_code, code(answer)) == (400, "AuthorizationHeaderMalformed")
    assert ElementTree.fromstring(answer.content).findtext("Region") == s3.region
    # boto3 goes to the region that it was told.
    before = len(s3.seen)
    client(region_name="us-east-1").list_objects_v2(Bucket=s3.bucket, MaxKeys=1)
    regions = [seen.headers["Authorization"].split("/")[2] for seen in s3.seen[before:]]
    assert regions == ["us-east-1", s3.region]


def test_refuses_a_request_without_a_signature(s3: S3) -> None:
    answer = requests.get(s3.url + object_path("x"), timeout=30)
    assert (answer.status_code, code(answer)) == (403, "AccessDenied")


def test_answers_as_s3_documents(send: Send, s3: S3) -> None:
    unknown = send("GET", object_path("unknown"))
    assert (unknown.status_code, code(unknown)) == (404, "NoSuchKey")
    assert (send("HEAD", object_path("unknown")).content) == b""
    gone = send("DELETE", object_path("unknown"))
    assert (gone.status_code, gone.content) == (204, b"")
    send("PUT", object_path("xml/a b+é"), b"x")
    page = send("GET", f"/{s3.bucket}?encoding-type=url&list-type=2&max-keys=1&prefix=xml%2F")
    # With encoding-type=url a key is one that XML can hold, whatever is in it.
    key = re.search("<Key>(.+?)</Key>", page.text)
    assert key is not None
    assert key[1] == "xml/a%20b%2B%C3%A9"
    assert element(page, "IsTruncated") == "false"


def test_signs_as_a_role_that_botocore_keeps_fresh(client: Client, s3: S3, send: Send) -> None:
    """botocore assumes the role once, and again only when its credentials run out."""
    botocore = import_module("botocore.credentials")
    fetcher = botocore.AssumeRoleCredentialFetcher(
        client_creator=lambda service, **options: client(service),
        source_credentials=user(s3),
        role_arn=s3.role,
        extra_args={"ExternalId": s3.external_id, "RoleSessionName": "gateway"},
    )
    role = botocore.DeferredRefreshableCredentials(
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
    before = len(s3.seen)
    for _ in range(3):
        frozen = role.get_frozen_credentials()
        answer = send("GET", f"/{s3.bucket}?list-type=2&max-keys=1", credentials=frozen)
        assert answer.status_code == 200
    paths = [seen.path for seen in s3.seen[before:]]
    assert paths == ["/", *[f"/{s3.bucket}"] * 3]


def test_finds_credentials_by_the_default_chain(
    s3: S3, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret)
    found = import_module("botocore.session").Session().get_credentials()
    assert found.method == "env"
    answer = send("GET", f"/{s3.bucket}?list-type=2", credentials=found)
    assert answer.status_code == 200


@pytest.mark.timeout(60)
def test_a_large_file_stays_out_of_this_process(send: Send, s3: S3) -> None:
    """moto holds a whole object in memory; the front and the caller hold none."""
    path = object_path("large")
    me = psutil.Process()
    upload = element(send("POST", f"{path}?uploads="), "UploadId")
    part = bytes(8 * 1024 * 1024)
    before = me.memory_info().rss
    listed = ""
    for number in range(1, 5):
        answer = send("PUT", f"{path}?partNumber={number}&uploadId={upload}", part)
        tag = answer.headers["ETag"]
        listed += f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    assert send("POST", f"{path}?uploadId={upload}", body).status_code == 200
    response = requests.get(
        s3.url + path, headers=signed(s3, "GET", path), stream=True, timeout=30
    )
    with response:
        size = sum(len(block) for block in response.iter_content(256 * 1024))
    assert size == 4 * len(part)
    assert me.memory_info().rss - before < 2 * len(part)
    assert send("DELETE", path).status_code == 204
