"""The openai and the portkey-ai npm SDKs against the gateway.

They run in scripts of their own, in the folder ``node``, which print what they got.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.parts import require

from .conftest import Recording
from .recorder import CONTENT, FILE

NODE = Path(__file__).with_name("node")
INSTALL = "npm install --prefix tests/sdk/node --no-audit --no-fund --no-package-lock"

LINES = b'{"custom_id": "request-1"}\n'
BIG = random.Random(3).randbytes(4 * 1024 * 1024 + 777)

#: The SDK sends the first two chunked, the other two with their length.
BODIES = ("streamFirst", "streamLast", "bufferFirst", "bufferLast")

Run = Callable[..., Any]


@pytest.fixture
def run() -> Run:
    """Return a function that runs a scenario of a script and returns what it printed."""
    node = shutil.which("node")
    require(node, "there is no node: install Node.js 20 or newer")
    installed = all(
        (NODE / "node_modules" / name / "package.json").exists()
        for name in ("openai", "portkey-ai")
    )
    require(installed, f"the npm SDKs are not installed: {INSTALL}")
    # Node's own settings, such as a proxy or a module to load first, are left out.
    env = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}

    def run(script: str, scenario: str, base_url: str, **options: Any) -> Any:
        arguments = json.dumps({"scenario": scenario, "baseURL": base_url, **options})
        assert node is not None
        done = subprocess.run(
            [node, f"{script}.mjs", arguments],
            cwd=NODE,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The path of a large file."""
    path = tmp_path / "big.jsonl"
    path.write_bytes(BIG)
    return str(path)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("body", BODIES)
def test_all_five_operations(run: Run, base_url: str, path: str, body: str) -> None:
    got = run("openai", "all", base_url, path=path, purpose="batch", body=body)
    created = got["created"]
    assert created["id"].startswith("file-")
    assert (created["object"], created["filename"], created["purpose"], created["bytes"]) == (
        "file",
        "big.jsonl",
        "batch",
        len(BIG),
    )
    assert got["requestId"].startswith("req_")
    assert got["listed"] == [created]
    assert got["retrieved"] == created
    assert got["content"]["status"] == 200
    assert got["content"]["length"] == str(len(BIG))
    assert "big.jsonl" in got["content"]["disposition"]
    assert got["content"]["sha256"] == sha256(BIG)
    assert got["deleted"] == {"id": created["id"], "object": "file", "deleted": True}
    assert got["left"] == []
    assert got["gone"]["name"] == "NotFoundError"


@pytest.mark.parametrize("body", BODIES)
def test_a_file_of_no_bytes(run: Run, base_url: str, tmp_path: Path, body: str) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    got = run("openai", "all", base_url, path=str(empty), purpose="batch", body=body)
    assert got["created"]["bytes"] == 0
    assert got["content"]["length"] == "0"
    assert got["content"]["sha256"] == sha256(b"")
    assert got["deleted"]["deleted"] is True


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", ["データ naïve €.jsonl", 'a "quoted" name.jsonl'])
def test_file_names(run: Run, base_url: str, tmp_path: Path, body: str, name: str) -> None:
    named = tmp_path / name
    named.write_bytes(LINES)
    got = run("openai", "upload", base_url, path=str(named), purpose="batch", body=body)
    assert got["filename"] == name


@pytest.mark.parametrize("body", BODIES)
def test_expires_after(run: Run, base_url: str, path: str, body: str) -> None:
    # Behind the other keys: where the file is first, these fields follow it.
    extra = {"expires_after": {"anchor": "created_at", "seconds": 7200}}
    got = run("openai", "upload", base_url, path=path, purpose="batch", body=body, extra=extra)
    assert got["expires_at"] == got["created_at"] + 7200


def test_pages(run: Run, base_url: str) -> None:
    got = run("openai", "pages", base_url)
    assert got["seen"] == got["created"]
    assert got["sizes"] == [2, 2, 1]
    assert got["after"] == got["created"][2:]
    assert got["other"] == []


def test_errors_are_the_providers(run: Run, base_url: str) -> None:
    got = run("openai", "failures", base_url)
    for operation in ("retrieve", "content", "delete"):
        error = got[operation]
        assert (error["name"], error["status"]) == ("NotFoundError", 404)
        assert error["message"] == "404 No such File object: file-unknown"
        assert (error["type"], error["param"]) == ("invalid_request_error", "id")
        assert error["requestID"].startswith("req_")
    assert got["list"]["name"] == "BadRequestError"
    assert (got["list"]["param"], got["list"]["code"]) == ("limit", "integer_below_min_value")


@pytest.mark.parametrize("body", BODIES)
def test_a_bad_purpose_is_the_providers_error(
    run: Run, base_url: str, path: str, body: str
) -> None:
    (error,) = run(
        "openai", "failedUpload", base_url, path=path, purpose="no-such", body=body, times=1
    )
    assert (error["name"], error["status"]) == ("BadRequestError", 400)
    assert (error["param"], error["code"]) == ("purpose", "invalid_value")


