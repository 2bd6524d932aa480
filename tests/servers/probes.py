"""What is asked of each server: does this one thing come through it?"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from queue import Empty, Queue

from ..streaming.wire import LIST, LIVE, MIB, TIMEOUT, UPLOADED, Answer, Client, noise
from ..support.served import Served
from ..support.upstream import Connection, Upstream

CONTENT = "/v1/files/file-1/content"
#: Large enough that no buffer on the way holds it all.
LARGE = 12 * MIB

YES, NO = "yes", "no"


@dataclass
class Stage:
    """A server with the gateway, before a provider whose part each probe writes.

    :param patience: how long to wait, in seconds, for what may never come.
    """

    server: Served
    provider: Provider
    patience: float

    def client(self) -> Client:
        """Connect."""
        return Client(self.server.port)

    def call(self, method: str, path: str, *headers: str) -> Answer:
        """Make one request on a connection of its own."""
        with self.client() as client:
            client.request(method, path, *headers, "Connection: close")
            return client.answer(method)


@dataclass
class Provider:
    """The provider's part: what it does with the next requests."""

    script: Callable[[Connection], None] | None = None
    heads: list[bytes] = field(default_factory=list)

    def listen(self) -> AbstractContextManager[Upstream]:
        """Start it."""

        def run(conn: Connection) -> None:
            conn.sock.settimeout(TIMEOUT)
            if head := conn.read_head():
                self.heads.append(head)
                if head.startswith(b"GET /v1/files HTTP"):
                    conn.answer(LIST, headers=("Connection: close",))
                else:
                    assert self.script is not None
                    self.script(conn)

        return Upstream(run)


def _got(told: Queue[bool], patience: float) -> bool:
    """Return what another thread has put into *told*, false if nothing came in time."""
    try:
        return told.get(timeout=patience)
    except Empty:
        return False


