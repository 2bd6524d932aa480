"""The README's first commands as a newcomer types them, timed: ``python -m tests.newcomer``.

Clones this checkout's last commit into a new folder, runs the README's commands there as they
are printed, in an environment that has nothing of this one, and looks for the uploaded file in
the page with a real browser. What the commands need from package indexes is fetched anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.manager.page import FilesPage
from tests.support.browser import CHROMIUM, MISSING, Tab, chromium
from tests.support.served import ROOT

#: Where a new account finds its programs. No virtual environment of anybody's is on it.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What of this environment says how the network is reached, and nothing more.
NETWORK = re.compile(
    r"PIP_(INDEX|EXTRA_INDEX|TRUSTED|CERT).*|(HTTPS?|NO)_PROXY|SSL_CERT_.*", re.IGNORECASE
)


class Steps:
    """What took how long."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Print the seconds that the block took."""
        began = time.monotonic()
        yield
        _say(f"{time.monotonic() - began:7.1f} s  {name}")

    def total(self) -> None:
        """Print the seconds since the beginning."""
        _say(f"{time.monotonic() - self._began:7.1f} s  in all")


def readme_commands(readme: str) -> tuple[str, list[str], str]:
    """Return the command that installs and serves, those that upload, and the page's address.

    :raises ValueError: the README has another form.
    """
    section = readme.partition("\n## Try it\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    serving = [block for block in blocks if "-m example_app" in block]
    uploading = [block.splitlines() for block in blocks if "-F file=@" in block]
    address = re.search(r"<(http://[^>]+)>", section)
    if len(serving) != 1 or len(uploading) != 1 or not address:
        raise ValueError("README.md: the commands of the section `Try it` are not found")
    (lines,) = uploading
    last = next(n for n, line in enumerate(lines) if "-F file=@" in line)
    return serving[0].strip(), lines[: last + 1], address[1]


def check_port(url: str) -> None:
    """Raise unless the port of *url* is free, which the README's commands name."""
    address = (urlsplit(url).hostname or "", urlsplit(url).port or 80)
    try:
        socket.create_server(address).close()
    except OSError as error:
        raise SystemExit(
            f"The README's commands are run as they are printed, and they need {url}: {error}. "
            "Stop what is listening there, then try again."
        ) from None


@contextlib.contextmanager
def serving(command: str, folder: Path, env: dict[str, str]) -> Iterator[None]:
    """Run the command that installs and serves, from when it serves until the block ends."""
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # So that what the shell starts can be stopped with it.
        start_new_session=True,
    )
    assert process.stdout is not None
    printed: list[str] = []
    try:
        for line in process.stdout:
            printed.append(line)
            if line.startswith("Stop with"):
                break
        else:
            raise SystemExit(f"The example did not start:\n{''.join(printed)}")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def main() -> None:
    """Take the newcomer's path, and print how long each step of it took."""
    if not CHROMIUM:
        raise SystemExit(f"Chromium is not there: {MISSING}")
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        env = {name: value for name, value in os.environ.items() if NETWORK.fullmatch(name)}
        env |= {"PATH": PATH, "HOME": made, "LANG": "C.UTF-8"}
        clone = home / "checkout"
        steps = Steps()
        with steps.step("clone"):
            subprocess.run(
                ["git", "clone", "--quiet", f"file://{ROOT}", str(clone)], check=True
            )
        install, upload, url = readme_commands((clone / "README.md").read_text("utf-8"))
        check_port(url)
        with contextlib.ExitStack() as stack:
            with steps.step(f"install and serve: {install}"):
                stack.enter_context(serving(install, clone, env))
            for command in upload:
                with steps.step(command):
                    answer = subprocess.run(
                        ["sh", "-c", command],
                        cwd=clone,
                        env=env,
                        check=True,
                        capture_output=True,
                        text=True,
                        timeout=60,
                    )
            if '"object":"file"' not in answer.stdout:
                raise SystemExit(f"The upload was not answered with a file: {answer.stdout}")
            with steps.step(f"see the file at {url} in the browser"):
                _look(url)
        steps.total()


def _look(url: str) -> None:
    with chromium() as browser:
        tab = Tab(browser)
        tab.page.goto(url)
        expect(FilesPage(tab.page).row("data.jsonl")).to_be_visible()
        tab.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