# The gateway refuses these before it has read the upload, whose bytes are still coming in. If
# the connection is closed on them, whether the SDK sees the answer is a matter of luck: more
# than one try.
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, ("BadRequestError", 400, "invalid_route")),
        (
            {"x-portkey-provider": "openai", "Authorization": None},
            ("AuthenticationError", 401, "missing_api_key"),
        ),
    ],
    ids=["no provider", "no key"],
)
def test_a_large_upload_is_refused_and_not_cut(
    run: Run,
    base_url: str,
    path: str,
    body: str,
    headers: dict[str, str | None],
    expected: tuple[str, int, str],
) -> None:
    errors = run(
        "openai",
        "failedUpload",
        base_url,
        path=path,
        purpose="batch",
        body=body,
        headers=headers,
        times=10,
    )
    assert errors == [
        {**error, "name": expected[0], "status": expected[1], "code": expected[2]}
        for error in errors
    ]


@pytest.mark.parametrize("body", BODIES)
def test_what_the_openai_sdk_sends(
    run: Run, recording: Recording, path: str, body: str
) -> None:
    """The premise of the tests above: the SDK in front of the provider, without the gateway."""
    run("openai", "upload", recording.provider_url, path=path, purpose="batch", body=body)
    (request,) = recording.requests
    names = re.findall(rb'\r\nContent-Disposition: form-data; name="(\w+)"', request.body)
    expected = [b"file", b"purpose"] if body.endswith("First") else [b"purpose", b"file"]
    assert names == expected
    if body.startswith("stream"):
        assert request.values("Transfer-Encoding") == ["chunked"]
        assert "content-length" not in request.names
    else:
        assert request.values("Content-Length") == [str(len(request.body))]
        assert "transfer-encoding" not in request.names


@pytest.mark.parametrize("body", BODIES)
def test_what_goes_up(run: Run, recording: Recording, path: str, body: str) -> None:
    headers = {
        "x-portkey-provider": "local",
        "x-portkey-trace-id": "trace-1",
        "Cookie": "session=of-the-host",
    }
    run(
        "openai",
        "upload",
        recording.base_url,
        path=path,
        purpose="batch",
        body=body,
        headers=headers,
    )
    (request,) = recording.requests
    assert (request.method, request.path) == ("POST", "/v1/files")
    assert request.values("Authorization") == ["Bearer sk-test"]
    assert not [name for name in request.names if name.startswith("x-portkey-")]
    assert "cookie" not in request.names
    assert BIG in request.body
    assert request.body.count(b'name="purpose"') == 1


def test_portkey_all_five_operations(run: Run, base_url: str, path: str) -> None:
    got = run(
        "portkey", "all", base_url, path=path, purpose="batch", apiKey="pk", provider="local"
    )
    created = got["created"]
    assert (created["filename"], created["purpose"], created["bytes"]) == (
        "big.jsonl",
        "batch",
        len(BIG),
    )
    assert got["listed"] == [created]
    assert got["retrieved"] == created
    assert got["content"] == [sha256(BIG)]
    # Once the SDK's content can be read, the script should read that instead.
    assert got["readable"] == []
    assert got["deleted"] == {"id": created["id"], "object": "file", "deleted": True}
    assert got["left"] == []
    assert got["gone"]["name"] == "NotFoundError"
    assert created["id"] in got["gone"]["message"]


def test_portkey_pages(run: Run, base_url: str) -> None:
    got = run("portkey", "pages", base_url, apiKey="pk", provider="local")
    assert got["seen"] == got["created"]
    assert got["sizes"] == [2, 2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "400 Either x-portkey-config or x-portkey-provider header is required"),
        ({"provider": "no-such-provider"}, "400 Invalid provider passed"),
    ],
    ids=["none", "unknown"],
)
def test_portkey_without_a_usable_provider(
    run: Run, base_url: str, options: dict[str, str], message: str
) -> None:
    got = run("portkey", "failures", base_url, apiKey="pk", **options)
    for operation in ("list", "create"):
        assert got[operation]["name"] == "BadRequestError"
        assert got[operation]["message"] == message
        assert got[operation]["code"] == "invalid_route"


@pytest.mark.parametrize(
    ("options", "authorization"),
    [
        ({"apiKey": "pk"}, ["Bearer pk"]),
        ({"apiKey": "pk", "Authorization": "sk-own"}, ["Bearer sk-own"]),
        # Given no key at all, the SDK sends `Authorization: Bearer DUMMY-KEY`.
        ({}, []),
    ],
    ids=["api key", "authorization", "no key"],
)
def test_what_goes_up_from_portkey(
    run: Run,
    recording: Recording,
    path: str,
    options: dict[str, str],
    authorization: list[str],
) -> None:
    got = run(
        "portkey",
        "all",
        recording.base_url,
        path=path,
        purpose="batch",
        provider="local",
        traceID="trace-1",
        **options,
    )
    assert got["created"] == FILE
    assert got["content"] == [sha256(CONTENT)]
    assert [(request.method, request.path) for request in recording.requests] == [
        ("POST", "/v1/files"),
        ("GET", "/v1/files?limit=3"),
        ("GET", "/v1/files/file-recorded"),
        ("GET", "/v1/files/file-recorded/content"),
        ("DELETE", "/v1/files/file-recorded"),
        ("GET", "/v1/files"),
        ("GET", "/v1/files/file-recorded"),
    ]
    for request in recording.requests:
        assert request.values("Authorization") == authorization
        assert not [name for name in request.names if name.startswith("x-portkey-")]
    assert BIG in recording.requests[0].body
