"""``flask portkey-files download``."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import requests
import urllib3
from flask import Blueprint

from .bar import Advance, bar
from .connection import PASSING, TRIES, Connection, connected, file_path, refusal, wait
from .output import Failed, counted, json_line, plain, say, size, tell

_BLOCK = 256 * 1024
STDOUT = "-"

#: In bytes. Most disks take 255, of which what marks a part needs some.
_LONGEST_NAME = 200
_LONGEST_ENDING = 20

_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")


class _Restart(Exception):
    """What is there is not the beginning of the file."""


@dataclass(frozen=True)
class _Download:
    """A file on its way to its place.

    :param target: where it has to be in the end.
    :param length: how long it is said to be.
    """

    connection: Connection
    file_id: str
    target: Path
    length: int | None

    @property
    def part(self) -> Path:
        """Where it is until it is complete: a name of its own for each file."""
        mark = hashlib.sha256(self.file_id.encode()).hexdigest()[:8]
        return self.target.with_name(f"{self.target.name}.{mark}.part")

    @property
    def etag(self) -> Path:
        """Where it is kept which version of the file the part is of."""
        return self.part.with_name(f"{self.part.name}.etag")

    def run(self, advance: Advance) -> None:
        """Get the file to its place, going on where an earlier try ended.

        :raises Failed: it can't be had, or not as a whole; what came is kept.
        """
        for attempt in range(TRIES):
            before = self.have()
            try:
                self._try(advance)
                break
            except _Restart:
                advance(-self.have())
                self._forget()
            except Failed as error:
                if error.status is not None and error.status not in PASSING:
                    raise
                came = self.have() > before
                if attempt == TRIES - 1 and not came:
                    kept = f" {size(self.have())} are kept: run the command again to go on."
                    raise Failed(error.message + kept * bool(self.have())) from None
                time.sleep(0 if came else min(0.5 * 2.0**attempt, 5))
        else:
            raise Failed(
                f"The connection broke {TRIES} times. {size(self.have())} are kept: run the "
                "command again to go on."
            )
        os.replace(self.part, self.target)
        self.etag.unlink(missing_ok=True)

    def have(self) -> int:
        """Return how many bytes are there already."""
        with contextlib.suppress(FileNotFoundError):
            return self.part.stat().st_size
        return 0

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.etag.unlink(missing_ok=True)

    def _try(self, advance: Advance) -> None:
        if self.part.is_symlink():
            # Nobody's but another's doing: what it leads to is no part of this file.
            self._forget()
        have = self.have()
        if have and have == self.length:
            return
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            with contextlib.suppress(FileNotFoundError):
                headers["If-Range"] = self.etag.read_text(encoding="latin-1")
        path = f"{file_path(self.file_id)}/content"
        with self.connection.open("GET", path, headers=headers) as response:
            if response.status_code == 416 and have:
                raise _Restart
            if not response.ok:
                response.content  # noqa: B018 - reads it
                raise refusal(response)
            total = self._total(response, have)
            if response.status_code != 206:
                # The whole: it is not the version of which the part is, or can't be resumed.
                advance(-have)
                have = 0
                self._forget()
                tag = response.headers.get("ETag", "")
                if tag.startswith('"'):
                    self.etag.write_text(tag, encoding="latin-1")
            with open(self.part, "ab") as file:
                for block in response.raw.stream(_BLOCK, decode_content=False):
                    file.write(block)
                    advance(len(block))
                have = file.tell()
        if total is not None and have != total:
            raise Failed(f"The file is {total} bytes long, but {have} came.")

    def _total(self, response: requests.Response, have: int) -> int | None:
        """Return how long the whole file is.

        :raises _Restart: what comes does not go on where the part ends.
        """
        if response.status_code == 206:
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if not found or int(found[1] or -1) != have:
                raise _Restart
            total = int(found[2])
            if self.length is not None and total != self.length:
                raise _Restart
            return total
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and "Content-Encoding" not in response.headers:
            return int(announced)
        return self.length


def download_command(blueprint: Blueprint) -> click.Command:
    """Return the command that downloads files."""

    @click.command("download")
    @click.argument("ids", nargs=-1, required=True)
    @click.option(
        "-o",
        "--output",
        metavar="PATH",
        help="The file or folder to write to, - for stdout; the file's own name if absent.",
    )
    @click.option("--force", is_flag=True, help="Replace what is there.")
    @click.option(
        "--json", "as_json", is_flag=True, help="Print each result as a line of JSON."
    )
    @connected(blueprint)
    def command(
        *,
        connection: Connection,
        ids: tuple[str, ...],
        output: str | None,
        force: bool,
        as_json: bool,
    ) -> None:
        """Download the content of the files with these IDS.

        A download that broke off is gone on with by the same command. The file has its name
        only when it is complete.
        """
        ids = tuple(dict.fromkeys(ids))
        if output == STDOUT:
            if len(ids) > 1 or as_json:
                raise click.UsageError("Only one file can go to stdout, and without --json.")
            _to_stdout(connection, ids[0])
            return
        if len(ids) > 1 and output is not None and not os.path.isdir(output):
            raise click.UsageError(f"For several files, {output!r} has to be a folder.")
        failed = 0
        for file_id in ids:
            try:
                result = _one(connection, file_id, output, force=force, quiet=as_json)
            except Failed as error:
                failed += 1
                if as_json:
                    json_line({"id": file_id, "error": error.as_object()})
                say(f"{file_id}: {error.message}")
                continue
            if as_json:
                json_line(result)
            else:
                tell(
                    plain(
                        f"{file_id}  {result['path']}  {size(result['bytes'])}  "
                        f"sha256 {result['sha256']}"
                    )
                )
        if failed:
            raise Failed(f"{counted(failed, 'file')} of {len(ids)} could not be downloaded.")

    return command


def _one(
    connection: Connection, file_id: str, output: str | None, *, force: bool, quiet: bool
) -> dict[str, Any]:
    """Download a file and return what came of it."""
    folder = Path(output) if output is not None and os.path.isdir(output) else None
    try:
        known, _ = connection.ask("GET", file_path(file_id))
    except Failed as error:
        # Not every provider has a file's metadata; its content says whether there is a file.
        if error.status not in {404, 501} or output is None or folder is not None:
            raise
        known = {}
    target = (
        Path(output)
        if output is not None and folder is None
        else (folder or Path()) / safe_name(str(known.get("filename") or file_id))
    )
    if os.path.lexists(target) and not force:
        raise Failed(f"{target} is there already: --force replaces it.")
    length = known.get("bytes")
    download = _Download(
        connection, file_id, target, length if isinstance(length, int) else None
    )
    try:
        with bar(target.name, download.length, done=download.have(), hidden=quiet) as advance:
            download.run(advance)
        sha256 = hashlib.sha256()
        with open(target, "rb") as file:
            while block := file.read(_BLOCK):
                sha256.update(block)
            count = file.tell()
    except OSError as error:
        raise Failed(f"{target}: {error.strerror}.") from None
    return {
        "id": file_id,
        "path": str(target),
        "bytes": count,
        "sha256": sha256.hexdigest(),
    }


def safe_name(name: str) -> str:
    """Return what a file can be called here of its name, which is whatever somebody chose.

    That is its last part, not too long for a disk, and no hidden file: some of those are read
    by shells and other programs of their own accord.
    """
    last = re.split(r"[/\\]", plain(name))[-1].strip().lstrip(". ")
    stem, ending = os.path.splitext(last)
    ending = ending if len(ending.encode()) <= _LONGEST_ENDING else ""
    room = _LONGEST_NAME - len(ending.encode())
    stem = (stem if ending else last).encode()[:room].decode(errors="ignore")
    return stem + ending or "file"


def _to_stdout(connection: Connection, file_id: str) -> None:
    out = sys.stdout.buffer
    headers = {"Accept-Encoding": "identity"}
    path = f"{file_path(file_id)}/content"
    for attempt in range(TRIES):
        with connection.open("GET", path, headers=headers) as response:
            if response.status_code in PASSING and attempt < TRIES - 1:
                time.sleep(wait(response, attempt))
                continue
            if not response.ok:
                response.content  # noqa: B018 - reads it
                raise refusal(response)
            try:
                for block in response.raw.stream(_BLOCK, decode_content=False):
                    out.write(block)
                out.flush()
            except urllib3.exceptions.HTTPError:
                raise Failed("The download broke off: what came is not whole.") from None
            return
