"""The gateway that is soaked, and how it can be broken to see that the test finds it."""

from __future__ import annotations

import gc
import os
import socket
import sys
from typing import Any

from flask import Flask

from flask_portkey_files import (
    FilesCall,
    OpenAICompatible,
    Settings,
    Target,
    call_started,
    create_blueprint,
)

#: Headers of the client's by which the provider knows a call, and what is to go wrong with it.
CALL, FAULT = "x-soak-call", "x-soak-fault"

#: What is broken on purpose: the process keeps some of each call.
BREAKS = ("memory", "descriptors", "objects")


def create_app() -> Flask:
    """Return the application; ``SOAK_PROVIDER`` is where the provider is."""
    address = os.environ["SOAK_PROVIDER"]

    def resolve(call: FilesCall) -> Target:
        key = call.headers["Authorization"].removeprefix("Bearer ")
        return Target("local", api_key=key, forward_headers=(CALL, FAULT))

    app = Flask(__name__)
    app.config.update(
        {name: os.environ[name] for name in Settings.names() if name in os.environ}
    )
    providers = {"local": OpenAICompatible(f"{address}/v1")}
    app.register_blueprint(create_blueprint(resolve, providers=providers), url_prefix="/v1")

    @app.get("/blocks")
    def blocks() -> dict[str, int]:
        """How many blocks Python's own allocator has given out in this worker."""
        gc.collect()
        return {"pid": os.getpid(), "blocks": sys.getallocatedblocks()}

    _break(app, os.environ.get("SOAK_BREAK"))
    return app


def _break(app: Flask, what: str | None) -> None:
    kept: list[Any] = []

    def keep(sender: Flask, **arguments: Any) -> None:
        if what == "descriptors":
            kept.append(socket.socket())
        else:
            kept.append(os.urandom(50_000) if what == "memory" else [object() for _ in "1234"])

    if what in BREAKS:
        call_started.connect(keep, app, weak=False)
