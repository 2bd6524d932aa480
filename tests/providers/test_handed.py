"""Addresses that a provider hands out."""

from __future__ import annotations

import pytest

from flask_portkey_files.errors import UpstreamError
from flask_portkey_files.providers.handed import handed

TLS, PLAIN = "https://api.example.com/v1", "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("https://store.example.com/a%2Fb?sig=a+b/c=&x", TLS),
        ("https://store.example.com:8443/", TLS),
        ("https://[2001:db8::1]/x", TLS),
        ("https://store.example.com/x", PLAIN),
        ("http://127.0.0.1:9000/x", PLAIN),
    ],
)
def test_takes_addresses(url: str, base_url: str) -> None:
    assert handed(url, base_url) == url


def test_leaves_the_fragment_out() -> None:
    assert handed("https://store.example.com/x?y#z", TLS) == "https://store.example.com/x?y"


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "/relative",
        "//store.example.com/x",
        "http://store.example.com/secret",
        "ftp://store.example.com/secret",
        "file:///etc/secret",
        "https:///secret",
        "https://user:secret@store.example.com/",
        "https://@store.example.com/secret",
        "https://store.example.com\\@other.example.com/secret",
        "https://store.example.com:port/secret",
        "https://store.example.com:0/secret",
        "https://[store.example.com/secret",
        "https://store.example.com/secret\r\nX-Header: 1",
        "https://store.example.com/se cret",
        "https://störe.example.com/secret",
    ],
)
def test_refuses_the_rest_without_quoting_it(url: str | None) -> None:
    with pytest.raises(UpstreamError) as caught:
        handed(url, TLS)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
