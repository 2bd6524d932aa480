"""The gateway before object stores, for a server in a process of its own."""

from __future__ import annotations

import os

from flask import Flask

from flask_portkey_files import create_blueprint
from flask_portkey_files.providers.bedrock import Bedrock
from flask_portkey_files.providers.vertex_ai import VertexAI

#: The variables that hold the stores' addresses.
S3_URL, GCS_URL = "TEST_S3_URL", "TEST_GCS_URL"


def create_app() -> Flask:
    """Return the application."""
    app = Flask("buckets")
    providers = {
        "bedrock": Bedrock(os.environ.get(S3_URL)),
        "vertex-ai": VertexAI(os.environ.get(GCS_URL, "https://storage.googleapis.com")),
    }
    app.register_blueprint(create_blueprint(providers=providers), url_prefix="/v1")
    return app
