"""The script that takes the newcomer's path finds it in the README; .ci/run takes it."""

from __future__ import annotations

import socket

import pytest

from tests.newcomer import check_port, readme_commands
from tests.support.served import ROOT


def test_the_commands_are_those_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    install, upload, url = readme_commands(readme)
    assert install.startswith("python3 -m venv .venv && .venv/bin/pip install -e ")
    assert install.endswith(" -m example_app")
    assert [line.split()[0] for line in upload] == ["echo", "curl"]
    assert all(command in readme for command in (install, *upload))
    assert f"{url}/v1/files" in upload[-1]
    with pytest.raises(ValueError, match="are not found"):
        readme_commands("# Empty\n")


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SystemExit, match=f"they need {url}: "):
            check_port(url)
    check_port(url)
