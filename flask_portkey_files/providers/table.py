"""What every provider can do, as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ..call import Operation
from .base import Provider
from .capabilities import OPENAI_EXPIRY, Capabilities, Expiry

HEADINGS = ("provider", *(operation.value for operation in Operation))
DETAILS = ("purposes", "expires_after", "largest file", "note")

_DAY = 24 * 3600


def rows(providers: Mapping[str, Provider]) -> list[tuple[str, ...]]:
    """Return a row for each provider: its name, its operations, and the details in words."""
    return [
        (name, *_operations(provider.capabilities), *_details(provider.capabilities))
        for name, provider in providers.items()
    ]


def markdown(providers: Mapping[str, Provider]) -> str:
    """Return the table as Markdown."""
    heading = (*HEADINGS, *DETAILS)
    lines = [_line(heading), _line(["---"] * len(heading))]
    lines += [
        _line((f"`{name}`", *(cell.replace("|", "\\|") for cell in cells)))
        for name, *cells in rows(providers)
    ]
    return "\n".join(lines) + "\n"


def text(providers: Mapping[str, Provider]) -> str:
    """Return the table for a terminal: the operations in columns, the details below each."""
    width = max(map(len, [*providers, "provider"]))
    lines = [f"{'provider':<{width}}  " + "  ".join(op.value for op in Operation)]
    for name, *cells in rows(providers):
        marks = "  ".join(
            f"{mark:<{len(op.value)}}" for op, mark in zip(Operation, cells, strict=False)
        )
        lines.append(f"{name:<{width}}  {marks}".rstrip())
        details = zip(DETAILS, cells[len(Operation) :], strict=True)
        lines += [f"    {heading}: {cell}" for heading, cell in details if cell]
    return "\n".join(lines) + "\n"


def as_json(providers: Mapping[str, Provider]) -> str:
    """Return the capabilities as JSON, by provider."""
    table = {
        name: {
            "operations": [op.value for op in Operation if op in known.operations],
            "purposes": known.purposes,
            "expires_after": _expiry(known.expiry),
            "max_bytes": known.max_bytes,
            "note": known.note,
        }
        for name, known in ((name, item.capabilities) for name, item in providers.items())
    }
    return json.dumps(table, indent=2) + "\n"


def _operations(known: Capabilities) -> Iterable[str]:
    return ("yes" if operation in known.operations else "no" for operation in Operation)


def _details(known: Capabilities) -> tuple[str, ...]:
    purposes = "any" if known.purposes is None else ", ".join(known.purposes)
    size = "" if known.max_bytes is None else _size(known.max_bytes)
    return purposes, _in_words(known.expiry), size, known.note


def _expiry(expiry: Expiry | None) -> dict[str, object] | None:
    if expiry is None:
        return None
    if expiry is OPENAI_EXPIRY:
        return {"field": "expires_after", "least": None, "most": None, "unit": 1}
    return {
        "field": expiry.field or "expires_after",
        "least": expiry.least,
        "most": expiry.most,
        "unit": expiry.unit,
    }


def _in_words(expiry: Expiry | None) -> str:
    if expiry is None:
        return "refused"
    if expiry is OPENAI_EXPIRY:
        return "passed on"
    return f"`{expiry.field or 'expires_after'}`, {_time(expiry.least)} to {_time(expiry.most)}"


def _time(seconds: int) -> str:
    if seconds % _DAY == 0:
        return f"{seconds // _DAY} d"
    return f"{seconds // 3600} h" if seconds % 3600 == 0 else f"{seconds} s"


def _size(count: int) -> str:
    for name, unit in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("MB", 10**6)):
        if count >= unit and count * 1000 % unit == 0:
            return f"{count / unit:.6g} {name}"
    return f"{count} bytes"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
