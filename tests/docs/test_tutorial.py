"""The tutorial, followed word by word."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_snippets import MODULE, blocks, commands
from tests.support.parts import require
from tests.support.served import ROOT, Served

PAGE = "docs/tutorial.md"
LOOPBACK = r"(http://127\.0\.0\.1:(\d+))"


def start(line: str, folder: Path, *, instead: dict[str, str]) -> Served:
    """Return the server that a line of the page starts, on a port that the system picks.

    :param instead: what takes the place of words of the line.
    """
    words = [re.sub(r"^\.venv/bin/", "", word) for word in shlex.split(line)]
    env = {"PYTHONPATH": str(ROOT)}
    while re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        env[name] = instead.get(value, value)
    program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", words[0]]
    arguments = [instead.get(word, word) for word in words[1:]]
    at = arguments.index("--port") + 1
    arguments[at] = "0"
    return Served([*program, *arguments], listening=LOOPBACK, env=env)


def test_every_step_does_what_the_page_says(tmp_path: Path) -> None:
    require(importlib.util.find_spec("flask_login"), "needs flask-login: pip install '.[sdks]'")
    source = [b.text for b in blocks(PAGE, "python") if MODULE.match(b.text)]
    assert len(source) == 2
    (tmp_path / "app.py").write_text("\n\n".join(source))
    _, provider_line, app_line, *shown = [block.text.strip() for block in blocks(PAGE, "sh")]
    lines = [line for text in shown for line in commands(text)]
    with start(provider_line, tmp_path, instead={"files": str(tmp_path / "files")}) as provider:
        instead = {
            "app": str(tmp_path / "app.py"),
            "http://127.0.0.1:9000/v1": f"{provider.url}/v1",
        }
        with start(app_line, tmp_path, instead=instead) as service:
            answers = [run(line, service.url, tmp_path) for line in lines]
    welcome, _, uploaded, listed, refused = answers
    assert welcome == "Welcome.\n"
    file = json.loads(uploaded)
    assert file["filename"] == "data.jsonl"
    assert json.loads(listed)["data"] == [file]
    (expected,) = blocks(PAGE, "json")
    assert json.loads(refused) == json.loads(expected.text)


def run(line: str, url: str, folder: Path) -> str:
    command = line.replace("http://127.0.0.1:8000", url)
    command = re.sub(r"^curl ", "curl --silent --show-error --noproxy '*' ", command)
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout


def test_it_begins_with_what_can_be_installed() -> None:
    install = blocks(PAGE, "sh")[0].text
    (extra,) = re.findall(r"'\.\[(\w+)\]'", install)
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()
    assert os.linesep.join(install.splitlines()).startswith("python3 -m venv .venv")


@pytest.mark.parametrize("name", ["anna", "ben"])
def test_each_user_has_a_key(name: str) -> None:
    source = "".join(block.text for block in blocks(PAGE, "python"))
    assert len(re.findall(rf'"{name}": "', source)) == 2
