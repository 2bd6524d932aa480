"""The table of what each server can stream, as the docs have it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..support.served import ROOT
from .known import SERVERS, Server
from .probes import PROBES, Provider, Stage

PAGE = ROOT / "docs" / "servers.md"
MARKS = tuple(f"<!-- {which} of what the command writes -->" for which in ("Begin", "End"))
VERSION = "Version"


def ask(server: Server, *, patience: Callable[[str], float]) -> dict[str, str]:
    """Start *server* and return what each probe finds, by its name.

    :param patience: how long a probe waits for what may never come, in seconds, by its name.
    """
    provider = Provider()
    with provider.listen() as upstream, tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # Apache does not run as the user who starts it.
        env = {"EXAMPLE_STORE_URL": upstream.url}
        with server.start(env, Path(folder)) as served:
            # It may listen before it has loaded the application.
            assert Stage(served, provider, 0).call("GET", "/v1/files").status == 200
            return {
                name: probe(Stage(served, provider, patience(name)))
                for name, probe in PROBES.items()
            }


def documented() -> dict[str, dict[str, str]]:
    """Return the table in the docs: by server, what each probe found."""
    text = PAGE.read_text(encoding="utf-8").partition(MARKS[0])[2].partition(MARKS[1])[0]
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.strip().splitlines()
    )
    return {
        name: {row[0]: row[place] for row in rows} for place, name in enumerate(head[1:], 1)
    }


def write(found: dict[str, dict[str, str]]) -> None:
    """Put *found* into the docs, and keep the columns of servers that were not asked."""
    columns = documented() | found
    names = [name for name in SERVERS if name in columns]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    lines += [
        f"| {row} | {' | '.join(columns[name][row] for name in names)} |"
        for row in (VERSION, *PROBES)
    ]
    text = PAGE.read_text(encoding="utf-8")
    between = "\n".join(["", "", *lines, "", ""])
    pattern = re.compile(f"(?<={re.escape(MARKS[0])}).*?(?={re.escape(MARKS[1])})", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: between, text), encoding="utf-8")
