"""The threat model names tests that are there, and has one for each threat."""

from __future__ import annotations

import ast
import re

import pytest

from ..support.served import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
DEFENDED = PAGE.partition("## What is defended")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DEFENDED.splitlines()
    if line.startswith("| ") and not line.startswith("| Threat")
]
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_each_test_that_is_named_exists(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    tests = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert tests


def test_each_threat_has_a_test() -> None:
    assert len(ROWS) > 20
    for row in ROWS:
        assert len(row) == 3, row
        assert all(row), row
        assert re.fullmatch(r"`tests/[\w/]+\.py`(, `tests/[\w/]+\.py`)*", row[2]), row


def test_each_test_of_what_must_not_leak_is_named() -> None:
    for path in (ROOT / "tests" / "security").glob("test_*.py"):
        if path.name != "test_threat_model.py":
            assert f"tests/security/{path.name}" in NAMED
