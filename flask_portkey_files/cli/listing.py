"""``flask portkey-files list`` and ``show``."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import click
from flask import Blueprint

from .connection import Connection, connected, file_path
from .output import (
    Failed,
    counted,
    files_table,
    json_line,
    json_option,
    plain,
    say,
    size,
    table,
    tell,
    when,
)


def list_command(blueprint: Blueprint) -> click.Command:
    """Return the command that lists files."""

    @click.command("list")
    @click.option("--purpose", help="Only files for this purpose.")
    @click.option(
        "--order", type=click.Choice(["asc", "desc"]), help="By age: desc has the newest first."
    )
    @click.option("--after", metavar="ID", help="Only files that come after this one.")
    @click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=100,
        show_default=True,
        help="The most files to list.",
    )
    @click.option("--all", "every", is_flag=True, help="List all files, however many.")
    @json_option
    @connected(blueprint)
    def command(
        *,
        connection: Connection,
        purpose: str | None,
        order: str | None,
        after: str | None,
        limit: int,
        every: bool,
        as_json: bool,
    ) -> None:
        """List files."""
        # One more than is shown, to know whether there are more.
        most = None if every else limit + 1
        found = connection.files(purpose=purpose, order=order, after=after, most=most)
        shown = found if every else itertools.islice(found, limit)
        if as_json:
            last = None
            for last in shown:
                json_line(last)
        else:
            files = list(shown)
            last = files[-1] if files else None
            if files:
                tell(files_table(files))
            else:
                say("No files.")
        if last is not None and next(found, None) is not None:
            say(f"There are more: --after {last.get('id')} goes on, --all lists them all.")

    return command


def show_command(blueprint: Blueprint) -> click.Command:
    """Return the command that shows files' metadata."""

    @click.command("show")
    @click.argument("ids", nargs=-1, required=True)
    @json_option
    @connected(blueprint)
    def command(*, connection: Connection, ids: tuple[str, ...], as_json: bool) -> None:
        """Show what is known of the files with these IDS."""
        failed = 0
        for place, file_id in enumerate(ids):
            try:
                file, _ = connection.ask("GET", file_path(file_id))
            except Failed as error:
                failed += 1
                say(f"{file_id}: {error.message}")
                continue
            if as_json:
                json_line(file)
            else:
                tell(("\n" if place else "") + _details(file))
        if failed:
            raise Failed(f"{counted(failed, 'file')} of {len(ids)} could not be shown.")

    return command


def _details(file: dict[str, Any]) -> str:
    rows = []
    for name, value in file.items():
        if name == "bytes":
            text = size(value)
            if isinstance(value, int) and value >= 1024:
                text += f" ({value} bytes)"
        elif name.endswith("_at") and isinstance(value, (int, float)):
            text = _moment(value)
        else:
            text = "-" if value is None else str(value)
        rows.append((name, plain(text)))
    _, *lines = table(("", ""), rows).splitlines()
    return "\n".join(lines)


def _moment(timestamp: float) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(timestamp, datetime.timezone.utc)
    except (OverflowError, ValueError, OSError):  # Such as one in milliseconds.
        return str(timestamp)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC ({when(timestamp)})"
