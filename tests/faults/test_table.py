"""The page of the matrix is that of the matrix as it is now."""

from __future__ import annotations

from .stages import OPERATIONS, STAGES
from .table import ABSENT, BEGIN, END, PAGE, table


def test_page() -> None:
    text = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["Stage", *OPERATIONS]
    assert [row[0] for row in rows[2:]] == [stage.title for stage in STAGES]
    for stage, row in zip(STAGES, rows[2:], strict=True):
        assert row[1:] == [
            ABSENT if operation in stage.absent else stage.expected(operation)
            for operation in OPERATIONS
        ]


def test_servers_that_differ_are_named() -> None:
    seen = {(STAGES[0].id, "list"): {"gthread": "200", "gevent": "502 upstream_error"}}
    row = table(seen).splitlines()[2]
    assert "gunicorn with threads: 200; gunicorn with gevent: 502 upstream_error" in row
