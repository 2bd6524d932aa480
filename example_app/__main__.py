"""Serve the example application: ``python -m example_app``."""

from __future__ import annotations

import argparse
import os
import runpy
from pathlib import Path
from typing import Any

from . import create_app

COMMANDS = """
The file manager is at {url}/ in a browser.
The Files API is at {url}/v1. Five commands to try, in this order:

  echo '{{"custom_id": "request-1"}}' > data.jsonl
  curl {url}/v1/files -H 'x-portkey-provider: local' -F purpose=batch -F file=@data.jsonl
  curl '{url}/v1/files?purpose=batch' -H 'x-portkey-provider: local'
  curl {url}/v1/files/FILE_ID -H 'x-portkey-provider: local'
  curl {url}/v1/files/FILE_ID/content -H 'x-portkey-provider: local'
  curl -X DELETE {url}/v1/files/FILE_ID -H 'x-portkey-provider: local'

FILE_ID is the "id" in the first command's answer. Files are kept in {data_dir}.
With a key of your own: -H 'x-portkey-provider: openai' -H 'Authorization: Bearer sk-...'
Stop with Ctrl-C.
"""


def main(arguments: list[str] | None = None) -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m example_app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument(
        "--server",
        choices=("gunicorn", "werkzeug"),
        # gunicorn needs a POSIX system.
        default="gunicorn" if os.name == "posix" else "werkzeug",
        help="default: %(default)s",
    )
    options = parser.parse_args(arguments)
    serve = _serve_gunicorn if options.server == "gunicorn" else _serve_werkzeug
    serve(options.host, options.port)


def _announce(host: str, port: int) -> None:
    data_dir = Path(os.environ.get("EXAMPLE_DATA_DIR") or "example_data").resolve()
    print(COMMANDS.format(url=f"http://{host}:{port}", data_dir=data_dir), flush=True)


def _serve_gunicorn(host: str, port: int) -> None:
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):
        def load_config(self) -> None:
            settings = runpy.run_path(str(Path(__file__).with_name("gunicorn.conf.py")))
            for name, value in settings.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)
            self.cfg.set("bind", [f"{host}:{port}"])
            self.cfg.set("accesslog", "-")
            if "control_socket_disable" in self.cfg.settings:
                # It would be in a place that all of the user's gunicorns share.
                self.cfg.set("control_socket_disable", True)
            self.cfg.set(
                "when_ready",
                lambda server: _announce(*server.LISTENERS[0].sock.getsockname()[:2]),
            )

        def load(self) -> Any:
            return create_app()

    Server().run()


def _serve_werkzeug(host: str, port: int) -> None:
    from werkzeug.serving import make_server

    server = make_server(host, port, create_app(), threaded=True)
    _announce(host, server.port)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
