"""The example application behind Flask-CORS, which lets pages of one other origin in."""

from __future__ import annotations

import os

from flask import Flask
from flask_cors import CORS

from example_app import create_app as create_example


def create_app() -> Flask:
    app = create_example()
    CORS(app, origins=[os.environ["CORS_ORIGIN"]], supports_credentials=True)
    return app
