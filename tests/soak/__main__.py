"""``python -m tests.soak``: mixed traffic with faults, for half an hour by default.

It prints a line with what came of it, and ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..streaming.wire import KEY
from ..support.gunicorn import Gunicorn
from . import app, provider
from .provider import Provider
from .traffic import Book, Client

MIB = 1024 * 1024

WORKERS, THREADS = 2, 8

#: How much more a worker may hold at the end than after the warm-up. Memory: each thread may
#: come to keep some blocks more, if it gets a large file only then. Descriptors: as many
#: connections to the provider are kept as calls ever were at a time. Blocks of Python's own,
#: one for each small object: some hundreds come and go.
MORE_MEMORY = 32 * MIB
MORE_DESCRIPTORS = THREADS
MORE_BLOCKS = 2500

#: The part of the time after which everything that is kept is there.
WARM_UP = 0.3


@dataclass(frozen=True)
class Sample:
    """What the workers hold when nothing goes on, by process.

    :param memory: resident, in bytes.
    :param descriptors: how many files and sockets are open.
    :param blocks: how many blocks Python's own allocator has given out.
    """

    memory: dict[int, int]
    descriptors: dict[int, int]
    blocks: dict[int, int]


class Soak:
    """A run: the gateway, the provider, and the clients."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._book = Book()
        self._gate, self._over = threading.Event(), threading.Event()
        self._provider = Provider(options.broken)

    def run(self) -> int:
        """Soak, print what came of it, and return the exit code."""
        with self._gateway() as gunicorn:
            clients = [
                Client(
                    f"c{number}",
                    port=gunicorn.port,
                    provider=self._provider,
                    book=self._book,
                    pause=self._options.clients / self._options.rate,
                    gate=self._gate,
                    over=self._over,
                    seed=self._options.seed,
                )
                for number in range(self._options.clients)
            ]
            for client in clients:
                client.start()
            warm_up = self._options.seconds * WARM_UP
            self._let_run(warm_up)
            before = self._quiet(gunicorn, clients)
            self._let_run(self._options.seconds - warm_up)
            after = self._quiet(gunicorn, clients)
            self._over.set()
            self._gate.set()
            for client in clients:
                client.join()
            log = gunicorn.log
        wrong = [*self._book.wrong, *self._strays(clients), *_growth(before, after)]
        if KEY in log:
            wrong.append("the key is in the log")
        self._report(before, after, wrong)
        return 1 if wrong else 0

    @contextlib.contextmanager
    def _gateway(self) -> Iterator[Gunicorn]:
        with (
            tempfile.TemporaryDirectory() as spool,
            self._provider.running() as address,
            Gunicorn(
                "tests.soak.app:create_app()",
                env={
                    "SOAK_PROVIDER": address,
                    "SOAK_BREAK": self._options.broken or "",
                    "PORTKEY_FILES_SPOOL_DIR": spool,
                    "PORTKEY_FILES_SPOOL_MEMORY": "100000",
                    "PORTKEY_FILES_DIGEST": "true",
                },
                arguments=(
                    *("--worker-class", self._options.worker_class, "--keep-alive", "75"),
                    *("--workers", str(WORKERS), "--threads", str(THREADS)),
                ),
            ) as gunicorn,
        ):
            yield gunicorn
            left = os.listdir(spool)
            if left:
                self._book.wrong.append(f"spool files: {left}")

    def _let_run(self, seconds: float) -> None:
        """Let the clients call for *seconds*."""
        self._gate.set()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._over.wait(min(left, 30))
            with self._book.lock:
                calls, wrong = self._book.calls.total(), len(self._book.wrong)
            print(f"{calls} calls, {wrong} wrong", file=sys.stderr, flush=True)

    def _quiet(self, gunicorn: Gunicorn, clients: list[Client]) -> Sample:
        """Stop the clients for a while, and return the least that the workers then hold."""
        self._gate.clear()
        for client in clients:
            client.idle.wait()
        blocks = _blocks(gunicorn)
        samples = []
        for _ in range(30):
            samples.append(
                {w.pid: (w.memory_info().rss, w.num_fds()) for w in gunicorn.workers()}
            )
            time.sleep(0.1)
        memory, descriptors = (
            {pid: min(sample[pid][index] for sample in samples) for pid in samples[-1]}
            for index in (0, 1)
        )
        return Sample(memory, descriptors, blocks)

    def _strays(self, clients: list[Client]) -> list[str]:
        """Return what is wrong with what the provider has in the end."""
        wrong = []
        files = dict(self._provider.files)
        for client in clients:
            for file_id, content in client.files.items():
                stored = files.get(file_id)
                if stored is None:
                    wrong.append(f"{file_id} was acknowledged, and is not at the provider")
                elif stored.content != content:
                    wrong.append(f"{file_id} is not what was sent")
        known = {file_id for client in clients for file_id in client.files}
        for file_id in files.keys() - known - self._book.unsure:
            call = files[file_id].call
            if call in self._book.left:
                wrong.append(f"{call} was broken off by its client, and is at the provider")
            elif call not in self._book.unacknowledged:
                wrong.append(f"{file_id} is at the provider, and no client's")
        calls = [stored.call for stored in files.values()]
        if len(set(calls)) != len(calls):
            wrong.append("an upload was stored twice")
        return wrong

    def _report(self, before: Sample, after: Sample, wrong: list[str]) -> None:
        book = self._book
        for what in wrong[:20]:
            print(what)
        faults = book.faults.total()
        memory = ", ".join(
            f"{before.memory.get(pid, 0) / MIB:.1f} -> {now / MIB:.1f}"
            for pid, now in after.memory.items()
        )
        descriptors = ", ".join(
            f"{before.descriptors.get(pid, 0)} -> {now}"
            for pid, now in after.descriptors.items()
        )
        blocks = ", ".join(
            f"{now - before.blocks.get(pid, 0):+}" for pid, now in after.blocks.items()
        )
        print(
            f"soak: {self._options.seconds:g} s, {book.calls.total()} calls "
            f"({', '.join(f'{name} {count}' for name, count in sorted(book.calls.items()))}), "
            f"{faults} with a fault ({100 * faults / max(1, book.calls.total()):.1f} %), "
            f"{book.acknowledged} uploads acknowledged, {self._provider.cut} seen cut; "
            f"{book.uploaded / MIB:.0f} MiB up, {book.downloaded / MIB:.0f} MiB down; "
            f"workers' memory {memory} MiB, blocks {blocks}, descriptors {descriptors}: "
            + (f"{len(wrong)} WRONG" if wrong else "nothing wrong")
        )


