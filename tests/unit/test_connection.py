"""What goes over a connection byte by byte, and what is taken for an answer."""

from __future__ import annotations

import gc
import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from flask_portkey_files.connection import Answer, WrongLength
from flask_portkey_files.errors import InvalidRequest, UpstreamError
from flask_portkey_files.providers.base import UpstreamRequest
from flask_portkey_files.settings import MIB, Settings
from flask_portkey_files.transport import Transport

from ..support.upstream import Connection, Upstream


@pytest.fixture
def answer() -> Iterator[Callable[..., Answer]]:
    """Return a function that reads bytes as an answer."""
    sockets: list[socket.socket] = []

    def read(data: bytes, method: str = "GET", *, closed: bool = True) -> Answer:
        ours, theirs = socket.socketpair()
        sockets.extend((ours, theirs))
        theirs.sendall(data)
        if closed:
            theirs.shutdown(socket.SHUT_WR)
        return Answer(ours, method, 20)

    yield read
    for sock in sockets:
        sock.close()


Read = Callable[..., Answer]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return the file of a certificate for 127.0.0.1, its key in ``key.pem`` beside it."""
    path, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    subprocess.run(
        [*command.split(), "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(path)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return path


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    """Return a server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


class TestHead:
    def test_all_of_it(self, answer: Read) -> None:
        got = answer(
            b"HTTP/1.1 200 Very OK\r\nA: 1\r\nb:2 \r\na:\t3\r\nContent-Length: 2\r\n\r\nok"
        )
        assert (got.status, got.reason, got.version) == (200, "Very OK", 11)
        assert list(got.fields.items()) == [
            ("A", "1"),
            ("A", "3"),
            ("b", "2"),
            ("Content-Length", "2"),
        ]
        assert got.read() == b"ok"
        assert not got.will_close

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"HTTP/1.1 204\r\n", ""),
            (b"HTTP/1.1 204 \r\n", ""),
            (b"HTTP/1.1  204  No Content \n", "No Content"),
            (b"HTTP/1.1 204 Caf\xe9\r\n", "Café"),
        ],
    )
    def test_status_lines(self, answer: Read, line: bytes, reason: str) -> None:
        got = answer(line + b"\r\n")
        assert (got.status, got.reason, got.read()) == (204, reason, b"")

    @pytest.mark.parametrize(
        "data",
        [
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 99 x\r\n\r\n",
            b"HTTP/1.1 2000 x\r\n\r\n",
            b"HTTP/1.1 abc x\r\n\r\n",
            b"ICY 200 OK\r\n\r\n",
            b" HTTP/1.1 200 OK\r\n\r\n",
            b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\n: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\n folded: first\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"\r\n",
            b"HTTP/1.1 200 OK\r\na: b\r\n" + b" c\r\n" * 100 + b"\r\n",
            b"HTTP/1.1 103 x\r\n\r\n" * 101 + b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\na: " + b"b" * 65536 + b"\r\n\r\n",
        ],
    )
    def test_what_is_none(self, answer: Read, data: bytes) -> None:
        with pytest.raises(http.client.HTTPException) as raised:
            answer(data)
        assert not isinstance(raised.value, ConnectionError)

    def test_every_cut_is_seen(self, answer: Read) -> None:
        head = b"HTTP/1.1 100 Continue\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\nLong: x\r\n y\r\n\r\n"
        for end in range(len(head)):
            with pytest.raises(ConnectionError):
                answer(head[:end])
        assert dict(answer(head).fields) == {"Long": "x y"}

    @pytest.mark.parametrize("status", [100, 102, 103, 199])
    def test_interim_answers_are_passed_by(self, answer: Read, status: int) -> None:
        interim = b"HTTP/1.1 %d x\r\nContent-Length: 9\r\n\r\n" % status
        got = answer(interim * 2 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert (got.status, got.read()) == (200, b"ok")

    def test_blanks_take_no_time(self, answer: Read) -> None:
        blanks = b" \t" * 15_000
        started = time.monotonic()
        got = answer(
            b"HTTP/1.1 200 O" + blanks + b"K\r\n" + (b"a: b" + blanks + b"c\r\n") * 2 + b"\r\n"
        )
        assert time.monotonic() - started < 1
        assert got.fields.getlist("a") == ["b" + blanks.decode() + "c"] * 2

    def test_hundred_fields(self, answer: Read) -> None:
        got = answer(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100 + b"\r\n")
        assert len(got.fields.getlist("a")) == 100

    def test_twice_the_same_length_is_one(self, answer: Read) -> None:
        got = answer(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok", closed=False
        )
        assert got.read() == b"ok"
        assert got.fields.getlist("Content-Length") == ["2"]

    def test_a_list_of_one_length(self, answer: Read) -> None:
        got = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", closed=False)
        assert got.read() == b"ok"
        assert got.fields.getlist("Content-Length") == ["2"]


class TestFraming:
    @pytest.mark.parametrize(
        ("head", "method", "closes"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0", "GET", False),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close", "GET", True),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0", "GET", True),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive", "GET", False),
            (b"HTTP/1.1 200 OK", "GET", True),
            (b"HTTP/1.1 204 No Content", "GET", False),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9", "GET", False),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9", "HEAD", False),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked", "HEAD", False),
        ],
    )
    def test_the_end_of_the_connection(
        self, answer: Read, head: bytes, method: str, closes: bool
    ) -> None:
        got = answer(head + b"\r\n\r\n", method)
        assert got.will_close == closes
        assert got.read() == b""

    @pytest.mark.parametrize(
        ("status", "method"), [(b"304", "GET"), (b"204", "DELETE"), (b"200", "HEAD")]
    )
    def test_no_chunks_where_there_is_no_body(
        self, answer: Read, status: bytes, method: str
    ) -> None:
        head = b"HTTP/1.1 " + status + b" x\r\nTransfer-Encoding: chunked\r\n\r\n"
        got = answer(head, method, closed=False)
        assert (got.read1(9), got.will_close) == (b"", False)

    def test_chunks(self, answer: Read) -> None:
        got = answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n"
            b"2\r\nok\r\n0\r\n\r\n",
            closed=False,
        )
        assert (got.read(), got.will_close) == (b"ok", False)


