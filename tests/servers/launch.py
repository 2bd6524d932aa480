"""Serves the example application by a server that has to be started from Python.

``python -m tests.servers.launch cheroot`` picks a free port and prints its address.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from example_app import create_app

THREADS = 8


def _told(port: int) -> None:
    sys.stdout.write(f"Listening at: http://127.0.0.1:{port}\n")
    sys.stdout.flush()


def cheroot(app: Any) -> None:
    """Serve by cheroot, the server of CherryPy."""
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", 0), app, numthreads=THREADS)
    server.prepare()
    _told(server.bind_addr[1])
    server.serve()


def waitress(app: Any) -> None:
    """Serve by waitress."""
    from waitress import create_server

    server = create_server(app, host="127.0.0.1", port=0, threads=THREADS)
    _told(server.effective_port)
    server.run()


def werkzeug(app: Any) -> None:
    """Serve by what `flask run` uses."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    _told(server.server_port)
    server.serve_forever()


SERVERS: dict[str, Callable[[Any], None]] = {
    "cheroot": cheroot,
    "waitress": waitress,
    "werkzeug": werkzeug,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](create_app())
