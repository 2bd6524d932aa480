"""What comes of an upload under a key, case by case, before a provider on a real socket."""

from __future__ import annotations

import io
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import requests_mock
from flask import Flask
from werkzeug.test import TestResponse

from flask_portkey_files import (
    Conditional,
    Fallback,
    FilesCall,
    LoadBalance,
    OpenAICompatible,
    Outcome,
    Retry,
    Route,
    Target,
    UploadForm,
    call_finished,
    create_blueprint,
)
from flask_portkey_files.errors import IdempotencyUnavailable, InvalidRequest
from flask_portkey_files.idempotency import once, sqlite
from flask_portkey_files.idempotency.sqlite import SQLiteClaim
from flask_portkey_files.providers.base import Conversation

from ..support.upstream import Connection, Upstream
from .provider import Recorder

FILES = "https://api.openai.com/v1/files"

Run = Callable[[Callable[[Connection], None]], str]


@pytest.fixture
def run() -> Iterator[Run]:
    """Return a function that starts a provider and returns its base URL."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(Upstream(script)).url + "/v1"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every provider for one that lists a file at once."""
    monkeypatch.setattr(once, "SETTLING", 0.0)


class Service:
    """An application with the blueprint."""

    def __init__(
        self,
        folder: Path,
        route: Route | Callable[[FilesCall], Route],
        *,
        config: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.app = Flask("host")
        self.app.config["PORTKEY_FILES_IDEMPOTENCY"] = str(folder)
        self.app.config.update(config or {})
        resolve = route if callable(route) else lambda call: route
        self.app.register_blueprint(create_blueprint(resolve, **options), url_prefix="/v1")

    def upload(
        self,
        key: str | None = "key",
        content: bytes = b"{}\n",
        *,
        path: str = "/v1/files",
        headers: dict[str, str] | None = None,
        environ: dict[str, str] | None = None,
        file_first: bool = False,
        behind: dict[str, Any] | None = None,
        **fields: str,
    ) -> TestResponse:
        file: dict[str, Any] = {"file": (io.BytesIO(content), "data.jsonl")}
        purpose = {"purpose": "batch", **fields}
        data = {**file, **purpose} if file_first else {**purpose, **file}
        sent = dict(headers or {})
        if key is not None:
            sent["Idempotency-Key"] = key
        return self.app.test_client(use_cookies=False).post(
            path,
            data={**data, **(behind or {})},
            headers=sent,
            environ_overrides=environ,
        )


def replayed(answer: TestResponse) -> bool:
    return answer.headers.get("Idempotent-Replayed") == "true"


def code(answer: TestResponse) -> str | None:
    error = answer.get_json()["error"]
    found: str | None = error["code"]
    return found


# --- Replays --------------------------------------------------------------------------------


def test_the_first_answer_comes_again(tmp_path: Path, run: Run) -> None:
    provider = Recorder()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    first, again = service.upload(), service.upload(file_first=True)
    assert (first.status_code, replayed(first)) == (200, False)
    assert (again.status_code, replayed(again)) == (200, True)
    assert again.data == first.data
    told = ("Content-Type", "x-portkey-provider", "x-portkey-file-digest")
    assert [again.headers[name] for name in told] == [first.headers[name] for name in told]
    assert again.headers["Content-Length"] == str(len(first.data))
    assert len(provider.files) == 1


def test_without_a_key_nothing_is_kept(tmp_path: Path, run: Run) -> None:
    provider = Recorder()
    service = Service(
        tmp_path / "uploads", Target("openai", api_key="k", base_url=run(provider))
    )
    answers = [service.upload(None) for _ in range(2)]
    assert len(provider.files) == 2
    assert not any(replayed(answer) for answer in answers)
    assert "x-portkey-file-digest" not in answers[0].headers
    assert not (tmp_path / "uploads").exists()


def test_off_passes_the_key_on(tmp_path: Path) -> None:
    config = {"PORTKEY_FILES_IDEMPOTENCY": "off"}
    service = Service(tmp_path, Target("openai", api_key="k"), config=config)
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        for _ in range(2):
            assert not replayed(service.upload())
        assert [sent.headers["Idempotency-Key"] for sent in mocker.request_history] == [
            "key",
            "key",
        ]


def test_a_provider_that_is_mocked_will_do(tmp_path: Path) -> None:
    """It may answer without reading, in the tests of those who mount the blueprint."""
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        answers = [service.upload(headers={"Accept-Encoding": "gzip"}) for _ in range(2)]
        assert [replayed(answer) for answer in answers] == [False, True]
        (sent,) = mocker.request_history
        assert sent.headers["Idempotency-Key"] == "key"
        # What is kept has to suit whoever asks again.
        assert "Accept-Encoding" not in sent.headers
        assert code(service.upload(content=b"other")) == "idempotency_key_reused"


def test_an_encoded_answer_keeps_its_encoding(tmp_path: Path) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, content=b"zzz", headers={"Content-Encoding": "br"})
        answers = [service.upload() for _ in range(2)]
    assert replayed(answers[1])
    assert [answer.headers["Content-Encoding"] for answer in answers] == ["br", "br"]
    assert [answer.data for answer in answers] == [b"zzz", b"zzz"]


