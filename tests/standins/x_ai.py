"""xAI's Files API over HTTP; the provider's own SDK speaks gRPC instead."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from werkzeug.wrappers import Request, Response

from .base import Form, Stored, json_response
from .openai import DESCENDING
from .service import DAY, HOUR, Refused, Service, number

EXPIRY = range(HOUR, 30 * DAY + 1)
MAX_LIMIT = 100
SORT_KEYS: dict[str, Callable[[Stored], Any]] = {
    "created_at": lambda stored: stored.created_at,
    "filename": lambda stored: stored.filename,
    "size": lambda stored: stored.size,
}
#: What the service calls its errors.
CODES = {
    400: "Client specified an invalid argument",
    401: "unauthenticated:no-credentials",
    403: "The caller does not have permission to execute the specified operation",
    404: "Some requested entity was not found",
    429: "Some resource has been exhausted",
    503: "The service is currently unavailable",
}


class XAIStandin(Service):
    """xAI's Files API: a token leads to the next page, and any purpose will do."""

    source = (
        "https://docs.x.ai/developers/files/managing-files, rest-api-reference/files; "
        "xai-sdk 1.21.0, sync/files.py, for orders, limits and expiry"
    )
    status = None

    def check_key(self, request: Request) -> None:
        """Refuse a key as the service does: none with 401, a wrong one with 400."""
        credential = request.headers.get("Authorization")
        if credential is None:
            raise Refused(self.error(401))
        if credential != f"Bearer {self.key}":
            raise Refused(fault(400, "Incorrect API key provided: st***ey."))

    def check(self, form: Form) -> None:
        """Refuse an expiry that stands behind the file, or is none."""
        expiry = [name for name in form.order if name.startswith("expires_after")]
        if any(form.order.index(name) > form.order.index("file") for name in expiry):
            raise self.refuse("expires_after must be sent before the file.")
        if expiry and self.seconds(form) not in EXPIRY:
            raise self.refuse("expires_after must be 3600 to 2592000 seconds.")

    def seconds(self, form: Form) -> int | None:
        """Return the time after which the form's file goes, in either of its spellings."""
        return number(form, "expires_after") or number(form, "expires_after[seconds]")

    def new_id(self, stored: Stored) -> str:
        """Return an id of the service's form."""
        return f"file_{uuid.uuid4()}"

    def page(self, request: Request) -> Response:
        """List files; ``after`` and ``purpose`` are not known, and so do nothing."""
        key = SORT_KEYS.get(request.args.get("sort_by", "created_at"))
        order = request.args.get("order", "asc")
        if key is None or order not in {"asc", DESCENDING}:
            raise self.refuse("order")
        limit = self.parameter(request, "limit", MAX_LIMIT, range(1, MAX_LIMIT + 1))
        files = sorted(self.files.values(), key=key, reverse=order == DESCENDING)
        start = 0
        if token := request.args.get("pagination_token"):
            start = self.behind(files, token)
        chosen = files[start : start + limit]
        body: dict[str, Any] = {"data": [self.file_object(stored) for stored in chosen]}
        if len(chosen) == limit:
            # A full page has a token even where nothing follows it.
            body["pagination_token"] = chosen[-1].id
        return json_response(body)

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        return {"expires_at": None} | super().file_object(stored)

    def deleted(self, stored: Stored) -> Response:
        """Say that a file is gone."""
        return json_response({"id": stored.id, "deleted": True})

    def refuse(self, message: str) -> Refused:
        """Return what refuses a field or a parameter."""
        return Refused(fault(400, message))

    def error(self, status: int) -> Response:
        """Return the service's own: the error is a string, and so is the code."""
        return fault(status, f"refused: {status}")


def fault(status: int, message: str) -> Response:
    """Return an error as the service writes it."""
    return json_response(
        {"code": CODES.get(status, "Internal error"), "error": message}, status
    )
