"""The fixture as a host's tests have it, in runs of pytest of their own."""

from __future__ import annotations

import os

import pytest

from tests.support.served import ROOT

pytest_plugins = ["pytester"]

# This process has imported the plugin already, which a run of a host's own would not.
LATE = "-Wignore::pytest.PytestAssertRewriteWarning"

CONFTEST = """
import pytest
from flask import Flask
from flask_portkey_files import Target, create_blueprint

pytest_plugins = ["flask_portkey_files.testing.pytest_plugin"]

@pytest.fixture
def client():
    app = Flask(__name__)
    resolver = lambda call: Target("openai", api_key="sk-of-" + call.headers["X-Team"])
    app.register_blueprint(create_blueprint(resolver), url_prefix="/v1")
    return app.test_client()
"""


@pytest.fixture
def host(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    pytester.makeconftest(CONFTEST)
    return pytester


def test_a_resolver_in_three_lines(host: pytest.Pytester) -> None:
    host.makepyfile("""
        def test_key(client, portkey_files_upstream):
            client.get("/v1/files", headers={"X-Team": "a"})
            assert portkey_files_upstream.requests[0].api_key == "sk-of-a"
    """)
    host.runpytest_inprocess("-Werror", LATE).assert_outcomes(passed=1)


def test_each_test_has_one_of_its_own(host: pytest.Pytester) -> None:
    host.makepyfile("""
        import threading
        import pytest
        from flask_portkey_files.transport import Transport

        SEND = Transport.send
        THREADS = threading.active_count()

        @pytest.mark.parametrize("turn", [1, 2])
        def test_nothing_is_left(client, portkey_files_upstream, turn):
            assert portkey_files_upstream.requests == []
            assert portkey_files_upstream.files == []
            portkey_files_upstream.add_file(b"x")
            assert client.get("/v1/files", headers={"X-Team": "a"}).status_code == 200
            portkey_files_upstream.answer_next(500)

        def test_without_it():
            assert Transport.send is SEND
            assert threading.active_count() == THREADS
    """)
    host.runpytest_inprocess("-Werror", LATE).assert_outcomes(passed=3)


def test_is_nowhere_unless_it_is_asked_for(host: pytest.Pytester) -> None:
    host.makeconftest("")
    host.makepyfile("""
        import sys

        def test_not_imported():
            assert not [name for name in sys.modules if name.startswith("flask_portkey_files")]
    """)
    host.runpytest_subprocess("-Werror").assert_outcomes(passed=1)


def test_is_listed(host: pytest.Pytester) -> None:
    result = host.runpytest_inprocess("--fixtures")
    result.stdout.fnmatch_lines(["portkey_files_upstream*", "*stands in for all*"])
