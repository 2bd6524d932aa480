"""Runs what the page on the command line shows, and writes down what it prints.

``python -m tests.docs.recordings`` writes the page's outputs and its pictures anew.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from flask_portkey_files.testing import Upstream
from tests.support.gunicorn import Gunicorn
from tests.support.served import ROOT

PAGE = ROOT / "docs" / "command-line.md"
PICTURES = {
    "upload": "flask portkey-files upload big.bin --provider local --purpose batch",
    "check": "flask portkey-files check --provider local",
}

#: The addresses that the page has.
STORE, GATEWAY = "http://127.0.0.1:9000", "http://127.0.0.1:8000"

_BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"file-[A-Za-z0-9]{24}")


class Stage:
    """A folder with the page's files, a store, and a gateway before it.

    :param folder: where commands are run.
    """

    def __init__(self, folder: Path, upstream: Upstream, gateway: Gunicorn) -> None:
        self.folder = folder
        self._places = {STORE: upstream.url, GATEWAY: gateway.url}
        #: The ids in the page, with what they are now.
        self._ids: dict[str, str] = {}
        (folder / "data").mkdir()
        for count in (1, 40, 3000):
            line = b'{"custom_id": "request", "method": "POST"}\n'
            (folder / "data" / f"part-{count}.jsonl").write_bytes(line * count)
        page = PAGE.read_text(encoding="utf-8")
        [module] = re.findall(r"(?ms)^```python\n(# gateway\.py\n.*?)^```$", page)
        (folder / "gateway.py").write_text(self.now(module))
        self.env: Mapping[str, str] = {
            **{name: value for name, value in os.environ.items() if "API_KEY" not in name},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "FLASK_APP": "gateway",
            "COLUMNS": "100",
            "TERM": "xterm-256color",
        }

    def now(self, text: str) -> str:
        """Return a piece of the page with the addresses and ids of this run."""
        for then, place in self._places.items():
            text = text.replace(then, place)
        return _ID.sub(lambda found: self._ids.get(found[0], found[0]), text)

    def play(self, block: str) -> str:
        """Run the commands of a block and return it with what they print now."""
        commands = [line for line in block.splitlines() if line.startswith("$ ")]
        before = re.split(r"^\$ .*\n", block, flags=re.MULTILINE)[1:]
        return "".join(
            self._one(command, shown) for command, shown in zip(commands, before, strict=True)
        )

    def _one(self, command: str, before: str) -> str:
        run = self.now(command.removeprefix("$ "))
        result = subprocess.run(
            ["sh", "-c", run],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
            check=False,
        )
        shown = result.stdout
        self._ids.update(zip(_ID.findall(before), _ID.findall(shown), strict=False))
        for then, place in self._places.items():
            shown = shown.replace(place, then)
        return f"{self.fresh(command)}\n{shown}"

    def fresh(self, command: str) -> str:
        """Return a command of the page with the ids of this run."""
        return _ID.sub(lambda found: self._ids.get(found[0], found[0]), command)

    def frames(self, command: str) -> list[str]:
        """Run a command on a terminal and return what that showed, one state after another."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # How Linux says that the other end is closed.
            pass
        os.close(ours)
        assert process.wait(60) == 0, shown.decode()
        return re.split(r"\r?\x1b\[(?:2K|1A|\?25[lh])+", shown.decode())


def stage() -> Iterator[Stage]:
    """Set everything up, and take it down again."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Upstream(Path(folder) / "store") as upstream,
        Gunicorn("tests.cli.app:create_app()", env=_gateway_env(upstream)) as gateway,
    ):
        place = Path(folder) / "work"
        place.mkdir()
        yield Stage(place, upstream, gateway)


def _gateway_env(upstream: Upstream) -> dict[str, str]:
    return {"UPSTREAM": upstream.base_url, "UPSTREAM_NAME": "local"}


def played(stage: Stage, page: str) -> str:
    """Return the page with what its commands print now."""
    return _BLOCK.sub(lambda block: stage.play(block[0]), page)


def plain(page: str) -> str:
    """Return the page without what differs from run to run, and from machine to machine."""
    page = _ID.sub("ID", page)
    page = re.sub(r"^\w+ +(?:spool folder|extras) .*\n", "", page, flags=re.MULTILINE)
    page = re.sub(r"\d+ (?:s|ms|min) ago|\d+ ms|\d{4}-\d\d-\d\d [\d:]+ UTC|\d{10}", "T", page)
    return re.sub(r" +", " ", page)


def picture(stage: Stage, name: str) -> str:
    """Return what a command shows on a terminal as SVG."""
    command = PICTURES[name]
    (stage.folder / "big.bin").write_bytes(bytes(80_000_000))
    states = stage.frames(command)
    shown = f"\x1b[1m$\x1b[0m {command}\n" + states[-1].strip("\r\n").replace("\r\n", "\n")
    bars = [state for state in states if "━" in state and "/76.3 MiB" in state]
    if bars:
        # The bar is gone when the command ends: half way it is there.
        shown = f"\x1b[1m$\x1b[0m {command}\n" + bars[len(bars) // 2].strip("\r\n")
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(Text.from_ansi(shown))
    return console.export_svg(title="flask portkey-files", unique_id=f"recording-{name}")


def main() -> None:
    """Write the page and its pictures."""
    for found in stage():
        page = played(found, PAGE.read_text(encoding="utf-8"))
        PAGE.write_text(page, encoding="utf-8")
        for name in PICTURES:
            svg = picture(found, name)
            # Fonts would be loaded from elsewhere.
            svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
            file = PAGE.with_name(f"command-line-{name}.svg")
            file.write_text(svg.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
