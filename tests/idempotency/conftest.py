"""Fixtures: a Redis server of the test's own, and both stores."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from flask_portkey_files.idempotency.redis import RedisStore
from flask_portkey_files.idempotency.sqlite import SQLiteStore
from flask_portkey_files.idempotency.store import Store

from ..support.parts import require

MakeStore = Callable[[], Store]


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis server on a loopback port that the system picks."""
    program = shutil.which("redis-server")
    require(program, "needs redis-server: apt-get install redis-server")
    assert program is not None
    with socket.create_server(("127.0.0.1", 0)) as picked:
        port = picked.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    process = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError("redis-server does not listen")


@pytest.fixture(params=["sqlite", "redis"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Return a function that opens the same store as another worker would."""
    if request.param == "sqlite":
        return lambda: SQLiteStore(str(tmp_path / "uploads"))
    url: str = request.getfixturevalue("redis_url")
    return lambda: RedisStore(url)