class Pieces:
    """A body of a file's pieces."""

    def __init__(self, pieces: list[bytes], length: int | None) -> None:
        self.length = length
        self._pieces = pieces

    def blocks(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        """Nothing is held."""


def post(url: str, body: Any, **headers: str) -> UpstreamRequest:
    return UpstreamRequest(method="POST", url=url, headers=Headers(headers), body=body)


def received(script_result: list[bytes], answer_with: bytes = b"{}") -> Any:
    def script(connection: Connection) -> None:
        script_result.append(connection.read_head())
        body, complete = connection.read_body()
        assert complete
        script_result.append(body)
        connection.answer(answer_with)

    return script


class TestBodies:
    @pytest.mark.parametrize("length", [True, False])
    def test_pieces_of_all_sizes(self, length: bool) -> None:
        # Larger than the buffers of both sockets, so that not all is sent at once.
        pieces = [b"a", b"", b"b" * 20_000, b"c" * (9 * MIB), b"d"]
        total = sum(map(len, pieces))
        got: list[bytes] = []
        with Upstream(received(got)) as upstream:
            body = Pieces(pieces, total if length else None)
            Transport(Settings()).send(post(upstream.url, body), provider="acme").close()
        assert got[1] == b"".join(pieces)
        expected = b"Content-Length: %d" % total if length else b"Transfer-Encoding: chunked"
        assert expected in got[0]

    def test_bytes(self) -> None:
        got: list[bytes] = []
        with Upstream(received(got)) as upstream:
            request = post(upstream.url, b"{}", **{"Content-Type": "application/json"})
            Transport(Settings()).send(request, provider="acme").close()
        assert {b"Content-Type: application/json", b"Content-Length: 2"} <= {
            *got[0].split(b"\r\n")
        }
        assert got[1] == b"{}"

    def test_none(self) -> None:
        got: list[bytes] = []
        with Upstream(received(got)) as upstream:
            Transport(Settings()).send(post(upstream.url, None), provider="acme").close()
        assert b"Content-Length: 0" in got[0]

    @pytest.mark.parametrize(
        ("pieces", "length"),
        [([b"abc"], 2), ([b"a", b"bc"], 2), ([b"a"], 2), ([], 2), ([b"a" * MIB], MIB + 1)],
    )
    def test_of_another_length_than_announced(self, pieces: list[bytes], length: int) -> None:
        """Else a request would begin in the other's body, or end in it."""
        got: list[tuple[bytes, bool]] = []

        def script(connection: Connection) -> None:
            while head := connection.read_head():
                if head.startswith(b"POST"):
                    connection.answer()  # Before it has the body.
                    got.append(connection.read_body())
                else:
                    connection.answer()

        get = UpstreamRequest(method="GET", url="", headers=Headers())
        with Upstream(script) as upstream:
            transport = Transport(Settings())
            get = replace(get, url=upstream.url)
            for request in (get, post(upstream.url, Pieces(pieces, length)), get):
                expected = pytest.raises(WrongLength) if request.body else nullcontext()
                with expected:
                    response = transport.send(request, provider="acme")
                    assert response.json() == {}
                    response.close()
            assert upstream.connections == 2
        # Nothing came where the first piece was too long.
        assert [complete for _, complete in got] in ([], [False])

    def test_framing_is_not_a_targets_to_give(self) -> None:
        got: list[bytes] = []
        with Upstream(received(got)) as upstream:
            given = {"content-length": "9", "Transfer-Encoding": "chunked"}
            request = post(upstream.url, b"{}", **given)
            Transport(Settings()).send(request, provider="acme").close()
        lines = [line.lower() for line in got[0].split(b"\r\n")]
        assert [line for line in lines if b"length" in line] == [b"content-length: 2"]
        assert b"transfer-encoding" not in got[0].lower()

    @pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "\xe9", "a\t"])
    def test_a_name_that_is_none(self, name: str) -> None:
        request = post("http://127.0.0.1:1/", b"")
        request.headers._list.append((name, "x"))
        with pytest.raises(InvalidRequest, match="can't be sent on"):
            Transport(Settings()).send(request, provider="a")

    def test_a_target_stays_one_word(self) -> None:
        got: list[bytes] = []
        with Upstream(received(got)) as upstream:
            url = upstream.url + "/a b\x7f/\N{SNOWMAN}?c= HTTP/1.1"
            Transport(Settings()).send(post(url, b""), provider="acme").close()
        assert got[0].startswith(b"POST /a%20b%7F/%E2%98%83?c=%20HTTP/1.1 HTTP/1.1\r\n")

    def test_a_head_that_can_not_be_sent(self) -> None:
        for fault in ("a\x00", "a\r\nb: c", "\N{SNOWMAN}"):
            request = post("http://127.0.0.1:1/", b"")
            request.headers._list.append(("Content-Type", fault))
            with pytest.raises(InvalidRequest, match="can't be sent on"):
                Transport(Settings()).send(request, provider="a")

    def test_over_tls(self, certificate: Path, context: ssl.SSLContext) -> None:
        pieces = [b"a" * 10, b"b" * (3 * MIB)]
        got: list[bytes] = []

        def serve(listener: socket.socket) -> None:
            sock, _ = listener.accept()
            with context.wrap_socket(sock, server_side=True) as tls:
                received(got)(Connection(tls))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener,))
            thread.start()
            settings = Settings(ca_bundle=str(certificate))
            url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
            Transport(settings).send(post(url, Pieces(pieces, None)), provider="acme").close()
            thread.join()
            refused = threading.Thread(target=_refused, args=(listener, context))
            refused.start()
            with pytest.raises(UpstreamError, match="certificate"):
                Transport(Settings()).send(post(url, b""), provider="acme")
            refused.join()
        assert got[1] == b"".join(pieces)

    def test_an_answer_over_tls_before_the_whole_body(
        self, certificate: Path, context: ssl.SSLContext
    ) -> None:
        """What OpenSSL makes of a closed connection is no ConnectionError."""

        def script(connection: Connection) -> None:
            with context.wrap_socket(connection.sock, server_side=True) as tls:
                early = Connection(tls)
                early.read_head()
                early.answer(status="413 Content Too Large", headers=("Connection: close",))
                time.sleep(0.2)
                early.reset()

        with Upstream(script) as upstream:
            url = upstream.url.replace("http", "https")
            transport = Transport(Settings(ca_bundle=str(certificate)))
            response = transport.send(
                post(url, Pieces([bytes(64 * 1024)] * 400, None)), provider="acme"
            )
            assert (response.status, response.json()) == (413, {})
            response.close()

    @pytest.mark.parametrize("whole", [True, False])
    def test_an_answer_over_tls_without_a_length(
        self, certificate: Path, context: ssl.SSLContext, whole: bool
    ) -> None:
        """Whoever cuts the connection can't say for TLS that it has ended."""

        def script(connection: Connection) -> None:
            with context.wrap_socket(connection.sock, server_side=True) as tls:
                answering = Connection(tls)
                answering.read_head()
                answering.send(b"HTTP/1.1 200 OK\r\n\r\nthe beginning")
                if whole:
                    with suppress(ssl.SSLEOFError):  # The other side has no such mark for us.
                        tls.unwrap()

        get = UpstreamRequest(method="GET", url="", headers=Headers())
        with Upstream(script) as upstream:
            transport = Transport(Settings(ca_bundle=str(certificate)))
            get = replace(get, url=upstream.url.replace("http", "https"))
            with closing(transport.send(get, provider="acme")) as response:
                blocks = response.blocks()
                if whole:
                    assert b"".join(blocks) == b"the beginning"
                else:
                    assert next(blocks) == b"the beginning"
                    with pytest.raises(UpstreamError):
                        next(blocks)

    def test_more_than_an_answer_over_tls(
        self, certificate: Path, context: ssl.SSLContext
    ) -> None:
        """OpenSSL has read the rest already, so the pool sees nothing on the socket."""
        extra = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"

        def script(connection: Connection) -> None:
            with context.wrap_socket(connection.sock, server_side=True) as tls:
                more = Connection(tls)
                more.read_head()
                head = b"HTTP/1.1 200 OK\r\nContent-Length: 8100\r\n\r\n"
                # As much as is read at once.
                more.send((head + b"1" + b" " * 8099).ljust(8192) + extra)
                if upstream.connections == 1:
                    more.read_head()

        get = UpstreamRequest(method="GET", url="", headers=Headers())
        with Upstream(script) as upstream:
            transport = Transport(Settings(ca_bundle=str(certificate)))
            get = replace(get, url=upstream.url.replace("http", "https"))
            for _ in range(2):
                response = transport.send(get, provider="acme")
                assert response.json() == 1
                response.close()
            assert upstream.connections == 2


