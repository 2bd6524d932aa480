"""The example application: its settings, what it stores, and how it is started."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from example_app import create_app
from example_app.stored import read_stored
from flask_portkey_files import Target
from flask_portkey_files.providers import registry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setenv("EXAMPLE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PORTKEY_FILES_MAX_BYTES", "1000")
    # What Kubernetes sets for a service of that name is no setting.
    monkeypatch.setenv("PORTKEY_FILES_PORT", "tcp://10.0.0.1:80")
    app = create_app()
    yield app
    app.extensions["example_store"].close()


def upload(app: Flask, content: bytes, provider: str = "local") -> Any:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        + content
        + b"\r\n--b--\r\n"
    )
    return app.test_client().post(
        "/v1/files",
        data=body,
        content_type="multipart/form-data; boundary=b",
        headers={"x-portkey-provider": provider},
    )


def test_it_relays_to_a_store_of_its_own(app: Flask, tmp_path: Path) -> None:
    stored = upload(app, b"content")
    assert stored.status_code == 200
    headers = {"x-portkey-provider": "local"}
    path = f"/v1/files/{stored.json['id']}/content"
    assert app.test_client().get(path, headers=headers).data == b"content"
    assert list((tmp_path / "data" / "blobs").iterdir())


def test_it_has_a_route_of_its_own(app: Flask) -> None:
    assert app.test_client().get("/").json == {
        "service": "flask_portkey_files example",
        "files": "/v1/files",
        "providers": [*registry(), "local"],
    }


def test_a_browser_gets_the_file_manager(app: Flask) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = app.test_client().get("/", headers=browser, follow_redirects=True)
    assert page.request.path == "/manager/"
    assert "<title>Files</title>" in page.text
    assert app.test_client().get("/", headers={"Accept": "*/*"}).is_json


def test_settings_come_from_the_environment(app: Flask) -> None:
    assert upload(app, bytes(1001)).status_code == 413


def test_other_providers_work_beside_the_store(app: Flask) -> None:
    assert upload(app, b"x", provider="openai").status_code == 401


def test_a_store_that_runs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_STORE_URL", "http://127.0.0.1:9")
    assert "example_store" not in create_app().extensions


STORED = {
    "api_keys": {"team": "gw-1"},
    "virtual_keys": {
        "prod": {"provider": "openai", "api_key": "sk-1", "openai_project": "p"},
        "own": {"provider": "local", "base_url": "http://h/v1"},
    },
    "configs": {"pc-1": {"provider": "local"}},
}
TOML = """
[api_keys]
team = "gw-1"
[virtual_keys.prod]
provider = "openai"
api_key = "sk-1"
openai_project = "p"
[virtual_keys.own]
provider = "local"
base_url = "http://h/v1"
[configs.pc-1]
provider = "local"
"""


class TestStored:
    @pytest.mark.parametrize(
        ("name", "text"), [("stored.json", json.dumps(STORED)), ("stored.toml", TOML)]
    )
    def test_files(self, tmp_path: Path, name: str, text: str) -> None:
        file = tmp_path / name
        file.write_text(text)
        assert read_stored(str(file)) == {
            **STORED,
            "virtual_keys": {
                "prod": Target("openai", api_key="sk-1", options={"openai_project": "p"}),
                "own": Target("local", base_url="http://h/v1"),
            },
        }

    @pytest.mark.parametrize("path", [None, ""])
    def test_none(self, path: str | None) -> None:
        assert read_stored(path) == {}

    @pytest.mark.parametrize(
        ("stored", "fault"),
        [
            ({"virtual_key": {}}, "unknown table 'virtual_key'"),
            ({"virtual_keys": {"a": {"api_key": "x"}}}, "'a' has no provider"),
        ],
    )
    def test_faults(self, tmp_path: Path, stored: Any, fault: str) -> None:
        file = tmp_path / "stored.json"
        file.write_text(json.dumps(stored))
        with pytest.raises(ValueError, match=fault):
            read_stored(str(file))


@pytest.mark.parametrize("server", ["gunicorn", "werkzeug"])
def test_it_starts_and_says_what_to_try(server: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "example_app", "--port", "0", "--server", server],
        cwd=ROOT,
        env={**os.environ, "EXAMPLE_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    printed = ""
    with process.stdout:
        try:
            for line in process.stdout:
                printed += line
                if "Stop with" in line:
                    break
            found = re.search(r"The Files API is at (http://127\.0\.0\.1:\d+)/v1", printed)
            assert found, printed
            with urllib.request.urlopen(found[1]) as response:
                assert json.load(response)["files"] == "/v1/files"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
    assert printed.count("curl ") == 5
    assert str(tmp_path) in printed
    assert process.returncode == 0
