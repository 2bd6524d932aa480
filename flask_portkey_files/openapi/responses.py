"""What a call can be answered with: files, what a provider says, and the gateway's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..call import Operation
from ..digest import RESPONSE_HEADER
from ..idempotency.once import REPLAYED
from ..providers import Provider
from ..settings import Settings
from .codes import CODES, Code
from .examples import ANSWERS, errors
from .schemas import Schema, own_error, ref

_JSON = "application/json"
#: A provider's own answer that is passed on has whatever type it says.
_ANY = "*/*"

#: What is on each answer: what ``docs/routing.md`` says of each, without its links.
MARKS = {
    "x-portkey-trace-id": "The client's `x-portkey-trace-id`, or a UUID made for the call.",
    "x-portkey-retry-attempt-count": "How often the last target was tried again.",
    "x-portkey-provider": "The last target's provider. Absent if none was picked.",
    "x-portkey-last-used-option-index": (
        "Where the last target stands: `config` if it stands alone, else a path such as "
        "`config.targets[1].targets[0]`. Absent if none was picked."
    ),
}

_OTHERS = {
    "x-request-id": "The provider's id of its request.",
    RESPONSE_HEADER: (
        "The file's SHA-256 as RFC 9530 writes it, `sha-256=:<base64>:`, if it was computed."
    ),
    REPLAYED: "`true` if this is an earlier upload's answer, of the same `Idempotency-Key`.",
    "Accept-Ranges": "Whether the provider knows `Range`.",
    "Content-Range": "Which bytes of how many there are.",
    "ETag": "The content's entity tag.",
    "Retry-After": "When to try again: in seconds, or a time.",
    "WWW-Authenticate": "`Bearer`, if the provider needs a key and none was given.",
}

#: The document's ``components.headers``.
HEADERS: Schema = {
    name: {
        "description": text,
        "schema": {"type": "integer" if name == "x-portkey-retry-attempt-count" else "string"},
    }
    for name, text in {**MARKS, **_OTHERS}.items()
}

_SUCCESS = {
    Operation.UPLOAD: ("The file is stored.", "File"),
    Operation.LIST: ("A page of the files.", "FileList"),
    Operation.RETRIEVE: ("The file's metadata.", "File"),
    Operation.CONTENT: ("The content, byte for byte as the provider sends it.", ""),
    Operation.DELETE: ("The file is gone.", "DeletedFile"),
}


def responses_of(
    operation: Operation, settings: Settings, providers: Mapping[str, Provider]
) -> dict[str, Schema]:
    """Return an operation's responses by their status."""
    text, name = _SUCCESS[operation]
    answer = {"example": ANSWERS[operation]}
    if name:
        success = _response(text, {_JSON: {"schema": ref(name), **answer}}, "x-request-id")
    else:
        content = {"application/octet-stream": answer, _ANY: {}}
        success = _response(text, content, "x-request-id", "Accept-Ranges", "ETag")
    if operation is Operation.UPLOAD:
        for header in (RESPONSE_HEADER, REPLAYED):
            success["headers"][header] = _header_ref(header)
        success["links"] = {
            str(other): {
                "operationId": f"{other}File",
                "parameters": {"file_id": "$response.body#/id"},
            }
            for other in (Operation.RETRIEVE, Operation.CONTENT, Operation.DELETE)
        }
    found = {"200": success}
    if operation is Operation.CONTENT:
        found["206"] = _response(
            "The part of the content that `Range` asks for.", {_ANY: {}}, "Content-Range"
        )
    if operation not in {Operation.UPLOAD, Operation.DELETE}:
        found["304"] = _response("It has not changed.", {}, "ETag")
    found |= _refusals(operation, settings, providers)
    if operation is Operation.CONTENT:
        found["416"] = _response(
            "The content has none of the bytes that `Range` asks for.",
            _passed_on(),
            "Content-Range",
        )
    return dict(sorted(found.items()))


def without_content(responses: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return *responses* as they are to a ``HEAD`` request."""
    return {
        status: {"description": "As to `GET`.", "headers": response["headers"]}
        for status, response in responses.items()
    }


def _refusals(
    operation: Operation, settings: Settings, providers: Mapping[str, Provider]
) -> dict[str, Schema]:
    """Return the responses that say no, the gateway's and those of a provider's."""
    codes: dict[int, list[Code]] = {}
    for code in CODES:
        if operation in code.operations:
            codes.setdefault(code.kind.status, []).append(code)
    examples = errors(operation, settings, providers)
    found = {}
    for status, listed in codes.items():
        lines = [f"- `{code.name}`: {code.when}" for code in listed]
        text = "\n".join(["The gateway's own error, by its `code`:", "", *lines, "", _PASSED])
        json: Schema = {
            "schema": {
                "anyOf": [
                    {"title": "The gateway's own", **own_error(listed)},
                    {"title": "A provider's, or the host application's", **ref("Error")},
                ]
            }
        }
        if status in examples:
            json["examples"] = examples[status]
        headers = {name for code in listed for name in code.kind.headers if name in HEADERS}
        found[str(status)] = _response(text, {_JSON: json, _ANY: {}}, *sorted(headers))
    found["500"] = _response(
        f"The host application's own code failed: its `code` is null. {_PASSED}", _passed_on()
    )
    for kind in ("4XX", "5XX"):
        found[kind] = _response(_PASSED, _passed_on(), "Retry-After", "x-request-id")
    return found


_PASSED = (
    "An error of the provider's own passes with its status, and one of the host application's "
    "as well."
)


def _passed_on() -> Schema:
    return {_JSON: {"schema": ref("Error")}, _ANY: {}}


def _response(text: str, content: Mapping[str, Any], *headers: str) -> Schema:
    response: Schema = {
        "description": text,
        "headers": {name: _header_ref(name) for name in (*MARKS, *headers)},
    }
    if content:
        response["content"] = dict(content)
    return response


def _header_ref(name: str) -> Schema:
    return {"$ref": f"#/components/headers/{name}"}
