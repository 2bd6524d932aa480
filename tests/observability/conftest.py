"""An application with the blueprint; requests-mock plays the provider."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_portkey_files import create_blueprint
from flask_portkey_files.resolver import Resolver

from .made import MakeApp


@pytest.fixture
def make_app() -> MakeApp:
    """Return a function that makes an application with the blueprint."""

    def make(resolver: Resolver | None = None, **config: Any) -> Flask:
        app = Flask("host")
        app.config.update(config)
        app.register_blueprint(create_blueprint(resolver), url_prefix="/v1")
        return app

    return make
