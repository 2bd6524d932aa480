from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from flask_portkey_files import FilesCall, HeaderResolver, Operation
from flask_portkey_files.errors import (
    FilesError,
    InvalidConfig,
    InvalidCredential,
    InvalidRoute,
)
from flask_portkey_files.routing import (
    RETRY_STATUS_CODES,
    Conditional,
    Fallback,
    LoadBalance,
    Retry,
    Route,
    Target,
)

STORED = {
    "prod": Target("openai", api_key="sk-prod", options={"openai_project": "proj"}),
    "azure": Target(
        "azure-openai",
        api_key="az-key",
        base_url="https://corp.example/openai",
        retry=Retry(2),
        request_timeout=9,
    ),
}
CONFIGS = {
    "pc-json": '{"provider": "openai", "api_key": "sk-json"}',
    "pc-stored": {
        "strategy": {"mode": "fallback"},
        "custom_host": "http://10.0.0.1/v1",
        "targets": [{"virtual_key": "prod"}, {"provider": "openai", "api_key": "sk-2"}],
    },
    "pc-retry": {"retry": {"attempts": 2}, "custom_host": "http://10.0.0.2/v1"},
}
GATEWAY = HeaderResolver(
    {"own": "http://own.example/v1"},
    virtual_keys=STORED,
    configs=CONFIGS,
    api_keys={"team": "gw-1", "other": "gw-2"},
)
OPEN = HeaderResolver({"own": "http://own.example/v1"})


def resolve(resolver: HeaderResolver, headers: dict[str, str]) -> Route:
    return resolver(FilesCall(operation=Operation.LIST, headers=Headers(headers)))


def routed(config: Any, **headers: str) -> Route:
    pairs = {f"x-portkey-{name.replace('_', '-')}": value for name, value in headers.items()}
    return resolve(OPEN, {"x-portkey-config": json.dumps(config), **pairs})


def stored(headers: dict[str, str]) -> Route:
    return resolve(GATEWAY, {"x-portkey-api-key": "gw-2", **headers})


def errors(config: Any) -> list[str]:
    # Infinity as it can be written in JSON.
    text = json.dumps(config).replace("Infinity", "1e999")
    with pytest.raises(InvalidConfig) as raised:
        resolve(OPEN, {"x-portkey-config": text})
    body = raised.value.body()
    assert (raised.value.status, body["status"]) == (400, "failure")
    assert body["message"] == "Invalid config passed"
    assert isinstance(body["errors"], list)
    return body["errors"]


LEAF = {"provider": "openai", "api_key": "sk-1"}


