"""Retries and fallbacks on the wire: what is sent again, what is not, and what it takes."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from email.utils import formatdate
from itertools import chain
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Protocol

import pytest

from ..support.upstream import Connection, Upstream
from .conftest import Serve
from .wire import (
    LIST,
    LIVE,
    MIB,
    SPOOLED,
    TIMEOUT,
    UPLOADED,
    Answer,
    Body,
    Client,
    Gateway,
    noise,
    wait,
)

pytestmark = pytest.mark.usefixtures("proc")

SIZE = 200 * MIB
MOST = 16 * MIB

FILE = b'{"id":"file-1","object":"file"}'
DELETED = {"id": "file-1", "object": "file", "deleted": True}
NOT_FOUND = b'{"error":{"message":"No such file.","type":"invalid_request_error"}}'
BUSY = b'{"error":{"message":"Busy.","type":"server_error"}}'

LOCAL: dict[str, Any] = {"provider": "local"}

#: What a provider does with one request, the body of which is still to be read.
Step = Callable[[Connection], None]


class Provider:
    """Takes a step for each request, the last one again and again, and notes the requests.

    The list of all files is given out at any time, and is not noted.
    """

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        #: The request lines, in order.
        self.seen: list[bytes] = []
        #: Set when the test is over.
        self.over = threading.Event()

    def __call__(self, conn: Connection) -> None:
        conn.sock.settimeout(TIMEOUT)
        while head := conn.read_head():
            line = head.split(b"\r\n")[0]
            if line == b"GET /v1/files HTTP/1.1":
                conn.answer(LIST)
                continue
            number = len(self.seen)
            self.seen.append(line)
            self._steps[min(number, len(self._steps) - 1)](conn)
            return


class Stalled(Provider):
    """Neither reads nor answers."""

    def __init__(self) -> None:
        super().__init__(self._wait)

    def _wait(self, conn: Connection) -> None:
        self.over.wait(TIMEOUT)


def drain(conn: Connection) -> None:
    body = Body(conn)
    for _ in body:
        pass
    assert body.complete or conn.header("Content-Length") == "0"


def answer(status: str, body: bytes = b"{}", *headers: str) -> Step:
    """Take the whole request and answer it."""

    def step(conn: Connection) -> None:
        if conn.head.startswith(b"POST "):
            drain(conn)
        conn.answer(body, status=status, headers=("Connection: close", *headers))

    return step


def ok(body: bytes = UPLOADED) -> Step:
    return answer("200 OK", body, "Content-Type: application/json")


def not_found() -> Step:
    return answer("404 Not Found", NOT_FOUND, "Content-Type: application/json")


def busy(*headers: str) -> Step:
    return answer("503 Service Unavailable", BUSY, "Content-Type: application/json", *headers)


def reset(after: int = 0) -> Step:
    """Break the connection once *after* bytes of the body have come."""

    def step(conn: Connection) -> None:
        received = 0
        if after:
            for piece in Body(conn):
                received += len(piece)
                if received >= after:
                    break
        conn.reset()

    return step


def close_after_all(conn: Connection) -> None:
    """Take the whole request and close without an answer."""
    if conn.head.startswith(b"POST "):
        drain(conn)


class Stored:
    """Takes an upload of *size* bytes, and keeps its digest."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.digests: list[str] = []
        self.framing: list[str] = []

    def __call__(self, conn: Connection) -> None:
        body = Body(conn)
        pieces = iter(body)
        head, start = b"", None
        while start is None:
            head += next(pieces)
            found = re.search(rb'name="file".*?\r\n\r\n', head, re.DOTALL)
            start = found and found.end()
        digest, left, rest = hashlib.sha256(), self._size, bytearray()
        for piece in chain([head[start:]], pieces):
            digest.update(piece[:left])
            rest += piece[left:]
            left -= min(left, len(piece))
        assert body.complete
        assert left == 0
        assert rest.startswith(b"\r\n--")
        assert rest.endswith(b"--\r\n")
        assert len(rest) < 1000
        self.digests.append(digest.hexdigest())
        self.framing.append("length" if conn.header("Content-Length") else "chunked")
        conn.answer(UPLOADED, headers=("Connection: close",))


