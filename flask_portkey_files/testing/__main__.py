"""Serve a file store alone: ``python -m flask_portkey_files.testing --data-dir DIR``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import time
from pathlib import Path

from .embedded import EmbeddedServer
from .server import create_store_app
from .store import FileStore


def main(arguments: list[str] | None = None) -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m flask_portkey_files.testing", description=__doc__
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="where to keep files")
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    options = parser.parse_args(arguments)
    # Both signals raise KeyboardInterrupt, so that the `with` block closes the server.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        app = create_store_app(FileStore(options.data_dir))
        with EmbeddedServer(app, port=options.port) as server:
            print(server.url, flush=True)
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