class TestTargets:
    def test_one(self) -> None:
        config = {
            **LEAF,
            "openai_project": "proj",
            "retry": {"attempts": 3},
            "request_timeout": 1500,
            "custom_host": "https://h.example/v1",
            "forward_headers": ["x-a", "X-B"],
            "cache": {"mode": "simple"},
            "override_params": {"model": "x"},
        }
        target = routed(config)
        assert target == Target(
            "openai",
            api_key="sk-1",
            options={"openai_project": "proj"},
            retry=Retry(3),
            request_timeout=1.5,
            custom_host="https://h.example/v1",
            forward_headers=("x-a", "X-B"),
        )

    @pytest.mark.parametrize(
        ("config", "headers", "key"),
        [
            # The provider is the headers' to say if the config says none.
            ({"retry": {"attempts": 1}}, {"provider": "openai", "api_key": "sk-h"}, "sk-h"),
            ({"provider": "openai"}, {"api_key": "sk-h"}, "sk-h"),
            ({"provider": "openai", "api_key": "sk-c"}, {"api_key": "sk-h"}, "sk-c"),
        ],
    )
    def test_headers_fill_in_what_a_single_target_lacks(
        self, config: Any, headers: dict[str, str], key: str
    ) -> None:
        target = routed(config, **headers)
        assert isinstance(target, Target)
        assert (target.provider, target.api_key) == ("openai", key)

    def test_a_key_is_for_the_provider_that_it_was_sent_for(self) -> None:
        assert routed({"provider": "own"}, provider="openai", api_key="sk-h") == Target("own")

    def test_what_is_empty_says_nothing(self) -> None:
        config = {**LEAF, "custom_host": "", "virtual_key": "", "request_timeout": 0}
        target = routed(config, request_timeout="0", custom_host=" ", virtual_key="")
        assert target == Target("openai", api_key="sk-1")

    def test_headers_win_over_a_config(self) -> None:
        config = {
            "custom_host": "http://a",
            "request_timeout": 1000,
            "targets": [{**LEAF, "forward_headers": ["x-a"], "request_timeout": 2000}],
        }
        headers = {
            "custom_host": "http://b",
            "request_timeout": "1500.0",
            "forward_headers": "x-b",
        }
        route = routed(config, **headers)
        assert isinstance(route, Fallback)
        assert route.targets[0] == Target(
            "openai",
            api_key="sk-1",
            custom_host="http://b",
            request_timeout=1.5,
            forward_headers=("x-b",),
        )

    def test_azures_options_by_either_name(self) -> None:
        config = {"provider": "azure-openai", "api_key": "k", "resource_name": "contoso"}
        target = routed({**config, "azure_api_version": "v1", "api_version": "2024-10-21"})
        assert isinstance(target, Target)
        assert target.options == {"azure_resource_name": "contoso", "azure_api_version": "v1"}

    def test_but_never_a_strategys_targets(self) -> None:
        config = {"strategy": {"mode": "fallback"}, "targets": [{"provider": "own"}]}
        route = routed(config, api_key="sk-h", provider="openai")
        assert route == Fallback([Target("own")])

    def test_headers_alone(self) -> None:
        headers = {
            "x-portkey-provider": "openai",
            "Authorization": "Bearer sk-1",
            "x-portkey-retry-count": "2",
            "x-portkey-request-timeout": "250",
            "x-portkey-custom-host": " http://h.example ",
            "x-portkey-forward-headers": "x-a, ,x-b",
        }
        assert resolve(OPEN, headers) == Target(
            "openai",
            api_key="sk-1",
            retry=Retry(2),
            request_timeout=0.25,
            custom_host="http://h.example",
            forward_headers=("x-a", "x-b"),
        )

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("x-portkey-retry-count", "6"),
            ("x-portkey-retry-count", "-1"),
            ("x-portkey-retry-count", "some"),
            ("x-portkey-retry-count", "²"),
            ("x-portkey-retry-count", "1.5"),
            ("x-portkey-retry-count", "0000000000009"),
            ("x-portkey-request-timeout", "-1"),
            ("x-portkey-request-timeout", "1e3"),
            ("x-portkey-request-timeout", "86400001"),
            ("x-portkey-request-timeout", "000000000001" + "9" * 5000),
        ],
    )
    def test_headers_that_make_no_sense(self, name: str, value: str) -> None:
        with pytest.raises(InvalidRoute) as raised:
            resolve(OPEN, {"x-portkey-provider": "openai", name: value})
        assert (raised.value.status, raised.value.param) == (400, name)


class TestStrategies:
    @pytest.mark.parametrize(
        ("strategy", "route"),
        [
            ({"mode": "single"}, Fallback([Target("own")])),
            (None, Fallback([Target("own")])),
            ({}, Fallback([Target("own")])),
            ({"mode": "fallback"}, Fallback([Target("own"), Target("openai", api_key="b")])),
            (
                {"mode": "fallback", "on_status_codes": [429, 503.0]},
                Fallback([Target("own"), Target("openai", api_key="b")], frozenset({429, 503})),
            ),
            (
                {"mode": "loadbalance"},
                LoadBalance([Target("own"), Target("openai", api_key="b")], [3.0, 1.0]),
            ),
            (
                {
                    "mode": "conditional",
                    "conditions": [{"query": {"metadata.a": 1}, "then": "second"}],
                    "default": "first",
                },
                Conditional(
                    [Target("own"), Target("openai", api_key="b")], [({"metadata.a": 1}, 1)], 0
                ),
            ),
        ],
    )
    def test_modes(self, strategy: Any, route: Route) -> None:
        targets = [
            {"name": "first", "provider": "own", "weight": 3},
            {"name": "second", "provider": "openai", "api_key": "b"},
        ]
        config = {"targets": targets, **({} if strategy is None else {"strategy": strategy})}
        assert routed(config) == route

    def test_inheritance(self) -> None:
        inner = {
            "strategy": {"mode": "loadbalance"},
            "retry": {"attempts": 1, "on_status_codes": [418]},
            "targets": [
                {"provider": "own"},
                {
                    "provider": "own",
                    "retry": {"attempts": 0},
                    "request_timeout": 10,
                    "custom_host": "http://b.example",
                    "forward_headers": [],
                },
            ],
        }
        config = {
            "strategy": {"mode": "fallback"},
            "request_timeout": 5000,
            "custom_host": "http://a.example",
            "forward_headers": ["x-a"],
            "targets": [inner, {"provider": "own"}],
        }
        route = routed(config, retry_count="4")
        assert isinstance(route, Fallback)
        balance, last = route.targets
        assert isinstance(balance, LoadBalance)
        above = {"custom_host": "http://a.example", "forward_headers": ("x-a",)}
        assert balance.targets[0] == Target(
            "own",
            retry=Retry(1, on_status_codes=frozenset({418})),
            request_timeout=5.0,
            **above,  # type: ignore[arg-type]
        )
        assert balance.targets[1] == Target(
            "own",
            retry=Retry(0, on_status_codes=RETRY_STATUS_CODES),
            request_timeout=0.01,
            custom_host="http://b.example",
        )
        assert last == Target("own", retry=Retry(4), request_timeout=5.0, **above)  # type: ignore[arg-type]


