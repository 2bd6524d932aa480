"""What a command sends: to whom, with which key, and what it says when that fails."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import requests
from click.testing import Result
from flask import Flask

from flask_portkey_files import FilesCall, Target, create_blueprint
from flask_portkey_files.cli.bar import bar, shows
from flask_portkey_files.cli.connection import wait
from flask_portkey_files.cli.output import Failed, counted, json_line, size, table, when
from flask_portkey_files.cli.period import period
from flask_portkey_files.testing import Upstream
from tests.cli.conftest import lines
from tests.support.gunicorn import Gunicorn

LIST = ("list", "--json")


def run(app: Flask, *arguments: str, group: str = "portkey-files") -> Result:
    return app.test_cli_runner().invoke(args=[group, *arguments])


class TestKeys:
    def test_openais_goes_to_openai_alone(
        self, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
        app = Flask(__name__)
        app.register_blueprint(create_blueprint(), url_prefix="/v1")
        with upstream.instead_of_providers():
            assert run(app, *LIST, "--provider", "openai").exit_code == 0
            refused = run(app, *LIST, "--provider", "groq")
        assert [request.api_key for request in upstream.requests] == ["sk-openai"]
        assert refused.exit_code == 1
        assert "No API key for the provider groq" in refused.stderr

    def test_the_gateways_own_and_one_by_name(
        self, app: Flask, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MISTRAL_API_KEY", "sk-mistral")
        seen = []

        def resolve(call: FilesCall) -> Target:
            seen.append((call.headers["Authorization"], call.headers["x-portkey-api-key"]))
            return upstream.target(api_key="k")

        monkeypatch.setenv("PORTKEY_API_KEY", "gateway-key")
        app = Flask(__name__)
        app.register_blueprint(create_blueprint(resolve), url_prefix="/v1")
        result = run(app, *LIST, "--key-env", "MISTRAL_API_KEY")
        assert result.exit_code == 0
        assert seen == [("Bearer sk-mistral", "gateway-key")]
        assert "sk-mistral" not in result.output

    def test_headers_from_a_file(self, app: Flask, upstream: Upstream) -> None:
        Path("headers").write_text("Authorization: Bearer from-file\n\nX-Other: a: b\n")
        result = run(app, *LIST, "-H", "x-portkey-provider: own", "-H", "@headers")
        assert result.exit_code == 0
        assert upstream.requests[0].api_key == "from-file"

    def test_no_netrc_is_looked_at(
        self,
        app: Flask,
        upstream: Upstream,
        gateway: Gunicorn,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        Path("netrc").write_text("machine 127.0.0.1 login a password secret\n")
        monkeypatch.setenv("NETRC", str(Path("netrc").resolve()))
        result = run(app, *LIST, "--url", f"{gateway.url}/v1", "--provider", "own")
        assert result.exit_code == 0
        assert "Authorization" not in upstream.requests[0].headers


class TestWhere:
    def test_two_blueprints_have_groups_of_their_own(self, upstream: Upstream) -> None:
        app = Flask(__name__)
        for name in ("files_a", "files_b"):
            bp = create_blueprint(
                lambda call, name=name: upstream.target(api_key=name),
                name=name,
            )
            app.register_blueprint(bp, url_prefix=f"/{name}")
        assert run(app, *LIST, group="files-b").exit_code == 0
        assert run(app, *LIST, group="files-a").exit_code == 0
        assert [request.api_key for request in upstream.requests] == ["files_b", "files_a"]

    def test_a_prefix_with_variables(self, upstream: Upstream) -> None:
        app = Flask(__name__)
        bp = create_blueprint(lambda call: upstream.target(api_key="k"))
        app.register_blueprint(bp, url_prefix="/<tenant>/v1")
        result = run(app, *LIST)
        assert result.exit_code == 2
        assert "The blueprint is at /<tenant>/v1: say which with --prefix." in result.stderr
        assert run(app, *LIST, "--prefix", "/acme/v1").exit_code == 0

    def test_ids_of_objects_are_sent_as_they_are(self, upstream: Upstream) -> None:
        seen = []

        def resolve(call: FilesCall) -> Target:
            seen.append(call.file_id)
            return upstream.target(api_key="k")

        app = Flask(__name__)
        app.register_blueprint(create_blueprint(resolve), url_prefix="/v1")
        run(app, "show", "s3%3A%2F%2Fbucket%2Fkey", "plain", "a/b")
        # A slash that is not escaped yet is, so that it stays part of the id.
        assert seen == ["s3://bucket/key", "plain"]

    def test_nobody_there(self, app: Flask) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            place = f"127.0.0.1:{closed.getsockname()[1]}"
        result = run(app, *LIST, "--url", f"http://{place}/v1?", "--provider", "own")
        assert result.exit_code == 1
        assert (
            result.stderr == f"Error: The connection to {place} failed: Connection refused.\n"
        )

    def test_no_answer_in_time(self, app: Flask) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
            result = run(app, *LIST, "--url", url, "--timeout", "0.2")
        assert result.exit_code == 1
        assert "did not answer in time" in result.stderr

    def test_no_tls_there(self, app: Flask, gateway: Gunicorn) -> None:
        result = run(app, *LIST, "--url", f"https://127.0.0.1:{gateway.port}/v1")
        assert result.exit_code == 1
        assert "The TLS connection to" in result.stderr

    def test_an_address_without_the_prefix(self, app: Flask, gateway: Gunicorn) -> None:
        result = run(app, *LIST, "--url", gateway.url)
        assert result.exit_code == 1
        assert "such as /v1, at the end of the address" in result.stderr

    def test_an_application_that_fails(self) -> None:
        def resolve(call: FilesCall) -> Target:
            raise RuntimeError("a bug")

        app = Flask(__name__)
        app.register_blueprint(create_blueprint(resolve), url_prefix="/v1")
        result = run(app, *LIST)
        assert result.exit_code == 1
        assert "The answer is 500" in result.stderr or "(500)" in result.stderr
        assert lines(result) == []


class TestOutput:
    @pytest.mark.parametrize(
        ("count", "shown"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1024**2 - 1, "1.0 MiB"),
            (5 * 1024**3, "5.0 GiB"),
            (5000 * 1024**4, "5000.0 TiB"),
            (None, "-"),
        ],
    )
    def test_sizes(self, count: object, shown: str) -> None:
        assert size(count) == shown

    @pytest.mark.parametrize(
        ("timestamp", "shown"),
        [
            (1000, "0 s ago"),
            (941, "59 s ago"),
            (880, "2 min ago"),
            (1000 - 7200, "2 h ago"),
            (1000 + 30 * 86_400, "in 30 d"),
            (None, "-"),
            ("x", "-"),
        ],
    )
    def test_times(self, timestamp: object, shown: str) -> None:
        assert when(timestamp, now=1000) == shown

    def test_tables(self) -> None:
        shown = table(("A", "LONG"), [("x", "1"), ("yy", "\x1b")], right=("LONG",))
        assert shown == "A   LONG\nx      1\nyy     \ufffd"

    def test_json_is_ascii(self, capsys: pytest.CaptureFixture[str]) -> None:
        json_line({"filename": "\x9b2Jé\udc80"})
        assert capsys.readouterr().out == '{"filename": "\\u009b2J\\u00e9\\udc80"}\n'

    def test_there_is_no_bar_without_the_extra(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        assert shows()
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with bar("a", 10) as advance:
            advance(10)
        assert capsys.readouterr().err == ""

    def test_numbers(self) -> None:
        assert (counted(1, "file"), counted(2, "file")) == ("1 file", "2 files")

    def test_errors_as_json(self) -> None:
        error = Failed("a\x1bb", code="c", status=400)
        assert error.as_object() == {"message": "a\ufffdb", "code": "c", "status": 400}

    @pytest.mark.parametrize(
        ("text", "seconds"), [("90s", 90), (" 7D ", 604_800), ("2w", 1_209_600)]
    )
    def test_periods(self, text: str, seconds: int) -> None:
        assert period(text) == seconds

    @pytest.mark.parametrize(("asked", "seconds"), [("3", 3), ("999", 30), ("-1", 0), ("", 1)])
    def test_waiting(self, asked: str, seconds: float) -> None:
        response = requests.Response()
        response.headers["Retry-After"] = asked
        assert wait(response, 1) == seconds
