"""A host that goes by its own session, with the page for those who are logged in."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, abort, redirect, request, session, url_for
from werkzeug.wrappers import Response

from flask_portkey_files import FilesCall, OpenAICompatible, Target, create_blueprint
from flask_portkey_files.manager import create_file_manager
from flask_portkey_files.testing.embedded import EmbeddedServer
from flask_portkey_files.testing.server import create_store_app
from flask_portkey_files.testing.store import FileStore


def create_app() -> Flask:
    store = EmbeddedServer(create_store_app(FileStore(Path(os.environ["EXAMPLE_DATA_DIR"]))))
    app = Flask(__name__)
    app.secret_key = "only for tests"

    def resolve(call: FilesCall) -> Target:
        if "user" not in session:
            abort(401, "Log in first.")
        return Target("store")

    providers = {"store": OpenAICompatible(f"{store.url}/v1", requires_api_key=False)}
    files = create_blueprint(resolve, providers=providers)
    manager = create_file_manager(files)
    app.register_blueprint(files, url_prefix="/v1")
    app.register_blueprint(manager, url_prefix="/files")

    @app.get("/login")
    def login() -> Response:
        session["user"] = "anna"
        return redirect(url_for("portkey_files_manager.page"))

    @app.before_request
    def ask_for_a_login() -> Response | None:
        expired = "expired" in session and request.path.startswith("/v1/")
        return redirect(url_for("login_form")) if expired else None

    @app.get("/login-form")
    def login_form() -> str:
        return "Log in."

    @app.get("/expire")
    def expire() -> str:
        session["expired"] = True
        return ""

    @app.post("/me")
    def me() -> str:
        print(f"asked by {session.get('user')}", flush=True)  # noqa: T201
        return ""

    return app
