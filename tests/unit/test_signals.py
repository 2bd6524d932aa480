from __future__ import annotations

from typing import Any

import flask
import pytest
import requests_mock

from flask_portkey_files import (
    FilesCall,
    Operation,
    Outcome,
    Target,
    call_finished,
    call_started,
)

from .conftest import MakeClient
from .forms import CONTENT_TYPE, END, field, file

URL = "https://api.openai.com/v1/files"


class Recorder:
    """Keeps what the signals say."""

    def __init__(self) -> None:
        self.started: list[tuple[Any, FilesCall]] = []
        self.finished: list[tuple[Any, FilesCall, Outcome]] = []

    def start(self, sender: Any, call: FilesCall) -> None:
        self.started.append((sender, call))

    def finish(self, sender: Any, call: FilesCall, outcome: Outcome) -> None:
        self.finished.append((sender, call, outcome))

    @property
    def outcome(self) -> Outcome:
        (found,) = self.finished
        return found[2]


@pytest.fixture
def recorder() -> Any:
    recorder = Recorder()
    with (
        call_started.connected_to(recorder.start),
        call_finished.connected_to(recorder.finish),
    ):
        yield recorder


def to_openai(call: FilesCall) -> Target:
    return Target("openai", api_key="sk-1")


def test_a_download(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(f"{URL}/file-1/content", content=b"12345")
    client = make_client(to_openai)
    response = client.get("/v1/files/file-1/content")
    assert len(recorder.started) == 1
    assert response.data == b"12345"
    response.close()
    sender, call, outcome = recorder.finished[0]
    assert sender is recorder.started[0][0] is client.application
    assert call is recorder.started[0][1]
    assert (call.operation, call.file_id) == (Operation.CONTENT, "file-1")
    assert (outcome.provider, outcome.status, outcome.error) == ("openai", 200, None)
    assert (outcome.bytes_in, outcome.bytes_out) == (0, 5)
    assert outcome.duration >= 0
    assert "sk-1" not in repr((sender, call, outcome))


def test_a_client_that_leaves(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(f"{URL}/file-1/content", content=bytes(300_000))
    client = make_client(to_openai, config={"PORTKEY_FILES_BLOCK_SIZE": 100_000})
    response = client.get("/v1/files/file-1/content", buffered=False)
    assert len(next(response.iter_encoded())) == 100_000
    assert recorder.finished == []
    response.close()
    assert recorder.outcome.error == "client_disconnected"
    assert recorder.outcome.bytes_out == 100_000


def test_an_upload(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.post(URL, json={"id": "file-1"})
    body = file(b"x") + field("purpose", "batch") + END
    response = make_client(to_openai).post("/v1/files", data=body, content_type=CONTENT_TYPE)
    response.close()
    assert recorder.outcome.bytes_in == len(body)
    assert recorder.outcome.bytes_out == len(response.data)


def test_a_providers_error_is_no_error_of_the_gateways(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, status_code=429, json={})
    make_client(to_openai).get("/v1/files").close()
    assert (recorder.outcome.status, recorder.outcome.error) == (429, None)


def test_the_gateways_own_error(make_client: MakeClient, recorder: Recorder) -> None:
    make_client().get("/v1/files").close()
    assert (recorder.outcome.provider, recorder.outcome.status) == (None, 400)
    assert recorder.outcome.error == "invalid_route"


def test_a_resolver_that_aborts(make_client: MakeClient, recorder: Recorder) -> None:
    make_client(lambda call: flask.abort(403)).get("/v1/files").close()
    assert recorder.outcome.status == 403


def test_a_resolver_that_fails(make_client: MakeClient, recorder: Recorder) -> None:
    def resolve(call: FilesCall) -> Target:
        raise KeyError("tenant")

    with pytest.raises(KeyError):
        make_client(resolve).get("/v1/files")
    assert (recorder.outcome.status, recorder.outcome.error) == (500, "internal_error")


def test_a_receiver_that_fails(make_client: MakeClient, recorder: Recorder) -> None:
    def receiver(sender: Any, call: FilesCall) -> None:
        raise KeyError("receiver")

    with call_started.connected_to(receiver), pytest.raises(KeyError):
        make_client(to_openai).get("/v1/files")
    assert recorder.outcome.error == "internal_error"


def test_a_file_id_that_is_refused(make_client: MakeClient, recorder: Recorder) -> None:
    make_client(to_openai).get("/v1/files/a%2Fcontent").close()
    assert (recorder.outcome.status, recorder.outcome.error) == (400, "invalid_file_id")


def test_head(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.head(f"{URL}/file-1/content", headers={"Content-Length": "5"})
    response = make_client(to_openai).head("/v1/files/file-1/content")
    assert response.headers["Content-Length"] == "5"
    response.close()
    assert (recorder.outcome.status, recorder.outcome.bytes_out) == (200, 0)
