"""The guard against clients that name a host inside: no spelling and no resolver gets past."""

# Characters that look like others are what is tested.
# ruff: noqa: RUF001

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import logging
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
)

from flask_portkey_files.egress import EgressPolicy, EgressRefused, GuardedConnection
from flask_portkey_files.errors import FilesError, InvalidRoute

from ..support.parts import require

PUBLIC = "93.184.216.34"
PUBLIC6 = "2606:2800:220:1:248:1893:25c8:1946"
ANY_NAME = EgressPolicy("*")


class Resolver:
    """Plays the name servers: each name has its answers, one for each time it is asked for."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def add(self, name: str, *addresses: str) -> None:
        self.names.setdefault(name, []).append(list(addresses))

    def __call__(
        self, host: str, port: int, family: int = 0, kind: int = 0, *args: int
    ) -> list[Any]:
        self.asked.append(host)
        answers = self.names.get(host.rstrip("."))
        if answers is None:
            # As the C library reads it, and never further than this machine.
            return self._real(host, port, family, kind, flags=socket.AI_NUMERICHOST)
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, kind, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, kind, 6, "", (address, port))
            for address in addresses
        ]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if so much as a socket is made."""

    def made(*args: Any) -> None:
        pytest.fail("a socket was made")

    monkeypatch.setattr(socket, "socket", made)


