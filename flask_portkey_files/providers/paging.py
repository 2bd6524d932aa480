"""OpenAI's paging, over a list that comes whole or that a provider pages otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ..call import FilesCall
from ..errors import InvalidRequest, UpstreamError
from .base import Reshaped, UpstreamRequest, UpstreamResponse

#: The query parameters that page a list.
PAGING = frozenset({"after", "limit", "order"})

MAX_LIMIT = 10_000

#: How many of a provider's pages are read for one of ours at most.
MAX_PAGES = 200

#: How many pages in a row may repeat what came before: files that are stored meanwhile shift
#: a page that is asked for by its number.
MAX_STALE = 3


@dataclass(frozen=True)
class ListQuery:
    """What the client asks of a list, with OpenAI's defaults: the newest first, 10,000 of them.

    :param purpose: in OpenAI's words; ``None`` for all.
    """

    limit: int = MAX_LIMIT
    order: str = "desc"
    after: str | None = None
    purpose: str | None = None

    @classmethod
    def of(cls, call: FilesCall) -> ListQuery:
        """Read the call's query.

        :raises InvalidRequest: a parameter has a value that OpenAI does not know.
        """
        query = dict(parse_qsl(call.query_string, keep_blank_values=True))
        order = query.get("order", "desc")
        if order not in {"asc", "desc"}:
            raise InvalidRequest("`order` must be `asc` or `desc`.", param="order")
        limit = query.get("limit", str(MAX_LIMIT))
        if not (re.fullmatch("[0-9]{1,9}", limit) and 1 <= int(limit) <= MAX_LIMIT):
            raise InvalidRequest(
                f"`limit` must be a whole number from 1 to {MAX_LIMIT}.", param="limit"
            )
        return cls(int(limit), order, query.get("after") or None, query.get("purpose") or None)

    def wants(self, file: dict[str, Any]) -> bool:
        """Return whether a file object has the purpose that is asked for."""
        return self.purpose is None or file.get("purpose") == self.purpose


@dataclass(frozen=True)
class Page:
    """One page of a provider's, in OpenAI's shape.

    :param files: file objects, in the provider's order.
    :param next: what the next page is asked for with; ``None`` behind the last one.
    :param response: the answer that this was read from.
    """

    files: list[dict[str, Any]]
    next: Any
    response: UpstreamResponse


#: Asks for one page: the first for ``None``, the others by what the page before said.
Fetch = Callable[[Any], Generator[UpstreamRequest, UpstreamResponse, Page]]


def page(files: list[dict[str, Any]], query: ListQuery) -> dict[str, Any]:
    """Return the page of *files* that *query* asks for.

    :param files: all file objects; those of the same second stay in the order that they have.
    :raises InvalidRequest: ``after`` is none of them.
    """
    wanted = sorted(filter(query.wants, files), key=_created_at)
    if query.order == "desc":
        wanted.reverse()
    start = 0
    if query.after:
        ids = _ids(wanted)
        if query.after not in ids:
            raise unknown_after()
        start = ids.index(query.after) + 1
    end = start + query.limit
    return listing(wanted[start:end], has_more=end < len(wanted))


def walk(
    fetch: Fetch, query: ListQuery, *, order: str | None
) -> Generator[UpstreamRequest, UpstreamResponse, Reshaped]:
    """Return the page that *query* asks for, reading as many of the provider's as that takes.

    :param order: the provider's own order, ``asc`` or ``desc`` by time; ``None`` if it
        promises none. Where it is not the client's, all files are read and sorted.
    :raises InvalidRequest: ``after`` is no file of the list, or the list is too long.
    """
    in_order = order == query.order
    found = query.after is None or not in_order
    files: list[dict[str, Any]] = []
    # A page by number or offset shifts when a file is stored meanwhile.
    seen: set[Any] = set()
    cursor: Any = None
    stale = 0
    for _ in range(MAX_PAGES):
        got = yield from fetch(cursor)
        repeats = bool(got.files) or (cursor is not None and got.next == cursor)
        stale = stale + 1 if repeats and seen.issuperset(_ids(got.files)) else 0
        if stale == MAX_STALE:
            raise UpstreamError("The provider's list of files repeats itself without end.")
        for file in got.files:
            file_id = file.get("id")
            if found and file_id not in seen and query.wants(file):
                files.append(file)
            seen.add(file_id)
            found = found or file_id == query.after
        if in_order and len(files) > query.limit:
            break
        cursor = got.next
        if cursor is None:
            break
    else:
        raise InvalidRequest(
            "There are too many files to find this page of them; "
            + (
                f"ask for the provider's own order (`order={order}`)"
                if order
                else "delete some"
            )
            + ".",
            param="order",
            code="list_too_long",
        )
    if not in_order:
        if order == "desc":
            # So that files of the same second come in the same order both ways.
            files.reverse()
        return Reshaped(got.response, page(files, query))
    if not found:
        raise unknown_after()
    return Reshaped(
        got.response, listing(files[: query.limit], has_more=len(files) > query.limit)
    )


def listing(files: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a page in OpenAI's shape."""
    return {
        "object": "list",
        "data": files,
        "first_id": files[0].get("id") if files else None,
        "last_id": files[-1].get("id") if files else None,
        "has_more": has_more,
    }


def unknown_after() -> InvalidRequest:
    """Return the error for an ``after`` that is no file of the list."""
    return InvalidRequest(
        "`after` must be the id of a file in the list; start again without it.",
        param="after",
    )


def _ids(files: list[dict[str, Any]]) -> list[Any]:
    return [file.get("id") for file in files]


def _created_at(file: dict[str, Any]) -> float:
    created_at = file.get("created_at")
    return created_at if isinstance(created_at, (int, float)) else 0
