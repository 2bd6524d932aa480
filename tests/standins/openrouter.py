"""OpenRouter's Files API: one store, spoken in several shapes."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone
from typing import Any

from werkzeug.wrappers import Request, Response

from .base import Form, Stored, json_response
from .service import Refused, Service

MAX_LIMIT = 1000
MAX_BYTES = 100 * 1024 * 1024
MESSAGES = {
    400: "Invalid request parameters",
    401: "Missing Authentication header",
    403: "Only management keys can perform this operation",
    404: "Resource not found",
    413: "Request payload exceeds maximum size limit",
    429: "Rate limit exceeded",
    500: "Internal Server Error",
    502: "Provider returned error",
    503: "Service temporarily unavailable",
}


class OpenRouterStandin(Service):
    """OpenRouter's Files API.

    What asks for which shape is not documented. The stand-in answers in the service's own, as
    all examples of the reference do, unless a test has it answer in OpenAI's.
    """

    source = (
        "openrouter 1.3.84, files.py and components; "
        "https://openrouter.ai/docs/api/api-reference/files, guides/features/files-api"
    )
    prefix = "/api/v1"
    id_format = "or_file_011CNha8iCJc{:012d}"

    def __init__(self) -> None:
        super().__init__()
        #: ``"openrouter"`` or ``"openai"``.
        self.shape = "openrouter"

    def route(self, request: Request) -> Response:
        """Refuse to work on another provider: that takes the user's own key for it."""
        if request.args.get("provider"):
            raise Refused(self.error(403))
        return super().route(request)

    def check(self, form: Form) -> None:
        """Refuse what is empty or too large; a purpose is not asked for."""
        if not form.size:
            raise self.refuse("empty")
        if form.size > MAX_BYTES:
            raise Refused(self.error(413))

    def purpose(self, form: Form) -> str:
        """Return the purpose that the file gets."""
        return form.get("purpose") or "user_data"

    def content(self, stored: Stored) -> Response:
        """Return a file's content; not if it was uploaded."""
        if not downloadable(stored):
            raise self.refuse("uploaded")
        return super().content(stored)

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small files; with *downloadable*, as if the service itself had made them."""
        made = options.pop("downloadable", False)
        ids = super().seed(count, **options)
        for file_id in ids:
            self.files[file_id].extra["downloadable"] = made
        return ids

    def page(self, request: Request) -> Response:
        """List files, oldest first; there is no other order, and no way back."""
        limit = self.parameter(request, "limit", 100, range(1, MAX_LIMIT + 1))
        if request.args.get("before_id") or request.args.get("order", "asc") != "asc":
            raise self.refuse("order")
        files = sorted(self.files.values(), key=lambda stored: stored.created_at)
        after = request.args.get("after") or request.args.get("after_id")
        if token := request.args.get("cursor"):
            after = read_cursor(token)
        start = 0 if after is None else self.behind(files, after)
        chosen = files[start : start + limit]
        return json_response(self.list_object(chosen, has_more=start + limit < len(files)))

    def list_object(self, files: list[Stored], *, has_more: bool) -> dict[str, Any]:
        """Return a page."""
        page = super().list_object(files, has_more=has_more) | {"_shape": self.shape}
        if self.shape == "openrouter":
            del page["object"]
            page["cursor"] = make_cursor(files[-1].id) if has_more else None
        return page

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        if self.shape == "openai":
            return super().file_object(stored) | {"_shape": "openai"}
        created_at = datetime.fromtimestamp(stored.created_at, timezone.utc)
        return {
            "_shape": "openrouter",
            "id": stored.id,
            "type": "file",
            "filename": stored.filename,
            # The service reads it from the content; the stand-in only knows lines of JSON.
            "mime_type": "application/x-ndjson",
            "size_bytes": stored.size,
            "created_at": created_at.isoformat().replace("+00:00", "Z"),
            "downloadable": downloadable(stored),
        }

    def deleted(self, stored: Stored) -> Response:
        """Say that a file is gone."""
        if self.shape == "openai":
            said = {"object": "file", "deleted": True}
        else:
            said = {"type": "file_deleted"}
        return json_response({"_shape": self.shape, "id": stored.id} | said)

    def error(self, status: int) -> Response:
        """Return the service's own: the status stands in the body once more."""
        message = MESSAGES.get(status, f"refused: {status}")
        return json_response({"error": {"code": status, "message": message}}, status)


def downloadable(stored: Stored) -> bool:
    """Return whether the service made the file, rather than its user."""
    return bool(stored.extra.get("downloadable"))


def make_cursor(file_id: str) -> str:
    """Return the token that leads behind a file."""
    return base64.urlsafe_b64encode(json.dumps({"cursor": file_id}).encode()).decode()


def read_cursor(token: str) -> str:
    """Return the id within a token; none of any file if the token is no such one."""
    try:
        return str(json.loads(base64.urlsafe_b64decode(token))["cursor"])
    except (KeyError, TypeError, ValueError):
        return ""