def _refused(listener: socket.socket, context: ssl.SSLContext) -> None:
    sock, _ = listener.accept()
    with sock, pytest.raises(ssl.SSLError, match="alert"):
        context.wrap_socket(sock, server_side=True)


class TestHost:
    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("http://acme.example/x", b"acme.example"),
            ("http://acme.example:80/x", b"acme.example"),
            ("http://acme.example:8080/x", b"acme.example:8080"),
            ("http://[::1]/x", b"[::1]"),
        ],
    )
    def test_through_a_proxy(self, url: str, host: bytes) -> None:
        got: list[bytes] = []

        def script(connection: Connection) -> None:
            got.append(connection.read_head())
            connection.answer()

        with Upstream(script) as proxy:
            request = UpstreamRequest(method="GET", url=url, headers=Headers())
            Transport(Settings(proxy=proxy.url)).send(request, provider="acme").close()
        lines = got[0].split(b"\r\n")
        assert lines[0] == b"GET " + url.encode() + b" HTTP/1.1"
        assert b"Host: " + host in lines

    @pytest.mark.parametrize(
        ("url", "first"), [("http://a.example/x", b"GET"), ("https://a.example/x", b"CONNECT")]
    )
    def test_the_proxys_own_credentials(self, url: str, first: bytes) -> None:
        got: list[bytes] = []

        def script(connection: Connection) -> None:
            got.append(connection.read_head())
            connection.answer(status="407 Proxy Authentication Required")

        with Upstream(script) as proxy:
            settings = Settings(proxy=proxy.url.replace("//", "//me:secret@"))
            request = UpstreamRequest(method="GET", url=url, headers=Headers())
            with suppress(UpstreamError):
                Transport(settings).send(request, provider="acme").close()
        assert got[0].startswith(first + b" ")
        assert got[0].count(b"Proxy-Authorization: Basic bWU6c2VjcmV0") == 1

    # http.client leaves a refused tunnel's answer open before Python 3.11.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_tunnel_that_is_refused(self) -> None:
        got: list[bytes] = []

        def script(connection: Connection) -> None:
            got.append(connection.read_head())
            connection.answer(b"no", status="403 Forbidden")

        request = UpstreamRequest(
            method="GET",
            url="https://acme.example/x",
            headers=Headers({"Authorization": "SECRET"}),
        )
        with Upstream(script) as proxy, pytest.raises(UpstreamError, match="proxy"):
            Transport(Settings(proxy=proxy.url)).send(request, provider="acme")
        assert got[0].startswith(b"CONNECT acme.example:443 HTTP/1.")
        assert b"SECRET" not in got[0]
        gc.collect()
