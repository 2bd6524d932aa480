"""An application that relays to the stand-in that ``UPSTREAM`` names."""

from __future__ import annotations

import os

from flask import Flask

from flask_portkey_files import OpenAICompatible, Settings, create_blueprint


def create_app(upstream: str | None = None) -> Flask:
    """Return the application.

    :param upstream: the stand-in's base URL, as in the environment variable ``UPSTREAM``. The
        provider is called ``own``, or as ``UPSTREAM_NAME`` says.
    """
    app = Flask(__name__)
    app.config.update(
        {name: os.environ[name] for name in Settings.names() if name in os.environ}
    )
    own = OpenAICompatible(upstream or os.environ["UPSTREAM"], requires_api_key=False)
    app.register_blueprint(
        create_blueprint(providers={os.environ.get("UPSTREAM_NAME", "own"): own}),
        url_prefix="/v1",
    )
    return app
