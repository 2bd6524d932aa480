"""OpenAI's shapes, for providers that answer in others."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ..errors import FilesError, UpstreamError, envelope
from .base import Reshaped, UpstreamResponse

#: The longest error body that is read.
MAX_ERROR = 64 * 1024

#: What OpenAI calls an error of this status.
_CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}

# Fractions of a second: Python before 3.11 reads them only of three and six digits.
_FRACTION = re.compile(r"\.[0-9]+")


class Refusal(Exception):
    """The provider said no: raised anywhere in a conversation, it ends it with this answer."""

    def __init__(self, answer: Reshaped) -> None:
        super().__init__(answer.status)
        self.answer = answer


def file_object(
    *,
    id: str,  # noqa: A002 - OpenAI's own name for it
    size: int | None,
    created_at: int | None,
    filename: str,
    purpose: str,
    status: str = "processed",
    expires_at: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a file object.

    :param size: in bytes, ``None`` where the provider does not say.
    :param created_at: in Unix seconds.
    :param status: ``uploaded``, ``processed`` or ``error``.
    :param expires_at: in Unix seconds; left out if there is none.
    :param extra: what has no place in OpenAI's shape, under the provider's own names.
    """
    own = {
        "id": id,
        "object": "file",
        "bytes": size,
        "created_at": created_at,
        "filename": filename,
        "purpose": purpose,
        "status": status,
    }
    if expires_at is not None:
        own["expires_at"] = expires_at
    return {**own, **{name: value for name, value in (extra or {}).items() if name not in own}}


def deletion(file_id: str | None) -> dict[str, Any]:
    """Return the answer to a deletion that was done."""
    return {"id": file_id, "object": "file", "deleted": True}


def unix_seconds(value: Any) -> int | None:
    """Return a time as Unix seconds, be it that already, in milliseconds, or in RFC 3339.

    ``None`` if it is no time.
    """
    if isinstance(value, str) and re.fullmatch(r"[0-9]+", value):
        value = whole_number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not abs(value) < 1e18:  # Neither is a number that is none.
            return None
        # 1e11 seconds are the year 5138.
        return int(value / 1000 if value > 1e11 else value)
    if not isinstance(value, str):
        return None
    try:
        # The Z, too, is read since 3.11.
        time = datetime.fromisoformat(_FRACTION.sub("", value.strip()).replace("Z", "+00:00"))
    except ValueError:
        return None
    return int(time.replace(tzinfo=time.tzinfo or timezone.utc).timestamp())


def whole_number(text: str) -> int | None:
    """Return a size as it is written in a header or in a text, ``None`` if it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def succeeded(response: UpstreamResponse) -> UpstreamResponse:
    """Return *response* if it is a success.

    :raises Refusal: it is none; the client gets it in OpenAI's envelope.
    """
    if not 200 <= response.status < 300:
        raise Refusal(failure(response))
    return response


def failure(
    response: UpstreamResponse, *, status: int | None = None, code: str | None = None
) -> Reshaped:
    """Return a provider's error in OpenAI's envelope, with its own words.

    :param status: the client's status, if not the provider's.
    :param code: the client's code, if not the provider's.
    :raises UpstreamError: the answer is a redirect, which is not followed.
    """
    status = status or response.status
    if 300 <= status < 400:
        raise UpstreamError(f"The provider answered with an unexpected redirect ({status}).")
    body = error_body(response)
    own = body.get("error")
    inner: Mapping[str, Any] = own if isinstance(own, dict) else body
    message = _text(inner, "message", "detail", "msg", "title", "error_description")
    if not message and isinstance(own, str):
        message = own
    if code is None:
        # A code that is the status once more says nothing.
        given = (inner.get(name) for name in ("code", "status", "reason"))
        named = (str(one) for one in given if one and not isinstance(one, bool))
        code = next((one for one in named if one != str(response.status)), None)
        code = code or _CODES.get(status)
    if status == 429:
        kind = "rate_limit_error"
    else:
        kind = "invalid_request_error" if status < 500 else "server_error"
    message = message or f"The provider answered {response.status}."
    param = inner.get("param") if isinstance(inner.get("param"), str) else None
    answer = envelope(message, type=kind, param=param, code=code)
    return Reshaped(response, answer, status=status)


def error_body(response: UpstreamResponse) -> dict[str, Any]:
    """Return what an error's body says, as far as it is JSON."""
    try:
        body = json.loads(response.read(MAX_ERROR))
    except (ValueError, RecursionError, FilesError):
        return {}
    if isinstance(body, str):
        return {"message": body}
    return body if isinstance(body, dict) else {}


def _text(body: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = body.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and isinstance(value[0], dict):
            # As FastAPI lists what is wrong with a request.
            return "; ".join(
                f"{_place(item.get('loc'))}: {item.get('msg')}"
                for item in value
                if isinstance(item, dict)
            )
    return ""


def _place(loc: Any) -> str:
    return ".".join(map(str, loc)) if isinstance(loc, list) else str(loc or "")
