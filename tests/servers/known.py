"""The servers, and how each is started."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..support.gunicorn import Gunicorn
from ..support.served import ROOT, Served

APP = "example_app:create_app()"
SCRIPTS = Path(sysconfig.get_path("scripts"))

#: Starts a server for the example application, with these environment variables, and keeps
#: what it has to write in a folder.
Start = Callable[[Mapping[str, str], Path], Served]


@dataclass(frozen=True)
class Server:
    """A WSGI server.

    :param name: what the table calls it.
    :param package: the package that it comes in.
    :param start: starts it.
    :param needs: another package that it needs.
    :param built: whether it has to be compiled, which .ci/run does not do.
    """

    name: str
    package: str
    start: Start
    needs: str = ""
    built: bool = False

    @property
    def version(self) -> str | None:
        """The version that is installed, if one is."""
        try:
            if self.needs and importlib.util.find_spec(self.needs) is None:
                return None
            return version(self.package)
        except PackageNotFoundError:
            return None


def _gunicorn(*arguments: str) -> Start:
    return lambda env, folder: Gunicorn(
        APP, env=env, arguments=(*arguments, "--graceful-timeout", "0")
    )


def _launched(name: str) -> Start:
    return lambda env, folder: Served(
        [sys.executable, "-m", "tests.servers.launch", name],
        listening=r"Listening at: (http://127\.0\.0\.1:(\d+))",
        env=env,
    )


def _uwsgi(env: Mapping[str, str], folder: Path) -> Served:
    return Served(
        [
            shutil.which("uwsgi", path=SCRIPTS) or "uwsgi",
            *("--http-socket", "127.0.0.1:0"),
            *("--master", "--need-app", "--die-on-term", "--enable-threads", "--threads", "8"),
            *("--virtualenv", sys.prefix, "--pythonpath", str(ROOT)),
            *("--module", APP),
        ],
        # It says so before it is ready, and connections wait until then.
        listening=r"uwsgi socket 0 bound to TCP address (127\.0\.0\.1:(\d+))",
        env=env,
    )


class Apache(Served):
    """Apache with mod_wsgi, which tells its address before it listens."""

    def wait_until_ready(self) -> None:
        """Wait until it listens."""
        self.wait_for("resuming normal operations")


def _mod_wsgi(env: Mapping[str, str], folder: Path) -> Served:
    # Apache can't be told to pick a port itself.
    with socket.create_server(("127.0.0.1", 0)) as picked:
        port = picked.getsockname()[1]
    script = folder / "app.wsgi"
    lines = [
        "import os",
        *(f"os.environ[{name!r}] = {value!r}" for name, value in env.items()),
        "from example_app import create_app",
        "application = create_app()",
    ]
    script.write_text("".join(f"{line}\n" for line in lines))
    return Apache(
        [
            shutil.which("mod_wsgi-express", path=SCRIPTS) or "mod_wsgi-express",
            *("start-server", str(script), "--host", "127.0.0.1", "--port", str(port)),
            *("--chunked-request", "--limit-request-body", str(3 * 1024**3)),
            *("--processes", "1", "--threads", "8", "--python-path", str(ROOT)),
            *("--server-root", str(folder / "apache"), "--log-to-terminal"),
            *("--log-level", "info"),
            # Apache serves nothing as root.
            *(("--user", "www-data", "--group", "www-data") if os.geteuid() == 0 else ()),
        ],
        listening=rf"(127\.0\.0\.1:({port}))",
        env=env,
    )


SERVERS = {
    server.name: server
    for server in (
        Server("gunicorn gthread", "gunicorn", _gunicorn("-k", "gthread", "--threads", "8")),
        Server("gunicorn gevent", "gunicorn", _gunicorn("-k", "gevent"), needs="gevent"),
        Server("gunicorn sync", "gunicorn", _gunicorn("-k", "sync")),
        Server("uWSGI", "uWSGI", _uwsgi, built=True),
        Server("mod_wsgi", "mod_wsgi", _mod_wsgi, built=True),
        Server("cheroot", "cheroot", _launched("cheroot")),
        Server("waitress", "waitress", _launched("waitress")),
        Server("werkzeug (`flask run`)", "werkzeug", _launched("werkzeug")),
    )
}
