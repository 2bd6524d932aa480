"""The gateway on real gunicorn, for SDKs to talk to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from tests.support.gunicorn import Gunicorn
from tests.support.upstream import Upstream

from .recorder import Recorded, Recorder

LOCAL = {"x-portkey-provider": "local"}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the SDKs from picking up this machine's keys, addresses and proxies."""
    for name in os.environ:
        if name.startswith(("OPENAI_", "PORTKEY_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    data_dir = str(tmp_path_factory.mktemp("store"))
    # An empty address is none.
    with Gunicorn(env={"EXAMPLE_DATA_DIR": data_dir, "EXAMPLE_STORE_URL": ""}) as server:
        yield server


@pytest.fixture
def base_url(_server: Gunicorn) -> Iterator[str]:
    """The gateway's base URL as SDKs want it, over a store that is empty."""
    url = f"{_server.url}/v1"
    yield url
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update(LOCAL)
        for file in session.get(f"{url}/files").json()["data"]:
            session.delete(f"{url}/files/{file['id']}").raise_for_status()


@dataclass(frozen=True)
class Recording:
    """A gateway whose provider ``local`` records what goes up.

    :param base_url: the gateway's base URL.
    :param provider_url: the base URL of the provider itself.
    :param requests: what has reached the provider in this test.
    """

    base_url: str
    provider_url: str
    requests: list[Recorded]


@pytest.fixture(scope="session")
def _recording() -> Iterator[Recording]:
    recorder = Recorder()
    with (
        Upstream(recorder) as upstream,
        Gunicorn(env={"EXAMPLE_STORE_URL": upstream.url}) as server,
    ):
        yield Recording(f"{server.url}/v1", f"{upstream.url}/v1", recorder.requests)


@pytest.fixture
def recording(_recording: Recording) -> Recording:
    """A gateway in front of a recording provider; nothing has been recorded yet."""
    _recording.requests.clear()
    return _recording
