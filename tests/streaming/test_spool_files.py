"""What is held back on disk: nobody else can read it, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import psutil
import pytest

from ..support.gunicorn import Gunicorn
from ..support.upstream import Connection, Upstream
from .wire import KEY, LIST, MIB, SPOOLED, TIMEOUT, Client, noise

NAMELESS = "example_app:create_app()"
UNLINKED = "tests.streaming.no_tmpfile:create_app()"


def held(worker: psutil.Process, folder: Path) -> list[tuple[str, int, int]]:
    """Return what the worker has open in *folder*: its name, mode and size."""
    files = []
    for number in os.listdir(f"/proc/{worker.pid}/fd"):
        path = f"/proc/{worker.pid}/fd/{number}"
        try:
            name, status = os.readlink(path), os.stat(path)
        except FileNotFoundError:  # Closed meanwhile.
            continue
        if name.startswith(f"{folder}/"):
            files.append((name, stat.S_IMODE(status.st_mode), status.st_size))
    return files


@pytest.mark.parametrize(
    ("app", "end"),
    [
        (NAMELESS, "answer"),
        (NAMELESS, "client"),
        (NAMELESS, "SIGTERM"),
        (NAMELESS, "SIGKILL"),
        (UNLINKED, "SIGTERM"),
        (UNLINKED, "SIGKILL"),
    ],
    ids=lambda value: {NAMELESS: "nameless", UNLINKED: "unlinked"}.get(value, value),
)
@pytest.mark.usefixtures("proc")
def test_of_an_upload(tmp_path: Path, app: str, end: str) -> None:
    def script(conn: Connection) -> None:
        conn.sock.settimeout(TIMEOUT)
        while conn.read_head():
            conn.read_body()
            conn.answer(LIST)

    size = 4 * MIB
    body = SPOOLED[0] + noise(size) + SPOOLED[1]
    before = os.umask(0)  # The mode is not the umask's doing.
    try:
        with (
            Upstream(script) as upstream,
            Gunicorn(
                app,
                env={
                    "EXAMPLE_STORE_URL": upstream.url,
                    "PORTKEY_FILES_SPOOL_DIR": str(tmp_path),
                    "PORTKEY_FILES_BLOCK_SIZE": "65536",
                },
                arguments=("--worker-class", "gthread", "--threads", "2",
                           "--graceful-timeout", "1"),
            ) as gunicorn,
            Client(gunicorn.port) as client,
        ):  # fmt: skip
            (worker,) = gunicorn.workers()
            client.begin_upload(len(body))
            client.send(body[: 3 * MIB])
            # Answered on another thread: as often as it takes for the bytes to arrive.
            while not (files := held(worker, tmp_path)) or files[0][2] < 2 * MIB:
                with Client(gunicorn.port) as other:
                    other.request("GET", "/v1/files", "Connection: close")
                    assert other.answer().body == LIST
            ((name, mode, _),) = files
            assert mode == 0o600
            assert name.endswith("(deleted)")
            assert KEY not in name
            assert "data.jsonl" not in name
            assert list(tmp_path.iterdir()) == []
            if end == "answer":
                client.send(body[3 * MIB :])
                assert client.answer().body == LIST
            elif end == "client":
                client.sock.close()
            else:
                # As an operator stops it, and as the kernel does when memory is short.
                whom = psutil.Process(worker.ppid()) if end == "SIGTERM" else worker
                whom.send_signal(signal.Signals[end])
                worker.wait(TIMEOUT)
            while worker.is_running() and held(worker, tmp_path):
                with Client(gunicorn.port) as other:
                    other.request("GET", "/v1/files", "Connection: close")
                    other.answer()
            assert list(tmp_path.iterdir()) == []
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []
