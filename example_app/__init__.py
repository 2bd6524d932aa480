"""The gateway in a small Flask application, with a file store of its own to try it on."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, redirect, request, url_for
from werkzeug.wrappers import Response

from flask_portkey_files import OpenAICompatible, Settings, create_blueprint
from flask_portkey_files.manager import create_file_manager
from flask_portkey_files.providers import registry
from flask_portkey_files.testing.embedded import EmbeddedServer
from flask_portkey_files.testing.server import create_store_app
from flask_portkey_files.testing.store import FileStore

from .stored import read_stored

#: What the file manager offers besides the stored virtual keys: providers of which a key is
#: all that has to be said.
OFFERED = ("local", "openai", "anthropic", "google", "groq", "mistral-ai", "x-ai")


def create_app(*, store_url: str | None = None) -> Flask:
    """Return the application: the Files API under ``/v1``, and a page for it.

    Every ``PORTKEY_FILES_*`` setting is read from the environment variable of its name, and
    the folder of the embedded store from ``EXAMPLE_DATA_DIR``. ``EXAMPLE_STORED`` names a file
    with virtual keys, configs and gateway keys, JSON or TOML: see :mod:`example_app.stored`.

    :param store_url: the address of a store that is running already, as in
        ``EXAMPLE_STORE_URL``. Without one, this process runs one on a loopback port.
    """
    app = Flask(__name__)
    app.config.update(
        {name: os.environ[name] for name in Settings.names() if name in os.environ}
    )
    store_url = store_url or os.environ.get("EXAMPLE_STORE_URL")
    if not store_url:
        data_dir = Path(os.environ.get("EXAMPLE_DATA_DIR") or "example_data")
        store = EmbeddedServer(create_store_app(FileStore(data_dir)))
        # For whoever has to stop it before the process ends, as tests do.
        app.extensions["example_store"] = store
        store_url = store.url
    providers = {"local": OpenAICompatible(f"{store_url}/v1", requires_api_key=False)}
    stored = read_stored(os.environ.get("EXAMPLE_STORED"))
    files = create_blueprint(providers=providers, **stored)
    app.register_blueprint(files, url_prefix="/v1")
    manager = create_file_manager(
        files,
        providers=[*OFFERED, *(f"@{slug}" for slug in stored.get("virtual_keys", ()))],
        key_header="x-portkey-api-key",
    )
    app.register_blueprint(manager, url_prefix="/manager")

    @app.get("/")
    def index() -> Response | dict[str, object]:
        kinds = request.accept_mimetypes.best_match(["application/json", "text/html"])
        if kinds == "text/html":
            return redirect(url_for("portkey_files_manager.page"))
        return {
            "service": "flask_portkey_files example",
            "files": "/v1/files",
            "providers": list(registry(providers)),
        }

    return app
