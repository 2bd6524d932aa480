"""OpenAI's Files API, and the deviations of the services that copy it."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request, Response

from .base import Form, Standin, Stored, file_response, json_response

DESCENDING = "desc"


class OpenAIStandin(Standin):
    """OpenAI's own Files API.

    A subclass changes what its service does otherwise: ``prefix``, ``purposes``,
    :meth:`file_object`, :meth:`list_object`, :meth:`deleted`, :meth:`error`, :meth:`page`.
    """

    source: ClassVar[str] = "https://platform.openai.com/docs/api-reference/files"
    #: What stands before ``/files``.
    prefix: ClassVar[str] = "/v1"
    #: The purposes that an upload may have; ``None`` for any.
    purposes: ClassVar[tuple[str, ...] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Stored] = {}

    def answer(self, request: Request) -> Response:
        """Route the request."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return self.error(401)
        path = request.path
        if not path.startswith(f"{self.prefix}/files"):
            raise NotFound
        segments = path[len(self.prefix) + len("/files") :].strip("/").split("/")
        match request.method, segments:
            case "POST", [""]:
                return self.upload(request)
            case "GET", [""]:
                return self.page(request)
            case "GET", [file_id]:
                return json_response(self.file_object(self.get(file_id)))
            case "GET", [file_id, "content"]:
                return file_response(self.get(file_id))
            case "DELETE", [file_id]:
                stored = self.get(file_id)
                del self.files[file_id]
                return self.deleted(stored)
        raise NotFound

    def get(self, file_id: str) -> Stored:
        """Return a file."""
        if file_id not in self.files:
            raise NotFound
        return self.files[file_id]

    def upload(self, request: Request) -> Response:
        """Store the form's file."""
        form = self.form(request)
        purpose = form.get("purpose")
        if form.file is None or not purpose:
            return self.error(400)
        if self.purposes is not None and purpose not in self.purposes:
            return self.error(400)
        try:
            expires = expires_after(form)
        except ValueError:
            return self.error(400)
        stored = self.store(form)
        if expires is not None:
            stored.extra["expires_at"] = stored.created_at + expires
        return json_response(self.file_object(stored))

    def store(self, form: Form) -> Stored:
        """Keep a form's file."""
        assert form.file is not None
        number = self.next_id()
        stored = Stored(
            f"file-{number:06d}",
            form.filename or "",
            form.file,
            form.size,
            int(time.time()),
            {"purpose": form.get("purpose"), "form": form},
        )
        self.files[stored.id] = stored
        return stored

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small files."""
        import io

        ids = []
        for _ in range(count):
            number = self.next_id()
            content = f"file {number}".encode()
            stored = Stored(
                f"file-{number:06d}",
                f"file-{number}.jsonl",
                io.BytesIO(content),
                len(content),
                1_700_000_000 + number,
                {"purpose": options.get("purpose", (self.purposes or ("batch",))[0])},
            )
            self.files[stored.id] = stored
            ids.append(stored.id)
        return ids

    def page(self, request: Request) -> Response:
        """List files as OpenAI pages them."""
        files = self.filtered(request)
        if request.args.get("order", DESCENDING) == DESCENDING:
            files.reverse()
        limit = int(request.args.get("limit", 10_000))
        if not 1 <= limit <= 10_000:
            return self.error(400)
        start = 0
        if after := request.args.get("after"):
            ids = [stored.id for stored in files]
            if after not in ids:
                return self.error(400)
            start = ids.index(after) + 1
        chosen = files[start : start + limit]
        return json_response(self.list_object(chosen, has_more=start + limit < len(files)))

    def filtered(self, request: Request) -> list[Stored]:
        """Return the files of the purpose that the request names, oldest first."""
        purpose = request.args.get("purpose")
        return [
            stored
            for stored in sorted(self.files.values(), key=lambda stored: stored.created_at)
            if purpose in {None, stored.extra["purpose"]}
        ]

    def list_object(self, files: list[Stored], *, has_more: bool) -> dict[str, Any]:
        """Return a page."""
        return {
            "object": "list",
            "data": [self.file_object(stored) for stored in files],
            "first_id": files[0].id if files else None,
            "last_id": files[-1].id if files else None,
            "has_more": has_more,
        }

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        expires_at = stored.extra.get("expires_at")
        return {
            "id": stored.id,
            "object": "file",
            "bytes": stored.size,
            "created_at": stored.created_at,
            "filename": stored.filename,
            "purpose": stored.extra["purpose"],
            "status": "processed",
            **({} if expires_at is None else {"expires_at": expires_at}),
        }

    def deleted(self, stored: Stored) -> Response:
        """Say that a file is gone."""
        return json_response({"id": stored.id, "object": "file", "deleted": True})

    def error(self, status: int) -> Response:
        """Return OpenAI's envelope."""
        kind = "server_error" if status >= 500 else "invalid_request_error"
        error = {"message": f"refused: {status}", "type": kind, "param": None, "code": None}
        headers = {"Retry-After": "1"} if status == 429 else None
        return json_response({"error": error}, status, headers)


def expires_after(form: Form) -> int | None:
    """Return after how many seconds the form's file expires.

    Azure's own documents write the fields with a dot, SDKs with brackets.

    :raises ValueError: they are incomplete or out of range.
    """
    anchor, seconds = (
        form.get(f"expires_after[{key}]") or form.get(f"expires_after.{key}")
        for key in ("anchor", "seconds")
    )
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise ValueError("The anchor must be created_at.")
    if not seconds or not seconds.isdecimal() or not 3600 <= int(seconds) <= 2_592_000:
        raise ValueError("The seconds must be between 3600 and 2592000.")
    return int(seconds)
