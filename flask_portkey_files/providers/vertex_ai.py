"""Google Cloud Storage, where Vertex AI's batch jobs read their files.

The contract: https://cloud.google.com/storage/docs/json_api/v1 ; the names of ids, headers and
options are those of Portkey's gateway.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Generator, Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..errors import InvalidCredential, MissingCredential, UpstreamError
from ..form import FileBody, UploadForm
from ..gcp import TOKEN_URI, Tokens, require
from ..routing import Target
from .base import (
    Conversation,
    HTTPProvider,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
)
from .capabilities import Capabilities
from .objects import (
    CONDITIONS,
    Bucket,
    NewFile,
    bucket,
    listed,
    refused,
    told_by,
    unknown_file,
    without_host_option,
)
from .paging import ListQuery, Page
from .shape import Refusal, deletion, failure, file_object, unix_seconds, whole_number

#: The option that only a host's own target may have.
USE_DEFAULT = "vertex_use_default_credentials"

#: The largest page of a list.
MAX_RESULTS = 1000

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_FIELDS = "name,size,timeCreated,metadata"
_CODES = {
    401: "invalid_api_key",
    403: "permission_denied",
    404: "not_found",
    429: "rate_limit_exceeded",
}


class VertexAI(HTTPProvider):
    """Google Cloud Storage: a file is an object, and its id the escaped ``gs://`` URI.

    Its options: ``vertex_storage_bucket_name``; ``vertex_storage_prefix``, with which the names
    of all objects begin; ``provider_file_name``, the name of an upload's object (one that has
    it already is replaced, as by Portkey's gateway); ``vertex_service_account_json``, the text
    of a service account's key file. Without that, the target's key is an access token as it is.
    ``vertex_project_id`` and ``vertex_region`` are taken and not needed. A host's own target
    alone may say ``vertex_use_default_credentials``: ``true`` for the application default
    credentials of the machine that the gateway runs on.

    An upload is one request, so there is nothing of it until all of it is there. The order
    ``asc`` of a list is that of the objects' names, which for names made here is the order of
    time. An object that was not uploaded here has the purpose ``batch``.

    The first request of a service account, and the first one with the default credentials, wait
    for a token inside of the conversation, for 10 seconds at most each time it is tried, and
    again when it runs out.

    :param base_url: where Cloud Storage is.
    :param token_uri: where tokens are asked for, whatever a service account's file says.
    """

    capabilities: Capabilities = Capabilities(
        max_bytes=5 * 1024**4,
        note="Objects of a Cloud Storage bucket; needs flask-portkey-files[vertex], unless "
        "each key is an access token.",
    )
    options: ClassVar[tuple[str, ...]] = (
        "vertex_storage_bucket_name",
        "vertex_storage_prefix",
        "provider_file_name",
        "vertex_service_account_json",
        "vertex_project_id",
        "vertex_region",
        USE_DEFAULT,
    )

    def __init__(
        self,
        base_url: str = "https://storage.googleapis.com",
        *,
        token_uri: str = TOKEN_URI,
    ) -> None:
        super().__init__(base_url)
        self._tokens = Tokens(token_uri)

    def check(self, call: FilesCall, target: Target) -> None:
        """Refuse a call that can't work, or whose target is incomplete."""
        super().check(call, target)
        if _account(target) or not target.api_key:
            require()
        self.credentials(target)
        _bucket(target)

    def from_client(self, target: Target) -> Target:
        """Return *target*, unless it would use the machine's own credentials.

        :raises InvalidRoute: it would.
        """
        return without_host_option(target, USE_DEFAULT)

    def credentials(self, target: Target) -> Headers:
        """Return no headers: the token is got when a request is made. But there must be a way.

        :raises MissingCredential: there is none.
        """
        if not (_account(target) or target.api_key or _uses_default(target)):
            raise MissingCredential(
                f"No credentials for the provider {target.provider}. Send the JSON of a "
                "service account's key file in the header "
                "`x-portkey-vertex-service-account-json`, or an access token as "
                "`Authorization: Bearer <token>`.",
                param="x-portkey-vertex-service-account-json",
            )
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
        """Return the request for *path*. It may have to ask Google for a token.

        :raises Refusal: Google does not give one.
        """
        request = super().request(
            call, target, method, path, body=body, query=query or "", headers=headers
        )
        request.headers.set("Authorization", f"Bearer {self._token(target)}")
        return request

    # --- The operations ---------------------------------------------------------------------

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Store the file and what is known of it with one request."""
        file, where = NewFile.of(call, form), _bucket(target)
        name = where.new_key(target.options.get("provider_file_name"), file)
        resource = {
            "name": name,
            "contentType": file.content_type,
            "metadata": {"filename": file.name, "purpose": file.purpose},
        }
        body = _Related(resource, form)
        response = yield self._plain(
            call,
            target,
            "POST",
            f"/upload/storage/v1/b/{where.name}/o",
            "uploadType=multipart",
            body=body,
            headers={"Content-Type": f"multipart/related; boundary={body.boundary}"},
        )
        return Reshaped(response, _file(where, _accepted(response).json()))

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List the objects below the prefix."""
        query, where = ListQuery.of(call), _bucket(target)
        params = {
            "fields": f"nextPageToken,items({_FIELDS})",
            "maxResults": str(MAX_RESULTS),
        }
        if where.prefix:
            params["prefix"] = where.prefix
        after = where.key(query.after) if query.after and query.order == "asc" else None
        if after is not None:
            # The first name, not the one before it.
            params["startOffset"] = after

        def fetch(cursor: Any) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
            more = {} if cursor is None else {"pageToken": cursor}
            asked = urlencode({**params, **more}, quote_via=quote, safe="")
            path = f"/storage/v1/b/{where.name}/o"
            response = yield self._plain(call, target, "GET", path, asked)
            body = _accepted(response).json()
            items = body.get("items", []) if isinstance(body, dict) else None
            if not isinstance(items, list):
                raise UpstreamError("Google Cloud Storage answered with a list that is none.")
            files = [
                _file(where, item)
                for item in items
                if where.lists(_name(item)) and _name(item) != after
            ]
            return Page(files, body.get("nextPageToken"), response)

        return (yield from listed(fetch, query, where))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the object's metadata."""
        where = _bucket(target)
        path = _path(where, where.key_of(call))
        response = yield self._plain(call, target, "GET", path)
        return Reshaped(response, _file(where, _accepted(response, file=True).json()))

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the object's content, or the range of it that is asked for."""
        where = _bucket(target)
        path = _path(where, where.key_of(call))
        response = yield self.request(call, target, call.method, path, query="alt=media")
        if response.status != 304:
            _accepted(response, file=True)
        return Relayed(response)

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the object."""
        where = _bucket(target)
        key = where.key_of(call)
        response = yield self._plain(call, target, "DELETE", _path(where, key))
        _accepted(response, file=True)
        return Reshaped(response, deletion(where.file_id(key)))

    # --- What they are made of --------------------------------------------------------------

    def _token(self, target: Target) -> str:
        """Return the access token for the target, which may have to be asked for."""
        account = _account(target)
        try:
            if account:
                return self._tokens.of(account)
            if target.api_key:
                return target.api_key
            return self._tokens.default()
        except InvalidCredential as error:
            raise refused(error) from error

    def _plain(
        self,
        call: FilesCall,
        target: Target,
        method: str,
        path: str,
        query: str = "",
        *,
        body: FileBody | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UpstreamRequest:
        """Return a request without the client's conditions, whose answer is reshaped."""
        request = self.request(
            call, target, method, path, query=query, body=body, headers=headers
        )
        for name in CONDITIONS:
            request.headers.remove(name)
        return request


