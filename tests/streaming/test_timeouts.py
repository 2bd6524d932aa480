"""A provider that says nothing, takes nothing, or drips: its thread is free in a known time."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import pytest
from flask import Flask

from flask_portkey_files import create_blueprint
from flask_portkey_files.errors import BrokenTransfer

from ..support.upstream import Connection, Upstream
from .conftest import Curl, Serve
from .wire import BOUNDARY, KEY, LIVE, MIB, SPOOLED, TIMEOUT, downloads_from, wait

#: The timeout that is set, and when all must be over that it bounds.
SECONDS = 0.15
LATEST = 6.0

HEADERS = {"x-portkey-provider": "acme", "Authorization": f"Bearer {KEY}"}
Script = Callable[[Connection], None]

#: The operations as a client makes them; an upload is passed on live, or held back before.
OPERATIONS: dict[str, dict[str, Any]] = {
    "upload": {"method": "POST", "path": "/v1/files", "data": LIVE[0] + b"{}" + LIVE[1]},
    "spooled": {"method": "POST", "path": "/v1/files", "data": SPOOLED[0] + b"{}" + SPOOLED[1]},
    "list": {"path": "/v1/files"},
    "retrieve": {"path": "/v1/files/file-1"},
    "content": {"path": "/v1/files/file-1/content"},
    "delete": {"method": "DELETE", "path": "/v1/files/file-1"},
}
BOUND = pytest.mark.parametrize("setting", ["READ_TIMEOUT", "TOTAL_TIMEOUT"])


@contextmanager
def gateway(script: Script, setting: str) -> Iterator[Callable[..., Any]]:
    """Yield what makes a call before a provider that does what *script* says."""
    with Upstream(script) as upstream:
        app = Flask(__name__)
        app.config[f"PORTKEY_FILES_{setting}"] = SECONDS
        app.config["PROPAGATE_EXCEPTIONS"] = True
        blueprint = create_blueprint(providers={"acme": f"{upstream.url}/v1"})
        app.register_blueprint(blueprint, url_prefix="/v1")

        def call(operation: str, **more: Any) -> Any:
            options = {**OPERATIONS[operation], **more}
            content_type = f"multipart/form-data; boundary={BOUNDARY}"
            if "data" in options:
                options["content_type"] = content_type
            return app.test_client().open(**{"headers": HEADERS, **options})

        yield call


def is_in_time(call: Callable[[], Any]) -> None:
    started = time.monotonic()
    answer = call()
    assert answer.status_code == 504
    assert answer.get_json()["error"]["code"] == "upstream_timeout"
    assert KEY.encode() not in answer.data
    assert SECONDS <= time.monotonic() - started < LATEST


def drip(conn: Connection, data: Iterator[bytes]) -> None:
    """Send piece after piece until the gateway is gone."""
    pause = threading.Event()
    for piece in data:
        conn.send(piece)
        pause.wait(0.01)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

DRIPS: dict[str, tuple[bytes, Callable[[], Iterator[bytes]]]] = {
    "nothing": (b"", lambda: iter(())),
    "interim": (b"", lambda: itertools.repeat(b"HTTP/1.1 102 Processing\r\n\r\n", 90)),
    "status-line": (b"HTTP/1.1 200 ", lambda: itertools.repeat(b"x")),
    "header": (HEAD + b"X-Long: ", lambda: itertools.repeat(b"x")),
    "length": (HEAD + b"Content-Length: 90000\r\n\r\n[", lambda: itertools.repeat(b" ")),
    "chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n",
        lambda: itertools.repeat(b"1\r\n \r\n"),
    ),
    "chunk-size": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n",
        lambda: itertools.repeat(b"0"),
    ),
}


#: Those that drip in the body.
BODIES = ("length", "chunks", "chunk-size")


@BOUND
@pytest.mark.parametrize(
    ("operation", "what"),
    # Content is not read whole: see below.
    [
        (o, w)
        for o, w in itertools.product(OPERATIONS, DRIPS)
        if o != "content" or w not in BODIES
    ],
)
def test_what_is_read_whole(operation: str, what: str, setting: str) -> None:
    """A socket's own timeout begins anew with each byte; these bounds do not."""

    def script(conn: Connection) -> None:
        conn.read_head()
        conn.read_body()
        begin, rest = DRIPS[what]
        conn.send(begin)
        drip(conn, rest())
        assert conn.read_some() == b""  # Until the gateway gives up.

    with gateway(script, setting) as call:
        is_in_time(lambda: call(operation))


@pytest.mark.parametrize("what", BODIES)
def test_content_that_drips(what: str) -> None:
    """Each piece is there in time, but not the file: that is what the total is for."""

    def script(conn: Connection) -> None:
        conn.read_head()
        begin, rest = DRIPS[what]
        conn.send(begin)
        drip(conn, rest())
        assert conn.read_some() == b""

    with gateway(script, "TOTAL_TIMEOUT") as call:
        started = time.monotonic()
        answer = call("content", buffered=False)
        assert answer.status_code == 200
        with pytest.raises(BrokenTransfer):
            list(answer.response)
        answer.close()
        assert SECONDS <= time.monotonic() - started < LATEST


def test_content_that_comes_piece_by_piece_is_whole() -> None:
    """The read timeout is for each next piece of a file, however long all of it takes."""
    size = 40

    def script(conn: Connection) -> None:
        conn.read_head()
        conn.send(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        drip(conn, itertools.repeat(b"x", size))

    with gateway(script, "READ_TIMEOUT") as call:
        assert call("content").data == b"x" * size


@pytest.mark.parametrize("form", [LIVE, SPOOLED], ids=["live", "spooled"])
@BOUND
@pytest.mark.parametrize("pace", ["never", "slowly"])
def test_provider_that_does_not_read(
    form: tuple[bytes, bytes], setting: str, pace: str
) -> None:
    """The gateway is in the middle of sending then."""
    over = threading.Event()

    def script(conn: Connection) -> None:
        while pace == "slowly" and not over.wait(0.01) and conn.sock.recv(10):
            pass
        assert over.wait(TIMEOUT)

    with gateway(script, setting) as call:
        is_in_time(lambda: call("upload", data=form[0] + bytes(16 * MIB) + form[1]))
        over.set()


def test_retries_end_with_the_total() -> None:
    asked: Queue[float] = Queue()

    def script(conn: Connection) -> None:
        while conn.read_head():
            asked.put(time.monotonic())
            conn.answer(status="503 Busy", headers=("Retry-After: 5",))

    with gateway(script, "TOTAL_TIMEOUT") as call:
        started = time.monotonic()
        answer = call("list", headers={**HEADERS, "x-portkey-retry-count": "5"})
        assert answer.status_code == 503
        assert time.monotonic() - started < LATEST
        assert asked.qsize() == 1


def test_total_in_mid_download_is_a_broken_transfer(serve: Serve, curl: Curl) -> None:
    over: Queue[bytes] = Queue()

    def provider(conn: Connection) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        try:
            drip(conn, itertools.repeat(b"1\r\n!\r\n"))
        finally:
            over.put(b"")

    gateway = serve(downloads_from(provider), env={"PORTKEY_FILES_TOTAL_TIMEOUT": "1"})
    done = curl(gateway.gunicorn.url + "/v1/files/file-1/content")
    assert done.returncode != 0
    assert done.stdout.startswith(b"hello!")
    assert wait(over) == b""
    assert gateway.is_free()
    assert json.loads(gateway.call("GET", "/v1/files").body)["data"] == []
