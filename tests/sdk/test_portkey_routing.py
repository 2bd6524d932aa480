"""Portkey's virtual keys, configs and their kin, as the portkey-ai Python SDK sends them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import portkey_ai._vendor.openai as vendored
import pytest
from portkey_ai import Portkey, createHeaders

from .conftest import BUSY, GATEWAY_KEY, STORED_KEY, Routing
from .recorder import CONTENT, FILE, Recorded

LINES = b'{"custom_id": "request-1"}\n'

#: What the recording provider is asked by `use_recorded()`.
CALLS = [
    ("POST", "/v1/files"),
    ("GET", "/v1/files?limit=3"),
    ("GET", "/v1/files/file-recorded"),
    ("GET", "/v1/files/file-recorded/content"),
    ("DELETE", "/v1/files/file-recorded"),
]

FALLBACK = {"mode": "fallback"}
LOCAL = {"provider": "local"}

Connect = Callable[..., Any]


@pytest.fixture
def connect(routing: Routing) -> Iterator[Connect]:
    """Return a function that makes a client with a gateway key and without retries."""
    made: list[Any] = []

    def make(**options: Any) -> Any:
        client = Portkey(base_url=routing.base_url, **{"api_key": GATEWAY_KEY, **options})
        client.openai_client.max_retries = 0
        made.append(client)
        return client

    yield make
    for client in made:
        client.openai_client.close()
        client._client.close()


def create(client: Any) -> Any:
    return client.files.create(file=("data.jsonl", LINES), purpose="batch")


def marks(answer: Any) -> tuple[str, str, str]:
    """Return what the gateway says of an answer: who gave it, and on which attempt."""
    headers = answer._headers if hasattr(answer, "_headers") else answer.response.headers
    return (
        headers["x-portkey-provider"],
        headers["x-portkey-last-used-option-index"],
        headers["x-portkey-retry-attempt-count"],
    )


def use_store(client: Any) -> list[tuple[str, str, str]]:
    """Call all five operations over the embedded store; return the marks of the answers."""
    created = create(client)
    assert (created.filename, created.bytes) == ("data.jsonl", len(LINES))
    listed = client.files.list()
    assert [file.id for file in listed.data] == [created.id]
    retrieved = client.files.retrieve(created.id)
    assert retrieved.model_dump() == created.model_dump()
    content = client.files.content(created.id)
    assert content.content == LINES
    deleted = client.files.delete(created.id)
    assert (deleted.id, deleted.deleted) == (created.id, True)
    assert client.files.list().data == []
    return [marks(answer) for answer in (created, listed, retrieved, content, deleted)]


def use_recorded(client: Any) -> list[tuple[str, str, str]]:
    """Call all five operations over the recording provider; return the answers' marks."""
    created = create(client)
    listed = client.files.list(limit=3)
    retrieved = client.files.retrieve(FILE["id"])
    content = client.files.content(FILE["id"])
    deleted = client.files.delete(FILE["id"])
    assert (created.id, retrieved.id, deleted.deleted) == (FILE["id"], FILE["id"], True)
    assert [file.id for file in listed.data] == [FILE["id"]]
    assert content.content == CONTENT
    return [marks(answer) for answer in (created, listed, retrieved, content, deleted)]


def calls(requests: list[Recorded]) -> list[tuple[str, str]]:
    return [(request.method, request.path) for request in requests]


VIRTUAL_KEYS = [{"virtual_key": "steady"}, {"provider": "@steady"}]


@pytest.mark.parametrize("options", VIRTUAL_KEYS, ids=["virtual_key", "provider"])
def test_all_five_through_a_virtual_key(
    routing: Routing, connect: Connect, options: dict[str, str]
) -> None:
    assert use_recorded(connect(**options)) == [("openai", "config", "0")] * 5
    assert calls(routing.steady.requests) == CALLS
    for request in routing.steady.requests:
        # Neither the gateway's key nor the placeholder that the SDK sends.
        assert request.values("Authorization") == [f"Bearer {STORED_KEY}"]
        assert not [name for name in request.names if name.startswith("x-portkey-")]
        assert GATEWAY_KEY not in str(request.headers)
    assert LINES in routing.steady.requests[0].body


def test_all_five_through_a_virtual_key_of_the_store(connect: Connect) -> None:
    assert use_store(connect(virtual_key="store")) == [("local", "config", "0")] * 5


def test_a_client_s_own_key_does_not_replace_a_stored_one(
    routing: Routing, connect: Connect
) -> None:
    connect(virtual_key="steady", Authorization="sk-of-the-client").files.list()
    (request,) = routing.steady.requests
    assert request.values("Authorization") == [f"Bearer {STORED_KEY}"]