@pytest.mark.parametrize(
    "change",
    [
        {"content": b"{} \n"},
        {"purpose": "fine-tune"},
        {"extra": "1"},
        {"path": "/v1/files?a=1"},
    ],
    ids=str,
)
def test_another_upload_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        assert service.upload().status_code == 200
        answer = service.upload(**change)
        assert (answer.status_code, code(answer)) == (422, "idempotency_key_reused")
        assert mocker.call_count == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ümlaut", "a\tb"])
def test_a_key_that_is_none(tmp_path: Path, key: str) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    answer = service.upload(key)
    assert (answer.status_code, code(answer)) == (400, "invalid_idempotency_key")


@pytest.mark.parametrize("key", ["x", "x" * 255, '"8e03978e"', "a b"])
def test_a_key_that_is_one(tmp_path: Path, key: str) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        assert [replayed(service.upload(key)) for _ in range(2)] == [False, True]


def test_a_key_is_forgotten_after_its_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(
        tmp_path,
        Target("openai", api_key="k"),
        config={"PORTKEY_FILES_IDEMPOTENCY_WINDOW": "100"},
    )
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        now = sqlite.time.time()  # type: ignore[attr-defined]
        monkeypatch.setattr("flask_portkey_files.idempotency.sqlite.time.time", lambda: now)
        assert [replayed(service.upload()) for _ in range(2)] == [False, True]
        monkeypatch.setattr(
            "flask_portkey_files.idempotency.sqlite.time.time", lambda: now + 101
        )
        assert not replayed(service.upload(content=b"other"))


def test_the_outcome_says_so(tmp_path: Path) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    told: list[Outcome] = []

    def note(sender: Flask, outcome: Outcome, **_: object) -> None:
        told.append(outcome)

    with requests_mock.Mocker() as mocker, call_finished.connected_to(note, service.app):
        mocker.post(FILES, json={"id": "file-1"})
        for _ in range(2):
            service.upload().close()
    assert [outcome.replayed for outcome in told] == [False, True]
    assert [outcome.provider for outcome in told] == ["openai", "openai"]
    assert told[1].sha256 is not None


