"""Each stage with each operation, under each server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..support.parts import require
from .matrix import CELLS, Bench, Cell, bench
from .servers import SERVERS


@pytest.fixture(scope="module", params=SERVERS)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """One server of each kind for all its cells."""
    require(Path("/proc/self/fd").exists(), "needs Linux' /proc")
    require(shutil.which("openssl"), "needs openssl: apt-get install openssl")
    with ExitStack() as stack:
        yield stack.enter_context(bench(request.param, tmp_path_factory.mktemp("faults")))


@pytest.mark.parametrize("cell", CELLS, ids=[cell.id for cell in CELLS])
def test_cell(running: Bench, cell: Cell) -> None:
    result = running.run(cell)
    assert result.seen == cell.stage.expected(cell.operation)
    assert not result.false_completion
    assert result.left_over == []


def test_what_is_held_is_seen(running: Bench) -> None:
    """The matrix would find what a call left behind."""
    held = " ".join(running.held_by_a_download())
    assert "calls: 1 instead of 0" in held
    assert "sockets: " in held
