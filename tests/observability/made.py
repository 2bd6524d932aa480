"""What the tests here share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from flask import Flask
from werkzeug.test import TestResponse

from flask_portkey_files import FilesCall, Target

from ..unit.forms import CONTENT_TYPE, END, field, file

MakeApp = Callable[..., Flask]

URL = "https://api.openai.com/v1/files"
KEY = "sk-must-stay-secret"


def to_openai(call: FilesCall) -> Target:
    return Target("openai", api_key=KEY)


def call(app: Flask, method: str, path: str, **options: Any) -> TestResponse:
    """Make a call, and read and close its response."""
    with app.test_client().open(path, method=method, **options) as response:
        response.get_data()
        return cast(TestResponse, response)


def form(content: bytes) -> bytes:
    """Return the form of an upload that can be passed on live."""
    return field("purpose", "batch") + file(content) + END


def upload(app: Flask, body: bytes, **options: Any) -> TestResponse:
    return call(app, "POST", "/v1/files", data=body, content_type=CONTENT_TYPE, **options)
