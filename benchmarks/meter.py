"""What a gateway takes of the machine: the whole tree of its processes, seen from outside."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from .sizes import KIB, MIB

#: Seconds between two looks at the memory.
INTERVAL = 0.05
#: Every so many looks, the tree is listed again, and shared pages are counted once.
SELDOM = 10
#: With less memory left than this the gateway is ended before the machine is.
LEAST_AVAILABLE = 1024 * MIB

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GONE = (OSError, psutil.NoSuchProcess)


def tree(root: int) -> list[int]:
    """Return the ids of the process *root* and of all below it."""
    try:
        below = psutil.Process(root).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [root, *(process.pid for process in below)]


def cpu_seconds(root: int) -> float:
    """Return the processor seconds of the tree, with children that have ended."""
    ticks = 0
    for pid in tree(root):
        with contextlib.suppress(*_GONE):
            # The name in the second field may contain spaces.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            # utime, stime, cutime and cstime
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICK


def settle(root: int, *, longest: float = 10.0) -> None:
    """Wait until the tree has come to rest, or for as long as given."""
    deadline = time.monotonic() + longest
    before = cpu_seconds(root)
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = cpu_seconds(root)
        if now - before < 0.03:
            return
        before = now


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _proportional(pid: int) -> int:
    found = re.search(
        r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
    )
    return int(found[1]) * KIB if found else 0


def _high_water(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * KIB if found else 0


@dataclass(frozen=True)
class Usage:
    """What was taken during a case."""

    cpu: float
    #: Bytes resident before, and at most, in all processes.
    idle_rss: int
    peak_rss: int
    #: Bytes resident at most in the largest process.
    peak_process: int
    #: As ``peak_rss``, with pages that processes share counted once; looked at seldom.
    peak_pss: int
    #: Whether the gateway was ended to save the machine.
    killed: bool


class Meter:
    """Measures the tree below the process *root* while the ``with`` block runs."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._stop = threading.Event()

    def __enter__(self) -> Meter:
        self._pids = tree(self._root)
        for pid in self._pids:
            with contextlib.suppress(*_GONE):
                # 5 sets the peak back to what is resident now.
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._low = dict(self._residents())
        self._idle = sum(self._low.values())
        self._peak, self._peak_pss = self._idle, 0
        self._killed = False
        self._cpu = cpu_seconds(self._root)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        cpu = cpu_seconds(self._root) - self._cpu
        self._stop.set()
        self._thread.join()
        self._look()
        high = {}
        for pid in self._pids:
            with contextlib.suppress(*_GONE):
                high[pid] = _high_water(pid)
        low = sum(self._low.values())
        # A peak between two looks: one process's, while the others took what they did at least.
        peaks = [low - self._low.get(pid, 0) + peak for pid, peak in high.items()]
        self.usage = Usage(
            cpu=cpu,
            idle_rss=self._idle,
            peak_rss=max(self._peak, *peaks, 0),
            peak_process=max(high.values(), default=0),
            peak_pss=self._peak_pss,
            killed=self._killed,
        )

    def _residents(self) -> Iterator[tuple[int, int]]:
        for pid in self._pids:
            with contextlib.suppress(*_GONE):
                yield pid, _resident(pid)

    def _look(self) -> None:
        now = dict(self._residents())
        self._peak = max(self._peak, sum(now.values()))
        for pid, resident in now.items():
            self._low[pid] = min(resident, self._low.get(pid, resident))

    def _watch(self) -> None:
        looks = 0
        while not self._stop.wait(INTERVAL):
            looks += 1
            self._look()
            if looks % SELDOM:
                continue
            self._pids = tree(self._root)
            total = 0
            for pid in self._pids:
                with contextlib.suppress(*_GONE):
                    total += _proportional(pid)
            self._peak_pss = max(self._peak_pss, total)
            if psutil.virtual_memory().available < LEAST_AVAILABLE:
                self._killed = True
                for pid in reversed(self._pids):
                    with contextlib.suppress(*_GONE):
                        psutil.Process(pid).kill()
