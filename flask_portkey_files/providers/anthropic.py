"""Anthropic's Files API: the generally available shape, and that of its beta header.

The contract: https://platform.claude.com/docs/en/api/files, for the beta
https://platform.claude.com/docs/en/api/go/beta/files/list.md, and the SDK anthropic 2.13.0
(``resources/files.py``, ``pagination.py``, ``types/file_metadata.py``, ``types/*error*.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlencode

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..errors import InvalidRequest
from ..form import FormField, UploadForm
from ..routing import Target
from .base import (
    Conversation,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
    file_segment,
    missing_key,
)
from .capabilities import Capabilities, Expiry
from .paging import Fetch, ListQuery, Page, listing, walk
from .reshaping import ReshapingProvider, mappings, unexpected
from .shape import Refusal, deletion, error_body, failure, file_object, unix_seconds

#: The version of the API, unless the target names another one.
VERSION = "2023-06-01"
#: What in ``anthropic-beta`` has the files answered as they were during the beta.
BETA = "files-api-2025-04-14"
#: What is said for the purpose of each file: Anthropic keeps none, and this is what OpenAI
#: calls a file for any use.
PURPOSE = "user_data"
#: The longest page that Anthropic gives.
MAX_PAGE = 1000

_EXPIRY = Expiry(field="expires_in_seconds", least=3600, most=90 * 24 * 3600)
#: What has a place of its own in OpenAI's shape.
_KNOWN = frozenset({"id", "type", "filename", "size_bytes", "created_at", "expires_at"})


class Anthropic(ReshapingProvider):
    """The Files API of Claude's platform.

    It answers in its generally available shape. A client whose own request carries
    ``anthropic-beta`` with the token of the files' beta gets that passed on: its lists are
    paged by the ids of files then, and its files don't expire.

    Its options: ``anthropic_beta``, the header to send instead of the client's own, and
    ``anthropic_version``.

    :param base_url: the address that ``/files`` is added to.
    """

    key_header: ClassVar[str | None] = "x-api-key"
    options: ClassVar[tuple[str, ...]] = ("anthropic_beta", "anthropic_version")

    capabilities: Capabilities = Capabilities(
        expiry=_EXPIRY,
        max_bytes=500 * 1024 * 1024,
        note=(
            f"Any purpose is accepted and none is kept (`{PURPOSE}` is reported); only files "
            "that Claude's tools made can be downloaded."
        ),
    )

    def __init__(self, base_url: str = "https://api.anthropic.com/v1") -> None:
        super().__init__(base_url)

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Send the form on without the purpose, which Anthropic refuses to be told."""
        if _is_beta(call, target) and form.value(_EXPIRY.field or "") is not None:
            raise InvalidRequest(
                "Anthropic can't be told when a file is to expire in the beta of its files; "
                f"leave out `expires_after`, or `{BETA}` in the header anthropic-beta.",
                param="expires_after",
                code="unsupported_expires_after",
            )
        form = replace(
            form,
            fields=tuple(_without_purpose(form.fields)),
            trailing=_without_purpose(form.trailing),
        )
        response = _succeeded((yield self.ask(call, target, "POST", "/files", body=form)))
        return Reshaped(response, _file(response.json(), target))

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files; the newest are first with Anthropic, so for the oldest all are read."""
        query = ListQuery.of(call)
        if query.purpose not in {None, PURPOSE}:
            # It is nobody's, but the key and the like still have to be judged.
            nothing = yield from self._pages(call, target, size=1)(None)
            return Reshaped(nothing.response, listing([], has_more=False))
        size, start = min(query.limit + 1, MAX_PAGE), None
        if query.order == "desc" and _is_beta(call, target):
            # The beta's cursor is OpenAI's own: the id of the last file.
            query, start = replace(query, after=None), query.after
        elif query.order == "asc" or query.after:
            size = MAX_PAGE
        fetch = self._pages(call, target, size=size, start=start)
        return (yield from walk(fetch, query, order="desc"))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the file object."""
        path = f"/files/{file_segment(call)}"
        response = _succeeded((yield self.ask(call, target, "GET", path)))
        return Reshaped(response, _file(response.json(), target))

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the content; Anthropic refuses that of an upload: ``file_not_downloadable``."""
        path = f"/files/{file_segment(call)}/content"
        response = yield self.request(call, target, call.method, path)
        return Relayed(response if response.status == 304 else _succeeded(response))

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the file."""
        path = f"/files/{file_segment(call)}"
        response = _succeeded((yield self.ask(call, target, "DELETE", path)))
        return Reshaped(response, deletion(call.file_id))

    def request(
        self, call: FilesCall, target: Target, method: str, path: str, **options: Any
    ) -> UpstreamRequest:
        """Return the request with the version of the API, and the beta if it is asked for."""
        headers = dict(options.pop("headers", None) or {})
        headers["anthropic-version"] = target.options.get("anthropic_version") or VERSION
        if beta := _beta(call, target):
            headers["anthropic-beta"] = beta
        return super().request(call, target, method, path, headers=headers, **options)

    def query(self, call: FilesCall, target: Target) -> str:  # noqa: ARG002
        """Return nothing: Anthropic refuses parameters that it does not know."""
        return ""

    def credentials(self, target: Target) -> Headers:
        """Return the key in Anthropic's own header."""
        if not target.api_key:
            raise missing_key(target)
        return Headers([("x-api-key", target.api_key)])

    def _pages(
        self, call: FilesCall, target: Target, *, size: int, start: str | None = None
    ) -> Fetch:
        """Return what asks for pages of *size* files, the first one behind *start*."""
        beta = _is_beta(call, target)

        def fetch(cursor: Any) -> Any:
            query = {"limit": str(size)}
            if behind := cursor or start:
                query["after_id" if beta else "page"] = str(behind)
            request = self.ask(call, target, "GET", "/files", query=urlencode(query))
            response = _succeeded((yield request))
            body = response.json()
            if not isinstance(body, dict) or "data" not in body:
                raise unexpected(target.provider)
            files = mappings(body["data"], provider=target.provider)
            if beta:
                following = body.get("last_id") if body.get("has_more") else None
            else:
                following = body.get("next_page")
            return Page([_file(file, target) for file in files], following or None, response)

        return fetch


