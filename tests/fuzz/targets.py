"""What is fuzzed: each function takes any bytes, and raises if something is wrong.

A :class:`~flask_portkey_files.errors.FilesError` is an answer to a client, all else a finding.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

import urllib3
from werkzeug.datastructures import Headers

from flask_portkey_files import FilesCall, HeaderResolver, Operation, Target
from flask_portkey_files.digest import REQUEST_HEADER, FileDigest
from flask_portkey_files.egress import EgressPolicy
from flask_portkey_files.errors import FilesError
from flask_portkey_files.form import FilePart, FormField, UploadForm
from flask_portkey_files.headers import (
    HOP_BY_HOP,
    REQUEST_STOP,
    RESPONSE_STOP,
    downstream_headers,
    upstream_headers,
)
from flask_portkey_files.multipart import LiveFile
from flask_portkey_files.providers import Provider, registry
from flask_portkey_files.providers.paging import MAX_LIMIT, ListQuery
from flask_portkey_files.routing import plan

from ..unit.forms import BOUNDARY, END, field, file
from .outcome import Parts, multiparts, ours, werkzeugs

BOUNDARIES = (BOUNDARY, "-", "--", "a b", "x'()+_,-./:=?", "0" * 70)


class Finding(Exception):
    """Something is not as it should be."""


def expect(holds: object, what: str) -> None:
    """Raise a :class:`Finding` unless it *holds*."""
    if not holds:
        raise Finding(what)


def form(data: bytes) -> None:
    """Read a multipart form, whole and in pieces, live and held back, and send it on.

    The first bytes choose the boundary and the sizes of reads.
    """
    if len(data) < 3:
        return
    boundary = BOUNDARIES[data[0] % len(BOUNDARIES)]
    check_form(data[3:], boundary, (data[1] % 97 + 1, data[2] + 1))


def check_form(body: bytes, boundary: str, sizes: tuple[int, ...]) -> Parts | None:
    """Return what comes of a form, having looked at it from all sides."""
    whole = ours(body, boundary)
    for one in (
        ours(body, boundary, sizes=sizes),
        ours(body, boundary, live=False),
        ours(body, boundary, sizes=sizes, live=False),
    ):
        if isinstance(whole, str) or isinstance(one, str):
            expect(isinstance(whole, str) and isinstance(one, str), f"{whole} or {one}")
        else:
            expect(whole.same_as(one), "other parts, by how the bytes came in")
    if isinstance(whole, str):
        return None
    _check_against_others(body, boundary, whole)
    _check_sent(whole)
    return whole


def _check_against_others(body: bytes, boundary: str, parts: Parts) -> None:
    line = boundary.encode("latin-1")
    theirs = werkzeugs(body, line)
    if theirs is not None:
        named = [(name, content) for name, filename, content in theirs if filename is None]
        expect(named == list(parts.fields), "werkzeug reads other fields")
        files = [(filename, content) for _, filename, content in theirs if filename is not None]
        expect(files == [(parts.filename, parts.content)], "werkzeug reads another file")
    # The other library takes only CR LF for the end of a line, in heads as well.
    strange = re.search(rb"(?<!\r)\n|\r(?!\n)", body)
    contents = None if strange else multiparts(body, boundary)
    if contents is not None:
        ours_ = sorted([parts.content, *(value for _, value in parts.fields)])
        expect(sorted(contents) == ours_, "multipart reads other contents")


def _check_sent(parts: Parts) -> None:
    """Look whether a provider finds in the form what the gateway found."""
    got = werkzeugs(parts.sent, parts.boundary)
    expect(got is not None, "what is sent is no form")
    assert got is not None
    named = [(name, content) for name, filename, content in got if filename is None]
    expect(named == list(parts.fields), "a provider reads other fields")
    files = [
        (name, filename, content) for name, filename, content in got if filename is not None
    ]
    expect(files == [("file", parts.filename, parts.content)], "a provider reads another file")


def digest(data: bytes) -> None:
    """Read what a client says of its file's digest, in each of the three places."""
    text = data.decode("latin-1")
    for part, request in (
        ((("Content-Digest", text),), None),
        ((("repr-digest", text), ("Content-Digest", text)), text),
        ((), text),
    ):
        with contextlib.suppress(FilesError):
            found = FileDigest.asked(part, request, always=False)
            if found is not None:
                with contextlib.suppress(FilesError):
                    list(found.through([b"content"]))
                    # Nobody guesses a digest by chance.
                    expect(not request, f"{REQUEST_HEADER} was not held against the file")


