"""The raw figures of a run, and how they are kept and put together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .probe import Finding
from .sample import Sample


@dataclass
class Results:
    """All that is known of a run."""

    machine: dict[str, str]
    #: By gateway and part.
    versions: dict[str, dict[str, str]]
    #: Of what made the load.
    load: dict[str, str]
    rounds: int
    quick: bool
    gunicorn_arguments: str = ""
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def write(self, file: Path) -> None:
        """Keep them as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Results:
        """Return what was kept."""
        kept = json.loads(file.read_text())
        kept["samples"] = [Sample(**sample) for sample in kept["samples"]]
        kept["findings"] = [Finding(**finding) for finding in kept["findings"]]
        return cls(**kept)

    def good(self, case: str, gateway: str) -> dict[int, Sample]:
        """Return the samples that count, by round."""
        return {
            sample.round: sample
            for sample in self.samples
            if (sample.case, sample.gateway) == (case, gateway) and sample.reason is None
        }

    def figures(
        self, case: str, gateway: str, figure: Callable[[Sample], float]
    ) -> list[float]:
        """Return one figure of each round."""
        return [figure(sample) for sample in self.good(case, gateway).values()]

    def ratio(
        self, case: str, gateway: str, other: str, figure: Callable[[Sample], float]
    ) -> float | None:
        """Return the median of the rounds' ratios of *gateway*'s figure to *other*'s."""
        mine, theirs = self.good(case, gateway), self.good(case, other)
        ratios = [
            figure(mine[number]) / figure(theirs[number])
            for number in mine.keys() & theirs.keys()
            if figure(theirs[number])
        ]
        return statistics.median(ratios) if ratios else None