class _Related:
    """An object's resource and its content as ``multipart/related``."""

    def __init__(self, resource: Mapping[str, Any], form: UploadForm) -> None:
        # Random, so that no file can have been made to contain it.
        self.boundary = uuid.uuid4().hex
        self._form = form
        self._opening = (
            f"--{self.boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
            f"{json.dumps(resource)}\r\n"
            f"--{self.boundary}\r\nContent-Type: {resource['contentType']}\r\n\r\n"
        ).encode()
        self._closing = f"\r\n--{self.boundary}--\r\n".encode()

    @property
    def length(self) -> int | None:
        length = self._form.file.body.length
        return None if length is None else len(self._opening) + length + len(self._closing)

    def blocks(self) -> Iterator[bytes]:
        yield self._opening
        yield from self._form.file.body.blocks()
        # Read before the end is told: it may be that the form has none.
        for _ in self._form.trailing:
            pass
        yield self._closing

    def close(self) -> None:
        self._form.close()


def _account(target: Target) -> str:
    return target.options.get("vertex_service_account_json", "").strip()


def _uses_default(target: Target) -> bool:
    # Where the client chose the address, the host's own token is not for it.
    wanted = target.options.get(USE_DEFAULT, "").lower() == "true"
    return wanted and target.custom_host is None


def _bucket(target: Target) -> Bucket:
    options = target.options
    return bucket(
        "gs",
        options.get("vertex_storage_bucket_name", ""),
        options.get("vertex_storage_prefix", ""),
        pattern=_BUCKET,
        header="x-portkey-vertex-storage-bucket-name",
    )


def _path(where: Bucket, name: str) -> str:
    return f"/storage/v1/b/{where.name}/o/{quote(name, safe='')}"


def _name(item: Any) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else ""


def _file(where: Bucket, item: Any) -> dict[str, Any]:
    """Return an object's resource in OpenAI's shape."""
    key = _name(item)
    if not key:
        raise UpstreamError("Google Cloud Storage answered with an object that has no name.")
    name, purpose, created_at = told_by(key)
    told = item.get("metadata")
    told = told if isinstance(told, dict) else {}
    return file_object(
        id=where.file_id(key),
        size=whole_number(str(item.get("size", ""))),
        created_at=created_at or unix_seconds(item.get("timeCreated")),
        filename=str(told.get("filename") or name),
        purpose=str(told.get("purpose") or purpose),
    )


def _accepted(response: UpstreamResponse, *, file: bool = False) -> UpstreamResponse:
    """Return *response* if it is a success.

    :param file: whether it is a file's, so that 404 means that there is no such file.
    :raises Refusal: it is none; the client gets it in OpenAI's envelope.
    """
    status = response.status
    if 200 <= status < 300:
        return response
    if status == 404 and file:
        response.read(64 * 1024)
        raise unknown_file(response)
    raise Refusal(failure(response, code=_CODES.get(status)))
