"""Addresses that a provider hands out: for an upload, a download, the next step."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ..errors import UpstreamError

# What ends a line, or is read in more than one way.
_UNSENDABLE = re.compile(r"[^!-~]|[\\\"<>]")


def handed(url: str | None, base_url: str) -> str:
    """Return *url* if a file, or a request for one, may be sent there.

    What is sent there must carry no credential, and no header that the client asked to forward:
    the address itself is the permission. So it is never quoted, neither here nor in a log.

    :param url: the address as the provider gave it.
    :param base_url: the provider's own address: if that is ``https``, so must *url* be.
    :raises UpstreamError: it is no such address.
    """
    try:
        parts = urlsplit(url or "")
        port_is_valid = parts.port != 0  # Raises ValueError for one that is no number.
    except ValueError:
        raise _unusable() from None
    schemes = {"http", "https"} if urlsplit(base_url).scheme == "http" else {"https"}
    if (
        not url
        or _UNSENDABLE.search(url)
        or parts.scheme not in schemes
        or not parts.hostname
        or not port_is_valid
        or "@" in parts.netloc
    ):
        raise _unusable()
    return url.partition("#")[0]


def _unusable() -> UpstreamError:
    return UpstreamError("The provider answered with an address that can't be used.")
