"""How far a transfer is, on a terminal."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator

from .output import plain

#: Called with the number of bytes that were just transferred.
Advance = Callable[[int], object]


def shows() -> bool:
    """Return whether a bar can be shown: on a terminal, with the extra ``cli``."""
    return sys.stderr.isatty() and importlib.util.find_spec("rich") is not None


@contextlib.contextmanager
def bar(
    label: str, total: int | None, *, done: int = 0, hidden: bool = False
) -> Iterator[Advance]:
    """Show a transfer's progress on stderr while the ``with`` block lasts, if that can be.

    :param total: how many bytes there are, if that is known.
    :param done: how many of them were there before.
    :param hidden: whether nothing is to be shown.
    """
    if hidden or not shows():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # Gone when it is done: a line says then what came of it.
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(escape(plain(label)), total=total, completed=done)
        yield lambda count: progress.advance(task, count)
