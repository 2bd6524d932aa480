"""The doctor: what it finds in an application, at its providers, and before a gateway."""

from __future__ import annotations

import email.utils
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask, abort

from flask_portkey_files import (
    Fallback,
    FilesCall,
    OpenAICompatible,
    Operation,
    Target,
    create_blueprint,
)
from flask_portkey_files.cli import inside, outside, reach
from flask_portkey_files.providers import Capabilities
from flask_portkey_files.settings import Settings
from flask_portkey_files.testing import Upstream
from tests.cli.conftest import lines
from tests.support.gunicorn import Gunicorn
from tests.support.parts import require


def check(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["portkey-files", "check", *arguments])


def found(result: Result) -> dict[str, tuple[str, str]]:
    """Return the last finding of each topic."""
    return {line["topic"]: (line["level"], line["message"]) for line in lines(result)}


def app_with(resolver: Callable[[FilesCall], Any], **config: object) -> Flask:
    app = Flask(__name__)
    app.config.update(config)
    app.register_blueprint(create_blueprint(resolver), url_prefix="/v1")
    return app


class TestApplication:
    def test_all_is_well(self, app: Flask, upstream: Upstream) -> None:
        result = check(app, "--provider", "own", "--json")
        assert result.exit_code == 0
        told = found(result)
        assert told["settings"] == ("ok", "valid; all are at their defaults")
        assert told["resolver"] == ("ok", "this call may go to: own")
        assert told["own"][0] == "ok"
        assert [request.query for request in upstream.requests] == ["limit=1"]

    def test_as_people_see_it(self, app: Flask) -> None:
        result = check(app, "--provider", "own")
        assert re.search(
            r"^ok       own           reached, .* took \d+ ms$", result.stdout, re.MULTILINE
        )

    def test_without_a_provider(self, app: Flask, upstream: Upstream) -> None:
        result = check(app, "--json")
        assert result.exit_code == 0
        assert found(result)["resolver"][0] == "info"
        assert upstream.requests == []

    def test_settings_are_told_and_secrets_are_not(self) -> None:
        app = Flask(__name__)
        app.config["PORTKEY_FILES_API_KEYS"] = "very-secret"
        app.config["PORTKEY_FILES_READ_TIMEOUT"] = 5
        app.register_blueprint(create_blueprint(), url_prefix="/v1")
        result = check(app, "--json")
        settings = [line for line in lines(result) if line["topic"] == "settings"]
        assert "PORTKEY_FILES_API_KEYS=(hidden)" in settings[0]["message"]
        assert "PORTKEY_FILES_READ_TIMEOUT=5.0" in settings[0]["message"]
        assert settings[1]["level"] == "warning"
        assert "very-secret" not in result.output

    @pytest.mark.parametrize(("status", "hint"), [(401, "refused"), (500, "does not work")])
    def test_a_key_that_is_refused(
        self, app: Flask, upstream: Upstream, status: int, hint: str
    ) -> None:
        upstream.answer_next(status)
        result = check(app, "--provider", "own", "--json")
        assert result.exit_code == 1
        level, message = found(result)["own"]
        assert (level, hint in message, str(status) in message) == ("failed", True, True)
        assert "1 check failed." in result.stderr

    def test_each_target_of_a_strategy(self, upstream: Upstream) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        targets = [
            upstream.target("openai", api_key="sk-one"),
            Target("groq", api_key="sk-two", base_url=nobody),
            Target("nobody", api_key="sk-three"),
        ]
        result = check(app_with(lambda call: Fallback(targets)), "--json")
        told = found(result)
        assert told["resolver"][1].endswith(
            "openai (config.targets[0]), groq (config.targets[1]), nobody (config.targets[2])"
        )
        assert told["openai"][0] == "ok"
        assert told["groq"][0] == "failed"
        assert "the connection was refused" in told["groq"][1]
        assert told["nobody"] == ("failed", "400: Invalid provider passed")
        assert "sk-" not in result.output

    def test_a_resolver_that_refuses_or_fails(self) -> None:
        def refuse(call: FilesCall) -> Target:
            abort(403, "Not you.")

        result = check(app_with(refuse), "--json")
        assert found(result)["resolver"] == ("failed", "it turns this call away: 403 Not you.")

        def fail(call: FilesCall) -> Target:
            raise KeyError("secret")

        level, message = found(check(app_with(fail), "--json"))["resolver"]
        assert (level, "KeyError" in message) == ("failed", True)

    def test_what_a_header_resolver_refuses(self, app: Flask) -> None:
        result = check(app, "--provider", "opneai", "--json")
        assert found(result)["resolver"] == ("failed", "400: Invalid provider passed")

    def test_a_test_file_is_for_a_url(self, app: Flask) -> None:
        result = check(app, "--provider", "own", "--test-file", "batch")
        assert result.exit_code == 2

    def test_a_provider_without_a_list(self) -> None:
        app = Flask(__name__)
        only = OpenAICompatible(
            "http://127.0.0.1:9",
            capabilities=Capabilities(operations=frozenset({Operation.UPLOAD})),
        )
        app.register_blueprint(create_blueprint(providers={"only": only}), url_prefix="/v1")
        assert found(check(app, "--provider", "only", "--json"))["only"][0] == "info"

    def test_clocks_that_are_apart(self) -> None:
        (finding,) = reach.clock("x", "Wed, 01 Jan 2020 00:00:00 GMT")
        assert finding.level.value == "warning"
        now = email.utils.formatdate(usegmt=True)
        for date in (now, None, "yesterday", "Wed, 01 Jan 2020 00:00:00"):
            assert list(reach.clock("x", date)) == []


