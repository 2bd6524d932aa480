"""Reading the client's multipart form as it arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Event,
    Field,
    File,
    NeedData,
    Preamble,
)

from .body import RequestBody
from .boundary import Decoder
from .digest import FileDigest
from .errors import HeadersTooLarge, InvalidRequest, PayloadTooLarge
from .form import FileBody, FilePart, FormField, PartHeaders, UploadForm
from .settings import KIB, Settings
from .spool import SpooledFile, SpoolSpace

#: A read begins with this many bytes and grows with what has come in: WSGI servers wait until
#: a read is filled, and so the provider is never further behind than the client is ahead.
FIRST_READ = 1024


_NAME = re.compile(r"""[;\s"']name\s*[*=]""", re.IGNORECASE)


@dataclass(frozen=True)
class FileHead:
    """What is known of a file part before its content: it comes next from the reader."""

    name: str
    filename: str
    headers: PartHeaders


class FormReader:
    """Pulls the parts of a multipart form out of a request body, one at a time.

    :param body: the request body.
    :param content_type: the request's ``Content-Type``, which names the boundary.
    :param settings: the limits.
    :raises InvalidRequest: the content type is not a multipart form, or names no boundary.
    """

    def __init__(self, body: RequestBody, content_type: str, settings: Settings) -> None:
        mimetype, options = parse_options_header(content_type)
        if mimetype.lower() != "multipart/form-data":
            raise InvalidRequest(
                "An upload must be sent as multipart/form-data with the fields `file` and "
                f"`purpose`; this request's Content-Type is {mimetype or 'missing'}.",
                code="invalid_content_type",
            )
        boundary = options.get("boundary")
        if not boundary:
            raise InvalidRequest(
                "The Content-Type multipart/form-data has no boundary; leave the header to "
                "your HTTP client instead of setting it yourself.",
                code="invalid_content_type",
            )
        self._body = body
        self._settings = settings
        line = boundary.encode("latin-1", "replace")
        self._decoder = Decoder(
            line,
            # The decoder compares this with a whole read on top of what is still held.
            max_form_memory_size=settings.max_form_bytes
            + settings.block_size
            + len(line)
            + KIB,
            max_parts=settings.max_parts,
        )
        self._form_bytes = 0
        #: How many bytes of file content have come out.
        self.file_bytes = 0

    def next_part(self) -> FormField | FileHead | None:
        """Return the next field, or the head of a file, or ``None`` at the form's end.

        After a head, :meth:`file_blocks` has to be read to its end before the next call.

        :raises InvalidRequest: the form is malformed.
        :raises HeadersTooLarge: a part has too long headers.
        :raises PayloadTooLarge: a limit other than that of the file's size is exceeded.
        :raises RequestBroken: the body ended before the form did.
        """
        while True:
            event = self._event()
            if isinstance(event, (Field, File)):
                return self._part(event)
            if isinstance(event, (Preamble, Epilogue)):
                self._count(len(event.data))
            if isinstance(event, Epilogue):
                return None

    def file_blocks(self) -> Iterator[bytes]:
        """Yield the content of the file whose head came last.

        :raises PayloadTooLarge: the file is larger than ``PORTKEY_FILES_MAX_BYTES``.
        """
        for data in self._content():
            self.file_bytes += len(data)
            if self.file_bytes > self._settings.max_bytes:
                raise file_too_large(self._settings)
            if data:
                yield data

    def _part(self, event: Field | File) -> FormField | FileHead:
        # The decoder leaves a missing name as None.
        if not isinstance(event.name, str):
            raise _malformed("a part's Content-Disposition names no field")
        headers = tuple(event.headers)
        size = sum(len(name) + len(value.encode()) for name, value in headers)
        if size > self._settings.max_part_headers:
            raise HeadersTooLarge(
                f"A part of the form has more than {self._settings.max_part_headers} bytes of "
                "headers."
            )
        self._count(size)
        dispositions = event.headers.getlist("Content-Disposition")
        if len(dispositions) > 1:
            raise _malformed("a part has more than one Content-Disposition")
        names = _NAME.findall(dispositions[0])
        if len(names) != 1 or names[0].endswith("*"):
            # Whoever reads it next might find another name than was found here.
            headers = tuple(
                (name, value)
                for name, value in headers
                if name.lower() != "content-disposition"
            )
        if isinstance(event, File):
            return FileHead(event.name, event.filename, headers)
        value = bytearray()
        for data in self._data():
            self._count(len(data))
            value += data
            if len(value) > self._settings.max_field_bytes:
                raise PayloadTooLarge(
                    f"A field has more than {self._settings.max_field_bytes} bytes.",
                    param=event.name,
                    code="field_too_large",
                )
        return FormField(event.name, bytes(value), headers)

    def _data(self) -> Iterator[bytes]:
        more = True
        while more:
            event = self._event()
            assert isinstance(event, Data)  # noqa: S101 - nothing else follows a part's head
            yield event.data
            more = event.more_data

    def _content(self) -> Iterator[bytes]:
        """Yield a file's content; all but its ends goes past the decoder."""
        event = self._event()
        assert isinstance(event, Data)  # noqa: S101 - nothing else follows a part's head
        yield event.data
        if not event.more_data:
            return
        decoder = self._decoder
        held = bytes(decoder.buffer)
        decoder.buffer.clear()
        ended = False
        while not ended and (block := self._read()):
            data = held + block if held else block
            size, ended = decoder.split(data)
            held = data[size:]
            yield data[:size]
        # With the boundary in front, or, if it never came, for the decoder to refuse.
        decoder.receive_data(held)
        yield from self._data()

    def _read(self) -> bytes:
        """Return the next block of the body, none at its end."""
        return self._body.read(
            min(self._settings.block_size, max(FIRST_READ, self._body.received))
        )

    def _event(self) -> Event:
        """Return the next event, reading as much of the body as it takes."""
        try:
            while isinstance(event := self._decoder.next_event(), NeedData):
                self._decoder.receive_data(self._read() or None)
        except RequestEntityTooLarge:
            raise self._form_too_large() from None
        except ValueError as error:
            raise _malformed(
                "it ends before its closing boundary"
                if self._decoder.complete
                else "the headers of a part can't be read; they must be UTF-8 and have a "
                "Content-Disposition"
            ) from error
        return event

    def _count(self, size: int) -> None:
        """Count *size* bytes that are not file content, and hold them to their limit."""
        self._form_bytes += size
        if self._form_bytes > self._settings.max_form_bytes:
            raise self._form_too_large()

    def _form_too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"The form has more than {self._settings.max_parts} parts, or more than "
            f"{self._settings.max_form_bytes} bytes besides the file.",
            code="form_too_large",
        )


