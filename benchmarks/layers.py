"""The processor time of a call, layer by layer, found in two ways.

Linux only. From the top of the repository, in an environment with the extra ``bench``::

    python -m benchmarks.layers --quick
    python -m benchmarks.layers --docs docs

The first way peels: gunicorn before a bare function, before an empty Flask view, and before
the gateway. The second profiles the gateway while one thread serves one connection.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask, Response

from . import certificate, machine, wrk
from .client import Job, Result
from .form import twice
from .gateways import Ours, Provider
from .meter import cpu_seconds, settle
from .own_time import LAYERS, Server, profilers_cost, split
from .race import Helper
from .sizes import MIB, size, written

BEGIN = "<!-- What is between these marks is written by benchmarks.layers: begin -->"
END = "<!-- What is between these marks is written by benchmarks.layers: end -->"

_FILE = "file-1048576"
_METADATA = json.dumps({"id": _FILE, "object": "file", "purpose": "batch"}).encode()
_HEADERS = {"x-portkey-provider": "local", "Authorization": "Bearer x"}
_BARE, _VIEW, _WHOLE = "gunicorn, a bare function", "and an empty Flask view", "and the gateway"


def bare(_: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer every request with the same object: a WSGI application without anything."""
    length = str(len(_METADATA))
    head = [("Content-Type", "application/json"), ("Content-Length", length)]
    start_response("200 OK", head)
    return [_METADATA]


def empty() -> Flask:
    """Return an application with one view, which does the same."""
    app = Flask(__name__)

    @app.get("/v1/files/<file_id>")
    def view(file_id: str) -> Response:  # noqa: ARG001 - the route's
        return Response(_METADATA, content_type="application/json")

    return app


class Peeled(Ours):
    """Ours as it is compared, with another application in it."""

    def __init__(self, name: str, application: str | None) -> None:
        super().__init__(Path(), name=name)
        self._application = application

    def command(self, provider: Provider, folder: Path) -> list[str]:
        """Run gunicorn as for the gateway."""
        *words, gateway = super().command(provider, folder)
        return [*words, self._application or gateway]


_PEELED = (
    (_BARE, "benchmarks.layers:bare", False),
    (_VIEW, "benchmarks.layers:empty()", False),
    (_WHOLE, None, False),
    (f"{_WHOLE}, its provider behind TLS", None, True),
)


