"""What ``check --url`` finds on the way to a running gateway, as far as a client can tell."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import secrets
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..encoder import FormEncoder
from ..form import FilePart, FormField, UploadForm
from ..settings import KIB, MIB
from .connection import Connection, file_path
from .findings import Finding, failed, info, ok, warning
from .output import Failed, size
from .reach import certificate

#: How long an answer to an upload of which nothing was sent yet is waited for, in seconds.
PATIENCE = 5.0

#: The lengths that are announced, to see which are turned away on the way.
LENGTHS = (2 * MIB, 16 * MIB, 64 * MIB, 512 * MIB)

TRACE = "x-portkey-trace-id"

#: A text that a proxy that compresses would compress.
_TEXT = b'{"custom_id": "check"}\n' * (64 * KIB // 23)


class _Text:
    """The test file's content."""

    length: int | None = len(_TEXT)

    def blocks(self) -> Iterator[bytes]:
        yield _TEXT

    def close(self) -> None:
        """Do nothing."""


def outside_findings(
    connection: Connection, ca_bundle: str | None, purpose: str | None
) -> Iterator[Finding]:
    """Yield what is on the way to the gateway at ``connection``.

    :param purpose: the purpose of a file to upload, download and delete again; none is
        uploaded if ``None``.
    """
    yield from certificate("TLS", connection.base_url, ca_bundle)
    ours: bool | None = None
    for finding in _list_findings(connection):
        ours = finding.topic != "not ours"
        yield finding
    if not ours:
        return
    yield from _upload_findings(connection, ca_bundle)
    if purpose is None:
        yield info(
            "downloads",
            "not tested: --test-file PURPOSE uploads a small file, downloads it and deletes it",
        )
    else:
        yield from _download_findings(connection, purpose)
    yield info(
        "not told",
        "from outside it can't be seen whether downloads are buffered on their way, nor how "
        "long an idle transfer is let be",
    )


def _list_findings(connection: Connection) -> Iterator[Finding]:
    trace = f"check-{secrets.token_hex(8)}"
    try:
        with connection.open(
            "GET", "/files", params={"limit": "1"}, headers={TRACE: trace}
        ) as response:
            response.content  # noqa: B018 - reads it
    except Failed as error:
        yield failed("not ours", error.message)
        return
    told = response.headers.get(TRACE)
    if told is None:
        yield failed(
            "not ours",
            f"what answers {response.status_code} there is not this blueprint, or something "
            "before it takes the x-portkey-* headers off its answers.",
        )
        return
    if response.ok:
        yield ok("list", f"answered {response.status_code}")
    else:
        yield failed("list", f"answered {response.status_code}: see `list` for the reason.")
    if told == trace:
        yield ok("headers", "x-portkey-* headers arrive, and come back")
    else:
        yield failed(
            "headers",
            "x-portkey-* headers are taken off requests before they reach the gateway.",
        )


def _upload_findings(connection: Connection, ca_bundle: str | None) -> Iterator[Finding]:
    """Yield how uploads get through.

    Nothing is uploaded: the request announces a body that the gateway refuses by its type, and
    sends nothing of it. So an answer of the gateway's shows that a request gets there before
    its body is complete. Something that waits for the body still refuses at once what is too
    large for it.
    """
    try:
        first = _announce(connection, ca_bundle, KIB, PATIENCE)
        if first is None:
            yield warning(
                "uploads",
                f"no answer within {PATIENCE:g} s to an upload whose body was held back: "
                "something before the gateway takes uploads whole before it passes them on. "
                "With nginx: proxy_request_buffering off.",
            )
        elif first.ours:
            yield ok("uploads", "reach the gateway as they are sent, not only when complete")
        else:
            yield failed(
                "uploads", f"are answered {first.status} by something before the gateway."
            )
            return
        for length in LENGTHS:
            answer = _announce(
                connection, ca_bundle, length, PATIENCE if first else PATIENCE / 3
            )
            if answer is not None and answer.status == 413:
                who = "by the gateway" if answer.ours else "before it reaches the gateway"
                hint = (
                    "PORTKEY_FILES_MAX_BYTES"
                    if answer.ours
                    else "client_max_body_size in nginx"
                )
                found = warning if answer.ours else failed
                yield found(
                    "upload size",
                    f"an upload of {size(length)} is turned away {who} ({hint}).",
                )
                return
    except (OSError, http.client.HTTPException) as error:
        yield failed("uploads", f"the connection broke ({type(error).__name__}).")
        return
    yield ok("upload size", f"{size(LENGTHS[-1])} are let through")


