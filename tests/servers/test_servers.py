"""Each server that .ci/run installs does what the table in the docs says it does."""

from __future__ import annotations

import inspect
import re

import pytest

from ..support.parts import require
from .known import SERVERS, Server
from .probes import PROBES
from .table import PAGE, VERSION, ask, documented


@pytest.mark.parametrize(
    "server", [s for s in SERVERS.values() if not s.built], ids=lambda server: server.name
)
def test_the_table_is_what_the_server_does(server: Server) -> None:
    require(server.version, f"needs {server.package} {server.needs}: pip install '.[sdks]'")
    expected = documented()[server.name]

    def patience(name: str) -> float:
        # What is said never to come is not waited for as long as what has to.
        return 1 if expected[name] in ("held back", "no") else 20

    found = ask(server, patience=patience)
    assert found == {name: expected[name] for name in PROBES}


def test_the_table_has_all_servers_and_questions() -> None:
    columns = documented()
    assert list(columns) == list(SERVERS)
    assert all(list(column) == [VERSION, *PROBES] for column in columns.values())


def test_each_question_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    told = dict(re.findall(r"^- \*\*(.+?)\*\*: (.+)$", text, flags=re.MULTILINE))
    assert told == {name: inspect.getdoc(probe) for name, probe in PROBES.items()}
