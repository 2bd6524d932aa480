"""The pages on deployment: their configurations run, or are at least what they say."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import openai
import pytest
import requests_mock
from flask import Flask

from flask_portkey_files import Settings
from tests.docs.test_snippets import MODULE, blocks
from tests.servers.probes import PROBES, Provider, Stage
from tests.streaming.wire import LIVE, UPLOADED, Body, noise
from tests.support.gunicorn import Gunicorn
from tests.support.parts import require
from tests.support.served import Served
from tests.support.upstream import Connection

# --- nginx ----------------------------------------------------------------------------------

AROUND = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr notice;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{shown}
}}
"""


@pytest.fixture(scope="module")
def behind_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The page's nginx before the page's gunicorn, both for real."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    require(program, "needs nginx: apt-get install nginx-light")
    assert program is not None
    folder = tmp_path_factory.mktemp("nginx")
    (shown,) = blocks("docs/nginx.md", "nginx")
    provider = Provider()
    with provider.listen() as upstream:
        env = {"EXAMPLE_STORE_URL": upstream.url}
        with Gunicorn(env=env, arguments=gunicorn_arguments("docs/nginx.md")) as gunicorn:
            # nginx can't be told to pick a port itself.
            with socket.create_server(("127.0.0.1", 0)) as picked:
                port = picked.getsockname()[1]
            text = shown.text.replace("listen 80;", f"listen 127.0.0.1:{port};")
            text = text.replace("127.0.0.1:8000", f"127.0.0.1:{gunicorn.port}")
            user = "user root;" if os.geteuid() == 0 else ""
            config = folder / "nginx.conf"
            config.write_text(AROUND.format(folder=folder, user=user, shown=text))
            with Served(
                [program, "-c", str(config), "-p", str(folder)],
                listening=r"(start worker process) (\d+)",
            ) as nginx:
                nginx.port = port
                yield Stage(nginx, provider, 20)


def gunicorn_arguments(page: str) -> tuple[str, ...]:
    """Return the arguments of the gunicorn that a page starts, but its address."""
    (line,) = (
        block.text
        for block in blocks(page, "sh")
        if block.text.startswith("gunicorn ") and "--bind" in block.text
    )
    words = line.replace("\\\n", "").split()
    return without_address(words[1:-1])


def without_address(words: list[str]) -> tuple[str, ...]:
    at = words.index("--bind")
    # Nothing is to be waited for at the end of a test.
    return (*words[:at], *words[at + 2 :], "--graceful-timeout", "0")


@pytest.mark.parametrize("question", list(PROBES))
def test_all_comes_through_nginx(behind_nginx: Stage, question: str) -> None:
    # Nothing marks the end of a body without a length for a client that speaks HTTP/1.0.
    expected = "not with HTTP/1.0" if question == "Broken download seen" else "yes"
    assert PROBES[question](behind_nginx) == expected


def test_nginx_keeps_nothing_of_a_large_upload(behind_nginx: Stage) -> None:
    got: list[bool] = []

    def provider(conn: Connection) -> None:
        body = Body(conn)
        size = sum(len(piece) for piece in body)
        got.append(body.complete and size > 30_000_000)
        conn.answer(UPLOADED, headers=("Connection: close",))

    behind_nginx.provider.script = provider
    content = noise(30_000_000)
    opening, closing = LIVE
    with behind_nginx.client() as client:
        client.begin_upload(len(opening) + len(content) + len(closing), "Connection: close")
        client.send(opening + content + closing)
        assert client.answer().body == UPLOADED
    assert got == [True]
    # It warns of each body that it writes to a file.
    assert "buffered to a temporary file" not in behind_nginx.server.log


# --- Docker ---------------------------------------------------------------------------------


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the page's Dockerfile, with their arguments."""
    (shown,) = blocks("docs/docker.md", "dockerfile")
    text = re.sub(r"^#.*\n", "", shown.text, flags=re.MULTILINE).replace("\\\n", "")
    found = []
    for line in filter(None, text.splitlines()):
        instruction, _, argument = line.partition(" ")
        found.append((instruction, argument.strip()))
    return found


