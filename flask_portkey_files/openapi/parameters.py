"""What a call may say: its path, query and headers, and who may make it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..call import Operation
from ..digest import REQUEST_HEADER
from ..headers import REQUEST_HEADERS
from ..idempotency.scope import MAX_KEY
from ..providers import Provider
from ..providers.paging import MAX_LIMIT
from ..resolver import MAX_TIMEOUT
from ..routes import SCHEMES
from ..routing import MAX_ATTEMPTS
from .schemas import Schema

_READS = frozenset({Operation.LIST, Operation.RETRIEVE, Operation.CONTENT})
_ALL = frozenset(Operation)

#: What the header resolver reads of a call to any provider: what ``docs/configuration.md``
#: says of each, without its links.
RESOLVER_HEADERS = {
    "x-portkey-provider": (
        "The provider's name, or `@` and the slug of a virtual key. Required unless one of the "
        "next two says it."
    ),
    "x-portkey-virtual-key": ("The slug of a virtual key. It wins over `x-portkey-provider`."),
    "x-portkey-config": (
        "A config as JSON, or the id of a stored one. It wins over both, and they complete one "
        "that names no provider."
    ),
    "x-portkey-retry-count": (
        f"How often the provider is tried again, from 0 to {MAX_ATTEMPTS}. A config's own "
        "`retry` wins over it; 0 turns off a virtual key's own."
    ),
    "x-portkey-request-timeout": (
        "Milliseconds until the provider's answer must have begun, at most a day. 0 says "
        "nothing. It wins over a config."
    ),
    "x-portkey-custom-host": (
        "The provider's base URL, where the gateway allows it. It wins over a client's config, "
        "and is ignored beside a stored one."
    ),
    "x-portkey-forward-headers": (
        "Names of further headers that go up, with commas between them. It wins over a config."
    ),
    "x-portkey-metadata": (
        "A JSON object that `conditional` strategies and resolvers ask about."
    ),
    "x-portkey-trace-id": "A name for the call, sent back in the answer.",
}

#: Of those, what has a meaning with every resolver.
_ANY_RESOLVER = ("x-portkey-metadata", "x-portkey-trace-id")

#: What goes up to the provider, which says what it makes of it, and with which operations.
#: `Accept` goes up as well; OpenAPI has no parameter of that name.
PASSED = {
    "Accept-Encoding": ("The content encodings that the client reads.", _ALL),
    "Accept-Language": ("The languages that the client prefers.", _ALL),
    "Idempotency-Key": (
        f"The client's own name for this upload, up to {MAX_KEY} printable ASCII characters. "
        "Unless the gateway leaves it to the provider, the same upload again gets the first "
        "answer.",
        {Operation.UPLOAD},
    ),
    "If-Match": ("Go on only if the entity tag is one of these; else 412.", _READS),
    "If-Modified-Since": ("Go on only if it has changed since; else 304.", _READS),
    "If-None-Match": ("Go on only if the entity tag is none of these; else 304.", _READS),
    "If-Range": (
        "The entity tag or time that `Range` was meant for; all of it if it is another one.",
        {Operation.CONTENT},
    ),
    "If-Unmodified-Since": ("Go on only if it has not changed since; else 412.", _READS),
    "OpenAI-Beta": ("A beta of OpenAI's that the client wants.", _ALL),
    "Range": ("The bytes that are wanted, such as `bytes=0-1023`.", {Operation.CONTENT}),
    "User-Agent": ("The client's name and version.", _ALL),
    "traceparent": ("Which trace the call belongs to, as W3C's Trace Context has it.", _ALL),
    "X-Client-Request-Id": ("A name for the call in the provider's log.", _ALL),
}

#: Names that are free of what a path means, as the providers' dialects demand.
_SEGMENT = r"^(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]+$"

_FILE_ID: Schema = {
    "name": "file_id",
    "in": "path",
    "required": True,
    "description": (
        "The file's id as the provider gave it, one escaped segment of the path. That of an "
        "object in a bucket is its address, escaped: `s3%3A%2F%2Fbucket%2Fkey`."
    ),
    "schema": {
        "type": "string",
        "anyOf": [{"pattern": _SEGMENT}, {"pattern": f"^({'|'.join(SCHEMES)})://."}],
    },
}

_LIST: tuple[Schema, ...] = (
    {
        "name": "purpose",
        "in": "query",
        "description": "Only files of this purpose.",
        "schema": {"type": "string"},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "The most files in one page.",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_LIMIT,
            "default": MAX_LIMIT,
        },
    },
    {
        "name": "order",
        "in": "query",
        "description": "By time: the oldest first, or the newest.",
        "schema": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
    },
    {
        "name": "after",
        "in": "query",
        "description": "The id of a file: the page begins behind it.",
        "schema": {"type": "string"},
    },
)

_DIGEST: Schema = {
    "name": REQUEST_HEADER,
    "in": "header",
    "description": (
        "The file's SHA-256, in hexadecimal or base64. A file that differs is refused, and the "
        "provider never gets a complete request."
    ),
    "schema": {"type": "string", "pattern": "^([0-9A-Fa-f]{64}|[A-Za-z0-9+/]{43}=)$"},
}


def parameters(
    providers: Mapping[str, Provider], *, resolver_headers: bool
) -> dict[str, Schema]:
    """Return the document's ``components.parameters``: headers that several operations have.

    :param resolver_headers: whether the header resolver reads the call.
    """
    special: dict[str, Schema] = {
        "x-portkey-provider": {
            "schema": {
                "type": "string",
                "anyOf": [{"enum": list(providers)}, {"pattern": "^@."}],
            },
        },
        "x-portkey-retry-count": {
            "schema": {"type": "integer", "minimum": 0, "maximum": MAX_ATTEMPTS}
        },
        "x-portkey-request-timeout": {
            "schema": {"type": "integer", "minimum": 0, "maximum": MAX_TIMEOUT}
        },
        "Idempotency-Key": {
            "schema": {
                "type": "string",
                "pattern": "^[!-~]([ -~]*[!-~])?$",
                "maxLength": MAX_KEY,
            }
        },
        "x-portkey-metadata": {"content": {"application/json": {"schema": {"type": "object"}}}},
    }
    found = {
        name: _header(name, text, **special.get(name, {}))
        for name, text in RESOLVER_HEADERS.items()
        if resolver_headers or name in _ANY_RESOLVER
    }
    if resolver_headers:
        for option, names in _options(providers).items():
            name = f"x-portkey-{option.replace('_', '-')}"
            of = ", ".join(f"`{provider}`" for provider in names)
            found[name] = _header(name, f"The option `{option}` of {of}.")
    for name in REQUEST_HEADERS:
        if name in PASSED:
            text = f"{PASSED[name][0]} It goes up to the provider."
            found[name] = _header(name, text, **special.get(name, {}))
    return found


def parameters_of(operation: Operation, shared: Mapping[str, Schema]) -> list[Schema]:
    """Return an operation's parameters.

    :param shared: what :func:`parameters` returned.
    """
    found: list[Schema] = []
    if operation is Operation.LIST:
        found += _LIST
    elif operation is not Operation.UPLOAD:
        found.append(_FILE_ID)
    found += [
        {"$ref": f"#/components/parameters/{name}"}
        for name in shared
        if operation in PASSED.get(name, ("", _ALL))[1]
    ]
    return [*found, _DIGEST] if operation is Operation.UPLOAD else found


def security_schemes(
    providers: Mapping[str, Provider], *, gateway_keys: bool
) -> dict[str, Schema]:
    """Return the document's ``components.securitySchemes``: where the header resolver looks.

    :param gateway_keys: whether the gateway has keys of its own.
    """
    portkey = (
        "The key of this gateway."
        if gateway_keys
        else "The provider's key, if `Authorization` carries none."
    )
    schemes: dict[str, Schema] = {
        "portkeyApiKey": _key("x-portkey-api-key", portkey),
        "bearer": {"type": "http", "scheme": "bearer", "description": "The provider's key."},
    }
    own: dict[str, list[str]] = {}
    for name, provider in providers.items():
        if provider.key_header is not None:
            own.setdefault(provider.key_header, []).append(f"`{name}`")
    for header, names in own.items():
        schemes[header] = _key(header, f"The provider's key, for {', '.join(names)}.")
    return schemes


def security(schemes: Mapping[str, Schema], *, gateway_keys: bool) -> list[Schema]:
    """Return which of *schemes* a call needs: one of the list's items.

    Without gateway keys a call may have none: there are providers that ask for no key.
    """
    if not gateway_keys:
        return [*({name: []} for name in schemes), {}]
    gateway, *others = schemes
    return [{gateway: []}, *({gateway: [], name: []} for name in others)]


def _key(header: str, description: str) -> Schema:
    return {"type": "apiKey", "in": "header", "name": header, "description": description}


def _options(providers: Mapping[str, Provider]) -> dict[str, list[str]]:
    """Return which providers have an option, by its name."""
    found: dict[str, list[str]] = {}
    for name, provider in providers.items():
        for option in provider.options:
            found.setdefault(option, []).append(name)
    return found


def _header(name: str, description: str, **special: Any) -> Schema:
    return {
        "name": name,
        "in": "header",
        "description": description,
        **(special or {"schema": {"type": "string"}}),
    }
