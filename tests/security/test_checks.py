"""The checks of .ci/run fail when they should, and say so when they know nothing."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import secrets
import subprocess
import sys
from base64 import b64encode
from importlib.util import find_spec
from pathlib import Path

import pytest

from ..support.parts import require
from ..support.served import ROOT


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a folder under version control with what the scan allows."""
    require(find_spec("detect_secrets"), "needs detect-secrets: pip install detect-secrets")
    # Put together, so that this file does not need to be allowed as well.
    name, digest = "api_key", hashlib.sha256()
    allowed = {
        "docs/page.md": f'{name} = "sk-of-the-host"\n',
        "tests/test.py": f'{name} = "a\\n"\n',
        "example_app/stored.py": f'{name} = "sk-..."\n',
        "README.md": f'"id":"file-{"5rXtKA2IB33C" + "zbQQsThxgTnO"}"\n',
        "tests/unit/test_redaction.py": f'"AKIA{"IOSFODNN7EXAMPLE"}"\n',
        "docs/command-line.md": f'"{digest.hexdigest()}"\n',
        "tests/fuzz/targets.py": f'"{b64encode(digest.digest()).decode()}"\n',
    }
    for name, text in allowed.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def scan(root: Path) -> tuple[int, str]:
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    command = [sys.executable, str(ROOT / ".ci" / "scan.py"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_scan_allows_what_is_made_up(repository: Path) -> None:
    assert scan(repository) == (0, "No secrets in 7 files.\n")


@pytest.mark.parametrize("name", ["docs/page.md", "tests/test.py", "example_app/stored.py"])
def test_scan_finds_a_key(repository: Path, name: str) -> None:
    key = f"sk-proj-{secrets.token_urlsafe(32)}"
    with (repository / name).open("a") as file:
        file.write(f'api_key = "{key}"\n')
    status, said = scan(repository)
    assert status == 1
    assert f"{name}:2: " in said
    assert key not in said


def test_scan_finds_a_line_that_allows_nothing(repository: Path) -> None:
    (repository / "example_app" / "stored.py").unlink()
    status, said = scan(repository)
    assert status == 1
    assert "which is not there" in said


AUDIT = runpy.run_path(str(ROOT / ".ci" / "audit.py"))["judge"]
BAD = {"id": "PYSEC-2026-1", "fix_versions": ["2.1"], "aliases": []}


@pytest.mark.parametrize(
    ("status", "dependencies", "errors", "expected", "said"),
    [
        (
            0,
            [{"name": "a", "version": "1", "vulns": []}],
            "",
            0,
            "No known vulnerability in 1 ",
        ),
        (1, [{"name": "a", "version": "1", "vulns": [BAD]}], "", 1, "a 1: PYSEC-2026-1, fixed"),
        # A real finding is one also where others could not be asked about.
        (
            1,
            [
                {"name": "a", "version": "1", "vulns": [BAD]},
                {"name": "b", "skip_reason": "Dependency not found"},
            ],
            "",
            1,
            "PYSEC",
        ),
        (0, [{"name": "a", "skip_reason": "Dependency not found"}], "", 0, "NOT AUDITED"),
        (1, None, "requests.exceptions.ConnectionError: no name", 0, "NOT AUDITED"),
        (2, None, "pip-audit: error: unrecognized arguments", 1, "pip-audit failed (2)"),
        (0, None, "", 1, "pip-audit failed (0)"),
    ],
)
def test_audit(
    status: int, dependencies: object, errors: str, expected: int, said: str
) -> None:
    report = "" if dependencies is None else json.dumps({"dependencies": dependencies})
    result, lines = AUDIT(status, report, errors)
    assert result == expected
    assert said in "\n".join(lines)


def test_every_exception_from_the_rules_of_security_is_explained() -> None:
    found = 0
    for folder in ("flask_portkey_files", "example_app", ".ci"):
        for path in (ROOT / folder).rglob("*.py"):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(r"noqa:[^#]*\bS[0-9]{3}", line):
                    found += 1
                    explained = re.search(r"noqa: S[0-9]{3}(, S[0-9]{3})* - \w+", line)
                    assert explained, f"{path}:{number}"
    assert found > 5
