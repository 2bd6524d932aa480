"""Amazon S3 and its STS: moto's server in a process of its own behind a strict front."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import IO, Any, ClassVar
from urllib.parse import parse_qs, quote

from werkzeug.wrappers import Request, Response

from .base import BLOCK
from .emulator import Emulated

ACCOUNT = "123456789012"
REGION = "eu-central-1"
BUCKET = "standin-bucket"
USER = "gateway"
ROLE = "files"
EXTERNAL_ID = "standin-external-id"
SEED = "/_standin/seed"

_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_CODES = {
    400: "InvalidRequest",
    401: "InvalidAccessKeyId",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "OperationAborted",
    411: "MissingContentLength",
    429: "SlowDown",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}


class S3(Emulated):
    """A bucket, a user's keys and a role that this user may assume with an external id.

    moto checks signatures, keys and session tokens. The front adds what S3 refuses and moto
    lets pass or crashes on: no signature at all, another region, a payload that is not the one
    that was signed, a body of unknown length, an upload that there is not, a wrong
    continuation token, a role that there is not, and a missing external id.
    """

    source: ClassVar[str] = (
        "moto 5.2, botocore 1.44; https://docs.aws.amazon.com/AmazonS3/latest/API/"
    )
    bucket = BUCKET
    region = REGION
    external_id = EXTERNAL_ID
    #: The user's keys, once the stand-in runs.
    key_id: str
    secret: str
    #: The role's ARN.
    role: str

    def __init__(self) -> None:
        super().__init__()
        self._uploads: set[str] = set()

    # --- For tests --------------------------------------------------------------------------

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small objects under *prefix*, with *metadata*; return their keys."""
        import requests

        answer = requests.post(
            f"http://127.0.0.1:{self._port}{SEED}",
            json={"count": count, "first": self.next_id(), "prefix": "seed/", **options},
            timeout=30,
        )
        answer.raise_for_status()
        keys: list[str] = answer.json()
        return keys

    def error(self, status: int) -> Response:
        """Return S3's XML; without a body to HEAD, which the server sees to."""
        real = {429: 503, 401: 403}.get(status, status)
        return self._error(real, _CODES.get(status, "InternalError"))

    def _error(self, status: int, code: str, **elements: str) -> Response:
        more = "".join(f"<{name}>{value}</{name}>" for name, value in elements.items())
        return Response(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{code}</Code><Message>refused: {code}</Message>{more}"
            "<RequestId>0000000000000000</RequestId><HostId>standin</HostId></Error>",
            status,
            mimetype="application/xml",
        )

    # --- The front --------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Refuse what S3 refuses, and have moto answer the rest."""
        scope = _scope(request)
        if scope is None:
            return self._error(403, "AccessDenied")
        region, service = scope
        if service == "sts":
            return self._sts(request)
        if region != self.region:
            return self._error(400, "AuthorizationHeaderMalformed", Region=self.region)
        digest = request.headers.get("X-Amz-Content-SHA256")
        if digest is None:
            return self._error(400, "InvalidRequest")
        chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
        if chunked and "X-Amz-Decoded-Content-Length" not in request.headers:
            return self._error(501, "NotImplemented", Header="Transfer-Encoding")
        if request.method == "PUT" and request.content_length is None and not chunked:
            return self._error(411, "MissingContentLength")
        upload = request.args.get("uploadId")
        if upload is not None and upload not in self._uploads:
            return self._error(404, "NoSuchUpload", UploadId=upload)
        body, size = self.body(request)
        with body:
            if _HEX_DIGEST.fullmatch(digest) and digest != _sha256(body):
                return self._error(400, "XAmzContentSHA256Mismatch")
            response = self.forward(request, body, size)
        self._follow(request, upload, response)
        if response.status_code == 500 and "continuation-token" in request.args:
            response.close()
            return self._error(400, "InvalidArgument", ArgumentName="continuation-token")
        return response

    def _follow(self, request: Request, upload: str | None, response: Response) -> None:
        """Know which uploads are open."""
        if response.status_code >= 300:
            return
        if request.method == "POST" and "uploads" in request.args:
            response.direct_passthrough = False
            found = re.search(r"<UploadId>(.+?)</UploadId>", response.get_data(as_text=True))
            assert found
            self._uploads.add(found[1])
        elif upload is not None and request.method in {"POST", "DELETE"}:
            self._uploads.discard(upload)

    def _sts(self, request: Request) -> Response:
        body = request.stream.read()
        form = parse_qs(body.decode() or request.query_string.decode())
        asked = (form.get("RoleArn"), form.get("ExternalId"))
        if form.get("Action") == ["AssumeRole"] and asked != ([self.role], [self.external_id]):
            return Response(
                '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
                "<Type>Sender</Type><Code>AccessDenied</Code><Message>User: "
                f"arn:aws:iam::{ACCOUNT}:user/{USER} is not authorized to perform: "
                "sts:AssumeRole</Message></Error><RequestId>0</RequestId></ErrorResponse>",
                403,
                mimetype="text/xml",
            )
        return self.forward(request, body, len(body))

    # --- moto -------------------------------------------------------------------------------

    def command(self) -> Sequence[str]:
        """Run this module."""
        return [sys.executable, "-m", __name__]

    def started(self, line: str) -> int | None:
        """Read what the process made."""
        if not line.startswith("{"):
            return None
        made = json.loads(line)
        self.key_id, self.secret, self.role = made["key_id"], made["secret"], made["role"]
        port: int = made["port"]
        return port


