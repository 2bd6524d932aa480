"""Uploads that are wrong as such: the client is told, the provider never has a whole one."""

from __future__ import annotations

import contextlib
from queue import Queue

import pytest

from ..support.upstream import Connection
from .conftest import Serve
from .wire import (
    END,
    FILE,
    LIVE,
    MIB,
    PURPOSE,
    SPOOLED,
    UPLOADED,
    Answer,
    Gateway,
    boundary_of,
    noise,
    posts_to,
    wait,
)

LIMITED = {"PORTKEY_FILES_MAX_BYTES": "100000"}
CHUNKED = pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])


class Provider:
    """Notes what it gets of an upload, and answers if that is whole."""

    def __init__(self) -> None:
        self._got: Queue[tuple[bytes, bool, bytes]] = Queue()

    def __call__(self, conn: Connection) -> None:
        body, complete = conn.read_body()
        self._got.put((body, complete, boundary_of(conn)))
        if complete:
            conn.answer(UPLOADED)

    def assert_broken_off(self) -> None:
        body, complete, boundary = wait(self._got)
        assert not complete
        assert b"--" + boundary + b"--" not in body


def refused(gateway: Gateway, answer: Answer, status: int, code: str) -> None:
    assert answer.status == status
    assert answer.error["code"] == code
    assert answer.error["type"] == "invalid_request_error"
    assert gateway.is_free()


def test_announced_size_is_too_large(serve: Serve) -> None:
    gateway = serve(posts_to(Provider()), env=LIMITED)
    with gateway.client() as client:
        client.begin_upload(10 * MIB)
        answer = client.answer()  # Not a byte of the body has been sent.
    refused(gateway, answer, 413, "file_too_large")
    assert gateway.upstream.connections == 1  # That of refused().


@CHUNKED
@pytest.mark.parametrize("size", [100_001, 200_000])
def test_live_file_turns_out_too_large(serve: Serve, size: int, chunked: bool) -> None:
    provider = Provider()
    gateway = serve(posts_to(provider), env=LIMITED)
    answer = gateway.upload(LIVE[0] + noise(size) + LIVE[1], chunked=chunked)
    refused(gateway, answer, 413, "file_too_large")
    provider.assert_broken_off()


@CHUNKED
def test_spooled_file_turns_out_too_large(serve: Serve, chunked: bool) -> None:
    gateway = serve(posts_to(Provider()), env=LIMITED)
    answer = gateway.upload(SPOOLED[0] + noise(100_001) + SPOOLED[1], chunked=chunked)
    refused(gateway, answer, 413, "file_too_large")
    assert gateway.upstream.connections == 1


@CHUNKED
def test_largest_file_there_may_be(serve: Serve, chunked: bool) -> None:
    gateway = serve(posts_to(Provider()), env=LIMITED)
    answer = gateway.upload(LIVE[0] + noise(100_000) + LIVE[1], chunked=chunked)
    assert answer.status == 200


def test_chunked_file_far_too_large(serve: Serve) -> None:
    """The client is told although it has 32 MiB to send that nobody will read."""
    provider = Provider()
    gateway = serve(posts_to(provider), env=LIMITED)
    with gateway.client() as client:
        client.begin_upload(None)
        client.send(LIVE[0])
        with contextlib.suppress(ConnectionError):
            for _ in range(32):
                client.send(bytes(MIB))
        answer = client.answer()
    refused(gateway, answer, 413, "file_too_large")
    provider.assert_broken_off()


@CHUNKED
@pytest.mark.parametrize("size", [10, 10_000, MIB])
def test_closing_boundary_is_missing(serve: Serve, size: int, chunked: bool) -> None:
    provider = Provider()
    gateway = serve(posts_to(provider))
    answer = gateway.upload(LIVE[0] + noise(size), chunked=chunked)
    refused(gateway, answer, 400, "malformed_form")
    provider.assert_broken_off()


@CHUNKED
@pytest.mark.parametrize("size", [10, 10_000, MIB])
def test_second_file(serve: Serve, size: int, chunked: bool) -> None:
    provider = Provider()
    gateway = serve(posts_to(provider))
    body = PURPOSE + FILE + noise(size) + b"\r\n" + FILE + noise(size) + b"\r\n" + END
    answer = gateway.upload(body, chunked=chunked)
    refused(gateway, answer, 400, "too_many_files")
    provider.assert_broken_off()


def test_second_file_of_a_spooled_form(serve: Serve) -> None:
    gateway = serve(posts_to(Provider()))
    body = FILE + noise(10) + b"\r\n" + PURPOSE + FILE + noise(10) + b"\r\n" + END
    refused(gateway, gateway.upload(body), 400, "too_many_files")
    assert gateway.upstream.connections == 1


def test_garbage_for_the_first_chunk_size(serve: Serve) -> None:
    gateway = serve(posts_to(Provider()))
    with gateway.client() as client:
        client.begin_upload(None)
        client.sock.sendall(b"no size\r\n" + LIVE[0] + b"\r\n0\r\n\r\n")
        answer = client.answer()
    refused(gateway, answer, 400, "incomplete_body")
    assert gateway.upstream.connections == 1


@pytest.mark.parametrize("size", [2_000, 10_000, MIB])
def test_garbage_for_a_later_chunk_size(serve: Serve, size: int) -> None:
    provider = Provider()
    gateway = serve(posts_to(provider))
    with gateway.client() as client:
        client.begin_upload(None)
        client.send(LIVE[0])
        client.send(noise(size))
        client.sock.sendall(b"no size\r\n" + LIVE[1] + b"\r\n0\r\n\r\n")
        answer = client.answer()
    refused(gateway, answer, 400, "incomplete_body")
    provider.assert_broken_off()


@CHUNKED
def test_body_ends_early_and_the_client_listens_on(serve: Serve, chunked: bool) -> None:
    """A client that closes only its sending side is told what was missing."""
    provider = Provider()
    gateway = serve(posts_to(provider))
    with gateway.client() as client:
        client.begin_upload(None if chunked else 100_000)
        client.send(LIVE[0])
        client.send(noise(50_000))
        client.sock.shutdown(1)
        answer = client.answer()
    refused(gateway, answer, 400, "incomplete_body")
    provider.assert_broken_off()
