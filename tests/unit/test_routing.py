from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from flask_portkey_files import FilesCall, Operation
from flask_portkey_files.backoff import wait
from flask_portkey_files.conditions import faults, holds
from flask_portkey_files.errors import InvalidRoute
from flask_portkey_files.routing import (
    Chain,
    Conditional,
    Fallback,
    Leg,
    LoadBalance,
    Plan,
    Retry,
    Route,
    Target,
    legs,
    plan,
)

FAR = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"

A, B, C = Target("a"), Target("b"), Target("c")


def planned(route: Route, *, file_id: str | None = None, metadata: str = "") -> Plan:
    headers = Headers({"x-portkey-metadata": metadata})
    operation = Operation.RETRIEVE if file_id else Operation.LIST
    return plan(route, FilesCall(operation=operation, file_id=file_id, headers=headers))


def paths(route: Route, **options: Any) -> list[tuple[str, str]]:
    return [(leg.path, leg.target.provider) for leg in legs(planned(route, **options))]


def test_a_target_alone() -> None:
    assert planned(A) == Leg(A, "config")


def test_fallback_and_nesting() -> None:
    route = Fallback([A, Fallback([B, LoadBalance([C])])])
    assert paths(route) == [
        ("config.targets[0]", "a"),
        ("config.targets[1].targets[0]", "b"),
        ("config.targets[1].targets[1].targets[0]", "c"),
    ]


@pytest.mark.parametrize(
    ("codes", "on", "not_on"),
    [
        (None, [301, 400, 404, 408, 429, 500, 502], [200, 201, 204, 206, 304, 412, 416]),
        ([503], [503], [200, 404, 500, 502]),
        ([], [], [200, 404, 500]),
    ],
)
def test_when_a_fallback_goes_on(
    codes: list[int] | None, on: list[int], not_on: list[int]
) -> None:
    chain = planned(Fallback([A, B], codes))
    assert isinstance(chain, Chain)
    assert all(map(chain.goes_on, on))
    assert not any(map(chain.goes_on, not_on))


def test_load_balancing_keeps_to_its_weights() -> None:
    weights = [5.0, 1.0, 0.0, 0.5]
    targets = [A, B, C, Target("d")]
    calls = 10_000
    taken = Counter(paths(LoadBalance(targets, weights))[0][1] for _ in range(calls))
    for target, weight in zip(targets, weights, strict=True):
        share = weight / sum(weights)
        # Five standard deviations: once in two million runs.
        bound = 5 * math.sqrt(calls * share * (1 - share))
        assert abs(taken[target.provider] - calls * share) <= bound
    assert taken["c"] == 0


def test_load_balancing_without_weights_takes_all_alike() -> None:
    taken = Counter(paths(LoadBalance([A, B]))[0][0] for _ in range(10_000))
    assert set(taken) == {"config.targets[0]", "config.targets[1]"}
    assert abs(taken["config.targets[0]"] - 5000) <= 5 * math.sqrt(10_000 / 4)


def test_one_file_is_looked_for_everywhere() -> None:
    route = LoadBalance([A, B, C], [0.0, 1.0, 0.0])
    chain = planned(route, file_id="file-1")
    assert isinstance(chain, Chain)
    assert [leg.target for leg in legs(chain)] == [B, A, C]
    assert [s for s in (200, 304, 400, 404, 429, 500, 502) if chain.goes_on(s)] == [
        404,
        500,
        502,
    ]


@pytest.mark.parametrize(
    "weights", [[1.0], [0.0, 0.0], [-1.0, 3.0], [1.0, 2.0, 3.0], [math.nan, math.nan]]
)
def test_weights_that_are_none(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        LoadBalance([A, B], weights)


CONDITIONAL = Conditional(
    [A, B, C],
    [({"metadata.tier": "paid"}, 1), ({"metadata.tier": {"$in": ["free", "trial"]}}, 2)],
    0,
)


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ('{"tier": "paid"}', "config.targets[1]"),
        ('{"tier": "trial"}', "config.targets[2]"),
        ('{"tier": "other"}', "config.targets[0]"),
        ("", "config.targets[0]"),
        ('{"tier": "trial", "name": "Jos\u00c3\u00a9"}', "config.targets[2]"),
        ("no json", "config.targets[0]"),
        ("[1]", "config.targets[0]"),
        ("[" * 100_000, "config.targets[0]"),
    ],
)
def test_conditional(metadata: str, path: str) -> None:
    assert paths(CONDITIONAL, metadata=metadata)[0][0] == path


