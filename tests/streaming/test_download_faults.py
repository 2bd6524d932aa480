"""A provider that fails while it is being read: never a short file that looks whole."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import pytest

from ..support.upstream import Connection
from .conftest import Curl, Serve
from .wire import KEY, LIST, MIB, Answer, downloads_from, noise, wait

CONTENT = "/v1/files/file-1/content"


def is_upstream_error(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status
    assert answer.error["code"] == code
    assert answer.error["type"] == "server_error"
    assert "local" in answer.error["message"]
    assert KEY.encode() not in answer.body


def reset_with_length(conn: Connection, data: bytes) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + data)


def reset_in_chunk(conn: Connection, data: bytes) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    conn.send(b"%x\r\n%b" % (len(data) + 10, data))


def reset_between_chunks(conn: Connection, data: bytes) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    conn.send(b"%x\r\n%b\r\n" % (len(data), data))


def bad_chunk(conn: Connection, data: bytes) -> None:
    reset_between_chunks(conn, data)
    conn.send(b"no size at all\r\nmore\r\n")


FAULTS: list[tuple[str, Callable[[Connection, bytes], None], bool]] = [
    ("reset-with-length", reset_with_length, True),
    ("close-with-length", reset_with_length, False),
    ("reset-in-chunk", reset_in_chunk, True),
    ("close-in-chunk", reset_in_chunk, False),
    ("reset-between-chunks", reset_between_chunks, True),
    ("close-between-chunks", reset_between_chunks, False),
    ("bad-chunk", bad_chunk, False),
]


FAULT = pytest.mark.parametrize(
    ("fault", "reset"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
SIZE = pytest.mark.parametrize("size", [1000, MIB])


def breaks_off(
    serve: Serve,
    curl: Curl,
    target: Path,
    version: str,
    fault: Callable[[Connection, bytes], None],
    reset: bool,
    size: int,
) -> None:
    data = noise(size)

    def provider(conn: Connection) -> None:
        fault(conn, data)
        if reset:
            conn.reset()

    gateway = serve(downloads_from(provider))
    done = curl(
        *(version, "--output", str(target), "--write-out", "%{http_code}"),
        gateway.gunicorn.url + CONTENT,
    )
    assert done.returncode != 0, (done.stdout, target.stat().st_size)
    if done.stdout == b"200":
        assert data.startswith(target.read_bytes())
    else:  # It broke before the first byte could be passed on.
        assert done.stdout == b"502"
    assert gateway.is_free()


@FAULT
@SIZE
def test_curl_sees_no_clean_end(
    serve: Serve,
    curl: Curl,
    tmp_path: Path,
    fault: Callable[[Connection, bytes], None],
    reset: bool,
    size: int,
) -> None:
    breaks_off(serve, curl, tmp_path / "got", "--http1.1", fault, reset, size)


@FAULT
@SIZE
def test_http_1_0_client_sees_no_clean_end(
    serve: Serve,
    curl: Curl,
    tmp_path: Path,
    fault: Callable[[Connection, bytes], None],
    reset: bool,
    size: int,
) -> None:
    """It knows no chunks; many a reverse proxy speaks 1.0 to what is behind it."""
    breaks_off(serve, curl, tmp_path / "got", "--http1.0", fault, reset, size)


@pytest.mark.parametrize("path", [CONTENT, "/v1/files/file-1", "/v1/files"])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"], ids=["", "in-head"])
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "close"])
def test_break_before_the_head_is_over(
    serve: Serve, path: str, sent: bytes, reset: bool
) -> None:
    def script(conn: Connection) -> None:
        conn.read_head()
        if sent:
            conn.send(sent)
        if reset:
            conn.reset()

    gateway = serve(script)
    answer = gateway.call("GET", path)
    is_upstream_error(answer, 502, "upstream_error")


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "close"])
def test_metadata_cut_short(serve: Serve, reset: bool) -> None:
    def script(conn: Connection) -> None:
        conn.read_head()
        conn.send(b'HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{"id":')
        if reset:
            conn.reset()

    gateway = serve(script)
    is_upstream_error(gateway.call("GET", "/v1/files/file-1"), 502, "upstream_error")


@pytest.mark.parametrize("path", [CONTENT, "/v1/files/file-1"])
@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"], ids=["no-head", "head"]
)
def test_silence(serve: Serve, path: str, sent: bytes) -> None:
    def script(conn: Connection) -> None:
        conn.read_head()
        if sent:
            conn.send(sent)
        assert conn.read_some() == b""  # Until the gateway gives up.

    gateway = serve(script, env={"PORTKEY_FILES_READ_TIMEOUT": "0.5"})
    is_upstream_error(gateway.call("GET", path), 504, "upstream_timeout")


def test_silence_in_the_middle(serve: Serve, curl: Curl) -> None:
    over: Queue[bytes] = Queue()

    def provider(conn: Connection) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        over.put(conn.read_some())

    gateway = serve(downloads_from(provider), env={"PORTKEY_FILES_READ_TIMEOUT": "0.5"})
    done = curl(gateway.gunicorn.url + CONTENT)
    assert done.returncode != 0
    assert done.stdout == b"hello"
    assert wait(over) == b""
    assert gateway.is_free()


def test_connection_refused(serve: Serve) -> None:
    with socket.socket() as taken:  # Bound and not listening: nobody else can get it.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        gateway = serve(lambda conn: None, env={"EXAMPLE_STORE_URL": url})
        answer = gateway.call("GET", "/v1/files")
    is_upstream_error(answer, 502, "upstream_error")
    assert "refused" in answer.error["message"]


def test_no_http_at_all(serve: Serve) -> None:
    def script(conn: Connection) -> None:
        conn.read_head()
        conn.send(b"220 mail.example ESMTP\r\n")

    gateway = serve(script)
    is_upstream_error(gateway.call("GET", "/v1/files"), 502, "upstream_error")


def test_faults_leave_the_pool_sane(serve: Serve) -> None:
    """What comes after a broken answer is not read from what is left of it."""

    def script(conn: Connection) -> None:
        while head := conn.read_head():
            if b"/content " not in head:
                conn.answer(LIST)
                continue
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwith more behind it")

    gateway = serve(script)
    assert gateway.call("GET", CONTENT).body == b"with"
    assert json.loads(gateway.call("GET", "/v1/files").body) == json.loads(LIST)