class TestSpoolFolder:
    def test_one_that_can_t_be_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(**options: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
        (finding,) = inside.spool_findings(Settings())
        assert finding.level.value == "failed"
        assert "PORTKEY_FILES_SPOOL_DIR" in finding.message

    def test_little_space(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
        first = next(inside.spool_findings(Settings(spool_dir=str(tmp_path))))
        assert (first.level.value, "1000 B free" in first.message) == ("warning", True)

    def test_one_in_memory(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(inside, "_file_system", lambda folder: "tmpfs")
        *_, last = inside.spool_findings(Settings(spool_dir=str(tmp_path)))
        assert (last.level.value, "in memory" in last.message) == ("warning", True)

    def test_file_systems(self) -> None:
        assert inside._file_system("/proc/self") == "proc"


class TestGunicorn:
    @pytest.mark.parametrize(
        ("text", "level", "says"),
        [
            ("", "warning", "sync"),
            ("worker_class = 'gthread'\nthreads = 2", "warning", "2 threads"),
            ("worker_class = 'gthread'\nthreads = 16", "ok", "16 threads"),
            ("graceful_timeout = 5\nthreads = 16", "warning", "graceful_timeout is 5 s"),
            ("threads = 'many'", "failed", "can't be loaded"),
            ("1 / 0", "failed", "can't be loaded"),
        ],
    )
    def test_configurations(self, app: Flask, text: str, level: str, says: str) -> None:
        Path("gunicorn.conf.py").write_text(text)
        result = check(app, "--json")
        told = [line for line in lines(result) if line["topic"] == "gunicorn"]
        assert (told[-1]["level"], says in told[-1]["message"]) == (level, True)

    def test_none(self, app: Flask) -> None:
        assert found(check(app, "--json"))["gunicorn"][0] == "info"

    def test_by_name_and_by_environment(
        self, app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("mine.py").write_text("workers = 3")
        monkeypatch.setenv("GUNICORN_CMD_ARGS", "--worker-class gthread --threads 9")
        result = check(app, "--gunicorn-config", "mine.py", "--json")
        assert "3 worker(s) of 9 threads" in found(result)["gunicorn"][1]


def test_extras() -> None:
    named = {"one": ("json", "JSON"), "two": ("not_there.at_all", "nothing")}
    has, lacks = inside.extras_findings(named)
    assert (has.message, lacks.message) == ("installed: one", "not installed: two (nothing)")


SERVERS = """
server {{
    listen {plain};
    location / {{ proxy_pass {gateway}; }}
}}
server {{
    listen {good};
    client_max_body_size 0;
    location / {{
        proxy_pass {gateway}; proxy_http_version 1.1; proxy_request_buffering off;
    }}
}}
server {{
    listen {bad};
    client_max_body_size 32m;
    gzip on; gzip_types *;
    location / {{
        proxy_pass {gateway}; proxy_http_version 1.1; proxy_request_buffering off;
        proxy_set_header x-portkey-trace-id ""; proxy_set_header Range "";
    }}
}}
server {{ listen {other}; location / {{ return 200 "{{}}"; }} }}
"""
CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/log; worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    {servers}
}}
"""


def wait_until_open(place: str, process: subprocess.Popen[bytes]) -> None:
    host, port = place.split(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except ConnectionRefusedError:
            assert process.poll() is None, "nginx ended"
            assert time.monotonic() < deadline
        else:
            return


@pytest.fixture(scope="module")
def proxies(
    gateway: Gunicorn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """An nginx before the gateway, set up in several ways, by name."""
    require(shutil.which("nginx"), "nginx is missing: apt-get install nginx")
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    names = ("plain", "good", "bad", "other")
    # nginx can't say which port the system picked: these were free a moment ago.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    places = {
        name: f"127.0.0.1:{sock.getsockname()[1]}"
        for name, sock in zip(names, sockets, strict=True)
    }
    for sock in sockets:
        sock.close()
    servers = SERVERS.format(gateway=gateway.url, **places)
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, servers=servers))
    with subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")]) as process:
        try:
            wait_until_open(places["plain"], process)
            yield {name: f"http://{place}/v1" for name, place in places.items()}
        finally:
            process.terminate()


class TestOutside:
    def url(self, app: Flask, url: str, *arguments: str) -> Result:
        return check(app, "--url", url, "--provider", "own", "--json", *arguments)

    def test_nothing_in_between(
        self, app: Flask, upstream: Upstream, gateway: Gunicorn
    ) -> None:
        result = self.url(app, f"{gateway.url}/v1", "--test-file", "batch")
        assert result.exit_code == 0, result.output
        told = found(result)
        assert {told[topic][0] for topic in ("list", "headers", "uploads", "ranges")} == {"ok"}
        assert told["downloads"] == ("ok", "come back byte for byte, with their length")
        assert told["upload size"] == ("ok", "512.0 MiB are let through")
        assert upstream.files == []

    def test_without_a_test_file(
        self, app: Flask, upstream: Upstream, gateway: Gunicorn
    ) -> None:
        told = found(self.url(app, f"{gateway.url}/v1"))
        assert told["downloads"][0] == "info"
        assert {request.method for request in upstream.requests} == {"GET"}

    def test_an_nginx_as_it_comes(
        self,
        app: Flask,
        upstream: Upstream,
        proxies: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(outside, "PATIENCE", 1.0)
        told = found(self.url(app, proxies["plain"]))
        assert told["uploads"][0] == "warning"
        assert "proxy_request_buffering off" in told["uploads"][1]
        assert told["upload size"][0] == "failed"
        assert "client_max_body_size" in told["upload size"][1]

    def test_an_nginx_that_is_set_up_well(
        self, app: Flask, upstream: Upstream, proxies: dict[str, str]
    ) -> None:
        result = self.url(app, proxies["good"], "--test-file", "batch")
        assert result.exit_code == 0
        assert {level for level, _ in found(result).values()} == {"ok", "info"}

    def test_an_nginx_that_breaks_things(
        self, app: Flask, upstream: Upstream, proxies: dict[str, str]
    ) -> None:
        result = self.url(app, proxies["bad"], "--test-file", "batch")
        assert result.exit_code == 1
        told = found(result)
        assert told["headers"][0] == "failed"
        assert (told["upload size"][0], "64.0 MiB" in told["upload size"][1]) == (
            "failed",
            True,
        )
        assert (told["downloads"][0], "gzip" in told["downloads"][1]) == ("warning", True)
        assert told["ranges"][0] == "warning"

    def test_something_else(self, app: Flask, proxies: dict[str, str]) -> None:
        result = self.url(app, proxies["other"])
        assert result.exit_code == 1
        assert "is not this blueprint" in found(result)["not ours"][1]

    def test_nobody(self, app: Flask) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        result = self.url(app, url)
        assert result.exit_code == 1
        assert "Connection refused" in found(result)["not ours"][1]

    def test_a_purpose_that_is_refused(
        self, app: Flask, upstream: Upstream, gateway: Gunicorn
    ) -> None:
        result = self.url(app, f"{gateway.url}/v1", "--test-file", "nonsense")
        assert found(result)["test file"][0] == "failed"
