"""A service that copies OpenAI's Files API, with what it does otherwise as data."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

from ..call import FilesCall
from ..errors import InvalidRequest, UpstreamError, envelope
from ..form import UploadForm
from ..routing import Target
from .base import (
    Answer,
    Conversation,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
    file_segment,
)
from .capabilities import Capabilities
from .openai import OpenAICompatible
from .paging import MAX_PAGES, PAGING, ListQuery, Page, listing, walk
from .shape import Refusal, failure, unix_seconds

File: TypeAlias = dict[str, Any]

# They concern the answer's bytes: an answer that is read here has to come, and plainly.
_OF_BYTES = (
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Range",
)


@dataclass(frozen=True, kw_only=True)
class Lists:
    """How a service lists files, where that is not OpenAI's way.

    :param order: its own order by time, ``asc`` or ``desc``; ``None`` if it promises none.
    :param limit: the largest ``limit`` that it takes; ``None`` if it takes none, and lists all.
    :param cursor: whether it takes ``after``, the id of the last file of the page before.
    :param filters: whether it takes ``purpose``.
    :param purposes: the purposes, in its own words, of which each list must name one.
    """

    order: str | None = None
    limit: int | None = None
    cursor: bool = False
    filters: bool = False
    purposes: tuple[str, ...] = ()


#: What the services themselves page and order their lists by.
OWN_PAGING = frozenset(
    {"after_id", "before_id", "cursor", "page", "page_size", "pagination_token", "sort_by"}
)

NOT_MODIFIED = 304

#: A list that comes whole, whatever the query says.
WHOLE = Lists()


class Service(OpenAICompatible):
    """A service that copies OpenAI's Files API: what it answers otherwise is reshaped.

    :param base_url: the address that ``/files`` is added to.
    :param capabilities: what the service can do.
    :param lists: how it lists files; ``None`` for OpenAI's way.
    :param plain: whether its file objects are OpenAI's own, and so are relayed untouched.
    :param envelope: whether its errors are.
    :param statuses: its words for a file's status to OpenAI's.
    :param unknown: the statuses, besides 404, that it answers with for an unknown file.
    :param has_retrieve: whether it has the metadata of one file; if not, they are looked up in
        the list.
    :raises ValueError: *base_url* is not an http or https address.
    """

    def __init__(
        self,
        base_url: str,
        *,
        capabilities: Capabilities,
        lists: Lists | None = None,
        plain: bool = False,
        envelope: bool = False,
        statuses: Mapping[str, str] | None = None,
        unknown: Collection[int] = (),
        has_retrieve: bool = True,
    ) -> None:
        super().__init__(base_url)
        self.capabilities = capabilities
        self._lists = lists
        self._plain = plain
        self._envelope = envelope
        self._statuses = statuses or {}
        self._unknown = unknown
        self._has_retrieve = has_retrieve

    # --- The operations ---------------------------------------------------------------------

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Send the form on."""
        response = yield self.request(call, target, "POST", "/files", body=form)
        return self._metadata(response)

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get one file's metadata, from the list if there is no other way."""
        if not self._has_retrieve:
            return (yield from self._look_up(call, target))
        # Not every service takes HEAD.
        response = yield self.request(call, target, "GET", f"/files/{file_segment(call)}")
        if response.status in self._unknown:
            return self.unknown_file(response)
        return self._metadata(response)

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the content."""
        path = f"/files/{file_segment(call)}"
        response = yield self.request(call, target, call.method, f"{path}/content")
        if succeeds(response) or response.status == NOT_MODIFIED:
            return Relayed(response)
        if response.status in self._unknown:
            refusal = self.refusal(response)
            # The service says the same of a file that has no content to give.
            found = yield self.request(call, target, "GET", path)
            return self.unknown_file(found) if found.status in self._unknown else refusal
        return self._refused(response)

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the file."""
        path = f"/files/{file_segment(call)}"
        response = yield self.request(call, target, "DELETE", path)
        if succeeds(response):
            return self.deleted(call, response)
        if response.status in self._unknown:
            return self.unknown_file(response)
        return self._refused(response)

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files."""
        if self._lists is None:
            return (yield from self._native_list(call, target))
        query = ListQuery.of(call)
        pages = Pages(self, call, target, self._lists, query)
        return (yield from walk(pages.fetch, pages.rest, order=self._lists.order))

    def _native_list(self, call: FilesCall, target: Target) -> Conversation:
        """Relay a list that is paged as OpenAI's; its files are reshaped."""
        response = yield self.request(call, target, "GET", "/files")
        if not succeeds(response):
            return self._refused(response)
        if self._plain:
            return Relayed(response)
        body, files = self.listed(response)
        page = listing(files, has_more=body.get("has_more") is True)
        return Reshaped(response, page)

    def _look_up(self, call: FilesCall, target: Target) -> Conversation:
        """Find one file in the list."""
        file_segment(call)  # An id that is none is refused here as everywhere.
        pages = Pages(self, call, target, self._lists or Lists(cursor=True), ListQuery())
        cursor: Any = None
        for _ in range(MAX_PAGES):
            page = yield from pages.fetch(cursor)
            for file in page.files:
                if file.get("id") == call.file_id:
                    return Reshaped(page.response, file)
            cursor = page.next
            if cursor is None:
                return self.unknown_file(page.response)
        raise InvalidRequest(
            "There are too many files to find this one among them, and the provider can't be "
            "asked for it alone; delete what is not needed.",
            param="file_id",
            code="list_too_long",
        )

    # --- The request ------------------------------------------------------------------------

    def request(
        self, call: FilesCall, target: Target, method: str, path: str, **options: Any
    ) -> UpstreamRequest:
        """Return the request; what is read here is asked for whole and not compressed."""
        request = super().request(call, target, method, path, **options)
        if not path.endswith("/content"):
            for name in _OF_BYTES:
                request.headers.pop(name, None)
            request.headers.set("Accept-Encoding", "identity")
        return request

    # --- The answers ------------------------------------------------------------------------

    def file(self, item: Mapping[str, Any]) -> File:
        """Return one of the service's file objects in OpenAI's shape."""
        own = {name: value for name, value in item.items() if name != "createdAt"}
        created_at = item.get("created_at", item.get("createdAt"))
        status = str(item.get("status") or "processed")
        own |= {
            "object": "file",
            "created_at": unix_seconds(created_at),
            "purpose": self.capabilities.common_purpose(item.get("purpose") or ""),
            "status": self._statuses.get(status, status),
        }
        if "expires_at" in own and (expires_at := unix_seconds(own.pop("expires_at"))):
            own["expires_at"] = expires_at
        return own

    def listed(
        self, response: UpstreamResponse
    ) -> tuple[Mapping[str, Any], builtins.list[File]]:
        """Return the body of a list, unwrapped, and its files in OpenAI's shape.

        :raises UpstreamError: it is no list of files.
        """
        body = unwrapped(response.json())
        items = body.get("data")
        if not isinstance(items, list) or not all(map(_is_file, items)):
            raise UpstreamError("The provider answered with a list of files that is none.")
        return body, [item if self._plain else self.file(item) for item in items]

    def deleted(self, call: FilesCall, response: UpstreamResponse) -> Answer:  # noqa: ARG002
        """Return the answer to a deletion that was done."""
        return Relayed(response)

    def refusal(self, response: UpstreamResponse) -> Reshaped:
        """Return the service's error in OpenAI's envelope."""
        return failure(response)

    def unknown_file(self, response: UpstreamResponse) -> Reshaped:
        """Return the answer to a call for a file that the service does not have."""
        message = "The provider has no file of this id."
        kind = "invalid_request_error"
        body = envelope(message, type=kind, param="file_id", code="not_found")
        return Reshaped(response, body, status=404)

    def _refused(self, response: UpstreamResponse) -> Answer:
        return Relayed(response) if self._envelope else self.refusal(response)

    def _metadata(self, response: UpstreamResponse) -> Answer:
        if not succeeds(response):
            return self._refused(response)
        if self._plain:
            return Relayed(response)
        item = unwrapped(response.json())
        if not _is_file(item):
            raise UpstreamError("The provider answered with a file object that is none.")
        return Reshaped(response, self.file(item))