def test_other_operations_do_not_heed_it(tmp_path: Path) -> None:
    service = Service(tmp_path / "uploads", Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        mocker.get(FILES, json={"data": []})
        client = service.app.test_client()
        assert client.get("/v1/files", headers={"Idempotency-Key": ""}).status_code == 200
    assert not (tmp_path / "uploads").exists()


# --- Refusals -------------------------------------------------------------------------------


def test_a_refusal_frees_the_key(tmp_path: Path, run: Run) -> None:
    provider = Recorder()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    provider.refuses_with = "400 Bad Request"
    assert service.upload().status_code == 400
    provider.refuses_with = None
    answer = service.upload(content=b"mended\n")
    assert (answer.status_code, replayed(answer)) == (200, False)
    assert [file.content for file in provider.files] == [b"mended\n"]


def test_a_broken_form_frees_the_key(tmp_path: Path, run: Run) -> None:
    provider = Recorder()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    # Behind the file of a live upload.
    second = (io.BytesIO(b"1"), "second.jsonl")
    assert code(service.upload(behind={"second": second})) == "too_many_files"
    assert not provider.files
    assert service.upload(content=b"mended\n").status_code == 200


class Counting(OpenAICompatible):
    """Reads a file before it refuses it."""

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        lines = sum(block.count(b"\n") for block in form.file.body.blocks())
        if lines < 2:
            raise InvalidRequest("There must be two lines.")
        return super().upload(call, target, form)


def test_a_refusal_of_the_gateways_own_frees_the_key(tmp_path: Path, run: Run) -> None:
    provider = Recorder()
    counting = Counting(run(provider), requires_api_key=False, needs_length=True)
    service = Service(tmp_path, Target("counting"), providers={"counting": counting})
    assert service.upload().status_code == 400
    answer = service.upload(content=b"1\n2\n")
    assert (answer.status_code, replayed(answer)) == (200, False)
    assert [file.content for file in provider.files] == [b"1\n2\n"]


def test_a_5xx_that_stored_nothing(tmp_path: Path, run: Run) -> None:
    provider = Recorder()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    provider.refuses_with = "503 Service Unavailable"
    assert service.upload().status_code == 503
    provider.refuses_with = None
    assert code(service.upload(content=b"other")) == "idempotency_key_reused"
    answer = service.upload()
    assert (answer.status_code, replayed(answer)) == (200, False)
    assert replayed(service.upload())
    assert len(provider.files) == 1


def test_after_an_answer_nothing_is_waited_for(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "SETTLING", 60.0)
    provider = Recorder()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    provider.refuses_with = "503 Service Unavailable"
    assert service.upload().status_code == 503
    provider.refuses_with = None
    # Without a wait, or this test is over its time.
    assert service.upload().status_code == 200


@pytest.mark.parametrize("stored", [True, False])
def test_a_clock_that_was_set_back(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    provider = Cut()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + 24 * 60 * 60)
        assert service.upload().status_code == 502
    provider.cuts = False
    if not stored:
        provider.files.clear()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        assert len(waits) < 20

    # The module's own name for it alone: other threads of this process wait as well.
    monkeypatch.setattr(
        once, "time", SimpleNamespace(time=now, monotonic=time.monotonic, sleep=wait)
    )
    answer = service.upload()
    assert (answer.status_code, replayed(answer)) == (200, stored)
    assert len(provider.files) == 1


# --- Lost answers ---------------------------------------------------------------------------


def test_a_5xx_that_stored_the_file(tmp_path: Path, run: Run) -> None:
    provider = Recorder()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    provider.fails_with = "500 Internal Server Error"
    assert service.upload().status_code == 500
    provider.fails_with = None
    for _ in range(2):
        answer = service.upload()
        assert (answer.status_code, replayed(answer)) == (200, True)
        assert answer.get_json() == provider.files[0].object()
        assert "x-portkey-file-digest" in answer.headers
    assert len(provider.files) == 1


class Cut(Recorder):
    """Stores a file, and breaks the connection off instead of an answer."""

    cuts = True

    def _store(self, conn: Connection) -> bool:
        if not self.cuts:
            return super()._store(conn)
        answer, conn.answer = conn.answer, lambda *_, **__: None  # type: ignore[method-assign]
        super()._store(conn)
        conn.answer = answer  # type: ignore[method-assign]
        conn.reset()
        return False


def test_a_connection_that_broke(tmp_path: Path, run: Run) -> None:
    provider = Cut()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    assert service.upload().status_code == 502
    provider.cuts = False
    assert service.upload().get_json()["id"] == "file-1"
    assert len(provider.files) == 1


def test_two_keys_never_get_one_file(tmp_path: Path, run: Run) -> None:
    provider = Cut()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    for key in ("one", "two", "three"):
        assert service.upload(key).status_code == 502
    provider.cuts = False
    # Of four uploads of one file, one had its answer.
    assert service.upload("four").get_json()["id"] == "file-4"
    found = {service.upload(key).get_json()["id"] for key in ("one", "two", "three")}
    assert found == {"file-1", "file-2", "file-3"}
    assert len(provider.files) == 4


def test_a_provider_without_content(tmp_path: Path, run: Run) -> None:
    provider = Cut(gives_content=False)
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    # Of another size, so it can't be it.
    assert service.upload("other", b"something else\n").status_code == 502
    assert service.upload().status_code == 502
    provider.cuts = False
    assert service.upload().get_json()["id"] == "file-2"
    assert len(provider.files) == 2


def test_several_that_it_could_be(tmp_path: Path, run: Run) -> None:
    provider = Cut(gives_content=False)
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    for key in ("one", "two"):
        assert service.upload(key).status_code == 502
    provider.cuts = False
    answer = service.upload("one")
    assert (answer.status_code, code(answer)) == (409, "idempotency_uncertain")
    assert answer.headers["x-should-retry"] == "false"
    assert "several files" in answer.get_json()["error"]["message"]
    assert len(provider.files) == 2


def lose_an_answer(service: Service, mocker: requests_mock.Mocker, url: str = FILES) -> None:
    """Have an upload fail after the provider has read it."""

    def read(request: Any, context: Any) -> str:
        request.body.read()
        context.status_code = 500
        return "{}"

    mocker.post(url, text=read)
    assert service.upload().status_code == 500


def listed(file_id: str, **changes: Any) -> dict[str, Any]:
    file = {"id": file_id, "object": "file", "bytes": 3, "filename": "data.jsonl"}
    return {**file, "created_at": 10**10, "purpose": "batch", "status": "processed", **changes}


@pytest.mark.parametrize(
    "change",
    [
        {"bytes": 4},
        {"filename": "other.jsonl"},
        {"purpose": "fine-tune"},
        {"created_at": 10**9},
        {"status": "error"},
    ],
    ids=str,
)
def test_a_file_that_does_not_fit_is_not_taken(tmp_path: Path, change: dict[str, Any]) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        lose_an_answer(service, mocker)
        mocker.get(FILES, json={"data": [listed("file-0", **change)], "has_more": False})
        mocker.get(f"{FILES}/file-0/content", content=b"{}\n")
        mocker.post(FILES, json={"id": "file-1"})
        answer = service.upload()
        assert (answer.get_json(), replayed(answer)) == ({"id": "file-1"}, False)


def test_a_file_of_other_content_is_not_taken(tmp_path: Path) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        lose_an_answer(service, mocker)
        mocker.get(FILES, json={"data": [listed("file-0")], "has_more": False})
        mocker.get(f"{FILES}/file-0/content", content=b"[]\n")
        mocker.post(FILES, json={"id": "file-1"})
        assert service.upload().get_json() == {"id": "file-1"}


def test_a_file_of_other_content_is_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the right one is waited for: it may be large, and one of many."""

    def stall(request: Any, context: Any) -> str:
        request.body.read()
        raise requests.ReadTimeout

    looks: list[float] = []
    now = time.monotonic
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, text=stall)
        assert service.upload().status_code == 504
        mocker.get(FILES, json={"data": [listed("file-0")], "has_more": False})
        content = mocker.get(f"{FILES}/file-0/content", content=b"[]\n")
        mocker.post(FILES, json={"id": "file-1"})
        monkeypatch.setattr(once, "SETTLING", 60.0)
        clock = SimpleNamespace(
            time=time.time, monotonic=lambda: now() + 30 * len(looks), sleep=looks.append
        )
        monkeypatch.setattr(once, "time", clock)
        assert service.upload().get_json() == {"id": "file-1"}
    assert len(looks) == 2
    assert content.call_count == 1


def test_content_that_was_made_of_the_file_says_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        lose_an_answer(service, mocker)
        mocker.get(FILES, json={"data": [listed("file-0")], "has_more": False})
        mocker.get(f"{FILES}/file-0/content", json={"text": "what the file says"})
        assert service.upload().get_json()["id"] == "file-0"


def test_the_list_is_looked_through_as_far_as_it_can_help(tmp_path: Path) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        lose_an_answer(service, mocker)

        def page(request: Any, context: Any) -> dict[str, Any]:
            number = int(request.qs.get("after", ["file-0"])[0].removeprefix("file-"))
            assert number < 3, "these are too old"
            # Two pages of files that are new enough, and one that is not.
            changes: dict[str, Any] = {"created_at": 10**9} if number == 2 else {}
            data = [listed(f"file-{number + 1}", bytes=4, **changes)]
            return {"data": data, "has_more": True}

        mocker.get(FILES, json=page)
        mocker.post(FILES, json={"id": "file-new"})
        assert service.upload().get_json() == {"id": "file-new"}
        asked = [sent.qs for sent in mocker.request_history if sent.method == "GET"]
        assert [query.get("after") for query in asked] == [None, ["file-1"], ["file-2"]]
        assert {query["order"][0] for query in asked} == {"desc"}
        sent = mocker.request_history[1]
        assert "Idempotency-Key" not in sent.headers
        assert sent.headers["Authorization"] == "Bearer k"


def test_a_list_that_repeats_itself_ends(tmp_path: Path) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        lose_an_answer(service, mocker)
        mocker.get(FILES, json={"data": [listed("file-0", bytes=4)], "has_more": True})
        mocker.post(FILES, json={"id": "file-1"})
        assert service.upload().get_json() == {"id": "file-1"}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, {}, "idempotency_uncertain"),
        (403, {}, "idempotency_uncertain"),
        (200, {"files": []}, "idempotency_uncertain"),
        (503, {}, "upstream_error"),
        (429, {}, "upstream_error"),
    ],
)
def test_a_list_that_is_none(
    tmp_path: Path, status: int, body: dict[str, Any], expected: str
) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        lose_an_answer(service, mocker)
        mocker.get(FILES, json=body, status_code=status)
        for _ in range(2):
            assert code(service.upload()) == expected
        # And when it can be looked at, it is.
        mocker.get(FILES, json={"data": []})
        mocker.post(FILES, json={"id": "file-1"})
        assert service.upload().get_json() == {"id": "file-1"}


def test_every_target_that_may_have_it_is_looked_at(tmp_path: Path, run: Run) -> None:
    first, second = Cut(), Recorder()
    second.refuses_with = "400 Bad Request"
    first.lists = False
    targets = [
        Target("openai", api_key="k", base_url=run(provider)) for provider in (first, second)
    ]
    service = Service(tmp_path, Fallback(targets))
    # The first one has it, which nobody knows; the second one's refusal says nothing of that.
    assert service.upload().status_code == 400
    first.cuts, first.lists = False, True
    answer = service.upload()
    assert (answer.status_code, replayed(answer)) == (200, True)
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[0]"
    assert len(first.files) == 1
    assert not second.files


def test_an_upload_that_is_tried_again(tmp_path: Path, run: Run) -> None:
    provider = Recorder()
    provider.refuses_with = "503 Service Unavailable"
    retry = Retry(1, use_retry_after_header=False)
    target = Target("openai", api_key="k", base_url=run(provider), retry=retry)
    service = Service(tmp_path, target)
    assert service.upload().status_code == 503
    provider.refuses_with = None
    assert [replayed(service.upload()) for _ in range(2)] == [False, True]
    assert len(provider.files) == 1


class CutOnce(Cut):
    """Breaks the first upload's connection off."""

    def _store(self, conn: Connection) -> bool:
        try:
            return super()._store(conn)
        finally:
            self.cuts = False


def test_another_try_does_not_store_it_twice(tmp_path: Path, run: Run) -> None:
    provider = CutOnce()
    target = Target("openai", api_key="k", base_url=run(provider), retry=Retry(2))
    service = Service(tmp_path, target)
    for _ in range(2):
        answer = service.upload()
        assert (answer.status_code, replayed(answer)) == (200, True)
    assert len(provider.files) == 1
    # Without a key it is as it was.
    provider.cuts = True
    assert service.upload(None).get_json()["id"] == "file-3"


def test_the_next_target_does_not_store_it_too(tmp_path: Path, run: Run) -> None:
    first, second = Cut(), Recorder()
    targets = [
        Target("openai", api_key="k", base_url=run(provider)) for provider in (first, second)
    ]
    answer = Service(tmp_path, Fallback(targets)).upload()
    assert (answer.get_json()["id"], replayed(answer)) == ("file-1", True)
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[0]"
    assert not second.files


def test_a_try_is_made_even_if_there_is_nowhere_to_look(tmp_path: Path) -> None:
    retry = Retry(1, use_retry_after_header=False)
    service = Service(tmp_path, Target("openai", api_key="k", retry=retry))
    with requests_mock.Mocker() as mocker:

        def read(request: Any, context: Any) -> str:
            request.body.read()
            context.status_code = 500 if mocker.call_count == 1 else 200
            return '{"id": "file-1"}'

        mocker.post(FILES, text=read)
        mocker.get(FILES, status_code=503)
        answer = service.upload()
        assert (answer.status_code, replayed(answer)) == (200, False)
        assert [sent.method for sent in mocker.request_history] == ["POST", "GET", "POST"]


def test_an_empty_file(tmp_path: Path, run: Run) -> None:
    provider = Cut()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    assert service.upload(content=b"", file_first=True).status_code == 502
    provider.cuts = False
    answer = service.upload(content=b"", file_first=True)
    assert (answer.status_code, replayed(answer)) == (200, True)
    assert len(provider.files) == 1


# --- The store ------------------------------------------------------------------------------


def test_an_answer_that_is_nested_without_end_is_an_answer(tmp_path: Path) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, text="[" * 200_000)
        for again in (False, True):
            answer = service.upload()
            assert (answer.status_code, replayed(answer)) == (200, again)
            assert answer.text == "[" * 200_000