def _blocks(gunicorn: Gunicorn) -> dict[int, int]:
    """Ask until each worker has answered, which of them does being chance."""
    blocks: dict[int, int] = {}
    end = time.monotonic() + 30
    while len(blocks) < WORKERS and time.monotonic() < end:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", gunicorn.port)
        ) as connection:
            connection.request("GET", "/blocks", headers={"Connection": "close"})
            answer = json.load(connection.getresponse())
            blocks[answer["pid"]] = answer["blocks"]
    return blocks


def _growth(before: Sample, after: Sample) -> list[str]:
    """Return what a worker holds too much of."""
    if set(before.memory) != set(after.memory) or set(before.blocks) != set(after.blocks):
        return [f"not the same workers: {before}, and now {after}"]
    wrong = []
    for pid, memory in after.memory.items():
        if memory > before.memory[pid] + MORE_MEMORY:
            wrong.append(f"worker {pid} holds {memory / MIB:.1f} MiB, far more than before")
        if after.descriptors[pid] > before.descriptors[pid] + MORE_DESCRIPTORS:
            wrong.append(f"worker {pid} has {after.descriptors[pid]} descriptors open")
        if (more := after.blocks[pid] - before.blocks[pid]) > MORE_BLOCKS:
            wrong.append(f"worker {pid} has {more} blocks of memory more than before")
    return wrong


def main() -> int:
    """Read the command line, and soak."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="how long (%(default)s)")
    parser.add_argument("--clients", type=int, default=6, help="clients (%(default)s)")
    parser.add_argument(
        "--rate", type=float, default=30, help="calls a second, all together (%(default)s)"
    )
    parser.add_argument("--worker-class", default="gthread", help="gunicorn's (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is asked (%(default)s)")
    parser.add_argument(
        "--break",
        dest="broken",
        choices=[*app.BREAKS, *provider.BREAKS],
        help="break this on purpose: the run must find it",
    )
    return Soak(parser.parse_args()).run()


if __name__ == "__main__":
    sys.exit(main())
