"""The transport against real sockets, and its errors one by one."""

from __future__ import annotations

import functools
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
import urllib3
import wrapt
from werkzeug.datastructures import Headers

from flask_portkey_files.egress import EgressPolicy, EgressRefused
from flask_portkey_files.errors import RequestTimeout, UpstreamError, UpstreamTimeout
from flask_portkey_files.form import FilePart, UploadForm
from flask_portkey_files.providers.base import UpstreamRequest
from flask_portkey_files.settings import KIB, MIB, Settings
from flask_portkey_files.spool import SpooledFile
from flask_portkey_files.transport import MAX_JSON, Transport

from ..support.served import ROOT
from ..support.upstream import Connection, Upstream

PROVIDER = "acme"


def get(url: str, **headers: str) -> UpstreamRequest:
    return UpstreamRequest(method="GET", url=url, headers=Headers(headers))


def send(url: str, settings: Settings | None = None, **headers: str) -> Any:
    return Transport(settings or Settings()).send(get(url, **headers), provider=PROVIDER)


def once(act: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """Return a script that reads a request's head and then acts."""

    def script(connection: Connection) -> None:
        connection.read_head()
        act(connection)

    return script


def answering(data: bytes) -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        while connection.read_head():
            connection.send(data)

    return script


def test_what_goes_over_the_wire() -> None:
    heads = []

    def script(connection: Connection) -> None:
        heads.append(connection.read_head())
        connection.answer(b"{}")

    with Upstream(script) as upstream:
        response = send(f"{upstream.url}/v1/files?a=%7E&a=2&b", Authorization="Bearer sk-1")
        assert response.json() == {}
        response.close()
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "GET /v1/files?a=%7E&a=2&b HTTP/1.1"
    # Nothing of requests' own but what HTTP needs; above all not its User-Agent.
    assert {line.partition(":")[0].lower() for line in lines[1:]} <= {
        "host",
        "authorization",
        "accept-encoding",
        "user-agent",
    }
    assert "python" not in heads[0].decode().lower()


def test_who_traces_requests_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    plain = requests.Session.send

    def function(self: Any, request: Any, **options: Any) -> Any:
        asked.append("function")
        return plain(self, request, **options)

    def around(wrapped: Any, instance: Any, args: Any, options: Any) -> Any:
        asked.append("object")
        return wrapped(*args, **options)

    with Upstream(once(lambda connection: connection.answer(b"{}"))) as upstream:
        send(upstream.url).close()
        monkeypatch.setattr(requests.Session, "send", functools.wraps(plain)(function))
        send(upstream.url).close()
        # As it does who wraps with wrapt: it looks like what it wraps.
        monkeypatch.setattr(requests.Session, "send", wrapt.FunctionWrapper(plain, around))
        send(upstream.url).close()
    assert asked == ["function", "object"]


def test_who_traced_requests_before_is_asked() -> None:
    program = """
import functools, requests

plain = requests.Session.send

@functools.wraps(plain)
def send(self, request, **options):
    raise requests.ConnectionError("asked")

requests.Session.send = send

from werkzeug.datastructures import Headers
from flask_portkey_files.errors import UpstreamError
from flask_portkey_files.providers.base import UpstreamRequest
from flask_portkey_files.settings import Settings
from flask_portkey_files.transport import Transport

request = UpstreamRequest(method="GET", url="http://127.0.0.1:9/", headers=Headers())
try:
    Transport(Settings()).send(request, provider="acme")
except UpstreamError as error:
    print(repr(error.__cause__))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout == "ConnectionError('asked')\n"


def test_the_environment_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    seen = []

    def script(connection: Connection) -> None:
        connection.read_head()
        seen.append(connection.header("Authorization"))
        connection.answer()

    with Upstream(script) as upstream:
        send(upstream.url, Authorization="Bearer sk-1").close()
    assert seen == ["Bearer sk-1"]


def test_no_cookie_is_kept() -> None:
    cookies = []

    def script(connection: Connection) -> None:
        while connection.read_head():
            cookies.append(connection.header("Cookie"))
            connection.answer(headers=("Set-Cookie: tenant=a; Path=/",))

    with Upstream(script) as upstream:
        transport = Transport(Settings())
        for _ in range(2):
            response = transport.send(get(upstream.url), provider=PROVIDER)
            response.json()
            response.close()
    assert cookies == [None, None]
    # Read to its end, the first answer's connection was used again.
    assert upstream.connections == 1


def test_a_redirect_is_an_answer() -> None:
    elsewhere: list[bytes] = []
    with Upstream(lambda c: elsewhere.append(c.read_head())) as other:
        location = f"Location: {other.url}/"
        with Upstream(
            once(lambda c: c.answer(b"", status="307 T", headers=(location,)))
        ) as upstream:
            response = send(upstream.url, Authorization="Bearer sk-1")
            assert response.status == 307
            response.close()
    assert elsewhere == []


def test_repeated_headers_stay_repeated() -> None:
    with Upstream(once(lambda c: c.answer(headers=("Link: <a>", "Link: <b>")))) as upstream:
        response = send(upstream.url)
        assert response.headers.getlist("Link") == ["<a>", "<b>"]
        response.close()


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: 10\r\n\r\n12345",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n123",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
    ids=["length", "chunked", "chunk", "bad chunk"],
)
@pytest.mark.parametrize("how", ["blocks", "json"])
def test_an_answer_cut_short_is_an_error(data: bytes, how: str) -> None:
    def script(connection: Connection) -> None:
        connection.read_head()
        connection.send(data)

    with Upstream(script) as upstream:
        response = send(upstream.url)
        with pytest.raises(UpstreamError, match="acme") as raised:
            list(response.blocks()) if how == "blocks" else response.json()
        response.close()
    assert raised.value.status == 502
    assert upstream.url not in str(raised.value)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"a":', b"\xff\xfe{"], ids=["none", "html", "cut", "binary"]
)
def test_what_is_no_json(body: bytes) -> None:
    with Upstream(once(lambda c: c.answer(body))) as upstream:
        response = send(upstream.url)
        with pytest.raises(UpstreamError, match="not the JSON expected"):
            response.json()
        response.close()


def test_far_too_much_json(requests_mock: requests_mock.Mocker) -> None:
    requests_mock.get("http://acme.example/", content=b" " * MAX_JSON + b"{}")
    with pytest.raises(UpstreamError, match="far too long"):
        send("http://acme.example/").json()


def test_no_answer_in_time() -> None:
    def script(connection: Connection) -> None:
        connection.read_head()
        connection.read_some()

    with Upstream(script) as upstream:
        with pytest.raises(UpstreamTimeout, match="acme") as raised:
            send(upstream.url, Settings(read_timeout=0.05))
        assert raised.value.status == 504


def test_no_more_of_an_answer_in_time() -> None:
    def script(connection: Connection) -> None:
        connection.read_head()
        connection.send(HEAD + b"Content-Length: 10\r\n\r\n12345")
        connection.read_some()

    with Upstream(script) as upstream:
        response = send(upstream.url, Settings(read_timeout=0.05))
        blocks = response.blocks()
        assert next(blocks) == b"12345"
        with pytest.raises(UpstreamTimeout):
            next(blocks)
        response.close()


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UpstreamError, match="acme: the connection was refused") as raised:
        send(f"http://127.0.0.1:{port}/?key=SECRET")
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://nobody.invalid/", "its name could not be resolved"),
        ("ftp://a/", "could not be sent"),
    ],
)
def test_an_address_that_leads_nowhere(url: str, reason: str) -> None:
    with pytest.raises(UpstreamError, match=reason):
        send(url)


def test_no_http_at_all() -> None:
    with (
        Upstream(answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as upstream,
        pytest.raises(UpstreamError, match="not HTTP"),
    ):
        send(upstream.url)


def test_closed_without_an_answer() -> None:
    with (
        Upstream(once(Connection.reset)) as upstream,
        pytest.raises(UpstreamError, match="closed the connection"),
    ):
        send(upstream.url)


def test_no_tls() -> None:
    with (
        Upstream(lambda c: c.send(c.read_some()[:0] + b"HTTP/1.1 400 Bad\r\n\r\n")) as upstream,
        pytest.raises(UpstreamError, match="TLS"),
    ):
        send(upstream.url.replace("http:", "https:"))


def raised_as(error: Exception) -> UpstreamError:
    """Return what *error*, raised by the connection, comes out as."""
    with requests_mock.Mocker() as mock:
        mock.get("http://acme.example/", exc=error)
        with pytest.raises(UpstreamError) as raised:
            send("http://acme.example/")
    return raised.value


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (requests.ConnectTimeout(), 504, "in time"),
        (requests.ReadTimeout("http://x/?key=SECRET"), 504, "in time"),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("x", TimeoutError())),
            504,
            "in time",
        ),
        (requests.ConnectionError(urllib3.exceptions.ProtocolError("SECRET")), 502, "closed"),
        (requests.exceptions.SSLError(ssl.SSLCertVerificationError("x")), 502, "certificate"),
        (
            requests.exceptions.ProxyError(urllib3.exceptions.ProxyError("x", OSError())),
            502,
            "proxy",
        ),
        (requests.exceptions.InvalidURL("SECRET"), 502, "could not be sent"),
        (urllib3.exceptions.LocationParseError("SECRET"), 502, "could not be sent"),
        (OSError("SECRET"), 502, "could not be sent"),
    ],
)
def test_every_failure_is_ours(error: Exception, status: int, reason: str) -> None:
    ours = raised_as(error)
    assert (ours.status, ours.__cause__) == (status, error)
    assert reason in ours.message
    assert "acme" in ours.message
    assert "SECRET" not in ours.message


def test_settings_reach_the_connections(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def script(connection: Connection) -> None:
        seen.append(connection.read_head().split(b"\r\n")[0])
        connection.answer()

    with Upstream(script) as proxy:
        send("http://acme.example/x", Settings(proxy=proxy.url)).close()
    assert seen == [b"GET http://acme.example/x HTTP/1.1"]
    missing = str(tmp_path / "no-ca.pem")
    with pytest.raises(UpstreamError, match="could not be sent"):
        send("https://127.0.0.1:1/", Settings(ca_bundle=missing, block_size=KIB))


@pytest.mark.parametrize("reused", [False, True])
def test_a_provider_may_pause_longer_than_it_may_take_to_connect(reused: bool) -> None:
    """Sending has the read timeout, not the connect timeout that urllib3 leaves on."""
    resume = threading.Event()

    def script(connection: Connection) -> None:
        if reused:
            connection.read_head()
            connection.answer()
        connection.read_head()
        # Returns when the gateway can't send any more, or after the connect timeout.
        resume.wait(0.3)
        assert connection.read_body()[1]
        connection.answer()

    part = FilePart("a", "text/plain", (), SpooledFile([bytes(32 * MIB)], Settings()))
    with Upstream(script) as upstream:
        request = UpstreamRequest(
            method="POST", url=upstream.url, headers=Headers(), body=UploadForm((), part)
        )
        transport = Transport(Settings(connect_timeout=0.1, read_timeout=20))
        if reused:
            first = transport.send(get(upstream.url), provider=PROVIDER)
            first.json()
            first.close()
        response = transport.send(request, provider=PROVIDER)
        assert upstream.connections == 1
        assert response.json() == {}
        response.close()
    part.body.close()


@pytest.mark.parametrize("status", ["103 Early Hints", "102 Processing"])
def test_what_comes_before_an_answer_is_never_taken_for_one(status: str) -> None:
    """Else the real answer would be the next caller's."""
    heads = []

    def script(connection: Connection) -> None:
        heads.append(connection.read_head())
        connection.send(f"HTTP/1.1 {status}\r\nLink: <a>\r\n\r\n".encode())
        connection.answer(b"1")

    with Upstream(script) as upstream:
        transport = Transport(Settings())
        response = transport.send(get(upstream.url), provider=PROVIDER)
        assert (response.status, response.json()) == (200, 1)
        response.close()


def test_a_switch_of_protocols_is_no_answer() -> None:
    def script(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
        connection.answer(b"1")

    with Upstream(script) as upstream:
        transport = Transport(Settings())
        for _ in range(2):
            with pytest.raises(UpstreamError, match="which is no answer"):
                transport.send(get(upstream.url), provider=PROVIDER)
        assert upstream.connections == 2


def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    def script(connection: Connection) -> None:
        connection.read_head()
        connection.answer()
        # The next request has come when the connection closes on it.
        connection.read_head()

    with Upstream(script) as upstream:
        transport = Transport(Settings())
        for _ in range(2):
            response = transport.send(get(upstream.url), provider=PROVIDER)
            assert response.json() == {}
            response.close()
        assert upstream.connections == 2
        delete = UpstreamRequest(method="DELETE", url=upstream.url, headers=Headers())
        with pytest.raises(UpstreamError):
            transport.send(delete, provider=PROVIDER)


def test_a_timeout_is_not_tried_again() -> None:
    def script(connection: Connection) -> None:
        connection.read_head()
        connection.read_some()

    with Upstream(script) as upstream:
        with pytest.raises(UpstreamTimeout):
            send(upstream.url, Settings(read_timeout=0.05))
        assert upstream.connections == 1


def test_control_characters_in_a_header_become_blanks(requests_mock: Any) -> None:
    requests_mock.get("http://acme.example/", headers={"X-Folded": "a\r\n  b", "X-C": "a\x01b"})
    headers = send("http://acme.example/").headers
    assert (headers["X-Folded"], headers["X-C"]) == ("a b", "a b")


def test_only_a_connection_from_the_pool_is_replaced() -> None:
    with Upstream(once(Connection.reset)) as upstream:
        with pytest.raises(UpstreamError):
            send(upstream.url)
        assert upstream.connections == 1


class TestRequestTimeout:
    def request(self, url: str, timeout: float, settings: Settings | None = None) -> Any:
        transport = Transport(settings or Settings())
        return transport.send(get(url), provider=PROVIDER, timeout=timeout)

    def test_no_answer(self) -> None:
        def script(connection: Connection) -> None:
            connection.read_head()
            connection.read_some()

        with Upstream(script) as upstream:
            with pytest.raises(RequestTimeout, match="in the request: 50ms") as raised:
                self.request(upstream.url, 0.05)
            error = raised.value
            assert (error.status, error.body()["error"]) == (
                408,
                {
                    "message": "Request exceeded the timeout sent in the request: 50ms",
                    "type": "timeout_error",
                    "param": None,
                    "code": "request_timeout",
                },
            )
            assert error.sent

    def test_a_head_that_drips(self) -> None:
        stop = threading.Event()

        def script(connection: Connection) -> None:
            connection.read_head()
            for byte in HEAD + b"X: " + b"x" * 1000:
                connection.send(bytes([byte]))
                if stop.wait(0.02):
                    return

        with Upstream(script) as upstream:
            with pytest.raises(RequestTimeout):
                self.request(upstream.url, 0.1)
            stop.set()

    @pytest.mark.parametrize("header", [(), ("Connection: close",)])
    def test_it_is_for_the_head_alone(self, header: tuple[str, ...]) -> None:
        started = threading.Event()

        def script(connection: Connection) -> None:
            connection.read_head()
            lines = ["HTTP/1.1 200 OK", "Content-Length: 2", *header]
            connection.send("\r\n".join(lines).encode() + b"\r\n\r\n1")
            started.wait(5)
            # What is waited for here is the call's own time to be over.
            threading.Event().wait(0.2)
            connection.send(b"2")

        with Upstream(script) as upstream:
            response = self.request(upstream.url, 0.15)
            started.set()
            assert b"".join(response.blocks()) == b"12"
            response.close()

    def test_it_leaves_nothing_on_the_connection(self) -> None:
        def script(connection: Connection) -> None:
            connection.read_head()
            connection.answer()
            connection.read_head()
            threading.Event().wait(0.2)
            connection.answer()

        with Upstream(script) as upstream:
            transport = Transport(Settings())
            first = transport.send(get(upstream.url), provider=PROVIDER, timeout=0.1)
            assert first.json() == {}
            first.close()
            second = transport.send(get(upstream.url), provider=PROVIDER)
            assert second.json() == {}
            second.close()
            assert upstream.connections == 1

    def test_an_upload_that_is_not_taken(self) -> None:
        def script(connection: Connection) -> None:
            connection.read_head()
            done.wait(5)

        done = threading.Event()
        part = FilePart("a", "text/plain", (), SpooledFile([bytes(32 * MIB)], Settings()))
        with Upstream(script) as upstream:
            request = UpstreamRequest(
                method="POST", url=upstream.url, headers=Headers(), body=UploadForm((), part)
            )
            with pytest.raises(RequestTimeout):
                Transport(Settings()).send(request, provider=PROVIDER, timeout=0.1)
            done.set()
        part.body.close()

    def test_an_upload_whose_bytes_come_too_late(self) -> None:
        class Body:
            length = 2

            def blocks(self) -> Iterator[bytes]:
                yield b"1"
                threading.Event().wait(0.1)
                yield b"2"

            def close(self) -> None:
                pass

        form = UploadForm((), FilePart("a", "text/plain", (), Body()))
        with Upstream(once(lambda c: c.send(c.read_body()[0][:0]))) as upstream:
            request = UpstreamRequest(
                method="POST", url=upstream.url, headers=Headers(), body=form
            )
            with pytest.raises(RequestTimeout):
                Transport(Settings()).send(request, provider=PROVIDER, timeout=0.05)


class TestGuarded:
    def test_an_unknown_name_is_told_from_a_forbidden_one_by_nobody(self) -> None:
        transport = Transport(Settings(), EgressPolicy("*"))
        for url in ("http://nobody.invalid/", "http://localhost/"):
            with pytest.raises(EgressRefused) as raised:
                transport.send(get(url), provider=PROVIDER, guarded=True)
            assert raised.value.message == "Invalid custom host"

    def test_what_is_permitted_is_reached_and_the_rest_is_not(self) -> None:
        with Upstream(once(Connection.answer)) as upstream:
            transport = Transport(Settings(), EgressPolicy(f"127.0.0.1:{upstream.port}"))
            response = transport.send(get(upstream.url), provider=PROVIDER, guarded=True)
            assert response.json() == {}
            response.close()
        with Upstream(once(Connection.answer)) as other:
            with pytest.raises(EgressRefused):
                transport.send(get(other.url), provider=PROVIDER, guarded=True)
            assert other.connections == 0
            # A target of the host's own goes where it says.
            transport.send(get(other.url), provider=PROVIDER).close()
