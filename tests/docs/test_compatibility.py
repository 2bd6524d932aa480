"""The table of Pythons and versions: of runs that passed, and of the bounds that hold now."""

from __future__ import annotations

import re

import pytest

from tests.docs.test_snippets import read

PAGE = "docs/compatibility.md"


def rows() -> list[dict[str, str]]:
    """Return the rows of the table that nox writes, by their columns' names."""
    text = read(PAGE).partition("<!-- Begin")[2].partition("-->\n")[2].partition("<!-- End")[0]
    head, _, *lines = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.strip().splitlines()
    )
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_every_run_passed() -> None:
    found = rows()
    assert {row["Versions"] for row in found} == {"lowest", "newest"}
    assert {row["Tests"] for row in found} == {"pass"}
    least = re.search(r'^requires-python = ">=3\.(\d+)"', read("pyproject.toml"), re.MULTILINE)
    assert least
    minors = {int(row["Python"].split(".")[1]) for row in found}
    assert min(minors) >= int(least[1])


@pytest.mark.parametrize("row", [r for r in rows() if r["Versions"] == "lowest"], ids=str)
def test_lowest_is_the_lowest_that_is_allowed(row: dict[str, str]) -> None:
    """A bound that was raised since needs another run of nox."""
    bounds = dict(
        re.findall(r'^    "([\w-]+)>=([\d.]+)', read("pyproject.toml"), flags=re.MULTILINE)
    )
    for name in ("blinker", "filelock", "flask", "requests", "urllib3", "werkzeug"):
        allowed = bounds[name].split(".")
        assert row[name].split(".")[: len(allowed)] == allowed, name