def object_path(key: str, bucket: str = BUCKET) -> str:
    """Return the path of an object, as S3's signature wants it written."""
    return f"/{bucket}/{quote(key, safe='/~')}"


def _scope(request: Request) -> tuple[str, str] | None:
    """Return the region and the service of the request's signature."""
    found = re.match(
        r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request, *SignedHeaders",
        request.headers.get("Authorization", ""),
    )
    return (found[1], found[2]) if found else None


def _sha256(body: IO[bytes]) -> str:
    body.seek(0)
    digest = hashlib.sha256()
    while block := body.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


# --- The process ----------------------------------------------------------------------------


def _serve() -> None:
    """Serve moto; say on standard output where, and with which keys."""
    import threading

    from werkzeug.serving import make_server

    server_of_moto = import_module("moto.moto_server.werkzeug_app")
    moto = server_of_moto.DomainDispatcherApplication(server_of_moto.create_backend_app)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == SEED:
            return _seed(Request(environ))(environ, start_response)
        return moto(environ, start_response)

    server = make_server(
        "127.0.0.1",
        0,
        application,
        threaded=True,
        request_handler=server_of_moto.MotoRequestHandler,
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    print(json.dumps({"port": server.port, **_populate(server.port)}), flush=True)  # noqa: T201
    thread.join()


def _populate(port: int) -> dict[str, str]:
    """Make the bucket, the user and the role; from then on have every request checked."""
    import requests

    boto3 = import_module("boto3")
    url = f"http://127.0.0.1:{port}"

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id="setup",
            aws_secret_access_key="setup",
        )

    iam, s3 = client("iam"), client("s3")
    iam.create_user(UserName=USER)
    key = iam.create_access_key(UserName=USER)["AccessKey"]
    _allow(iam.put_user_policy, ["s3:*", "sts:AssumeRole"], UserName=USER)
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/{USER}"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
    }
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=_policy(trust))["Role"]
    _allow(iam.put_role_policy, ["s3:*"], RoleName=ROLE)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    requests.post(f"{url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
    return {
        "key_id": key["AccessKeyId"],
        "secret": key["SecretAccessKey"],
        "role": role["Arn"],
    }


def _allow(put: Any, actions: list[str], **whom: str) -> None:
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    put(**whom, PolicyName="files", PolicyDocument=_policy(statement))


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _seed(request: Request) -> Response:
    """Store small objects of different times."""
    import datetime

    wanted = request.get_json()
    backend = import_module("moto.s3.models").s3_backends[ACCOUNT]["aws"]
    oldest = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    keys = []
    for number in range(wanted["first"], wanted["first"] + wanted["count"]):
        name = f"{wanted['prefix']}{number:06d}.jsonl"
        stored = backend.put_object(BUCKET, name, f"file {number}".encode())
        stored.last_modified = oldest + datetime.timedelta(seconds=number)
        stored.set_metadata(
            {f"x-amz-meta-{key}": value for key, value in wanted.get("metadata", {}).items()}
        )
        keys.append(name)
    return Response(json.dumps(keys), mimetype="application/json")


if __name__ == "__main__":
    _serve()