class TestFaults:
    @pytest.mark.parametrize(
        ("config", "paths"),
        [
            ({}, ["config"]),
            ({"provider": "nobody"}, ["config.provider"]),
            ({"provider": 1}, ["config.provider", "config"]),
            ({"provider": "own", "api_key": 1}, ["config.api_key"]),
            ({"provider": "own", "api_key": "a\n"}, ["config"]),
            ({"virtual_key": "x"}, ["config"]),
            ({"provider": "@x"}, ["config"]),
            ({**LEAF, "retry": 3}, ["config.retry"]),
            ({**LEAF, "retry": {}}, ["config.retry.attempts"]),
            ({**LEAF, "retry": {"attempts": 6}}, ["config.retry.attempts"]),
            ({**LEAF, "retry": {"attempts": 1.5}}, ["config.retry.attempts"]),
            ({**LEAF, "retry": {"attempts": True}}, ["config.retry.attempts"]),
            ({**LEAF, "retry": {"attempts": float("inf")}}, ["config.retry.attempts"]),
            (
                {**LEAF, "retry": {"attempts": 1, "on_status_codes": [99]}},
                ["config.retry.on_status_codes"],
            ),
            (
                {**LEAF, "retry": {"attempts": 1, "use_retry_after_header": 1}},
                ["config.retry.use_retry_after_header"],
            ),
            ({**LEAF, "request_timeout": -1}, ["config.request_timeout"]),
            ({**LEAF, "request_timeout": "1"}, ["config.request_timeout"]),
            ({**LEAF, "request_timeout": 10**400}, ["config.request_timeout"]),
            ({**LEAF, "custom_host": 1}, ["config.custom_host"]),
            ({**LEAF, "forward_headers": "x"}, ["config.forward_headers"]),
            ({**LEAF, "forward_headers": [1]}, ["config.forward_headers"]),
            ({"strategy": {"mode": "fallback"}}, ["config.targets"]),
            ({"targets": []}, ["config.targets"]),
            ({"strategy": 1, "targets": [LEAF]}, ["config.strategy"]),
            ({"strategy": {"mode": "x"}, "targets": [LEAF]}, ["config.strategy.mode"]),
            ({"strategy": {"mode": ["x"]}, "targets": [LEAF]}, ["config.strategy.mode"]),
            (
                {"strategy": {"on_status_codes": ["x"]}, "targets": [LEAF]},
                ["config.strategy.on_status_codes"],
            ),
            (
                {"targets": [1, {"provider": "x"}]},
                ["config.targets[0]", "config.targets[1].provider"],
            ),
            ({"targets": [{**LEAF, "weight": -1}]}, ["config.targets[0].weight"]),
            ({"targets": [{**LEAF, "weight": "1"}]}, ["config.targets[0].weight"]),
            (
                {"strategy": {"mode": "loadbalance"}, "targets": [{**LEAF, "weight": 0}]},
                ["config.targets"],
            ),
            (
                {"strategy": {"mode": "conditional"}, "targets": [LEAF]},
                ["config.strategy.conditions"],
            ),
            (
                {
                    "strategy": {
                        "mode": "conditional",
                        "conditions": [
                            1,
                            {"query": 1, "then": "x"},
                            {"query": {"metadata.a": {"$x": 1}}, "then": 1},
                        ],
                        "default": "none",
                    },
                    "targets": [{**LEAF, "name": "x"}],
                },
                [
                    "config.strategy.conditions[0]",
                    "config.strategy.conditions[1].query",
                    "config.strategy.conditions[2].query.metadata.a.$x",
                    "config.strategy.conditions[2].then",
                    "config.strategy.default",
                ],
            ),
            ({"targets": [LEAF] * 101}, ["config.targets"]),
        ],
    )
    def test_each_is_listed_by_its_path(self, config: Any, paths: list[str]) -> None:
        found = errors(config)
        assert [error.partition(", message: ")[0] for error in found] == [
            f"path: {path}" for path in paths
        ]
        assert all(error.partition(", message: ")[2] for error in found)

    def test_nested_too_deeply(self) -> None:
        config: Any = LEAF
        for _ in range(10):
            config = {"targets": [config]}
        assert isinstance(routed(config), Fallback)
        (fault,) = errors({"targets": [config]})
        assert "nested more than 10 deep" in fault

    @pytest.mark.parametrize("text", ["{", "{]", '{"a": NaN}', '{"a":' * 100_000, "{'a': 1}"])
    def test_no_json(self, text: str) -> None:
        with pytest.raises(InvalidConfig, match="You need to pass a valid json") as raised:
            resolve(OPEN, {"x-portkey-config": text})
        assert "errors" not in raised.value.body()

    def test_no_stored_config(self) -> None:
        with pytest.raises(InvalidConfig, match="id of a stored config"):
            resolve(OPEN, {"x-portkey-config": "pc-1"})


