"""Which headers cross the gateway, and which stop at it. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from werkzeug.datastructures import Headers

#: Headers that concern one connection only (RFC 9110, 7.6.1), and those that old proxies use
#: the same way.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

#: What goes up as the client sent it. A list of what may pass instead of what may not: a
#: host's own credentials, cookies and internal headers must not reach a provider because
#: nobody thought of naming them.
REQUEST_HEADERS = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Idempotency-Key",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "OpenAI-Beta",
    "Range",
    "User-Agent",
    "X-Client-Request-Id",
    # Which trace the call belongs to: random ids. What may tell more of the host, `tracestate`
    # and `baggage`, stays here.
    "traceparent",
)

#: What never goes up as the client sent it, even if it asks for that. Beside a stored key, a
#: client's organization or project would open another one of the key's owner.
REQUEST_STOP = HOP_BY_HOP | {
    "api-key",
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "openai-organization",
    "openai-project",
    "x-api-key",
    "x-goog-api-key",
}

REQUEST_STOP_PREFIXES = ("x-amz-", "x-goog-", "x-portkey-")

#: What never comes down. These speak for the provider's host, and would be taken as speaking
#: for the gateway's: its cookies, its origin's policies, its server's name and clock, and the
#: commands by which a reverse proxy in front is told to send one of its own files.
RESPONSE_STOP = HOP_BY_HOP | {
    "alt-svc",
    "clear-site-data",
    "date",
    "nel",
    "public-key-pins",
    "report-to",
    "reporting-endpoints",
    "server",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "x-lighttpd-send-file",
    "x-sendfile",
}
RESPONSE_STOP_PREFIXES = ("access-control-", "x-accel-", "x-portkey-")

_REQUEST_NAMES = {name.lower(): name for name in REQUEST_HEADERS}
#: Other providers' names of ``x-request-id``.
_REQUEST_IDS = frozenset({"request-id", "x-amz-request-id", "x-goog-request-id"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DIGITS = re.compile(r"[0-9]+")


def connection_names(values: Iterable[str]) -> set[str]:
    """Return the names, in lower case, that ``Connection`` headers declare hop-by-hop."""
    return {name.strip().lower() for value in values for name in value.split(",")} - {""}


def upstream_headers(headers: Headers, forward: Iterable[str] = ()) -> Headers:
    """Return what of a client's *headers* goes up to the provider.

    :param forward: further names that go up, unless they are of those that never do.
    """
    stop = connection_names(headers.getlist("Connection"))
    names = {**_REQUEST_NAMES, **{name.lower(): name for name in filter(may_forward, forward)}}
    return Headers(
        [
            (name, value)
            for low, name in names.items()
            if (value := headers.get(name)) is not None and low not in stop
        ]
    )


def may_forward(name: str) -> bool:
    """Return whether a client may ask for its header *name* to go up."""
    low = name.lower()
    return bool(
        _TOKEN.fullmatch(name)
        and low not in REQUEST_STOP
        and not low.startswith(REQUEST_STOP_PREFIXES)
    )


def downstream_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return what of a provider's *headers* comes down, repeated ones repeated."""
    pairs = list(headers)
    names = {name.lower() for name, _ in pairs}
    stop = RESPONSE_STOP | connection_names(
        value for name, value in pairs if name.lower() == "connection"
    )
    if "transfer-encoding" in names:
        # The length is that of nothing then (RFC 9112, 6.3).
        stop |= {"content-length"}
    down = Headers(
        [
            (name, value)
            for name, value in pairs
            if (low := name.lower()) not in stop
            and not low.startswith(RESPONSE_STOP_PREFIXES)
            and _TOKEN.fullmatch(name)
            and (low != "content-length" or _DIGITS.fullmatch(value))
        ]
    )
    if "x-request-id" not in names:
        # Where OpenAI's clients look for what a provider's support asks for.
        request_id = next(
            (value for name, value in pairs if name.lower() in _REQUEST_IDS), None
        )
        if request_id is not None:
            down.add("x-request-id", request_id)
    return down


def bearer(value: str | None) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header, ``None`` if it is not one."""
    scheme, _, token = (value or "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None