class Scene:
    """The gateway before a provider `local` and further ones at custom hosts."""

    def __init__(self, gateway: Gateway, urls: list[str]) -> None:
        self.gateway = gateway
        #: The further providers as targets of a config.
        self.others: list[dict[str, Any]] = [
            {**LOCAL, "custom_host": f"{url}/v1"} for url in urls
        ]

    def call(self, method: str, path: str, config: Any, *headers: str) -> Answer:
        """Make one call with a config."""
        return self.gateway.call(method, path, routed(config), *headers)

    def upload(
        self, config: Any, content: bytes, *headers: str, form: tuple[bytes, bytes] = LIVE
    ) -> Answer:
        """Upload a file with a config."""
        with self.gateway.client() as client:
            body = form[0] + content + form[1]
            client.begin_upload(len(body), routed(config), *headers)
            with suppress(ConnectionError):
                client.send(body)
            return client.answer()


def routed(config: Any) -> str:
    return f"x-portkey-config: {json.dumps(config)}"


def fallback(*targets: Any, codes: list[int] | None = None) -> dict[str, Any]:
    strategy: dict[str, Any] = {"mode": "fallback"}
    if codes is not None:
        strategy["on_status_codes"] = codes
    return {"strategy": strategy, "targets": list(targets)}


def retrying(target: Any = LOCAL, attempts: int = 1, **options: Any) -> dict[str, Any]:
    return {**target, "retry": {"attempts": attempts, **options}}


def marks(of: Answer) -> tuple[str | None, str | None]:
    """Return which target an answer is from, and how often that was tried again."""
    assert of.header("x-portkey-provider") == "local"
    return (
        of.header("x-portkey-last-used-option-index"),
        of.header("x-portkey-retry-attempt-count"),
    )


class Begin(Protocol):
    """Starts the gateway before the provider `local` and *others*."""

    def __call__(self, local: Provider, *others: Provider, **env: str) -> Scene: ...


@pytest.fixture
def begin(serve: Serve, tmp_path: Path) -> Iterator[Begin]:
    """Start a gateway, and look at the end whether it is as it was before."""
    spool = tmp_path / "spool"
    spool.mkdir()
    with ExitStack() as stack:
        begun: list[tuple[Gateway, list[str]]] = []

        def start(local: Provider, *others: Provider, **env: str) -> Scene:
            urls = []
            for other in others:
                urls.append(stack.enter_context(Upstream(other)).url)
                stack.callback(other.over.set)
            stack.callback(local.over.set)
            given = {"SPOOL_DIR": str(spool), "ALLOWED_HOSTS": "127.0.0.1", **env}
            gateway = serve(local, env={f"PORTKEY_FILES_{k}": v for k, v in given.items()})
            assert gateway.is_free()
            begun.append((gateway, gateway.open_files()))
            return Scene(gateway, urls)

        yield start
        for gateway, files in begun:
            assert gateway.is_free()
            assert gateway.open_files() == files
            assert os.listdir(spool) == []
            log = gateway.gunicorn.log
            # gunicorn prints one where a transfer is broken on purpose.
            assert "BrokenTransfer" in log or "Traceback" not in log


