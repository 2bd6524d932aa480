"""``flask portkey-files upload``."""

from __future__ import annotations

import base64
import glob
import hashlib
import mimetypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click
from flask import Blueprint

from ..digest import REQUEST_HEADER, RESPONSE_HEADER
from ..encoder import FormEncoder
from ..form import FilePart, FormField, UploadForm
from .bar import Advance, bar
from .connection import Connection, connected
from .output import Failed, counted, json_line, plain, say, size, tell
from .period import period

_BLOCK = 256 * 1024
STDIN = "-"


class _Content:
    """A file that is read while it is sent, and its SHA-256 with it.

    :param length: how long it is; ``None`` if that is not known.
    """

    def __init__(self, file: IO[bytes], length: int | None, advance: Advance) -> None:
        self._file = file
        self._advance = advance
        self._sha256 = hashlib.sha256()
        self.length = length

    def blocks(self) -> Iterator[bytes]:
        """Yield the content.

        :raises Failed: there is less of it than there was.
        """
        left = self.length
        while left is None or left > 0:
            block = self._file.read(_BLOCK if left is None else min(_BLOCK, left))
            if not block:
                if left:
                    raise Failed("The file became shorter while it was read.")
                return
            if left is not None:
                left -= len(block)
            self._sha256.update(block)
            yield block
            self._advance(len(block))

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what has been read."""
        return self._sha256.digest()

    def close(self) -> None:
        """Do nothing: who opened the file closes it."""


@dataclass(frozen=True)
class _Upload:
    """What is the same of each file of a command."""

    connection: Connection
    fields: tuple[FormField, ...]
    content_type: str | None
    quiet: bool

    def send(
        self, file: IO[bytes], name: str, label: str, length: int | None
    ) -> dict[str, Any]:
        """Upload *file* and return its object, with its digest.

        :raises Failed: it could not be uploaded.
        """
        headers = {}
        if length is not None:
            # Said before, so that a file that arrives otherwise is refused and not kept.
            headers[REQUEST_HEADER] = _sha256(file)
            file.seek(0)
        with bar(label, length, hidden=self.quiet) as advance:
            content = _Content(file, length, advance)
            form = UploadForm(
                fields=self.fields,
                file=FilePart(
                    filename=name,
                    content_type=self.content_type
                    or mimetypes.guess_type(name)[0]
                    or "application/octet-stream",
                    headers=(),
                    body=content,
                ),
            )
            body = FormEncoder(form)
            headers["Content-Type"] = body.content_type
            answer, response = self.connection.ask("POST", "/files", headers=headers, body=body)
        if not body.finished:
            raise Failed("The answer came before the whole file was sent; it may not be kept.")
        confirmed = response.headers.get(RESPONSE_HEADER)
        expected = f"sha-256=:{base64.b64encode(content.digest).decode()}:"
        if confirmed is not None and confirmed != expected:
            raise Failed(
                f"What arrived as {answer.get('id')} is another file than what was sent: "
                "delete it."
            )
        return {
            **answer,
            "sha256": content.digest.hex(),
            "sha256_verified": confirmed is not None,
        }


def upload_command(blueprint: Blueprint) -> click.Command:
    """Return the command that uploads files."""

    @click.command("upload")
    @click.argument("paths", nargs=-1, required=True)
    @click.option("--purpose", required=True, help="What the files are for, such as batch.")
    @click.option(
        "--expires-after",
        "lifetime",
        type=period,
        metavar="PERIOD",
        help="How long the files are kept, such as 12h or 30d.",
    )
    @click.option("--name", help="The file's name, needed for stdin.")
    @click.option("--content-type", metavar="TYPE", help="The files' type; guessed if absent.")
    @click.option(
        "--json", "as_json", is_flag=True, help="Print each result as a line of JSON."
    )
    @connected(blueprint)
    def command(
        *,
        connection: Connection,
        paths: tuple[str, ...],
        purpose: str,
        lifetime: int | None,
        name: str | None,
        content_type: str | None,
        as_json: bool,
    ) -> None:
        """Upload the files at PATHS, patterns such as 'data/*.jsonl' too; - is stdin."""
        found = _expanded(paths)
        if name is not None and len(found) > 1:
            raise click.UsageError("--name is for one file.")
        if STDIN in found and name is None:
            raise click.UsageError("--name has to say what the file from stdin is called.")
        fields = [FormField("purpose", purpose.encode())]
        if lifetime is not None:
            fields += [
                FormField("expires_after[anchor]", b"created_at"),
                FormField("expires_after[seconds]", str(lifetime).encode()),
            ]
        upload = _Upload(connection, tuple(fields), content_type, quiet=as_json)
        failed = 0
        for place, path in enumerate(found, 1):
            label = f"{path} ({place}/{len(found)})" if len(found) > 1 else path
            try:
                answer = _one(upload, path, name, label)
            except Failed as error:
                failed += 1
                if as_json:
                    json_line({"path": path, "error": error.as_object()})
                say(f"{path}: {error.message}")
                continue
            if as_json:
                json_line({**answer, "path": path})
            else:
                tell(_line(answer, path))
        if failed:
            raise Failed(f"{counted(failed, 'file')} of {len(found)} could not be uploaded.")

    return command


def _one(upload: _Upload, path: str, name: str | None, label: str) -> dict[str, Any]:
    if path == STDIN:
        return upload.send(sys.stdin.buffer, name or "", name or "", None)
    try:
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if not os.path.isfile(path):
                raise Failed("not a file; give a pipe's content to stdin, with -")
            return upload.send(file, name or Path(path).name, label, length)
    except OSError as error:
        raise Failed(error.strerror or "it can't be read") from None


def _expanded(paths: tuple[str, ...]) -> list[str]:
    """Return *paths* with those that are patterns replaced by what matches them.

    :raises click.UsageError: nothing does.
    """
    found: list[str] = []
    for path in paths:
        if path == STDIN or os.path.lexists(path) or not glob.has_magic(path):
            found.append(path)
            continue
        matches = sorted(filter(os.path.isfile, glob.iglob(path, recursive=True)))
        if not matches:
            raise click.UsageError(f"No file matches {path!r}.")
        found += matches
    return list(dict.fromkeys(found))


def _sha256(file: IO[bytes]) -> str:
    sha256 = hashlib.sha256()
    while block := file.read(_BLOCK):
        sha256.update(block)
    return sha256.hexdigest()


def _line(answer: dict[str, Any], path: str) -> str:
    verified = "verified" if answer["sha256_verified"] else "not confirmed"
    return plain(
        f"{answer.get('id')}  {path}  {size(answer.get('bytes'))}  "
        f"sha256 {answer['sha256']} ({verified})"
    )
