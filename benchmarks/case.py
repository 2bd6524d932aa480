"""The cases: what is done through every gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .form import Kind
from .sizes import GIB, MIB, written

Action = Literal["metadata", "upload", "download", "first byte"]

#: The case in which one more of ours takes part.
CROWD = "crowd"


@dataclass(frozen=True)
class Case:
    """One thing to do through a gateway, and how often."""

    #: What the targets know it by, whatever its size is in a quick run.
    key: str
    action: Action
    #: Gateways are started anew for each group.
    group: Literal["light", "download", "upload", "crowd", "tls"]
    size: int = 0
    kind: Kind = "random"
    count: int = 1
    concurrency: int = 1
    #: Of the load, for metadata.
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """What the report calls it."""
        over = " over TLS" if self.group == "tls" else ""
        if self.action == "metadata":
            return f"metadata, {self.concurrency} at a time{over}"
        if self.action == "first byte":
            return f"first byte, {written(self.size)} announced"
        what = written(self.size)
        if self.action == "upload":
            what += " of text" if self.kind == "text" else " of random bytes"
        if self.concurrency > 1:
            return f"{self.count} {self.action}s of {what}, all at once"
        times = f" × {self.count}" if self.count > 1 else ""
        return f"{self.action} {what}{times}{over}"

    @property
    def unit(self) -> str:
        """What its processor time is given per."""
        return "request" if self.action == "metadata" else "transfer"


def cases(*, quick: bool) -> list[Case]:
    """Return all cases, in the order in which they are run."""
    seconds = 1.0 if quick else 4.0
    small, medium, large = (MIB, 16 * MIB, 64 * MIB) if quick else (MIB, 64 * MIB, GIB)
    # So many that the processor's clock, which ticks 100 times a second, is fine enough.
    sizes = (
        ("small", small, 20 if quick else 100),
        ("medium", medium, 2 if quick else 8),
        ("large", large, 1),
    )
    kinds: tuple[Kind, ...] = ("text", "random")
    each = medium
    return [
        # A slow gateway has to answer more than the requests that wrk has under way.
        *(
            Case(f"metadata/{n}", "metadata", "light", concurrency=n, seconds=seconds * longer)
            for n, longer in ((1, 1), (8, 1), (64, 3 if quick else 2))
        ),
        *(
            Case(f"first byte/{name}", "first byte", "light", size, "text", 5 if quick else 20)
            for name, size in (("small", MIB), ("large", GIB))
        ),
        *(
            Case(f"download/{name}", "download", "download", size, count=count)
            for name, size, count in sizes
        ),
        *(
            Case(f"upload/{kind}/{name}", "upload", "upload", size, kind, count)
            for name, size, count in sizes
            for kind in kinds
        ),
        Case(CROWD, "upload", "crowd", each, "text", 8 if quick else 32, 8 if quick else 32),
        Case("tls/metadata", "metadata", "tls", concurrency=8, seconds=seconds),
        Case("tls/download", "download", "tls", large),
        Case("tls/upload", "upload", "tls", large, "text"),
    ]