def test_no_condition_and_no_default() -> None:
    with pytest.raises(InvalidRoute, match="None of the config's conditions"):
        planned(Conditional([A], [({"metadata.a": 1}, 0)]))


@pytest.mark.parametrize(
    ("test", "value", "expected"),
    [
        ("paid", "paid", True),
        ("paid", "free", False),
        ("paid", None, False),
        (None, None, True),
        (1, 1.0, True),
        (1, True, False),
        (True, True, True),
        (1, "1", False),
        ({"$eq": "a"}, "a", True),
        ({"$eq": "a"}, "b", False),
        ({"$ne": "a"}, "b", True),
        ({"$ne": "a"}, "a", False),
        ({"$ne": "a"}, None, True),
        ({"$gt": 5}, "6", True),
        ({"$gt": 5}, 5, False),
        ({"$gt": 5}, "many", False),
        ({"$gt": 5}, None, False),
        ({"$gte": 5}, 5, True),
        ({"$gte": "5"}, "4.9", False),
        ({"$lt": 5}, 4, True),
        ({"$lt": 5}, 5, False),
        ({"$lte": 5}, 5.0, True),
        ({"$lte": 5}, [], False),
        ({"$in": ["a", "b"]}, "b", True),
        ({"$in": ["a", "b"]}, "c", False),
        ({"$in": [1]}, True, False),
        ({"$in": []}, None, False),
        ({"$nin": ["a", "b"]}, "c", True),
        ({"$nin": ["a", "b"]}, "a", False),
        ({"$nin": ["a"]}, None, True),
        ({"$regex": "^eu-"}, "eu-west", True),
        ({"$regex": "^eu-"}, "us-eu-", False),
        ({"$regex": "ü+$"}, "aüü", True),
        ({"$regex": "1"}, 1, False),
        ({"$regex": "x"}, "x\ud800", False),
        ({"$gt": 1, "$lt": 3}, 2, True),
        ({"$gt": 1, "$lt": 3}, 3, False),
        ({}, None, True),
    ],
)
def test_operators(test: Any, value: Any, expected: bool) -> None:
    query = {"metadata.key": test}
    assert list(faults(query, "q")) == []
    assert holds(query, {"metadata": {"key": value}}) is expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, True),
        ({"$and": [{"metadata.a": 1}, {"metadata.b": 2}]}, True),
        ({"$and": [{"metadata.a": 1}, {"metadata.b": 3}]}, False),
        ({"$or": [{"metadata.a": 9}, {"metadata.b": 2}]}, True),
        ({"$or": [{"metadata.a": 9}, {"metadata.b": 9}]}, False),
        ({"$or": [{"$and": [{"metadata.a": 1}, {"metadata.c.d": "x"}]}]}, True),
        ({"params.model": None, "url.pathname": None}, True),
        ({"params.model": "gpt"}, False),
        ({"metadata.a": 1, "metadata.b": 3}, False),
        ({"$or": [{"metadata.a": 1}], "metadata.b": 9}, False),
    ],
)
def test_queries(query: Any, expected: bool) -> None:
    assert list(faults(query, "q")) == []
    assert holds(query, {"metadata": {"a": 1, "b": 2, "c.d": "x"}}) is expected


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ([], "q"),
        ("x", "q"),
        ({"tier": "paid"}, "q.tier"),
        ({"body.model": "gpt"}, "q.body.model"),
        ({"metadata.": 1}, "q.metadata."),
        ({"metadata.a": [1]}, "q.metadata.a"),
        ({"metadata.a": {"$like": 1}}, "q.metadata.a.$like"),
        ({"metadata.a": {"$in": "b"}}, "q.metadata.a.$in"),
        ({"metadata.a": {"$nin": None}}, "q.metadata.a.$nin"),
        ({"metadata.a": {"$gt": "x"}}, "q.metadata.a.$gt"),
        ({"metadata.a": {"$regex": "("}}, "q.metadata.a.$regex"),
        ({"metadata.a": {"$regex": "(?<=a)b"}}, "q.metadata.a.$regex"),
        ({"metadata.a": {"$regex": "\ud800"}}, "q.metadata.a.$regex"),
        ({"metadata.a": {"$regex": 1}}, "q.metadata.a.$regex"),
        ({"metadata.a": {"$regex": "x" * 501}}, "q.metadata.a.$regex"),
        ({"$and": {}}, "q.$and"),
        ({"$or": []}, "q.$or"),
        ({"$or": [{"metadata.a": 1}, {"$and": [1]}]}, "q.$or[1].$and[0]"),
    ],
)
def test_queries_that_are_none(query: Any, path: str) -> None:
    assert [fault[0] for fault in faults(query, "q")] == [path]


