"""The page on testing: what it shows is a host's own tests, and they pass."""

from __future__ import annotations

import inspect
import os
import re

import pytest

from flask_portkey_files.testing import Upstream
from tests.docs.test_snippets import MODULE, blocks, code, table
from tests.support.served import ROOT

pytest_plugins = ["pytester"]

# This process has imported the plugin already, which a run of a host's own would not.
LATE = "-Wignore::pytest.PytestAssertRewriteWarning"


def test_the_tests_shown_pass(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{pytester.path}")
    monkeypatch.syspath_prepend(pytester.path)
    shown = 0
    for block in blocks("docs/testing.md", "python"):
        if named := MODULE.match(block.text):
            (pytester.path / f"{named[1]}.py").write_text(block.text)
            shown += len(re.findall(r"^def test_", block.text, flags=re.MULTILINE))
    assert shown
    pytester.runpytest_inprocess("-Werror", LATE).assert_outcomes(passed=shown)


def test_faults_table_is_complete() -> None:
    documented = {code(row[0]) for row in table("docs/testing.md", "Let it fail")}
    signatures = {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(Upstream, inspect.isfunction)
        if name.endswith("_next")
    }
    assert documented == {name + arguments(taken) for name, taken in signatures.items()}


def arguments(taken: inspect.Signature) -> str:
    """Return the arguments of a method without their types."""
    _, *named = taken.parameters.values()
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in named]
    return str(inspect.Signature(plain))