class Run:
    """The provider and the client, in processes of their own, and what is measured."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        issued = certificate.issue(folder)
        upstream = Helper("upstream", str(issued.chain), str(issued.key))
        stack.callback(upstream.close)
        plain, tls = upstream.receive(30)["ports"]
        self._providers = {
            False: Provider(f"http://127.0.0.1:{plain}"),
            True: Provider(f"https://127.0.0.1:{tls}", issued.authority),
        }
        self._client = Helper("client")
        stack.callback(self._client.close)
        self._folder = folder

    def peel(self, seconds: float, rounds: int) -> dict[str, float]:
        """Return the processor seconds of a request for metadata, by what is run."""
        figures: dict[str, list[float]] = {name: [] for name, _, _ in _PEELED}
        for _ in range(rounds):
            for name, application, tls in _PEELED:
                gateway, provider = Peeled(name, application), self._providers[tls]
                gateway.start(provider, self._folder)
                try:
                    gateway.wait()
                    ask = partial(wrk.run, _url(gateway.port), _HEADERS, concurrency=8)
                    ask(seconds=1)
                    settle(gateway.root)
                    before = cpu_seconds(gateway.root)
                    load = ask(seconds=seconds)
                    settle(gateway.root)
                    used = cpu_seconds(gateway.root) - before
                finally:
                    gateway.stop()
                if load.reason:
                    raise RuntimeError(f"{name}: {load.reason}")
                figures[name].append(used / load.requests)
        return {name: statistics.median(found) for name, found in figures.items()}

    def profile(self, seconds: float, transfer: int, count: int) -> dict[str, dict[str, float]]:
        """Return the processor seconds of a call by layer, by what is called."""
        found: dict[str, dict[str, float]] = {}
        for tls, where in ((False, ""), (True, ", TLS")):
            server, cost = Server(self._providers[tls]), 0.0
            clients: dict[str, Callable[[], int]] = {
                "metadata": partial(_ask, server.port, seconds),
                "upload": partial(self._move, "upload", server.port, transfer, count),
                "download": partial(self._move, "download", server.port, transfer, count),
            }
            for name, client in clients.items():
                server.serve(client, profiled=False)
                real = server.serve(client, profiled=False)
                profiled = server.serve(client, profiled=True)
                if name == "metadata":
                    # Here it tells best: nothing else changes with the profiler.
                    cost = profilers_cost(real, profiled)
                found[name + where] = split(real, profiled, cost)
                print(f"{name}{where}: {real.each * 1e3:.3f} ms each", file=sys.stderr)
            server.close()
        return found

    def _move(self, action: Any, port: int, transfer: int, count: int) -> int:
        kind: Any = "text" if action == "upload" else "random"
        self._client.send(asdict(Job(action, port, _HEADERS, transfer, kind, count)))
        result = Result(**self._client.receive(120))
        if result.reason:
            raise RuntimeError(result.reason)
        return len(result.durations)


def _ask(port: int, seconds: float) -> int:
    load = wrk.run(_url(port), _HEADERS, concurrency=1, seconds=seconds)
    if load.reason:
        raise RuntimeError(load.reason)
    return load.requests


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1/files/{_FILE}"


def markdown(
    peeled: dict[str, float], profiled: dict[str, dict[str, float]], transfer: int
) -> str:
    """Return both measurements."""
    facts = machine.facts()
    where = ", ".join(f"{facts[name]}" for name in ("processor", "python"))
    lines = ["| Run | processor, ms each | more than the one before |", "|---|---:|---:|"]
    before = 0.0
    for name, seconds in peeled.items():
        lines.append(f"| {name} | {seconds * 1e3:.3f} | {(seconds - before) * 1e3:.3f} |")
        before = seconds
    peeling = "\n".join(lines)
    head = ["Layer", *(f"{name}, ms" for name in profiled)]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * len(profiled)]
    for layer in LAYERS:
        cells = (_cell(figures[layer], sum(figures.values())) for figures in profiled.values())
        lines.append(f"| {layer} | {' | '.join(cells)} |")
    totals = (f"{sum(figures.values()) * 1e3:.3g}" for figures in profiled.values())
    lines.append(f"| all | {' | '.join(totals)} |")
    return (
        f"Measured on: {where}. An upload is {written(transfer)} of text, a download as much "
        "of random bytes.\n\n### By peeling: a request for metadata, 8 at a time\n\n"
        f"{peeling}\n\n### By profile: one connection\n\n" + "\n".join(lines) + "\n"
    )


def _cell(seconds: float, whole: float) -> str:
    return f"{seconds * 1e3:.3g} ({seconds / whole:.0%})"


def insert(file: Path, text: str) -> None:
    """Put *text* between the marks in *file*; the rest stays as it is."""
    before, _, rest = file.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{file} has no place for the layers")
    file.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def main(arguments: list[str] | None = None) -> int:
    """Measure, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.layers", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to try it out")
    parser.add_argument("--size", type=size, help="of a transfer; default: 256MiB")
    parser.add_argument("--docs", type=Path, help="the folder of benchmarks.md")
    options = parser.parse_args(arguments)
    # So that the processes are stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    quick: bool = options.quick
    transfer: int = options.size or (16 if quick else 256) * MIB
    wrk.install()
    twice("text")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-")))
        run = Run(folder, stack)
        peeled = run.peel(1 if quick else 3, 1 if quick else 3)
        profiled = run.profile(1 if quick else 3, transfer, 2 if quick else 6)
    text = markdown(peeled, profiled, transfer)
    print(text)
    if options.docs:
        insert(options.docs / "benchmarks.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
