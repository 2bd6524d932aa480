"""Several workers of a real gunicorn, before a provider that knows no Idempotency-Key."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from ..support.gunicorn import Gunicorn
from ..support.upstream import Upstream
from .client import Answer, upload
from .provider import Recorder, noise

MIB = 1024 * 1024

WORKERS = (
    *("--worker-class", "gthread", "--workers", "2", "--threads", "16"),
    *("--graceful-timeout", "0"),
)
GEVENT = ("--worker-class", "gevent", "--workers", "2", "--graceful-timeout", "0")


@dataclass
class Service:
    """A gateway and its provider."""

    gunicorn: Gunicorn
    provider: Recorder

    @property
    def port(self) -> int:
        return self.gunicorn.port


@contextmanager
def serving(
    store: str, *, arguments: tuple[str, ...] = WORKERS, **env: str
) -> Iterator[Service]:
    """Run gunicorn with two workers."""
    provider = Recorder()
    with Upstream(provider) as upstream:
        settings = {"EXAMPLE_STORE_URL": upstream.url, "PORTKEY_FILES_IDEMPOTENCY": store}
        with Gunicorn(env={**settings, **env}, arguments=arguments) as gunicorn:
            yield Service(gunicorn, provider)


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The setting of the store."""
    if request.param == "sqlite":
        return str(tmp_path_factory.mktemp("store") / "uploads")
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture(scope="module")
def service(store: str) -> Iterator[Service]:
    """Two workers that all tests of this module share; each has file names of its own."""
    with serving(store) as service:
        yield service


@pytest.fixture
def name() -> str:
    """A file name that no other test has."""
    return f"{uuid.uuid4()}.jsonl"


def new_key() -> str:
    return str(uuid.uuid4())


def test_the_same_upload_at_once_from_ten_clients(service: Service, name: str) -> None:
    check_ten(service, name)


def test_the_same_under_gevent(store: str, name: str) -> None:
    """A lock that is waited for, or extended, must not hold the other uploads up."""
    with serving(store, arguments=GEVENT) as service:
        check_ten(service, name)


def check_ten(service: Service, name: str) -> None:
    key, content = new_key(), noise("ten", MIB)
    together = threading.Barrier(10)

    def one(_: int) -> Answer:
        return upload(service.port, key, name, content, halfway=together.wait)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(one, range(10)))
    assert [answer.status for answer in answers] == [200] * 10
    (stored,) = service.provider.named(name)
    assert stored.content == content
    assert {answer.body["id"] for answer in answers} == {stored.id}
    assert sum(answer.replayed for answer in answers) == 9


def test_who_waits_too_long_is_told_to_come_again(name: str, tmp_path: Path) -> None:
    key = new_key()
    with serving(str(tmp_path), PORTKEY_FILES_IDEMPOTENCY_WAIT="0.2") as service:
        provider, port = service.provider, service.port
        provider.holds = lambda filename: True
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(upload, port, key, name)
            provider.whole.get(timeout=20)
            second = upload(port, key, name)
            assert (second.status, second.code) == (409, "idempotency_in_progress")
            assert second.headers["retry-after"] == "1"
            # Another client's key of the same name is another one.
            provider.holds = lambda filename: False
            assert upload(port, key, name, credential="sk-other").body["id"] == "file-2"
            provider.release.set()
            assert first.result(20).body["id"] == "file-1"
        assert upload(port, key, name).body["id"] == "file-1"
        assert len(provider.files) == 2


def test_another_upload_under_the_key_is_refused(service: Service, name: str) -> None:
    key = new_key()
    first = upload(service.port, key, name)
    for other in (
        upload(service.port, key, name, b"{} \n"),
        upload(service.port, key, "other.jsonl"),
    ):
        assert (other.status, other.code) == (422, "idempotency_key_reused")
    # In another order it is the same.
    again = upload(service.port, key, name, purpose_first=False)
    assert (again.status, again.replayed, again.body) == (200, True, first.body)
    assert len(service.provider.named(name)) == 1


def test_two_tenants_do_not_see_each_other(service: Service, name: str) -> None:
    key = new_key()
    contents = [noise(f"tenant {number}", 100_000) for number in (0, 1)]

    def one(number: int) -> Answer:
        tenant = number % 2
        credential = f"sk-tenant-{tenant}"
        return upload(service.port, key, name, contents[tenant], credential=credential)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(16)))
    stored = {file.id: file.content for file in service.provider.named(name)}
    assert len(stored) == 2
    for number, answer in enumerate(answers):
        assert stored[answer.body["id"]] == contents[number % 2]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_an_answer_outlives_a_restart(store: str, name: str) -> None:
    provider, key = Recorder(), new_key()
    answers = []
    with Upstream(provider) as upstream:
        env = {"EXAMPLE_STORE_URL": upstream.url, "PORTKEY_FILES_IDEMPOTENCY": store}
        for _ in range(2):
            with Gunicorn(env=env, arguments=WORKERS) as gunicorn:
                answers.append(upload(gunicorn.port, key, name))
    assert [answer.replayed for answer in answers] == [False, True]
    assert answers[0].body == answers[1].body
    assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
    assert len(provider.files) == 1


def test_the_openai_sdk(service: Service, name: str) -> None:
    key = new_key()
    client = openai.OpenAI(
        base_url=f"{service.gunicorn.url}/v1",
        api_key="sk-client",
        default_headers={"x-portkey-provider": "local"},
        max_retries=0,
    )

    def create(content: bytes) -> str:
        headers = {"Idempotency-Key": key}
        file = (name, content)
        return client.files.create(file=file, purpose="batch", extra_headers=headers).id

    with client:
        ids = {create(b"{}\n") for _ in range(3)}
        assert ids == {file.id for file in service.provider.named(name)}
        with pytest.raises(openai.UnprocessableEntityError, match="another upload"):
            create(b"{} \n")
    assert len(ids) == 1


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_large_upload_is_not_held(service: Service, name: str) -> None:
    key, content = new_key(), noise("large", 40 * MIB)
    assert upload(service.port, None, name, content).status == 200
    before = service.gunicorn.peak_memory()
    answers = [upload(service.port, key, name, content) for _ in range(2)]
    assert [answer.replayed for answer in answers] == [False, True]
    assert len(service.provider.named(name)) == 2
    assert service.gunicorn.peak_memory() - before < 16 * MIB
