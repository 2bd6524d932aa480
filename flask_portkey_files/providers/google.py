"""The files API of the Gemini Developer API.

The contract: https://ai.google.dev/api/files, the SDK google-genai 3.6.1 (``files.py``,
``_api_client.py``), and for the steps of an upload
https://developers.google.com/streetview/publish/resumable-uploads, which describes the same
protocol.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..errors import FilesError, InvalidRequest
from ..form import UploadForm
from ..routing import Target
from .base import (
    Conversation,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
    file_segment,
    invalid_file_id,
    missing_key,
)
from .capabilities import Capabilities
from .handed import handed
from .paging import ListQuery, Page, listing, walk
from .reshaping import (
    ReshapingProvider,
    is_redirect,
    joined,
    mappings,
    range_headers,
    stored,
    unexpected,
)
from .shape import Refusal, deletion, error_body, failure, file_object, unix_seconds

#: Where files are, and where they are uploaded to.
FILES = "/v1beta/files"
UPLOADS = "/upload/v1beta/files"
#: What is said for the purpose of each file: Google keeps none, and this is what OpenAI calls
#: a file for any use.
PURPOSE = "user_data"
#: Google's states of a file as OpenAI's three.
STATUSES = {"PROCESSING": "uploaded", "ACTIVE": "processed", "FAILED": "error"}
#: The longest page that Google gives.
MAX_PAGE = 100
#: How many redirects of a download are followed.
MAX_REDIRECTS = 3

# A media type with its parameters, of what can be sent in a header.
_MEDIA_TYPE = re.compile(r"[!-~]+/[\t -~]+")
#: What has a place of its own in OpenAI's shape.
_KNOWN = frozenset(
    {"name", "displayName", "sizeBytes", "createTime", "expirationTime", "state"}
)


class Google(ReshapingProvider):
    """Gemini's files: the id is the last part of Google's name, ``abc`` of ``files/abc``.

    :param base_url: the address that ``/v1beta/files`` is added to.
    """

    #: Google asks for the length before the first byte.
    needs_length = True

    key_header: ClassVar[str | None] = "x-goog-api-key"
    capabilities: Capabilities = Capabilities(
        expiry=None,
        max_bytes=2 * 1024 * 1024 * 1024,
        note=(
            "Every file is gone after 48 hours; any purpose is accepted and none is kept "
            f"(`{PURPOSE}` is reported); only generated files can be downloaded."
        ),
    )

    def __init__(self, base_url: str = "https://generativelanguage.googleapis.com") -> None:
        super().__init__(base_url)

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Start an upload, and send the file to the address that it is given.

        An upload that was started and can't be finished is cancelled.
        """
        started = _succeeded((yield self._start(call, target, form)))
        address = started.headers.get("X-Goog-Upload-URL")
        url = handed(address, self.base_url(call, target))
        try:
            response = _succeeded((yield _rest(url, form)))
            body = response.json()
            file = _file(body.get("file") if isinstance(body, dict) else None, target)
        except (FilesError, Refusal):
            yield from self.undo(_step(url, "cancel"))
            raise
        return Reshaped(response, file)

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files.

        Google promises no order, so all files are read: what is there is of two days, and
        twenty gigabytes at most.
        """
        query = ListQuery.of(call)
        if query.purpose not in {None, PURPOSE}:
            # It is nobody's, but the key and the like still have to be judged.
            nothing = yield from self._page(call, target, None, size=1)
            return Reshaped(nothing.response, listing([], has_more=False))

        def fetch(cursor: Any) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
            return (yield from self._page(call, target, cursor))

        return (yield from walk(fetch, query, order=None))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the file object."""
        response = _succeeded((yield self.ask(call, target, "GET", _path(call))))
        return Reshaped(response, _file(response.json(), target))

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the content of a file that was generated; Google refuses that of an upload.

        Google's documentation follows redirects here. The key goes along to Google's own
        address only.
        """
        path, base_url = _path(call), self.base_url(call, target)
        request = self.request(call, target, call.method, f"{path}:download", query="alt=media")
        response = yield request
        for _ in range(MAX_REDIRECTS):
            if not is_redirect(response):
                break
            url = _moved(request.url, response, base_url)
            if urlsplit(url)[:2] != urlsplit(base_url)[:2]:
                elsewhere = stored(
                    url, base_url, method=call.method, headers=range_headers(call)
                )
                return Relayed((yield from elsewhere))
            request = replace(request, url=url)
            response = yield request
        if call.method == "HEAD" and response.status in {400, 403}:
            # Without a body it does not say whether it is the file or the key.
            _succeeded((yield self.ask(call, target, "GET", path)))
        return Relayed(response if response.status == 304 else _succeeded(response))

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the file."""
        response = _succeeded((yield self.ask(call, target, "DELETE", _path(call))))
        return Reshaped(response, deletion(call.file_id))

    def credentials(self, target: Target) -> Headers:
        """Return the key in Google's own header."""
        if not target.api_key:
            raise missing_key(target)
        return Headers([("x-goog-api-key", target.api_key)])

    def _start(self, call: FilesCall, target: Target, form: UploadForm) -> UpstreamRequest:
        """Return the request that asks where the file is to be sent."""
        metadata = {"file": {"display_name": form.file.filename}}
        headers = {
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(form.file.body.length),
            "X-Goog-Upload-Header-Content-Type": _content_type(form),
        }
        request = self.ask(call, target, "POST", UPLOADS, json_body=metadata)
        request.headers.update(headers)
        return request

    def _page(
        self, call: FilesCall, target: Target, cursor: Any, *, size: int = MAX_PAGE
    ) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
        """Ask for one page; one without files has no field for them."""
        query = {"pageSize": str(size)}
        if cursor:
            query["pageToken"] = cursor
        request = self.ask(call, target, "GET", FILES, query=urlencode(query))
        response = _succeeded((yield request))
        body = response.json()
        if not isinstance(body, dict):
            raise unexpected(target.provider)
        files = mappings(body.get("files"), provider=target.provider)
        following = body.get("nextPageToken") or None
        return Page([_file(file, target) for file in files], following, response)


