"""The documentation against the code: its snippets run, its tables are complete."""

from __future__ import annotations

import ast
import dataclasses
import gc
import hashlib
import inspect
import io
import json
import re
import runpy
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest
import requests_mock
from flask import Flask

import flask_portkey_files
from example_app.__main__ import COMMANDS
from flask_portkey_files import (
    FilesCall,
    FilesError,
    Operation,
    Outcome,
    Settings,
    Target,
    create_blueprint,
    errors,
)
from flask_portkey_files import providers as provider_names
from flask_portkey_files.blueprint import ROUTES
from flask_portkey_files.providers import registry
from flask_portkey_files.relay import WHOLE_ANSWER
from flask_portkey_files.resolver import PLACEHOLDER_KEYS
from flask_portkey_files.response import _Lingering
from flask_portkey_files.settings import KIB, MIB
from flask_portkey_files.transport import MAX_JSON
from tests.support.gunicorn import ROOT, Gunicorn

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTED_URL = "http://127.0.0.1:8000"
PACKAGE = ROOT / "flask_portkey_files"


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    heading: str
    #: Its place among the blocks of its language under this heading.
    index: int
    language: str
    line: int
    text: str


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[Block]:
    found: list[Block] = []
    heading = ""
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(read(name).splitlines(), 1):
        if opened is None and line.startswith("```"):
            opened, lines = (number, line.removeprefix("```")), []
        elif opened is not None and line == "```":
            if opened[1] == language:
                index = sum(block.heading == heading for block in found)
                text = "".join(f"{line}\n" for line in lines)
                found.append(Block(name, heading, index, language, opened[0], text))
            opened = None
        elif opened is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert opened is None, f"{name}: the block that begins in line {opened} does not end"
    return found


def prose(name: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", read(name), flags=re.MULTILINE | re.DOTALL)


def tables(name: str, heading: str) -> list[list[list[str]]]:
    """Return the cells of each table's rows, without its head, in the section *heading*."""
    text = re.split(rf"^#+ {re.escape(heading)}$", prose(name), maxsplit=1, flags=re.MULTILINE)
    assert len(text) == 2, f"{name} has no section {heading}"
    section = re.split(r"^#+ ", text[1], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"(?:^\|.*\|\n)+", section, flags=re.MULTILINE)
    rows = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for table in found
    ]
    for table in rows:
        assert all(len(row) == len(table[0]) for row in table), table
        assert set("".join(table[1])) == {"-"}, table
    return [table[2:] for table in rows]


def table(name: str, heading: str) -> list[list[str]]:
    (only,) = tables(name, heading)
    assert only
    return only


def code(cell: str) -> str:
    """Return what a cell holds, which must be one piece of code."""
    match = re.fullmatch(r"`([^`]+)`", cell)
    assert match, cell
    return match[1]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    data = tmp_path_factory.mktemp("example") / "data"
    with Gunicorn(env={"EXAMPLE_DATA_DIR": str(data)}) as server:
        yield server


# --- What the Python blocks do --------------------------------------------------------------

Names = dict[str, Any]
OPENAI_LIST = "https://api.openai.com/v1/files"


@pytest.fixture
def provider() -> Iterator[requests_mock.Mocker]:
    """Every provider at once; an address that no check has registered fails."""
    with requests_mock.Mocker() as mocker:
        yield mocker


def get(names: Names, path: str, headers: Mapping[str, str] | None = None) -> Any:
    app = names["app"]
    assert isinstance(app, Flask)
    with app.test_client().get(path, headers=headers or {}) as response:
        response.get_data()
        return response