def test_a_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    service = Service(tmp_path / "file", Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        answer = service.upload()
        assert (answer.status_code, code(answer)) == (503, "idempotency_unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert not mocker.called
        # What needs none is not disturbed.
        assert service.upload(None).status_code == 200


@pytest.mark.parametrize("file_first", [False, True])
def test_what_can_not_be_noted_is_broken_off(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, file_first: bool
) -> None:
    provider = Recorder()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))

    def fail(*_: object, **__: object) -> bool:
        raise IdempotencyUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteClaim, "put", fail)
        answer = service.upload(content=b"x" * 400_000, file_first=file_first)
    assert (answer.status_code, code(answer)) == (503, "idempotency_unavailable")
    assert not provider.files
    assert service.upload(content=b"other").status_code == 200


def test_an_answer_that_can_not_be_kept_is_found_again(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Recorder()
    service = Service(tmp_path, Target("openai", api_key="k", base_url=run(provider)))
    put = SQLiteClaim.put
    calls = []

    def fail(claim: SQLiteClaim, text: str, seconds: float, **options: Any) -> bool:
        calls.append(text)
        if len(calls) > 1:
            raise IdempotencyUnavailable
        return put(claim, text, seconds, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteClaim, "put", fail)
        first = service.upload()
    assert first.status_code == 200
    again = service.upload()
    assert replayed(again)
    assert again.get_json() == first.get_json()
    assert len(provider.files) == 1


def test_something_else_in_the_store(tmp_path: Path) -> None:
    service = Service(tmp_path, Target("openai", api_key="k"))
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        assert service.upload().status_code == 200
        connection = sqlite3.connect(tmp_path / "uploads.sqlite3")
        with connection:
            connection.execute("UPDATE uploads SET text = '{\"kept\": {}}'")
        connection.close()
        assert code(service.upload()) == "idempotency_unavailable"


def test_no_key_and_no_credential_is_in_the_store(tmp_path: Path) -> None:
    service = Service(tmp_path, Target("openai", api_key="sk-of-the-host"))
    headers = {"Authorization": "Bearer sk-of-the-client", "Cookie": "session=secret-cookie"}
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        assert service.upload("the-key-itself", headers=headers).status_code == 200
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"kept" in stored
    for secret in (b"sk-of-the", b"secret-cookie", b"the-key-itself"):
        assert secret not in stored


# --- Whose a key is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "who",
    [
        {"headers": {"Authorization": "Bearer other"}},
        {"headers": {"Cookie": "session=2"}},
        {"headers": {"x-portkey-api-key": "other"}},
        {"headers": {"api-key": "other"}},
        {"headers": {"x-api-key": "other"}},
        {"headers": {"x-goog-api-key": "other"}},
        {"headers": {"x-portkey-virtual-key": "other"}},
        {"headers": {"X-Forwarded-User": "other"}},
        {"environ": {"REMOTE_USER": "other"}},
        {"headers": {"X-Target": "key"}},
        {"headers": {"X-Target": "option"}},
        {"headers": {"X-Target": "header"}},
        {"headers": {"X-Target": "provider"}},
        {"headers": {"X-Target": "address"}},
        {"path": "/ben/v1/files"},
        {"path": "/other/v1/files"},
    ],
    ids=str,
)
def test_somebody_elses_key_is_another_one(tmp_path: Path, who: dict[str, Any]) -> None:
    targets = {
        "": Target("openai", api_key="k"),
        "key": Target("openai", api_key="k2"),
        "option": Target("openai", api_key="k", options={"openai_project": "p"}),
        "header": Target("openai", api_key="k", headers={"X-Team": "t"}),
        "provider": Target("groq", api_key="k"),
        "address": Target("openai", api_key="k", base_url="https://other.example/v1"),
    }

    def resolve(call: FilesCall) -> Target:
        return targets[call.headers.get("X-Target", "")]

    service = Service(tmp_path, resolve)
    for prefix, name in (("/<tenant>/v1", "tenants"), ("/other/v1", "others")):
        service.app.register_blueprint(create_blueprint(resolve, name=name), url_prefix=prefix)
    with requests_mock.Mocker() as mocker:
        numbers = iter(range(10))
        mocker.post(
            requests_mock.ANY,
            json=lambda request, context: {
                "id": f"file-{next(numbers)}",
                "object": "file",
                "bytes": 3,
                "created_at": 1,
                "filename": "data.jsonl",
                "purpose": "batch",
            },
        )
        one: dict[str, Any] = {"path": "/anna/v1/files"} if "path" in who else {}
        ids = [service.upload(**asker).get_json()["id"] for asker in (one, who, one, who, one)]
    assert ids == ["file-0", "file-1", "file-0", "file-1", "file-0"]


