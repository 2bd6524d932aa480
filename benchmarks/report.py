"""A run as Markdown."""

from __future__ import annotations

import fnmatch
import statistics
from collections.abc import Callable
from pathlib import Path

from .results import Results
from .sample import Sample
from .sizes import MIB
from .target import Target

BEGIN = "<!-- What is between these marks is written by benchmarks.compare: begin -->"
_PICTURE = "How processor time, memory and latency grow with size and concurrency"
END = "<!-- What is between these marks is written by benchmarks.compare: end -->"


def matches(key: str, patterns: str) -> bool:
    """Say whether a case's key matches one of the patterns, which commas separate."""
    return any(fnmatch.fnmatch(key, pattern.strip()) for pattern in patterns.split(","))


def insert(file: Path, text: str) -> None:
    """Put *text*, below the picture, between the marks in *file*; the rest stays as it is."""
    before, _, rest = file.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{file} has no place for the figures")
    picture = f"![{_PICTURE}]({file.with_suffix('.svg').name})"
    file.write_text(f"{before}{BEGIN}\n\n{picture}\n\n{text}\n{END}{after}")


def markdown(results: Results, targets: list[Target]) -> str:
    """Return the whole report."""
    parts = [
        _machine(results),
        "### Targets\n\n" + _targets(targets),
        "### Metadata\n\n" + _table(results, "metadata", _METADATA),
        "### First byte\n\n" + _table(results, "first byte", _FIRST_BYTE, ratios=False),
        "### Downloads\n\n" + _table(results, "download", _TRANSFER),
        "### Uploads\n\n" + _table(results, "upload", _TRANSFER),
        "### Many uploads at once\n\n" + _table(results, "crowd", _CROWD),
        "### A provider behind TLS\n\n" + _table(results, "tls", _TRANSFER),
        "### What fails\n\n" + _failures(results),
    ]
    return "\n".join(part for part in parts if not part.endswith("\n\n"))


def _machine(results: Results) -> str:
    lines = [f"- {name}: {value}" for name, value in results.machine.items()]
    lines += [f"- {name}: {value}" for name, value in results.load.items()]
    for gateway, parts in results.versions.items():
        if gateway != "ours (32 threads)":
            said = ", ".join(f"{part} {version}" for part, version in parts.items())
            lines.append(f"- {gateway}: {said}")
    if results.gunicorn_arguments:
        lines.append(f"- more arguments for gunicorn: `{results.gunicorn_arguments}`")
    rounds = "1 round" if results.rounds == 1 else f"{results.rounds} rounds"
    size = " of small sizes (`--quick`)" if results.quick else ""
    lines.append(f"- {rounds}{size} in {results.seconds / 60:.1f} minutes")
    return "### The machine\n\n" + "\n".join(lines) + "\n"


def _targets(targets: list[Target]) -> str:
    rows = []
    for target in targets:
        if target.figure is None:
            continue
        verdict = "pass" if target.passed else "**FAIL**"
        figure = f"{target.figure:.3g} {target.unit}"
        rows.append(
            f"| {target.text} | {figure} | ≤ {target.limit:g} {target.unit} | {verdict} |"
        )
    if not rows:
        return ""
    return "\n".join(["| Ours | Found | Target | |", "|---|---|---|---|", *rows]) + "\n"


def _milliseconds(figure: Callable[[Sample], float]) -> Callable[[Sample], float]:
    return lambda sample: figure(sample) * 1e3


_CPU = ("processor, ms each", _milliseconds(lambda s: s.cpu_each))
_P50 = ("p50, ms", _milliseconds(lambda s: s.p50))
_P99 = ("p99, ms", _milliseconds(lambda s: s.p99))
_RSS = ("peak memory, MiB", lambda s: s.peak_rss / MIB)
_RATIOS: dict[str, Callable[[Sample], float]] = {
    "processor × ours": lambda s: s.cpu_each,
    "memory × ours": lambda s: s.peak_rss,
}
_Columns = list[tuple[str, Callable[[Sample], float]]]
_METADATA: _Columns = [
    _CPU,
    ("requests/s", lambda s: s.units / s.wall if s.wall else 0),
    _P50,
    _P99,
    _RSS,
]
_TRANSFER: _Columns = [_CPU, ("wall, ms each", _milliseconds(lambda s: s.wall_each)), _RSS]
_CROWD: _Columns = [
    _CPU,
    ("wall, s in all", lambda s: s.wall),
    ("slowest over median", lambda s: s.slowest / s.p50 if s.p50 else 0),
    ("peak memory, largest process, MiB", lambda s: s.peak_process / MIB),
    _RSS,
]
_FIRST_BYTE: _Columns = [
    ("after the body's first byte, ms", _milliseconds(lambda s: s.from_body)),
    ("after the fields, ms", _P50[1]),
    ("slowest after the fields, ms", _milliseconds(lambda s: s.slowest)),
]


def _table(results: Results, prefix: str, columns: _Columns, *, ratios: bool = True) -> str:
    """Return a table of the cases whose keys begin with *prefix*.

    :param ratios: whether processor time and memory are set against ours.
    """
    compared = list(_RATIOS.items()) if ratios else []
    cases = {s.case: s.label for s in results.samples if s.case.startswith(prefix)}
    if not cases:
        return ""
    head = ["Case", "Gateway", *(name for name, _ in columns), *(name for name, _ in compared)]
    lines = [_row(head), "|---|---|" + "---:|" * (len(head) - 2)]
    for case, label in cases.items():
        for gateway in results.versions:
            tried = [s for s in results.samples if (s.case, s.gateway) == (case, gateway)]
            if not tried:
                continue
            if results.good(case, gateway):
                cells = [_spread(results.figures(case, gateway, f)) for _, f in columns]
                for _, figure in compared:
                    ratio = results.ratio(case, gateway, "ours", figure)
                    cells.append("" if ratio is None else f"{ratio:.3g}")
            else:
                cells = ["fails", *[""] * (len(head) - 3)]
            lines.append(_row([label, gateway, *cells]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(figures: list[float]) -> str:
    middle = _short(statistics.median(figures))
    if len(figures) == 1:
        return middle
    return f"{middle} ({_short(min(figures))}..{_short(max(figures))})"


def _short(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"


def _failures(results: Results) -> str:
    lines = []
    for gateway in results.versions:
        lines += [
            f"| {gateway} | {finding.probe} | {_cell(finding.reason)} |"
            for finding in results.findings
            if finding.gateway == gateway and finding.reason
        ]
        labels = {s.case: s.label for s in results.samples if s.gateway == gateway}
        for case, label in labels.items():
            tried = [s for s in results.samples if (s.case, s.gateway) == (case, gateway)]
            failed = [s.reason for s in tried if s.reason]
            if failed:
                rounds = f"{len(failed)} of {len(tried)} rounds" if len(tried) > 1 else ""
                lines.append(
                    f"| {gateway} | {label} | {_cell(failed[0])}{rounds and f' ({rounds})'} |"
                )
    probes = len({finding.probe for finding in results.findings})
    intro = f"Each gateway was also asked once for {probes} things.\n\n" if probes else ""
    if not lines:
        return intro + "Nothing failed.\n"
    return intro + "\n".join(["| Gateway | What | Observed |", "|---|---|---|", *lines]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