@contextlib.contextmanager
def pools(policy: EgressPolicy, **options: Any) -> Iterator[urllib3.PoolManager]:
    """Yield a pool manager as transport builds it: both schemes, guarded."""

    class HTTPPool(urllib3.HTTPConnectionPool):
        class ConnectionCls(GuardedConnection, urllib3.connection.HTTPConnection):
            egress = policy

    class HTTPSPool(urllib3.HTTPSConnectionPool):
        class ConnectionCls(GuardedConnection, urllib3.connection.HTTPSConnection):
            egress = policy

    with urllib3.PoolManager(retries=False, **options) as manager:
        manager.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}
        yield manager


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.headers['Host']}{self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving(address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Yield the port of a server that answers with the Host header and path it was sent."""

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # Such as a client that does not trust the certificate.

    with Server((address, 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def is_refusal(error: FilesError) -> bool:
    """Whether this is what Portkey's gateway says, and nothing more."""
    return (error.status, error.message, error.param) == (
        400,
        "Invalid custom host",
        "x-portkey-custom-host",
    )


CHECK_URL, CONNECT = "check_url", "connect"

#: Hostile URLs, and what refuses each; a name is resolved to the addresses behind it.
HOSTILE: list[tuple[str, str] | tuple[str, str, str]] = [
    # Addresses in place of a name: none is listed, however it is spelled.
    ("http://127.0.0.1", CHECK_URL),
    ("http://127.0.0.1.", CHECK_URL),
    ("http://127.0.0.1:8080/v1", CHECK_URL),
    ("http://2130706433", CHECK_URL),
    ("http://017700000001", CHECK_URL),
    ("http://0177.0.0.1", CHECK_URL),
    ("http://0177.0.0.01", CHECK_URL),
    ("http://00000000000000000177.0.0.1", CHECK_URL),
    ("http://0x7f000001", CHECK_URL),
    ("http://0X7F.0.0.1", CHECK_URL),
    ("http://0x7f.0x0.0x0.0x1", CHECK_URL),
    ("http://0x7f.1", CHECK_URL),
    ("http://127.1", CHECK_URL),
    ("http://127.0.1", CHECK_URL),
    ("http://127.1.", CHECK_URL),
    ("http://0", CHECK_URL),
    ("http://0.0.0.0", CHECK_URL),
    ("http://0x", CHECK_URL),
    ("http://256.256.256.256", CHECK_URL),
    ("http://4294967297", CHECK_URL),
    ("http://1.2.3.4.5", CHECK_URL),
    ("http://08.0.0.1", CHECK_URL),
    ("http://127.0.0.1.0x7f", CHECK_URL),
    ("http://example.1", CHECK_URL),
    ("http://10.0.0.1", CHECK_URL),
    ("http://172.16.0.1", CHECK_URL),
    ("http://192.168.1.1", CHECK_URL),
    ("http://169.254.169.254/latest/meta-data", CHECK_URL),
    ("http://2852039166/latest", CHECK_URL),
    ("http://0251.0376.0251.0376", CHECK_URL),
    ("http://168.63.129.16", CHECK_URL),
    ("http://100.100.100.200", CHECK_URL),
    ("http://192.0.0.192", CHECK_URL),
    ("http://255.255.255.255", CHECK_URL),
    (f"https://{PUBLIC}", CHECK_URL),
    (f"https://[{PUBLIC6}]", CHECK_URL),
    ("http://[::1]", CHECK_URL),
    ("http://[::]", CHECK_URL),
    ("http://[0:0:0:0:0:0:0:1]:80", CHECK_URL),
    ("http://[0000::1]", CHECK_URL),
    ("http://[::ffff:127.0.0.1]", CHECK_URL),
    ("http://[::FFFF:7f00:1]", CHECK_URL),
    ("http://[::127.0.0.1]", CHECK_URL),
    ("http://[64:ff9b::7f00:1]", CHECK_URL),
    ("http://[64:ff9b::169.254.169.254]", CHECK_URL),
    ("http://[64:ff9b:1::a00:1]", CHECK_URL),
    ("http://[2002:7f00:1::]", CHECK_URL),
    ("http://[2001:0:4136:e378:8000:63bf:80ff:fffe]", CHECK_URL),
    ("http://[fd00:ec2::254]", CHECK_URL),
    ("http://[fe80::1]", CHECK_URL),
    ("http://[fe80::1%25eth0]", CHECK_URL),
    ("http://[fe80::1%eth0]", CHECK_URL),
    ("http://[::1%25.example.com]", CHECK_URL),
    ("http://[ff02::1]", CHECK_URL),
    ("http://[v1.127.0.0.1]", CHECK_URL),
    ("http://[127.0.0.1]", CHECK_URL),
    ("http://[localhost]", CHECK_URL),
    ("http://[::1", CHECK_URL),
    ("http://::1", CHECK_URL),
    ("http://[::1]evil.example", CHECK_URL),
    ("http://[]", CHECK_URL),
    # Other digits, dots and letters that some take for those of ASCII.
    ("http://１２７.0.0.1", CHECK_URL),
    ("http://①②⑦.⓪.⓪.①", CHECK_URL),
    ("http://١٢٧.٠.٠.١", CHECK_URL),
    ("http://𝟭𝟮𝟳.𝟬.𝟬.𝟭", CHECK_URL),
    ("http://127。0。0。1", CHECK_URL),
    ("http://127．0．0．1", CHECK_URL),
    ("http://127｡0｡0｡1", CHECK_URL),
    ("http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", CHECK_URL),
    ("http://ｌｏｃａｌｈｏｓｔ", CHECK_URL),
    ("http://localho\N{LATIN SMALL LETTER LONG S}t", CHECK_URL),
    ("http://local\N{SOFT HYPHEN}host", CHECK_URL),
    ("http://local\N{ZERO WIDTH SPACE}host", CHECK_URL),
    ("http://local\N{ZERO WIDTH JOINER}host", CHECK_URL),
    ("http://evil.example\N{FULLWIDTH SOLIDUS}allowed.example", CHECK_URL),
    ("http://evil.ex℀mple", CHECK_URL),
    ("http://allowed.example\N{FULLWIDTH COMMERCIAL AT}evil.example", CHECK_URL),
    ("http\N{LATIN SMALL LETTER LONG S}://allowed.example", CHECK_URL),
    ("http:\N{FULLWIDTH SOLIDUS}/allowed.example", CHECK_URL),
    ("http://allowed.example:\N{FULLWIDTH DIGIT EIGHT}0", CHECK_URL),
    ("http://\ud800.example", CHECK_URL),
    ("http://é..example", CHECK_URL),
    # What two parsers take for two hosts.
    ("http://allowed.example\\@evil.example", CHECK_URL),
    ("http://allowed.example#@evil.example", CHECK_URL),
    ("http://allowed.example?@evil.example", CHECK_URL),
    ("http://allowed.example:80@evil.example", CHECK_URL),
    ("http://allowed.example:80#@evil.example", CHECK_URL),
    ("http://allowed.example:@evil.example@allowed.example", CHECK_URL),
    ("http://allowed.example@evil.example", CHECK_URL),
    ("http://user:password@allowed.example", CHECK_URL),
    ("http://@allowed.example", CHECK_URL),
    ("http://%40evil.example", CHECK_URL),
    ("http://evil.example%00.allowed.example", CHECK_URL),
    ("http://evil.example%2eallowed.example", CHECK_URL),
    ("http://evil.example%23.allowed.example", CHECK_URL),
    ("http://%6c%6f%63%61%6c%68%6f%73%74", CHECK_URL),
    ("http://evil.example\x00.allowed.example", CHECK_URL),
    ("http://evil.example\t.allowed.example", CHECK_URL),
    ("http://evil.example\n.allowed.example", CHECK_URL),
    ("http://allowed.example/\r\nX-Injected: 1", CHECK_URL),
    ("http://allowed.example\n", CHECK_URL),
    ("http://allowed.example \t", CHECK_URL),
    (" http://allowed.example", CHECK_URL),
    ("ht\ttp://allowed.example", CHECK_URL),
    ("http://allowed.example evil.example", CHECK_URL),
    ("http://allowed.example\x7f", CHECK_URL),
    ("http://allowed.example\x85", CHECK_URL),
    ("http://allowed.example,evil.example", CHECK_URL),
    ("http://allowed.example;evil.example", CHECK_URL),
    ("http://allowed.example&evil.example", CHECK_URL),
    ("http:\\\\allowed.example", CHECK_URL),
    ("http:/\\allowed.example", CHECK_URL),
    ("http:///allowed.example", CHECK_URL),
    ("http:allowed.example", CHECK_URL),
    ("http:/allowed.example", CHECK_URL),
    ("//allowed.example", CHECK_URL),
    ("allowed.example", CHECK_URL),
    ("/v1", CHECK_URL),
    ("", CHECK_URL),
    # Other schemes.
    ("file:///etc/passwd", CHECK_URL),
    ("ftp://allowed.example", CHECK_URL),
    ("gopher://allowed.example:11211/_stats", CHECK_URL),
    ("unix:///var/run/docker.sock", CHECK_URL),
    ("http+unix://%2Fvar%2Frun%2Fdocker.sock", CHECK_URL),
    ("javascript:alert(1)", CHECK_URL),
    ("url:http://allowed.example", CHECK_URL),
    # Ports that are none, or that some take for another.
    ("http://allowed.example:", CHECK_URL),
    ("http://allowed.example:/v1", CHECK_URL),
    ("http://allowed.example:0", CHECK_URL),
    ("http://allowed.example:65536", CHECK_URL),
    ("http://allowed.example:65616", CHECK_URL),
    ("http://allowed.example:99999999999999999999", CHECK_URL),
    ("http://allowed.example:-80", CHECK_URL),
    ("http://allowed.example:+80", CHECK_URL),
    ("http://allowed.example:0080", CHECK_URL),
    ("http://allowed.example:8_0", CHECK_URL),
    ("http://allowed.example:http", CHECK_URL),
    ("http://allowed.example:80:443", CHECK_URL),
    ("http://:80", CHECK_URL),
    # What a base URL does not have.
    ("http://allowed.example/v1?", CHECK_URL),
    ("http://allowed.example/v1?key=1", CHECK_URL),
    ("http://allowed.example/v1#", CHECK_URL),
    ("http://allowed.example/v1/../admin", CHECK_URL),
    ("http://allowed.example/..", CHECK_URL),
    ("http://allowed.example/./v1", CHECK_URL),
    ("http://allowed.example/v1/.", CHECK_URL),
    ("http://allowed.example/%2e%2e/admin", CHECK_URL),
    ("http://allowed.example/v1/.%2E/admin", CHECK_URL),
    ("http://allowed.example/v1%2f..%2fadmin", CHECK_URL),
    ("http://allowed.example/v1%5c..%5cadmin", CHECK_URL),
    ("http://allowed.example/%252e%252e/admin", CHECK_URL),
    ("http://allowed.example/..;/admin", CHECK_URL),
    ("http://allowed.example/v1\\..\\admin", CHECK_URL),
    ("http://allowed.example/v1%00", CHECK_URL),
    ("http://allowed.example/v1%0d%0aX-Injected:%201", CHECK_URL),
    ("http://allowed.example/v1%", CHECK_URL),
    ("http://allowed.example/v1%zz", CHECK_URL),
    ("http://allowed.example/v1 files", CHECK_URL),
    ("http://allowed.example/é", CHECK_URL),
    ("http://allowed.example//evil.example", CHECK_URL),
    ("http://allowed.example/v1//files", CHECK_URL),
    # Names that are none.
    ("http://.", CHECK_URL),
    ("http://..", CHECK_URL),
    ("http://.example", CHECK_URL),
    ("http://localhost..", CHECK_URL),
    ("http://allowed..example", CHECK_URL),
    ("http://-allowed.example", CHECK_URL),
    ("http://*.example", CHECK_URL),
    ("http://*", CHECK_URL),
    ("http://" + "a" * 64 + ".example", CHECK_URL),
    ("http://" + "a." * 126 + "example", CHECK_URL),
    ("http://" + "a." * 126 + "aa", CHECK_URL),
    ("http://" + "é" * 100_000, CHECK_URL),
    # Names that may be named, of hosts that may not be reached.
    ("http://localhost", CONNECT, "127.0.0.1 ::1"),
    ("http://LOCALHOST.:8080/v1", CONNECT, "127.0.0.1"),
    ("HTTPS://localhost", CONNECT, "::1"),
    ("http://ip6-localhost", CONNECT, "::1"),
    ("http://localhost.localdomain", CONNECT, "127.0.0.1"),
    ("http://127.0.0.1.nip.example", CONNECT, "127.0.0.1"),
    ("http://0x7f.example", CONNECT, "127.0.0.1"),
    ("http://metadata.google.internal/computeMetadata/v1", CONNECT, "169.254.169.254"),
    ("http://metadata", CONNECT, "169.254.169.254"),
    ("http://instance-data.ec2.internal", CONNECT, "169.254.169.254 fd00:ec2::254"),
    ("http://kubernetes.default.svc", CONNECT, "10.96.0.1"),
    ("http://host.docker.internal", CONNECT, "192.168.65.2"),
    ("http://my_vllm:8000/v1", CONNECT, "172.18.0.3"),
    ("http://bücher.example", CONNECT, "10.0.0.1"),
    ("http://evil.example", CONNECT, "0.0.0.0"),
    ("http://evil.example", CONNECT, "127.0.0.1 10.0.0.1 ::1 fe80::1 169.254.169.254"),
    ("http://evil.example", CONNECT, "168.63.129.16"),
    ("http://evil.example", CONNECT, "100.100.100.200"),
    ("http://evil.example", CONNECT, "192.0.0.192"),
    ("http://evil.example", CONNECT, "::ffff:127.0.0.1"),
    ("http://evil.example", CONNECT, "::ffff:a9fe:a9fe"),
    ("http://evil.example", CONNECT, "::127.0.0.1"),
    ("http://evil.example", CONNECT, "64:ff9b::a9fe:a9fe"),
    ("http://evil.example", CONNECT, "64:ff9b:1::8.8.8.8"),
    ("http://evil.example", CONNECT, "2002:a9fe:a9fe::1"),
    ("http://evil.example", CONNECT, "2001:0:4136:e378:8000:63bf:f5ff:fffe"),
    ("http://evil.example", CONNECT, "fe80::1%eth0"),
    ("http://evil.example", CONNECT, "::1%lo"),
]


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: ascii(case[0])[:60])
def test_hostile_hosts_are_refused(
    case: tuple[str, ...],
    resolver: Resolver,
    unconnected: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, where, *addresses = case
    if where == CHECK_URL:
        with pytest.raises(InvalidRoute) as refused:
            ANY_NAME.check_url(url)
        assert type(refused.value) is InvalidRoute
        assert is_refusal(refused.value)
        assert not resolver.asked
        return
    checked = ANY_NAME.check_url(url)
    host = urlsplit(checked).hostname
    assert host is not None
    resolver.add(host, *addresses[0].split())
    with pools(ANY_NAME) as manager, pytest.raises(EgressRefused) as stopped:
        manager.request("GET", f"{checked}/files?secret=1")
    assert is_refusal(stopped.value)
    assert resolver.asked == [host]
    records = [record for record in caplog.records if record.name == "flask_portkey_files"]
    assert [record.levelno for record in records] == [logging.WARNING] * len(records)
    for record, address in zip(records, addresses[0].split(), strict=True):
        assert f" {address} " in record.getMessage()
        assert repr(host) in record.getMessage()
        assert "files?" not in record.getMessage()
        assert "secret" not in record.getMessage()


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) > 180
    assert len(set(HOSTILE)) == len(HOSTILE)


@pytest.mark.parametrize(
    "host", ["2130706433", "0177.0.0.1", "0x7f000001", "127.1", "0", "[::1]", "::ffff:7f00:1"]
)
def test_connect_relies_on_no_check_before_it(
    host: str, resolver: Resolver, unconnected: None
) -> None:
    with pytest.raises(EgressRefused):
        ANY_NAME.connect(host, 80)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://vllm.example:8443/v1", "https://vllm.example:8443/v1"),
        ("https://vllm.example:8443/v1/", "https://vllm.example:8443/v1"),
        ("HTTPS://VLLM.Example.:443///", "https://vllm.example"),
        ("http://vllm.example:443", "http://vllm.example:443"),
        ("http://vllm.example:80/a/B%20c/@:x", "http://vllm.example/a/B%20c/@:x"),
        ("http://vllm.example/...", "http://vllm.example/..."),
        ("http://vllm.example:65535", "http://vllm.example:65535"),
        ("http://my_vllm", "http://my_vllm"),
        ("http://BÜCHER.example", "http://xn--bcher-kva.example"),
        ("http://straße.example.", "http://xn--strae-oqa.example"),
        ("http://\N{KELVIN SIGN}.example", "http://k.example"),
        ("http://127.1:8080", "http://127.0.0.1:8080"),
        ("http://0x7f000001", "http://127.0.0.1"),
        ("http://[0:0::1]:8080", "http://[::1]:8080"),
        ("http://[::FFFF:10.0.0.1]", "http://10.0.0.1"),
    ],
)
def test_the_url_is_rebuilt(url: str, normal: str) -> None:
    policy = EgressPolicy("*, 127.0.0.1, ::1, 10.0.0.0/8")
    assert policy.check_url(url) == normal
    assert policy.check_url(normal) == normal


