"""The blueprint before the embedded store, in an application that serves its document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_portkey_files import OpenAICompatible, create_blueprint
from flask_portkey_files.testing.embedded import EmbeddedServer
from flask_portkey_files.testing.server import create_store_app
from flask_portkey_files.testing.store import FileStore

LOCAL = {"x-portkey-provider": "local"}


def gateway(store_url: str, folder: Path) -> Flask:
    """Return an application whose provider `local` is the store at this address."""
    app = Flask("gateway")
    app.config["PORTKEY_FILES_IDEMPOTENCY"] = str(folder)
    local = OpenAICompatible(f"{store_url}/v1", requires_api_key=False)
    blueprint = create_blueprint(providers={"local": local}, openapi=True)
    app.register_blueprint(blueprint, url_prefix="/v1")
    return app


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("store")
    with EmbeddedServer(create_store_app(FileStore(folder))) as server:
        yield server


@pytest.fixture(scope="module")
def app(store: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    return gateway(store.url, tmp_path_factory.mktemp("idempotency"))
