from __future__ import annotations

import io
import socket
from typing import Any

import flask
import pytest
import requests_mock

from flask_portkey_files import (
    AnswerHead,
    Attempt,
    AttemptOutcome,
    Fallback,
    FilesCall,
    Operation,
    Outcome,
    Retry,
    Target,
    answer_started,
    attempt_finished,
    attempt_started,
    call_finished,
    call_started,
    spool_changed,
)

from .conftest import MakeClient
from .forms import CONTENT_TYPE, END, field, file

URL = "https://api.openai.com/v1/files"


class Recorder:
    """Keeps what the signals say."""

    def __init__(self) -> None:
        self.started: list[tuple[Any, FilesCall]] = []
        self.finished: list[tuple[Any, FilesCall, Outcome]] = []
        self.attempts: list[Attempt] = []
        self.tried: list[tuple[Attempt, AttemptOutcome]] = []
        self.answers: list[AnswerHead] = []
        self.spooled: list[int] = []

    def start(self, sender: Any, call: FilesCall) -> None:
        self.started.append((sender, call))

    def finish(self, sender: Any, call: FilesCall, outcome: Outcome) -> None:
        self.finished.append((sender, call, outcome))

    def attempt(self, sender: Any, call: FilesCall, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def tries(
        self, sender: Any, call: FilesCall, attempt: Attempt, outcome: AttemptOutcome
    ) -> None:
        self.tried.append((attempt, outcome))

    def answer(self, sender: Any, call: FilesCall, answer: AnswerHead) -> None:
        self.answers.append(answer)

    def spool(self, sender: Any, change: int) -> None:
        self.spooled.append(change)

    @property
    def outcome(self) -> Outcome:
        (found,) = self.finished
        return found[2]


@pytest.fixture
def recorder() -> Any:
    recorder = Recorder()
    with (
        call_started.connected_to(recorder.start),
        attempt_started.connected_to(recorder.attempt),
        attempt_finished.connected_to(recorder.tries),
        answer_started.connected_to(recorder.answer),
        call_finished.connected_to(recorder.finish),
        spool_changed.connected_to(recorder.spool),
    ):
        yield recorder


def to_openai(call: FilesCall) -> Target:
    return Target("openai", api_key="sk-1")


def test_a_download(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(
        f"{URL}/file-1/content", content=b"12345", headers={"Content-Length": "5"}
    )
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
    assert (outcome.attempts, outcome.file_bytes) == (1, 5)
    assert outcome.provider_time_to_first_byte is not None
    assert outcome.time_to_first_byte is not None
    assert (
        0
        <= outcome.provider_time_to_first_byte
        <= outcome.time_to_first_byte
        <= outcome.duration
    )
    ((attempt, tried),) = recorder.tried
    assert recorder.attempts == [attempt]
    assert attempt == Attempt(provider="openai", option="config", number=1, retry=0)
    assert (tried.status, tried.error, tried.requests, tried.bytes_sent) == (200, None, 1, 0)
    assert tried.time_to_first_byte == outcome.provider_time_to_first_byte
    assert tried.duration >= outcome.provider_time_to_first_byte
    (answer,) = recorder.answers
    assert (answer.provider, answer.option, answer.attempts) == ("openai", "config", 1)
    assert (answer.status, answer.error, answer.length) == (200, None, 5)
    assert answer.time_to_first_byte == outcome.time_to_first_byte
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
    assert recorder.outcome.file_bytes == 1
    # The file came first.
    assert recorder.spooled == [1, -1]
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


TWICE = Fallback(
    [
        Target("openai", api_key="sk-1", retry=Retry(attempts=1)),
        Target("openai", api_key="sk-2", base_url="https://other.example/v1"),
    ]
)


def test_each_attempt_is_told(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    sent: list[int] = []

    def fail(request: Any, context: Any) -> str:
        sent.append(len(request.body.read()))
        context.headers["Retry-After"] = "0"
        context.status_code = 503
        return "{}"

    def take(request: Any, context: Any) -> str:
        sent.append(len(request.body.read()))
        return "{}"

    requests_mock.post(URL, text=fail)
    requests_mock.post("https://other.example/v1/files", text=take)
    body = field("purpose", "batch") + file(b"x" * 1000) + END
    client = make_client(lambda call: TWICE)
    client.post("/v1/files", data=body, content_type=CONTENT_TYPE).close()
    assert [attempt for attempt, _ in recorder.tried] == recorder.attempts
    assert [(a.provider, a.option, a.number, a.retry) for a in recorder.attempts] == [
        ("openai", "config.targets[0]", 1, 0),
        ("openai", "config.targets[0]", 2, 1),
        ("openai", "config.targets[1]", 3, 0),
    ]
    outcomes = [outcome for _, outcome in recorder.tried]
    assert [(o.status, o.error, o.requests) for o in outcomes] == [
        (503, None, 1),
        (503, None, 1),
        (200, None, 1),
    ]
    assert [o.bytes_sent for o in outcomes] == sent
    assert min(sent) > 1000
    assert (recorder.outcome.attempts, recorder.outcome.retries) == (3, 0)
    assert recorder.outcome.file_bytes == 1000
    assert [recorder.spooled[-1], sum(recorder.spooled)] == [-1000, 0]


def test_an_attempt_of_several_requests(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    google = "https://generativelanguage.googleapis.com"
    requests_mock.post(
        f"{google}/upload/v1beta/files",
        headers={"X-Goog-Upload-URL": f"{google}/upload/v1beta/files?upload_id=1"},
    )
    requests_mock.post(
        f"{google}/upload/v1beta/files?upload_id=1",
        json={"file": {"name": "files/a", "sizeBytes": "3"}},
    )
    body = field("purpose", "user_data") + file(b"abc") + END
    client = make_client(lambda call: Target("google", api_key="AIza"))
    answer = client.post("/v1/files", data=body, content_type=CONTENT_TYPE)
    assert answer.status_code == 200, answer.text
    answer.close()
    ((_, outcome),) = recorder.tried
    assert (outcome.requests, outcome.status) == (2, 200)


def test_an_attempt_without_an_answer(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, exc=ConnectionRefusedError)
    make_client(to_openai).get("/v1/files").close()
    ((_, outcome),) = recorder.tried
    assert (outcome.status, outcome.error, outcome.requests) == (502, "upstream_error", 1)
    assert outcome.time_to_first_byte is None
    assert recorder.outcome.provider_time_to_first_byte is None
    assert recorder.outcome.time_to_first_byte is not None
    assert recorder.answers[0].error == "upstream_error"


def test_an_attempt_that_is_refused_before_its_request(
    make_client: MakeClient, recorder: Recorder
) -> None:
    make_client(lambda call: Target("anyone")).get("/v1/files").close()
    ((attempt, outcome),) = recorder.tried
    assert attempt.provider == "anyone"
    assert (outcome.status, outcome.error, outcome.requests) == (400, "invalid_route", 0)


@pytest.mark.parametrize(
    "signal", [attempt_started, attempt_finished, answer_started], ids=lambda s: str(s.name)
)
@pytest.mark.parametrize("handled", [False, True])
def test_a_receiver_that_fails_leaves_nothing_open(
    make_client: MakeClient,
    recorder: Recorder,
    requests_mock: requests_mock.Mocker,
    signal: Any,
    handled: bool,
) -> None:
    class Body(io.BytesIO):
        """What the provider sends."""

    body = Body(bytes(300_000))
    requests_mock.get(f"{URL}/file-1/content", body=body)

    def receiver(sender: Any, **told: Any) -> None:
        raise KeyError("receiver")

    client = make_client(to_openai)
    if handled:
        client.application.register_error_handler(KeyError, lambda error: ("oh", 500))
    with signal.connected_to(receiver):
        if handled:
            assert client.get("/v1/files/file-1/content").status_code == 500
        else:
            with pytest.raises(KeyError):
                client.get("/v1/files/file-1/content")
    assert (recorder.outcome.status, recorder.outcome.error) == (500, "internal_error")
    if signal is not attempt_finished:
        assert len(recorder.tried) == 1
    assert body.closed == requests_mock.called


def test_a_hook_that_fails_behind_a_short_answer(
    make_client: MakeClient, recorder: Recorder, requests_mock: requests_mock.Mocker
) -> None:
    requests_mock.get(URL, json={})
    client = make_client(to_openai)

    @client.application.after_request
    def hook(response: flask.Response) -> flask.Response:
        raise KeyError("hook")

    with pytest.raises(KeyError):
        client.get("/v1/files")
    assert (recorder.outcome.status, recorder.outcome.error) == (500, "internal_error")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_hook_that_answers_in_its_place(
    make_client: MakeClient,
    recorder: Recorder,
    requests_mock: requests_mock.Mocker,
    streamed: bool,
    wrapped: bool,
) -> None:
    content = b"X" * 300_000 if streamed else b"{}"
    path = "/file-1/content" if streamed else ""
    body = io.BytesIO(content)
    requests_mock.get(f"{URL}{path}", body=body)
    client = make_client(to_openai)

    @client.application.after_request
    def hook(response: flask.Response) -> flask.Response:
        answer = (block.upper() for block in response.iter_encoded()) if wrapped else "mine"
        return flask.Response(answer, 202)

    answer = client.get(f"/v1/files{path}", buffered=False)
    assert recorder.finished == []
    assert answer.data == (content if wrapped else b"mine")
    answer.close()
    assert recorder.outcome.bytes_out == (len(content) if wrapped or not streamed else 0)
    assert body.closed


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("path", ["", "/file-1/content"])
def test_a_hook_leaves_no_connection_watched(
    make_client: MakeClient, requests_mock: requests_mock.Mocker, path: str, fails: bool
) -> None:
    """It would be broken off in the middle of whatever comes over it later."""
    requests_mock.get(f"{URL}{path}", text="{}")
    client = make_client(to_openai)
    client.application.testing = False

    @client.application.after_request
    def hook(response: flask.Response) -> flask.Response:
        if fails:
            raise KeyError("hook")
        return flask.Response("mine")

    server, peer = socket.socketpair()
    with server, peer:
        overrides = {"werkzeug.socket": server}
        answer = client.get(f"/v1/files{path}", environ_overrides=overrides)
        assert answer.status_code == (500 if fails else 200)
        answer.close()
        (relay,) = client.application.extensions["portkey_files"].values()
        assert not relay._watch._paces
