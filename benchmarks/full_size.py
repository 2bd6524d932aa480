"""What a transfer of full size takes of the gateway: memory, disk, time.

Runs the example app under gunicorn before a provider that keeps nothing, each in a process of
its own, and sends one upload and one download of the size given through it. From the top of
the repository, on Linux::

    python -m benchmarks.full_size
    python -m benchmarks.full_size --size 64MiB --json

It ends with status 1 if the worker's memory rose by 16 MiB or more, or if what came out is not
what went in.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import io
import json
import multiprocessing
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import psutil

from tests.support.gunicorn import Gunicorn

from .sizes import GIB, KIB, MIB, size

#: The most the worker's resident memory may rise.
LIMIT = 16 * MIB
TIMEOUT = 120.0

BOUNDARY = "full-size-boundary"
OPENING = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="data.bin"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
CLOSING = f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Transfer:
    """What one transfer came to."""

    direction: str
    bytes: int
    intact: bool
    idle_rss: int
    peak_rss: int
    wall_seconds: float
    cpu_seconds_per_gib: float
    #: From the sender's first byte of the body to the receiver's.
    first_byte_seconds: float
    first_before_last: bool
    bytes_written_to_disk: int
    files_opened: list[str]

    @property
    def rise(self) -> int:
        """How far the worker's memory rose."""
        return self.peak_rss - self.idle_rss

    @property
    def passed(self) -> bool:
        """Whether memory stayed flat and nothing was lost."""
        return self.intact and self.rise < LIMIT


def content(total: int) -> Iterator[bytes]:
    """Yield *total* bytes in blocks of 1 MiB, no two of which are the same."""
    pattern = hashlib.shake_128(b"full size").digest(MIB)
    sent = 0
    while sent < total:
        yield (b"%016d" % sent + pattern[16:])[: total - sent]
        sent += MIB


# --- The provider, in a process of its own ---------------------------------------------------


#: When the first and the last block of the last download were handed out.
_LAST_DOWNLOAD = {"first": 0.0, "last": 0.0}