def _malformed(what: str) -> InvalidRequest:
    return InvalidRequest(f"The multipart form is malformed: {what}.", code="malformed_form")


def file_too_large(settings: Settings) -> PayloadTooLarge:
    """Return the error for a file above ``PORTKEY_FILES_MAX_BYTES``."""
    return PayloadTooLarge(
        f"The file is too large: at most {settings.max_bytes} bytes are accepted.",
        param="file",
        code="file_too_large",
    )


class LiveFile:
    """A file's content that is still coming in: it can be read once."""

    length = None

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def blocks(self) -> Iterator[bytes]:
        """Yield the content as it arrives."""
        return self._blocks

    def close(self) -> None:
        """Nothing is held."""


def read_form(
    reader: FormReader,
    settings: Settings,
    *,
    live: bool,
    space: SpoolSpace | None = None,
    sha256: str | None = None,
) -> UploadForm:
    """Read an upload up to where it can be sent on.

    :param live: whether the file may be passed on while it arrives. It is when ``purpose``
        came before it; otherwise the file is spooled and the whole form checked.
    :param space: what a spooled file takes its space from, if that is bounded.
    :param sha256: what the request says that the file's SHA-256 is.
    :return: the form; the caller closes it.
    :raises InvalidRequest: ``file`` or ``purpose`` is missing or empty, there are two files, or
        the form is malformed.
    """
    fields: list[FormField] = []
    file: FilePart | None = None
    digest: FileDigest | None = None
    try:
        while (part := reader.next_part()) is not None:
            if isinstance(part, FormField):
                fields.append(_checked(part))
                continue
            _check_file(part, first=file is None)
            digest = FileDigest.asked(part.headers, sha256, always=settings.digest)
            blocks = reader.file_blocks()
            if digest is not None:
                blocks = digest.through(blocks)
            if live and any(field.name == "purpose" for field in fields):
                live_file = _file_part(part, LiveFile(blocks))
                return UploadForm(tuple(fields), live_file, _trailing(reader), digest)
            file = _file_part(part, SpooledFile(blocks, settings, space))
        if file is None:
            raise InvalidRequest(
                "The form has no part named `file`; send the file as one, "
                "e.g. curl -F purpose=batch -F file=@data.jsonl.",
                param="file",
                code="missing_required_parameter",
            )
        if not any(field.name == "purpose" for field in fields):
            raise _no_purpose()
    except BaseException:
        if file is not None:
            file.body.close()
        raise
    return UploadForm(tuple(fields), file, digest=digest)


def _trailing(reader: FormReader) -> Iterator[FormField]:
    """Yield the fields behind the file; the form's faults come out here as errors."""
    while (part := reader.next_part()) is not None:
        if isinstance(part, FileHead):
            _check_file(part, first=False)
        else:
            yield _checked(part)


def _checked(field: FormField) -> FormField:
    if field.name == "purpose" and not field.value.strip():
        raise _no_purpose()
    if field.name == "file":
        raise InvalidRequest(
            "The `file` part has no file name and so is not a file; send it as an upload, "
            "e.g. curl -F file=@data.jsonl.",
            param="file",
            code="invalid_file",
        )
    return field


def _no_purpose() -> InvalidRequest:
    return InvalidRequest(
        "The field `purpose` is required and must not be empty, e.g. `batch` or `fine-tune`.",
        param="purpose",
        code="missing_required_parameter",
    )


def _check_file(head: FileHead, *, first: bool) -> None:
    if not first:
        raise InvalidRequest(
            "The form has more than one file; upload one file at a time.",
            param="file",
            code="too_many_files",
        )
    if head.name != "file":
        raise InvalidRequest(
            f"The form's file is in a part named `{head.name}`; the part must be named `file`.",
            param="file",
            code="missing_required_parameter",
        )
    if not head.filename:
        raise InvalidRequest(
            "The `file` part has an empty file name; choose a file and give it a name.",
            param="file",
            code="invalid_file",
        )


def _file_part(head: FileHead, body: FileBody) -> FilePart:
    types = [value for name, value in head.headers if name.lower() == "content-type" and value]
    # Azure refuses a file part without a type.
    content_type = types[0] if types else "application/octet-stream"
    return FilePart(head.filename, content_type, head.headers, body)
