"""``flask portkey-files delete`` and ``purge``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

import click
from flask import Blueprint

from .connection import Connection, connected, file_path
from .output import Failed, counted, files_table, json_line, json_option, plain, say, size, tell
from .period import period


def delete_command(blueprint: Blueprint) -> click.Command:
    """Return the command that deletes files."""

    @click.command("delete")
    @click.argument("ids", nargs=-1, required=True)
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.option(
        "--json", "as_json", is_flag=True, help="Print each result as a line of JSON."
    )
    @connected(blueprint)
    def command(connection: Connection, ids: tuple[str, ...], yes: bool, as_json: bool) -> None:
        """Delete the files with these IDS."""
        ids = tuple(dict.fromkeys(ids))
        if not yes:
            if not asks():
                raise click.UsageError("There is nobody to ask: --yes deletes without asking.")
            click.confirm(f"Delete {', '.join(ids)}?", abort=True, err=True)
        deleted = _delete(connection, ids, as_json=as_json)
        if len(deleted) < len(ids):
            failed = counted(len(ids) - len(deleted), "file")
            raise Failed(f"{failed} of {len(ids)} could not be deleted.")

    return command


def asks() -> bool:
    """Return whether there is somebody who could be asked."""
    return sys.stdin.isatty()


def purge_command(blueprint: Blueprint) -> click.Command:
    """Return the command that deletes old files."""

    @click.command("purge")
    @click.option(
        "--older-than",
        "age",
        type=period,
        required=True,
        metavar="PERIOD",
        help="Only files made longer ago than this, such as 12h, 7d or 2w; 0d for all.",
    )
    @click.option("--purpose", help="Only files for this purpose.")
    @click.option("--yes", is_flag=True, help="Delete. Without this, nothing is deleted.")
    @json_option
    @connected(blueprint)
    def command(
        *, connection: Connection, age: int, purpose: str | None, yes: bool, as_json: bool
    ) -> None:
        """Show which files are older than a period, and with --yes delete them."""
        youngest = time.time() - age
        # The whole list first: a page may not be found again once its last file is gone.
        files = [
            file
            for file in connection.files(purpose=purpose, order=None, after=None, most=None)
            if _made_before(file, youngest)
            # Not every provider has a filter, and not each that has none says so.
            and (purpose is None or file.get("purpose") == purpose)
        ]
        total = _sum(files)
        what = f"{counted(len(files), 'file')}, {size(total)}"
        if not yes:
            if as_json:
                for file in files:
                    json_line({**file, "deleted": False})
            elif files:
                tell(files_table(files))
            say(f"{what}: --yes deletes them." if files else "Nothing to delete.")
            return
        deleted = _delete(connection, [file["id"] for file in files], as_json=as_json)
        gone = [file for file in files if file["id"] in deleted]
        say(f"Deleted {counted(len(gone), 'file')}, {size(_sum(gone))}.")
        if len(gone) < len(files):
            failed = counted(len(files) - len(gone), "file")
            raise Failed(f"{failed} of {len(files)} could not be deleted.")

    return command


def _made_before(file: dict[str, Any], moment: float) -> bool:
    """Return whether a file, known by its id, is known to be from before *moment*."""
    file_id, created = file.get("id"), file.get("created_at")
    known = isinstance(file_id, str) and bool(file_id)
    return known and isinstance(created, (int, float)) and created <= moment


def _sum(files: Iterable[dict[str, Any]]) -> int:
    return sum(count for file in files if isinstance(count := file.get("bytes"), int))


def _delete(connection: Connection, ids: Iterable[str], *, as_json: bool) -> set[str]:
    """Delete files, print what comes of each, and return the ids of those that are gone."""
    gone = set()
    for file_id in ids:
        try:
            answer, _ = connection.ask("DELETE", file_path(file_id))
            if answer.get("deleted") is False:
                raise Failed("the provider says that it did not delete it")
        except Failed as error:
            if as_json:
                json_line({"id": file_id, "deleted": False, "error": error.as_object()})
            say(f"{file_id}: {error.message}")
            continue
        gone.add(file_id)
        if as_json:
            json_line({"id": file_id, "deleted": True})
        else:
            tell(f"{plain(file_id)}  deleted")
    return gone
