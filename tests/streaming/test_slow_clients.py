"""A client that stalls or drips: its thread is free in the time that is set."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from queue import Queue

import pytest

from ..support.parts import require
from ..support.upstream import Connection
from .conftest import Serve
from .wire import (
    LIST,
    LIVE,
    MIB,
    SPOOLED,
    UPLOADED,
    Client,
    Gateway,
    downloads_from,
    noise,
    posts_to,
    wait,
)

#: What is set; the watch looks four times a second.
GRACE = 0.5
ENV = {
    "PORTKEY_FILES_SLOW_GRACE": str(GRACE),
    "PORTKEY_FILES_MIN_UPLOAD_RATE": "1000",
    "PORTKEY_FILES_MIN_DOWNLOAD_RATE": "100000",
}
LATEST = 8.0

WORKERS = pytest.mark.parametrize("worker", ["gthread", "gevent"])
FORMS = pytest.mark.parametrize("form", [LIVE, SPOOLED], ids=["live", "spooled"])


def start(
    serve: Serve, script: Callable[[Connection], None], worker: str, **env: str
) -> Gateway:
    if worker == "gevent":
        require(find_spec("gevent"), "needs gevent: pip install gevent")
        env["GUNICORN_CMD_ARGS"] = "--worker-class gevent"
    return serve(script, env={**ENV, **env})


@contextlib.contextmanager
def dripping(client: Client) -> Iterator[None]:
    """Send a byte now and then for as long as the block lasts."""
    over = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.02):
                client.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@WORKERS
@FORMS
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.parametrize("drips", [False, True], ids=["stalls", "drips"])
def test_upload(
    serve: Serve, form: tuple[bytes, bytes], worker: str, chunked: bool, drips: bool
) -> None:
    got: Queue[bool] = Queue()

    def provider(conn: Connection) -> None:
        got.put(conn.read_body()[1])

    gateway = start(serve, posts_to(provider), worker)
    with gateway.client() as client:
        client.begin_upload(None if chunked else 64 * MIB)
        client.send(form[0])
        client.send(noise(2 * MIB))
        started = time.monotonic()
        with dripping(client) if drips else contextlib.nullcontext():
            answer = client.answer()
        assert GRACE / 2 < time.monotonic() - started < LATEST
        assert answer.status == 408
        assert answer.error["code"] == "upload_too_slow"
        # The client is still there, and owes most of its body.
        assert gateway.is_free()
    if form is LIVE:
        assert wait(got) is False


@WORKERS
def test_upload_that_is_fast_enough(serve: Serve, worker: str) -> None:
    """The pauses are shorter than the grace, and all together longer."""

    def provider(conn: Connection) -> None:
        assert conn.read_body()[1]
        conn.answer(UPLOADED)

    gateway = start(serve, posts_to(provider), worker)
    pause = threading.Event()
    body = LIVE[0] + noise(6000) + LIVE[1]
    with gateway.client() as client:
        client.begin_upload(len(body))
        for at in range(0, len(body), 500):
            client.send(body[at : at + 500])
            pause.wait(0.15)
        assert client.answer().body == UPLOADED


def test_upload_whose_provider_is_slow(serve: Serve) -> None:
    """The client is not to blame for what it can't send."""

    def provider(conn: Connection) -> None:
        threading.Event().wait(3 * GRACE)
        assert conn.read_body()[1]
        conn.answer(UPLOADED)

    gateway = start(serve, posts_to(provider), "gthread")
    answer = gateway.upload(LIVE[0] + noise(24 * MIB) + LIVE[1])
    assert answer.body == UPLOADED


def asking(gateway: Gateway, path: str, times: int) -> socket.socket:
    """Return a connection on which *path* has been asked for, with little room for it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", gateway.gunicorn.port))
    sock.settimeout(20)
    request = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nx-portkey-provider: local\r\n"
        "Authorization: Bearer sk\r\n\r\n"
    )
    sock.sendall(request.encode() * times)
    return sock


def taken(sock: socket.socket) -> int:
    """Take what still comes, and return how much that was before the connection was reset."""
    count = 0
    while piece := sock.recv(1 << 20):
        count += len(piece)
    return count


@WORKERS
@pytest.mark.parametrize("drips", [False, True], ids=["stalls", "drips"])
def test_download(serve: Serve, worker: str, drips: bool) -> None:
    gone: Queue[None] = Queue()

    def provider(conn: Connection) -> None:
        try:
            conn.answer(bytes(64 * MIB))
        finally:
            gone.put(None)

    gateway = start(serve, downloads_from(provider), worker)
    with asking(gateway, "/v1/files/file-1/content", 1) as sock:
        started = time.monotonic()
        pause = threading.Event()
        while drips and gone.empty() and time.monotonic() - started < LATEST:
            with contextlib.suppress(ConnectionResetError):
                sock.recv(100)
            pause.wait(0.02)
        wait(gone)
        assert time.monotonic() - started < LATEST
        assert gateway.is_free()
        with pytest.raises(ConnectionResetError):
            taken(sock)


def test_answer_that_is_read_whole(serve: Serve) -> None:
    """So short a one fits into the buffers on the way, but many of them do not."""

    def script(conn: Connection) -> None:
        while head := conn.read_head():
            conn.answer(b'"%s"' % (b"x" * 200_000) if b"?big" in head else LIST)

    gateway = start(serve, script, "gthread")
    with asking(gateway, "/v1/files?big=1", 100) as sock:
        poll = select.poll()
        poll.register(sock, 0)  # For nothing but its end.
        assert poll.poll(LATEST * 1000)
        assert gateway.is_free()
        with pytest.raises(ConnectionResetError):
            taken(sock)


def test_download_that_is_fast_enough(serve: Serve) -> None:
    data = noise(4 * MIB)
    gateway = start(serve, downloads_from(lambda conn: conn.answer(data)), "gthread")
    pause = threading.Event()
    with gateway.client() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.request("GET", "/v1/files/file-1/content")
        with client.open() as response:
            got = b""
            while piece := response.read(256 * 1024):
                got += piece
                pause.wait(0.1)
    assert got == data
