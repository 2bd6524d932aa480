"""What ``check`` finds on the way from the application to its providers."""

from __future__ import annotations

import datetime
import email.utils
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from flask import current_app
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from ..call import FilesCall, Operation
from ..errors import FilesError
from ..providers import Provider
from ..providers.base import HTTPProvider
from ..relay import Relay
from ..routing import Target
from .findings import Finding, failed, info, ok, warning

#: How far the clocks may be apart, in seconds: signatures and tokens are only good for so long.
CLOCK = 60.0

#: A certificate that ends sooner than this, in days, is worth a word.
DAYS = 14

_HINTS = {
    401: "the key is refused",
    403: "the key may not list files",
    404: "there is no Files API at this address",
    407: "a proxy on the way wants credentials",
    429: "too many requests, or no quota left",
}


def resolver_findings(
    relay: Relay, providers: Mapping[str, Provider], headers: Mapping[str, str], url: str
) -> Iterator[Finding]:
    """Yield where the resolver sends a call with these headers, and how that is reached.

    :param url: the call's address.
    """
    call = FilesCall(
        operation=Operation.LIST, query_string="limit=1", headers=Headers(list(headers.items()))
    )
    with current_app.test_request_context(url, headers=dict(headers)):
        try:
            legs = relay.targets(call)
        except FilesError as error:
            if headers:
                yield failed("resolver", f"{error.status}: {error}")
            else:
                yield info(
                    "resolver",
                    "not tried: say with --provider, --virtual-key, --config or -H what a call "
                    "of your clients has",
                )
            return
        except HTTPException as error:
            yield failed(
                "resolver", f"it turns this call away: {error.code} {error.description}"
            )
            return
        except Exception as error:
            yield failed(
                "resolver", f"it raised {type(error).__name__}; a client would get a 500."
            )
            return
        names = ", ".join(
            leg.target.provider + (f" ({leg.path})" if len(legs) > 1 else "") for leg in legs
        )
        yield ok("resolver", f"this call may go to: {names}")
        for leg in legs:
            yield from _target_findings(relay, providers, leg.target, call)


def _target_findings(
    relay: Relay, providers: Mapping[str, Provider], target: Target, call: FilesCall
) -> Iterator[Finding]:
    name = target.provider
    provider = providers.get(name)
    if provider is not None and Operation.LIST not in provider.capabilities.operations:
        yield info(name, "has no list of files, so its key can't be tried for nothing")
        return
    started = time.monotonic()
    try:
        answer = relay.probe(target, call)
    except FilesError as error:
        yield failed(name, f"{error.status}: {error}")
        return
    took = time.monotonic() - started
    answer.response.close()
    if 200 <= answer.status < 300:
        yield ok(name, f"reached, and the key is good: listing took {took * 1000:.0f} ms")
    else:
        hint = _HINTS.get(answer.status, "listing files does not work")
        yield failed(name, f"it answers {answer.status}: {hint}.")
    yield from clock(name, answer.response.headers.get("Date"))
    if isinstance(provider, HTTPProvider) and not relay.settings.proxy:
        yield from certificate(name, provider.base_url(call, target), relay.settings.ca_bundle)


def clock(name: str, date: str | None) -> Iterator[Finding]:
    """Yield whether this machine's clock is another than that of who sent *date*."""
    try:
        there = email.utils.parsedate_to_datetime(date or "")
    except ValueError:
        return
    if there.tzinfo is None:
        return
    apart = (datetime.datetime.now(datetime.timezone.utc) - there).total_seconds()
    if abs(apart) > CLOCK:
        yield warning(
            name,
            f"its clock and this machine's are {abs(apart):.0f} s apart: tokens and signatures "
            "may be refused.",
        )


def certificate(name: str, url: str, ca_bundle: str | None) -> Iterator[Finding]:
    """Yield how long the certificate at *url* is good for, if it is an https address."""
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname is None:
        return
    context = ssl.create_default_context(cafile=ca_bundle)
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 443), 10) as connection,
            context.wrap_socket(connection, server_hostname=parts.hostname) as secure,
        ):
            found = secure.getpeercert() or {}
    except (OSError, ValueError) as error:
        reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None)
        yield failed(name, f"TLS to {parts.hostname}: {reason or type(error).__name__}.")
        return
    ends = ssl.cert_time_to_seconds(str(found.get("notAfter")))
    days = int((ends - time.time()) // 86_400)
    if days < DAYS:
        yield warning(name, f"its certificate is good for {days} more days")
    else:
        yield ok(name, f"its certificate is good for {days} days")
