"""What comes of a form: as the gateway reads it, as others do, and as it goes up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import multipart  # type: ignore[import-untyped]
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from flask_portkey_files.body import RequestBody
from flask_portkey_files.encoder import FormEncoder
from flask_portkey_files.errors import FilesError
from flask_portkey_files.form import FileBody, FormField
from flask_portkey_files.multipart import FormReader, read_form
from flask_portkey_files.settings import Settings

#: Larger than any form here: limits have tests of their own.
SETTINGS = Settings()

Pair = tuple[str, bytes]


class Pieces:
    """A body of which a read gets as much as came in: no more than the next of *sizes*."""

    def __init__(self, body: bytes, sizes: Iterable[int]) -> None:
        self._body = body
        self._sizes = cycle([max(1, size) for size in sizes] or [len(body) or 1])
        self._at = 0

    def read(self, size: int, /) -> bytes:
        """Return the next piece, none at the end."""
        start, self._at = self._at, self._at + min(size, next(self._sizes))
        return self._body[start : self._at]


@dataclass(frozen=True)
class Parts:
    """A form that was taken, with its fields in order, and how it goes up."""

    fields: tuple[Pair, ...]
    filename: str
    content: bytes
    #: The form as it goes to a provider, and the boundary that it has there.
    sent: bytes = b""
    boundary: bytes = b""

    def same_as(self, other: Parts) -> bool:
        """Return whether both have the same parts."""
        return (self.fields, self.filename, self.content) == (
            other.fields,
            other.filename,
            other.content,
        )


def ours(
    body: bytes, boundary: str, *, sizes: Sequence[int] = (), live: bool = True
) -> Parts | str:
    """Return the form as the gateway takes it, or the code of its refusal.

    :param sizes: how many bytes come with each read, over and over.
    :raises Exception: anything else is a finding.
    """
    stream = Pieces(body, sizes)
    try:
        reader = FormReader(
            RequestBody(stream, content_length=len(body)),
            f'multipart/form-data; boundary="{boundary}"',
            SETTINGS,
        )
        form = read_form(reader, SETTINGS, live=live)
        try:
            trailing: list[FormField] = []
            noted = _Noted(form.file.body)
            encoder = FormEncoder(
                replace(
                    form,
                    file=replace(form.file, body=noted),
                    trailing=_noted(form.trailing, trailing),
                )
            )
            sent = b"".join(encoder)
        finally:
            form.close()
    except FilesError as error:
        return str(error.code)
    fields = tuple((field.name, field.value) for field in (*form.fields, *trailing))
    return Parts(
        fields, form.file.filename, bytes(noted.content), sent, encoder.boundary_value.encode()
    )


class _Noted:
    """A file's content, noted as it goes by."""

    def __init__(self, body: FileBody) -> None:
        self._body = body
        self.length = body.length
        self.content = bytearray()

    def blocks(self) -> Iterator[bytes]:
        """Yield the content."""
        for block in self._body.blocks():
            self.content += block
            yield block

    def close(self) -> None:
        """Let go of it."""
        self._body.close()


def _noted(trailing: Iterable[FormField], passed: list[FormField]) -> Iterator[FormField]:
    for field in trailing:
        passed.append(field)
        yield field


def werkzeugs(
    body: bytes, boundary: bytes
) -> list[tuple[str | None, str | None, bytes]] | None:
    """Return the parts as werkzeug's own decoder reads them at once, ``None`` if it refuses."""
    decoder = MultipartDecoder(boundary)
    parts: list[tuple[str | None, str | None, bytes]] = []
    try:
        decoder.receive_data(body)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, NeedData):
                return None
            if isinstance(event, (Field, File)):
                filename = event.filename if isinstance(event, File) else None
                parts.append((event.name, filename, b""))
            elif isinstance(event, Data):
                name, filename, content = parts[-1]
                parts[-1] = (name, filename, content + event.data)
    except (ValueError, RequestEntityTooLarge):
        return None
    return parts


def multiparts(body: bytes, boundary: str) -> list[bytes] | None:
    """Return the parts' contents as the library multipart reads them, ``None`` if not."""
    contents: list[bytes] = []
    try:
        with multipart.PushMultipartParser(boundary, strict=True) as parser:
            for event in parser.parse(body):
                if isinstance(event, multipart.MultipartSegment):
                    contents.append(b"")
                elif event is not None:
                    contents[-1] += bytes(event)
    except multipart.MultipartError:
        return None
    return contents
