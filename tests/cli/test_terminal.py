"""The commands as processes: on a terminal, in a pipe, and completed by a shell."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from flask_portkey_files.testing import Upstream
from tests.support.gunicorn import Gunicorn
from tests.support.served import ROOT

COMMAND = [sys.executable, "-m", "flask_portkey_files"]


def environment(**more: str) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100", **more}


def on_terminal(*arguments: str, prompt: bytes = b"", answer: bytes = b"") -> tuple[int, str]:
    """Run a command with a terminal of its own and return its exit code and what it showed.

    :param prompt: what has to be shown before *answer* is typed.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
            if answer and prompt in shown:
                os.write(ours, answer)
                answer = b""
    except OSError:  # How Linux says that the other end is closed.
        pass
    os.close(ours)
    return process.wait(60), shown.decode()


@pytest.fixture
def ways(gateway: Gunicorn, upstream: Upstream) -> list[str]:
    return ["--url", f"{gateway.url}/v1", "--provider", "own"]


def test_a_bar_on_a_terminal(ways: list[str], tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(40_000_000))
    code, shown = on_terminal("upload", *ways, "--purpose", "batch", "big.bin")
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"big\.bin ━+ [\d.]+/38\.1 MiB", plain)
    assert "(verified)" in shown


def test_none_in_a_pipe(ways: list[str], tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(5_000_000))
    result = subprocess.run(
        [*COMMAND, "upload", *ways, "--purpose", "batch", "big.bin"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.fullmatch(
        r"file-\w+  big\.bin  4\.8 MiB  sha256 \w+ \(verified\)\n", result.stdout
    )
    assert result.stderr == ""


def test_a_deletion_is_asked_for(ways: list[str], upstream: Upstream) -> None:
    file_id = upstream.add_file(b"x")
    code, shown = on_terminal("delete", *ways, file_id, prompt=b"[y/N]", answer=b"n\n")
    assert (code, len(upstream.files)) == (1, 1)
    assert f"Delete {file_id}? [y/N]" in shown
    assert on_terminal("delete", *ways, file_id, prompt=b"[y/N]", answer=b"y\n")[0] == 0
    assert upstream.files == []


def test_a_key_is_asked_for_and_not_shown(ways: list[str], upstream: Upstream) -> None:
    code, shown = on_terminal("list", *ways, "--ask-key", prompt=b"Key:", answer=b"sk-typed\n")
    assert code == 0
    assert upstream.requests[0].api_key == "sk-typed"
    assert "sk-typed" not in shown


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["portkey-files", "pu"], {"purge"}),
        (["portkey-files", "up"], {"upload"}),
        (["portkey-files", "list", "--provider", "open"], {"openai", "openrouter"}),
        (["portkey-files", "list", "--ord"], {"--order"}),
        (["portkey-files", "list", "--order", ""], {"asc", "desc"}),
    ],
)
def test_completion(words: list[str], completed: set[str]) -> None:
    app = ["--app", "tests.cli.app"]
    result = subprocess.run(
        [str(Path(sys.executable).with_name("flask"))],
        cwd=ROOT,
        env=environment(
            UPSTREAM="http://127.0.0.1:9/v1",
            _FLASK_COMPLETE="bash_complete",
            COMP_WORDS=" ".join(["flask", *app, *words]),
            COMP_CWORD=str(len(words) + len(app)),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = {line.partition(",")[2] for line in result.stdout.splitlines()}
    assert found == completed
