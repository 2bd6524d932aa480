"""Where the processor time of a call goes: one thread, one connection, the profiler beside it.

gunicorn's own worker serves a connection here in the thread that asks for it, so that the
profiler sees all that a call takes but the hand-over between gunicorn's threads.
"""

from __future__ import annotations

import cProfile
import resource
import runpy
import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, cast

from flask import Flask
from gunicorn.config import Config
from gunicorn.workers.gthread import TConn, ThreadWorker

from flask_portkey_files import OpenAICompatible, create_blueprint

from .gateways import Provider

KERNEL, STDLIB, TLS = "kernel", "standard library", "TLS"
_FLASK = "werkzeug and Flask"
#: The layers from the client's side to the provider's, and below them what all share.
LAYERS = (
    "gunicorn",
    _FLASK,
    "this package",
    "requests",
    "urllib3",
    STDLIB,
    TLS,
    KERNEL,
)
_PACKAGES = {
    "gunicorn": "gunicorn",
    **dict.fromkeys(("werkzeug", "flask", "blinker", "markupsafe", "jinja2"), _FLASK),
    "flask_portkey_files": "this package",
    **dict.fromkeys(("requests", "requests_toolbelt", "certifi", "idna"), "requests"),
    "urllib3": "urllib3",
}
#: Built-in functions that enter the kernel.
_CALLS_KERNEL = ("_socket.socket", "select.")


@dataclass(frozen=True)
class Profile:
    """What the profiler saw, by layer: seconds, and how many calls of functions these hold.

    What a call of a function takes of the profiler falls half on the caller's time.
    """

    seconds: dict[str, float]
    functions: dict[str, float]


@dataclass(frozen=True)
class Spent:
    """Processor seconds of one thread for *calls* calls of the gateway."""

    calls: int
    user: float
    system: float
    profile: Profile | None = None

    @property
    def each(self) -> float:
        """Seconds of one call."""
        return (self.user + self.system) / self.calls


def profilers_cost(real: Spent, profiled: Spent) -> float:
    """Return what the profiler takes for a call of a function, in seconds.

    :param real: a run without it.
    :param profiled: the same with it.
    """
    assert profiled.profile
    seen = sum(profiled.profile.seconds.values()) - real.each * profiled.calls
    return max(0.0, seen) / sum(profiled.profile.functions.values())


def split(real: Spent, profiled: Spent, cost: float) -> dict[str, float]:
    """Return the seconds of one call by layer; they add up to what it takes unprofiled.

    :param cost: what the profiler takes for a call of a function.
    """
    assert profiled.profile
    seconds, functions = profiled.profile.seconds, profiled.profile.functions
    cost = min(cost, profilers_cost(real, profiled))
    own = {layer: max(0.0, seconds[layer] - cost * functions[layer]) for layer in LAYERS}
    scale = real.each / sum(own.values())
    own = {layer: figure * scale for layer, figure in own.items()}
    # The kernel's time is known better from itself. What else the calls into it take is the
    # work of those who make them; under TLS they are hidden behind the library's.
    system = real.system / real.calls
    rest = own.pop(KERNEL) - system
    below = TLS if own[TLS] > own[STDLIB] else STDLIB
    own[below] += rest
    if own[below] < 0:
        missing, own[below] = own[below], 0.0
        share = 1 + missing / sum(own.values())
        own = {layer: figure * share for layer, figure in own.items()}
    return {**own, KERNEL: system}


class Server:
    """The gateway, served by the thread that calls :meth:`serve`."""

    def __init__(self, provider: Provider) -> None:
        app = Flask(__name__)
        if provider.authority:
            app.config["PORTKEY_FILES_CA_BUNDLE"] = str(provider.authority)
        local = OpenAICompatible(f"{provider.url}/v1", requires_api_key=False)
        app.register_blueprint(create_blueprint(providers={"local": local}), url_prefix="/v1")
        # For what it says of gunicorn itself; its hooks are for a worker's process.
        runpy.run_path(str(Path(__file__).parents[1] / "example_app" / "gunicorn.conf.py"))
        config = Config()
        config.set("threads", 8)
        config.set("keepalive", 75)
        self._config = config
        log = config.logger_class(config)
        # gunicorn's types know no application but its own.
        self._worker = ThreadWorker(0, 0, [], cast(Any, app), 30, config, log)
        self._worker.wsgi = cast(Any, app)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def serve(self, client: Callable[[], int], *, profiled: bool) -> Spent:
        """Serve what *client*, in a thread of its own, asks for, until it has returned.

        :param client: returns how many calls it has made.
        """
        profile = cProfile.Profile(time.thread_time) if profiled else None
        made: list[int] = []
        thread = Thread(target=lambda: made.append(client()), daemon=True)
        thread.start()
        before = resource.getrusage(resource.RUSAGE_THREAD)
        while thread.is_alive():
            if select.select([self._listener], [], [], 0.05)[0]:
                connection, address = self._listener.accept()
                with closing(connection):
                    self._one(connection, address, profile)
        after = resource.getrusage(resource.RUSAGE_THREAD)
        if not made:
            raise RuntimeError("the client has failed")
        return Spent(
            made[0],
            after.ru_utime - before.ru_utime,
            after.ru_stime - before.ru_stime,
            _by_layer(profile.getstats()) if profile else None,
        )

    def _one(
        self, connection: socket.socket, address: Any, profile: cProfile.Profile | None
    ) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        served = TConn(self._config, connection, address, connection.getsockname())
        if profile:
            profile.enable()
        try:
            while self._worker.handle(served) is True:
                pass
        finally:
            if profile:
                profile.disable()


def _by_layer(entries: Iterable[Any]) -> Profile:
    """Sum up the own time of each layer's functions, and that of the calls into the kernel.

    What has no file, a built-in function or one made on the fly, counts as its caller's.
    """
    seconds, functions = dict.fromkeys(LAYERS, 0.0), dict.fromkeys(LAYERS, 0.0)
    for entry in entries:
        layer = _layer(entry.code)
        if layer:
            seconds[layer] += entry.inlinetime
            functions[layer] += entry.callcount / 2
        for called in entry.calls or ():
            functions[layer or STDLIB] += called.callcount / 2
            if _layer(called.code) is None:
                owner = _built_in(called.code) or layer or STDLIB
                seconds[owner] += called.inlinetime
                functions[owner] += called.callcount / 2
    return Profile(seconds, functions)


def _layer(code: Any) -> str | None:
    """Return the layer that a function is of, ``None`` for one without a file."""
    if isinstance(code, str) or code.co_filename.startswith("<"):
        return None
    path = Path(code.co_filename)
    if path.name == "ssl.py":
        return TLS
    names = [_PACKAGES[part] for part in path.parts[:-1] if part in _PACKAGES]
    return names[-1] if names else STDLIB


def _built_in(code: Any) -> str | None:
    """Return the layer of a built-in function that is not its caller's."""
    if isinstance(code, str) and "_ssl." in code:
        return TLS
    inside = isinstance(code, str) and any(name in code for name in _CALLS_KERNEL)
    return KERNEL if inside else None