@dataclass(frozen=True)
class _Early:
    """An answer to an upload of which nothing was sent.

    :param ours: whether it is the gateway's.
    """

    status: int
    ours: bool


def _announce(
    connection: Connection, ca_bundle: str | None, length: int, patience: float
) -> _Early | None:
    """Announce an upload, send nothing of it, and return what is answered, if anything is."""
    parts = urlsplit(connection.base_url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_bundle)
        client: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=patience, context=context
        )
    else:
        client = http.client.HTTPConnection(host, port, timeout=patience)
    with contextlib.closing(client):
        client.putrequest("POST", f"{parts.path}/files", skip_accept_encoding=True)
        for name, value in connection.headers.items():
            client.putheader(name, value)
        client.putheader("Content-Type", "text/plain")
        client.putheader("Content-Length", str(length))
        client.endheaders()
        try:
            response = client.getresponse()
        except TimeoutError:
            return None
        return _Early(response.status, TRACE in response.headers)


def _download_findings(connection: Connection, purpose: str) -> Iterator[Finding]:
    form = UploadForm(
        fields=(FormField("purpose", purpose.encode()),),
        file=FilePart("check.jsonl", "application/jsonl", (), _Text()),
    )
    body = FormEncoder(form)
    try:
        stored, _ = connection.ask(
            "POST", "/files", headers={"Content-Type": body.content_type}, body=body
        )
    except Failed as error:
        yield failed("test file", f"not uploaded: {error.message}")
        return
    path = file_path(str(stored.get("id")))
    try:
        yield from _content_findings(connection, f"{path}/content")
    except Failed as error:
        yield failed("downloads", error.message)
    finally:
        try:
            connection.ask("DELETE", path)
        except Failed as error:
            yield failed("test file", f"{stored.get('id')} is left: {error.message}")


def _content_findings(connection: Connection, path: str) -> Iterator[Finding]:
    with connection.open("GET", path, headers={"Accept-Encoding": "gzip"}) as response:
        content = response.raw.read(decode_content=False)
    if not response.ok:
        yield info(
            "downloads",
            f"not tested: the content is answered {response.status_code}; not each provider "
            "gives uploads back",
        )
        return
    encoding = response.headers.get("Content-Encoding")
    with contextlib.suppress(OSError, EOFError):
        content = gzip.decompress(content) if encoding == "gzip" else content
    if content != _TEXT:
        yield failed("downloads", "what comes back is not what was uploaded.")
    elif encoding is not None:
        yield warning(
            "downloads",
            f"they come back with Content-Encoding {encoding}. Unless the provider did that, "
            "something on the way encodes anew: then lengths and ranges are lost, and a cut "
            "download may look whole.",
        )
    elif "Content-Length" not in response.headers:
        yield warning(
            "downloads",
            "they come back without their length: a cut one is seen only by how it ends.",
        )
    else:
        yield ok("downloads", "come back byte for byte, with their length")
    with connection.open(
        "GET", path, headers={"Range": "bytes=10-19", "Accept-Encoding": "identity"}
    ) as response:
        part = response.content
    if response.status_code == 206 and part == _TEXT[10:20]:
        yield ok("ranges", "are kept: a download that broke off can be gone on with")
    else:
        yield warning(
            "ranges",
            f"a request for ten bytes is answered {response.status_code} with {len(part)}: the "
            "provider has no ranges, or something on the way drops them.",
        )
