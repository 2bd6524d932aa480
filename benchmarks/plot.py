"""How cost grows with size and with concurrency, as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .results import Results
from .sample import Sample
from .sizes import MIB

#: A colour and a mark for each; both, so that the lines can be told apart without colours.
_STYLES = {
    "ours": ("#d62728", "o"),
    "nginx": ("#2ca02c", "s"),
    "portkey (lock)": ("#1f77b4", "^"),
    "portkey (npx)": ("#17becf", "v"),
    "litellm": ("#9467bd", "D"),
}
_Figure = Callable[[Sample], float]


def draw(results: Results, file: Path) -> None:
    """Write the picture as SVG."""
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9})
    from matplotlib import pyplot

    panels: list[tuple[str, str, _Figure, str, _Figure, str]] = [
        ("upload/text/", "Upload", _size, "file, MiB", _cpu, "processor, ms per upload"),
        ("upload/text/", "Upload", _size, "file, MiB", _rss, "peak memory, MiB"),
        ("download/", "Download", _size, "file, MiB", _cpu, "processor, ms per download"),
        ("download/", "Download", _size, "file, MiB", _rss, "peak memory, MiB"),
        ("metadata/", "Metadata", _width, "at a time", _cpu, "processor, ms per request"),
        ("metadata/", "Metadata", _width, "at a time", _p99, "p99, ms"),
    ]
    figure, grid = pyplot.subplots(3, 2, figsize=(9, 10), layout="constrained")
    for axes, (prefix, title, x, x_label, y, y_label) in zip(grid.flat, panels, strict=True):
        for gateway, (color, marker) in _STYLES.items():
            points = _points(results, prefix, gateway, x, y)
            if points:
                axes.plot(*zip(*points, strict=True), color=color, marker=marker, label=gateway)
        _label(axes, title, x_label, y_label)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _label(axes: Any, title: str, x_label: str, y_label: str) -> None:
    axes.set(title=title, xlabel=x_label, ylabel=y_label, xscale="log", yscale="log")
    axes.grid(alpha=0.3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")


def _points(
    results: Results, prefix: str, gateway: str, x: _Figure, y: _Figure
) -> list[tuple[float, float]]:
    found = []
    for case in {s.case for s in results.samples if s.case.startswith(prefix)}:
        samples = list(results.good(case, gateway).values())
        if samples:
            found.append((x(samples[0]), statistics.median(y(s) for s in samples)))
    return sorted(found)


def _size(sample: Sample) -> float:
    return sample.size / MIB


def _width(sample: Sample) -> float:
    return float(sample.concurrency)


def _cpu(sample: Sample) -> float:
    return sample.cpu_each * 1e3


def _rss(sample: Sample) -> float:
    return sample.peak_rss / MIB


def _p99(sample: Sample) -> float:
    return sample.p99 * 1e3
