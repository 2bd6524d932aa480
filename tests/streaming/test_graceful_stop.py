"""SIGTERM: what runs may finish within gunicorn's grace; what does not is cut visibly."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Callable
from queue import Queue

import psutil
import pytest

from ..support.gunicorn import Gunicorn
from ..support.upstream import Connection, Upstream
from .wire import LIVE, MIB, SPOOLED, TIMEOUT, UPLOADED, Client, noise, wait

UPLOADS = pytest.mark.parametrize(
    ("worker", "form"),
    [("gthread", LIVE), ("gthread", SPOOLED), ("gevent", LIVE)],
    ids=["gthread-live", "gthread-spooled", "gevent-live"],
)
DOWNLOADS = pytest.mark.parametrize(
    ("worker", "chunked"),
    [("gthread", False), ("gthread", True), ("gevent", True)],
    ids=["gthread-content-length", "gthread-chunked", "gevent-chunked"],
)
SIZE = 8 * MIB


class Provider:
    """Takes uploads, and sends downloads up to the middle until it is told to go on."""

    def __init__(self, *, chunked: bool = False) -> None:
        self.uploads: Queue[tuple[bytes, bool]] = Queue()
        self.begun: Queue[None] = Queue()
        self.go_on: Queue[None] = Queue()
        self._chunked = chunked

    def __call__(self, conn: Connection) -> None:
        conn.sock.settimeout(TIMEOUT)
        while head := conn.read_head():
            if head.startswith(b"POST"):
                self.begun.put(None)
                self.uploads.put(conn.read_body())
                conn.answer(UPLOADED)
                continue
            data = noise(SIZE)
            half = SIZE // 2
            if self._chunked:
                conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                conn.send(b"%x\r\n%b\r\n" % (half, data[:half]))
            else:
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
                conn.send(data[:half])
            self.begun.put(None)
            wait(self.go_on)
            if self._chunked:
                conn.send(b"%x\r\n%b\r\n0\r\n\r\n" % (half, data[half:]))
            else:
                conn.send(data[half:])


def stop(gunicorn: Gunicorn) -> psutil.Process:
    """Send SIGTERM to the master and return the worker, which has had it from there."""
    (worker,) = gunicorn.workers()
    psutil.Process(worker.ppid()).send_signal(signal.SIGTERM)
    gunicorn.wait_for(r"Handling signal: term")
    return worker


def serve(upstream: Upstream, worker: str, grace: int) -> Gunicorn:
    return Gunicorn(
        env={"EXAMPLE_STORE_URL": upstream.url},
        arguments=("--worker-class", worker, "--workers", "1", "--graceful-timeout", str(grace))
        + (("--threads", "4") if worker == "gthread" else ()),
    )


@UPLOADS
def test_upload_finishes(worker: str, form: tuple[bytes, bytes]) -> None:
    provider = Provider()
    body = form[0] + noise(SIZE) + form[1]
    with Upstream(provider) as upstream, serve(upstream, worker, 15) as gunicorn:
        with Client(gunicorn.port) as client:
            client.begin_upload(len(body))
            client.send(body[: SIZE // 2])
            if form is LIVE:
                wait(provider.begun)
            stop(gunicorn)
            client.send(body[SIZE // 2 :])
            assert client.answer().body == UPLOADED
        got, complete = wait(provider.uploads)
        assert complete
        assert noise(SIZE) in got


@DOWNLOADS
def test_download_finishes(worker: str, chunked: bool) -> None:
    provider = Provider(chunked=chunked)
    with (
        Upstream(provider) as upstream,
        serve(upstream, worker, 15) as gunicorn,
        Client(gunicorn.port) as client,
    ):
        client.request("GET", "/v1/files/file-1/content")
        with client.open() as response:
            wait(provider.begun)
            assert response.read(1000) == noise(SIZE)[:1000]
            stop(gunicorn)
            provider.go_on.put(None)
            assert response.read() == noise(SIZE)[1000:]


@UPLOADS
def test_upload_is_cut(worker: str, form: tuple[bytes, bytes]) -> None:
    provider = Provider()
    body = form[0] + noise(SIZE) + form[1]
    with (
        Upstream(provider) as upstream,
        serve(upstream, worker, 1) as gunicorn,
        Client(gunicorn.port) as client,
    ):
        client.begin_upload(len(body))
        client.send(body[: SIZE // 2])
        if form is LIVE:
            wait(provider.begun)
        stop(gunicorn).wait(TIMEOUT)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            answered(client)
    if form is LIVE:
        got, complete = wait(provider.uploads)
        assert not complete
        assert len(got) < SIZE
    assert provider.uploads.empty()


def answered(client: Client) -> None:
    answer = client.answer()
    # Whatever it is, it is no success.
    assert answer.status >= 400
    raise ConnectionError


@DOWNLOADS
def test_download_is_cut(worker: str, chunked: bool) -> None:
    provider = Provider(chunked=chunked)
    with Upstream(provider) as upstream, serve(upstream, worker, 1) as gunicorn:
        with Client(gunicorn.port) as client:
            client.request("GET", "/v1/files/file-1/content")
            with client.open() as response:
                wait(provider.begun)
                assert response.read(1000) == noise(SIZE)[:1000]
                stop(gunicorn).wait(TIMEOUT)
                read: Callable[[], bytes] = response.read
                with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                    read()
        provider.go_on.put(None)
