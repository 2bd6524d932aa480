"""The commands, over both ways to a Files API: in this process, and over HTTP to gunicorn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from flask_portkey_files.cli import connection, download
from flask_portkey_files.testing import Upstream
from tests.cli.app import create_app
from tests.support.gunicorn import Gunicorn

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No secrets of the developer's, no waiting, and a folder of the test's own."""
    for name in ("OPENAI_API_KEY", "PORTKEY_API_KEY", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for module in (connection, download):
        monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


@pytest.fixture(scope="package")
def kept_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with Upstream(tmp_path_factory.mktemp("upstream")) as upstream:
        yield upstream


@pytest.fixture
def upstream(kept_upstream: Upstream) -> Iterator[Upstream]:
    """The stand-in behind the applications, empty when a test begins."""
    yield kept_upstream
    kept_upstream.clear()


@pytest.fixture(scope="package")
def gateway(kept_upstream: Upstream) -> Iterator[Gunicorn]:
    env = {"UPSTREAM": kept_upstream.base_url}
    with Gunicorn("tests.cli.app:create_app()", env=env) as server:
        yield server


@pytest.fixture
def app(upstream: Upstream) -> Flask:
    return create_app(upstream.base_url)


@pytest.fixture(params=["inside", "url"])
def run(request: pytest.FixtureRequest, app: Flask) -> Run:
    """Run a command of the blueprint's, with the provider `own`."""
    ways: list[str] = []
    if request.param == "url":
        ways = ["--url", f"{request.getfixturevalue('gateway').url}/v1"]

    def run(command: str, *arguments: str, **options: Any) -> Result:
        args = ["portkey-files", command, *ways, "--provider", "own", *arguments]
        return app.test_cli_runner().invoke(args=args, **options)

    return run


def lines(result: Result) -> list[dict[str, Any]]:
    """Return what a command printed as lines of JSON."""
    return [json.loads(line) for line in result.stdout.splitlines()]
