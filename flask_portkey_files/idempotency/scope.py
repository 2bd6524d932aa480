"""Whose an ``Idempotency-Key`` is: a name that no other client's can be."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from ..call import FilesCall
from ..errors import InvalidRequest
from ..routing import Leg

HEADER = "Idempotency-Key"

#: The longest key, as with Stripe.
MAX_KEY = 255

#: The headers that say who a client is: those of providers' clients and of Portkey's, and what
#: proxies that authenticate put before a service.
IDENTITY = (
    "Authorization",
    "Cookie",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "x-portkey-api-key",
    "x-portkey-virtual-key",
    "Remote-User",
    "X-Amzn-Oidc-Identity",
    "X-Auth-Request-User",
    "X-Forwarded-User",
    "X-Goog-Authenticated-User-Id",
    "X-Remote-User",
)

#: Says, in the request's context and after the resolver, on whose behalf a call is: a text that
#: stays the same for one tenant and that no other has.
Scope: TypeAlias = Callable[[FilesCall], str]

_KEY = re.compile(rf"[ -~]{{1,{MAX_KEY}}}")


def key_of(call: FilesCall) -> str | None:
    """Return the call's ``Idempotency-Key``, ``None`` if it has none.

    :raises InvalidRequest: it is none that can be used.
    """
    key = call.headers.get(HEADER)
    if key is not None and not (_KEY.fullmatch(key) and key.strip()):
        raise InvalidRequest(
            f"The header {HEADER} must have 1 to {MAX_KEY} printable ASCII characters, e.g. a "
            "UUID.",
            param="idempotency-key",
            code="invalid_idempotency_key",
        )
    return key


def name_of(
    key: str,
    call: FilesCall,
    legs: Iterable[Leg],
    place: Iterable[object],
    scope: Scope | None,
) -> str:
    """Return the name under which an upload with *key* is kept track of.

    It is a digest of the key and all that it belongs to, so that none of that can be read in a
    store.

    :param legs: every target that the call may go to.
    :param place: where in which application the call came in.
    :param scope: says who the client is, in the place of its and the targets' credentials.
    """
    told = None if scope is None else _checked(scope(call))
    client = {name: call.headers.getlist(name) for name in IDENTITY} if told is None else told
    targets = [[leg.path, *_destination(leg, secrets=told is None)] for leg in legs]
    return _digest([key, list(place), client, targets])


def file_name(leg: Leg, file_id: str) -> str:
    """Return a name for the file *file_id* of a target, as unreadable as that of an upload."""
    return _digest([list(_destination(leg, secrets=False)), file_id])


def _destination(leg: Leg, *, secrets: bool) -> Iterator[object]:
    """Yield what a target is told apart by.

    :param secrets: whether by all that may be a credential, too.
    """
    target = leg.target
    yield from (target.provider, target.base_url, target.custom_host)
    if secrets:
        yield target.api_key
        yield sorted(target.options.items())
        yield sorted(target.headers.items())


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _checked(scope: object) -> str:
    if not isinstance(scope, str) or not scope:
        raise TypeError(
            f"idempotency_scope returned {type(scope).__name__}, not a text that is not empty"
        )
    return scope
