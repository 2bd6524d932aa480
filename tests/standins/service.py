"""What the services that copy OpenAI's Files API deviate by."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request, Response

from .base import Form, Stored, file_response, json_response
from .openai import DESCENDING, OpenAIStandin

HOUR = 3600
DAY = 24 * HOUR


class Refused(Exception):
    """The request ends here, with this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Service(OpenAIStandin):
    """OpenAI's Files API with the deviations that several services share."""

    #: What an id is made of.
    id_format: ClassVar[str] = "file-{:06d}"
    #: The file's ``status``; ``None`` where the service has no such field.
    status: ClassVar[str | None] = "processed"
    #: The status that answers a field or a parameter which the service does not take.
    invalid_status: ClassVar[int] = 400
    #: A page's length where the request names none; ``None`` for all files.
    default_limit: ClassVar[int | None] = None
    #: The longest page that may be asked for; ``None`` where lists know no limit at all.
    max_limit: ClassVar[int | None] = None
    #: Whether lists know ``after``.
    cursor: ClassVar[bool] = True
    #: Whether lists are filtered by purpose, and whether they must be.
    filters: ClassVar[bool] = True
    list_needs_purpose: ClassVar[bool] = False
    #: The order of a list, and whether the request may choose another one.
    order: ClassVar[str] = DESCENDING
    orders: ClassVar[bool] = False
    #: What a list says beside ``data``.
    list_fields: ClassVar[tuple[str, ...]] = ("object", "first_id", "last_id", "has_more")
    #: The time after which a file goes, in seconds; ``None`` where files do not expire.
    lifetime: ClassVar[int | None] = None
    #: Whether uploads take OpenAI's expiry policy, and which seconds.
    expires_after: ClassVar[range | None] = None
    #: The operations of one file that the service has.
    has_retrieve: ClassVar[bool] = True
    has_content: ClassVar[bool] = True
    has_delete: ClassVar[bool] = True
    #: The type of a file's content.
    content_type: ClassVar[str] = "application/octet-stream"

    def answer(self, request: Request) -> Response:
        """Answer, or refuse."""
        try:
            self.check_key(request)
            return self.route(request)
        except Refused as refused:
            return refused.response

    def check_key(self, request: Request) -> None:
        """Refuse every key but the right one."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            raise Refused(self.error(401))

    def route(self, request: Request) -> Response:
        """Refuse the operations that the service does not have."""
        _, _, rest = request.path.partition(f"{self.prefix}/files/")
        match request.method, rest.split("/"):
            case ("GET", [file_id]) if file_id and not self.has_retrieve:
                raise NotFound
            case "GET", [file_id, "content"]:
                if not self.has_content:
                    raise NotFound
                return self.content(self.get(file_id))
            case ("DELETE", [_]) if not self.has_delete:
                raise NotFound
        return super().answer(request)

    def content(self, stored: Stored) -> Response:
        """Return a file's content."""
        return file_response(stored, self.content_type)

    def refuse(self, message: str) -> Refused:
        """Return what refuses a field or a parameter."""
        return Refused(self.error(self.invalid_status))

    # --- Uploads ----------------------------------------------------------------------------

    def upload(self, request: Request) -> Response:
        """Store the form's file."""
        if request.mimetype != "multipart/form-data":
            raise self.refuse("no form")
        form = self.form(request)
        if form.file is None or "file" not in form.order:
            raise self.refuse("file is missing")
        self.check(form)
        return json_response(self.file_object(self.store(form)))

    def check(self, form: Form) -> None:
        """Refuse a form with a field that is not taken, or without one that is needed."""
        purpose = form.get("purpose")
        if not purpose or (self.purposes is not None and purpose not in self.purposes):
            raise self.refuse(f"purpose {purpose}")
        if self.expires_after is not None:
            if form.get("expires_after[anchor]") not in {None, "created_at"}:
                raise self.refuse("expires_after[anchor]")
            seconds = number(form, "expires_after[seconds]")
            if seconds is not None and seconds not in self.expires_after:
                raise self.refuse("expires_after[seconds]")

    def store(self, form: Form) -> Stored:
        """Keep a form's file."""
        assert form.file is not None
        now = int(time.time())
        extra: dict[str, Any] = {"purpose": self.purpose(form), "form": form}
        stored = Stored("", form.filename or "", form.file, form.size, now, extra)
        return self.keep(stored, self.seconds(form))

    def purpose(self, form: Form) -> str:
        """Return the purpose that the file gets."""
        return form.get("purpose") or ""

    def seconds(self, form: Form) -> int | None:
        """Return the time after which the form's file goes."""
        if self.expires_after is None:
            return self.lifetime
        return number(form, "expires_after[seconds]") or self.lifetime

    def keep(self, stored: Stored, seconds: int | None) -> Stored:
        """Give a file an id of the service's form, and the time at which it goes."""
        stored.id = self.new_id(stored)
        if seconds is not None:
            stored.extra["expires_at"] = stored.created_at + seconds
        self.files[stored.id] = stored
        return stored

    def new_id(self, stored: Stored) -> str:
        """Return an id of the service's form."""
        return self.id_format.format(self.next_id())

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small files."""
        seeded = [self.files.pop(file_id) for file_id in super().seed(count, **options)]
        return [self.keep(stored, self.lifetime).id for stored in seeded]

    # --- Metadata and lists -----------------------------------------------------------------

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        result = super().file_object(stored)
        del result["status"]
        if self.status is not None:
            result["status"] = self.status
        if "expires_at" in stored.extra:
            result["expires_at"] = stored.extra["expires_at"]
        return result

    def page(self, request: Request) -> Response:
        """List files as the service pages them."""
        known = self.purposes or ()
        if self.list_needs_purpose and request.args.get("purpose") not in known:
            raise self.refuse("purpose")
        files = self.filtered(request)
        order = request.args.get("order", self.order) if self.orders else self.order
        if order not in {"asc", DESCENDING}:
            raise self.refuse("order")
        if order == DESCENDING:
            files.reverse()
        limit = self.default_limit or len(files)
        if self.max_limit is not None:
            limit = self.parameter(request, "limit", limit, range(1, self.max_limit + 1))
        start = 0
        if self.cursor and (after := request.args.get("after")):
            start = self.behind(files, after)
        chosen = files[start : start + limit]
        return json_response(self.list_object(chosen, has_more=start + limit < len(files)))

    def filtered(self, request: Request) -> list[Stored]:
        """Return the files that the query asks for, oldest first."""
        if self.filters:
            return super().filtered(request)
        return sorted(self.files.values(), key=lambda stored: stored.created_at)

    def list_object(self, files: list[Stored], *, has_more: bool) -> dict[str, Any]:
        """Return a page."""
        page = super().list_object(files, has_more=has_more)
        return {key: page[key] for key in (*self.list_fields, "data")}

    def parameter(self, request: Request, name: str, default: int, allowed: range) -> int:
        """Return a number of the query."""
        value = request.args.get(name)
        if value is None:
            return default
        if not value.isdigit() or int(value) not in allowed:
            raise self.refuse(name)
        return int(value)

    def behind(self, files: list[Stored], file_id: str) -> int:
        """Return the place behind a file, where the next page begins."""
        ids = [stored.id for stored in files]
        if file_id not in ids:
            raise self.refuse("no such file in the list")
        return ids.index(file_id) + 1


class PlainListService(Service):
    """A service whose lists hold all files, take no parameter, and do not say ``has_more``."""

    cursor = False
    filters = False
    list_fields = ("object",)


def number(form: Form, name: str) -> int | None:
    """Return a field that is a number, if the form has it; -1 if it is none."""
    value = form.get(name)
    if value is None:
        return None
    return int(value) if value.isdigit() else -1