class TestStored:
    @pytest.mark.parametrize(
        "headers",
        [
            {"x-portkey-virtual-key": "prod"},
            {"x-portkey-provider": "@prod"},
            {"x-portkey-config": '{"virtual_key": "prod"}'},
            {"x-portkey-config": '{"provider": "@prod"}'},
        ],
    )
    def test_a_virtual_key(self, headers: dict[str, str]) -> None:
        given = {
            **headers,
            "Authorization": "Bearer sk-client",
            "x-portkey-openai-project": "x",
        }
        assert stored(given) == STORED["prod"]

    def test_with_what_may_be_said_beside_it(self) -> None:
        headers = {"x-portkey-virtual-key": "azure", "x-portkey-retry-count": "1"}
        target = stored(headers)
        assert isinstance(target, Target)
        assert target.retry == Retry(1)
        assert target.request_timeout == 9

    @pytest.mark.parametrize(
        ("headers", "fault"),
        [
            (
                {"x-portkey-virtual-key": "prod", "x-portkey-custom-host": "http://e"},
                "custom_host",
            ),
            (
                {"x-portkey-config": '{"virtual_key": "prod", "custom_host": "http://e"}'},
                "custom_host",
            ),
            (
                {"x-portkey-config": '{"virtual_key": "azure", "azure_resource_name": "evil"}'},
                "azure_resource_name",
            ),
            ({"x-portkey-config": '{"virtual_key": "prod", "api_key": "x"}'}, "api_key"),
            (
                {
                    "x-portkey-config": json.dumps(
                        {"custom_host": "http://e", "targets": [{"virtual_key": "prod"}]}
                    )
                },
                "targets[0].custom_host",
            ),
        ],
    )
    def test_its_key_goes_nowhere_else(self, headers: dict[str, str], fault: str) -> None:
        with pytest.raises(InvalidConfig) as raised:
            stored(headers)
        assert raised.value.faults == (
            f"path: config.{fault}, message: can't be given for a virtual key",
        )

    def test_an_unknown_virtual_key(self) -> None:
        with pytest.raises(InvalidRoute) as raised:
            stored({"x-portkey-virtual-key": "nope"})
        assert raised.value.param == "x-portkey-virtual-key"

    @pytest.mark.parametrize(
        ("given", "fault"),
        [
            ({"virtual_keys": {"lost": Target("nobody")}}, "'lost' has the unknown provider"),
            ({"configs": {"pc-1": "{"}}, "'pc-1' is not valid: Invalid config passed"),
            (
                {"configs": {"pc-1": {"targets": []}}},
                "'pc-1' is not valid: path: config.targets",
            ),
            ({"configs": {"pc-1": {"virtual_key": "x"}}}, "there is no such virtual key"),
            (
                {"configs": {"pc-1": {**LEAF, "custom_host": "x"}}},
                "not an http or https address",
            ),
            (
                {
                    "virtual_keys": STORED,
                    "configs": {"pc-1": {"virtual_key": "prod", "api_key": "x"}},
                },
                "api_key, message: can't be given for a virtual key",
            ),
        ],
    )
    def test_what_is_stored_is_looked_through_at_start_up(self, given: Any, fault: str) -> None:
        with pytest.raises(ValueError, match=fault):
            HeaderResolver(**given, api_keys=["gw"])

    def test_a_config_beside_a_virtual_key(self) -> None:
        for headers in ({"x-portkey-virtual-key": "prod"}, {"x-portkey-provider": "@prod"}):
            target = stored({"x-portkey-config": '{"retry": {"attempts": 2}}', **headers})
            assert isinstance(target, Target)
            assert (target.api_key, target.retry) == ("sk-prod", Retry(2))

    def test_a_stored_config_that_headers_complete(self) -> None:
        headers = {"x-portkey-config": "pc-retry", "Authorization": "Bearer sk-c"}
        assert stored({**headers, "x-portkey-provider": "openai"}) == Target(
            "openai", api_key="sk-c", retry=Retry(2), base_url="http://10.0.0.2/v1"
        )
        with pytest.raises(InvalidConfig, match="can't be used for this call") as raised:
            stored(headers)
        assert raised.value.faults == ()

    def test_beside_a_stored_key_headers_have_no_say(self) -> None:
        headers = {"x-portkey-config": "pc-json", "x-portkey-openai-project": "proj_other"}
        assert stored(headers) == Target("openai", api_key="sk-json")

    def test_retries_can_be_turned_off(self) -> None:
        target = stored({"x-portkey-virtual-key": "azure", "x-portkey-retry-count": "0"})
        assert isinstance(target, Target)
        assert target.retry == Retry(0)

    def test_a_stored_config_is_trusted(self) -> None:
        headers = {"x-portkey-config": "pc-stored", "x-portkey-custom-host": "http://evil"}
        host = "http://10.0.0.1/v1"
        assert stored(headers) == Fallback(
            [
                Target(
                    "openai",
                    api_key="sk-prod",
                    options={"openai_project": "proj"},
                    base_url=host,
                ),
                Target("openai", api_key="sk-2", base_url=host),
            ]
        )

    def test_a_stored_config_may_be_text(self) -> None:
        assert stored({"x-portkey-config": "pc-json"}) == Target("openai", api_key="sk-json")

    def test_callbacks(self) -> None:
        resolver = HeaderResolver(
            virtual_keys=STORED.get, configs=CONFIGS.get, api_keys=lambda key: key == "gw"
        )
        headers = {"x-portkey-api-key": "gw", "x-portkey-virtual-key": "prod"}
        assert resolve(resolver, headers) == STORED["prod"]
        with pytest.raises(InvalidCredential):
            resolve(resolver, {**headers, "x-portkey-api-key": "other"})


