"""Asks whether a known vulnerability is in what is installed, with pip-audit.

Where the advisories can't be reached, such as where there is nothing but a package index, that
is said, and is no failure: nothing is known then, neither good nor bad.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

#: Advisories that do not concern this project, and why.
IGNORED: dict[str, str] = {}

# What pip-audit ends with when it can't ask.
_UNREACHABLE = re.compile(r"ServiceError|ConnectionError|ConnectTimeout|ReadTimeout|HTTPError")


def judge(status: int, output: str, errors: str) -> tuple[int, list[str]]:
    """Return the exit status, and what to say.

    :param status: pip-audit's exit status.
    :param output: its report, as JSON.
    :param errors: what it said besides.
    """
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if not _UNREACHABLE.search(errors):
            return 1, [f"pip-audit failed ({status}):", *errors.splitlines()[-3:]]
        return 0, [
            "NOT AUDITED: the advisories can't be reached, so nothing is known.",
            *errors.splitlines()[-1:],
        ]
    lines = []
    for dependency in dependencies:
        for found in dependency.get("vulns", []):
            fixed = ", ".join(found.get("fix_versions", [])) or "no release"
            lines.append(
                f"{dependency['name']} {dependency['version']}: {found['id']}, fixed in {fixed}"
            )
    if lines:
        return 1, [*lines, "Raise the bound in pyproject.toml, or say in .ci/audit.py why not."]
    skipped = [item["name"] for item in dependencies if "skip_reason" in item]
    asked = len(dependencies) - len(skipped)
    if not asked:
        return 0, [
            f"NOT AUDITED: none of {len(skipped)} packages is known to the service that has "
            "the advisories, so it can't be reached. Nothing is known."
        ]
    rest = [f"Not audited: {', '.join(skipped)}."] if skipped else []
    return 0, [f"No known vulnerability in {asked} packages.", *rest]


def main() -> int:
    """Print what pip-audit finds and return the exit status."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--skip-editable"]
    command += ["--progress-spinner", "off", "--timeout", "10"]
    for advisory, reason in IGNORED.items():
        print(f"{advisory} is not looked at: {reason}")
        command += ["--ignore-vuln", advisory]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status, lines = judge(done.returncode, done.stdout, done.stderr)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
