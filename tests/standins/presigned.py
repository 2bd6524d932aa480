"""The storage behind presigned addresses, with Amazon's or Google's rules."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, ClassVar
from urllib.parse import quote, urlencode

from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request, Response

from .base import BLOCK, Standin, Stored, file_response

PREFIX = "/storage/"
LIFETIME = 3600

Receiver = Callable[[IO[bytes], int], None]


@dataclass(frozen=True)
class Signing:
    """What differs between the storages: names in the query, and words for refusals."""

    prefix: str
    algorithm: str
    #: How a body without Content-Length is refused.
    chunked: tuple[int, str]
    expired: tuple[int, str]


AMAZON = Signing("X-Amz-", "AWS4-HMAC-SHA256", (501, "NotImplemented"), (403, "AccessDenied"))
GOOGLE = Signing(
    "X-Goog-", "GOOG4-RSA-SHA256", (411, "MissingContentLength"), (400, "ExpiredToken")
)


@dataclass
class Grant:
    """One presigned address: what it allows, and once only."""

    method: str
    query: dict[str, str]
    #: Headers that are part of the signature, ``Host`` apart, in lower case.
    headers: Mapping[str, str]
    expires_at: float
    receive: Receiver | None = None
    stored: Stored | None = None


class StorageStandin(Standin):
    """A service whose files go to and come from presigned addresses.

    The addresses lead to this same server under another host name, thus to another origin, as
    in reality: a client that follows a redirect with its credentials is seen. A subclass
    answers its API in :meth:`api`.
    """

    signing: ClassVar[Signing] = AMAZON
    #: The name under which the storage is reached.
    storage_host: str = "localhost"
    storage_scheme: str = "http"

    def __init__(self) -> None:
        super().__init__()
        self._grants: dict[str, Grant] = {}
        self._storage_failures: list[int] = []

    def api(self, request: Request) -> Response:
        """Return the API's answer to what is not for the storage."""
        raise NotImplementedError

    def answer(self, request: Request) -> Response:
        """Route the request."""
        if not request.path.startswith(PREFIX):
            return self.api(request)
        if self._storage_failures:
            return refusal(self._storage_failures.pop(0), "InternalError")
        return self._storage(request)

    # --- For tests --------------------------------------------------------------------------

    def fail_storage(self, status: int, *, times: int = 1) -> None:
        """Have the storage answer the next requests with its own error of this status."""
        self._storage_failures += [status] * times

    def expire_addresses(self) -> None:
        """Let time pass until every address handed out so far has expired."""
        for grant in self._grants.values():
            grant.expires_at = 0

    @property
    def storage_url(self) -> str:
        """The storage's address, without a slash at its end."""
        return f"{self.storage_scheme}://{self.storage_host}:{self._server.port}"

    # --- For subclasses ---------------------------------------------------------------------

    def presign_upload(
        self, key: str, receive: Receiver, headers: Mapping[str, str] | None = None
    ) -> str:
        """Return an address to which *key* can be PUT, with exactly these *headers*."""
        return self._presign(key, Grant("PUT", {}, headers or {}, 0, receive=receive))

    def presign_download(self, key: str, stored: Stored) -> str:
        """Return an address from which *stored* can be fetched."""
        return self._presign(key, Grant("GET", {}, {}, 0, stored=stored))

    def _presign(self, key: str, grant: Grant) -> str:
        path = f"{PREFIX}bucket/{secrets.token_hex(4)}/{quote(key)}"
        prefix = self.signing.prefix
        grant.query = {
            f"{prefix}Algorithm": self.signing.algorithm,
            f"{prefix}Credential": "standin/20260101/auto/storage/request",
            f"{prefix}Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            f"{prefix}Expires": str(LIFETIME),
            f"{prefix}SignedHeaders": ";".join(sorted({"host", *grant.headers})),
            f"{prefix}Signature": secrets.token_hex(32),
        }
        grant.expires_at = time.time() + LIFETIME
        self._grants[path] = grant
        return f"{self.storage_url}{path}?{urlencode(grant.query)}"

    # --- The storage ------------------------------------------------------------------------

    def _storage(self, request: Request) -> Response:
        grant = self._grants.get(quote(request.path))
        refused = self._refused(request, grant)
        if refused is not None:
            return refused
        assert grant is not None
        if grant.receive is not None:
            content, size = self.body(request)
            grant.receive(content, size)
            response = Response(headers={"ETag": f'"{secrets.token_hex(16)}"'})
        else:
            assert grant.stored is not None
            response = ranged(request, grant.stored)
        grant.expires_at = 0
        return response

    def _refused(self, request: Request, grant: Grant | None) -> Response | None:
        if "Authorization" in request.headers:
            return refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        if (
            grant is None
            or request.method != grant.method
            or request.args != MultiDict(grant.query)
        ):
            return refusal(403, "SignatureDoesNotMatch")
        if grant.expires_at < time.time():
            return refusal(*self.signing.expired, "Request has expired")
        for name, value in grant.headers.items():
            if name not in request.headers:
                return refusal(400, "MalformedSecurityHeader", name)
            if request.headers[name] != value:
                return refusal(403, "SignatureDoesNotMatch", name)
        if grant.method == "PUT":
            if "Transfer-Encoding" in request.headers:
                return refusal(*self.signing.chunked)
            if request.content_length is None:
                return refusal(411, "MissingContentLength")
            allowed = grant.headers.get("x-goog-content-length-range")
            if allowed is not None:
                low, high = map(int, allowed.split(","))
                if request.content_length < low:
                    return refusal(400, "EntityTooSmall")
                if request.content_length > high:
                    return refusal(400, "EntityTooLarge")
        return None


def refusal(status: int, code: str, message: str = "refused") -> Response:
    """Return a storage's error."""
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
    return Response(document, status, mimetype="application/xml")


def ranged(request: Request, stored: Stored) -> Response:
    """Return a file's content, or the one range of it that the request asks for."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if asked is None:
        return file_response(stored)
    start = int(asked[1])
    end = min(int(asked[2] or stored.size), stored.size - 1)
    if start > end:
        return refusal(416, "InvalidRange")
    headers = {
        "Content-Length": str(end - start + 1),
        "Content-Range": f"bytes {start}-{end}/{stored.size}",
    }
    return Response(
        _blocks(stored, start, end + 1),
        206,
        headers,
        content_type="application/octet-stream",
        direct_passthrough=True,
    )


def _blocks(stored: Stored, start: int, end: int) -> Iterator[bytes]:
    stored.content.seek(start)
    while start < end and (block := stored.content.read(min(BLOCK, end - start))):
        start += len(block)
        yield block


def timestamp(seconds: float) -> str:
    """Return a time in UTC as RFC 3339 writes it, with microseconds."""
    micro = int(seconds % 1 * 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micro:06d}Z"


def parsed(request: Request) -> dict[str, Any] | None:
    """Return the JSON object in the request's body; ``None`` if there is none."""
    body = request.get_json(force=True, silent=True)
    return body if isinstance(body, dict) else None
