from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import openai
import psutil
import pytest

from flask_portkey_files.testing.embedded import EmbeddedServer
from flask_portkey_files.testing.server import create_store_app
from flask_portkey_files.testing.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ROOT = Path(__file__).parents[2]
BOUNDARY = "frontier"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
MEBIBYTE = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


@pytest.fixture
def server(store: FileStore) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(create_store_app(store)) as server:
        yield server


@contextlib.contextmanager
def store_process(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "flask_portkey_files.testing", "--data-dir", str(data_dir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def exchange(url: str, *pieces: bytes) -> bytes:
    """Send raw bytes, hang up the sending side and return everything that is answered."""
    with connect(url) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            return answer.read()


def post_head(*headers: str) -> bytes:
    lines = [
        "POST /v1/files HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def request(
    url: str,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def assert_empty(store: FileStore) -> None:
    assert store.list().files == ()
    assert list((store.data_dir / "incoming").iterdir()) == []
    assert list((store.data_dir / "blobs").iterdir()) == []


def test_the_openai_sdk(server: EmbeddedServer) -> None:
    with openai.OpenAI(
        api_key="any", base_url=f"{server.url}/v1", max_retries=0, timeout=30
    ) as client:
        created = [
            client.files.create(file=(f"{n}.txt", b"n" * n), purpose="user_data")
            for n in range(7)
        ]
        expiring = client.files.create(
            file=("e.jsonl", b"{}"),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert expiring.expires_at == expiring.created_at + 3600
        ids = [file.id for file in created]
        listed = client.files.list(limit=3, order="asc", purpose="user_data")
        assert listed.has_more is True
        assert [file.id for file in listed] == ids
        assert [file.id for file in client.files.list(limit=2)] == [expiring.id, *ids[::-1]]
        assert client.files.retrieve(ids[3]) == created[3]
        assert client.files.content(ids[5]).read() == b"nnnnn"
        assert client.files.delete(ids[0]).deleted is True
        with pytest.raises(openai.NotFoundError) as not_found:
            client.files.retrieve(ids[0])
        assert not_found.value.param == "id"
        assert not_found.value.request_id
        with pytest.raises(openai.BadRequestError) as bad_request:
            client.files.create(file=b"x", purpose="nonsense")  # type: ignore[arg-type]
        assert bad_request.value.param == "purpose"


def test_clients_upload_at_once(server: EmbeddedServer, store: FileStore) -> None:
    body = HEAD + b"x" * 300_000 + TAIL
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    def post(_: int) -> int:
        return request(server.url, "POST", "/v1/files", body, headers)[0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(post, range(24))) == [200] * 24
    assert [stored.size for stored in store.list().files] == [300_000] * 24


def test_ranges(server: EmbeddedServer, store: FileStore) -> None:
    content = os.urandom(300_000)
    with store.incoming() as incoming:
        incoming.file.write(content)
        stored = store.add(filename="f", purpose="batch", content=incoming)
    path = f"/v1/files/{stored.id}/content"
    assert request(server.url, "GET", path) == (200, content)
    assert request(server.url, "HEAD", path) == (200, b"")
    for first, last in ((0, 0), (70_000, 250_000), (299_999, 299_999)):
        asked = {"Range": f"bytes={first}-{last}"}
        assert request(server.url, "GET", path, None, asked) == (206, content[first : last + 1])
    assert request(server.url, "GET", path, None, {"Range": "bytes=300000-"})[0] == 416


def test_a_complete_upload_over_a_socket(server: EmbeddedServer, store: FileStore) -> None:
    body = HEAD + b"hello" + TAIL
    plain = exchange(server.url, post_head(f"Content-Length: {len(body)}"), body)
    chunked = exchange(
        server.url,
        post_head("Transfer-Encoding: chunked"),
        *(chunk(body[n : n + 7]) for n in range(0, len(body), 7)),
        b"0;last=yes\r\nTrailer: x\r\n\r\n",
    )
    assert status(plain) == status(chunked) == 200
    assert [stored.size for stored in store.list().files] == [5, 5]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_block_ends_inside_the_closing_boundary(
    server: EmbeddedServer, store: FileStore, chunked: bool
) -> None:
    for left in range(len(TAIL) + 1):
        content = os.urandom(64 * 1024 - len(HEAD + TAIL) + left)
        body = HEAD + content + TAIL
        if chunked:
            form = chunk(body[: 64 * 1024]) + chunk(body[64 * 1024 :]) if left else chunk(body)
            pieces = [post_head("Transfer-Encoding: chunked"), form, b"0\r\n\r\n"]
        else:
            pieces = [post_head(f"Content-Length: {len(body)}"), body]
        answer = exchange(server.url, *pieces)
        assert status(answer) == 200
        path = store.path(json.loads(answer.partition(b"\r\n\r\n")[2])["id"])
        assert path is not None
        assert path.read_bytes() == content


@pytest.mark.parametrize("size", [0, 5, 200_000])
@pytest.mark.parametrize("cut", [1, 2, 3, len(TAIL), len(TAIL) + 1, len(TAIL) + 100])
def test_an_upload_shorter_than_its_content_length(
    server: EmbeddedServer, store: FileStore, size: int, cut: int
) -> None:
    body = HEAD + b"x" * size + TAIL
    answer = exchange(server.url, post_head(f"Content-Length: {len(body)}"), body[:-cut])
    assert status(answer) == 400
    assert b"invalid_request_error" in answer
    assert_empty(store)


@pytest.mark.parametrize(
    "pieces",
    [
        # The whole form, but the last chunk never comes.
        (chunk(HEAD + b"hello" + TAIL),),
        (chunk(HEAD + b"hello" + TAIL), b"0\r\n"),
        # Cut inside a chunk: short of its end, then of very much more than came.
        (b"%x\r\n" % (len(HEAD) + 100), HEAD + b"hello"),
        (b"ffffffffff\r\n", HEAD + b"hello"),
        (b"%x\r\n" % (len(HEAD + TAIL) + 6), HEAD + b"hello" + TAIL),
        # Cut between chunks and inside the size of one.
        (chunk(HEAD + b"hello"),),
        (chunk(HEAD + b"hello"), b"1"),
        # Well-formed chunks around a form that ends early.
        (chunk(HEAD + b"hello"), b"0\r\n\r\n"),
        # Not chunks at all.
        (b"-5\r\n", HEAD + b"hello" + TAIL),
        (b"3\r\n", HEAD + b"hello" + TAIL),
        (HEAD + b"hello" + TAIL,),
    ],
)
def test_a_broken_chunked_upload(
    server: EmbeddedServer, store: FileStore, pieces: tuple[bytes, ...]
) -> None:
    answer = exchange(server.url, post_head("Transfer-Encoding: chunked"), *pieces)
    assert status(answer) == 400
    assert b"invalid_request_error" in answer
    assert_empty(store)


def test_the_connection_ends_after_each_answer(server: EmbeddedServer) -> None:
    # The unread body of the first request must not be taken for a second one.
    smuggled = b"GET /v1/files HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"GET /v1/none HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    answer = exchange(server.url, head % len(smuggled) + smuggled)
    assert status(answer) == 404
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer


def test_nothing_is_logged(server: EmbeddedServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert request(server.url, "GET", "/v1/files")[0] == 200
    assert request(server.url, "GET", "/none")[0] == 404
    assert b"Bad request syntax" in exchange(server.url, b"nonsense\r\n\r\n")
    assert capfd.readouterr() == ("", "")


def test_close_stops_everything(store: FileStore) -> None:
    before = threading.active_count()
    server = EmbeddedServer(create_store_app(store))
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", server.url)
    # One connection that never asks, one in the middle of an upload.
    with connect(server.url) as idle, connect(server.url) as busy:
        busy.sendall(post_head("Content-Length: 1000000", "Expect: 100-continue"))
        assert busy.recv(100).startswith(b"HTTP/1.1 100")
        busy.sendall(HEAD + b"x" * 1000)
        server.close()
        server.close()
        assert idle.recv(100) == b""
    assert threading.active_count() == before
    assert_empty(store)
    with pytest.raises(ConnectionRefusedError), connect(server.url):
        pass


def test_close_cuts_an_answer_nobody_reads() -> None:
    started = threading.Event()

    def endless(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        while True:
            started.set()
            yield b"x" * 65536

    before = threading.active_count()
    server = EmbeddedServer(endless)
    with connect(server.url) as reader:
        reader.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert started.wait(30)
        server.close(grace=0)
    assert threading.active_count() == before


def test_a_port_in_use_is_an_ordinary_error(server: EmbeddedServer, store: FileStore) -> None:
    with pytest.raises(OSError, match=r".") as error:
        EmbeddedServer(create_store_app(store), port=server.port)
    assert error.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_store_process_stops_cleanly_and_keeps_its_files(
    tmp_path: Path, signum: signal.Signals
) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    with store_process(tmp_path) as (process, url):
        code, answer = request(url, "POST", "/v1/files", HEAD + b"kept" + TAIL, headers)
        assert code == 200
        process.send_signal(signum)
        assert process.wait(30) == 0
    file_id = json.loads(answer)["id"]
    with store_process(tmp_path) as (_, url):
        assert request(url, "GET", f"/v1/files/{file_id}/content") == (200, b"kept")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload_and_download_take_little_memory(tmp_path: Path, chunked: bool) -> None:
    block = os.urandom(MEBIBYTE)
    count = 64
    form = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    length = {"Content-Length": str(len(HEAD) + count * len(block) + len(TAIL))}
    with store_process(tmp_path) as (process, url):
        memory = psutil.Process(process.pid).memory_info
        assert request(url, "POST", "/v1/files", HEAD + block + TAIL, form)[0] == 200
        before = memory().rss
        used: list[int] = []

        def body() -> Iterator[bytes]:
            yield HEAD
            for _ in range(count):
                used.append(memory().rss)
                yield block
            yield TAIL

        code, answer = request(
            url, "POST", "/v1/files", body(), form if chunked else form | length
        )
        assert code == 200
        created: dict[str, Any] = json.loads(answer)
        assert created["bytes"] == count * len(block)
        used.append(memory().rss)
        read_all(url, created["id"], block, count, lambda: used.append(memory().rss))
        assert max(used) - before < 12 * MEBIBYTE


def read_all(
    url: str, file_id: str, block: bytes, count: int, sample: Callable[[], None]
) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/files/{file_id}/content")
        answer = connection.getresponse()
        for _ in range(count):
            assert answer.read(len(block)) == block
            sample()
        assert answer.read() == b""
