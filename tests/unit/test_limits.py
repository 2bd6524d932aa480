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


def test_headers_of_a_call() -> None:
    gateway = client("http://127.0.0.1:1", max_header_bytes=1000)
    for name in ("x-portkey-config", "x-portkey-metadata", "Authorization", "x-any", "Range"):
        headers = {**HEADERS, name: "x" * 1001}
        for method, path in (("GET", "/v1/files"), ("DELETE", "/v1/files/file-1")):
            refused = gateway.open(path, method=method, headers=headers)
            assert refused.status_code == 431
            error = refused.get_json()["error"]
            assert (error["code"], error["param"]) == ("headers_too_large", name.lower())
            assert "xxx" not in refused.text
        assert upload(gateway, LIVE, **{name: "x" * 1001}).status_code == 431
    # One byte less, and it is judged by what it says.
    assert gateway.get("/v1/files", headers={"x-portkey-config": "x" * 1000}).status_code == 400


def part(*headers: str) -> bytes:
    return "\r\n".join(("--b0undary", *headers, "", "value\r\n")).encode()


DISPOSITION = 'Content-Disposition: form-data; name="purpose"'


@pytest.mark.parametrize(
    "headers",
    [
        (DISPOSITION, f"X-Long: {'x' * 400}"),
        (DISPOSITION, *(f"X-{number}: 1" for number in range(100))),
        (f'{DISPOSITION}; filename="{"x" * 400}"',),
        # By their bytes: half as many letters would do.
        (DISPOSITION, f"X-Long: {'ä' * 200}"),
    ],
    ids=["long", "many", "filename", "bytes"],
)
def test_headers_of_a_part(headers: tuple[str, ...]) -> None:
    gateway = client("http://127.0.0.1:1", max_part_headers=400)
    refused = upload(gateway, part(*headers) + file(b"x") + END)
    assert refused.status_code == 431
    assert refused.get_json()["error"]["code"] == "headers_too_large"


def test_a_field() -> None:
    gateway = client("http://127.0.0.1:1", max_field_bytes=100)
    for name in ("purpose", "other"):
        refused = upload(gateway, field(name, "x" * 101) + file(b"x") + END)
        assert refused.status_code == 413
        error = refused.get_json()["error"]
        assert (error["code"], error["param"]) == ("field_too_large", name)
    # What is within it gets to the provider, which is not there.
    assert upload(gateway, field("purpose", "x" * 100) + file(b"x") + END).status_code == 502