@pytest.mark.parametrize(
    "options", [{"virtual_key": "no-such"}, {"provider": "@no-such"}], ids=["key", "provider"]
)
def test_an_unknown_virtual_key(connect: Connect, options: dict[str, str]) -> None:
    with pytest.raises(vendored.BadRequestError) as caught:
        create(connect(**options))
    assert caught.value.code == "invalid_route"
    assert caught.value.param == "x-portkey-virtual-key"


@pytest.mark.parametrize("first", ["busy", "gone"])
def test_all_five_through_a_fallback(routing: Routing, connect: Connect, first: str) -> None:
    config = {"strategy": FALLBACK, "targets": [{"virtual_key": first}, LOCAL]}
    answers = use_store(connect(config=config))
    assert answers == [("local", "config.targets[1]", "0")] * 5
    if first == "busy":
        methods = ["POST", "GET", "GET", "GET", "DELETE", "GET"]
        assert [request.method for request in routing.busy.requests] == methods
        assert LINES in routing.busy.requests[0].body


def test_all_five_through_a_config_as_text(connect: Connect) -> None:
    config = {"strategy": FALLBACK, "targets": [{"virtual_key": "busy"}, LOCAL]}
    answers = use_store(connect(config=json.dumps(config)))
    assert answers == [("local", "config.targets[1]", "0")] * 5


def test_all_five_through_a_stored_config(routing: Routing, connect: Connect) -> None:
    answers = use_store(connect(config="pc-safe"))
    assert answers == [("local", "config.targets[1]", "0")] * 5
    assert routing.busy.requests


def test_the_first_target_is_enough(routing: Routing, connect: Connect) -> None:
    config = {
        "strategy": FALLBACK,
        "targets": [{"virtual_key": "steady"}, {"virtual_key": "busy"}],
    }
    assert use_recorded(connect(config=config)) == [("openai", "config.targets[0]", "0")] * 5
    assert routing.busy.requests == []


def test_a_fallback_in_a_fallback(connect: Connect) -> None:
    inner = {"strategy": FALLBACK, "targets": [{"virtual_key": "gone"}, LOCAL]}
    config = {"strategy": FALLBACK, "targets": [{"virtual_key": "busy"}, inner]}
    answers = use_store(connect(config=config))
    assert answers == [("local", "config.targets[1].targets[1]", "0")] * 5


def test_the_last_target_s_error_is_the_answer(connect: Connect) -> None:
    config = {
        "strategy": FALLBACK,
        "targets": [{"virtual_key": "gone"}, {"virtual_key": "busy"}],
    }
    with pytest.raises(vendored.InternalServerError) as caught:
        create(connect(config=config))
    assert caught.value.status_code == 503
    assert caught.value.body == json.loads(BUSY)["error"]
    headers = caught.value.response.headers
    assert headers["x-portkey-last-used-option-index"] == "config.targets[1]"


def test_an_unknown_config(connect: Connect) -> None:
    with pytest.raises(vendored.BadRequestError) as caught:
        create(connect(config="pc-no-such"))
    assert caught.value.code == "invalid_config"
    assert "Invalid config passed" in caught.value.message


BAD_CONFIGS = [
    (
        {"strategy": {"mode": "sideways"}, "targets": [{"provider": "nobody"}, 3]},
        ["config.strategy.mode", "config.targets[0].provider", "config.targets[1]"],
    ),
    ({"strategy": FALLBACK, "targets": []}, ["config.targets"]),
    (
        {"virtual_key": "steady", "retry": {"attempts": 9}, "request_timeout": "soon"},
        ["config.request_timeout", "config.retry.attempts"],
    ),
    # A stored key goes nowhere but where its owner said.
    (
        {
            "strategy": FALLBACK,
            "targets": [LOCAL, {"virtual_key": "steady", "custom_host": "http://evil.example"}],
        },
        ["config.targets[1].custom_host"],
    ),
]


@pytest.mark.parametrize(("config", "paths"), BAD_CONFIGS)
def test_a_bad_config(
    routing: Routing, connect: Connect, config: dict[str, Any], paths: list[str]
) -> None:
    with pytest.raises(vendored.BadRequestError) as caught:
        create(connect(config=config))
    assert (caught.value.code, caught.value.param) == ("invalid_config", "x-portkey-config")
    body = caught.value.response.json()
    assert (body["status"], body["message"]) == ("failure", "Invalid config passed")
    found = [error.removeprefix("path: ").partition(", message: ") for error in body["errors"]]
    assert sorted(path for path, _, _ in found) == sorted(paths)
    assert all(message for _, _, message in found)
    assert routing.steady.requests == []


def test_a_config_that_is_no_json(connect: Connect) -> None:
    with pytest.raises(vendored.BadRequestError) as caught:
        connect(config='{"strategy":').files.list()
    assert "You need to pass a valid json" in caught.value.message


