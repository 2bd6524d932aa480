"""Writing the body of the provider's request."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from itertools import chain

from requests_toolbelt import MultipartEncoder
from urllib3.fields import RequestField

from .form import FileBody, FilePart, FormField, UploadForm


class DeadlineExceeded(Exception):
    """A body was still being sent when its time was over."""


class RawBody:
    """Bytes, or a file's content, as the body of a request."""

    content_type = None

    def __init__(self, body: FileBody | bytes) -> None:
        self._body = body
        #: Whether anything has been read, and whether all has.
        self.started = False
        self.finished = False
        #: How many bytes have been handed out.
        self.sent = 0
        #: When reading stops with an error, by ``time.monotonic()``.
        self.deadline = math.inf

    @property
    def len(self) -> int:
        """The length in bytes; what has none is sent chunked."""
        length = len(self._body) if isinstance(self._body, bytes) else self._body.length
        if length is None:
            raise AttributeError("len")
        return length

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body's pieces as they are, each when it is asked for."""
        self.started = True
        blocks = [self._body] if isinstance(self._body, bytes) else self._body.blocks()
        for block in blocks:
            if time.monotonic() >= self.deadline:
                raise DeadlineExceeded
            self.sent += len(block)
            yield block
        self.finished = True


class FormEncoder(MultipartEncoder):  # type: ignore[misc]
    """requests-toolbelt's encoder over a form whose parts and file may still be coming in.

    The base class reads a part until it has filled the block asked for, which would hold the
    form's first bytes back until enough of the file has arrived, and it wants to know each
    part's length before. This one hands out what there is, and reads the next part of the form
    only when the one before is through.
    """

    def __init__(self, form: UploadForm) -> None:
        super().__init__(())
        self._form = form
        #: Whether anything has been read; requests-mock, for one, reads nothing.
        self.started = False
        #: How many bytes have been handed out.
        self.sent = 0
        #: When reading stops with an error, by ``time.monotonic()``.
        self.deadline = math.inf
        self._blocks = self._encode()
        self._rest = memoryview(b"")

    @property
    def len(self) -> int:
        """The length of the body in bytes; a live form has none, and is sent chunked."""
        if self._form.live:
            raise AttributeError("len")
        return sum(
            len(piece) if isinstance(piece, bytes) else piece.length or 0
            for piece in self._pieces()
        )

    def _pieces(self) -> Iterator[bytes | FileBody]:
        """Yield the body: what frames the fields and the file as bytes, the file as itself."""
        form = self._form
        parts: Iterable[FormField | FilePart] = chain(form.fields, [form.file], form.trailing)
        frame: bytes = self._encoded_boundary
        for part in parts:
            frame += _headers(part).encode(self.encoding)
            if isinstance(part, FormField):
                frame += part.value
            else:
                yield frame
                yield part.body
                frame = b""
            frame += b"\r\n" + self._encoded_boundary
        # The last boundary is the closing one.
        yield frame[:-2] + b"--\r\n"

    def _encode(self) -> Iterator[bytes]:
        for piece in self._pieces():
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from piece.blocks()
        self.finished = True

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body's pieces as they are, each when it is asked for."""
        self.started = True
        for piece in self._blocks:
            if time.monotonic() >= self.deadline:
                raise DeadlineExceeded
            self.sent += len(piece)
            yield piece

    def read(self, size: int = -1) -> bytes:
        """Return the next piece of at most *size* bytes, all that is left if it is negative."""
        self.started = True
        if time.monotonic() >= self.deadline:
            raise DeadlineExceeded
        if size < 0:
            rest, self._rest = self._rest, memoryview(b"")
            piece = bytes(rest) + b"".join(self._blocks)
        else:
            block = self._rest or memoryview(next(self._blocks, b""))
            piece, self._rest = bytes(block[:size]), block[size:]
        self.sent += len(piece)
        return piece


def _headers(part: FormField | FilePart) -> str:
    """Return the headers of *part*, with the blank line behind them."""
    headers = {name.title(): value for name, value in part.headers}
    if isinstance(part, FormField):
        field = RequestField(_escaped(part.name), b"", headers=headers)
    else:
        headers["Content-Type"] = part.content_type
        if part.name != "file":
            # The client's own names it `file`.
            headers.pop("Content-Disposition", None)
        field = RequestField(part.name, b"", _escaped(part.filename), headers)
    if "Content-Disposition" not in headers:
        field.make_multipart(content_type=headers.get("Content-Type"))
    return field.render_headers()


def _escaped(name: str) -> str:
    """Return a name as it is written where urllib3 writes a ``Content-Disposition``.

    urllib3 leaves backslashes as they are, as HTML does. Most readers take one for an escape
    all the same, and one at the end would hide the quote behind it from them, so that they
    would find another part than was meant.
    """
    return name.replace("\\", "\\\\")


#: What requests sends.
Body = FormEncoder | RawBody
