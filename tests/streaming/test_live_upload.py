"""An upload goes on to the provider while the client is still sending it."""

from __future__ import annotations

from queue import Queue

import pytest

from ..support.upstream import Connection
from .conftest import Curl, Serve
from .wire import (
    END,
    FILE,
    LIVE,
    PURPOSE,
    SPOOLED,
    UPLOADED,
    Body,
    boundary_of,
    noise,
    parts_of,
    posts_to,
    wait,
)

KIB = 1024


@pytest.mark.parametrize("size", [5 * KIB, 64 * KIB, 300 * KIB, 5 * KIB * KIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_provider_has_the_beginning_before_the_client_has_sent_the_end(
    serve: Serve, size: int, chunked: bool
) -> None:
    content = noise(size)
    begun: Queue[bytes] = Queue()
    got: Queue[list[tuple[str, bytes]]] = Queue()

    def provider(conn: Connection) -> None:
        assert conn.header("Transfer-Encoding") == "chunked"
        assert conn.header("Content-Length") is None
        body, received = Body(conn), b""
        for piece in body:
            before, received = len(received), received + piece
            if before < size // 4 <= len(received):
                begun.put(received)
        assert body.complete
        got.put(parts_of(received, boundary_of(conn)))
        conn.answer(UPLOADED)

    gateway = serve(posts_to(provider))
    opening, closing = LIVE
    with gateway.client() as client:
        client.begin_upload(None if chunked else len(opening) + size + len(closing))
        client.send(opening)
        client.send(content[: size // 2])
        beginning = wait(begun)
        client.send(content[size // 2 :])
        client.send(closing)
        client.end()
        answer = client.answer()
    assert beginning.index(b'name="purpose"') < beginning.index(b'name="file"')
    assert content[:KIB] in beginning
    assert (answer.status, answer.body) == (200, UPLOADED)
    assert wait(got) == [("purpose", b"batch"), ("file", content)]


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_client_sends_in_tiny_pieces(serve: Serve, chunked: bool) -> None:
    content = noise(3 * KIB)
    got: Queue[list[tuple[str, bytes]]] = Queue()

    def provider(conn: Connection) -> None:
        received = b"".join(Body(conn))
        got.put(parts_of(received, boundary_of(conn)))
        conn.answer(UPLOADED)

    gateway = serve(posts_to(provider))
    body = LIVE[0] + content + LIVE[1]
    with gateway.client() as client:
        client.begin_upload(None if chunked else len(body))
        for start in range(0, len(body), 7):
            client.send(body[start : start + 7])
        client.end()
        assert client.answer().status == 200
    assert wait(got) == [("purpose", b"batch"), ("file", content)]


@pytest.mark.parametrize("size", [5 * KIB, 3 * KIB * KIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_file_before_purpose_is_sent_behind_it_with_a_length(
    serve: Serve, size: int, chunked: bool
) -> None:
    content = noise(size)
    got: Queue[tuple[bytes, bool, bytes]] = Queue()

    def provider(conn: Connection) -> None:
        assert conn.header("Transfer-Encoding") is None
        got.put((*conn.read_body(), boundary_of(conn)))
        conn.answer(UPLOADED)

    gateway = serve(posts_to(provider))
    answer = gateway.upload(SPOOLED[0] + content + SPOOLED[1], chunked=chunked)
    assert answer.status == 200
    body, complete, boundary = wait(got)
    assert complete
    assert parts_of(body, boundary) == [("purpose", b"batch"), ("file", content)]


def test_field_behind_a_live_file_arrives_too(serve: Serve) -> None:
    content = noise(70 * KIB)
    got: Queue[list[tuple[str, bytes]]] = Queue()

    def provider(conn: Connection) -> None:
        body, complete = conn.read_body()
        assert complete
        got.put(parts_of(body, boundary_of(conn)))
        conn.answer(UPLOADED)

    gateway = serve(posts_to(provider))
    user = PURPOSE.replace(b'"purpose"', b'"user"').replace(b"batch", b"ada")
    assert gateway.upload(PURPOSE + FILE + content + b"\r\n" + user + END).status == 200
    assert wait(got) == [("purpose", b"batch"), ("file", content), ("user", b"ada")]


def test_curl_expects_100_continue(serve: Serve, curl: Curl) -> None:
    got: Queue[tuple[list[str], bool]] = Queue()

    def provider(conn: Connection) -> None:
        expect = conn.headers("Expect")
        _, complete = conn.read_body()
        got.put((expect, complete))
        conn.answer(UPLOADED)

    gateway = serve(posts_to(provider))
    done = curl(
        *("--verbose", "-H", "Expect: 100-continue", "--expect100-timeout", "50"),
        *("-F", "purpose=batch", "-F", "file=@pyproject.toml"),
        f"{gateway.gunicorn.url}/v1/files",
    )
    assert done.returncode == 0
    assert b"< HTTP/1.1 100 Continue" in done.stderr
    assert b"< HTTP/1.1 200 OK" in done.stderr
    assert done.stdout == UPLOADED
    assert wait(got) == ([], True)


def test_provider_says_100_continue_by_itself(serve: Serve) -> None:
    def provider(conn: Connection) -> None:
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        _, complete = conn.read_body()
        assert complete
        conn.answer(UPLOADED)

    gateway = serve(posts_to(provider))
    answer = gateway.upload(LIVE[0] + noise(100 * KIB) + LIVE[1])
    assert (answer.status, answer.body) == (200, UPLOADED)
