"""What a gateway can and cannot do, found out by asking it once."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import form
from .client import Failed, Job, run, uploads
from .sizes import MIB
from .source import Ended, Source

_SIZE = MIB + 4099
_FILE = "/v1/files/file-1048576"


@dataclass(frozen=True)
class Finding:
    """What came of one probe."""

    probe: str
    gateway: str
    #: Why it failed; nothing, if it did not.
    reason: str | None


def probe(gateway: str, port: int, headers: dict[str, str], upstream: int) -> list[Finding]:
    """Try what a client may want of the gateway on *port*."""

    def transfer(kind: form.Kind) -> None:
        uploads(upstream)
        _job(Job("upload", port, headers, _SIZE, kind))
        arrived = uploads(upstream)
        if [(r["whole"], r["size"], r["kind"]) for r in arrived] != [(True, _SIZE, kind)]:
            raise Failed(f"the provider got {arrived}")

    probes: dict[str, Callable[[], None]] = {
        "list files": lambda: _ask(port, "GET", "/v1/files", headers),
        "list files by purpose": lambda: _ask(
            port, "GET", "/v1/files?purpose=batch&limit=2", headers
        ),
        "get a file's metadata": lambda: _ask(port, "GET", _FILE, headers),
        "delete a file": lambda: _ask(port, "DELETE", _FILE, headers),
        "upload text": lambda: transfer("text"),
        "upload random bytes": lambda: transfer("random"),
        "download application/octet-stream": lambda: _job(
            Job("download", port, headers, _SIZE)
        ),
        "pass on a range": lambda: _range(port, headers),
        "pass on an upload as it arrives": lambda: _job(
            Job("first byte", port, headers, 64 * MIB, "text", upstream_port=upstream)
        ),
        "show the provider that an upload was cut off": lambda: _cut_upload(
            port, headers, upstream
        ),
        "show the client that a download was cut off": lambda: _cut_download(port, headers),
    }
    findings = []
    for name, attempt in probes.items():
        reason = None
        try:
            attempt()
        except Failed as error:
            reason = str(error)
        except (Ended, OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        findings.append(Finding(name, gateway, reason))
    return findings


def _job(job: Job) -> None:
    if reason := run(job).reason:
        raise Failed(reason)


def _open(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 20)


def _head(port: int, method: str, path: str, headers: dict[str, str]) -> bytes:
    fields = {"Host": f"127.0.0.1:{port}", "Connection": "close", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def _exchange(
    port: int, method: str, path: str, headers: dict[str, str]
) -> tuple[str, dict[str, str], bytes]:
    with _open(port) as connection:
        connection.sendall(_head(port, method, path, headers))
        source = Source(connection)
        first, got = source.head()
        body = b"".join(bytes(piece) for piece in source.body(got, until_end=True))
    return first.split(" ", 1)[1].strip(), got, body


def _ask(port: int, method: str, path: str, headers: dict[str, str]) -> None:
    status, _, body = _exchange(port, method, path, headers)
    if not status.startswith("2"):
        raise Failed(f"{status}: {body[:160].decode('latin-1')}")
    if "object" not in json.loads(body):
        raise Failed(f"{status}, but {body[:160].decode('latin-1')}")


def _range(port: int, headers: dict[str, str]) -> None:
    path = f"/v1/files/file-{_SIZE}/content"
    status, got, body = _exchange(port, "GET", path, {**headers, "Range": "bytes=100-299"})
    if not status.startswith("206"):
        raise Failed(f"{status} with {len(body)} bytes")
    if body != form.block("random")[100:300] or "content-range" not in got:
        raise Failed(f"{status}, but not the range, or without Content-Range")


def _cut_upload(port: int, headers: dict[str, str], upstream: int) -> None:
    uploads(upstream)
    length = len(form.OPENING) + _SIZE + len(form.CLOSING)
    fields = {"Content-Type": form.CONTENT_TYPE, "Content-Length": str(length), **headers}
    with _open(port) as connection:
        connection.sendall(_head(port, "POST", "/v1/files", fields) + form.OPENING)
        connection.sendall(form.block("text")[: _SIZE // 2])
        time.sleep(0.2)
    time.sleep(1)
    ended = [record for record in uploads(upstream) if record["ended"]]
    if ended:
        raise Failed(f"a whole request arrived, with {ended[0]['size']} of {_SIZE} bytes")


def _cut_download(port: int, headers: dict[str, str]) -> None:
    with _open(port) as connection:
        path = f"/v1/files/file-cut-{_SIZE}/content"
        connection.sendall(_head(port, "GET", path, headers))
        source = Source(connection)
        first, got = source.head()
        status = first.split(" ", 1)[1]
        if not status.startswith("2"):
            return
        count = 0
        with contextlib.suppress(Ended, OSError, ValueError):
            for piece in source.body(got, until_end=True):
                count += len(piece)
            raise Failed(f"{status.strip()}, and a clean end after {count} of {_SIZE} bytes")
