"""Asks every server that is installed, or those named, and writes the table of the docs.

``python -m tests.servers [NAME ...]``
"""

from __future__ import annotations

import sys

from .known import SERVERS
from .table import VERSION, ask, write


def main(names: list[str]) -> None:
    """Ask the servers of these *names*, all if there are none."""
    found: dict[str, dict[str, str]] = {}
    for server in SERVERS.values():
        if names and server.name not in names:
            continue
        if server.version is None:
            sys.stdout.write(f"{server.name}: not installed\n")
            continue
        found[server.name] = {VERSION: server.version, **ask(server, patience=lambda name: 5)}
        for question, answer in found[server.name].items():
            sys.stdout.write(f"{server.name}: {question}: {answer}\n")
    write(found)


main(sys.argv[1:])