class TestGatewayKeys:
    @pytest.mark.parametrize("key", ["gw-1", "gw-2", " gw-1 "])
    def test_right(self, key: str) -> None:
        headers = {"x-portkey-api-key": key, "x-portkey-provider": "openai"}
        # A gateway key is no provider's key.
        assert resolve(GATEWAY, headers) == Target("openai")

    @pytest.mark.parametrize(
        ("key", "code"),
        [
            ("", "missing_api_key"),
            (" ", "missing_api_key"),
            ("gw", "invalid_api_key"),
            ("gw-11", "invalid_api_key"),
            ("gw-ü", "invalid_api_key"),
            ("gw-1,gw-2", "invalid_api_key"),
        ],
    )
    def test_wrong(self, key: str, code: str) -> None:
        for extra in ({}, {"x-portkey-virtual-key": "prod"}, {"x-portkey-config": "pc-json"}):
            headers = {"x-portkey-api-key": key, "x-portkey-provider": "openai", **extra}
            with pytest.raises(InvalidCredential) as raised:
                resolve(GATEWAY, headers)
            assert (raised.value.status, raised.value.code) == (401, code)
            assert "gw" not in raised.value.message

    @pytest.mark.parametrize(
        "given",
        [
            {"virtual_keys": STORED},
            {"configs": CONFIGS},
            {"virtual_keys": {}},
            {"virtual_keys": STORED.get},
        ],
    )
    def test_nothing_stored_without_them(self, given: Any) -> None:
        with pytest.raises(ValueError, match="need gateway keys"):
            HeaderResolver(**given)

    @pytest.mark.parametrize("keys", [[], {}, [""], {"a": " "}, [1], "gw-1", b"gw-1"])
    def test_keys_that_are_none(self, keys: Any) -> None:
        with pytest.raises((ValueError, TypeError), match="key"):
            HeaderResolver(api_keys=keys)

    def test_a_callback_that_keeps_its_answer_for_later(self) -> None:
        async def check(key: str) -> bool:
            return False

        checks: list[Any] = []

        def remember(key: str) -> Any:
            checks.append(check(key))
            return checks[-1]

        resolver = HeaderResolver(api_keys=remember)
        with pytest.raises(TypeError, match="coroutine, not a bool"):
            resolve(resolver, {"x-portkey-api-key": "x", "x-portkey-provider": "openai"})
        checks[0].close()

    def test_a_gateway_key_never_goes_to_a_provider(self) -> None:
        headers = {
            "x-portkey-api-key": "gw-1",
            "Authorization": "Bearer gw-2",
            "x-portkey-provider": "openai",
        }
        assert resolve(GATEWAY, headers) == Target("openai")

    def test_a_callback_that_returns_no_target(self) -> None:
        resolver = HeaderResolver(
            virtual_keys=lambda slug: {"provider": slug},  # type: ignore[arg-type]
            api_keys=["gw"],
        )
        with pytest.raises(TypeError, match="is dict, not a Target"):
            resolve(resolver, {"x-portkey-api-key": "gw", "x-portkey-virtual-key": "prod"})


