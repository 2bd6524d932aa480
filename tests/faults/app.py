"""The gateway as the fault matrix mounts it: three times, with more and with less patience."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any
from weakref import WeakSet

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from flask_portkey_files import (
    FilesCall,
    OpenAICompatible,
    Settings,
    Target,
    call_finished,
    call_started,
    create_blueprint,
)

#: The timeouts of each mount, in seconds. What has to succeed gets patience, so that a busy
#: machine does not make it fail; what has to be given up does not. A long answer in drips takes
#: longer than the steady one waits for a piece, but each of its gaps is much shorter.
PATIENCE = {"patient": 20.0, "steady": 0.5, "hasty": 0.2}


class Calls:
    """How many calls are under way."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def begin(self, sender: Flask, **arguments: Any) -> None:
        """Count one more."""
        with self._lock:
            self.count += 1

    def end(self, sender: Flask, **arguments: Any) -> None:
        """Count one less."""
        with self._lock:
            self.count -= 1


def _resolve(call: FilesCall) -> Target:
    """Go where the test says."""
    key = call.headers["Authorization"].removeprefix("Bearer ")
    return Target("local", api_key=key, base_url=call.headers["x-fault-url"] + "/v1")


def _gateway(seconds: float) -> Flask:
    app = Flask(__name__)
    app.config.update(
        {name: os.environ[name] for name in Settings.names() if name in os.environ},
        PORTKEY_FILES_CONNECT_TIMEOUT=seconds,
        PORTKEY_FILES_READ_TIMEOUT=seconds,
    )
    providers = {"local": OpenAICompatible("http://127.0.0.1:9/v1")}
    app.register_blueprint(create_blueprint(_resolve, providers=providers), url_prefix="/v1")
    return app


def _greenlets() -> WeakSet[Any]:
    """Return a set of all greenlets that are started from now on; empty without gevent."""
    greenlets: WeakSet[Any] = WeakSet()
    if "gevent" in sys.modules:
        sys.modules["gevent"].Greenlet.add_spawn_callback(greenlets.add)
    return greenlets


def create_app() -> Flask:
    """Return the application: a gateway under each name in :data:`PATIENCE`."""
    calls, greenlets = Calls(), _greenlets()
    call_started.connect(calls.begin, weak=False)
    call_finished.connect(calls.end, weak=False)
    app = Flask(__name__)

    @app.get("/under-way")
    def under_way() -> dict[str, int]:
        """What can't be seen from outside of the process: calls, and gevent's greenlets.

        And which of the threads are there for a while whatever happens: those that look after
        slow clients.
        """
        alive = sum(not greenlet.dead for greenlet in tuple(greenlets))
        watching = sum(thread.name == "portkey-files-pace" for thread in threading.enumerate())
        return {"calls": calls.count, "greenlets": alive, "watching": watching}

    app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, {f"/{name}": _gateway(seconds) for name, seconds in PATIENCE.items()}
    )
    return app
