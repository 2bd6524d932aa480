"""Anthropic's Files API: the generally available shape, and the one of its beta header."""

from __future__ import annotations

import base64
import binascii
import io
import mimetypes
import re
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, ClassVar

from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.wrappers import Request, Response

from .base import Form, Standin, Stored, file_response, json_response

BETA = "files-api-2025-04-14"
LARGEST = 500 * 1024 * 1024

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]')


class AnthropicStandin(Standin):
    """The Files API of Claude's platform.

    A request that carries the beta header gets the shapes that the API had during its beta:
    they differ in how a list is paged, and in that files don't expire.
    """

    source: ClassVar[str] = (
        "anthropic 2.13.0, resources/files.py, resources/beta/files.py, pagination.py and "
        "types/*error*.py; https://platform.claude.com/docs/en/api/files; for the beta "
        "https://platform.claude.com/docs/en/api/go/beta/files/list.md"
    )
    key: ClassVar[str] = "sk-ant-standin"

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Stored] = {}
        #: What a file may have at most; a test lowers it.
        self.largest = LARGEST

    # --- Operations -------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Route the request."""
        if not self._authenticated(request):
            return self.error(401)
        if "anthropic-version" not in request.headers:
            return self.error(400, "anthropic-version: header is required")
        routes: dict[str, Callable[[], Response]]
        match request.path.split("/")[1:]:
            case ["v1", "files"]:
                routes = {
                    "GET": lambda: self.page(request),
                    "POST": lambda: self.upload(request),
                }
            case ["v1", "files", file_id]:
                routes = {
                    "GET": lambda: json_response(self.file_object(self.get(file_id), request)),
                    "DELETE": lambda: self.delete(file_id),
                }
            case ["v1", "files", file_id, "content"]:
                routes = {"GET": lambda: self.content(file_id)}
            case _:
                raise NotFound
        if request.method not in routes:
            raise MethodNotAllowed(list(routes))
        return routes[request.method]()

    def upload(self, request: Request) -> Response:
        """Store the form's file."""
        form = self.form(request)
        if form.order.count("file") != 1 or form.file is None:
            return self.error(400, "file: Field required")
        if form.size > self.largest:
            return self.error(413, "The file is too large.")
        fields = set(form.order) - {"file"}
        allowed = set() if _is_beta(request) else {"expires_in_seconds"}
        if fields - allowed:
            return self.error(400, f"{min(fields - allowed)}: Extra inputs are not permitted")
        expires = form.get("expires_in_seconds")
        if expires is not None and not _within(expires, 3600, 7_776_000):
            return self.error(400, "expires_in_seconds: must be between 3600 and 7776000")
        filename = _filename(form)
        if len(filename) > 255 or _FORBIDDEN.search(filename):
            return self.error(400, "file: Invalid filename")
        stored = self._store(
            filename,
            form.file,
            form.size,
            int(time.time()),
            mime_type=_mime_type(form),
            expires=int(expires) if expires else None,
            form=form,
        )
        return json_response(self.file_object(stored, request))

    def content(self, file_id: str) -> Response:
        """Return the content of a file that a tool made; nobody gets back what he uploaded."""
        stored = self.get(file_id)
        if not stored.extra["downloadable"]:
            return self.error(
                400, "The file is not downloadable.", error_code="file_not_downloadable"
            )
        if _expired(stored):
            return self.error(404, "The file has expired.", error_code="file_expired")
        return file_response(stored, stored.extra["mime_type"])

    def delete(self, file_id: str) -> Response:
        """Remove a file."""
        self.get(file_id)
        del self.files[file_id]
        return json_response({"id": file_id, "type": "file_deleted"})

    def page(self, request: Request) -> Response:
        """List files, the newest first."""
        beta = _is_beta(request)
        cursors = {"after_id", "before_id"} if beta else {"page", "ids[]"}
        allowed = cursors | {"limit", "scope_id", "beta"}
        if unknown := set(request.args) - allowed:
            return self.error(400, f"{min(unknown)}: Extra inputs are not permitted")
        limit = request.args.get("limit", "20")
        if not _within(limit, 1, 1000):
            return self.error(400, "limit: Input should be between 1 and 1000")
        # No stand-in file belongs to a session.
        files = [] if "scope_id" in request.args else self._newest_first()
        if beta:
            return self._beta_page(request, files, int(limit))
        if "ids[]" in request.args:
            return self._chosen(request)
        start = 0
        if cursor := request.args.get("page"):
            start = _position(cursor)
            if start < 0:
                return self.error(400, "page: Invalid cursor")
        chosen = files[start : start + int(limit)]
        end = start + len(chosen)
        next_page = _cursor(end) if end < len(files) else None
        data = [self.file_object(stored, request) for stored in chosen]
        return json_response({"data": data, "next_page": next_page})

    def _chosen(self, request: Request) -> Response:
        ids = set(request.args.getlist("ids[]"))
        if len(ids) > 100 or {"page", "limit"} & set(request.args):
            return self.error(400, "ids: at most 100, and neither page nor limit beside them")
        data = [
            self.file_object(stored, request)
            for stored in self._newest_first()
            if stored.id in ids
        ]
        return json_response({"data": data, "next_page": None})

    def _beta_page(self, request: Request, files: list[Stored], limit: int) -> Response:
        ids = [stored.id for stored in files]
        after, before = request.args.get("after_id"), request.args.get("before_id")
        if after and before:
            return self.error(400, "after_id and before_id are mutually exclusive")
        if unknown := {after, before} - {None, *ids}:
            return self.error(400, f"{unknown.pop()} is not a valid cursor")
        if before:
            end = ids.index(before)
            start = max(0, end - limit)
            has_more = start > 0
        else:
            start = ids.index(after) + 1 if after else 0
            end = start + limit
            has_more = end < len(files)
        chosen = files[start:end]
        return json_response(
            {
                "data": [self.file_object(stored, request) for stored in chosen],
                "first_id": chosen[0].id if chosen else None,
                "has_more": has_more,
                "last_id": chosen[-1].id if chosen else None,
            }
        )

    # --- What is stored ---------------------------------------------------------------------

    def get(self, file_id: str) -> Stored:
        """Return a file."""
        if file_id not in self.files:
            raise NotFound
        return self.files[file_id]

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small files; ``downloadable=True`` for such as a tool made."""
        ids = []
        for _ in range(count):
            number = len(self.files) + 1
            content = f"file {number}".encode()
            stored = self._store(
                f"file-{number}.txt",
                io.BytesIO(content),
                len(content),
                1_700_000_000 + number,
                mime_type="text/plain",
                **options,
            )
            ids.append(stored.id)
        return ids

    def _store(
        self,
        filename: str,
        content: Any,
        size: int,
        created_at: int,
        *,
        mime_type: str,
        downloadable: bool = False,
        expires: int | None = None,
        form: Form | None = None,
    ) -> Stored:
        stored = Stored(
            f"file_011CNha8iCJcU1wX{self.next_id():08d}",
            filename,
            content,
            size,
            created_at,
            {
                "mime_type": mime_type,
                "downloadable": downloadable,
                "expires_at": created_at + expires if expires else None,
                "form": form,
            },
        )
        self.files[stored.id] = stored
        return stored

    def _newest_first(self) -> list[Stored]:
        return list(reversed(self.files.values()))

    # --- Shapes -----------------------------------------------------------------------------

    def file_object(self, stored: Stored, request: Request) -> dict[str, Any]:
        """Return a file's metadata."""
        metadata = {
            "id": stored.id,
            "type": "file",
            "filename": stored.filename,
            "mime_type": stored.extra["mime_type"],
            "size_bytes": stored.size,
            "created_at": _rfc3339(stored.created_at),
            "downloadable": stored.extra["downloadable"],
        }
        if not _is_beta(request):
            expires_at = stored.extra["expires_at"]
            metadata["expires_at"] = _rfc3339(expires_at) if expires_at else None
        return metadata

    def error(
        self, status: int, message: str | None = None, *, error_code: str | None = None
    ) -> Response:
        """Return Anthropic's envelope."""
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        error: dict[str, Any] = {"type": kind, "message": message or f"refused: {status}"}
        if error_code:
            error["details"] = {"error_code": error_code}
        number = f"req_011CSHoEeqs5C35K2UUq{self.next_id():04d}"
        body = {"type": "error", "error": error, "request_id": number}
        headers = {"request-id": number}
        if status == 429:
            headers["Retry-After"] = "1"
        return json_response(body, status, headers)

    def _authenticated(self, request: Request) -> bool:
        # The SDK sends the key as a bearer token since its second major version.
        authorization = request.headers.get("Authorization")
        if authorization is not None:
            return authorization == f"Bearer {self.key}"
        return request.headers.get("x-api-key") == self.key


def _is_beta(request: Request) -> bool:
    values = ",".join(request.headers.getlist("anthropic-beta"))
    return BETA in {value.strip() for value in values.split(",")}


def _within(value: str, least: int, most: int) -> bool:
    return value.isascii() and value.isdecimal() and least <= int(value) <= most


def _filename(form: Form) -> str:
    """Return what is kept of the part's file name: its last component, or a made-up name."""
    name = re.split(r"[/\\]", form.filename or "")[-1]
    return name or f"unnamed{mimetypes.guess_extension(_mime_type(form)) or ''}"


def _mime_type(form: Form) -> str:
    return (form.content_type or "application/octet-stream").partition(";")[0].strip()


def _expired(stored: Stored) -> bool:
    expires_at = stored.extra["expires_at"]
    return expires_at is not None and expires_at <= time.time()


def _rfc3339(seconds: int) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def _cursor(position: int) -> str:
    return "page_" + base64.urlsafe_b64encode(str(position).encode()).decode()


def _position(cursor: str) -> int:
    """Return where the page of this cursor starts; -1 for a cursor that was never given out."""
    try:
        return int(base64.urlsafe_b64decode(cursor.removeprefix("page_")))
    except (binascii.Error, ValueError):
        return -1