KEYS: st.SearchStrategy[str] = st.sampled_from(
    [
        "strategy",
        "mode",
        "targets",
        "provider",
        "virtual_key",
        "api_key",
        "retry",
        "attempts",
        "on_status_codes",
        "use_retry_after_header",
        "request_timeout",
        "custom_host",
        "forward_headers",
        "weight",
        "name",
        "conditions",
        "query",
        "then",
        "default",
        "metadata.a",
        "$and",
        "$or",
        "$gt",
        "$regex",
        "openai_project",
    ]
) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
WORDS = st.sampled_from(["fallback", "loadbalance", "conditional", "single", "openai", "own"])


@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(KEYS, JSON, max_size=6)
    | st.fixed_dictionaries(
        {
            "strategy": st.dictionaries(KEYS, JSON | WORDS, max_size=4),
            "targets": st.lists(st.dictionaries(KEYS, JSON | WORDS, max_size=5), max_size=3),
        }
    ),
    st.text(max_size=30),
)
def test_any_config_is_a_route_or_a_400_with_a_path(config: Any, metadata: str) -> None:
    call = FilesCall(
        operation=Operation.LIST,
        headers=Headers(
            {
                "x-portkey-config": json.dumps(config),
                "x-portkey-metadata": json.dumps({"a": metadata}),
            }
        ),
    )
    outcome: Route | FilesError
    try:
        outcome = OPEN(call)
    except FilesError as error:
        outcome = error
    if isinstance(outcome, FilesError):
        assert isinstance(outcome, InvalidConfig)
        assert outcome.status == 400
        # Only what is no JSON, such as NaN, has no path.
        assert bool(outcome.faults) is (outcome.message == "Invalid config passed")
        assert all(fault.startswith("path: config") for fault in outcome.faults)
    else:
        assert isinstance(outcome, (Target, Fallback, LoadBalance, Conditional))


def test_a_stored_key_is_for_a_named_provider() -> None:
    """The client's headers would name the one that gets it."""
    config = {"api_key": "sk-hosts"}
    with pytest.raises(ValueError, match="must have a 'provider' beside a key"):
        HeaderResolver(configs={"pc-1": config}, api_keys=["gw"])
    HeaderResolver(configs={"pc-1": {"provider": "openai", **config}}, api_keys=["gw"])
