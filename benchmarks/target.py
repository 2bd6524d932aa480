"""What ours is held to, against the others."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from .case import CROWD
from .results import Results
from .sample import Sample
from .sizes import MIB

_LOCK, _NPX = "portkey (lock)", "portkey (npx)"


@dataclass(frozen=True)
class Target:
    """One thing that is to hold, and what was found."""

    text: str
    limit: float
    #: Nothing, if it was not measured.
    figure: float | None
    unit: str

    @property
    def passed(self) -> bool | None:
        """Whether it holds; nothing, if it was not measured."""
        return None if self.figure is None else self.figure <= self.limit


def _cpu(sample: Sample) -> float:
    return sample.cpu_each


def _peak(sample: Sample) -> float:
    return sample.peak_rss


def _p99(sample: Sample) -> float:
    return sample.p99


def evaluate(results: Results) -> list[Target]:
    """Return all targets with what was found."""

    def against(
        text: str, case: str, other: str, figure: Callable[[Sample], float], limit: float
    ) -> Target:
        found = results.ratio(case, "ours", other, figure)
        return Target(f"{text}, {other}", limit, found, "×")

    def own(
        text: str,
        case: str,
        figure: Callable[[Sample], float],
        limit: float,
        unit: str,
        *,
        gateway: str = "ours",
    ) -> Target:
        figures = results.figures(case, gateway, figure)
        return Target(text, limit, statistics.median(figures) if figures else None, unit)

    targets = [
        against("metadata: processor time per request", "metadata/8", other, _cpu, limit)
        for other, limit in ((_LOCK, 0.77), (_NPX, 0.85), ("litellm", 0.025))
    ]
    targets += [
        against("metadata, 8 at a time: p99", "metadata/8", other, _p99, 1.0)
        for other in (_LOCK, _NPX)
    ]
    for kind, name in (("text", "text"), ("random", "random bytes")):
        case = f"upload/{kind}/large"
        targets += [
            against(f"largest upload, {name}: processor time", case, _LOCK, _cpu, 0.6),
            against(f"largest upload, {name}: processor time", case, "nginx", _cpu, 2.0),
            against(f"largest upload, {name}: peak memory", case, _LOCK, _peak, 0.1),
            _flat(results, kind, name),
        ]
    targets += [
        against("largest download: processor time", "download/large", "nginx", _cpu, 1.5),
        against("largest download: processor time", "download/large", _LOCK, _cpu, 0.15),
    ]
    for gateway, threads in (("ours", 8), ("ours (32 threads)", 32)):
        targets += [
            own(
                f"many uploads at once, {threads} threads: peak memory of the worker",
                CROWD,
                lambda sample: sample.peak_process / 1e6,
                150,
                "MB",
                gateway=gateway,
            ),
            own(
                f"many uploads at once, {threads} threads: slowest over median",
                CROWD,
                lambda sample: sample.slowest / sample.p50,
                3,
                "×",
                gateway=gateway,
            ),
        ]
    targets += [
        own(
            f"provider's first byte after the fields, {size} announced",
            f"first byte/{name}",
            lambda sample: sample.p50 * 1e3,
            5,
            "ms",
        )
        for name, size in (("small", "1 MiB"), ("large", "1 GiB"))
    ]
    return targets


def _flat(results: Results, kind: str, name: str) -> Target:
    """Compare our peaks of two sizes, round by round."""
    medium = results.good(f"upload/{kind}/medium", "ours")
    large = results.good(f"upload/{kind}/large", "ours")
    apart = [
        abs(large[number].peak_rss - medium[number].peak_rss) / MIB
        for number in medium.keys() & large.keys()
    ]
    return Target(
        f"uploads of two sizes, {name}: peak memory apart by",
        8,
        statistics.median(apart) if apart else None,
        "MiB",
    )