@pytest.mark.parametrize(
    ("entries", "allowed", "refused"),
    [
        ("", [], ["http://a.example", "http://127.0.0.1", "http://[::1]"]),
        (" , ,\n", [], ["http://a.example"]),
        ("a.example", ["http://a.example", "https://A.EXAMPLE.:1"], ["http://b.a.example"]),
        ("A.Example.", ["http://a.example"], ["http://xa.example", "http://a.example.org"]),
        ("a.example:8443", ["https://a.example:8443"], ["https://a.example"]),
        ("a.example:443", ["https://a.example", "http://a.example:443"], ["http://a.example"]),
        (
            "*.example",
            ["http://a.example", "http://a.b.example"],
            ["http://example", "http://xexample", "http://a.example.org"],
        ),
        ("*.example:80", ["http://a.example"], ["https://a.example"]),
        ("*", ["http://localhost", "https://a.b:1"], ["http://8.8.8.8", "http://[2600::1]"]),
        ("*:443", ["https://a.example"], ["http://a.example"]),
        ("bücher.example", ["http://xn--bcher-kva.example"], ["http://bucher.example"]),
        ("XN--BCHER-KVA.example", ["http://bücher.example"], []),
        ("*.bücher.example", ["http://a.bücher.example"], ["http://bücher.example"]),
        ("my_vllm localhost", ["http://my_vllm", "http://localhost"], ["http://vllm"]),
        ("a.example,b.example c.example", ["http://a.example", "http://c.example"], []),
        ("127.0.0.1", ["http://127.0.0.1:1", "http://127.1"], ["http://127.0.0.2"]),
        ("127.0.0.1:80", ["http://127.0.0.1"], ["https://127.0.0.1", "http://localhost"]),
        ("8.8.8.8", ["http://8.8.8.8", "http://[::ffff:8.8.8.8]"], ["http://8.8.4.4"]),
        ("10.0.0.0/8", ["http://10.1.2.3"], ["http://11.0.0.1", "http://[::a00:1]"]),
        ("10.0.0.0/8:8080", ["http://10.1.2.3:8080"], ["http://10.1.2.3"]),
        ("10.0.0.0/8", [], ["http://[64:ff9b::a00:1]", "http://[2002:a00:1::]"]),
        ("::1", ["http://[::1]"], ["http://[::2]", "http://[::]"]),
        ("[::1]", ["http://[::1]:1"], ["http://[::2]"]),
        ("[::1]:8080", ["http://[0::1]:8080"], ["http://[::1]"]),
        ("fd00::/8", ["http://[fd12::1]"], ["http://[fc00::1]"]),
        ("[fd00::/8]:443", ["https://[fd12::1]"], ["http://[fd12::1]"]),
        ("::ffff:10.0.0.1", ["http://10.0.0.1"], ["http://10.0.0.2"]),
        ("[::ffff:10.0.0.0/104]:80", ["http://10.9.9.9"], ["http://10.9.9.9:81"]),
        ("0.0.0.0/0", ["http://169.254.169.254", "http://8.8.8.8"], ["http://[::1]"]),
        ("0.0.0.0/0 ::/0", ["http://127.0.0.1"], ["http://[127.0.0.1]", "http://[127.1]"]),
        # Listing the IPv6 form alone is not enough, nor the IPv4 address alone.
        ("::/0", ["http://[::1]", "http://[2600::1]"], ["http://[::ffff:127.0.0.1]"]),
        ("::/0", [], ["http://[64:ff9b::7f00:1]", "http://[2002:7f00:1::]"]),
        ("::/0 127.0.0.1", ["http://[64:ff9b::7f00:1]", "http://[2002:7f00:1::]"], []),
    ],
)
def test_entries(entries: str, allowed: list[str], refused: list[str]) -> None:
    policy = EgressPolicy(entries)
    for url in allowed:
        assert policy.check_url(url)
    for url in refused:
        with pytest.raises(InvalidRoute):
            policy.check_url(url)