def _path(call: FilesCall) -> str:
    """Return the file's path.

    :raises InvalidRequest: the id could be taken for more than one: Google puts what is to be
        done with a file behind a colon.
    """
    if ":" in (call.file_id or ""):
        raise invalid_file_id()
    return f"{FILES}/{file_segment(call)}"


def _content_type(form: UploadForm) -> str:
    """Return the file's type.

    :raises InvalidRequest: it is none, or can't be sent in a header.
    """
    if not _MEDIA_TYPE.fullmatch(form.file.content_type):
        raise InvalidRequest(
            "The Content-Type of the part `file` must be a media type such as "
            "application/pdf, in ASCII.",
            param="file",
            code="invalid_content_type",
        )
    return form.file.content_type


def _step(url: str, command: str, **parts: Any) -> UpstreamRequest:
    """Return a request of an upload under way: its address is all the permission it needs."""
    headers = Headers([("X-Goog-Upload-Command", command)])
    return UpstreamRequest(method="POST", url=url, headers=headers, **parts)


def _rest(url: str, form: UploadForm) -> UpstreamRequest:
    """Return the request that sends the whole file."""
    request = _step(url, "upload, finalize", body=form.file.body)
    request.headers.set("X-Goog-Upload-Offset", "0")
    request.headers.set("Content-Type", _content_type(form))
    return request


def _moved(url: str, response: UpstreamResponse, base_url: str) -> str:
    """Return where *response* redirects a request for *url* to.

    :raises UpstreamError: that is no address for it.
    """
    return handed(joined(url, response), base_url)


def _file(item: Any, target: Target) -> dict[str, Any]:
    """Return a file object in OpenAI's shape.

    :raises UpstreamError: *item* is none of Google's.
    """
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise unexpected(target.provider)
    file_id = item["name"].removeprefix("files/")
    return file_object(
        id=file_id,
        size=_size(item.get("sizeBytes", 0)),
        created_at=unix_seconds(item.get("createTime")),
        filename=item.get("displayName") or file_id,
        purpose=PURPOSE,
        status=STATUSES.get(str(item.get("state")), "uploaded"),
        expires_at=unix_seconds(item.get("expirationTime")),
        extra={name: value for name, value in item.items() if name not in _KNOWN},
    )


def _size(value: Any) -> int | None:
    """Return a size, which Google writes as text; nothing stands for zero."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _succeeded(response: UpstreamResponse) -> UpstreamResponse:
    """Return *response* if it is a success.

    :raises Refusal: it is none. Google answers 403 for a file that it does not know, and 400
        for a key: these become what they are with OpenAI.
    """
    if 200 <= response.status < 300:
        return response
    error = error_body(response).get("error")
    own = error if isinstance(error, dict) else {}
    message = own["message"] if isinstance(own.get("message"), str) else ""
    status = response.status
    if status == 400 and "API_KEY_INVALID" in _reasons(own):
        status = 401
    elif status == 403 and "may not exist" in message:
        status = 404
    answer = failure(response, status=status)
    said = answer.body["error"]
    said["code"] = said["code"] or own.get("status")
    said["message"] = message or said["message"]
    raise Refusal(answer)


def _reasons(error: dict[str, Any]) -> set[str]:
    """Return the reasons among an error's details."""
    details = error.get("details")
    return {
        str(detail.get("reason"))
        for detail in (details if isinstance(details, list) else [])
        if isinstance(detail, dict)
    }
