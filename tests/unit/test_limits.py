"""How much may be under way, and held back, at a time."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_portkey_files import create_blueprint
from flask_portkey_files.errors import SpoolUnavailable
from flask_portkey_files.settings import KIB, Settings
from flask_portkey_files.spool import SpooledFile, SpoolSpace

from ..support.upstream import Connection, Upstream
from .forms import END, field, file

HEADERS = {"x-portkey-provider": "acme"}


def client(url: str, **settings: Any) -> FlaskClient:
    app = Flask(__name__)
    app.config.update({f"PORTKEY_FILES_{name.upper()}": v for name, v in settings.items()})
    app.register_blueprint(create_blueprint(providers={"acme": url}), url_prefix="/v1")
    return app.test_client()


def upload(to: FlaskClient, body: bytes, **headers: str) -> Any:
    content_type = "multipart/form-data; boundary=b0undary"
    return to.post(
        "/v1/files",
        data=io.BytesIO(body),
        content_length=len(body),
        headers={**HEADERS, "Authorization": "Bearer sk-1", **headers},
        content_type=content_type,
    )


LIVE = field("purpose", "batch") + file(b"content") + END
FILE_FIRST = file(b"x" * 4 * KIB) + field("purpose", "batch") + END


def test_uploads_at_a_time() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        while head := connection.read_head():
            connection.read_body()
            if head.startswith(b"POST"):
                begun.set()
                assert go_on.wait(20)
            connection.answer()

    with Upstream(script) as upstream, ThreadPoolExecutor() as threads:
        gateway = client(f"{upstream.url}/v1", max_uploads=1)
        first = threads.submit(upload, gateway.application.test_client(), LIVE)
        assert begun.wait(20)
        refused = upload(gateway, LIVE)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.get_json()["error"]["code"] == "too_many_uploads"
        # Nothing else has to wait, and who may not upload is told so.
        others = {**HEADERS, "Authorization": "Bearer sk-1"}
        assert gateway.get("/v1/files/file-1", headers=others).status_code == 200
        assert upload(gateway, LIVE, Authorization="").status_code == 401
        go_on.set()
        assert first.result(20).status_code == 200
        # However an upload ends, it makes room for the next.
        assert upload(gateway, b"no form").status_code == 400
        assert upload(gateway, LIVE).status_code == 200


def test_what_is_held_back_at_a_time() -> None:
    def script(connection: Connection) -> None:
        while connection.read_head():
            connection.read_body()
            connection.answer()

    with Upstream(script) as upstream:
        gateway = client(f"{upstream.url}/v1", spool_total=4 * KIB - 1)
        refused = upload(gateway, FILE_FIRST)
        assert refused.status_code == 503
        assert refused.get_json()["error"]["code"] == "spool_unavailable"
        # What is passed on as it arrives takes no room.
        assert upload(gateway, LIVE).status_code == 200
        gateway = client(f"{upstream.url}/v1", spool_total=4 * KIB)
        for _ in range(3):
            assert upload(gateway, FILE_FIRST).status_code == 200


def test_space_is_given_back_once() -> None:
    space = SpoolSpace(10)
    spooled = SpooledFile([b"123456"], Settings(), space)
    with pytest.raises(SpoolUnavailable):
        SpooledFile([b"123", b"45"], Settings(), space)
    spooled.close()
    spooled.close()
    with pytest.raises(SpoolUnavailable):
        space.take(11)
    space.take(10)
