"""The matrix as a page: ``python -m tests.faults.table`` runs it and writes docs/faults.md."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from ..support.served import ROOT
from .matrix import CELLS, Result, bench
from .servers import SERVERS
from .stages import OPERATIONS, STAGES

PAGE = ROOT / "docs" / "faults.md"

BEGIN = "<!-- Begin of what the command writes -->\n"
END = "<!-- End of what the command writes -->\n"

#: What stands in the page where there is no such stage.
ABSENT = "n/a"


def table(seen: Mapping[tuple[str, str], Mapping[str, str]]) -> str:
    """Return the matrix in Markdown.

    :param seen: what was seen under each server, by stage and operation.
    """
    rows = [["Stage", *OPERATIONS], ["---"] * (len(OPERATIONS) + 1)]
    for stage in STAGES:
        cells = [_cell(seen.get((stage.id, operation), {})) for operation in OPERATIONS]
        rows.append([stage.title, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(by_server: Mapping[str, str]) -> str:
    words = set(by_server.values())
    if len(words) > 1:
        return "; ".join(f"{SERVERS[kind]}: {word}" for kind, word in by_server.items())
    return words.pop() if words else ABSENT


def run() -> dict[tuple[str, str], dict[str, Result]]:
    """Run the matrix under each server."""
    results: dict[tuple[str, str], dict[str, Result]] = {}
    for kind in SERVERS:
        with tempfile.TemporaryDirectory() as folder, bench(kind, Path(folder)) as running:
            for cell in CELLS:
                found = results.setdefault((cell.stage.id, cell.operation), {})
                found[kind] = running.run(cell)
        print(f"{SERVERS[kind]}: {len(CELLS)} calls", flush=True)
    return results


def main() -> int:
    """Run the matrix, and write it into its page."""
    results = run()
    bad = [
        f"{stage}, {operation}, {kind}: {result}"
        for (stage, operation), by_server in results.items()
        for kind, result in by_server.items()
        if result.left_over or result.false_completion
    ]
    if bad:
        print(*bad, sep="\n")
        return 1
    seen = {
        place: {kind: result.seen for kind, result in by_server.items()}
        for place, by_server in results.items()
    }
    text = (
        f"{len(CELLS)} calls under each of {len(SERVERS)} servers, on "
        f"{platform.python_implementation()} {platform.python_version()} with gunicorn "
        f"{version('gunicorn')}, gevent {version('gevent')} and werkzeug "
        f"{version('werkzeug')}: no thread, descriptor or spool file was left behind, and no "
        "upload came out complete that was not.\n\n" + table(seen)
    )
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
