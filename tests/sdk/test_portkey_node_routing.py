"""Portkey's virtual keys, configs and their kin, as the portkey-ai npm SDK sends them.

It runs in a script of its own, ``node/routing.mjs``, which prints what it got.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.parts import require

from .conftest import BUSY, GATEWAY_KEY, STORED_KEY, Routing
from .recorder import CONTENT, FILE

NODE = Path(__file__).with_name("node")
INSTALL = "npm install --prefix tests/sdk/node --no-audit --no-fund --no-package-lock"

TEXT = '{"custom_id": "request-1"}\n'
LINES = TEXT.encode()

FALLBACK = {"mode": "fallback"}
LOCAL = {"provider": "local"}

Run = Callable[..., Any]


@pytest.fixture
def run(routing: Routing) -> Run:
    """Return a function that runs a scenario with a gateway key and returns what it printed."""
    node = shutil.which("node")
    require(node, "there is no node: install Node.js 20 or newer")
    installed = (NODE / "node_modules" / "portkey-ai" / "package.json").exists()
    require(installed, f"the npm SDKs are not installed: {INSTALL}")
    # Node's own settings, such as a proxy or a module to load first, are left out.
    env = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}

    def run(scenario: str, **options: Any) -> Any:
        given = {"scenario": scenario, "baseURL": routing.base_url, "text": TEXT, **options}
        given.setdefault("apiKey", GATEWAY_KEY)
        assert node is not None
        done = subprocess.run(
            [node, "routing.mjs", json.dumps(given)],
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


def mark(mark: dict[str, str]) -> tuple[str, str, str]:
    return mark["provider"], mark["last-used-option-index"], mark["retry-attempt-count"]


def is_stored(got: Any) -> None:
    """Check what the scenario `all` got from the embedded store."""
    created = got["created"]
    assert (created["filename"], created["bytes"]) == ("data.jsonl", len(LINES))
    assert got["listed"] == [created["id"]]
    assert got["retrieved"] == created
    assert got["content"] == hashlib.sha256(LINES).hexdigest()
    assert got["deleted"] == {"id": created["id"], "object": "file", "deleted": True}


@pytest.mark.parametrize(
    "options",
    [{"virtualKey": "steady"}, {"provider": "@steady"}],
    ids=["virtualKey", "provider"],
)
def test_all_five_through_a_virtual_key(
    routing: Routing, run: Run, options: dict[str, str]
) -> None:
    got = run("all", **options)
    assert got["created"] == got["retrieved"] == FILE
    assert got["content"] == hashlib.sha256(CONTENT).hexdigest()
    assert got["deleted"]["deleted"] is True
    assert list(map(mark, got["marks"])) == [("openai", "config", "0")] * 5
    assert [request.method for request in routing.steady.requests] == [
        *("POST", "GET", "GET", "GET", "DELETE"),
    ]
    for request in routing.steady.requests:
        assert request.values("Authorization") == [f"Bearer {STORED_KEY}"]
        assert not [name for name in request.names if name.startswith("x-portkey-")]
        assert GATEWAY_KEY not in str(request.headers)


@pytest.mark.parametrize("first", ["busy", "gone"])
def test_all_five_through_a_fallback(routing: Routing, run: Run, first: str) -> None:
    config = {"strategy": FALLBACK, "targets": [{"virtual_key": first}, LOCAL]}
    got = run("all", config=config)
    is_stored(got)
    assert list(map(mark, got["marks"])) == [("local", "config.targets[1]", "0")] * 5
    # The SDK hands the headers out as well.
    assert got["headers"]["last-used-option-index"] == "config.targets[1]"
    assert len(routing.busy.requests) == (5 if first == "busy" else 0)


def test_all_five_through_a_stored_config(run: Run) -> None:
    got = run("all", config="pc-safe", traceID="trace-4711")
    is_stored(got)
    assert list(map(mark, got["marks"])) == [("local", "config.targets[1]", "0")] * 5
    assert [marks["trace-id"] for marks in got["marks"]] == ["trace-4711"] * 5


def test_all_five_at_a_custom_host(routing: Routing, run: Run) -> None:
    got = run(
        "all",
        provider="openai",
        customHost=routing.steady_url,
        Authorization="sk-of-the-client",
    )
    assert got["created"] == FILE
    assert got["content"] == hashlib.sha256(CONTENT).hexdigest()
    assert len(routing.steady.requests) == 5
    for request in routing.steady.requests:
        assert request.values("Authorization") == ["Bearer sk-of-the-client"]


def test_a_custom_host_that_is_not_permitted(routing: Routing, run: Run) -> None:
    got = run("failures", provider="local", customHost=routing.busy_url)
    for operation in ("list", "create"):
        assert got[operation]["name"] == "BadRequestError"
        assert got[operation]["message"] == "400 Invalid custom host"
        assert got[operation]["body"]["status"] == "failure"
    assert routing.busy.requests == []


@pytest.mark.parametrize(
    ("plan", "option"),
    [
        ("paid", ("openai", "config.targets[0]", "0")),
        ("free", ("local", "config.targets[1]", "0")),
    ],
)
def test_the_metadata_chooses(run: Run, plan: str, option: tuple[str, str, str]) -> None:
    config = {
        "strategy": {
            "mode": "conditional",
            "conditions": [{"query": {"metadata.plan": {"$eq": "paid"}}, "then": "paid"}],
            "default": "free",
        },
        "targets": [
            {"name": "paid", "virtual_key": "steady"},
            {"name": "free", "provider": "local"},
        ],
    }
    got = run("upload", config=config, metadata={"plan": plan})
    assert mark(got["marks"]) == option


@pytest.mark.parametrize(
    "options",
    [
        {"virtualKey": "steady", "retryCount": 2},
        {"config": {"virtual_key": "steady", "retry": {"attempts": 2}}},
    ],
    ids=["header", "config"],
)
def test_retries(routing: Routing, run: Run, options: dict[str, Any]) -> None:
    routing.steady.refusals = 2
    got = run("upload", **options)
    assert got["created"] == FILE
    assert mark(got["marks"]) == ("openai", "config", "2")
    assert len(routing.steady.requests) == 3
    for request in routing.steady.requests:
        assert LINES in request.body


def test_a_request_timeout(run: Run) -> None:
    got = run("failures", virtualKey="silent", requestTimeout=300)
    for operation in ("list", "create"):
        assert got[operation]["status"] == 408
        assert (got[operation]["type"], got[operation]["code"]) == (
            "timeout_error",
            "request_timeout",
        )


def test_the_providers_error(run: Run) -> None:
    got = run("failures", virtualKey="busy")
    for operation in ("list", "create"):
        assert got[operation]["name"] == "InternalServerError"
        assert got[operation]["status"] == 503
        assert got[operation]["body"] == json.loads(BUSY)
        assert mark(got[operation]["headers"]) == ("openai", "config", "0")


def test_forwarded_headers(routing: Routing, run: Run) -> None:
    options = {"forwardHeaders": ["x-tenant"], "x-tenant": "blue"}
    run("upload", virtualKey="steady", **options)
    (request,) = routing.steady.requests
    assert request.values("x-tenant") == ["blue"]


@pytest.mark.parametrize(
    ("key", "code"), [("pk-wrong", "invalid_api_key"), (None, "missing_api_key")]
)
def test_no_gateway_key(routing: Routing, run: Run, key: str | None, code: str) -> None:
    got = run("failures", virtualKey="steady", apiKey=key)
    for operation in ("list", "create"):
        assert got[operation]["name"] == "AuthenticationError"
        assert got[operation]["code"] == code
    assert routing.steady.requests == []


def test_a_bad_config(run: Run) -> None:
    config = {"strategy": {"mode": "sideways"}, "targets": [{"provider": "nobody"}]}
    got = run("failures", config=config)
    for operation in ("list", "create"):
        assert got[operation]["name"] == "BadRequestError"
        assert got[operation]["code"] == "invalid_config"
        paths = [error.split(",")[0] for error in got[operation]["body"]["errors"]]
        assert sorted(paths) == [
            "path: config.strategy.mode",
            "path: config.targets[0].provider",
        ]