def check_readme_resolver(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    refused = get(names, "/v1/files", {"Authorization": "Bearer someone"})
    assert refused.status_code == 401
    assert refused.get_json()["error"]["message"] == "Unknown token."
    assert not provider.called
    answer = get(names, "/v1/files", {"Authorization": "Bearer token-of-team-a"})
    assert answer.get_json() == {"data": []}
    assert provider.request_history[0].headers["Authorization"] == "Bearer sk-from-environment"


def check_readme_openai(names: Names, provider: requests_mock.Mocker) -> None:
    assert "data.jsonl" in names["names"]
    assert names["content"] == b"{}\n"
    with pytest.raises(openai.NotFoundError):
        names["client"].files.retrieve(names["uploaded"].id)


def check_readme_portkey(names: Names, provider: requests_mock.Mocker) -> None:
    assert names["same_content"] == b"{}\n"
    with pytest.raises(openai.NotFoundError):
        names["client"].files.retrieve(names["stored"].id)


def check_settings(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={})
    headers = {"x-portkey-provider": "openai", "x-portkey-api-key": "sk"}
    assert get(names, "/v1/files", headers).status_code == 200
    timeout: Any = provider.request_history[0].timeout
    assert timeout == (10.0, 300.0)
    form = {"purpose": "batch", "file": (io.BytesIO(b"x" * 200_000), "data.jsonl")}
    answer = names["app"].test_client().post("/v1/files", data=form, headers=headers)
    assert answer.status_code == 413
    assert "at most 2000 bytes" in answer.text  # As the environment has it.


def check_mount(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    headers = {"x-portkey-provider": "openai", "x-portkey-api-key": "sk-client"}
    assert get(names, "/v1/files", headers).get_json() == {"data": []}
    assert provider.request_history[0].headers["Authorization"] == "Bearer sk-client"


def check_tenants(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    provider.get("https://contoso.openai.azure.com/openai/v1/files", json={"data": []})
    for token in ("anna", "ben"):
        answer = get(names, "/v1/files", {"Authorization": f"Bearer token-of-{token}"})
        assert answer.status_code == 200
    anna, ben = provider.request_history
    assert anna.headers["Authorization"] == "Bearer sk-anna"
    assert anna.headers["OpenAI-Project"] == "proj_1"
    assert ben.headers["api-key"] == "azure-ben"
    assert get(names, "/v1/files", {"Authorization": "Bearer x"}).status_code == 401


def check_wrapped(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    headers = {"x-portkey-provider": "openai"}
    assert get(names, "/v1/files", headers).status_code == 403
    assert get(names, "/v1/files", {"X-Team": "research"}).status_code == 400
    assert not provider.called
    headers["X-Team"] = "research"
    get(names, "/v1/files", headers)
    get(names, "/v1/files", {**headers, "Authorization": "Bearer sk-client"})
    sent = [request.headers["Authorization"] for request in provider.request_history]
    assert sent == ["Bearer sk-of-the-host", "Bearer sk-client"]


def check_compatible(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get("https://api.groq.com/openai/v1/files", json={"data": []})
    provider.post("http://10.0.0.5:8000/v1/files", json={"id": "file-1"})
    groq = {"x-portkey-provider": "groq"}
    assert get(names, "/v1/files", groq).status_code == 401
    assert get(names, "/v1/files", {**groq, "x-portkey-api-key": "gsk"}).status_code == 200
    answer = (
        names["app"]
        .test_client()
        .post(
            "/v1/files",
            data={"purpose": "batch", "file": (io.BytesIO(b"{}"), "data.jsonl")},
            headers={"x-portkey-provider": "local"},
        )
    )
    assert answer.get_json() == {"id": "file-1"}
    sent = provider.request_history[-1].headers
    assert int(sent["Content-Length"]) > 2
    assert "Authorization" not in sent


def check_subclass(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get("https://archive.example/v1/files/a/content", content=b"old")
    assert get(names, "/v1/files/a/content").data == b"old"
    sent = provider.request_history[0].headers
    assert sent["X-Archive-Token"] == "secret"
    assert "Authorization" not in sent


def check_provider(names: Names, provider: requests_mock.Mocker) -> None:
    app = names["app"] = Flask(__name__)
    files = create_blueprint(
        lambda call: Target("documents", api_key="t"),
        providers={"documents": names["Documents"]()},
    )
    app.register_blueprint(files, url_prefix="/v1")
    document = {"key": "a", "size": 3, "stored": 1, "title": "A"}
    provider.get("https://documents.example/documents/a", json=document)
    provider.get("https://documents.example/documents/b", json={"no": 1}, status_code=404)
    provider.get("https://documents.example/documents/a/raw", content=b"old")
    assert get(names, "/v1/files/a").get_json() == {
        "id": "a",
        "object": "file",
        "bytes": 3,
        "created_at": 1,
        "filename": "A",
        "purpose": "user_data",
    }
    assert provider.request_history[0].headers["Authorization"] == "Token t"
    missing = get(names, "/v1/files/b")
    assert (missing.status_code, missing.get_json()) == (404, {"no": 1})
    assert get(names, "/v1/files/a/content").data == b"old"
    assert get(names, "/v1/files").status_code == 501


def check_two_blueprints(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    for prefix in ("/staff/v1", "/guests/v1"):
        assert get(names, f"{prefix}/files").status_code == 200
    sent = [request.headers["Authorization"] for request in provider.request_history]
    assert sent == ["Bearer sk-staff", "Bearer sk-guests"]


def check_prefix(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(OPENAI_LIST, json={"data": []})
    assert get(names, "/acme/v1/files").get_json() == {"data": []}
    assert provider.request_history[0].headers["Authorization"] == "Bearer sk-acme"
    assert get(names, "/acme/v1/nothing").is_json
    assert get(names, "/acme/nothing").mimetype == "text/html"


def check_own_limit(names: Names, provider: requests_mock.Mocker) -> None:
    provider.post(OPENAI_LIST, json={"id": "file-1"})
    form = {"purpose": "batch", "file": (io.BytesIO(b"x" * 20_000), "data.jsonl")}
    answer = names["app"].test_client().post("/v1/files", data=form, headers={"X-Plan": "paid"})
    assert answer.get_json() == {"id": "file-1"}


def check_signals(names: Names, provider: requests_mock.Mocker) -> None:
    provider.get(f"{OPENAI_LIST}/file-1/content", content=b"twelve bytes")
    get(names, "/v1/files/file-1/content")
    assert names["lines"] == ["content openai 200 12"]


#: What a Python block has done, by page, heading and its place under that.
CHECKS: dict[tuple[str, str, int], Callable[[Names, requests_mock.Mocker], None]] = {
    ("README.md", "Mount it in your application", 0): check_readme_resolver,
    ("README.md", "Use it from Python", 0): check_readme_openai,
    ("README.md", "Use it from Python", 1): check_readme_portkey,
    ("docs/configuration.md", "Settings", 0): check_settings,
    ("docs/embedding.md", "Mount the blueprint", 0): check_mount,
    ("docs/embedding.md", "Look up a tenant", 0): check_tenants,
    ("docs/embedding.md", "Add to the header resolver", 0): check_wrapped,
    ("docs/embedding.md", "Register an OpenAI-compatible service", 0): check_compatible,
    ("docs/embedding.md", "Write a provider", 0): check_subclass,
    ("docs/embedding.md", "Write a provider", 1): check_provider,
    ("docs/embedding.md", "Two blueprints in one application", 0): check_two_blueprints,
    ("docs/embedding.md", "A prefix with variables", 0): check_prefix,
    ("docs/embedding.md", "Limit the size of uploads", 1): check_own_limit,
    ("docs/embedding.md", "Listen to signals", 0): check_signals,
}

PYTHON = [block for page in PAGES for block in blocks(str(page.relative_to(ROOT)), "python")]


@pytest.mark.parametrize("name", sorted({block.page for block in PYTHON}))
def test_python_blocks_run(
    name: str, example: Gunicorn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
    monkeypatch.setenv("PORTKEY_FILES_MAX_BYTES", "2000")
    names: Names = {"__name__": "documented"}
    for block in PYTHON:
        if block.page == name:
            # So that a traceback has the page's own line.
            source = "\n" * block.line + block.text.replace(DOCUMENTED_URL, example.url)
            exec(compile(source, str(ROOT / name), "exec", dont_inherit=True), names)
            if check := CHECKS.get((block.page, block.heading, block.index)):
                with requests_mock.Mocker() as provider:
                    check(names, provider)
    # A script leaves its clients open until it ends.
    if "OpenAI" in names:
        names["client"].close()
        names["portkey"].openai_client.close()
    # What else a snippet leaves open has to come out here, not in another test.
    names.clear()
    gc.collect()


def test_every_python_block_is_checked() -> None:
    checked = {(block.page, block.heading, block.index) for block in PYTHON}
    assert set(CHECKS) <= checked
    unchecked = [
        f"{block.page}:{block.line}"
        for block in PYTHON
        if (block.page, block.heading, block.index) not in CHECKS
        and not re.search(r"^ *assert ", block.text, flags=re.MULTILINE)
    ]
    assert unchecked == []


# --- Commands -------------------------------------------------------------------------------


def commands(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith(("curl ", "echo "))]


PRINTED = commands(COMMANDS.format(url=DOCUMENTED_URL, data_dir="example_data"))


def documented_commands(name: str) -> list[str]:
    return [line for block in blocks(name, "sh") for line in commands(block.text)]


def test_readme_opens_with_the_two_commands() -> None:
    first = [block.text for block in blocks("README.md", "sh")][:2]
    assert first == [
        "python3 -m venv .venv && .venv/bin/pip install -e '.[example]' && "
        ".venv/bin/python -m example_app\n",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest\n",
    ]


def test_curl_commands_are_those_the_example_prints() -> None:
    assert len(PRINTED) == 6
    assert documented_commands("README.md") == PRINTED
    assert documented_commands("docs/quickstart.md")[:6] == PRINTED


def test_readmes_curl_commands_do_what_it_says(example: Gunicorn, tmp_path: Path) -> None:
    (documented,) = blocks("README.md", "text")
    shown = documented.text.splitlines()
    file_id = "FILE_ID"
    answers: list[bytes] = []

    def run(command: str) -> bytes:
        command = command.replace(DOCUMENTED_URL, example.url).replace("FILE_ID", file_id)
        command = re.sub(r"^curl ", "curl --silent --show-error --fail --noproxy '*' ", command)
        return subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True, timeout=30
        ).stdout

    for command in documented_commands("README.md"):
        answer = run(command)
        if command.startswith("curl "):
            answers.append(answer)
            if len(answers) == 1:
                file_id = json.loads(answer)["id"]

    upload, listed, retrieved, content, deleted = answers
    source = (tmp_path / "data.jsonl").read_bytes()
    assert hashlib.sha256(content).digest() == hashlib.sha256(source).digest()
    assert json.loads(retrieved) == json.loads(upload)
    assert json.loads(upload) in json.loads(listed)["data"]
    assert {file["purpose"] for file in json.loads(listed)["data"]} == {"batch"}
    assert json.loads(deleted) == {"id": file_id, "object": "file", "deleted": True}
    with pytest.raises(subprocess.CalledProcessError):
        run(f"curl {DOCUMENTED_URL}/v1/files/FILE_ID -H 'x-portkey-provider: local'")

    # The answers shown are of this kind.
    assert shown[3].encode() + b"\n" == content
    for line, answer in zip(shown, answers, strict=True):
        if answer is not content:
            assert set(json.loads(line)) == set(json.loads(answer))
    assert set(json.loads(shown[1])["data"][0]) == set(json.loads(upload))


# --- Links ----------------------------------------------------------------------------------


def links(name: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(name))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(str(page.relative_to(ROOT))), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "name",
    [
        str(page.relative_to(ROOT))
        for page in PAGES
        if any("://" not in link for link in links(str(page.relative_to(ROOT))))
    ],
)
def test_links_between_pages_resolve(name: str) -> None:
    for link in links(name):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / name).parent / path if path else ROOT / name).resolve()
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_every_page_is_linked(name: str) -> None:
    base = (ROOT / name).parent
    linked = {(base / link.partition("#")[0]).resolve() for link in links(name)}
    pages = {page for page in PAGES if page.name not in ("README.md", "index.md")}
    assert pages <= linked


# --- Tables ---------------------------------------------------------------------------------


def test_settings_table_is_complete() -> None:
    rows = table("docs/configuration.md", "Settings")
    assert tuple(code(row[0]) for row in rows) == Settings.names()
    for field, (name, default, least, unit, meaning) in zip(
        dataclasses.fields(Settings), rows, strict=True
    ):
        value = re.match(r"`([^`]+)`(?: \((\d+) ([KMG])iB\))?$", default)
        assert value, name
        assert ast.literal_eval(value[1]) == field.default, name
        assert type(ast.literal_eval(value[1])) is type(field.default), name
        if value[2]:
            power = "KMG".index(value[3]) + 1
            assert int(value[2]) * KIB**power == field.default, name
            assert unit == "bytes", name
        expected = field.metadata["least"]
        assert (ast.literal_eval(code(least)) if least else None) == expected, name
        assert (unit == "seconds") == (field.type == "float"), name
        assert meaning == field.metadata["doc"], name


def test_least_values_are_the_least() -> None:
    with_least = [row for row in table("docs/configuration.md", "Settings") if row[2]]
    assert with_least
    for row in with_least:
        name, least = code(row[0]), ast.literal_eval(code(row[2]))
        Settings.from_mapping({name: str(least)})
        with pytest.raises(ValueError, match=name):
            Settings.from_mapping({name: str(least - type(least)(1))})


def test_headers_table_is_complete() -> None:
    heading = "Headers that the header resolver reads"
    rows = table("docs/configuration.md", heading)
    general = {code(header) for header, provider, _ in rows if provider == "all"}
    assert general == {"x-portkey-provider", "Authorization", "x-portkey-api-key"}
    documented = {(code(row[1]), code(row[0])) for row in rows if row[1] != "all"}
    assert documented == {
        (name, f"x-portkey-{option.replace('_', '-')}")
        for name, provider in registry().items()
        for option in provider.options
    }
    text = read("docs/configuration.md")
    assert all(f"`{word}`" in text for word in PLACEHOLDER_KEYS)


def test_example_variables_table_is_complete() -> None:
    rows = table("docs/configuration.md", "The example application")
    source = "".join(path.read_text() for path in (ROOT / "example_app").glob("*.py"))
    assert {code(row[0]) for row in rows} == set(re.findall(r"\bEXAMPLE_[A-Z_]+", source))


def test_routes_table_is_complete() -> None:
    assert {code(row[0]) for row in table("README.md", "Routes")} == {
        f"{method} {rule}" for method, rule, _ in ROUTES
    }
    # And that is all that the host's application gets, as the architecture page says.
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(create_blueprint(), url_prefix="/v1")
    added = [rule.rule for rule in app.url_map.iter_rules()]
    assert sorted(added) == sorted(f"/v1{rule}" for _, rule, _ in ROUTES)


def test_providers_table_is_complete() -> None:
    rows = table("README.md", "Providers")
    assert [code(row[0]) for row in rows[:-1]] == list(registry())
    assert rows[-1][0] == "your own"


def test_resolver_tables_are_complete() -> None:
    call, target = tables("docs/embedding.md", "Write a resolver")
    for rows, documented in ((call, FilesCall), (target, Target)):
        fields = [field.name for field in dataclasses.fields(documented)]
        assert [code(row[0]) for row in rows] == fields
    assert all(operation.name in call[0][1] for operation in Operation)
    section = read("docs/embedding.md").partition("## Listen to signals")[2]
    assert all(f"`{field.name}`" in section for field in dataclasses.fields(Outcome))


def test_numbers_in_deployment_are_the_codes() -> None:
    text = read("docs/deployment.md")
    conf = runpy.run_path(str(ROOT / "example_app" / "gunicorn.conf.py"))
    assert conf["worker_class"] == "gthread"
    assert f"The example has {conf['graceful_timeout']} seconds" in text
    assert f"The example has {conf['keepalive']} seconds" in text
    settings = Settings()
    assert f"`PORTKEY_FILES_READ_TIMEOUT`, {settings.read_timeout:.0f} seconds" in text
    assert f"`PORTKEY_FILES_BLOCK_SIZE`, {settings.block_size // KIB} KiB" in text
    assert (
        f"`PORTKEY_FILES_SPOOL_MEMORY` bytes of it, {settings.spool_memory // MIB} MiB" in text
    )
    assert f"threads above {settings.pool_size}," in text
    assert f"read whole up to {WHOLE_ANSWER // KIB} KiB" in text
    assert f"up to {MAX_JSON // MIB} MiB" in text
    assert f"for up to {_Lingering.SECONDS:.0f} seconds after the answer" in text
    bounds = f"at most {_Lingering.MOST // MIB} MiB or {_Lingering.SECONDS:.0f} seconds"
    assert bounds in read("docs/errors.md")
    assert bounds in read("docs/architecture.md")
    nginx = re.search(r"client_max_body_size (\d+)m;", text)
    assert nginx
    assert int(nginx[1]) * MIB >= settings.max_bytes + settings.max_form_bytes


# --- Errors ---------------------------------------------------------------------------------

Error = tuple[str, int, str]


def error_classes() -> dict[str, type[FilesError]]:
    return {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, FilesError)
    }


def raised() -> Iterator[tuple[type[FilesError], ast.Call]]:
    """Yield each place of the package where an error of its own is made."""
    classes = error_classes()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and (kind := classes.get(node.func.id))
            ):
                yield kind, node


def keyword(call: ast.Call, name: str) -> str | None:
    for argument in call.keywords:
        if argument.arg == name:
            return str(ast.literal_eval(argument.value))
    return None


def test_errors_table_is_complete() -> None:
    produced: set[Error] = set()
    for kind, call in raised():
        code_ = keyword(call, "code") or kind.default_code
        if code_ is not None and kind is not errors.BrokenTransfer:
            produced.add((code_, kind.status, kind.type))
    rows = table("docs/errors.md", "Errors with a code")
    documented = [(code(row[0]), int(row[1]), code(row[2])) for row in rows]
    assert len(documented) == len(set(documented))
    assert set(documented) == produced
    # Each class's own code is among them.
    own = {kind.default_code for kind in error_classes().values()} - {None}
    assert own - {errors.BrokenTransfer.default_code} <= {name for name, _, _ in documented}
    assert [status for _, status, _ in documented] == sorted(s for _, s, _ in documented)


def test_errors_with_the_default_code_are_those_of_paging() -> None:
    params = {
        keyword(call, "param")
        for kind, call in raised()
        if kind is errors.InvalidRequest and keyword(call, "code") is None
    }
    rows = table("docs/errors.md", "Errors with a code")
    (row,) = (r for r in rows if code(r[0]) == errors.InvalidRequest.default_code)
    named = re.findall(r"`([a-z]+)`", row[3].partition(" is not valid")[0])
    assert set(named) == params


def test_every_error_of_its_own_has_a_code() -> None:
    for kind, call in raised():
        assert keyword(call, "code") or kind.default_code, ast.unparse(call)


def test_codes_that_only_a_signal_has() -> None:
    rows = table("docs/errors.md", "A transfer that breaks")
    assigned: set[str | None] = {errors.BrokenTransfer.default_code}
    for module in ("relay", "response"):
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
                and isinstance(node.targets[0], ast.Attribute)
                and node.targets[0].attr == "error"
            ):
                assigned.add(node.value.value)
    assert {code(row[0]) for row in rows} == assigned
    assert len(assigned) == 3


def test_error_bodies_are_as_shown(provider: requests_mock.Mocker) -> None:
    app = Flask(__name__)
    app.register_blueprint(create_blueprint(), url_prefix="/v1")
    purpose, route = blocks("docs/errors.md", "json")
    answer = app.test_client().post(
        "/v1/files",
        data={"purpose": "", "file": (io.BytesIO(b"{}"), "data.jsonl")},
        headers={"x-portkey-provider": "openai", "x-portkey-api-key": "sk"},
    )
    assert answer.status_code == 400
    assert answer.get_json() == json.loads(purpose.text)
    answer = app.test_client().get("/v1/files", headers={"x-portkey-provider": "nobody"})
    assert answer.status_code == 400
    assert answer.get_json() == json.loads(route.text)
    assert not provider.called


# --- Modules --------------------------------------------------------------------------------


def imports() -> dict[str, tuple[set[str], set[str]]]:
    """Return for each module what it imports of the package, and of others' packages."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in PACKAGE.rglob("*.py"):
        *package, name = path.relative_to(PACKAGE).with_suffix("").parts
        if not (name == "__init__" and package):
            module = ".".join([*package, name])
        else:
            module = ".".join(package)
        own: set[str] = set()
        others: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1]
                own.add(".".join([*base, *([node.module] if node.module else [])]))
            elif isinstance(node, ast.ImportFrom):
                others.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Import):
                others |= {alias.name.partition(".")[0] for alias in node.names}
        found[module] = own, others
    return found


def test_module_table_is_complete() -> None:
    rows = table("docs/architecture.md", "Modules")
    order = [code(row[0]) for row in rows]
    actual = imports()
    assert sorted(order) == sorted(actual)
    for place, (module, _, imported) in enumerate(rows):
        names = re.findall(r"`([^`]+)`", imported)
        assert set(names) == actual[code(module)][0], module
        assert set(names) <= set(order[place + 1 :]), f"{module} imports upward"


def test_the_few_importers_of_libraries_are_named() -> None:
    text = read("docs/architecture.md")
    importers = {
        library: sorted(
            module for module, (_, others) in imports().items() if library in others
        )
        for library in ("flask", "requests", "requests_toolbelt", "urllib3", "blinker")
    }
    for library, modules in importers.items():
        stated = re.search(rf"`{library}`(?: is imported)? by ([^.]*?) only", text)
        assert stated, library
        assert sorted(re.findall(r"`([^`]+)`", stated[1])) == modules, library


def test_a_providers_author_finds_all_that_is_named() -> None:
    text = read("docs/embedding.md").partition("All that it takes is in")[2]
    module, *names = re.findall(r"`([\w.]+)(?:\(\))?`", text.partition("\n")[0])
    assert module == provider_names.__name__
    assert all(hasattr(provider_names, name) for name in names)
    source = ast.parse(inspect.getsource(provider_names))
    exported = {
        alias.asname
        for node in source.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert set(names) == exported


def test_versions_are_those_of_the_package() -> None:
    project = read("pyproject.toml")
    for pattern, documented in (
        (r'^requires-python = ">=([\d.]+)"', "Python {} and newer are supported"),
        (r'^    "flask>=([\d.]+)"', "Flask {} or newer"),
        (r'^    "werkzeug>=([\d.]+)"', "werkzeug {} or newer"),
    ):
        least = re.search(pattern, project, flags=re.MULTILINE)
        assert least, pattern
        assert documented.format(least[1]) in read("README.md")


# --- The changelog --------------------------------------------------------------------------


def test_changelog_tells_what_is_coming() -> None:
    unreleased = re.findall(r"^## \[(.+)\]", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert unreleased[0] == "Unreleased"
    assert flask_portkey_files.__version__ in read("CHANGELOG.md")
