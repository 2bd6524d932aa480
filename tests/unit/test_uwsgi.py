"""What uWSGI does in ways of its own; the module that it has inside is played here."""

from __future__ import annotations

import io
import socket
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import requests_mock
from flask.testing import FlaskClient

from flask_portkey_files.uwsgi import break_off

INSIDE = {"uwsgi.version": b"2.0.31"}


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("uwsgi")
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    return module


@pytest.fixture
def provider() -> Iterator[requests_mock.Mocker]:
    with requests_mock.Mocker() as mocker:
        yield mocker


def post(client: FlaskClient) -> Any:
    return client.post(
        "/v1/files",
        headers={
            "Content-Type": "multipart/form-data; boundary=b",
            "Transfer-Encoding": "chunked",
        },
        # Where uWSGI has nothing of a chunked body.
        input_stream=io.BytesIO(),
        environ_overrides=INSIDE,
    )


def test_a_chunked_body_is_read_by_its_own_interface(
    client: FlaskClient, uwsgi: types.ModuleType, provider: requests_mock.Mocker
) -> None:
    content = b"0123456789" * 1000
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + content
        + b"\r\n--b--\r\n"
    )
    # Of more than is asked for at a time, and of less.
    chunks = [body[:5000], body[5000:5001], body[5001:]]
    uwsgi.chunked_read = lambda: chunks.pop(0) if chunks else b""  # type: ignore[attr-defined]
    sent: list[bytes] = []

    def store(request: Any, context: object) -> Any:
        sent.append(request.body.read())
        return {"id": "file-1"}

    provider.post("https://api.openai.com/v1/files", json=store)
    assert post(client).get_json() == {"id": "file-1"}
    assert content in sent[0]


def test_a_chunked_body_that_is_cut_is_the_clients_fault(
    client: FlaskClient, uwsgi: types.ModuleType, provider: requests_mock.Mocker
) -> None:
    def cut() -> bytes:
        raise OSError("unable to receive chunked part")

    uwsgi.chunked_read = cut  # type: ignore[attr-defined]
    answer = post(client)
    assert answer.status_code == 400
    assert answer.get_json()["error"]["code"] == "incomplete_body"
    assert not provider.called


def test_a_download_that_breaks_resets_the_connection(
    uwsgi: types.ModuleType,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    uwsgi.connection_fd = server.fileno  # type: ignore[attr-defined]
    with client:
        break_off()
        server.sendall(b"still uWSGI's own")
        assert client.recv(100) == b"still uWSGI's own"
        server.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
