"""What an upload consists of, however it came in and whichever way it goes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

#: Headers of a part, as the client sent them. A ``Content-Disposition`` among them is sent on
#: as it is, since there is more than one way to escape a file name; without one, it is made.
PartHeaders = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FormField:
    """A field of the form that is not a file; its value stays the bytes that came in."""

    name: str
    value: bytes
    headers: PartHeaders = ()


class FileBody(Protocol):
    """The content of the file part."""

    @property
    def length(self) -> int | None:
        """The length in bytes, ``None`` while the file is still coming in."""
        ...

    def blocks(self) -> Iterator[bytes]:
        """Return the content piece by piece, from the start if it is held."""
        ...

    def close(self) -> None:
        """Let go of whatever holds the content."""
        ...


@dataclass(frozen=True)
class FilePart:
    """The part that is the file.

    :param name: the part's name when it is sent on.
    """

    filename: str
    content_type: str
    headers: PartHeaders
    body: FileBody
    name: str = "file"


class Digest(Protocol):
    """What is known of a file's content."""

    @property
    def sha256(self) -> str | None:
        """The SHA-256 in hexadecimal, ``None`` before the file's end."""
        ...

    def field(self) -> str | None:
        """Return it as RFC 9530 writes it."""
        ...


@dataclass(frozen=True)
class UploadForm:
    """The fields that go before the file, the file, and those that may still follow it.

    :param trailing: fields that the client sends after the file; they are read when the file
        has been, so they are always empty for a form that is spooled.
    :param digest: the file's digest, if it is computed: known when the file has been read.
    """

    fields: tuple[FormField, ...]
    file: FilePart
    trailing: Iterable[FormField] = ()
    digest: Digest | None = None

    @property
    def live(self) -> bool:
        """Whether the file is still coming in, and so can be sent only once."""
        return self.file.body.length is None

    def value(self, name: str) -> str | None:
        """Return the first of the leading fields with this name as text, or ``None``."""
        for field in self.fields:
            if field.name == name:
                return field.value.decode("utf-8", "replace")
        return None

    def close(self) -> None:
        """Let go of the file, and of the disk space that it may take."""
        self.file.body.close()
