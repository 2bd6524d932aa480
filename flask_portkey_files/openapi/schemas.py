"""The shapes of the answers: OpenAI's files, lists and errors, and Portkey's additions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import InvalidConfig, InvalidRoute
from .codes import Code

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_SECONDS = "in seconds since 1970-01-01 in UTC"


def _object(description: str, required: Iterable[str], properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": list(required),
        "properties": properties,
    }


def ref(name: str) -> Schema:
    """Return a reference to the schema *name* of :data:`SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


#: The document's ``components.schemas``.
SCHEMAS: Schema = {
    "File": _object(
        "A file's metadata. A provider may add members of its own.",
        ("id", "object", "bytes", "created_at", "filename", "purpose"),
        {
            "id": {"type": "string", "description": "What the other operations name it by."},
            "object": {"const": "file"},
            "bytes": {
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "Its size; null where the provider does not say.",
            },
            "created_at": {
                "type": ["integer", "null"],
                "description": f"When it was stored, {_SECONDS}; null where the provider does "
                "not say.",
            },
            "expires_at": {
                "type": ["integer", "null"],
                "description": f"When it goes, {_SECONDS}; absent or null if it stays.",
            },
            "filename": _TEXT,
            "purpose": _TEXT,
            "status": {
                "type": "string",
                "description": "`uploaded`, `processed` or `error`.",
            },
            "status_details": {"type": ["string", "null"]},
        },
    ),
    "FileList": _object(
        "One page of a list of files.",
        ("object", "data", "has_more"),
        {
            "object": {"const": "list"},
            "data": {"type": "array", "items": ref("File")},
            "first_id": {"type": ["string", "null"]},
            "last_id": {
                "type": ["string", "null"],
                "description": "What `after` has to be for the next page.",
            },
            "has_more": {"type": "boolean"},
        },
    ),
    "DeletedFile": _object(
        "The answer to a deletion.",
        ("id", "object", "deleted"),
        {"id": _TEXT, "object": {"const": "file"}, "deleted": {"type": "boolean"}},
    ),
    "Error": _object(
        "OpenAI's error envelope. What a provider says passes as it is, and may have more.",
        ("error",),
        {
            "error": _object(
                "What went wrong.",
                ("message",),
                {
                    "message": {
                        "type": "string",
                        "description": "What is wrong, and what to do about it.",
                    },
                    "type": {"type": ["string", "null"]},
                    "param": {
                        "type": ["string", "null"],
                        "description": "The field, header or path parameter at fault.",
                    },
                    "code": {"type": ["string", "integer", "null"]},
                },
            )
        },
    ),
    "RouteError": {
        "description": "An error with the two members of Portkey's own gateway beside it.",
        "allOf": [ref("Error")],
        "type": "object",
        "required": ["status", "message"],
        "properties": {"status": {"const": "failure"}, "message": _TEXT},
    },
    "ConfigError": {
        "description": "An error that lists what is wrong with a config.",
        "allOf": [ref("RouteError")],
        "type": "object",
        "properties": {
            "errors": {
                "type": "array",
                "items": _TEXT,
                "description": "Each fault as `path: …, message: …`.",
            }
        },
    },
}


def own_error(codes: Iterable[Code]) -> Schema:
    """Return the schema of the gateway's own errors that have one of *codes*."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for code in codes:
        kinds.setdefault((_base(code), code.kind.type), []).append(code.name)
    schemas = [_limited(base, kind, names) for (base, kind), names in kinds.items()]
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def _base(code: Code) -> str:
    if issubclass(code.kind, InvalidConfig):
        return "ConfigError"
    return "RouteError" if issubclass(code.kind, InvalidRoute) else "Error"


def _limited(base: str, kind: str, codes: list[str]) -> Schema:
    error = {
        "required": ["message", "type", "param", "code"],
        "properties": {"type": {"const": kind}, "code": {"enum": codes}},
    }
    return {
        "allOf": [ref(base)],
        "type": "object",
        "properties": {"error": {"type": "object", **error}},
    }
