"""OpenAI's paging over a list that a provider hands out whole."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from ..call import FilesCall
from ..errors import InvalidRequest

#: The query parameters that page a list.
PAGING = frozenset({"after", "limit", "order"})

MAX_LIMIT = 10_000


def page(files: list[dict[str, Any]], call: FilesCall) -> dict[str, Any]:
    """Return the page of *files* that the call's ``limit``, ``order`` and ``after`` ask for.

    The defaults are OpenAI's: the newest first, 10,000 of them.

    :param files: all file objects.
    :raises InvalidRequest: a parameter has a value that OpenAI does not know.
    """
    query = dict(parse_qsl(call.query_string, keep_blank_values=True))
    order = query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise InvalidRequest("`order` must be `asc` or `desc`.", param="order")
    limit = query.get("limit", str(MAX_LIMIT))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_LIMIT):
        raise InvalidRequest(
            f"`limit` must be a whole number from 1 to {MAX_LIMIT}.", param="limit"
        )
    files = sorted(files, key=_created_at, reverse=order == "desc")
    start = 0
    if after := query.get("after"):
        ids = [file.get("id") for file in files]
        if after not in ids:
            raise InvalidRequest(
                "`after` must be the id of a file in the list; start again without it.",
                param="after",
            )
        start = ids.index(after) + 1
    end = start + int(limit)
    data = files[start:end]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0].get("id") if data else None,
        "last_id": data[-1].get("id") if data else None,
        "has_more": end < len(files),
    }


def _created_at(file: dict[str, Any]) -> float:
    created_at = file.get("created_at")
    return created_at if isinstance(created_at, (int, float)) else 0
