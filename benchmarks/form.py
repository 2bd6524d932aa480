"""The uploads' form, and the two kinds of content that are sent."""

from __future__ import annotations

import functools
import hashlib
from typing import Literal

from .sizes import MIB

Kind = Literal["text", "random"]

BOUNDARY = "----benchmark-7f3a9c51e8d24b60"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
#: The fields come first, so that a gateway may pass the file on as it arrives. The purpose is
#: one under which no gateway looks into the file: LiteLLM refuses batches that are not valid.
OPENING = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="data.jsonl"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
CLOSING = f"\r\n--{BOUNDARY}--\r\n".encode()

#: A file is one block over and over.
BLOCK = MIB


@functools.cache
def block(kind: Kind) -> bytes:
    """Return the block that files of *kind* repeat."""
    if kind == "random":
        return hashlib.shake_128(b"benchmark").digest(BLOCK)
    lines, length, number = [], 0, 0
    while length < BLOCK:
        # Short lines that end as a part's boundary begins: the hard case for a form parser.
        line = b'{"custom_id": "request-%07d", "method": "POST"}\r\n' % number
        lines.append(line)
        length += len(line)
        number += 1
    return b"".join(lines)[:BLOCK]


@functools.cache
def twice(kind: Kind) -> bytes:
    """Return two blocks, in which any piece of a file up to a block's length is found."""
    return block(kind) * 2


def agrees(piece: memoryview | bytes, kind: Kind, position: int) -> bool:
    """Say whether *piece*, of a block at most, is what the file has at *position*."""
    # Unlike a comparison with a slice, this neither copies nor looks at bytes one by one.
    return twice(kind).startswith(piece, position % BLOCK)