@pytest.mark.parametrize(
    "pattern", ["^(a|a)*$", "^(a+)+$", "(" * 60 + "a" + ")+" * 60, "(?:(?:x?y){300}z){300}"]
)
def test_no_pattern_takes_long_or_much(pattern: str) -> None:
    query = {"metadata.a": {"$regex": pattern}}
    if not list(faults(query, "q")):
        holds(query, {"metadata": {"a": "a" * 5000 + "b"}})


def test_without_the_extra_a_pattern_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_portkey_files.conditions.re2", None)
    query = {"metadata.a": {"$regex": "x"}}
    ((path, message),) = faults(query, "q")
    assert path == "q.metadata.a.$regex"
    assert "regex" in message
    assert not holds(query, {"metadata": {"a": "x"}})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fallback([]),
        lambda: LoadBalance([]),
        lambda: Conditional([], []),
        lambda: Conditional([A], [({"metadata.a": 1}, 1)]),
        lambda: Conditional([A], [], 1),
        lambda: Conditional([A], [({"metadata.a": {"$like": 1}}, 0)]),
    ],
)
def test_a_strategy_that_could_not_work(make: Any) -> None:
    with pytest.raises(ValueError, match=r"target|operator"):
        make()


def test_a_query_nested_too_deeply() -> None:
    query: Any = {"metadata.a": 1}
    for _ in range(1000):
        query = {"$and": [query]}
    ((path, message),) = faults(query, "q")
    assert path == "q" + ".$and[0]" * 10
    assert "nested" in message


class TestRetry:
    @pytest.mark.parametrize("attempts", [-1, 6])
    def test_bounds(self, attempts: int) -> None:
        with pytest.raises(ValueError, match="attempts"):
            Retry(attempts)

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"Retry-After": "3"}, 3),
            ({"Retry-After": "0"}, 0),
            ({"Retry-After": " 1.5 "}, 1.5),
            ({"retry-after-ms": "250", "Retry-After": "3"}, 0.25),
            ({"x-ms-retry-after-ms": "1000"}, 1),
            ({"Retry-After": "30"}, 30),
            ({"Retry-After": "31"}, None),
            ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
            ({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, None),
        ],
    )
    def test_what_the_provider_asks_for(
        self, headers: dict[str, str], seconds: float | None
    ) -> None:
        assert wait(0, Retry(1), Headers(headers), most=30) == seconds

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "soon",
            "-1",
            "1e3",
            "٣",
            "1.2.3",
            "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        ],
    )
    @pytest.mark.parametrize(("attempt", "longest"), [(0, 0.5), (2, 2), (4, 8), (9, 8)])
    def test_waits_grow(self, text: str, attempt: int, longest: float) -> None:
        seconds = wait(attempt, Retry(5), Headers({"Retry-After": text}), most=30)
        assert seconds is not None
        assert longest / 2 <= seconds <= longest

    def test_no_longer_than_acceptable(self) -> None:
        assert wait(9, Retry(5), Headers(), most=1) == 1

    def test_the_providers_wish_can_be_left_unheeded(self) -> None:
        retry = Retry(1, use_retry_after_header=False)
        seconds = wait(0, retry, Headers({"Retry-After": "3600"}), most=30)
        assert seconds is not None
        assert seconds <= 0.5
