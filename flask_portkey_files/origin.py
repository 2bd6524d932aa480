"""Whether an upload was sent by a page of another origin, without its being asked."""

from __future__ import annotations

import re
from collections.abc import Collection

from werkzeug.datastructures import Headers

from .errors import CrossOriginRequest
from .headers import bearer

_ORIGIN = re.compile(r"https?://[^\s/?#@*]+")


def origins(text: str) -> frozenset[str]:
    """Return the origins that *text* lists, separated by commas or spaces; ``*`` is any.

    :raises ValueError: an entry is no origin, such as ``https://app.example``.
    """
    found = frozenset(text.replace(",", " ").lower().split())
    for entry in sorted(found):
        if entry != "*" and not _ORIGIN.fullmatch(entry):
            raise ValueError(
                f"PORTKEY_FILES_TRUSTED_ORIGINS: {entry!r} is no origin such as "
                "https://app.example"
            )
    return found


def check_origin(headers: Headers, host: str, trusted: Collection[str]) -> None:
    """Refuse an upload that a browser sent for a page of another origin.

    A form of any page may be sent to any address, with the cookies that the browser keeps for
    it, and no CORS answer is asked for first (https://fetch.spec.whatwg.org/#cors-preflight-fetch).
    Browsers say whose page it was, in ``Sec-Fetch-Site`` and in ``Origin``; SDKs and curl send
    neither. Of the five operations only the upload can be sent that way and changes something:
    before a ``DELETE`` a browser asks.

    :param headers: the client's headers.
    :param host: the host and port that the client called this service by.
    :param trusted: origins whose pages may, or ``*``.
    :raises CrossOriginRequest: it is such an upload.
    """
    origin = headers.get("Origin", "").lower()
    site = headers.get("Sec-Fetch-Site")
    if site in {"same-origin", "none"} or (site is None and not origin):
        return
    # Browsers send no `Sec-Fetch-Site` to plain http, except on the user's own machine.
    if site is None and origin.partition("://")[2] == host.lower():
        return
    if "*" in trusted or origin in trusted or _was_asked(headers):
        return
    raise CrossOriginRequest(
        "This upload comes from a page of another origin. If that page may upload, its origin "
        "has to be in PORTKEY_FILES_TRUSTED_ORIGINS.",
        param="Origin",
    )


def _was_asked(headers: Headers) -> bool:
    """Return whether the browser asked for permission first, and got it.

    It has to for these headers, and the host's CORS answer then let the page send them. Beside
    a cookie that does not count: a proxy in front may have made the header out of the cookie.
    """
    if "Cookie" in headers:
        return False
    return bearer(headers.get("Authorization")) is not None or any(
        name.lower().startswith("x-portkey-") for name, _ in headers
    )
