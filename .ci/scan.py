"""Looks for secrets in what is under version control.

What may look like one is listed below with the reason why it is none. A finding that no line
allows fails, and so does a line that allows nothing any more.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings

#: Where it may stand, what it is, and why it is no secret.
ALLOWED = (
    (
        r"(docs|tests)/.*|README\.md",
        r"[A-Za-z]+([-_ ,]+([a-z]+|[0-9]{1,4}))*|sk-[0-9]",
        "Made up: words, perhaps with a small number behind them. What is drawn by lot has "
        "letters and digits mixed.",
    ),
    (r"tests/.*", r"a\\n", "Made up: a key with a line break, which is refused."),
    (r"example_app/stored\.py", r"sk-\.\.\.", "Dots, in the place of a key."),
    (
        r"README\.md|docs/quickstart\.md|flask_portkey_files/openapi/examples\.py",
        r"file-[0-9A-Za-z]{24}",
        "The id of a file, as the example answers it.",
    ),
    (
        r"tests/unit/test_redaction\.py",
        r"(sk-proj|gsk|xai|r8)[-_]0123456789abcdefABCDEF|AKIA[A-Z]+7EXAMPLE|"
        r"AIzaSyA0123456789\w+|eyJhbGciOiJIUzI1NiJ9\.eyJzdWIiOiIxIn0\.|BEGIN \w+ KEY",
        "Made up, in the shapes that the filter for logs knows; the third is AWS' own example, "
        "and of the last it is the line before it alone.",
    ),
    (r"docs/command-line\.md", r"[0-9a-f]{64}", "The SHA-256 of a file."),
    (r"tests/fuzz/targets\.py", r"47DEQpj8HBSa\S+", "The SHA-256 of nothing."),
)


def main(root: Path) -> int:
    """Print what was found and return the exit status."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True
    )
    names = [name for name in listed.stdout.split("\0") if name]
    findings = SecretsCollection(str(root))
    with default_settings():
        for name in names:
            findings.scan_file(name)
    unused = set(ALLOWED)
    found = []
    for name, finding in findings:
        reasons = [
            allowed
            for allowed in ALLOWED
            if re.fullmatch(allowed[0], name)
            and re.fullmatch(allowed[1], finding.secret_value or "")
        ]
        unused.difference_update(reasons)
        if not reasons:
            # Not what it is: that would be in a log then.
            found.append(f"{name}:{finding.line_number}: {finding.type}")
    for line in found:
        print(line)
    if found:
        print(
            f"{len(found)} may be secrets. Take a secret out, and have it replaced where it is "
            "valid; for what is none, add a line with the reason to .ci/scan.py."
        )
    for path, pattern, _ in unused:
        print(f".ci/scan.py allows {pattern} in {path}, which is not there")
    if not found and not unused:
        print(f"No secrets in {len(names)} files.")
    return int(bool(found or unused))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
