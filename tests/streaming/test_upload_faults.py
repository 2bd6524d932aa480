"""A provider that answers early, or fails, while an upload is on its way to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import openai
import pytest
import requests

from ..support.upstream import Connection
from .conftest import Curl, Serve
from .wire import (
    KEY,
    LIST,
    LIVE,
    MIB,
    SPOOLED,
    UPLOADED,
    Body,
    Gateway,
    noise,
    posts_to,
    wait,
)

REFUSALS = {
    401: b'{"error":{"message":"Incorrect API key.","type":"invalid_request_error"}}',
    413: b'{"error":{"message":"Too large for me.","type":"invalid_request_error"}}',
}
REASONS = {401: "401 Unauthorized", 413: "413 Content Too Large"}

Send = Callable[[Gateway, Path], tuple[int, bytes]]


def refuse(status: int, *, drain: bool, after: int) -> Callable[[Connection], None]:
    """Answer *status* once *after* bytes have come; then read on, or close."""

    def provider(conn: Connection) -> None:
        body, received, answered = Body(conn), 0, False
        for piece in body:
            received += len(piece)
            if received >= after and not answered:
                answered = True
                conn.answer(
                    REFUSALS[status],
                    status=REASONS[status],
                    headers=("Content-Type: application/json",),
                )
                if not drain:
                    return  # With what has not been read, this is a RST.

    return provider


@pytest.fixture(params=["curl", "curl-without-expect", "requests", "openai"])
def send(request: pytest.FixtureRequest, curl: Curl) -> Send:
    """Upload a file as a client of this kind does."""

    def with_curl(gateway: Gateway, path: Path) -> tuple[int, bytes]:
        extra = ("-H", "Expect:") if request.param == "curl-without-expect" else ()
        done = curl(
            *("-F", "purpose=batch", "-F", f"file=@{path}", "-w", "%{stderr}%{http_code}"),
            *extra,
            f"{gateway.gunicorn.url}/v1/files",
        )
        assert done.returncode == 0, done.stderr
        return int(done.stderr), done.stdout

    def with_requests(gateway: Gateway, path: Path) -> tuple[int, bytes]:
        with requests.Session() as session, path.open("rb") as file:
            session.trust_env = False
            response = session.post(
                f"{gateway.gunicorn.url}/v1/files",
                data={"purpose": "batch"},
                files={"file": file},
                headers={"x-portkey-provider": "local", "Authorization": f"Bearer {KEY}"},
            )
            return response.status_code, response.content

    def with_openai(gateway: Gateway, path: Path) -> tuple[int, bytes]:
        with openai.OpenAI(
            api_key=KEY,
            base_url=f"{gateway.gunicorn.url}/v1",
            default_headers={"x-portkey-provider": "local"},
            max_retries=0,
        ) as client:
            try:
                client.files.create(file=path, purpose="batch")
            except openai.APIStatusError as error:
                return error.status_code, error.response.content
        raise AssertionError("the SDK took it for a success")

    if request.param == "requests":
        return with_requests
    return with_openai if request.param == "openai" else with_curl


@pytest.mark.parametrize("size", [4 * MIB, 64 * MIB], ids=["4MiB", "64MiB"])
@pytest.mark.parametrize("drain", [True, False], ids=["drains", "closes"])
@pytest.mark.parametrize("status", [401, 413])
def test_early_refusal_reaches_the_client(
    serve: Serve, send: Send, tmp_path: Path, status: int, drain: bool, size: int
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(bytes(size))
    gateway = serve(posts_to(refuse(status, drain=drain, after=MIB)))
    assert send(gateway, path) == (status, REFUSALS[status])
    assert gateway.is_free()


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_early_refusal_reaches_a_client_that_stays_in_the_middle(
    serve: Serve, chunked: bool
) -> None:
    """The client sends no more until it has the answer: it must not be waited for."""
    gateway = serve(posts_to(refuse(401, drain=False, after=10_000)))
    opening, closing = LIVE
    size = 8 * MIB
    with gateway.client() as client:
        client.begin_upload(None if chunked else len(opening) + size + len(closing))
        client.send(opening)
        with contextlib.suppress(ConnectionError):
            # More than the provider lets in, so that the gateway notices.
            client.send(bytes(4 * MIB))
        answer = client.answer()
    assert (answer.status, answer.body) == (401, REFUSALS[401])
    assert gateway.is_free()


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_refused_client_that_neither_sends_on_nor_leaves_keeps_no_thread(
    serve: Serve, chunked: bool
) -> None:
    gateway = serve(posts_to(refuse(401, drain=False, after=1)))
    with gateway.client() as client:
        client.begin_upload(None if chunked else 64 * MIB)
        with contextlib.suppress(ConnectionError):
            client.send(LIVE[0] + bytes(4 * MIB))
        with client.open() as response:
            assert (response.status, response.read()) == (401, REFUSALS[401])
        # The client is still there, and owes most of its body.
        assert gateway.is_free()


@pytest.mark.parametrize("drain", [True, False], ids=["drains", "closes"])
@pytest.mark.parametrize("size", [20_000, 2 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_next_request_on_the_connection_is_not_misread(
    serve: Serve, drain: bool, size: int, chunked: bool
) -> None:
    gateway = serve(posts_to(refuse(401, drain=drain, after=5_000)))
    # Were the rest of the file taken for a request, this would be one that is answered.
    request = b"GET /v1/files/smuggled HTTP/1.1\r\nx-portkey-provider: local\r\nHost: x\r\n\r\n"
    body = LIVE[0] + (request * (size // len(request) + 1)) + LIVE[1]
    with gateway.client() as client:
        client.begin_upload(None if chunked else len(body))
        with contextlib.suppress(ConnectionError):
            client.send(body)
            client.end()
        answer = client.answer()
        assert (answer.status, answer.body) == (401, REFUSALS[401])
        try:
            client.request("GET", "/v1/files")
            second = client.answer()
        except (ConnectionError, http.client.RemoteDisconnected):
            pass
        else:
            assert (second.status, second.body) == (200, LIST)
    assert gateway.is_free()


def is_broken_off(gateway: Gateway, body: bytes) -> None:
    answer = gateway.upload(body)
    assert answer.status == 502
    assert answer.error["code"] == "upstream_error"
    assert "local" in answer.error["message"]
    assert KEY.encode() not in answer.body
    assert gateway.is_free()


@pytest.mark.parametrize("form", [LIVE, SPOOLED], ids=["live", "spooled"])
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "close"])
def test_break_while_the_body_is_sent(
    serve: Serve, form: tuple[bytes, bytes], reset: bool
) -> None:
    def provider(conn: Connection) -> None:
        conn.read_some()
        if reset:
            conn.reset()

    gateway = serve(posts_to(provider))
    is_broken_off(gateway, form[0] + noise(4 * MIB) + form[1])


@pytest.mark.parametrize("form", [LIVE, SPOOLED], ids=["live", "spooled"])
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "close"])
def test_break_when_the_body_is_there(
    serve: Serve, form: tuple[bytes, bytes], reset: bool
) -> None:
    uploads: Queue[bool] = Queue()

    def provider(conn: Connection) -> None:
        _, complete = conn.read_body()
        uploads.put(complete)
        if reset:
            conn.reset()

    gateway = serve(posts_to(provider))
    is_broken_off(gateway, form[0] + noise(100_000) + form[1])
    assert wait(uploads)
    # It may have the file: it is not sent again on the client's behalf.
    with pytest.raises(queue.Empty):
        uploads.get_nowait()


def test_early_success_is_none(serve: Serve) -> None:
    """A provider that says yes before it has the file has not got the file."""

    def provider(conn: Connection) -> None:
        conn.read_some()
        conn.answer(UPLOADED)

    gateway = serve(posts_to(provider))
    is_broken_off(gateway, LIVE[0] + noise(8 * MIB) + LIVE[1])


def test_provider_stops_reading(serve: Serve) -> None:
    """A provider that reads no more, and says nothing, holds the thread for a time only."""
    over: Queue[None] = Queue()

    def provider(conn: Connection) -> None:
        wait(over)

    gateway = serve(
        posts_to(provider),
        env={"PORTKEY_FILES_READ_TIMEOUT": "0.5", "PORTKEY_FILES_CONNECT_TIMEOUT": "0.5"},
    )
    try:
        answer = gateway.upload(SPOOLED[0] + bytes(16 * MIB) + SPOOLED[1])
    finally:
        over.put(None)
    assert answer.status == 504
    assert answer.error["code"] == "upstream_timeout"


@pytest.mark.parametrize("pooled", [False, True], ids=["new", "pooled"])
def test_provider_pauses_longer_than_a_connection_may_take(serve: Serve, pooled: bool) -> None:
    """The wait for a connection is no limit for how long the provider may take to read."""

    def provider(conn: Connection) -> None:
        # The pause is what is tested: there is nothing to be told of while it lasts.
        threading.Event().wait(1.2)
        _, complete = conn.read_body()
        assert complete
        conn.answer(UPLOADED)

    gateway = serve(
        posts_to(provider),
        env={"PORTKEY_FILES_READ_TIMEOUT": "10", "PORTKEY_FILES_CONNECT_TIMEOUT": "0.5"},
    )
    if pooled:
        assert gateway.is_free()
    answer = gateway.upload(SPOOLED[0] + bytes(16 * MIB) + SPOOLED[1])
    assert json.loads(answer.body) == json.loads(UPLOADED)
    assert gateway.upstream.connections == 1
