"""The gateway on real gunicorn, for SDKs to talk to."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.support.gunicorn import Gunicorn
from tests.support.upstream import Connection, Upstream

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


#: The gateway's own key, and the one that it holds for a provider.
GATEWAY_KEY = "pk-of-the-team"
STORED_KEY = "sk-that-is-stored"

BUSY = b'{"error":{"message":"Busy.","type":"server_error","param":null,"code":"busy"}}'


class Unsteady(Recorder):
    """Records as its base class does, but answers 503 as often as it is told to."""

    refusals = 0

    def __call__(self, connection: Connection) -> None:
        super().__call__(_Refusing(connection.sock, self))


class _Refusing(Connection):
    def __init__(self, sock: socket.socket, provider: Unsteady) -> None:
        super().__init__(sock)
        self._provider = provider

    def answer(
        self, body: bytes = b"{}", *, status: str = "200 OK", headers: tuple[str, ...] = ()
    ) -> None:
        if self._provider.refusals:
            self._provider.refusals -= 1
            body, status = BUSY, "503 Service Unavailable"
            headers = ("Content-Type: application/json", "Retry-After: 0")
        super().answer(body, status=status, headers=headers)


def _keep_silent(connection: Connection) -> None:
    connection.read_head()
    connection.read_body()
    connection.read_some()  # Until the gateway closes.


@dataclass(frozen=True)
class Routing:
    """A gateway with keys, virtual keys and configs of its own, before several providers.

    The provider ``local`` is the embedded store. There are virtual keys for it (``store``),
    for one that records (``steady``), for one that always answers 503 (``busy``), for one that
    refuses the connection (``gone``) and for one that never answers (``silent``). The stored
    config ``pc-safe`` falls back from ``busy`` to the store. As a custom host, the recording
    provider alone is permitted.

    :param base_url: the gateway's base URL.
    :param steady_url: the base URL of the provider that records.
    :param busy_url: the base URL of the provider that answers 503.
    :param steady: the provider that records.
    :param busy: the provider that answers 503.
    """

    base_url: str
    steady_url: str
    busy_url: str
    steady: Unsteady
    busy: Unsteady


@pytest.fixture(scope="session")
def _routing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routing]:
    folder = tmp_path_factory.mktemp("routing")
    steady, busy = Unsteady(), Unsteady()
    with (
        Upstream(steady) as first,
        Upstream(busy) as second,
        Upstream(_keep_silent) as third,
        socket.socket() as gone,
    ):
        gone.bind(("127.0.0.1", 0))  # And never listens.
        ports = {
            "steady": first.port,
            "busy": second.port,
            "silent": third.port,
            "gone": gone.getsockname()[1],
        }
        virtual_keys: dict[str, Any] = {
            slug: {
                "provider": "openai",
                "api_key": STORED_KEY,
                "base_url": f"http://127.0.0.1:{port}/v1",
            }
            for slug, port in ports.items()
        }
        stored = {
            "api_keys": {"team": GATEWAY_KEY},
            "virtual_keys": {**virtual_keys, "store": {"provider": "local"}},
            "configs": {
                "pc-safe": {
                    "strategy": {"mode": "fallback"},
                    "targets": [{"virtual_key": "busy"}, {"provider": "local"}],
                },
            },
        }
        file = folder / "stored.json"
        file.write_text(json.dumps(stored))
        env = {
            "EXAMPLE_STORED": str(file),
            "EXAMPLE_DATA_DIR": str(folder / "store"),
            "EXAMPLE_STORE_URL": "",
            "PORTKEY_FILES_ALLOWED_HOSTS": f"127.0.0.1:{first.port}",
        }
        with Gunicorn(env=env) as server:
            urls = (f"{first.url}/v1", f"{second.url}/v1")
            yield Routing(f"{server.url}/v1", *urls, steady=steady, busy=busy)


@pytest.fixture
def routing(_routing: Routing) -> Iterator[Routing]:
    """A gateway before several providers; nothing has been recorded, the store is empty."""
    for provider, refusals in ((_routing.steady, 0), (_routing.busy, -1)):
        provider.requests.clear()
        provider.refusals = refusals
    yield _routing
    url = f"{_routing.base_url}/files"
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update({**LOCAL, "x-portkey-api-key": GATEWAY_KEY})
        for file in session.get(url).json()["data"]:
            session.delete(f"{url}/{file['id']}").raise_for_status()