def provider(pipe: Pipe) -> None:
    """Serve uploads and downloads until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send(listener.getsockname()[1])
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection, io.BufferedReader(connection.makefile("rb", 0), MIB) as stream:
        while line := stream.readline():
            method, path, _ = line.decode("latin-1").split(" ", 2)
            headers = http.client.parse_headers(stream)
            if method == "POST":
                _answer(connection, _receive(stream, headers))
            elif path.endswith("/content"):
                total = int(path.split("/")[-2])
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n"
                connection.sendall(head.encode())
                _LAST_DOWNLOAD["first"] = time.monotonic()
                for block in content(total):
                    _LAST_DOWNLOAD["last"] = time.monotonic()
                    connection.sendall(block)
            else:
                _answer(connection, _LAST_DOWNLOAD)


def _answer(connection: socket.socket, body: object) -> None:
    data = json.dumps(body).encode()
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    connection.sendall(head.encode() + data)


def _receive(stream: io.BufferedIOBase, headers: http.client.HTTPMessage) -> dict[str, object]:
    """Read an upload and return what its file was, without keeping it."""
    found = re.search(r'boundary="?([^";]+)', headers["Content-Type"])
    assert found
    closing = b"\r\n--" + found[1].encode() + b"--\r\n"
    digest, count, first = hashlib.sha256(), 0, 0.0
    held, in_file = b"", False
    for piece in _body(stream, headers):
        first = first or time.monotonic()
        held += piece
        if not in_file:
            start = held.find(b"\r\n\r\n", held.find(b'name="file"'))
            if b'name="file"' not in held or start < 0:
                continue
            held, in_file = held[start + 4 :], True
        # What is held back may be the end of the form.
        digest.update(memoryview(held)[: -len(closing)])
        count += max(0, len(held) - len(closing))
        held = held[-len(closing) :]
    return {
        "id": "file-1",
        "bytes": count,
        "sha256": digest.hexdigest(),
        "whole": held == closing,
        "first": first,
    }


def _body(stream: io.BufferedIOBase, headers: http.client.HTTPMessage) -> Iterator[bytes]:
    if "Content-Length" in headers:
        left = int(headers["Content-Length"])
        while left and (piece := stream.read(min(left, MIB))):
            left -= len(piece)
            yield piece
        return
    while left := int(stream.readline() or b"0", 16):
        yield stream.read(left)
        stream.readline()
    stream.readline()


# --- The worker, from outside ----------------------------------------------------------------


class Worker:
    """Measures gunicorn's worker process while a transfer runs."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._proc = Path("/proc") / str(process.pid)

    def __enter__(self) -> Worker:
        # 5 sets the peak back to what is resident now.
        (self._proc / "clear_refs").write_text("5")
        self.idle = self._kib("VmRSS")
        self._files = set(self._open_files())
        self._written = self._disk()
        self._cpu_before = self._cpu()
        self.opened: set[str] = set()
        return self

    def __exit__(self, *error: object) -> None:
        self.cpu = self._cpu() - self._cpu_before
        self.peak = self._kib("VmHWM")
        self.written = self._disk() - self._written

    def look(self) -> None:
        """Note which files are open that were not before."""
        self.opened |= set(self._open_files()) - self._files

    def _kib(self, name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+) kB", (self._proc / "status").read_text())
        assert found, name
        return int(found[1]) * KIB

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def _disk(self) -> int:
        found = re.search(r"^write_bytes: (\d+)", (self._proc / "io").read_text(), re.MULTILINE)
        assert found
        return int(found[1])

    def _open_files(self) -> Iterator[str]:
        for link in (self._proc / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # Closed meanwhile.
                target = os.readlink(link)
                if target.startswith("/") and not target.startswith("/dev/"):
                    yield target


# --- The client -----------------------------------------------------------------------------


def _request(port: int, method: str, path: str, *headers: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: gateway.example",
        "x-portkey-provider: local",
        "Connection: close",
        *headers,
    ]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    return connection


def _response(connection: socket.socket) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(connection)
    response.begin()
    if response.status != 200:
        raise RuntimeError(f"the gateway answered {response.status}: {response.read(1000)!r}")
    return response


def upload(port: int, total: int, process: psutil.Process) -> Transfer:
    """Send a file of *total* bytes through the gateway."""
    digest = hashlib.sha256()
    with Worker(process) as worker:
        began = time.monotonic()
        connection = _request(
            port,
            "POST",
            "/v1/files",
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
            f"Content-Length: {len(OPENING) + total + len(CLOSING)}",
        )
        with connection:
            first_sent = time.monotonic()
            connection.sendall(OPENING)
            for number, block in enumerate(content(total)):
                connection.sendall(block)
                digest.update(block)
                if number % 64 == 0:
                    worker.look()
            last_sent = time.monotonic()
            connection.sendall(CLOSING)
            with _response(connection) as response:
                got = json.loads(response.read())
        ended = time.monotonic()
    # CLOCK_MONOTONIC is the same in every process.
    return Transfer(
        direction="upload",
        bytes=got["bytes"],
        intact=got["whole"] and (got["bytes"], got["sha256"]) == (total, digest.hexdigest()),
        idle_rss=worker.idle,
        peak_rss=worker.peak,
        wall_seconds=ended - began,
        cpu_seconds_per_gib=worker.cpu / total * GIB,
        first_byte_seconds=got["first"] - first_sent,
        first_before_last=got["first"] < last_sent,
        bytes_written_to_disk=worker.written,
        files_opened=sorted(worker.opened),
    )


def download(port: int, total: int, process: psutil.Process) -> Transfer:
    """Get a file of *total* bytes through the gateway."""
    digest, count = hashlib.sha256(), 0
    with Worker(process) as worker:
        began = time.monotonic()
        connection = _request(port, "GET", f"/v1/files/{total}/content")
        with connection, _response(connection) as response:
            first = 0.0
            buffer = memoryview(bytearray(MIB))
            while length := response.readinto(buffer if first else buffer[:1]):
                first = first or time.monotonic()
                digest.update(buffer[:length])
                if count // (64 * MIB) != (count + length) // (64 * MIB):
                    worker.look()
                count += length
        ended = time.monotonic()
    with _request(port, "GET", "/v1/files") as connection, _response(connection) as response:
        sent = json.loads(response.read())
    expected = hashlib.sha256()
    for block in content(total):
        expected.update(block)
    return Transfer(
        direction="download",
        bytes=count,
        intact=(count, digest.digest()) == (total, expected.digest()),
        idle_rss=worker.idle,
        peak_rss=worker.peak,
        wall_seconds=ended - began,
        cpu_seconds_per_gib=worker.cpu / total * GIB,
        first_byte_seconds=first - sent["first"],
        first_before_last=first < sent["last"],
        bytes_written_to_disk=worker.written,
        files_opened=sorted(worker.opened),
    )


# --- The script -----------------------------------------------------------------------------


def run(total: int) -> list[Transfer]:
    """Start everything, and do one upload and one download."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=provider, args=(theirs,), daemon=True)
    process.start()
    try:
        if not ours.poll(TIMEOUT):
            raise RuntimeError("the provider did not start")
        env = {
            "EXAMPLE_STORE_URL": f"http://127.0.0.1:{ours.recv()}",
            "PORTKEY_FILES_MAX_BYTES": str(max(total, 2 * GIB)),
        }
        with Gunicorn(env=env) as gunicorn:
            # The worker is not idle before it has the app loaded.
            with _request(gunicorn.port, "GET", "/v1/files") as connection:
                _response(connection).close()
            (worker,) = gunicorn.workers()
            return [
                upload(gunicorn.port, total, worker),
                download(gunicorn.port, total, worker),
            ]
    finally:
        process.terminate()
        process.join()


def table(transfers: list[Transfer]) -> str:
    """Return the figures side by side."""
    rows = [
        ("", *(t.direction for t in transfers)),
        ("bytes", *(f"{t.bytes:,}" for t in transfers)),
        ("sha256 and length agree", *(_yes(t.intact) for t in transfers)),
        ("idle RSS, MiB", *(f"{t.idle_rss / MIB:.1f}" for t in transfers)),
        ("peak RSS, MiB", *(f"{t.peak_rss / MIB:.1f}" for t in transfers)),
        ("rise, MiB", *(f"{t.rise / MIB:.1f}" for t in transfers)),
        ("wall, s", *(f"{t.wall_seconds:.2f}" for t in transfers)),
        ("gateway CPU, s per GiB", *(f"{t.cpu_seconds_per_gib:.2f}" for t in transfers)),
        (
            "first byte through after, ms",
            *(f"{t.first_byte_seconds * 1e3:.1f}" for t in transfers),
        ),
        ("first byte through before last", *(_yes(t.first_before_last) for t in transfers)),
        ("written to disk, bytes", *(f"{t.bytes_written_to_disk:,}" for t in transfers)),
        ("files opened", *(str(len(t.files_opened)) for t in transfers)),
    ]
    return "\n".join(
        f"{row[0]:<32}" + "".join(f"{cell:>16}" for cell in row[1:]) for row in rows
    )


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=size, default=GIB, help="e.g. 64MiB; default 1GiB")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    transfers = run(options.size)
    if options.json:
        rows = [{**asdict(t), "rise": t.rise, "passed": t.passed} for t in transfers]
        print(json.dumps(rows, indent=2))
    else:
        print(table(transfers))
    return 0 if all(t.passed for t in transfers) else 1


if __name__ == "__main__":
    sys.exit(main())
