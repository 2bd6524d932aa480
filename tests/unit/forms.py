"""Multipart forms as bytes, written out by hand so that tests can bend them."""

from __future__ import annotations

import io

from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from flask_portkey_files.body import RequestBody
from flask_portkey_files.multipart import FormReader
from flask_portkey_files.settings import Settings

BOUNDARY = "b0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
END = f"--{BOUNDARY}--\r\n".encode()


def field(name: str, value: str | bytes, *headers: str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return _part(f'form-data; name="{name}"', value, headers)


def file(content: bytes, name: str = "data.jsonl", *headers: str, part: str = "file") -> bytes:
    return _part(f'form-data; name="{part}"; filename="{name}"', content, headers)


def _part(disposition: str, content: bytes, headers: tuple[str, ...]) -> bytes:
    head = "\r\n".join([f"--{BOUNDARY}", f"Content-Disposition: {disposition}", *headers])
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def reader(
    body: bytes, *, content_type: str = CONTENT_TYPE, settings: Settings | None = None
) -> FormReader:
    request = RequestBody(io.BytesIO(body), content_length=len(body))
    return FormReader(request, content_type, settings or Settings())


Part = tuple[str, str | None, bytes, dict[str, str]]


def parse(body: bytes, content_type: str) -> list[Part]:
    """Return a form's parts in order: name, file name, content, headers. The form is whole."""
    decoder = MultipartDecoder(content_type.partition("boundary=")[2].encode())
    decoder.receive_data(body)
    decoder.receive_data(None)
    parts: list[Part] = []
    while not isinstance(event := decoder.next_event(), Epilogue):
        assert not isinstance(event, NeedData)
        if isinstance(event, (Field, File)):
            filename = event.filename if isinstance(event, File) else None
            headers = {k: v for k, v in event.headers if k.lower() != "content-disposition"}
            parts.append((event.name, filename, b"", headers))
        elif isinstance(event, Data):
            name, filename, content, headers = parts[-1]
            parts[-1] = (name, filename, content + event.data, headers)
    return parts