def test_chance_does_not_make_another_key(tmp_path: Path) -> None:
    targets = [Target("openai", api_key=f"k{number}") for number in range(4)]
    service = Service(tmp_path, LoadBalance(targets))
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        options = {
            service.upload().headers["x-portkey-last-used-option-index"] for _ in range(12)
        }
        assert mocker.call_count == 1
    assert len(options) == 1


def test_a_condition_does(tmp_path: Path) -> None:
    targets = [Target("openai", api_key=f"k{number}") for number in range(2)]
    route = Conditional(targets, [({"metadata.team": {"$eq": "a"}}, 0)], default=1)
    service = Service(tmp_path, route)
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        for team in ("a", "b", "a", "b"):
            service.upload(headers={"x-portkey-metadata": f'{{"team": "{team}"}}'})
        # What else the metadata say changes nothing.
        answer = service.upload(headers={"x-portkey-metadata": '{"team": "a", "try": 2}'})
        assert replayed(answer)
        assert mocker.call_count == 2


def test_the_host_says_whose_a_key_is(tmp_path: Path) -> None:
    service = Service(
        tmp_path,
        lambda call: Target("openai", api_key=str(uuid.uuid4())),
        idempotency_scope=lambda call: call.headers["X-User"],
    )
    with requests_mock.Mocker() as mocker:
        mocker.post(FILES, json={"id": "file-1"})
        told = [
            replayed(service.upload(headers={"X-User": user, "Cookie": f"session={number}"}))
            for number, user in enumerate(("anna", "anna", "ben", "anna", "ben"))
        ]
    assert told == [False, True, False, True, True]


@pytest.mark.parametrize("scope", ["", None, 7])
def test_a_scope_that_is_none(tmp_path: Path, scope: object) -> None:
    service = Service(
        tmp_path, Target("openai", api_key="k"), idempotency_scope=lambda call: scope
    )
    service.app.config["PROPAGATE_EXCEPTIONS"] = False
    assert service.upload().status_code == 500
    assert not os.listdir(tmp_path)