def test_the_dockerfile_is_one() -> None:
    names = [name for name, _ in dockerfile()]
    assert names[0] == "FROM"
    assert names[-1] == "CMD"
    assert set(names) <= {
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "ENV",
        "VOLUME",
        "EXPOSE",
        "CMD",
    }
    # What comes after USER has no rights that it would need.
    assert "RUN" not in names[names.index("USER") :]
    (setting,) = (argument for name, argument in dockerfile() if name == "ENV")
    assert setting.partition("=")[0] in Settings.names()


def test_what_the_image_starts_takes_uploads(tmp_path: Path) -> None:
    command = json.loads(dockerfile()[-1][1])
    assert command[0] == "gunicorn"
    assert command[-1] == "yourapp:create_app()"
    env = {"EXAMPLE_DATA_DIR": str(tmp_path / "data"), "PORTKEY_FILES_SPOOL_DIR": str(tmp_path)}
    with (
        Gunicorn(env=env, arguments=without_address(command[1:-1])) as server,
        openai.OpenAI(
            base_url=f"{server.url}/v1",
            api_key="unused",
            default_headers={"x-portkey-provider": "local"},
        ) as client,
    ):
        stored = client.files.create(file=("a.jsonl", io.BytesIO(b"{}\n")), purpose="batch")
        assert client.files.content(stored.id).read() == b"{}\n"


# --- Kubernetes -----------------------------------------------------------------------------


def module(page: str) -> dict[str, Any]:
    """Run a page's module and return its names."""
    (source,) = (b.text for b in blocks(page, "python") if MODULE.match(b.text))
    names: dict[str, Any] = {"__name__": "yourapp"}
    exec(compile(source, page, "exec", dont_inherit=True), names)
    return names


def test_the_manifest_fits_the_application() -> None:
    require(find_spec("yaml"), "needs PyYAML: pip install '.[sdks]'")
    yaml: Any = import_module("yaml")
    (shown,) = blocks("docs/kubernetes.md", "yaml")
    manifest = yaml.safe_load(shown.text)
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    names = module("docs/kubernetes.md")
    app = names["app"]
    assert isinstance(app, Flask)
    client = app.test_client()
    for probe in ("livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == container["ports"][0]["containerPort"]
        assert client.get(asked["path"]).status_code == 200
    names["database_is_there"] = lambda: False
    assert client.get(container["readinessProbe"]["httpGet"]["path"]).status_code == 503
    assert client.get(container["livenessProbe"]["httpGet"]["path"]).status_code == 200
    # Time for all of preStop and of gunicorn's own grace, and something left.
    command = json.loads(dockerfile()[-1][1])
    graceful = int(command[command.index("--graceful-timeout") + 1])
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before + graceful
    set_ = {entry["name"]: entry.get("value") for entry in container["env"]}
    ours = {name: value for name, value in set_.items() if name.startswith("PORTKEY_FILES_")}
    assert set(ours) <= set(Settings.names())
    threads = int(command[command.index("--threads") + 1])
    assert int(ours["PORTKEY_FILES_MAX_UPLOADS"] or 0) < threads
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert ours["PORTKEY_FILES_SPOOL_DIR"] in mounts
    # All workers together hold back less than the volume may have.
    workers = int(command[command.index("--workers") + 1])
    limit = int(pod["volumes"][0]["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 1024**3
    assert workers * Settings().spool_total < limit


# --- Coming from another gateway ------------------------------------------------------------


def test_litellms_clients_are_kept() -> None:
    app = module("docs/migrating.md")["app"]
    team = {"Authorization": "Bearer sk-team-a"}
    azure = "https://contoso.openai.azure.com/openai/v1/files"
    with requests_mock.Mocker() as provider:
        provider.get("https://api.openai.com/v1/files", json={"data": []})
        provider.get(azure, json={"data": []})

        def goes_to(headers: dict[str, str], **query: str) -> str:
            address = f"/v1/files?{urlencode(query)}"
            answer = app.test_client().get(address, headers={**team, **headers})
            assert answer.status_code == 200
            return str(answer.headers["x-portkey-provider"])

        assert goes_to({}) == "openai"
        assert goes_to({"custom-llm-provider": "azure"}) == "azure-openai"
        assert goes_to({}, custom_llm_provider="azure") == "azure-openai"
        refused = app.test_client().get("/v1/files?custom_llm_provider=x", headers=team)
        assert refused.status_code == 400
        assert app.test_client().get("/v1/files").status_code == 401
