"""What the tests of the object stores share."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
from collections.abc import Iterator
from typing import IO, Any, cast

import openai

MIB = 1024 * 1024


class Blocks(io.RawIOBase):
    """A file of any size that repeats one random block, and the digest of what was read."""

    def __init__(self, size: int) -> None:
        self._block = os.urandom(MIB)
        self._left = self.size = size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._block[: min(MIB if size < 0 else size, self._left, MIB)]
        self._left -= len(block)
        self.digest.update(block)
        return block


def form(file: Blocks, boundary: str, filename: str = "large.jsonl") -> Iterator[bytes]:
    """Yield an upload's body, with the purpose before the file."""
    yield (
        f"--{boundary}\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"'
        "\r\nContent-Type: application/jsonl\r\n\r\n"
    ).encode()
    while block := file.read():
        yield block
    yield f"\r\n--{boundary}--\r\n".encode()


def post(client: openai.OpenAI, file: Blocks) -> openai.types.FileObject:
    """Upload *file* as it is read."""
    stream: IO[bytes] = cast(Any, file)
    return client.files.create(
        file=("large.jsonl", stream, "application/jsonl"), purpose="batch"
    )


def break_off(port: int, headers: dict[str, str], size: int) -> None:
    """Begin an upload of twice the *size*, and break off after *size* bytes of the file."""
    body = form(Blocks(size), "b")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", "/v1/files")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(2 * size))
    connection.endheaders()
    left = size
    for block in body:
        connection.send(block)
        left -= len(block)
        if left <= 0:
            break
    connection.close()


def digest(blocks: Iterator[bytes]) -> tuple[str, int]:
    """Return the digest and the size of what *blocks* are of."""
    seen, size = hashlib.sha256(), 0
    for block in blocks:
        seen.update(block)
        size += len(block)
    return seen.hexdigest(), size
