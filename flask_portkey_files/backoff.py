"""How long to wait before a request is tried again."""

from __future__ import annotations

import contextlib
import random
import time

from werkzeug.datastructures import Headers
from werkzeug.http import parse_date

from .routing import Retry

#: The first wait, in seconds, and the longest that is not the provider's wish.
FIRST = 0.5
LONGEST = 8.0

#: The headers that say how long to wait, in the order in which they are heeded, and the
#: milliseconds in one of their units. The first two are Azure's and OpenAI's.
HEADERS = (("retry-after-ms", 1), ("x-ms-retry-after-ms", 1), ("retry-after", 1000))


def wait(attempt: int, retry: Retry, headers: Headers, *, most: float) -> float | None:
    """Return the seconds to wait, or ``None`` if that would be too long.

    :param attempt: how often the request has been tried again so far.
    :param headers: those of the answer that was no success, if there was one.
    :param most: the longest wait that is acceptable.
    """
    asked = _asked_for(headers) if retry.use_retry_after_header else None
    if asked is not None:
        return asked if asked <= most else None
    # With jitter, so that callers who failed together do not come back together.
    spread = random.uniform(0.5, 1)  # noqa: S311 - no secret
    seconds = min(FIRST * (1 << attempt), LONGEST) * spread
    return min(seconds, most)


def _asked_for(headers: Headers) -> float | None:
    """Return the seconds that a provider asks for, ``None`` if it does not."""
    for name, milliseconds in HEADERS:
        text: str = headers.get(name, "").strip()
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return float(text) * milliseconds / 1000
        with contextlib.suppress(OverflowError):  # A date that is none.
            if text and (date := parse_date(text)) is not None:
                return max(0.0, float(date.timestamp()) - time.time())
    return None
