"""The page on the command line: what it shows is what the commands print."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from flask_portkey_files import create_blueprint
from tests.docs.recordings import PAGE, PICTURES, plain, played, stage
from tests.docs.test_snippets import code, read, table


# A process for each command: a second or so, on a machine that has nothing else to do.
@pytest.mark.timeout(300)
def test_the_commands_print_what_is_shown() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for found in stage():
        again = played(found, page)
    assert plain(again) == plain(page), "python -m tests.docs.recordings writes it anew"
    assert page.count("\n$ flask portkey-files ") > 10


def test_every_command_is_named() -> None:
    blueprint = create_blueprint()
    Flask(__name__).register_blueprint(blueprint, url_prefix="/v1")
    rows = table("docs/command-line.md", "Command line")
    assert sorted(code(row[0]) for row in rows) == sorted(blueprint.cli.commands)


def test_every_header_option_is_one() -> None:
    command = create_blueprint().cli.commands["list"]
    known = {name for parameter in command.params for name in parameter.opts}
    for row in table("docs/command-line.md", "Which files, and whose key"):
        assert code(row[0]).split()[0] in known


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_load_nothing_from_elsewhere(name: str) -> None:
    svg = read(f"docs/command-line-{name}.svg")
    addresses = set(re.findall(r"https?://[^\s\"')]+", svg))
    assert addresses <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    shown = re.sub(r"<[^>]+>", "", svg).replace("&#160;", " ")
    assert f"$ {PICTURES[name]}" in re.sub(r"\s+", " ", shown)
