"""A client that goes away: the provider is let go, and the thread is free again."""

from __future__ import annotations

from queue import Queue

import pytest

from ..support.upstream import Connection
from .conftest import Serve
from .wire import (
    LIST,
    LIVE,
    MIB,
    SPOOLED,
    Client,
    boundary_of,
    downloads_from,
    noise,
    posts_to,
    wait,
)

LEAVES = pytest.mark.parametrize("leave", ["close", "reset"])


def go(client: Client, leave: str) -> None:
    if leave == "reset":
        client.reset()
    else:
        client.sock.close()


@LEAVES
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.parametrize("size", [10_000, 2 * MIB])
def test_mid_live_upload(serve: Serve, chunked: bool, leave: str, size: int) -> None:
    begun: Queue[None] = Queue()
    got: Queue[tuple[bytes, bool, bytes, bytes]] = Queue()

    def provider(conn: Connection) -> None:
        begun.put(None)
        body, complete = conn.read_body()
        got.put((body, complete, boundary_of(conn), conn.read_some()))

    gateway = serve(posts_to(provider))
    opening, closing = LIVE
    with gateway.client() as client:
        client.begin_upload(None if chunked else len(opening) + size + len(closing))
        client.send(opening)
        client.send(noise(size // 2))
        wait(begun)
        go(client, leave)
        assert gateway.is_free()
    body, complete, boundary, after = wait(got)
    assert not complete
    assert b"--" + boundary + b"--" not in body
    assert after == b""


@LEAVES
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.parametrize("size", [10_000, 4 * MIB])
def test_mid_spooled_upload(serve: Serve, chunked: bool, leave: str, size: int) -> None:
    heads: Queue[bytes] = Queue()

    def script(conn: Connection) -> None:
        while head := conn.read_head():
            heads.put(head)
            conn.answer(LIST)

    gateway = serve(script)
    opening, closing = SPOOLED
    with gateway.client() as client:
        client.begin_upload(None if chunked else len(opening) + size + len(closing))
        client.send(opening)
        client.send(noise(size // 2))
        go(client, leave)
        # There is one thread: when this is answered, it is done with the upload.
        assert gateway.is_free()
    assert gateway.upstream.connections == 1
    assert wait(heads).startswith(b"GET /v1/files ")
    assert heads.empty()


@LEAVES
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_mid_download(serve: Serve, chunked: bool, leave: str) -> None:
    ended: Queue[int] = Queue()
    block = noise(65536)
    framed = b"%x\r\n%b\r\n" % (len(block), block) if chunked else block

    def provider(conn: Connection) -> None:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1099511627776"
        conn.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        sent = 0
        try:
            while True:
                conn.send(framed)
                sent += len(block)
        except ConnectionError:
            ended.put(sent)

    gateway = serve(downloads_from(provider))
    with gateway.client() as client:
        client.request("GET", "/v1/files/file-1/content")
        with client.open() as response:
            assert response.read(MIB) == block * 16
            if leave == "close":
                client.sock.close()  # Goes with the response's own hold on it, below.
        if leave == "reset":
            client.reset()
        wait(ended)
        assert gateway.is_free()


def test_before_the_provider_has_answered(serve: Serve) -> None:
    asked: Queue[None] = Queue()
    left: Queue[None] = Queue()

    def provider(conn: Connection) -> None:
        asked.put(None)
        wait(left)
        conn.answer(noise(MIB))

    gateway = serve(downloads_from(provider))
    with gateway.client() as client:
        client.request("GET", "/v1/files/file-1/content")
        wait(asked)
        client.reset()
        left.put(None)
        assert gateway.is_free()
