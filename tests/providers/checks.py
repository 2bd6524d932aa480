"""What holds for each dialect whose provider answers in a shape of its own."""

from __future__ import annotations

import hashlib
import io
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.providers.gateway import Gateway
from tests.standins.base import Standin

#: A file that is never whole in memory: its digest, and how it is read.
LARGE = 30 * 1024 * 1024


class LargeFile(io.RawIOBase):
    """30 MB that are made as they are read."""

    name = "large.jsonl"

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, LARGE)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), LARGE - self._at)
        line = b"0123456789abcde\n"
        start = self._at % len(line)
        repeated = line * (count // len(line) + 2)
        buffer[:count] = repeated[start : start + count]
        self._at += count
        return count


def large_digest() -> str:
    return hashlib.sha256(b"0123456789abcde\n" * (LARGE // 16)).hexdigest()


def digest(blocks: Iterator[bytes]) -> str:
    sha256 = hashlib.sha256()
    for block in blocks:
        sha256.update(block)
    return sha256.hexdigest()


def check_lists(client: openai.OpenAI, ids: list[str], *, purpose: str, limit: int) -> None:
    """Compare lists with *ids*, those of all files from the oldest on."""
    page = client.files.list()
    assert [file.id for file in page] == ids[::-1]
    assert page.has_more is False
    assert [file.id for file in client.files.list(limit=limit)] == ids[::-1]
    assert [file.id for file in client.files.list(order="asc", limit=limit)] == ids
    middle = client.files.list(limit=3, after=ids[9])
    assert [file.id for file in middle.data] == ids[6:9][::-1]
    extra = middle.model_extra or {}
    assert (middle.has_more, extra["first_id"], extra["last_id"]) == (True, ids[8], ids[6])
    last = client.files.list(limit=9, after=ids[9])
    assert ([file.id for file in last.data], last.has_more) == (ids[8::-1], False)
    later = client.files.list(order="asc", limit=2, after=ids[3])
    assert [file.id for file in later.data] == ids[4:6]
    chosen = client.files.list(purpose=purpose, limit=2)
    assert ([file.id for file in chosen.data], chosen.has_more) == (ids[-2:][::-1], True)
    none = client.files.list(purpose="none-of-these")
    assert (none.data, none.has_more) == ([], False)
    with pytest.raises(openai.BadRequestError) as unknown:
        client.files.list(after="none-of-these")
    assert unknown.value.param == "after"
    with pytest.raises(openai.BadRequestError):
        client.files.list(limit=0)


def check_refusals(
    client: openai.OpenAI, service: Standin, *operations: Callable[[str], Any]
) -> None:
    """Ask for what is not there, with a key that is none, and of a service in trouble."""
    for operation in operations:
        with pytest.raises(openai.NotFoundError) as unknown:
            operation("none")
        assert unknown.value.code == "not_found"
    stranger = client.with_options(api_key="wrong")
    file = ("a.jsonl", b"{}")
    for call in (
        stranger.files.list,
        lambda: stranger.files.retrieve("none"),
        lambda: stranger.files.delete("none"),
        lambda: stranger.files.create(file=file, purpose="batch"),
    ):
        with pytest.raises(openai.AuthenticationError) as refused:
            call()
        assert refused.value.code == "invalid_api_key"
    for status, error in ((429, openai.RateLimitError), (500, openai.InternalServerError)):
        for call in (
            client.files.list,
            lambda: client.files.retrieve("none"),
            lambda: client.files.delete("none"),
            lambda: client.files.create(file=file, purpose="batch"),
        ):
            service.fail(status)
            with pytest.raises(error) as failed:
                call()
            assert failed.value.status_code == status
            if status == 429:
                assert failed.value.response.headers["Retry-After"] == "1"


def check_refused_uploads(client: openai.OpenAI, service: Standin, **wrong: Any) -> None:
    """Upload what the provider has no way to take: it is not asked."""
    before = len(service.seen)
    form: dict[str, Any] = {"file": ("a.jsonl", b"{}"), "purpose": "batch"}
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(**{**form, **wrong})
    assert refused.value.param == next(iter(wrong))
    assert len(service.seen) == before


EXPIRY: Any = {"anchor": "created_at", "seconds": 86400}


def break_off(
    gateway: Gateway,
    headers: dict[str, str],
    *,
    started: Callable[[], object] = lambda: True,
    size: int = 300_000,
) -> None:
    """Upload the beginning of a file, and go.

    :param started: tells whether the provider has got so far that the upload may break off.
    """
    head = (
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    lines = [
        "POST /v1/files HTTP/1.1",
        "Host: gateway",
        "Content-Type: multipart/form-data; boundary=x",
        f"Content-Length: {len(head) + 2 * size}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + head + b"x" * size)
        deadline = time.monotonic() + 10
        while not started() and time.monotonic() < deadline:
            time.sleep(0.002)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert b" 400 " in answer.partition(b"\r\n")[0]


def shape(file: Any) -> tuple[type, ...]:
    """Return the types of a file object's members."""
    names = ("id", "bytes", "created_at", "filename", "purpose", "status")
    return tuple(type(getattr(file, name)) for name in names)


SHAPE = (str, int, int, str, str, str)