@pytest.mark.parametrize("key", ["pk-wrong", None], ids=["wrong", "missing"])
@pytest.mark.parametrize(
    "route", [{"virtual_key": "steady"}, {"config": "pc-safe"}, LOCAL], ids=str
)
def test_no_gateway_key(
    routing: Routing, connect: Connect, key: str | None, route: dict[str, str]
) -> None:
    client = connect(api_key=key, **route)
    for call in (lambda: create(client), client.files.list):
        with pytest.raises(vendored.AuthenticationError) as caught:
            call()
        assert caught.value.code == ("invalid_api_key" if key else "missing_api_key")
        assert caught.value.type == "invalid_request_error"
        assert "pk-wrong" not in caught.value.message
    assert routing.steady.requests == routing.busy.requests == []


def test_the_gateway_key_is_no_provider_s_key(connect: Connect) -> None:
    with pytest.raises(vendored.AuthenticationError) as caught:
        connect(provider="openai").files.list()
    assert "No API key for the provider openai." in caught.value.message


def test_all_five_at_a_custom_host(routing: Routing, connect: Connect) -> None:
    client = connect(
        provider="openai", custom_host=routing.steady_url, Authorization="sk-of-the-client"
    )
    assert use_recorded(client) == [("openai", "config", "0")] * 5
    assert calls(routing.steady.requests) == CALLS
    for request in routing.steady.requests:
        assert request.values("Authorization") == ["Bearer sk-of-the-client"]


def test_a_custom_host_in_a_config(routing: Routing, connect: Connect) -> None:
    config = {**LOCAL, "custom_host": routing.steady_url, "api_key": "sk-in-the-config"}
    assert marks(create(connect(config=config))) == ("local", "config", "0")
    (request,) = routing.steady.requests
    assert request.values("Authorization") == ["Bearer sk-in-the-config"]


def test_a_custom_host_that_is_not_permitted(routing: Routing, connect: Connect) -> None:
    """It is the permitted address, at another port."""
    single = {**LOCAL, "custom_host": routing.busy_url}
    nested = {"strategy": FALLBACK, "targets": [single, LOCAL]}
    for options in (single, {"config": single}, {"config": nested}):
        client = connect(**options)
        for call in (lambda c=client: create(c), client.files.list):
            with pytest.raises(vendored.BadRequestError) as caught:
                call()
            assert "Invalid custom host" in caught.value.message
            assert caught.value.response.json()["status"] == "failure"
    assert routing.busy.requests == []


def test_a_custom_host_for_a_virtual_key(routing: Routing, connect: Connect) -> None:
    """Even a permitted one: it would get the stored key."""
    client = connect(virtual_key="steady", custom_host=routing.steady_url)
    with pytest.raises(vendored.BadRequestError) as caught:
        client.files.list()
    assert "can't be given for a virtual key" in caught.value.response.text
    assert routing.steady.requests == []


def test_the_trace_id_comes_back(connect: Connect) -> None:
    created = create(connect(virtual_key="store", trace_id="trace-4711"))
    assert created._headers["x-portkey-trace-id"] == "trace-4711"
    assert created.get_headers()["trace-id"] == "trace-4711"


def test_a_trace_id_is_made(connect: Connect) -> None:
    client = connect(virtual_key="store")
    made = {client.files.list()._headers["x-portkey-trace-id"] for _ in range(2)}
    assert len(made) == 2
    assert all(uuid.UUID(trace_id).version == 4 for trace_id in made)


def test_an_error_has_the_trace_id(connect: Connect) -> None:
    with pytest.raises(vendored.BadRequestError) as caught:
        connect(virtual_key="no-such", trace_id="trace-4711").files.list()
    assert caught.value.response.headers["x-portkey-trace-id"] == "trace-4711"


CONDITIONAL: dict[str, Any] = {
    "strategy": {
        "mode": "conditional",
        "conditions": [
            {"query": {"metadata.plan": {"$eq": "paid"}}, "then": "paid"},
            {"query": {"metadata.plan": {"$in": ["trial", "free"]}}, "then": "free"},
        ],
        "default": "free",
    },
    "targets": [
        {"name": "paid", "virtual_key": "steady"},
        {"name": "free", "provider": "local"},
    ],
}


@pytest.mark.parametrize(
    ("metadata", "option"),
    [
        ({"plan": "paid", "_user": "someone"}, ("openai", "config.targets[0]", "0")),
        ({"plan": "trial"}, ("local", "config.targets[1]", "0")),
        ({"plan": "other"}, ("local", "config.targets[1]", "0")),
        (None, ("local", "config.targets[1]", "0")),
        ('{"plan": "paid"}', ("openai", "config.targets[0]", "0")),
    ],
)
def test_the_metadata_chooses(
    routing: Routing, connect: Connect, metadata: Any, option: tuple[str, str, str]
) -> None:
    client = connect(config=CONDITIONAL, metadata=metadata)
    assert marks(create(client)) == option
    assert len(routing.steady.requests) == (option[0] == "openai")


