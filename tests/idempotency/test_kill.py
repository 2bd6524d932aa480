"""SIGKILL while uploads run: nothing that was acknowledged is missing, and nothing is double.

Run with ``-s`` to see the figure.
"""

from __future__ import annotations

import http.client
import os
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty

import psutil
import pytest

from ..support.gunicorn import Gunicorn
from ..support.upstream import Upstream
from .client import Answer, upload
from .provider import Recorder, noise

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills")

TIMEOUT = 60.0
WORKERS = (
    *("--worker-class", "gthread", "--workers", "2", "--threads", "64"),
    *("--graceful-timeout", "0"),
)

#: When the workers are killed, an upload of this kind ...
KINDS = (
    "quick",  # ... has its answer.
    "mid",  # ... is half sent.
    "held",  # ... is whole at the provider, which holds its answer back.
    "late",  # ... is too, and the provider lists it a second later.
    "spooled",  # ... as held, but the file came before its purpose.
)
EACH = 10


@dataclass
class Wanted:
    """A file that a client wants to have stored, and what became of that."""

    kind: str
    number: int
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    answers: list[Answer] = field(default_factory=list)

    @property
    def filename(self) -> str:
        # The first two of each kind are the same file, under two keys.
        return f"{self.kind}-{max(1, self.number)}.jsonl"

    @property
    def content(self) -> bytes:
        # And two have the same size.
        return noise(self.filename, 40_000 + 9_000 * (self.number // 2))

    def send(self, port: int, halfway: Callable[[], object] | None = None) -> bool:
        """Upload the file once, and return whether that was acknowledged."""
        try:
            answer = upload(
                port,
                self.key,
                self.filename,
                self.content,
                purpose_first=self.kind != "spooled",
                halfway=halfway,
            )
        except (OSError, http.client.HTTPException):
            return False
        assert answer.status in {200, 409, 502, 503, 504}, (self.filename, answer)
        if answer.status == 200:
            self.answers.append(answer)
        return answer.status == 200


def kill(worker: psutil.Process) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    psutil.wait_procs([worker], timeout=20)


def workers(gunicorn: Gunicorn, *, without: set[int]) -> list[psutil.Process]:
    """Return both workers, once both are others than those in *without*."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        found = [worker for worker in gunicorn.workers() if worker.pid not in without]
        if len(found) == 2:
            return found
        time.sleep(0.05)
    raise TimeoutError("gunicorn has not replaced its workers")


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_kill(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    where = str(tmp_path) if store == "sqlite" else request.getfixturevalue("redis_url")
    provider = Recorder()
    killing = True
    provider.holds = lambda name: killing and name.startswith(("held", "late", "spooled"))
    provider.delay = lambda name: 1.0 if killing and name.startswith("late") else 0.0
    wanted = [Wanted(kind, number) for kind in KINDS for number in range(EACH)]
    over, halfway = threading.Event(), threading.Semaphore(0)

    def pause() -> None:
        halfway.release()
        assert over.wait(TIMEOUT)

    with Upstream(provider) as upstream, ThreadPoolExecutor(len(wanted)) as pool:
        env = {"EXAMPLE_STORE_URL": upstream.url, "PORTKEY_FILES_IDEMPOTENCY": where}
        with Gunicorn(env=env, arguments=WORKERS) as gunicorn:
            first = workers(gunicorn, without=set())
            tries = [
                pool.submit(one.send, gunicorn.port, pause if one.kind == "mid" else None)
                for one in wanted
            ]
            # All four stages are reached, and no upload gets further.
            for one, sent in zip(wanted, tries, strict=True):
                if one.kind == "quick":
                    assert sent.result(TIMEOUT)
            whole = Counter(
                provider.whole.get(timeout=TIMEOUT).partition("-")[0] for _ in range(4 * EACH)
            )
            assert whole == dict.fromkeys(("quick", "held", "late", "spooled"), EACH)
            assert all(halfway.acquire(timeout=TIMEOUT) for _ in range(EACH))
            for worker in first:
                kill(worker)
            over.set()
            acknowledged = [sent.result(TIMEOUT) for sent in tries]
            killing = False
            provider.release.set()
            provider.release = threading.Event()
            assert acknowledged == [one.kind == "quick" for one in wanted]
            killed = len(first)

            # Who has no answer comes again, while another worker is killed, till all have one.
            provider.holds = lambda name: store == "sqlite" and name.startswith("mid")
            rounds = 0
            missing = [one for one in wanted if not one.answers]
            lost = len(missing)
            alive = workers(gunicorn, without={worker.pid for worker in first})
            while missing:
                rounds += 1
                assert rounds < 10
                again = [pool.submit(one.send, gunicorn.port) for one in missing]
                # The first that is sent anew is whole at the provider, without an answer.
                # In Redis the claims of those that were killed live on, which takes a while
                # each time.
                to_kill = (2 if store == "redis" else 3) - killed
                while to_kill and not all(sent.done() for sent in again):
                    with suppress(Empty):
                        provider.whole.get(timeout=0.1)
                        kill(alive[0])
                        killed, to_kill = killed + 1, 0
                        provider.holds = lambda name: False
                        provider.release.set()
                for sent in again:
                    sent.result(TIMEOUT)
                missing = [one for one in missing if not one.answers]

            # And who has one gets the same again.
            for one in wanted:
                assert one.send(gunicorn.port)

    files = {file.id: file for file in provider.files}
    for one in wanted:
        (file_id,) = {answer.body["id"] for answer in one.answers}
        assert one.answers[-1].replayed
        # Nobody else has it.
        assert files.pop(file_id).content == one.content, one.filename
    assert not files
    assert killed == (3 if store == "sqlite" else 2)
    print(  # noqa: T201 - the figure
        f"\nkill test, {store}: {len(wanted)} uploads, {killed} workers killed, {lost} answers "
        f"lost, {3 * EACH} of them with the file whole at the provider; {provider.broken} "
        f"uploads broken off there; all acknowledged after {rounds} rounds; "
        f"{len(provider.files)} files, 0 missing, 0 double"
    )
