"""An application with the blueprint, and a client for it; requests-mock plays the provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_portkey_files import Target, create_blueprint
from flask_portkey_files.resolver import Resolver

MakeClient = Callable[..., FlaskClient]


@pytest.fixture
def make_client() -> MakeClient:
    """Return a function that makes a test client of an application with the blueprint."""

    def make(
        resolver: Resolver | None = None,
        *,
        config: dict[str, Any] | None = None,
        **options: Any,
    ) -> FlaskClient:
        app = Flask("host")
        app.config.update(config or {}, TESTING=True)
        app.register_blueprint(create_blueprint(resolver, **options), url_prefix="/v1")
        return app.test_client()

    return make


@pytest.fixture
def client(make_client: MakeClient) -> FlaskClient:
    """A client whose calls all go to OpenAI with the host's key."""
    return make_client(lambda call: Target("openai", api_key="sk-host"))
