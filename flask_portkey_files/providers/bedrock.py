"""Amazon S3, where Bedrock's batch jobs read their files.

The contract: https://docs.aws.amazon.com/AmazonS3/latest/API/ ; the names of ids, headers and
options are those of Portkey's gateway.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote, unquote, unquote_plus, urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from werkzeug.datastructures import Headers
from werkzeug.http import parse_date

from ..aws import WRONG_CREDENTIALS, Credentials, Identity, require, sign
from ..call import FilesCall
from ..errors import (
    FilesError,
    InvalidCredential,
    InvalidRoute,
    MissingCredential,
    UpstreamError,
)
from ..form import FileBody, UploadForm
from ..routing import Target
from .base import (
    Conversation,
    HTTPProvider,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
    checked_base_url,
)
from .capabilities import Capabilities
from .objects import (
    CONDITIONS,
    Bucket,
    NewFile,
    bucket,
    listed,
    refusal,
    refused,
    told_by,
    unknown_file,
    without_host_option,
)
from .paging import ListQuery, Page
from .shape import MAX_ERROR, Refusal, deletion, file_object, unix_seconds, whole_number

#: The option that only a host's own target may have.
USE_DEFAULT = "aws_use_default_credentials"

MIB = 1024 * 1024

#: How much of a file whose length is unknown is held, and sent at once.
PART_SIZE = 8 * MIB
#: The largest object that one request can make, and how many parts one can have.
MAX_PUT = 5 * 1024 * MIB
MAX_PARTS = 10_000
#: The largest page of a list, and the longest answer that is read.
MAX_KEYS = 1000
MAX_XML = 16 * MIB

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
# It becomes part of a host's name, so it must be able to say nothing else. Other services that
# speak S3 have a region `auto`.
_REGION = re.compile(r"auto|[a-z]{2}(-[a-z]{2,12}){1,2}-[1-9][0-9]?")
_FILENAME, _PURPOSE = "x-amz-meta-filename", "x-amz-meta-purpose"
#: Metadata has 2 KB in all.
_LONGEST_NAME = 1500
_SLOW = frozenset({"RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException"})


class Bedrock(HTTPProvider):
    """Amazon S3: a file is an object, and its id the escaped ``s3://`` URI.

    Its options: ``aws_s3_bucket``; ``aws_s3_prefix``, with which the keys of all files begin;
    ``aws_s3_object_key`` or ``provider_file_name``, the key of an upload (an object that has
    it already is replaced, as by Portkey's gateway); ``aws_region`` (``us-east-1``);
    ``aws_access_key_id``, ``aws_secret_access_key`` and ``aws_session_token``;
    ``aws_role_arn``, ``aws_external_id`` and ``aws_auth_type``, for a role that these keys may
    assume; ``amz_server_side_encryption`` and ``amz_server_side_encryption_aws_kms_key_id``.
    A host's own target alone may say ``aws_use_default_credentials``: ``true`` for the default
    chain of the machine that the gateway runs on.

    A file that is still coming in is sent in parts of 8 MiB, and what has been sent of a file
    that does not come to its end is given up. S3 lists neither purposes nor file names, so both
    are in the keys that are made here; an object with another key is listed under the last part
    of its key and with the purpose ``batch``. The order ``asc`` is that of the keys, which for
    keys made here is the order of time.

    The first request on behalf of a role, and the first one with the default chain, wait for
    AWS's answer to that inside of the conversation, for 10 seconds at most each time, and again
    when such credentials run out.

    :param base_url: where S3 is, if not at the region's own address.
    :param sts_url: where STS is, likewise.
    """

    capabilities: Capabilities = Capabilities(
        max_bytes=MAX_PARTS * PART_SIZE,
        note="Objects of an S3 bucket; needs flask-portkey-files[bedrock].",
    )
    options: ClassVar[tuple[str, ...]] = (
        "aws_s3_bucket",
        "aws_s3_prefix",
        "aws_s3_object_key",
        "provider_file_name",
        "aws_region",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "aws_role_arn",
        "aws_external_id",
        "aws_auth_type",
        "amz_server_side_encryption",
        "amz_server_side_encryption_aws_kms_key_id",
        USE_DEFAULT,
    )

    def __init__(self, base_url: str | None = None, *, sts_url: str | None = None) -> None:
        super().__init__(base_url or "https://s3.amazonaws.com")
        self._own_url = None if base_url is None else checked_base_url(base_url)
        self._credentials = Credentials(sts_url)

    def check(self, call: FilesCall, target: Target) -> None:
        """Refuse a call that can't work, or whose target is incomplete."""
        super().check(call, target)
        require()
        self.credentials(target)
        _bucket(target)

    def from_client(self, target: Target) -> Target:
        """Return *target*, unless it would use the machine's own credentials.

        :raises InvalidRoute: it would.
        """
        return without_host_option(target, USE_DEFAULT)

    def base_url(self, call: FilesCall, target: Target) -> str:  # noqa: ARG002
        """Return S3's address in the target's region.

        :raises InvalidRoute: the region is none.
        """
        region = _region(target)
        if target.base_url:
            return checked_base_url(target.base_url)
        top = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return self._own_url or f"https://s3.{region}.{top}"

    def credentials(self, target: Target) -> Headers:
        """Return no headers: each request is signed. But there must be keys to do that with.

        :raises MissingCredential: there are none.
        :raises InvalidRoute: a role is to be assumed, and not named.
        """
        _identity(target)
        return Headers()

    def request(
        self,
        call: FilesCall,
        target: Target,
        method: str,
        path: str,
        *,
        body: UploadForm | FileBody | bytes | None = None,
        query: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UpstreamRequest:
        """Return the signed request for *path*. It may have to ask AWS for credentials.

        :raises Refusal: AWS does not give them.
        """
        request = super().request(
            call, target, method, path, body=body, query=query or "", headers=headers
        )
        identity = _identity(target)
        try:
            found = self._credentials.find(identity)
        except InvalidCredential as error:
            raise refused(error) from error
        sign(method, request.url, request.headers, found, region=identity.region)
        return request

    # --- The operations ---------------------------------------------------------------------

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Store the file: as it is if it fits into one request, else in parts."""
        file, where = NewFile.of(call, form), _bucket(target)
        options = target.options
        named = options.get("aws_s3_object_key") or options.get("provider_file_name")
        key = where.new_key(named, file)
        headers = _described(file, target)
        path = _path(where, key)
        length = form.file.body.length
        if length is not None and length <= MAX_PUT:
            whole = form.file.body
            response = yield self._plain(call, target, "PUT", path, body=whole, headers=headers)
            _accepted(response)
            return Reshaped(response, _uploaded(where, key, file, length))
        parts = _parts(form)
        part = next(parts)
        if part.last:
            response = yield self._plain(call, target, "PUT", path, body=part, headers=headers)
            _accepted(response)
            return Reshaped(response, _uploaded(where, key, file, part.length))
        response = yield self._plain(call, target, "POST", path, "uploads=", headers=headers)
        upload_id = _xml(_accepted(response)).findtext("{*}UploadId")
        if not upload_id:
            raise UpstreamError("Amazon S3 began an upload without an id.")
        ours = f"uploadId={quote(upload_id, safe='')}"
        try:
            response, length = yield from self._send(call, target, path, ours, part, parts)
        except GeneratorExit:
            raise
        except BaseException:
            yield from self._abort(call, target, path, ours)
            raise
        return Reshaped(response, _uploaded(where, key, file, length))

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List the objects below the prefix."""
        query, where = ListQuery.of(call), _bucket(target)
        params = {"encoding-type": "url", "list-type": "2", "max-keys": str(MAX_KEYS)}
        if where.prefix:
            params["prefix"] = where.prefix

        def fetch(cursor: Any) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
            more = {}
            if cursor is not None:
                more = {"continuation-token": cursor}
            elif query.after is not None and query.order == "asc":
                more = {"start-after": where.key(query.after) or ""}
            asked = urlencode({**params, **more}, quote_via=quote, safe="")
            path = f"/{where.name}"
            response = yield self._plain(call, target, "GET", path, asked)
            root = _xml(_accepted(response))
            files = [_listed(where, key, item) for key, item in _contents(root, where)]
            truncated = root.findtext("{*}IsTruncated") == "true"
            following = root.findtext("{*}NextContinuationToken") if truncated else None
            return Page(files, following, response)

        return (yield from listed(fetch, query, where))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the object's metadata."""
        where = _bucket(target)
        key = where.key_of(call)
        response = yield from self._head(call, target, _path(where, key))
        headers = response.headers
        name, purpose, created_at = told_by(key)
        name = unquote(headers.get(_FILENAME, "")) or name
        file = file_object(
            id=where.file_id(key),
            size=whole_number(headers.get("Content-Length", "")),
            created_at=created_at or _http_date(headers.get("Last-Modified")),
            filename=name,
            purpose=headers.get(_PURPOSE) or purpose,
        )
        return Reshaped(response, file)

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the object's content, or the range of it that is asked for."""
        where = _bucket(target)
        path = _path(where, where.key_of(call))
        response = yield self.request(call, target, call.method, path)
        if response.status != 304:
            _accepted(response, file=True)
        return Relayed(response)

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the object. S3 says the same where there was none, so that is asked before."""
        where = _bucket(target)
        key = where.key_of(call)
        path = _path(where, key)
        yield from self._head(call, target, path)
        response = yield self._plain(call, target, "DELETE", path)
        _accepted(response, file=True)
        return Reshaped(response, deletion(where.file_id(key)))

    # --- What they are made of --------------------------------------------------------------

    def _plain(
        self,
        call: FilesCall,
        target: Target,
        method: str,
        path: str,
        query: str = "",
        *,
        body: FileBody | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UpstreamRequest:
        """Return a request without the client's conditions, whose answer is reshaped."""
        unconditional = Headers(call.headers)
        for name in CONDITIONS:
            unconditional.remove(name)
        call = replace(call, headers=unconditional)
        return self.request(call, target, method, path, query=query, body=body, headers=headers)

    def _head(
        self, call: FilesCall, target: Target, path: str
    ) -> Generator[UpstreamRequest, UpstreamResponse, UpstreamResponse]:
        """Ask for an object's head.

        :raises Refusal: there is none. Why not, HEAD does not say; so GET is asked for one byte
            where that matters.
        """
        response = yield self._plain(call, target, "HEAD", path)
        if response.status in {400, 403}:
            first = {"Range": "bytes=0-0"}
            explained = yield self._plain(call, target, "GET", path, headers=first)
            _accepted(explained, file=True)
            raise UpstreamError(f"Amazon S3 answered {response.status} without a reason.")
        return _accepted(response, file=True)

    def _send(  # noqa: PLR0917 - the state of one upload
        self,
        call: FilesCall,
        target: Target,
        path: str,
        ours: str,
        part: _Part,
        parts: Iterator[_Part],
    ) -> Generator[UpstreamRequest, UpstreamResponse, tuple[UpstreamResponse, int]]:
        """Send the parts of an upload and complete it; return the last answer and the size."""
        tags: list[str] = []
        size = 0
        while True:
            query = f"partNumber={len(tags) + 1}&{ours}"
            response = yield self._plain(call, target, "PUT", path, query, body=part)
            tag = _accepted(response).headers.get("ETag")
            if not tag:
                raise UpstreamError("Amazon S3 took a part and gave no tag for it.")
            tags.append(tag)
            size += part.length
            part.close()
            if part.last:
                break
            part = next(parts)
        listing = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
            for number, tag in enumerate(tags, 1)
        )
        body = f"<CompleteMultipartUpload>{listing}</CompleteMultipartUpload>".encode()
        xml = {"Content-Type": "application/xml"}
        response = yield self._plain(call, target, "POST", path, ours, body=body, headers=xml)
        root = _xml(_accepted(response))
        if root.tag.rpartition("}")[2] == "Error":
            # S3 has to begin its answer before it knows.
            code = root.findtext("Code") or "InternalError"
            slow = code in _SLOW
            raise _worded(response, 429 if slow else 500, code)
        return response, size

    def _abort(
        self, call: FilesCall, target: Target, path: str, ours: str
    ) -> Generator[UpstreamRequest, UpstreamResponse, None]:
        """Give up what has been sent; the error that led to it is what the client hears of."""
        # If this fails too, a rule of the bucket's lifecycle can clear it away.
        with contextlib.suppress(FilesError, Refusal):
            yield self._plain(call, target, "DELETE", path, ours)


class _Part:
    """A part of a file, held in the blocks in which it came."""

    def __init__(self, blocks: list[bytes], length: int, *, last: bool) -> None:
        self._blocks = blocks
        self.length = length
        #: Whether the file ends with it.
        self.last = last

    def blocks(self) -> Iterator[bytes]:
        return iter(self._blocks)

    def close(self) -> None:
        self._blocks.clear()


def _parts(form: UploadForm) -> Iterator[_Part]:
    """Yield the file in parts, the last one only when the form has come to its proper end."""
    blocks: list[bytes] = []
    size = 0
    for block in form.file.body.blocks():
        if size >= PART_SIZE:
            yield _Part(blocks, size, last=False)
            blocks, size = [], 0
        blocks.append(block)
        size += len(block)
    for _ in form.trailing:
        pass
    yield _Part(blocks, size, last=True)


def _region(target: Target) -> str:
    region = target.options.get("aws_region") or "us-east-1"
    if not _REGION.fullmatch(region):
        raise InvalidRoute(
            "The header x-portkey-aws-region must be the name of a region, e.g. us-east-1.",
            param="x-portkey-aws-region",
        )
    return region


def _bucket(target: Target) -> Bucket:
    options = target.options
    return bucket(
        "s3",
        options.get("aws_s3_bucket", ""),
        options.get("aws_s3_prefix", ""),
        pattern=_BUCKET,
        header="x-portkey-aws-s3-bucket",
    )


def _identity(target: Target) -> Identity:
    """Return on whose behalf the target's requests are signed."""
    options = target.options
    key_id, secret = options.get("aws_access_key_id"), options.get("aws_secret_access_key")
    if not (key_id and secret):
        # Where the client chose the address, the host's own signature is not for it.
        use_default = options.get(USE_DEFAULT, "").lower() == "true"
        if key_id or secret or not use_default or target.custom_host is not None:
            raise MissingCredential(
                f"No AWS keys for the provider {target.provider}. Send them in the headers "
                "`x-portkey-aws-access-key-id` and `x-portkey-aws-secret-access-key`, with "
                "`x-portkey-aws-session-token` if they are temporary.",
                param="x-portkey-aws-access-key-id",
            )
    kind, role = options.get("aws_auth_type"), options.get("aws_role_arn")
    if kind == "assumedRole" and not role:
        raise InvalidRoute(
            "To assume a role, name it in the header x-portkey-aws-role-arn.",
            param="x-portkey-aws-role-arn",
        )
    return Identity(
        key_id=key_id or None,
        secret=secret or None,
        token=options.get("aws_session_token") or None if key_id else None,
        role_arn=role if role and kind in {None, "", "assumedRole"} else None,
        external_id=options.get("aws_external_id") or None,
        region=_region(target),
    )


def _path(where: Bucket, key: str) -> str:
    return f"/{where.name}/{quote(key, safe='/~')}"


def _described(file: NewFile, target: Target) -> dict[str, str]:
    """Return the headers that say what an object is."""
    name = file.name
    while len(quote(name, safe="", errors="replace")) > _LONGEST_NAME:
        name = name[: len(name) // 2]
    headers = {
        "Content-Type": file.content_type,
        # Metadata is ASCII.
        _FILENAME: quote(name, safe="", errors="replace"),
        _PURPOSE: file.purpose,
    }
    for option in ("amz_server_side_encryption", "amz_server_side_encryption_aws_kms_key_id"):
        if value := target.options.get(option):
            headers[f"x-{option.replace('_', '-')}"] = value
    return headers


def _uploaded(where: Bucket, key: str, file: NewFile, size: int) -> dict[str, Any]:
    return file_object(
        id=where.file_id(key),
        size=size,
        created_at=int(file.time.timestamp()),
        filename=file.name,
        purpose=file.purpose,
    )


def _contents(
    root: ElementTree.Element, where: Bucket
) -> Iterator[tuple[str, ElementTree.Element]]:
    """Yield the objects of a list that have an id, with their keys."""
    for item in root.iterfind("{*}Contents"):
        # As the query asked for it: XML itself can't hold every key.
        key = unquote_plus(item.findtext("{*}Key") or "")
        if where.lists(key):
            yield key, item


def _listed(where: Bucket, key: str, item: ElementTree.Element) -> dict[str, Any]:
    name, purpose, created_at = told_by(key)
    return file_object(
        id=where.file_id(key),
        size=whole_number(item.findtext("{*}Size") or ""),
        created_at=created_at or unix_seconds(item.findtext("{*}LastModified")),
        filename=name,
        purpose=purpose,
    )


def _http_date(value: str | None) -> int | None:
    try:
        date = parse_date(value)
    except OverflowError:
        return None
    return None if date is None else int(date.timestamp())


# --- What S3 says ---------------------------------------------------------------------------


def _xml(response: UpstreamResponse) -> ElementTree.Element:
    """Return the answer's root element.

    :raises UpstreamError: it is no XML.
    """
    root = _parsed(response.read(MAX_XML))
    if root is None:
        raise UpstreamError(
            f"Amazon S3 answered {response.status} with a body that is not the XML expected."
        )
    return root


def _parsed(body: bytes) -> ElementTree.Element | None:
    # S3 sends blanks to keep a connection while it completes an upload.
    body = body.strip()
    # With a zero byte it is UTF-16, where these would look otherwise.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\0" in body:
        return None
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - it declares nothing of its own
    except (ElementTree.ParseError, LookupError, ValueError):
        # The two last are for an encoding that is unknown.
        return None


def _accepted(response: UpstreamResponse, *, file: bool = False) -> UpstreamResponse:
    """Return *response* if it is a success.

    :param file: whether it is a file's, so that 404 means that there is no such file.
    :raises Refusal: it is none; the client gets it in OpenAI's envelope.
    :raises UpstreamError: it is a redirect.
    """
    status = response.status
    if 200 <= status < 300:
        return response
    try:
        root = _parsed(response.read(MAX_ERROR))
    except UpstreamError:
        root = None
    code = "" if root is None else root.findtext("{*}Code") or ""
    if status == 301 or code in {"AuthorizationHeaderMalformed", "PermanentRedirect"}:
        raise refusal(
            400,
            "The bucket is in another region than the header x-portkey-aws-region says.",
            code="wrong_region",
            param="x-portkey-aws-region",
            response=response,
        )
    if 300 <= status < 400:
        raise UpstreamError(f"Amazon S3 answered with an unexpected redirect ({status}).")
    if code in WRONG_CREDENTIALS:
        raise _worded(response, 401, code)
    if code in _SLOW or status == 429:
        raise _worded(response, 429, code)
    if status == 404 and file and code != "NoSuchBucket":
        raise unknown_file(response)
    raise _worded(response, status, code)


def _worded(response: UpstreamResponse, status: int, code: str) -> Exception:
    """Return S3's refusal by its code: its texts tell of accounts and users."""
    what = f": {code}" if code else ""
    names = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}
    return refusal(
        status,
        f"Amazon S3 answered {response.status}{what}.",
        code=names.get(status) or code or None,
        response=response,
    )
