"""The package on each Python that is found, with the oldest and the newest of what it needs.

``nox`` runs all of it and writes ``docs/compatibility.md``. An interpreter that is not there is
left out, and so is its row.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PAGE = ROOT / "docs" / "compatibility.md"
RESULTS = ROOT / ".nox" / "results"
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
PARTS = ["tests/unit", "tests/example"]
#: What these need. Linters, other SDKs and the like would hold back each other's versions.
EXTRAS = ["cli", "example", "prometheus", "redis", "regex"]
TOOLS = [
    *("hypothesis", "openai", "psutil", "pytest", "pytest-cov", "pytest-timeout"),
    *("requests-mock", "wrapt"),
]
MARKS = [f"<!-- {which} of what nox writes -->" for which in ("Begin", "End")]

nox.options.sessions = ["tests", "table"]
nox.options.error_on_missing_interpreters = False


def requirements(*groups: str) -> list[str]:
    """Return what the package needs, and what its extras *groups* need of others."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    found = [*project["dependencies"], *(need for group in groups for need in extras[group])]
    return [need for need in found if not need.startswith(project["name"])]


def lowest(needs: list[str]) -> list[str]:
    """Return constraints that leave of each the lowest version alone."""
    return [re.sub(r">=", "==", need) for need in needs]


def name(need: str) -> str:
    """Return the name of what is needed."""
    found = re.match(r"[\w.-]+", need)
    assert found  # noqa: S101
    return found[0]


@nox.session(python=PYTHONS)
@nox.parametrize("versions", ["lowest", "newest"])
def tests(session: nox.Session, versions: str) -> None:
    """Run the tests of PARTS."""
    needs = requirements("testing", "example")
    arguments = ["--upgrade", "-e", f".[{','.join(EXTRAS)}]", *TOOLS]
    if versions == "lowest":
        constraints = Path(session.create_tmp()) / "constraints.txt"
        constraints.write_text("".join(f"{line}\n" for line in lowest(needs)))
        arguments += ["--constraint", str(constraints)]
    session.install(*arguments)
    listed = session.run("pip", "list", "--format", "json", silent=True)
    installed = {row["name"].lower(): row["version"] for row in json.loads(str(listed))}
    python = session.run(
        "python", "-c", "import platform as p; print(p.python_version())", silent=True
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = RESULTS / f"{session.python}-{versions}.json"
    row = {"python": str(python).strip(), "versions": versions, "passed": False}
    row["installed"] = {
        name(need): installed[name(need).lower()]
        for need in needs
        if name(need).lower() in installed
    }
    result.write_text(json.dumps(row))
    session.run("pytest", "-q", "-p", "no:cacheprovider", *PARTS, *session.posargs)
    result.write_text(json.dumps({**row, "passed": True}))


@nox.session(venv_backend="none")
def table(session: nox.Session) -> None:
    """Write what the last run of each has found into the docs."""
    rows = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    if not rows:
        session.error("nothing has been run")
    rows.sort(key=lambda row: (*map(int, row["python"].split(".")), row["versions"]))
    names = list(rows[-1]["installed"])
    lines = [
        f"| Python | Versions | {' | '.join(names)} | Tests |",
        f"|---|---|{'---|' * len(names)}---|",
    ]
    for row in rows:
        cells = [row["installed"].get(name, "") for name in names]
        passed = "pass" if row["passed"] else "**fail**"
        lines.append(
            f"| {row['python']} | {row['versions']} | {' | '.join(cells)} | {passed} |"
        )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    between = "\n".join(["", "", *lines, "", ""])
    PAGE.write_text(f"{before}{MARKS[0]}{between}{MARKS[1]}{after}", encoding="utf-8")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