def _beta(call: FilesCall, target: Target) -> str | None:
    """Return the ``anthropic-beta`` to send: the target's, or the client's for files."""
    for name, value in target.headers.items():
        if name.lower() == "anthropic-beta":
            return value
    if own := target.options.get("anthropic_beta"):
        return own
    asked = call.headers.get("anthropic-beta", "")
    return asked if BETA in _tokens(asked) else None


def _is_beta(call: FilesCall, target: Target) -> bool:
    """Return whether Anthropic will answer as it did during the beta."""
    return BETA in _tokens(_beta(call, target) or "")


def _tokens(header: str) -> set[str]:
    return {token.strip() for token in header.split(",")}


def _without_purpose(fields: Iterable[FormField]) -> Iterator[FormField]:
    return (field for field in fields if field.name != "purpose")


def _file(item: Any, target: Target) -> dict[str, Any]:
    """Return a file object in OpenAI's shape.

    :raises UpstreamError: *item* is none of Anthropic's.
    """
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise unexpected(target.provider)
    return file_object(
        id=item["id"],
        size=item.get("size_bytes"),
        created_at=unix_seconds(item.get("created_at")),
        filename=item.get("filename") or "",
        purpose=PURPOSE,
        expires_at=unix_seconds(item.get("expires_at")),
        extra={name: value for name, value in item.items() if name not in _KNOWN},
    )


def _succeeded(response: UpstreamResponse) -> UpstreamResponse:
    """Return *response* if it is a success.

    :raises Refusal: it is none. Its code is Anthropic's own, which is among the details, else
        OpenAI's for the status, else Anthropic's type of the error.
    """
    if 200 <= response.status < 300:
        return response
    error = error_body(response).get("error")
    own = error if isinstance(error, dict) else {}
    details = own.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    answer = failure(response, code=code if isinstance(code, str) else None)
    said = answer.body["error"]
    said["code"] = said["code"] or own.get("type")
    if isinstance(own.get("message"), str):
        said["message"] = own["message"]
    raise Refusal(answer)