def send_numbered(client: Client, size: int) -> str:
    """Send *size* bytes, no two MiB of them alike, and return their digest."""
    digest, block = hashlib.sha256(), noise(MIB)[8:]
    for number in range(size // MIB):
        piece = number.to_bytes(8, "big") + block
        digest.update(piece)
        client.send(piece)
    return digest.hexdigest()


@pytest.mark.parametrize("form", [LIVE, SPOOLED], ids=["purpose first", "file first"])
def test_a_large_upload_falls_back_and_is_sent_again(
    begin: Begin, form: tuple[bytes, bytes]
) -> None:
    first = Provider(busy())
    stored = Stored(SIZE)
    second = Provider(reset(after=SIZE // 4), stored)
    scene = begin(second, first)
    gateway = scene.gateway
    before = int(gateway.worker.memory_info().rss)
    opening, closing_ = form
    with gateway.client() as client:
        config = fallback(scene.others[0], retrying(attempts=3))
        client.begin_upload(len(opening) + SIZE + len(closing_), routed(config))
        client.send(opening)
        digest = send_numbered(client, SIZE)
        client.send(closing_)
        got = client.answer()
    assert (got.status, got.body) == (200, UPLOADED)
    assert marks(got) == ("config.targets[1]", "1")
    assert stored.digests == [digest]
    assert (len(first.seen), len(second.seen)) == (1, 2)
    assert gateway.gunicorn.peak_memory() - before < MOST


def test_a_chunked_upload_is_sent_again(begin: Begin) -> None:
    """Its length is not known before it is there, and the provider is told it then."""
    content = noise(3 * MIB)
    stored = Stored(len(content))
    scene = begin(Provider(close_after_all, stored))
    with scene.gateway.client() as client:
        client.begin_upload(None, routed(retrying()))
        for start in range(0, len(content), 100_000):
            piece = content[start : start + 100_000]
            client.send(LIVE[0] + piece if start == 0 else piece)
        client.send(LIVE[1])
        client.end()
        got = client.answer()
    assert (got.status, marks(got)) == (200, ("config", "1"))
    assert stored.digests == [hashlib.sha256(content).hexdigest()]
    assert stored.framing == ["length"]


@pytest.mark.parametrize(
    ("first", "content"),
    [
        (reset(), noise(MIB // 2)),
        (reset(after=MIB), noise(4 * MIB)),
        (close_after_all, noise(2 * MIB)),
        (close_after_all, b""),
        (busy(), noise(2 * MIB)),
        (answer("429 Too Many Requests", BUSY), noise(10)),
    ],
    ids=["reset", "reset amid", "closed", "closed on nothing", "503", "429"],
)
def test_what_an_upload_is_sent_again_after(begin: Begin, first: Step, content: bytes) -> None:
    stored = Stored(len(content))
    provider = Provider(first, stored)
    got = begin(provider).upload(retrying(attempts=2), content)
    assert (got.status, got.body) == (200, UPLOADED)
    assert marks(got) == ("config", "1")
    assert stored.digests == [hashlib.sha256(content).hexdigest()]


def test_an_early_refusal_leads_to_the_next_target(begin: Begin) -> None:
    """The first target answers amid the upload and takes no more of it."""

    def refuse(conn: Connection) -> None:
        conn.read_some()
        conn.answer(BUSY, status="503 Service Unavailable")

    content = noise(8 * MIB)
    stored = Stored(len(content))
    first = Provider(refuse)
    scene = begin(Provider(stored), first)
    got = scene.upload(fallback(scene.others[0], LOCAL), content)
    assert (got.status, marks(got)) == (200, ("config.targets[1]", "0"))
    assert stored.digests == [hashlib.sha256(content).hexdigest()]
    assert len(first.seen) == 1


def test_an_early_success_is_not_sent_again(begin: Begin) -> None:
    """The provider may have made a file of what it had: a second one would be hidden."""

    def hasten(conn: Connection) -> None:
        conn.read_some()
        conn.answer(UPLOADED)

    local, other = Provider(ok()), Provider(hasten)
    scene = begin(local, other)
    config = fallback(retrying(scene.others[0], attempts=5), LOCAL)
    got = scene.upload(config, noise(8 * MIB))
    assert (got.status, marks(got)) == (502, ("config.targets[0]", "0"))
    assert (len(other.seen), len(local.seen)) == (1, 0)


def test_a_status_that_is_not_listed_is_the_answer(begin: Begin) -> None:
    local, other = Provider(ok()), Provider(answer("401 Unauthorized", NOT_FOUND))
    scene = begin(local, other)
    config = fallback(retrying(scene.others[0]), LOCAL, codes=[429, 503])
    got = scene.upload(config, b"x")
    assert (got.status, got.body) == (401, NOT_FOUND)
    assert marks(got) == ("config.targets[0]", "0")
    assert (len(other.seen), len(local.seen)) == (1, 0)


# Its own waits would be at least 0.25 + 0.5 + 1 + 2 + 4 seconds.
WAITS = 7.75


@pytest.mark.parametrize(
    "header",
    [
        "Retry-After: 0",
        "retry-after-ms: 1",
        "x-ms-retry-after-ms: 1",
        f"Retry-After: {formatdate(0, usegmt=True)}",
    ],
    ids=["seconds", "milliseconds", "Azure's", "date"],
)
def test_retry_after_is_heeded(begin: Begin, header: str) -> None:
    local = Provider(*[busy(header)] * 5, ok())
    scene = begin(local)
    started = time.monotonic()
    got = scene.upload(retrying(attempts=5), b"x")
    assert time.monotonic() - started < WAITS / 2
    assert (got.status, marks(got)) == (200, ("config", "5"))
    assert len(local.seen) == 6


def test_retry_after_is_waited_for(begin: Begin) -> None:
    scene = begin(Provider(busy("Retry-After: 1"), ok()))
    started = time.monotonic()
    got = scene.upload(retrying(), b"x")
    assert time.monotonic() - started >= 1
    assert (got.status, marks(got)) == (200, ("config", "1"))


@pytest.mark.parametrize("header", ["Retry-After: 2", "retry-after-ms: 1001"])
def test_retry_after_that_is_too_long(begin: Begin, header: str) -> None:
    local = Provider(busy(header))
    got = begin(local, MAX_RETRY_WAIT="1").call("GET", "/v1/files/file-1", retrying(attempts=5))
    assert (got.status, got.body) == (503, BUSY)
    assert marks(got) == ("config", "0")
    # The client is told as well.
    name, value = header.split(": ")
    assert got.header(name) == value
    assert len(local.seen) == 1


def test_retry_after_that_is_too_long_leads_to_the_next_target(begin: Begin) -> None:
    local, other = Provider(ok()), Provider(busy("Retry-After: 3600"))
    scene = begin(local, other)
    started = time.monotonic()
    got = scene.upload(fallback(retrying(scene.others[0], attempts=5), LOCAL), b"x")
    assert time.monotonic() - started < WAITS / 2
    assert (got.status, marks(got)) == (200, ("config.targets[1]", "0"))
    assert (len(other.seen), len(local.seen)) == (1, 1)


def test_retry_after_that_is_not_to_be_heeded(begin: Begin) -> None:
    local = Provider(busy("Retry-After: 3600"), ok())
    config = retrying(use_retry_after_header=False)
    got = begin(local).call("GET", "/v1/files/file-1", config)
    assert (got.status, marks(got)) == (200, ("config", "1"))


@pytest.mark.parametrize("lost", [reset(), close_after_all], ids=["reset", "closed"])
def test_a_deletion_whose_answer_was_lost(begin: Begin, lost: Step) -> None:
    local = Provider(lost, not_found())
    got = begin(local).call("DELETE", "/v1/files/file-1", retrying())
    assert (got.status, json.loads(got.body)) == (200, DELETED)
    assert marks(got) == ("config", "1")
    assert len(local.seen) == 2


def test_a_deletion_whose_answer_was_late(begin: Begin) -> None:
    """A timeout leaves open whether the provider did it, as a lost connection does."""

    def sleep(conn: Connection) -> None:
        conn.read_some()  # Until the gateway closes.

    local = Provider(sleep, not_found())
    config = retrying({**LOCAL, "request_timeout": 300}, on_status_codes=[408])
    got = begin(local).call("DELETE", "/v1/files/file-1", config)
    assert (got.status, json.loads(got.body)) == (200, DELETED)


def test_a_deletion_that_was_lost_and_then_put_off(begin: Begin) -> None:
    local = Provider(reset(), busy("Retry-After: 0"), not_found())
    got = begin(local).call("DELETE", "/v1/files/file-1", retrying(attempts=3))
    assert (got.status, json.loads(got.body)) == (200, DELETED)
    assert marks(got) == ("config", "2")


@pytest.mark.parametrize(
    "first", [[], [busy("Retry-After: 0")]], ids=["at once", "after a 503"]
)
def test_a_deletion_that_meets_404(begin: Begin, first: list[Step]) -> None:
    got = begin(Provider(*first, not_found())).call("DELETE", "/v1/files/file-1", retrying())
    assert (got.status, got.body) == (404, NOT_FOUND)
    assert marks(got) == ("config", str(len(first)))


def test_another_operation_that_meets_404_after_a_lost_answer(begin: Begin) -> None:
    # Two resets: a GET is asked once more by itself, lest its connection was closed on it.
    local = Provider(reset(), reset(), not_found())
    got = begin(local).call("GET", "/v1/files/file-1", retrying())
    assert (got.status, got.body) == (404, NOT_FOUND)


def test_a_deletion_that_falls_back_to_404(begin: Begin) -> None:
    """What the one target lost is not what the other one has not got."""
    local, other = Provider(not_found()), Provider(reset())
    scene = begin(local, other)
    got = scene.call("DELETE", "/v1/files/file-1", fallback(scene.others[0], LOCAL))
    assert (got.status, got.body) == (404, NOT_FOUND)
    assert marks(got) == ("config.targets[1]", "0")


@pytest.fixture
def apart() -> Iterator[Callable[..., Future[Answer]]]:
    """Return a function that makes a call in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


Apart = Callable[..., "Future[Answer]"]


def serve_one(listener: socket.socket, step: Step) -> bool:
    """Accept a connection and take a step for its request; return whether there was one."""
    listener.settimeout(TIMEOUT)
    sock, _ = listener.accept()
    with closing(sock):
        sock.settimeout(TIMEOUT)
        conn = Connection(sock)
        if conn.read_head():
            step(conn)
        return bool(conn.head)


def test_a_refused_deletion_is_not_a_lost_one(begin: Begin, apart: Apart) -> None:
    scene = begin(Provider(ok()))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # Connections are refused until it listens.
        host = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        config = retrying({**LOCAL, "custom_host": host}, attempts=5)
        call = apart(scene.call, "DELETE", "/v1/files/file-1", config)
        # The gateway alone knows when it was refused.
        time.sleep(0.5)
        listener.listen()
        assert serve_one(listener, not_found())
        got = call.result(TIMEOUT)
    assert (got.status, got.body) == (404, NOT_FOUND)
    option, retries = marks(got)
    assert option == "config"
    assert int(retries or 0) >= 1


@pytest.mark.parametrize(
    ("env", "limit"),
    [({"CONNECT_TIMEOUT": "0.2"}, {}), ({}, {"request_timeout": 200})],
    ids=["connect timeout", "request timeout"],
)
def test_a_deletion_that_could_not_connect_in_time_is_not_a_lost_one(
    begin: Begin, apart: Apart, env: dict[str, str], limit: dict[str, int]
) -> None:
    scene = begin(Provider(ok()), **env)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        # With its queue full, the system drops what else comes.
        waiting = [stack.enter_context(socket.socket()) for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        target = {**LOCAL, "custom_host": f"http://127.0.0.1:{port}/v1", **limit}
        config = retrying(target, attempts=5, on_status_codes=[408, 504])
        call = apart(scene.call, "DELETE", "/v1/files/file-1", config)
        time.sleep(0.5)
        for sock in waiting:
            sock.close()
        listener.listen(16)
        while not serve_one(listener, not_found()):
            pass  # That was one of those that filled the queue.
        got = call.result(TIMEOUT)
    assert (got.status, got.body) == (404, NOT_FOUND)
    assert int(marks(got)[1] or 0) >= 1


def cut(sent: int) -> Step:
    """Break off in the middle of an answer, once *sent* bytes of it are out."""

    def step(conn: Connection) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (sent * 2))
        conn.send(bytes(sent))
        conn.reset()

    return step


def cut_gently(sent: int) -> Step:
    """Do the same, but without a RST, which could overtake what was sent."""

    def step(conn: Connection) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (sent * 2))
        conn.send(bytes(sent))

    return step


@pytest.mark.parametrize("size", [1, MIB])
def test_a_download_that_has_begun_is_not_tried_again(begin: Begin, size: int) -> None:
    local, other = Provider(ok()), Provider(cut_gently(size))
    scene = begin(local, other)
    config = fallback(retrying(scene.others[0], attempts=5), retrying(attempts=5))
    with scene.gateway.client() as client:
        client.request("GET", "/v1/files/file-1/content", routed(config))
        with client.open() as response:
            assert response.status == 200
            with pytest.raises(http.client.IncompleteRead) as caught:
                response.read()
    assert len(caught.value.partial) <= size
    assert (len(other.seen), len(local.seen)) == (1, 0)


def test_a_download_that_is_reset(begin: Begin) -> None:
    local, other = Provider(ok()), Provider(cut(4 * MIB))
    scene = begin(local, other)
    config = fallback(retrying(scene.others[0], attempts=5), LOCAL)
    with scene.gateway.client() as client:
        client.request("GET", "/v1/files/file-1/content", routed(config))
        with client.open() as response, pytest.raises(http.client.IncompleteRead):
            response.read()
    assert (len(other.seen), len(local.seen)) == (1, 0)


@pytest.mark.parametrize("operation", ["retrieve", "upload"])
def test_an_answer_that_is_cut_is_not_tried_again(begin: Begin, operation: str) -> None:
    def cut_off(conn: Connection) -> None:
        if operation == "upload":
            drain(conn)
        cut_gently(10)(conn)

    local, other = Provider(ok()), Provider(cut_off)
    scene = begin(local, other)
    config = fallback(retrying(scene.others[0], attempts=5), LOCAL)
    if operation == "upload":
        got = scene.upload(config, b"x")
    else:
        got = scene.call("GET", "/v1/files/file-1", config)
    assert got.status == 502
    assert marks(got) == ("config.targets[0]", "0")
    assert (len(other.seen), len(local.seen)) == (1, 0)


def test_a_download_is_tried_again_before_it_has_begun(begin: Begin) -> None:
    content = noise(3 * MIB)
    local, other = Provider(answer("200 OK", content)), Provider(busy("Retry-After: 0"))
    scene = begin(local, other)
    config = fallback(retrying(scene.others[0], attempts=2), LOCAL)
    got = scene.call("GET", "/v1/files/file-1/content", config)
    assert (got.status, got.body == content) == (200, True)
    assert marks(got) == ("config.targets[1]", "0")
    assert (len(other.seen), len(local.seen)) == (3, 1)


def balanced(*targets: Any, weights: tuple[float, ...]) -> dict[str, Any]:
    return {
        "strategy": {"mode": "loadbalance"},
        "targets": [{**t, "weight": w} for t, w in zip(targets, weights, strict=True)],
    }


FILE_CALLS = [
    ("GET", "/v1/files/file-1"),
    ("GET", "/v1/files/file-1/content"),
    ("DELETE", "/v1/files/file-1"),
]


@pytest.mark.parametrize(("method", "path"), FILE_CALLS)
def test_load_balancing_finds_the_file(begin: Begin, method: str, path: str) -> None:
    local, other = Provider(ok(FILE)), Provider(not_found())
    scene = begin(local, other)
    config = balanced(scene.others[0], LOCAL, weights=(1, 0))
    got = scene.call(method, path, config)
    assert (got.status, got.body) == (200, FILE)
    assert marks(got) == ("config.targets[1]", "0")
    assert (len(other.seen), len(local.seen)) == (1, 1)


def test_load_balancing_asks_the_others_for_one_file_only(begin: Begin) -> None:
    local, other = Provider(ok(FILE)), Provider(busy(), reset())
    scene = begin(local, other)
    config = balanced(scene.others[0], LOCAL, weights=(1, 0))
    got = scene.call("GET", "/v1/files/file-1", config)
    assert (got.status, marks(got)) == (200, ("config.targets[1]", "0"))
    # An upload goes to one target alone.
    got = scene.upload(config, b"x")
    assert (got.status, marks(got)) == (502, ("config.targets[0]", "0"))
    assert len(local.seen) == 1


def test_load_balancing_without_the_file(begin: Begin) -> None:
    local, other = Provider(not_found()), Provider(not_found())
    scene = begin(local, other)
    got = scene.call("GET", "/v1/files/file-1", balanced(LOCAL, *scene.others, weights=(1, 1)))
    assert (got.status, got.body) == (404, NOT_FOUND)
    assert (len(other.seen), len(local.seen)) == (1, 1)


@pytest.mark.parametrize(
    ("codes", "option"),
    [([429, 503], 0), ([], 0), ([404, 503], 1), (None, 1)],
    ids=["without 404", "none", "with 404", "all"],
)
@pytest.mark.parametrize(("method", "path"), FILE_CALLS)
def test_fallback_on_404(
    begin: Begin, method: str, path: str, codes: list[int] | None, option: int
) -> None:
    local, other = Provider(ok(FILE)), Provider(not_found())
    scene = begin(local, other)
    got = scene.call(method, path, fallback(scene.others[0], LOCAL, codes=codes))
    assert (got.status, got.body) == [(404, NOT_FOUND), (200, FILE)][option]
    assert marks(got) == (f"config.targets[{option}]", "0")
    assert (len(other.seen), len(local.seen)) == (1, option)


def single(mode: str, **strategy: Any) -> dict[str, Any]:
    return {"strategy": {"mode": mode, **strategy}, "targets": [{**LOCAL, "name": "it"}]}


CONDITION = {"query": {"metadata.user": {"$eq": "someone"}}, "then": "it"}


@pytest.mark.parametrize(
    "config",
    [
        LOCAL,
        retrying(attempts=0),
        single("loadbalance"),
        single("conditional", conditions=[CONDITION], default="it"),
        single("single"),
        single("fallback"),
    ],
    ids=["target", "no attempts", "loadbalance", "conditional", "single", "fallback"],
)
def test_an_upload_to_one_target_is_live(begin: Begin, config: dict[str, Any]) -> None:
    """Its file is with the provider before the client has sent all of it."""
    there: Queue[None] = Queue()

    def provider(conn: Connection) -> None:
        received = 0
        body = Body(conn)
        for piece in body:
            before, received = received, received + len(piece)
            if before < MIB <= received:
                there.put(None)
        assert body.complete
        conn.answer(UPLOADED, headers=("Connection: close",))

    scene = begin(Provider(provider))
    files = scene.gateway.open_files()
    with scene.gateway.client() as client:
        client.begin_upload(len(LIVE[0]) + 4 * MIB + len(LIVE[1]), routed(config))
        client.send(LIVE[0] + noise(2 * MIB))
        try:
            there.get(timeout=TIMEOUT / 4)
            live = True
        except Empty:
            live = False
        assert not live or scene.gateway.open_files() == files
        client.send(noise(2 * MIB) + LIVE[1])
        assert client.answer().body == UPLOADED
    assert live


@pytest.mark.parametrize("mode", ["fallback", "retry"])
def test_an_upload_that_the_client_breaks_off(begin: Begin, mode: str) -> None:
    local, other = Provider(ok()), Provider(ok())
    scene = begin(local, other)
    config = fallback(scene.others[0], LOCAL) if mode == "fallback" else retrying()
    with scene.gateway.client() as client:
        client.begin_upload(64 * MIB, routed(config))
        client.send(LIVE[0])
        client.send(noise(8 * MIB))
        client.reset()
        assert scene.gateway.is_free()
    assert local.seen == other.seen == []


@pytest.mark.parametrize("form", [LIVE, SPOOLED], ids=["live", "spooled"])
@pytest.mark.parametrize("custom", [False, True], ids=["known host", "custom host"])
def test_a_request_timeout_in_an_upload(
    begin: Begin, form: tuple[bytes, bytes], custom: bool
) -> None:
    scene = begin(Stalled(), Stalled())
    started = time.monotonic()
    got = scene.upload(
        {**(scene.others[0] if custom else LOCAL), "request_timeout": 500},
        noise(16 * MIB),
        form=form,
    )
    assert time.monotonic() - started < TIMEOUT / 2
    assert got.status == 408
    assert (got.error["type"], got.error["code"]) == ("timeout_error", "request_timeout")
    assert "500ms" in got.error["message"]
    assert marks(got) == ("config", "0")


def test_a_request_timeout_in_an_upload_that_trickles(begin: Begin) -> None:
    """A provider that reads on, but too slowly, has no more time than one that stops."""

    def sip(conn: Connection) -> None:
        deadline = time.monotonic() + TIMEOUT
        with suppress(ConnectionError):
            while time.monotonic() < deadline and conn.sock.recv(4096):
                time.sleep(0.05)

    scene = begin(Provider(sip))
    started = time.monotonic()
    got = scene.upload({**LOCAL, "request_timeout": 500}, noise(32 * MIB), form=SPOOLED)
    assert time.monotonic() - started < TIMEOUT / 2
    assert (got.status, got.error["code"]) == (408, "request_timeout")


def test_a_request_timeout_by_a_header(begin: Begin) -> None:
    def sleep(conn: Connection) -> None:
        drain(conn)
        conn.read_some()  # Until the gateway closes.

    scene = begin(Provider(sleep))
    got = scene.upload(LOCAL, b"x", "x-portkey-request-timeout: 300")
    assert (got.status, got.error["code"]) == (408, "request_timeout")


def test_a_request_timeout_leads_to_the_next_target(begin: Begin) -> None:
    content = noise(16 * MIB)
    stored = Stored(len(content))
    scene = begin(Provider(stored), Stalled())
    late = {**scene.others[0], "request_timeout": 400}
    got = scene.upload(fallback(late, LOCAL), content)
    assert (got.status, marks(got)) == (200, ("config.targets[1]", "0"))
    assert stored.digests == [hashlib.sha256(content).hexdigest()]


def test_a_request_timeout_is_no_limit_for_a_download(begin: Begin) -> None:
    """It is over once the answer has begun."""

    def slowly(conn: Connection) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")
        for piece in (b"a", b"b", b"c", b"d"):
            conn.send(piece)
            time.sleep(0.2)

    got = begin(Provider(slowly)).call(
        "GET", "/v1/files/file-1/content", {**LOCAL, "request_timeout": 300}
    )
    assert (got.status, got.body) == (200, b"abcd")


@pytest.mark.parametrize("custom", [False, True], ids=["known host", "custom host"])
@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect"])
def test_a_redirect_is_not_followed(begin: Begin, status: str, custom: bool) -> None:
    target = Provider(ok())
    with Upstream(target) as elsewhere:
        step = answer(status, b"", f"Location: {elsewhere.url}/v1/files/file-1")
        local, other = Provider(step), Provider(step)
        scene = begin(local, other)
        config = scene.others[0] if custom else LOCAL
        for method, path in FILE_CALLS:
            got = scene.call(method, path, config)
            assert (got.status, got.error["code"]) == (502, "upstream_redirect")
            assert got.header("Location") is None
        assert scene.upload(config, noise(MIB)).error["code"] == "upstream_redirect"
        assert elsewhere.connections == 0
    assert len((other if custom else local).seen) == 4


def test_a_redirect_is_no_lost_answer(begin: Begin) -> None:
    """The provider has answered: it is not asked again unless its status is listed."""
    local = Provider(answer("302 Found", b"", "Location: /elsewhere"), not_found())
    got = begin(local).call("DELETE", "/v1/files/file-1", retrying(on_status_codes=[503]))
    assert (got.status, got.error["code"]) == (502, "upstream_redirect")
    assert len(local.seen) == 1


def test_a_redirect_leads_to_the_next_target(begin: Begin) -> None:
    local = Provider(ok(FILE))
    other = Provider(answer("302 Found", b"", "Location: http://127.0.0.1:9/"))
    scene = begin(local, other)
    got = scene.call("GET", "/v1/files/file-1", fallback(scene.others[0], LOCAL))
    assert (got.status, got.body) == (200, FILE)


def test_a_name_that_leads_inside(begin: Begin) -> None:
    """The name is permitted, but not the address that it stands for."""
    local, other = Provider(ok()), Provider(ok())
    scene = begin(local, other, ALLOWED_HOSTS="localhost, *.example")
    host = scene.others[0]["custom_host"].replace("127.0.0.1", "localhost")
    inside = {**LOCAL, "custom_host": host}
    for config in (inside, retrying(inside, attempts=5)):
        for got in (
            scene.call("GET", "/v1/files/file-1", config),
            scene.upload(config, noise(MIB)),
        ):
            assert (got.status, got.error["message"]) == (400, "Invalid custom host")
    # A fallback goes on, as it does for a name that stands for nothing: nobody learns which.
    got = scene.call("GET", "/v1/files/file-1", fallback(inside, LOCAL))
    assert (got.status, marks(got)) == (200, ("config.targets[1]", "0"))
    assert other.seen == []


def test_a_name_that_stands_for_nothing(begin: Begin) -> None:
    content = noise(MIB)
    stored = Stored(len(content))
    scene = begin(Provider(stored), ALLOWED_HOSTS="*.invalid")
    nowhere = {**LOCAL, "custom_host": "http://nobody.invalid/v1"}
    got = scene.upload(fallback(nowhere, LOCAL), content)
    assert (got.status, marks(got)) == (200, ("config.targets[1]", "0"))
    assert stored.digests == [hashlib.sha256(content).hexdigest()]


def test_the_log_says_why_a_target_was_left(begin: Begin) -> None:
    scene = begin(Provider(ok()), Provider(reset()))
    scene.upload(fallback(scene.others[0], LOCAL), b"x")
    scene.gateway.gunicorn.wait_for(r"config\.targets\[0\]: upload: .* closed the connection")


def test_the_same_connections_serve_on(begin: Begin) -> None:
    """After each kind of end, a pooled connection still answers what it is asked."""
    calls: Queue[str] = Queue()

    def stays(conn: Connection) -> None:
        while True:
            drain(conn) if conn.head.startswith(b"POST ") else None
            calls.put(conn.head.split(b" ")[0].decode())
            conn.answer(BUSY, status="503 Service Unavailable", headers=("Retry-After: 0",))
            if not conn.read_head():
                return

    local, other = Provider(ok(FILE)), Provider(stays)
    scene = begin(local, other)
    config = fallback(retrying(scene.others[0]), LOCAL)
    for _ in range(3):
        assert scene.upload(config, noise(MIB)).status == 200
        assert scene.call("GET", "/v1/files/file-1", config).body == FILE
    assert [wait(calls) for _ in range(12)] == ["POST", "POST", "GET", "GET"] * 3
