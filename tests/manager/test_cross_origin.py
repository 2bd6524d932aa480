"""What a page of another origin can and can't do, in a real browser with a real session."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from werkzeug.serving import make_server

from tests.manager.conftest import Opens
from tests.manager.page import payload
from tests.support.gunicorn import Gunicorn

APP = "tests.manager.session_app:create_app()"
THREADS = ("--worker-class", "gthread", "--threads", "8")

# Sends the form that any page can send, in three ways that no browser asks about first.
ATTACK = """<!doctype html><title>Attack</title>
<form method="post" enctype="multipart/form-data" target="frame">
<input name="purpose" value="batch"><input type="file" name="file"><button>Send</button></form>
<iframe name="frame"></iframe>"""

SEND = """async ([url, mode]) => {
  const data = new FormData();
  data.append("purpose", "batch");
  data.append("file", new File(["{}"], "attack.jsonl"));
  try {
    const options = { method: "POST", body: data, mode, credentials: "include" };
    return (await fetch(url, options)).type;
  } catch (error) {
    return String(error);
  }
}"""


UPLOAD = """async ([url, headers, credentials]) => {
  const data = new FormData();
  data.append("purpose", "batch");
  data.append("file", new File(["{}"], "a.jsonl"));
  const answer = await fetch(url, { method: "POST", body: data, headers, credentials });
  const body = await answer.json();
  return [answer.status, body.object ?? body.error.code];
}"""


@pytest.fixture
def attacker() -> Iterator[str]:
    """The address of another origin of the same machine, to which cookies go alike."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [ATTACK.encode()]

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_session_can_not_be_used_by_another_page(
    attacker: str, opens: Opens, tmp_path: Path
) -> None:
    env = {"EXAMPLE_DATA_DIR": str(tmp_path / "data")}
    with Gunicorn(APP, env=env, arguments=(*THREADS, "--access-logfile", "-")) as server:
        page = opens(f"{server.url}/login").wait()
        page.uploaded(("own.jsonl", b"{}"))
        other = page.page.context.new_page()
        files = f"{server.url}/v1/files"
        other.goto(attacker)
        # The browser sends the session along, whatever page it is that asks.
        other.evaluate(SEND, [f"{server.url}/me", "no-cors"])
        server.wait_for("asked by anna")
        # The answer can't be read, and the upload did not happen either.
        assert other.evaluate(SEND, [files, "no-cors"]) == "opaque"
        assert "Failed to fetch" in other.evaluate(SEND, [files, "cors"])
        other.locator("form").evaluate("(form, url) => (form.action = url)", files)
        other.locator("input[type=file]").set_input_files(payload("attack.jsonl", b"{}"))
        other.get_by_role("button", name="Send").click()
        server.wait_for(r"(?s)(POST /v1/files HTTP/1.1\" 403.*){3}")
        assert len(re.findall(r"POST /v1/files HTTP/1.1\" 200", server.log)) == 1
        page.page.get_by_role("button", name="Refresh the list").click()
        page.wait()
        expect(page.rows).to_have_count(1)
        # Nor can it delete: the browser asks first, and nobody says yes.
        file_id = page.rows.first.get_attribute("data-id")
        delete = "url => fetch(url, {method: 'DELETE', credentials: 'include'}).catch(String)"
        assert "Failed to fetch" in other.evaluate(delete, f"{files}/{file_id}")
        page.page.reload()
        page.wait()
        expect(page.rows).to_have_count(1)
        # The page's own link downloads without a header: the cookie does.
        with page.page.expect_download() as download:
            page.rows.first.get_by_role("button", name="Download own.jsonl").click()
        assert download.value.path().read_bytes() == b"{}"


def test_without_the_session_nothing_goes(opens: Opens, tmp_path: Path) -> None:
    env = {"EXAMPLE_DATA_DIR": str(tmp_path / "data")}
    with Gunicorn(APP, env=env) as server:
        page = opens(f"{server.url}/login").wait()
        page.page.context.clear_cookies()
        page.upload(("a.txt", b"a"))
        expect(page.transfers.first).to_contain_text("Log in first.")
        page.page.get_by_role("button", name="Refresh the list").click()
        expect(page.problem).to_contain_text("Log in first.")


def test_a_session_that_has_ended(opens: Opens, tmp_path: Path) -> None:
    env = {"EXAMPLE_DATA_DIR": str(tmp_path / "data")}
    with Gunicorn(APP, env=env) as server:
        page = opens(f"{server.url}/login").wait()
        page.uploaded(("a.txt", b"a"))
        page.page.request.get(f"{server.url}/expire")
        # The host's login is no answer, whatever way it is got to.
        page.upload(("b.txt", b"b"))
        expect(page.transfers.first).to_contain_text("You may have been signed out.")
        page.row("a.txt").get_by_role("button", name="Download a.txt").click()
        expect(page.problem).to_contain_text("You may have been signed out.")
        page.page.get_by_role("button", name="Refresh the list").click()
        expect(page.problem).to_contain_text("Reload the page, then try again.")


@pytest.mark.parametrize("trusted", [False, True])
def test_pages_that_the_hosts_cors_lets_in(
    attacker: str, opens: Opens, tmp_path: Path, trusted: bool
) -> None:
    origin = attacker.rstrip("/")
    env = {"EXAMPLE_DATA_DIR": str(tmp_path / "data"), "CORS_ORIGIN": origin}
    if trusted:
        env["PORTKEY_FILES_TRUSTED_ORIGINS"] = origin
    with Gunicorn("tests.manager.cors_app:create_app()", env=env) as server:
        page = opens(attacker).page
        page.evaluate("document.cookie = 'a=1'")  # Which goes to all ports of the machine.
        url = f"{server.url}/v1/files"
        asked = {"x-portkey-provider": "local"}
        assert page.evaluate(UPLOAD, [url, asked, "omit"]) == [200, "file"]
        code = [200, "file"] if trusted else [403, "cross_origin_request"]
        assert page.evaluate(UPLOAD, [url, asked, "include"]) == code
        listed = "([url, headers]) => fetch(url, {headers}).then(answer => answer.json())"
        files = page.evaluate(listed, [url, asked])["data"]
        assert len(files) == 1 + trusted
