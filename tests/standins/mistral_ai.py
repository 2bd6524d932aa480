"""Mistral's Files API."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from werkzeug.wrappers import Request, Response

from .base import Form, Stored, json_response
from .service import HOUR, Refused, Service, number

#: What a file holds, as the service takes it from the purpose.
SAMPLE_TYPES = {"batch": "batch_request", "ocr": "ocr_input"}
#: The visibilities that a file may have; the first is the one it has by default.
VISIBILITIES = ("workspace", "user")
#: The longest page of the stand-in; the service's own is not documented.
MAX_PAGE_SIZE = 1000


class MistralStandin(Service):
    """Mistral's Files API: pages by number, and the total beside them."""

    source = (
        "mistralai 3.7.0, client/files.py and client/models; "
        "https://docs.mistral.ai/api/endpoint/files"
    )
    purposes = ("fine-tune", "batch", "ocr", "agentic_safety")
    invalid_status = 422

    def route(self, request: Request) -> Response:
        """Give out signed addresses as well."""
        path = request.path.removeprefix(f"{self.prefix}/files/")
        if request.method == "GET" and path.endswith("/url"):
            stored = self.get(path.removesuffix("/url"))
            self.parameter(request, "expiry", 24, range(1, 169))
            return json_response({"url": f"{self.url}/signed/{stored.id}"})
        return super().route(request)

    def check(self, form: Form) -> None:
        """Refuse what the service does not take; it needs no purpose."""
        if self.purpose(form) not in self.purposes:
            raise self.refuse("purpose")
        if form.get("visibility") not in {None, *VISIBILITIES}:
            raise self.refuse("visibility")
        if number(form, "expiry") == -1:
            raise self.refuse("expiry")

    def purpose(self, form: Form) -> str:
        """Return the purpose that the file gets."""
        return form.get("purpose") or "fine-tune"

    def seconds(self, form: Form) -> int | None:
        """Return the time after which the form's file goes.

        The unit is nowhere documented; hours are what the signed address counts in.
        """
        hours = number(form, "expiry")
        return None if hours is None else hours * HOUR

    def new_id(self, stored: Stored) -> str:
        """Return an id of the service's form."""
        return str(uuid.uuid4())

    def page(self, request: Request) -> Response:
        """List files, newest first, as Mistral pages them."""
        files = self.filtered(request)
        files.reverse()
        page = self.parameter(request, "page", 0, range(1_000_000))
        size = self.parameter(request, "page_size", 100, range(1, MAX_PAGE_SIZE + 1))
        total = request.args.get("include_total", "true").lower() != "false"
        body = {
            "data": [self.file_object(stored) for stored in files[page * size :][:size]],
            "object": "list",
            "total": len(files) if total else None,
        }
        return json_response(body)

    def filtered(self, request: Request) -> list[Stored]:
        """Return the files that the query asks for, oldest first."""
        search = request.args.get("search", "")
        types = request.args.getlist("mimetypes")
        samples = request.args.getlist("sample_type")
        sources = request.args.getlist("source")
        return [
            stored
            for stored in super().filtered(request)
            if search in stored.filename
            and wanted(content_type(stored), types)
            and wanted(sample_type(stored), samples)
            and wanted("upload", sources)
        ]

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        form: Form | None = stored.extra.get("form")
        return {
            "id": stored.id,
            "object": "file",
            "bytes": stored.size,
            "created_at": stored.created_at,
            "filename": stored.filename,
            "purpose": stored.extra["purpose"],
            "sample_type": sample_type(stored),
            "num_lines": None,
            "mimetype": content_type(stored),
            "source": "upload",
            "signature": None,
            "expires_at": stored.extra.get("expires_at"),
            "visibility": (form and form.get("visibility")) or VISIBILITIES[0],
            # The SDK asks for it in the metadata of one file only.
            "deleted": False,
        }

    def refuse(self, message: str) -> Refused:
        """Return what refuses a field or a parameter."""
        detail = {"type": "value_error", "loc": [message], "msg": "refused", "input": None}
        return Refused(json_response({"detail": [detail]}, self.invalid_status))

    def error(self, status: int) -> Response:
        """Return the service's own: a detail alone."""
        details = {401: "Unauthorized", 404: "No file matches the given query."}
        return json_response({"detail": details.get(status, f"refused: {status}")}, status)


def sample_type(stored: Stored) -> str:
    """Return what the service takes the file to hold."""
    return SAMPLE_TYPES.get(stored.extra["purpose"], "instruct")


def content_type(stored: Stored) -> str | None:
    """Return the type that the file's part had."""
    form: Form | None = stored.extra.get("form")
    return form.content_type if form else "application/jsonl"


def wanted(value: str | None, chosen: Sequence[str]) -> bool:
    """Return whether the value is among those that the query names, if it names any."""
    return not chosen or value in chosen
