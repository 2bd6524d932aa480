from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from datetime import datetime, timezone
from typing import Any

import pytest
import requests_mock
from flask import Flask

from flask_portkey_files import Target, create_blueprint
from flask_portkey_files.access import MAX_TEXT, log_calls

from ..support.served import ROOT
from .made import KEY, URL, MakeApp, call, form, to_openai, upload

NAME = "flask_portkey_files.access"


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return what the lines say; each has to be one line of ASCII."""
    found = []
    for record in caplog.records:
        if record.name == NAME:
            text = record.getMessage()
            assert record.levelno == logging.INFO
            assert text.isascii()
            assert text.isprintable()
            found.append(json.loads(text))
            assert vars(record)["files_call"] == found[-1]
    return found


def test_an_upload(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.post(URL, text=lambda request, context: str(len(request.body.read())))
    app = make_app(to_openai, PORTKEY_FILES_ACCESS_LOG="on")
    body = form(b"x" * 500)
    before = datetime.now(timezone.utc)
    answer = upload(app, body, headers={"x-portkey-trace-id": "trace-1"})
    (line,) = lines(caplog)
    taken = {name: line.pop(name) for name in ("first_byte", "provider_first_byte", "duration")}
    assert 0 < taken["provider_first_byte"] <= taken["first_byte"] <= taken["duration"] < 60
    time = datetime.fromisoformat(line.pop("time"))
    assert abs((time - before).total_seconds()) < 60
    assert line == {
        "operation": "upload",
        "method": "POST",
        "provider": "openai",
        "option": "config",
        "status": 200,
        "error": None,
        "bytes_in": len(body),
        "bytes_out": len(answer.data),
        "file_bytes": 500,
        "attempts": 1,
        "retries": 0,
        "replayed": False,
        "trace_id": "trace-1",
        "file_id": None,
        "sha256": None,
    }


def test_nothing_of_a_client_breaks_a_line_or_leaks(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(re.compile(".*"), json={})
    app = make_app(
        lambda call: Target(call.headers["X-Any"], api_key=KEY), PORTKEY_FILES_ACCESS_LOG=True
    )
    call(
        app,
        "GET",
        "/v1/files/%22%0A%7B%7D%1B%5B2J%E2%80%A8?token=query-secret",
        headers={
            "X-Any": '"}\x85 injected',
            "Authorization": "Bearer client-secret",
            "Cookie": "session=cookie-secret",
            "x-portkey-trace-id": "t" * 5000,
        },
    )
    (line,) = lines(caplog)
    assert line["file_id"] == '"\n{}\x1b[2J\u2028'
    assert line["provider"] == '"}\x85 injected'
    assert line["trace_id"] == "t" * MAX_TEXT + "…"
    assert (line["status"], line["error"]) == (400, "invalid_route")
    text = json.dumps(line)
    assert "secret" not in text
    assert KEY not in text


def test_it_is_off_unless_it_is_asked_for(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, json={})
    other = make_app(to_openai)
    app = make_app(to_openai, PORTKEY_FILES_ACCESS_LOG="yes")
    call(other, "GET", "/v1/files")
    assert lines(caplog) == []
    call(app, "GET", "/v1/files")
    assert len(lines(caplog)) == 1


def test_asked_for_twice_it_is_one_line(
    caplog: pytest.LogCaptureFixture, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, json={})
    app = Flask("host")
    app.config["PORTKEY_FILES_ACCESS_LOG"] = True
    for name in ("one", "two"):
        app.register_blueprint(create_blueprint(to_openai, name=name), url_prefix=f"/{name}")
    log_calls(app)
    call(app, "GET", "/two/files")
    assert [line["operation"] for line in lines(caplog)] == ["list"]


def test_a_level_that_the_host_has_set_stays(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, json={})
    logger = logging.getLogger(NAME)
    caplog.set_level(logging.WARNING, NAME)
    call(make_app(to_openai, PORTKEY_FILES_ACCESS_LOG=True), "GET", "/v1/files")
    assert logger.level == logging.WARNING
    assert lines(caplog) == []


WITHOUT_LOGGING = """
from flask import Flask
from flask_portkey_files import Target, create_blueprint

app = Flask("host")
app.config["PORTKEY_FILES_ACCESS_LOG"] = True
app.register_blueprint(create_blueprint(lambda call: Target("nobody")), url_prefix="/v1")
app.test_client().get("/v1/files").close()
"""


def test_without_any_handler_it_goes_to_standard_error() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_LOGGING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout == ""
    line = json.loads(ran.stderr)
    assert (line["operation"], line["status"]) == ("list", 400)