def _upload_live(stage: Stage, chunked: bool) -> str:
    begun: Queue[bool] = Queue()
    complete: Queue[bool] = Queue()

    def provider(conn: Connection) -> None:
        begun.put(True)
        body, whole = conn.read_body()
        complete.put(whole and content in body)
        conn.answer(UPLOADED, headers=("Connection: close",))

    content = noise(MIB)
    opening, closing = LIVE
    stage.provider.script = provider
    with stage.client() as client:
        client.begin_upload(None if chunked else len(opening) + len(content) + len(closing))
        with contextlib.suppress(ConnectionError):
            client.send(opening)
            client.send(content[: MIB // 2])
            live = _got(begun, stage.patience)
            client.send(content[MIB // 2 :])
            client.send(closing)
            client.end()
        try:
            answer = client.answer()
        except (OSError, http.client.HTTPException):
            return "broken off"
    if answer.status != 200 or not _got(complete, TIMEOUT):
        return f"{NO}: {answer.status}"
    return YES if live else "held back"


def chunked_upload_is_live(stage: Stage) -> str:
    """A chunked upload reaches the provider before the client has sent all of it."""
    return _upload_live(stage, chunked=True)


def upload_is_live(stage: Stage) -> str:
    """So does one with a `Content-Length`."""
    return _upload_live(stage, chunked=False)


def _gone(stage: Stage, chunked: bool) -> str:
    completed: Queue[bool] = Queue()

    def provider(conn: Connection) -> None:
        completed.put(conn.read_body()[1])

    opening, closing = LIVE
    stage.provider.script = provider
    seen = len(stage.provider.heads)
    with stage.client() as client:
        client.begin_upload(None if chunked else len(opening) + 2 * MIB + len(closing))
        with contextlib.suppress(ConnectionError):
            client.send(opening)
            client.send(noise(MIB))
    # A server with one process answers this when it is done with the upload; for the others,
    # the provider tells.
    assert stage.call("GET", "/v1/files").body == LIST
    posts = [head for head in stage.provider.heads[seen:] if head.startswith(b"POST")]
    return NO if posts and _got(completed, TIMEOUT) else YES


def client_gone_is_no_upload(stage: Stage) -> str:
    """Of an upload that the client breaks off, the provider gets nothing that looks whole."""
    results = {_gone(stage, chunked) for chunked in (False, True)}
    return YES if results == {YES} else NO


def early_refusal_arrives(stage: Stage) -> str:
    """A client that is still sending gets the answer to an upload that is refused."""
    for length in (LARGE, None):
        with stage.client() as client:
            client.begin_upload(length, "x-portkey-provider: nobody")
            with contextlib.suppress(OSError):
                client.send(noise(LARGE))
                client.end()
            try:
                answer = client.answer()
            except (OSError, http.client.HTTPException):
                return NO
        # Both values of the header come as one, and no provider has such a name.
        if answer.status != 400 or "provider" not in answer.error["message"]:
            return f"{NO}: {answer.status}"
    return YES


def download_is_streamed(stage: Stage) -> str:
    """A download reaches the client before the provider has sent all of it."""
    seen: Queue[bool] = Queue()
    half = noise(MIB)

    def provider(conn: Connection) -> None:
        conn.send(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (2 * MIB)
        )
        conn.send(half)
        _got(seen, stage.patience)
        conn.send(half)

    stage.provider.script = provider
    with stage.client() as client:
        client.request("GET", CONTENT, "Connection: close")
        client.sock.settimeout(stage.patience)
        try:
            response = client.open()
        except TimeoutError:
            return "held back"
        with response:
            try:
                first = response.read(MIB // 2)
            except TimeoutError:
                return "held back"
            seen.put(True)
            client.sock.settimeout(TIMEOUT)
            assert first + response.read() == half + half
            return YES


def _breaks_visibly(stage: Stage, provider: Callable[[Connection], None], version: str) -> bool:
    stage.provider.script = provider
    with stage.client() as client:
        client.sock.sendall(
            f"GET {CONTENT} HTTP/{version}\r\nHost: gateway.example\r\n"
            "x-portkey-provider: local\r\nAuthorization: Bearer sk\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        try:
            with client.open() as response:
                response.read()
        except (OSError, http.client.HTTPException):
            return True
        return False


def _cut_with_length(conn: Connection) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
    conn.send(noise(MIB))


def _cut_chunk(conn: Connection) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    conn.send(b"%x\r\n%b\r\n" % (MIB, noise(MIB)))


def broken_download_is_seen(stage: Stage) -> str:
    """The client sees that a download broke off: with a length, chunked, under HTTP/1.0."""
    hidden = [
        what
        for what, provider, version in (
            ("known length", _cut_with_length, "1.1"),
            ("unknown length", _cut_chunk, "1.1"),
            ("HTTP/1.0", _cut_chunk, "1.0"),
        )
        if not _breaks_visibly(stage, provider, version)
    ]
    return f"not with {', '.join(hidden)}" if hidden else YES


def head_is_answered(stage: Stage) -> str:
    """`HEAD` gets the length and no body, and the connection is good for the next request."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\n"
    stage.provider.script = lambda conn: conn.send(head)
    with stage.client() as client:
        client.request("HEAD", CONTENT)
        answer = client.answer("HEAD")
        if answer.status != 200 or answer.header("Content-Length") != "7" or answer.body:
            return NO
        if (answer.header("Connection") or "").lower() == "close":
            return "yes, and closes"
        try:
            client.request("GET", "/v1/files", "Connection: close")
            return YES if client.answer().body == LIST else NO
        except (OSError, http.client.HTTPException):
            return "yes, and closes"


def range_is_passed_on(stage: Stage) -> str:
    """`Range` goes up, and 206 with `Content-Range` comes down."""

    def provider(conn: Connection) -> None:
        assert conn.header("Range") == "bytes=2-4"
        conn.answer(
            b"234",
            status="206 Partial Content",
            headers=("Content-Range: bytes 2-4/10", "Connection: close"),
        )

    stage.provider.script = provider
    answer = stage.call("GET", CONTENT, "Range: bytes=2-4")
    got = (answer.status, answer.body, answer.header("Content-Range"))
    return YES if got == (206, b"234", "bytes 2-4/10") else NO


def escaped_ids_arrive(stage: Stage) -> str:
    """Escaped ids go up as they are: spaces, other alphabets, what was escaped twice."""
    stage.provider.script = lambda conn: conn.answer(b"{}", headers=("Connection: close",))
    for written in ("a%20b", "na%C3%AFve", "100%25", "%2525", "a%3Fb%23c"):
        if stage.call("GET", f"/v1/files/{written}").status != 200:
            return NO
        asked = stage.provider.heads[-1].split(b" ")[1].decode()
        if asked != f"/v1/files/{written}":
            return NO
    return YES


def escaped_slash_is_refused(stage: Stage) -> str:
    """An escaped slash in an id is refused: `a%2Fcontent` is not the content of `a`."""
    stage.provider.script = lambda conn: conn.answer(b"{}", headers=("Connection: close",))
    statuses = {
        stage.call("GET", f"/v1/files/{written}").status
        for written in ("a%2Fcontent", "a%2fb", "a%5Cb")
    }
    return YES if statuses <= {400, 404} else NO


def calls_run_beside_each_other(stage: Stage) -> str:
    """Another call is answered while a transfer lasts."""
    begun: Queue[bool] = Queue()
    seen: Queue[bool] = Queue()

    def provider(conn: Connection) -> None:
        begun.put(True)
        conn.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n12345")
        _got(seen, TIMEOUT)
        conn.send(b"67890")

    stage.provider.script = provider
    with stage.client() as transfer, stage.client() as other:
        transfer.request("GET", CONTENT, "Connection: close")
        assert _got(begun, TIMEOUT)
        other.request("GET", "/v1/files", "Connection: close")
        other.sock.settimeout(stage.patience)
        try:
            result = YES if other.answer().body == LIST else NO
        except TimeoutError:
            result = NO
        seen.put(True)
        assert transfer.answer().body == b"1234567890"
    return result


def errors_are_json(stage: Stage) -> str:
    """The gateway's own errors have OpenAI's envelope, also for paths that are no route."""
    for method, path in (("GET", "/v1/nothing"), ("PUT", "/v1/files")):
        answer = stage.call(method, path)
        if answer.header("Content-Type") != "application/json":
            return NO
        assert json.loads(answer.body)["error"]["message"]
    return YES


PROBES: dict[str, Callable[[Stage], str]] = {
    "Chunked upload live": chunked_upload_is_live,
    "Upload with a length live": upload_is_live,
    "Client gone is no upload": client_gone_is_no_upload,
    "Early refusal arrives": early_refusal_arrives,
    "Download streamed": download_is_streamed,
    "Broken download seen": broken_download_is_seen,
    "`HEAD`": head_is_answered,
    "`Range`": range_is_passed_on,
    "Escaped ids": escaped_ids_arrive,
    "Escaped slash refused": escaped_slash_is_refused,
    "Calls side by side": calls_run_beside_each_other,
    "Errors as JSON": errors_are_json,
}
