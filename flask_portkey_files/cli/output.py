"""What the commands print: tables and JSON to stdout, messages to stderr."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click

_UNITS = ("KiB", "MiB", "GiB", "TiB")
#: More bytes, or seconds, than there can be.
_MOST = 2**63
_PERIODS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

# What a terminal would act on, and half characters, which none can show: a file's name is
# whatever somebody called it.
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Failed(click.ClickException):
    """What was asked for did not work: its message goes to stderr, and the exit code is 1.

    :param code: the error's ``code``, where the gateway or the provider gave one.
    :param status: the HTTP status, if there was an answer.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, code: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(plain(message))
        self.code = code
        self.status = status

    def as_object(self) -> dict[str, Any]:
        """Return it as the JSON output has it."""
        return {"message": self.message, "code": self.code, "status": self.status}


def plain(text: str) -> str:
    """Return *text* without what a terminal would not print but act on."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def size(count: Any) -> str:
    """Return a number of bytes for people, such as ``1.5 MiB``; ``-`` if it is none."""
    if not isinstance(count, int) or abs(count) > _MOST:
        return "-"
    if abs(count) < 1024:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        if abs(value) < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def when(timestamp: Any, *, now: float | None = None) -> str:
    """Return how long ago *timestamp*, in seconds since 1970, was, or how long until then."""
    if not isinstance(timestamp, (int, float)) or not abs(timestamp) <= _MOST:
        return "-"
    seconds = (time.time() if now is None else now) - timestamp
    length, unit = next(
        ((length, unit) for length, unit in _PERIODS if abs(seconds) >= length), (1, "s")
    )
    count = int(abs(seconds) // length)
    return f"{count} {unit} ago" if seconds >= 0 else f"in {count} {unit}"


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()
) -> str:
    """Return *rows* in aligned columns.

    :param right: the headings of the columns that are aligned at their right.
    """
    lines = [tuple(headings), *(tuple(plain(cell) for cell in row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(headings))]
    return "\n".join(
        "  ".join(
            f"{cell:>{width}}" if heading in right else f"{cell:<{width}}"
            for cell, width, heading in zip(line, widths, headings, strict=True)
        ).rstrip()
        for line in lines
    )


def files_table(files: Iterable[dict[str, Any]]) -> str:
    """Return file objects as a table."""
    rows = [
        (
            str(file.get("id")),
            str(file.get("filename")),
            str(file.get("purpose")),
            size(file.get("bytes")),
            when(file.get("created_at")),
            when(file.get("expires_at")),
        )
        for file in files
    ]
    headings = ("ID", "NAME", "PURPOSE", "SIZE", "CREATED", "EXPIRES")
    return table(headings, rows, right=("SIZE",))


#: Has a command print JSON; its function gets `as_json`.
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print each result as a line of JSON."
)


def json_line(value: Any) -> None:
    """Print *value* as a line of JSON, in ASCII: a name may have what can't be shown here."""
    click.echo(json.dumps(value))


def tell(text: str) -> None:
    """Print a result, with a mark in the place of what can't be shown here."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding))


def say(message: str) -> None:
    """Print a message to stderr."""
    click.echo(plain(message), err=True)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