@cache
def _policy() -> EgressPolicy:
    return EgressPolicy("allowed.example, *.suffix.example:8443, 10.0.0.0/8, 2001:db8::/32")


def egress(data: bytes) -> None:
    """Check a custom host of a client's, and read a setting of the host's own."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        EgressPolicy(text)
    with contextlib.suppress(FilesError):
        url = _policy().check_url(text)
        expect(_policy().check_url(url) == url, "the normal form is not normal")
        seen = urlsplit(url)
        also = urllib3.util.parse_url(url)
        expect(seen.hostname == (also.host or "").strip("[]"), "two readers, two hosts")
        expect(seen.port == also.port, "two readers, two ports")
        expect(not (seen.username or seen.query or seen.fragment), "more than a base URL")
        port = seen.port or {"http": 80, "https": 443}[seen.scheme]
        expect(_is_listed(seen.hostname or "", port), f"{url} is not listed")


def _is_listed(host: str, port: int) -> bool:
    if host == "allowed.example" or (host.endswith(".suffix.example") and port == 8443):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(
        address in ipaddress.ip_network(network) for network in ("10.0.0.0/8", "2001:db8::/32")
    )


@cache
def _resolver() -> HeaderResolver:
    stored = Target("openai", api_key="sk-stored")
    return HeaderResolver(
        virtual_keys={"v": stored}, configs={"c": {"virtual_key": "v"}}, api_keys=["k"]
    )


def config(data: bytes) -> None:
    """Resolve a call with any config, and plan its way."""
    text = data.decode("latin-1")
    for name in ("x-portkey-config", "x-portkey-provider", "x-portkey-metadata"):
        headers = Headers(
            [
                ("x-portkey-api-key", "k"),
                ("x-portkey-provider", "openai"),
                ("x-portkey-metadata", '{"a": "1"}'),
            ]
        )
        with contextlib.suppress(ValueError):  # A line break, which no server lets through.
            headers.set(name, text)
        call = FilesCall(operation=Operation.LIST, headers=headers, query_string=text)
        with contextlib.suppress(FilesError):
            plan(_resolver()(call), call)
        with contextlib.suppress(FilesError):
            asked = ListQuery.of(call)
            expect(1 <= asked.limit <= MAX_LIMIT, "a limit that is none")


def headers(data: bytes) -> None:
    """Filter a head, both ways."""
    lines = [line.partition(b":") for line in data.split(b"\n")]
    pairs = []
    for name, _, value in lines:
        with contextlib.suppress(ValueError):
            pairs += list(Headers([(name.decode("latin-1"), value.decode("latin-1"))]))
    for key, text in downstream_headers(pairs):
        expect(key.lower() not in RESPONSE_STOP, f"{key} came down")
        expect(key.lower() != "content-length" or text.isdigit(), "a length that is none")
    forward = [key for key, _ in pairs]
    for key, _ in upstream_headers(Headers(pairs), forward):
        expect(key.lower() not in REQUEST_STOP | HOP_BY_HOP, f"{key} went up")


@cache
def _providers() -> dict[str, Provider]:
    return registry()


def expiry(data: bytes) -> None:
    """Tell each provider when a file is to expire."""
    name, _, value = data.partition(b"=")
    fields = (
        FormField("purpose", b"batch"),
        FormField("expires_after" + name.decode("utf-8", "replace"), value),
    )
    for slug, provider in _providers().items():
        upload = UploadForm(
            fields, FilePart("a", "text/plain", (), LiveFile(iter(()))), iter(fields)
        )
        with contextlib.suppress(FilesError):
            list(provider.accept(Target(slug), upload).trailing)


@dataclass(frozen=True)
class Fuzzed:
    """Something that is fuzzed, from *seeds* on."""

    run: Callable[[bytes], object]
    #: Whose code the fuzzer watches: modules by the beginning of their names.
    modules: tuple[str, ...]
    seeds: tuple[bytes, ...]
    #: Words that it knows.
    words: tuple[bytes, ...] = ()


_PURPOSE = field("purpose", "batch")
_FORMS = (
    _PURPOSE + file(b"content\r\n--b0undar") + END,
    file(b"{}\n", 'a\\"b') + _PURPOSE + field("expires_after[seconds]", "3600") + END,
    b"preamble\r\n" + _PURPOSE + file(b"", "", "Content-Type: text/plain") + END + b"epilogue",
    _PURPOSE + file(b"x", "données", "Content-Digest: sha-256=:AA==:") + field("é", "é") + END,
    _PURPOSE.replace(b"\r\n", b"\n")
    + file(b"x").replace(b"b0undary\r", b"b0undary \t\r")
    + END,
)
_SHA = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

TARGETS = {
    "form": Fuzzed(
        form,
        ("multipart", "boundary", "encoder", "spool"),
        tuple(b"\x00\x06\x40" + body for body in _FORMS),
        (
            *(
                b"--b0undary",
                b"--b0undary--",
                b"\r\n",
                b"\r",
                b"\n",
                b" \t",
                b"filename*=UTF-8''",
            ),
            *(b'Content-Disposition: form-data; name="', b'; filename="', b"Content-Type:"),
            *(b'"file"', b'"purpose"', b"name*=", b'\\"', b"%22", b"\r\n\r\n"),
        ),
    ),
    "digest": Fuzzed(
        digest,
        ("digest",),
        (f"sha-256=:{_SHA}:".encode(), b"sha-512=:AA==:;a=b, md5=:AA==:", b"0" * 64),
        (b"sha-256=:", b"sha-512=:", b":;", b", ", _SHA.encode()),
    ),
    "egress": Fuzzed(
        egress,
        ("egress",),
        (
            *(
                b"https://allowed.example/v1",
                b"http://a.suffix.example:8443",
                b"http://10.1.2.3:8",
            ),
            *(b"https://[2001:db8::1]/a%20b", b"*.a.example:1, 10.0.0.0/8, [::1]:8080"),
        ),
        (
            *(
                b"https://",
                b"@",
                b"allowed.example",
                b".suffix.example",
                b":8443",
                b"%2e",
                b"\\",
            ),
            *(b"[2001:db8::", b"10.0.0.", b"0x0a", b"\xe3\x80\x82", b"//", b"/..", b"#", b"?"),
        ),
    ),
    "config": Fuzzed(
        config,
        ("config", "conditions", "resolver", "routing", "call", "providers.paging"),
        (
            b'{"provider":"openai","api_key":"a","retry":{"attempts":2,"on_status_codes":[429]}}',
            b'{"strategy":{"mode":"fallback"},"targets":[{"virtual_key":"v"},{"provider":"x-ai",'
            b'"api_key":"a","weight":0.5,"request_timeout":1,"custom_host":"https://a.example"}]}',
            b'{"strategy":{"mode":"conditional","conditions":[{"query":{"metadata.a":{"$regex":'
            b'"1"}},"then":"a"}],"default":"a"},"targets":[{"name":"a","virtual_key":"v"}]}',
            b'{"strategy":{"mode":"loadbalance"},"targets":[{"virtual_key":"v","weight":1}]}',
            b"limit=10&order=asc&after=file-1&purpose=batch",
        ),
        (
            *(b'"strategy"', b'"targets"', b'"mode"', b'"conditions"', b'"query"', b'"$and"'),
            *(b'"$or"', b'"$in"', b'"$nin"', b'"$gt"', b'"$regex"', b'"then"', b'"default"'),
            *(
                b'"weight"',
                b'"forward_headers"',
                b'"override_params"',
                b"1e999",
                b"NaN",
                b"null",
            ),
        ),
    ),
    "headers": Fuzzed(
        headers,
        ("headers",),
        (b"Content-Type: a\nContent-Length: 5\nConnection: close, x-a\nx-a: b\nSet-Cookie: c",),
        (b"Transfer-Encoding: chunked", b"Connection: ", b"x-amz-request-id: ", b"Cookie"),
    ),
    "expiry": Fuzzed(
        expiry,
        ("providers.expiry", "providers.base"),
        (b"[seconds]=3600", b"[anchor]=created_at", b'={"anchor":"created_at","seconds":3600}'),
        (b"[seconds]=", b"[anchor]=", b'"seconds":', b".seconds="),
    ),
}
