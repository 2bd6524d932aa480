from __future__ import annotations

import pytest
from werkzeug.datastructures import Headers

from flask_portkey_files.headers import bearer, downstream_headers, upstream_headers


def test_only_what_is_listed_goes_up() -> None:
    sent = Headers(
        {
            "accept": "application/json",
            "RANGE": "bytes=0-1",
            "If-None-Match": '"x"',
            "User-Agent": "openai-python",
            "OpenAI-Beta": "assistants=v2",
            "Idempotency-Key": "k",
            "Authorization": "Bearer sk-client",
            "Cookie": "session=1",
            "Host": "gateway",
            "x-portkey-api-key": "pk",
            "X-Internal-Token": "secret",
            "OpenAI-Organization": "org-of-someone-else",
            "OpenAI-Project": "proj-of-someone-else",
            "Content-Type": "application/json",
            "Content-Length": "2",
            "Transfer-Encoding": "chunked",
            "Expect": "100-continue",
            "X-Forwarded-For": "10.0.0.1",
            "Proxy-Authorization": "Basic x",
            "Forwarded": "for=10.0.0.1",
        }
    )
    assert {name.lower() for name in upstream_headers(sent).keys()} == {  # noqa: SIM118
        "accept",
        "range",
        "if-none-match",
        "user-agent",
        "openai-beta",
        "idempotency-key",
    }


def test_what_connection_names_stays_here() -> None:
    sent = Headers({"Connection": "close, Range", "Range": "bytes=0-1", "Accept": "*/*"})
    assert list(upstream_headers(sent)) == [("Accept", "*/*")]


def test_what_comes_down() -> None:
    headers = downstream_headers(
        [
            ("Content-Type", "application/json"),
            ("X-Request-Id", "req_1"),
            ("x-ratelimit-remaining-requests", "9"),
            ("Retry-After", "3"),
            ("Link", "<a>"),
            ("Link", "<b>"),
            ("Content-Encoding", "gzip"),
            ("ETag", '"e"'),
            ("Connection", "keep-alive, X-Hop"),
            ("connection", "X-Hop-2"),
            ("Keep-Alive", "timeout=5"),
            ("X-Hop", "1"),
            ("x-hop-2", "2"),
            ("Transfer-Encoding", "chunked"),
            ("Set-Cookie", "__cf_bm=1"),
            ("Server", "cloudflare"),
            ("Date", "now"),
            ("Alt-Svc", 'h3=":443"'),
            ("Strict-Transport-Security", "max-age=1"),
            ("Access-Control-Allow-Origin", "*"),
            ("X-Accel-Redirect", "/etc/passwd"),
            ("X-Sendfile", "/etc/passwd"),
            ("X-Portkey-Provider", "forged"),
        ]
    )
    assert list(headers) == [
        ("Content-Type", "application/json"),
        ("X-Request-Id", "req_1"),
        ("x-ratelimit-remaining-requests", "9"),
        ("Retry-After", "3"),
        ("Link", "<a>"),
        ("Link", "<b>"),
        ("Content-Encoding", "gzip"),
        ("ETag", '"e"'),
    ]


def test_a_length_beside_a_transfer_encoding_is_none() -> None:
    sent = [("Content-Length", "3"), ("Transfer-Encoding", "chunked"), ("A", "1")]
    assert list(downstream_headers(sent)) == [("A", "1")]


@pytest.mark.parametrize("length", ["abc", "5, 5", "-5", "", "+5"])
def test_what_a_server_would_refuse_to_send(length: str) -> None:
    assert list(downstream_headers([("Content-Length", length), ("B d", "1")])) == []


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer sk-1", "sk-1"),
        ("bearer  sk-1 ", "sk-1"),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("", None),
        (None, None),
    ],
)
def test_bearer(value: str | None, token: str | None) -> None:
    assert bearer(value) == token


@pytest.mark.parametrize("name", ["request-id", "X-Amz-Request-Id"])
def test_a_request_id_is_where_openais_clients_look(name: str) -> None:
    down = downstream_headers([(name, "req-1")])
    assert list(down) == [(name, "req-1"), ("x-request-id", "req-1")]
    own = [(name, "req-1"), ("X-Request-ID", "req-2")]
    assert list(downstream_headers(own)) == own