def test_the_metadata_of_one_call_chooses(connect: Connect) -> None:
    client = connect(config=CONDITIONAL)
    headers = createHeaders(metadata={"plan": "paid"})  # type: ignore[no-untyped-call]
    created = client.files.create(
        file=("data.jsonl", LINES), purpose="batch", extra_headers=headers
    )
    assert marks(created) == ("openai", "config.targets[0]", "0")


def test_no_condition_holds(connect: Connect) -> None:
    strategy = {**CONDITIONAL["strategy"], "default": None}
    with pytest.raises(vendored.BadRequestError) as caught:
        create(connect(config={**CONDITIONAL, "strategy": strategy}))
    assert caught.value.param == "x-portkey-metadata"


RETRY = {"virtual_key": "steady", "retry": {"attempts": 3}}


@pytest.mark.parametrize(
    "options",
    [
        {"virtual_key": "steady", "retry_count": 3},
        {"config": RETRY},
        {"config": {"virtual_key": "steady"}, "retry_count": 3},
    ],
    ids=["header", "config", "header for a config"],
)
def test_retries(routing: Routing, connect: Connect, options: dict[str, Any]) -> None:
    client = connect(**options)
    for call in (
        lambda: create(client),
        client.files.list,
        lambda: client.files.retrieve(FILE["id"]),
        lambda: client.files.content(FILE["id"]),
        lambda: client.files.delete(FILE["id"]),
    ):
        routing.steady.refusals = 2
        assert marks(call()) == ("openai", "config", "2")
    uploads = routing.steady.requests[:3]
    assert [request.method for request in uploads] == ["POST"] * 3
    for request in uploads:
        assert LINES in request.body
    assert len(routing.steady.requests) == 5 * 3


def test_retries_that_are_used_up(routing: Routing, connect: Connect) -> None:
    with pytest.raises(vendored.InternalServerError) as caught:
        create(connect(virtual_key="busy", retry_count=2))
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-portkey-retry-attempt-count"] == "2"
    assert len(routing.busy.requests) == 3


def test_retries_and_then_a_fallback(routing: Routing, connect: Connect) -> None:
    busy = {"virtual_key": "busy", "retry": {"attempts": 1, "on_status_codes": [503]}}
    config = {"strategy": FALLBACK, "targets": [busy, LOCAL]}
    assert marks(create(connect(config=config))) == ("local", "config.targets[1]", "0")
    assert len(routing.busy.requests) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"virtual_key": "silent", "request_timeout": 300},
        {"config": {"virtual_key": "silent", "request_timeout": 300}},
    ],
    ids=["header", "config"],
)
def test_a_request_timeout(connect: Connect, options: dict[str, Any]) -> None:
    client = connect(**options)
    for call in (lambda: create(client), client.files.list):
        with pytest.raises(vendored.APIStatusError) as caught:
            call()
        assert caught.value.status_code == 408
        assert (caught.value.type, caught.value.code) == ("timeout_error", "request_timeout")
        assert "300ms" in caught.value.message


def test_a_request_timeout_and_then_a_fallback(connect: Connect) -> None:
    silent = {"virtual_key": "silent", "request_timeout": 200}
    config = {"strategy": FALLBACK, "targets": [silent, LOCAL]}
    assert marks(create(connect(config=config))) == ("local", "config.targets[1]", "0")


def test_forwarded_headers(routing: Routing, connect: Connect) -> None:
    client = connect(
        virtual_key="steady", forward_headers=["X-Tenant", "X-Absent"], X_Tenant="blue"
    )
    use_recorded(client)
    for request in routing.steady.requests:
        assert request.values("X-Tenant") == ["blue"]
        assert "x-absent" not in request.names


def test_headers_that_are_not_forwarded(routing: Routing, connect: Connect) -> None:
    config = {
        "virtual_key": "steady",
        "forward_headers": ["X-Tenant", "Cookie", "Authorization", "x-portkey-api-key"],
    }
    client = connect(config=config)
    sent = {"X-Tenant": "blue", "X-Other": "red", "Cookie": "session=of-the-host"}
    client.files.list(extra_headers=sent)
    (request,) = routing.steady.requests
    assert request.values("X-Tenant") == ["blue"]
    assert not request.names & {"x-other", "cookie", "x-portkey-api-key"}
    assert request.values("Authorization") == [f"Bearer {STORED_KEY}"]
