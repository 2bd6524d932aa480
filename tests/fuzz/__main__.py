"""Fuzz what reads clients' bytes: ``python -m tests.fuzz``, for 10 minutes by default.

It needs atheris, of the extra `sdks`, which there is for Python 3.11 to 3.13 on Linux.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .targets import TARGETS

#: What part of the time each target gets; the form is where most can go wrong.
SHARES = {name: 5 if name == "form" else 1 for name in TARGETS}
_STATE = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+)")


def main() -> int:
    """Fuzz each target in turn, and return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="in all; default: 600")
    parser.add_argument("--target", choices=TARGETS, action="append", help="default: all")
    parser.add_argument("--folder", type=Path, help="where to keep what is learnt and found")
    options = parser.parse_args()
    chosen = options.target or list(TARGETS)
    if options.folder:
        return fuzz(chosen, options.seconds, options.folder)
    with tempfile.TemporaryDirectory() as folder:
        return fuzz(chosen, options.seconds, Path(folder))


def fuzz(chosen: list[str], seconds: int, folder: Path) -> int:
    """Give each target its share of the *seconds*, and print what came of it."""
    total = sum(SHARES[name] for name in chosen)
    failed = 0
    for name in chosen:
        share = max(1, seconds * SHARES[name] // total)
        command = [sys.executable, "-m", "tests.fuzz.harness", name, str(folder / name)]
        command.append(str(share))
        watched = json.dumps([f"flask_portkey_files.{part}" for part in TARGETS[name].modules])
        done = subprocess.run(
            command, input=watched, capture_output=True, text=True, check=False
        )
        log = done.stdout + done.stderr
        (folder / f"{name}.log").write_text(log)
        states = _STATE.findall(log)
        runs, covered, features = states[-1] if states else ("0", "0", "0")
        print(f"{name}: {runs} executions in {share} s, {covered} edges, {features} features")
        if done.returncode or not states:
            failed = 1
            print(*(line for line in log.splitlines() if line[:1] not in ("#", "I")), sep="\n")
            found = sorted((folder / name).glob("[!w]*-*"))
            print(*(f"{path.name}: {path.read_bytes()!r}" for path in found), sep="\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
