"""What a transfer takes of the worker: blocks of it in memory, and no disk."""

from __future__ import annotations

import os
from pathlib import Path
from queue import Queue

import pytest

from ..support.upstream import Connection
from .conftest import Serve
from .wire import (
    LIVE,
    MIB,
    SPOOLED,
    UPLOADED,
    Body,
    Client,
    Gateway,
    downloads_from,
    noise,
    posts_to,
    wait,
)

pytestmark = pytest.mark.usefixtures("proc")

SIZE = 64 * MIB
MOST = 16 * MIB


def idle(gateway: Gateway) -> int:
    """Return the worker's resident memory once it has answered something."""
    assert gateway.is_free()
    return int(gateway.worker.memory_info().rss)


def send_file(client: Client, size: int) -> None:
    block = noise(MIB)
    for _ in range(size // MIB):
        client.send(block)


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_live_upload(serve: Serve, chunked: bool) -> None:
    half_way: Queue[None] = Queue()
    received: Queue[int] = Queue()

    def provider(conn: Connection) -> None:
        body, size = Body(conn), 0
        for piece in body:
            before, size = size, size + len(piece)
            if before < SIZE // 4 <= size:
                half_way.put(None)
        assert body.complete
        received.put(size)
        conn.answer(UPLOADED)

    gateway = serve(posts_to(provider))
    before, files = idle(gateway), gateway.open_files()
    opening, closing = LIVE
    with gateway.client() as client:
        client.begin_upload(None if chunked else len(opening) + SIZE + len(closing))
        client.send(opening)
        send_file(client, SIZE // 2)
        wait(half_way)
        assert gateway.open_files() == files
        send_file(client, SIZE // 2)
        client.send(closing)
        client.end()
        assert client.answer().body == UPLOADED
    assert wait(received) > SIZE
    assert gateway.gunicorn.peak_memory() - before < MOST


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_download(serve: Serve, chunked: bool) -> None:
    block = noise(MIB)
    framed = b"%x\r\n%b\r\n" % (MIB, block) if chunked else block
    first = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % SIZE

    def provider(conn: Connection) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\n" + first + b"\r\n\r\n")
        for _ in range(SIZE // MIB):
            conn.send(framed)
        if chunked:
            conn.send(b"0\r\n\r\n")

    gateway = serve(downloads_from(provider))
    before, files = idle(gateway), gateway.open_files()
    with gateway.client() as client:
        client.request("GET", "/v1/files/file-1/content")
        with client.open() as response:
            for number in range(SIZE // MIB):
                assert response.read(MIB) == block
                if number == 32:
                    assert gateway.open_files() == files
            assert response.read(1) == b""
    assert gateway.gunicorn.peak_memory() - before < MOST


def test_spooled_upload(serve: Serve, tmp_path: Path) -> None:
    asked: Queue[None] = Queue()
    looked: Queue[None] = Queue()
    received: Queue[int] = Queue()

    def provider(conn: Connection) -> None:
        asked.put(None)
        wait(looked)
        body = Body(conn)
        received.put(sum(map(len, body)))
        assert body.complete
        conn.answer(UPLOADED)

    gateway = serve(posts_to(provider), env={"PORTKEY_FILES_SPOOL_DIR": str(tmp_path)})
    before, files = idle(gateway), gateway.open_files()
    opening, closing = SPOOLED
    with gateway.client() as client:
        client.begin_upload(len(opening) + SIZE + len(closing))
        client.send(opening)
        send_file(client, SIZE // 2)
        assert os.listdir(tmp_path) == []
        send_file(client, SIZE // 2)
        client.send(closing)
        wait(asked)
        (spooled,) = set(gateway.open_files()) - set(files)
        assert spooled.startswith(f"{tmp_path}/")
        assert spooled.endswith(" (deleted)")
        assert os.listdir(tmp_path) == []
        looked.put(None)
        assert client.answer().body == UPLOADED
    assert wait(received) > SIZE
    assert gateway.is_free()
    assert gateway.open_files() == files
    assert os.listdir(tmp_path) == []
    assert gateway.gunicorn.peak_memory() - before < MOST


def test_spooled_upload_that_the_client_breaks_off(serve: Serve, tmp_path: Path) -> None:
    gateway = serve(posts_to(lambda conn: None), env={"PORTKEY_FILES_SPOOL_DIR": str(tmp_path)})
    assert gateway.is_free()
    files = gateway.open_files()
    with gateway.client() as client:
        client.begin_upload(SIZE)
        client.send(SPOOLED[0])
        send_file(client, SIZE // 2)
        client.reset()
        assert gateway.is_free()
    assert gateway.open_files() == files
    assert os.listdir(tmp_path) == []
