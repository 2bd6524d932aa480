"""What one case came to, through one gateway, in one round."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Sample:
    """Figures in seconds and bytes; none of them counts where there is a *reason*."""

    case: str
    label: str
    gateway: str
    round: int
    #: Requests or transfers that were made.
    units: int = 0
    #: Bytes of each.
    size: int = 0
    concurrency: int = 1
    #: Processor seconds of the gateway.
    cpu: float = 0.0
    wall: float = 0.0
    #: Of the single requests or transfers; for first bytes, since the fields were sent.
    p50: float = 0.0
    p99: float = 0.0
    slowest: float = 0.0
    #: The median of the first bytes, since the body's first byte was sent.
    from_body: float = 0.0
    idle_rss: int = 0
    peak_rss: int = 0
    peak_process: int = 0
    peak_pss: int = 0
    #: Why it failed.
    reason: str | None = None

    @property
    def cpu_each(self) -> float:
        """Processor seconds of each request or transfer."""
        return self.cpu / self.units if self.units else 0.0

    @property
    def wall_each(self) -> float:
        """Seconds of each, if there was one at a time."""
        return self.wall / self.units if self.units else 0.0