class Pages:
    """A service's list, page by page, with the requests that take no more than it needs to.

    :param query: what the client asks for.
    """

    def __init__(
        self, service: Service, call: FilesCall, target: Target, lists: Lists, query: ListQuery
    ) -> None:
        self._service = service
        self._call = call
        self._target = target
        self._lists = lists
        self._in_order = lists.order == query.order
        self._start: str | None = None
        #: What is left to be asked of the pages: where the service takes the client's
        #: ``after``, they begin behind it.
        self.rest = query
        if self._in_order and lists.cursor and query.after:
            self._start = query.after
            self.rest = replace(query, after=None)
        wanted = query.purpose and service.capabilities.own_purpose(query.purpose)
        self._purposes: tuple[str | None, ...] = (None,)
        if lists.purposes or lists.filters:
            self._purposes = (wanted,) if wanted else lists.purposes or (None,)
        self._filtered = bool(wanted) and (lists.filters or bool(lists.purposes))
        self._answered = False

    def fetch(self, cursor: Any) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
        """Ask for a page, the first one for ``None``."""
        number, after = cursor or (0, self._start)
        limit = self._limit()
        query = {"purpose": self._purposes[number], "limit": limit, "after": after}
        given = [(name, str(value)) for name, value in query.items() if value is not None]
        response = yield self._service.request(
            self._call,
            self._target,
            "GET",
            "/files",
            query=urlencode([*further(self._call), *given]),
        )
        more = number + 1 < len(self._purposes)
        if self._is_unlisted(response, after) and (more or self._answered):
            return Page([], (number + 1, None) if more else None, response)
        if not succeeds(response):
            raise Refusal(self._service.refusal(response))
        self._answered = True
        body, files = self._service.listed(response)
        if self._lists.cursor and files and has_more(body, len(files), limit):
            return Page(files, (number, files[-1]["id"]), response)
        return Page(files, (number + 1, None) if more else None, response)

    def _is_unlisted(self, response: UpstreamResponse, after: str | None) -> bool:
        """Return whether the service just does not list files of this purpose.

        The client has named none then: it is one of those that the service's documents name.
        """
        return len(self._purposes) > 1 and after is None and response.status in {400, 422}

    def _limit(self) -> int | None:
        """Return how many files to ask for; one more than is needed tells if that is all."""
        if self._lists.limit is None:
            return None
        exact = self._in_order and not self.rest.after
        if not exact or (self.rest.purpose and not self._filtered):
            return self._lists.limit
        return min(self._lists.limit, self.rest.limit + 1)


def further(call: FilesCall) -> list[tuple[str, str]]:
    """Return what a list's query asks for besides what OpenAI's list knows.

    Without what pages a list in a provider's own way: the pages are asked for here.
    """
    known = {*PAGING, *OWN_PAGING, "purpose"}
    pairs = parse_qsl(call.query_string, keep_blank_values=True)
    return [(name, value) for name, value in pairs if name not in known]


def has_more(body: Mapping[str, Any], count: int, limit: int | None) -> bool:
    """Return whether a page follows, from what the service says, else from its length."""
    said = body.get("has_more")
    return said if isinstance(said, bool) else limit is not None and count >= limit


def succeeds(response: UpstreamResponse) -> bool:
    """Return whether an answer is a success."""
    return 200 <= response.status < 300


def _is_file(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("id"), str)


def unwrapped(body: Any) -> Mapping[str, Any]:
    """Return what is inside ``{"code", "message", "data"}``, else *body* itself.

    :raises UpstreamError: it is no object.
    """
    if isinstance(body, dict) and isinstance(body.get("data"), dict):
        body = body["data"]
    if not isinstance(body, dict):
        raise UpstreamError("The provider answered with JSON that is no object.")
    return body
