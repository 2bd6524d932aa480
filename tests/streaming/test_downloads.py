"""What of a provider's answer reaches the client, and when."""

from __future__ import annotations

import gzip
from queue import Queue

import pytest

from ..support.upstream import Connection
from .conftest import Serve
from .wire import LIST, MIB, downloads_from, noise, wait

CONTENT = "/v1/files/file-1/content"


def test_range(serve: Serve) -> None:
    asked: Queue[str | None] = Queue()

    def provider(conn: Connection) -> None:
        asked.put(conn.header("Range"))
        conn.answer(
            b"3456",
            status="206 Partial Content",
            headers=("Content-Range: bytes 3-6/10", "Accept-Ranges: bytes"),
        )

    answer = serve(downloads_from(provider)).call("GET", CONTENT, "Range: bytes=3-6")
    assert (answer.status, answer.body) == (206, b"3456")
    assert answer.header("Content-Range") == "bytes 3-6/10"
    assert answer.header("Content-Length") == "4"
    assert answer.header("Accept-Ranges") == "bytes"
    assert wait(asked) == "bytes=3-6"


def test_range_that_can_not_be(serve: Serve) -> None:
    def provider(conn: Connection) -> None:
        conn.answer(
            b"no", status="416 Range Not Satisfiable", headers=("Content-Range: bytes */10",)
        )

    answer = serve(downloads_from(provider)).call("GET", CONTENT, "Range: bytes=99-")
    assert (answer.status, answer.body) == (416, b"no")
    assert answer.header("Content-Range") == "bytes */10"


def test_not_modified(serve: Serve) -> None:
    asked: Queue[str | None] = Queue()

    def provider(conn: Connection) -> None:
        asked.put(conn.header("If-None-Match"))
        conn.send(b'HTTP/1.1 304 Not Modified\r\nETag: "abc"\r\n\r\n')

    gateway = serve(downloads_from(provider))
    with gateway.client() as client:
        client.request("GET", CONTENT, 'If-None-Match: "abc"')
        answer = client.answer()
        assert (answer.status, answer.body) == (304, b"")
        assert answer.header("ETag") == '"abc"'
        assert wait(asked) == '"abc"'
        # There is no body: the connection goes on.
        client.request("GET", "/v1/files")
        assert client.answer().body == LIST


@pytest.mark.parametrize("length", [0, 5, 12_345_678_901])
def test_head(serve: Serve, length: int) -> None:
    methods: Queue[bytes] = Queue()

    def provider(conn: Connection) -> None:
        methods.put(conn.head.split(b" ")[0])
        conn.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\n"
            b"Content-Length: %d\r\n\r\n" % length
        )

    gateway = serve(downloads_from(provider))
    with gateway.client() as client:
        client.request("HEAD", CONTENT)
        answer = client.answer("HEAD")
        assert answer.status == 200
        assert answer.header("Content-Length") == str(length)
        assert answer.header("Content-Type") == "application/jsonl"
        assert wait(methods) == b"HEAD"
        client.request("GET", "/v1/files")
        assert client.answer().body == LIST


def test_compressed_content_stays_as_it_is(serve: Serve) -> None:
    packed = gzip.compress(noise(200_000))
    asked: Queue[str | None] = Queue()

    def provider(conn: Connection) -> None:
        asked.put(conn.header("Accept-Encoding"))
        conn.answer(packed, headers=("Content-Encoding: gzip",))

    answer = serve(downloads_from(provider)).call("GET", CONTENT, "Accept-Encoding: gzip")
    assert answer.header("Content-Encoding") == "gzip"
    assert answer.header("Content-Length") == str(len(packed))
    assert answer.body == packed
    assert wait(asked) == "gzip"


@pytest.mark.parametrize("size", [0, 1, 3 * MIB])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_complete_body_however_it_is_framed(serve: Serve, size: int, framing: str) -> None:
    content = noise(size)

    def provider(conn: Connection) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\n"
        if framing == "length":
            conn.send(head + b"Content-Length: %d\r\n\r\n" % size + content)
        elif framing == "close":
            conn.send(head + b"Connection: close\r\n\r\n" + content)
        else:
            conn.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for start in range(0, size, 99_999):
                piece = content[start : start + 99_999]
                conn.send(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
            conn.send(b"0\r\nX-Trailer: 1\r\n\r\n")

    gateway = serve(downloads_from(provider))
    with gateway.client() as client:
        client.request("GET", CONTENT)
        answer = client.answer()
        assert answer.status == 200
        assert answer.body == content
        if framing == "length":
            assert answer.header("Content-Length") == str(size)
            assert answer.header("Transfer-Encoding") is None
        client.request("GET", "/v1/files")
        assert client.answer().body == LIST


def test_headers(serve: Serve) -> None:
    sent = (
        "Content-Type: text/plain; charset=latin-1",
        'Content-Disposition: attachment; filename="a b.jsonl"',
        "Set-Cookie: session=provider",
        "Connection: x-foo, keep-alive",
        "X-Foo: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "X-Request-Id: req-1",
        "Link: <a>; rel=next",
        "Link: <b>; rel=prev",
        "Server: provider/1",
    )

    def provider(conn: Connection) -> None:
        conn.answer(b"body", headers=sent)

    answer = serve(downloads_from(provider)).call("GET", CONTENT)
    assert answer.header("Content-Type") == "text/plain; charset=latin-1"
    assert answer.header("Content-Disposition") == 'attachment; filename="a b.jsonl"'
    assert answer.header("X-Request-Id") == "req-1"
    assert answer.all("Link") == ["<a>; rel=next", "<b>; rel=prev"]
    for name in ("Set-Cookie", "X-Foo", "Keep-Alive", "Proxy-Authenticate"):
        assert answer.header(name) is None
    assert "x-foo" not in (answer.header("Connection") or "")
    assert "provider" not in (answer.header("Server") or "")


def test_content_without_a_type_is_binary(serve: Serve) -> None:
    answer = serve(downloads_from(lambda conn: conn.answer(b"body"))).call("GET", CONTENT)
    assert answer.header("Content-Type") == "application/octet-stream"


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_first_byte_is_there_before_the_provider_has_sent_the_last(
    serve: Serve, chunked: bool
) -> None:
    arrived: Queue[None] = Queue()

    def provider(conn: Connection) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\n")
        conn.send(
            b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: 10\r\n\r\n"
        )
        for byte in b"0123456789":
            conn.send(b"1\r\n%c\r\n" % byte if chunked else b"%c" % byte)
            wait(arrived)
        if chunked:
            conn.send(b"0\r\n\r\n")

    gateway = serve(downloads_from(provider))
    with gateway.client() as client:
        client.request("GET", CONTENT)
        with client.open() as response:
            for byte in b"0123456789":
                assert response.read(1) == b"%c" % byte
                arrived.put(None)
            assert response.read() == b""


def test_connection_to_the_provider_is_used_again(serve: Serve) -> None:
    def script(conn: Connection) -> None:
        while conn.read_head():
            conn.answer(LIST)

    gateway = serve(script)
    for path in ("/v1/files", "/v1/files/file-1", CONTENT, "/v1/files"):
        assert gateway.call("GET", path).body == LIST
    assert gateway.upstream.connections == 1


def test_connection_that_the_provider_has_closed_is_not(serve: Serve) -> None:
    closed: Queue[None] = Queue()

    def script(conn: Connection) -> None:
        conn.read_head()
        conn.answer(LIST)
        conn.sock.close()
        closed.put(None)

    gateway = serve(script)
    for connections in (1, 2, 3):
        assert gateway.is_free()
        wait(closed)
        assert gateway.upstream.connections == connections