@pytest.mark.parametrize(
    "entry",
    [
        "https://a.example",
        "a.example/v1",
        "user@a.example",
        "user@é.example",
        "é.example/v1",
        "a.example:",
        "a.example:0",
        "a.example:080",
        "a.example:65536",
        "a.example:http",
        "a.example:８０",
        ":8080",
        "*:",
        "*a.example",
        "a.*.example",
        "*.*.example",
        "**",
        "*.",
        ".",
        ".example",
        "a..example",
        "-a.example",
        "a$.example",
        "a%20b.example",
        "a" * 64,
        "*.1.2.3.4",
        "*.10",
        "127.1",
        "010.0.0.1",
        "0x7f000001",
        "256.0.0.1",
        "1.2.3.4.5",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.255.255.255",
        "a.example/8",
        "１０.0.0.1",
        "[::1",
        "::1]",
        "[::1]:",
        "[::1]:0",
        "[::1]8080",
        "[fd00::]/8",
        "[10.0.0.1]:80",
        "[a.example]:80",
        "fe80::1%eth0",
        "fd00::1/8",
        "fd00::/129",
        ":::",
        "1:2:3",
    ],
)
def test_malformed_entries(entry: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(entry))) as raised:
        EgressPolicy(f"a.example, {entry} b.example")
    assert "PORTKEY_FILES_ALLOWED_HOSTS" in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.1", "100.127.255.255"),
        *("127.0.0.1", "127.255.255.255", "169.254.0.1", "169.254.169.254", "172.16.0.1"),
        *("172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.2.1"),
        *("192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1"),
        *("203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("168.63.129.16", "100.100.100.200", "192.0.0.192"),
        *("::", "::1", "::2", "100::1", "100:0:0:1::1", "64:ff9b:1::1", "64:ff9b:2::1"),
        *("2001::1", "2001:1::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1"),
        *("2002::1", "3ffe::1", "3fff::1", "3fff:fff:ffff::1", "4000::1", "5f00::1"),
        *("fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1"),
        *("ff0e::1", "::ffff:0:127.0.0.1", "fe80::1%eth0"),
        *("", "localhost", "127.1", "1.2.3.4/32", "[::1]", "8.8.8.8\x00", "8.8.8.8 "),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    with pytest.raises(EgressRefused):
        ANY_NAME.check_address(address, 443)


@pytest.mark.parametrize(
    "address",
    [
        *(PUBLIC, "8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255"),
        *("100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17"),
        *("169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255"),
        *("192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255"),
        *("198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
        *(PUBLIC6, "2001:200::1", "2001:4860:4860::8888", "2600::1", "2a00::1"),
    ],
)
def test_public_addresses(address: str) -> None:
    EgressPolicy("").check_address(address, 443)
    EgressPolicy("").check_address(ipaddress.ip_address(address), 443)


def test_listed_addresses_have_their_ports() -> None:
    policy = EgressPolicy("10.0.0.0/8:8080, ::1, [fd00::/8]:443")
    policy.check_address("10.0.0.1", 8080)
    policy.check_address("::ffff:10.0.0.1", 8080)
    policy.check_address("64:ff9b::10.0.0.1", 8080)
    policy.check_address("::1", 1)
    policy.check_address("fd00::1", 443)
    refused = [("10.0.0.1", 80), ("64:ff9b::a00:1", 80), ("fd00::1", 80), ("::10.0.0.1", 8080)]
    for address, port in refused:
        with pytest.raises(EgressRefused):
            policy.check_address(address, port)


def test_a_refusal_is_no_connection_error() -> None:
    # requests and urllib3 would wrap an OSError and may try it again.
    assert not issubclass(EgressRefused, OSError)
    assert (
        EgressRefused().body()
        == InvalidRoute("Invalid custom host", param="x-portkey-custom-host").body()
    )


FORMS: dict[str, Callable[[int], int]] = {
    "mapped": lambda v4: (0xFFFF << 32) | v4,
    "compatible": lambda v4: v4,
    "nat64": lambda v4: (0x64FF9B << 96) | v4,
    "local nat64": lambda v4: (0x64FF9B0001 << 80) | v4,
    "6to4": lambda v4: (0x2002 << 112) | (v4 << 80) | 1,
    "teredo client": lambda v4: (0x20010000 << 96) | (0x08080808 << 64) | (v4 ^ 0xFFFFFFFF),
    "teredo server": lambda v4: (0x20010000 << 96) | (v4 << 64) | (0x08080808 ^ 0xFFFFFFFF),
}
#: Forms that are public where their IPv4 address is; each other one has to be listed itself.
ALSO_PUBLIC = {"mapped", "nat64"}


def permits(policy: EgressPolicy, address: object) -> bool:
    try:
        policy.check_address(str(address), 443)
    except EgressRefused:
        return False
    return True


INSIDE = st.sampled_from(
    [
        int(ipaddress.IPv4Address(address))
        for address in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "168.63.129.16", "8.8.8.8")
    ]
)


@given(v4=INSIDE | st.integers(2, 2**32 - 1), form=st.sampled_from(sorted(FORMS)))
def test_an_ipv4_address_inside_an_ipv6_address_is_judged_as_such(v4: int, form: str) -> None:
    inner = ipaddress.IPv4Address(v4)
    outer = ipaddress.IPv6Address(FORMS[form](v4))
    own = [EgressPolicy(entries) for entries in ("", "*", "10.0.0.0/8")]
    for policy in own:
        expected = permits(policy, inner) and form in ALSO_PUBLIC
        assert permits(policy, outer) == expected
    # And where all of IPv6 is listed, it is up to the IPv4 address alone.
    for entries in ("::/0", "::/0 10.0.0.0/8", f"::/0 {inner}:443", f"::/0 {inner}:444"):
        policy = EgressPolicy(entries)
        assert permits(policy, outer) == permits(policy, inner)


PIECES = st.sampled_from(
    [
        *("http", "https", "HTTP", "file", ":", "//", "/", "\\", "@", "#", "?", "[", "]", "*"),
        *("%", "%00", "%2e", "%2f", "%25", ".", "..", "-", "_", ";", "&", "v1", "allowed"),
        *("localhost", "xn--", "xn--a", "127.0.0.1", "127.1", "0x7f", "::1", "%25eth0"),
        *("::ffff:127.0.0.1", "80", "443", "0", "65536", "１", "。", "é", "ß", "א", "ا"),
        *(" ", "\t", "\n", "\x00", "\x7f", "\ud800"),
        *("\N{KELVIN SIGN}", "\N{LATIN SMALL LETTER LONG S}", "\N{ZERO WIDTH JOINER}"),
    ]
)
ANY_TEXT = st.text(st.characters())  # Lone surrogates included.
URLS = (
    ANY_TEXT
    | st.lists(PIECES | ANY_TEXT, max_size=12).map("".join)
    | st.builds("{}://{}{}".format, st.sampled_from(["http", "https"]), PIECES, ANY_TEXT)
    | st.lists(PIECES, min_size=1, max_size=8).map(lambda pieces: "http://" + "".join(pieces))
)


@given(url=URLS)
@example(url="http://[::ffff:1.2.3.4]:8080/a")
@example(url="http://xn--a.example")
@example(url="http://é.example/v1/")
def test_what_is_checked_is_what_is_connected_to(url: str) -> None:
    policy = EgressPolicy("*, 0.0.0.0/0, ::/0")
    try:
        checked = policy.check_url(url)
    except InvalidRoute as error:
        assert is_refusal(error)  # noqa: PT017 - it may be raised or not
        return
    assert checked.isascii()
    assert policy.check_url(checked) == checked
    parsed, split = urllib3.util.parse_url(checked), urlsplit(checked)
    prepared = requests.Request("GET", checked).prepare()
    assert parsed.scheme == split.scheme
    assert parsed.host is not None
    assert parsed.host.strip("[]") == split.hostname
    assert parsed.port == split.port
    assert prepared.url is not None
    assert urlsplit(prepared.url).netloc == split.netloc == parsed.netloc
    assert (parsed.auth, parsed.query, parsed.fragment) == (None, None, None)
    assert (parsed.path or "").upper() == split.path.upper()
    # Nobody is named by this but the host that was checked: alone, it is enough to list it.
    port = split.port or {"http": 80, "https": 443}[split.scheme]
    entries = f"{parsed.host}:{port} 0.0.0.0/0"
    assert EgressPolicy(entries).check_url(checked) == checked


@given(text=ANY_TEXT | st.lists(PIECES, max_size=6).map("".join))
def test_a_setting_is_read_or_said_to_be_malformed(text: str) -> None:
    try:
        EgressPolicy(text)
    except ValueError as error:
        assert str(error).startswith("PORTKEY_FILES_ALLOWED_HOSTS: ")  # noqa: PT017


@given(address=st.text() | st.ip_addresses().map(str))
def test_an_address_is_permitted_or_refused(address: str) -> None:
    permits(ANY_NAME, address)


@pytest.mark.parametrize(
    ("entries", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:{port}", "127.0.0.1"),
        ("127.0.0.0/8:{port}", "2130706433"),
        ("127.0.0.0/8", "[::ffff:127.0.0.1]"),
        ("vllm.internal, 127.0.0.0/8", "vllm.internal"),
        ("*.internal:{port} 127.0.0.0/8:{port}", "VLLM.internal."),
    ],
)
def test_what_is_allowed_is_reached(entries: str, host: str, resolver: Resolver) -> None:
    resolver.add("vllm.internal", "127.0.0.1")
    with serving() as port:
        policy = EgressPolicy(entries.format(port=port))
        url = policy.check_url(f"http://{host}:{port}/v1/")
        with pools(policy) as manager:
            for _ in range(2):
                response = manager.request("GET", f"{url}/files")
                assert response.data.decode() == f"{url}/files".removeprefix("http://")
    assert len(resolver.asked) == 1  # The connection was kept.


def test_ipv6_is_reached() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        require(False, "needs IPv6 on loopback")
    with serving("::1") as port:
        policy = EgressPolicy(f"[::1]:{port}")
        with pools(policy) as manager:
            url = policy.check_url(f"http://[0:0::1]:{port}")
            assert manager.request("GET", url).data.decode() == f"[::1]:{port}/"
        elsewhere = EgressPolicy(f"[::1]:{port + 1}")
        with pools(elsewhere) as manager, pytest.raises(EgressRefused):
            manager.request("GET", url)


@pytest.mark.parametrize(
    "entries",
    ["", "*", "vllm.internal", "vllm.internal 127.0.0.1:1", "vllm.internal 10.0.0.0/8"],
)
def test_a_listed_name_does_not_list_its_address(
    entries: str, resolver: Resolver, unconnected: None
) -> None:
    resolver.add("vllm.internal", "127.0.0.1")
    with pools(EgressPolicy(entries)) as manager, pytest.raises(EgressRefused):
        manager.request("GET", "http://vllm.internal:8080/v1")


def test_a_refusal_passes_through_requests(resolver: Resolver) -> None:
    resolver.add("evil.example", "127.0.0.1")
    with requests.Session() as session, pools(ANY_NAME) as manager:
        session.trust_env = False
        for scheme in ("http", "https"):
            adapter = session.get_adapter(f"{scheme}://")
            assert isinstance(adapter, requests.adapters.HTTPAdapter)
            adapter.poolmanager.pool_classes_by_scheme = manager.pool_classes_by_scheme
            for _ in range(2):
                with pytest.raises(EgressRefused):
                    session.get(f"{scheme}://evil.example/")


def test_rebinding_gains_nothing(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    # Public when it is asked for first, inside ever after: it is asked for once a connection.
    resolver.add("evil.example", PUBLIC)
    resolver.add("evil.example", "127.0.0.1")
    connected: list[Any] = []
    refuse = ConnectionRefusedError("nobody there")

    def connect(sock: socket.socket, address: Any) -> None:
        connected.append(address)
        raise refuse

    monkeypatch.setattr(socket.socket, "connect", connect)
    with serving() as port, pools(ANY_NAME) as manager:
        url = ANY_NAME.check_url(f"http://evil.example:{port}")
        with pytest.raises(NewConnectionError):
            manager.request("GET", url)
        assert resolver.asked == ["evil.example"]
        assert connected == [(PUBLIC, port)]
        with pytest.raises(EgressRefused):
            manager.request("GET", url)
        assert resolver.asked == ["evil.example"] * 2
        assert connected == [(PUBLIC, port)]


def test_refused_addresses_are_passed_over(
    resolver: Resolver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[str] = []
    real = socket.socket.connect

    def connect(sock: socket.socket, address: Any) -> None:
        connected.append(address[0])
        real(sock, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    resolver.add("vllm.internal", "169.254.169.254", "127.0.0.2", "10.0.0.1", "127.0.0.1")
    policy = EgressPolicy("vllm.internal 127.0.0.0/8")
    with serving() as port, policy.connect("vllm.internal", port, timeout=5) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)
    assert connected == ["127.0.0.2", "127.0.0.1"]  # Nobody is at the first.
    assert len(resolver.asked) == 1
    logged = [r.getMessage() for r in caplog.records if r.name == "flask_portkey_files"]
    assert len(logged) == 2
    assert "169.254.169.254" in logged[0]
    assert "10.0.0.1" in logged[1]


def test_what_was_not_reached_tells_more_than_what_was_refused(resolver: Resolver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    resolver.add("vllm.internal", "10.0.0.1", "127.0.0.1", "10.0.0.2")
    with pytest.raises(ConnectionRefusedError):
        EgressPolicy("127.0.0.1").connect("vllm.internal", port, timeout=5)


def test_a_machine_without_ipv6(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def make(family: int, *args: int, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError("address family not supported")
        return real(family, *args, **options)  # The server's own among them.

    resolver.add("vllm.internal", "::1", "127.0.0.1")
    with serving() as port:
        monkeypatch.setattr(socket, "socket", make)
        with EgressPolicy("::1 127.0.0.1").connect("vllm.internal", port) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
        monkeypatch.undo()


def test_the_name_is_resolved_with_its_dot(resolver: Resolver, unconnected: None) -> None:
    # For those who make a connection without check_url(); a search list is not for such names.
    resolver.add("vllm.internal", "127.0.0.1")
    with pools(ANY_NAME) as manager, pytest.raises(EgressRefused):
        manager.request("GET", "http://vllm.internal.")
    assert resolver.asked == ["vllm.internal."]


class FakeSocket:
    """Records what is done to it, and times out."""

    made: list[FakeSocket] = []  # noqa: RUF012 - each test has its own

    def __init__(self, *kind: int) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.made.append(self)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: self.calls.append((name, *args))

    def connect(self, address: Any) -> None:
        self.calls.append(("connect", address))
        raise TimeoutError("timed out")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"timeout": None},
        {"timeout": 1.5},
        {"timeout": urllib3.Timeout.DEFAULT_TIMEOUT},
        {"source_address": ("127.0.0.9", 0)},
        {"socket_options": [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]},
        {"timeout": 2.0, "source_address": ("::", 0), "socket_options": []},
    ],
)
def test_it_connects_just_as_urllib3_does(
    options: dict[str, Any], resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver.add("a.example", PUBLIC6, PUBLIC)
    monkeypatch.setattr(socket, "socket", FakeSocket)
    ways: list[Callable[[], Any]] = [
        lambda: ANY_NAME.connect("a.example", 443, **options),
        lambda: urllib3.util.connection.create_connection(("a.example", 443), **options),
    ]
    done = []
    for connect in ways:
        monkeypatch.setattr(FakeSocket, "made", [])
        with pytest.raises(TimeoutError, match="timed out"):
            connect()
        done.append([sock.calls for sock in FakeSocket.made])
    assert done[0] == done[1]
    assert ("connect", (PUBLIC6, 443, 0, 0)) in done[0][-2]
    assert ("connect", (PUBLIC, 443)) in done[0][-1]
    assert all(calls[-1] == ("close",) for calls in done[0])


def raises(error: Exception) -> Callable[..., Any]:
    def raising(*args: Any, **options: Any) -> Any:
        raise error

    return raising


@pytest.mark.parametrize(
    ("host", "getaddrinfo", "expected"),
    [
        ("a.example", raises(socket.gaierror(-2, "unknown")), NameResolutionError),
        ("a.example", raises(OSError("something else")), NewConnectionError),
        ("a.example", lambda *args: [], NewConnectionError),
        ("a.example", lambda *args: [(2, 1, 6, "", (PUBLIC, 443))], ConnectTimeoutError),
        ("a..example", raises(AssertionError()), LocationParseError),
        ("a" * 64, raises(AssertionError()), LocationParseError),
    ],
)
def test_errors_are_those_of_urllib3(
    host: str,
    getaddrinfo: Callable[..., Any],
    expected: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Guarded(GuardedConnection, urllib3.connection.HTTPConnection):
        egress = ANY_NAME

    kinds: tuple[type[urllib3.connection.HTTPConnection], ...]
    kinds = (Guarded, urllib3.connection.HTTPConnection)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "socket", FakeSocket)
    monkeypatch.setattr(FakeSocket, "made", [])
    texts = []
    for kind in kinds:
        connection = kind(host, 443, timeout=3)
        with pytest.raises(expected) as raised:
            connection.connect()
        assert type(raised.value) is expected
        # The connection is quoted, with its class.
        text = str(raised.value).replace(repr(connection), "").replace(str(connection), "")
        texts.append(text)
        connection.close()
    assert texts[0] == texts[1]


def test_the_certificate_is_still_for_the_name(resolver: Resolver, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    require(openssl, "needs openssl: apt-get install openssl")
    assert openssl is not None
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=vllm.internal", "-addext", "subjectAltName=DNS:vllm.internal"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    resolver.add("vllm.internal", "127.0.0.1")
    resolver.add("other.internal", "127.0.0.1")
    policy = EgressPolicy("*.internal 127.0.0.1")
    with serving(tls=tls) as port, pools(policy, ca_certs=certificate) as manager:
        response = manager.request("GET", f"https://vllm.internal:{port}/v1")
        assert response.data.decode() == f"vllm.internal:{port}/v1"
        with pytest.raises(urllib3.exceptions.SSLError, match="other\\.internal"):
            manager.request("GET", f"https://other.internal:{port}/v1")
