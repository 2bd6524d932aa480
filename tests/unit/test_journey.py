"""Retries, fallbacks and custom hosts, with requests-mock as the providers."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
import requests
import requests_mock
from flask.testing import FlaskClient

from flask_portkey_files import (
    Conditional,
    Fallback,
    LoadBalance,
    Retry,
    Route,
    Target,
    create_blueprint,
)

from .conftest import MakeClient
from .forms import CONTENT_TYPE, END, field, file, parse

A, B = "http://a.example/files", "http://b.example/files"
FORM = field("purpose", "batch") + file(b"content" * 1000) + END
PROVIDERS = {"a": "http://a.example", "b": "http://b.example"}

Going = Callable[[Route], FlaskClient]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between retries, which are not waited for."""
    waits: list[float] = []
    monkeypatch.setattr("flask_portkey_files.journey.time.sleep", waits.append)
    return waits


@pytest.fixture
def going(make_client: MakeClient, slept: list[float]) -> Going:
    """Return a function that makes a client whose calls all take one route."""

    def make(route: Route) -> FlaskClient:
        return make_client(lambda call: route, providers=PROVIDERS)

    return make


def target(name: str, **options: Any) -> Target:
    return Target(name, api_key=f"sk-{name}", **options)


def marks(response: Any) -> tuple[str, str, str]:
    headers = response.headers
    return (
        headers["x-portkey-provider"],
        headers["x-portkey-last-used-option-index"],
        headers["x-portkey-retry-attempt-count"],
    )


BOTH = Fallback([target("a"), target("b")])
RESET = requests.ConnectionError(ConnectionResetError())


class TestMarks:
    def test_a_target_alone(self, going: Going, requests_mock: requests_mock.Mocker) -> None:
        requests_mock.get(A, json={}, headers={"x-portkey-provider": "forged"})
        response = going(target("a")).get("/v1/files", headers={"x-portkey-trace-id": "t-1"})
        assert marks(response) == ("a", "config", "0")
        assert response.headers.getlist("x-portkey-provider") == ["a"]
        assert response.headers["x-portkey-trace-id"] == "t-1"

    def test_a_trace_id_is_made_where_there_is_none(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(A, json={})
        client = going(target("a"))
        ids = {client.get("/v1/files").headers["x-portkey-trace-id"] for _ in range(3)}
        assert len(ids) == 3
        assert all(len(made) == 36 for made in ids)

    def test_an_error_of_the_gateways_own(self, make_client: MakeClient) -> None:
        response = make_client().get("/v1/files", headers={"x-portkey-trace-id": "t-1"})
        assert response.status_code == 400
        assert response.headers["x-portkey-trace-id"] == "t-1"
        assert "x-portkey-provider" not in response.headers


class TestFallback:
    @pytest.mark.parametrize(
        "failure", [{"status_code": 500}, {"status_code": 404}, {"exc": RESET}]
    )
    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_the_next_one_answers(
        self, going: Going, requests_mock: requests_mock.Mocker, failure: Any, method: str
    ) -> None:
        requests_mock.register_uri(method, f"{A}/f", **failure)
        requests_mock.register_uri(method, f"{B}/f", json={"from": "b"})
        response = going(BOTH).open("/v1/files/f", method=method)
        assert response.json == {"from": "b"}
        assert marks(response) == ("b", "config.targets[1]", "0")
        assert [sent.headers["Authorization"] for sent in requests_mock.request_history] == [
            "Bearer sk-a",
            "Bearer sk-b",
        ]

    def test_a_success_is_final(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(A, json={"from": "a"})
        assert marks(going(BOTH).get("/v1/files")) == ("a", "config.targets[0]", "0")
        assert requests_mock.call_count == 1

    def test_the_last_failure_is_the_clients(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(A, status_code=500)
        requests_mock.get(B, status_code=429, json={"e": 1}, headers={"Retry-After": "9"})
        response = going(BOTH).get("/v1/files")
        assert (response.status_code, response.json) == (429, {"e": 1})
        assert response.headers["Retry-After"] == "9"

    @pytest.mark.parametrize(
        ("failure", "calls"),
        [
            ({"status_code": 503}, 2),
            ({"status_code": 404}, 1),
            ({"status_code": 200}, 1),
            ({"exc": RESET}, 1),
            ({"exc": requests.ReadTimeout()}, 2),
        ],
    )
    def test_only_on_the_statuses_named(
        self, going: Going, requests_mock: requests_mock.Mocker, failure: Any, calls: int
    ) -> None:
        requests_mock.get(A, **failure)
        requests_mock.get(B, json={})
        going(Fallback(BOTH.targets, [503, 504])).get("/v1/files")
        assert requests_mock.call_count == calls

    def test_a_target_that_is_incomplete_is_no_failure_to_fall_back_from(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        response = going(Fallback([Target("a"), target("b")])).get("/v1/files")
        assert response.status_code == 401
        assert marks(response)[1] == "config.targets[0]"
        assert requests_mock.call_count == 0

    def test_a_redirect_is_a_failure(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(A, status_code=307, headers={"Location": B})
        requests_mock.get(B, json={"from": "b"})
        assert marks(going(BOTH).get("/v1/files"))[1] == "config.targets[1]"

    def test_one_file_in_a_load_balance(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(f"{A}/f/content", status_code=404)
        requests_mock.get(f"{B}/f/content", content=b"x")
        client = going(LoadBalance(BOTH.targets))
        for _ in range(10):
            response = client.get("/v1/files/f/content")
            assert response.data == b"x"
            assert marks(response)[1] == "config.targets[1]"

    @pytest.mark.parametrize("first", [{"status_code": 503}, {"exc": RESET}])
    def test_a_target_that_is_down_does_not_hide_the_file(
        self, going: Going, requests_mock: requests_mock.Mocker, first: Any
    ) -> None:
        requests_mock.get(f"{A}/f", **first)
        requests_mock.get(f"{B}/f", [{"json": {"id": "f"}}, {"status_code": 404}])
        client = going(LoadBalance(BOTH.targets, [1, 0]))
        assert client.get("/v1/files/f").json == {"id": "f"}
        # Nor is it sure that there is none.
        assert client.get("/v1/files/f").status_code == first.get("status_code", 502)

    @pytest.mark.parametrize("status", [304, 412, 416])
    def test_what_a_condition_comes_to_is_an_answer(
        self, going: Going, requests_mock: requests_mock.Mocker, status: int
    ) -> None:
        requests_mock.get(f"{A}/f", status_code=status)
        assert going(BOTH).get("/v1/files/f").status_code == status

    def test_a_call_makes_so_many_requests_and_no_more(
        self, going: Going, requests_mock: requests_mock.Mocker, slept: list[float]
    ) -> None:
        requests_mock.get(A, status_code=503, json={"e": 1})
        route = Fallback([target("a", retry=Retry(5)) for _ in range(20)])
        response = going(route).get("/v1/files")
        assert (response.status_code, response.json) == (503, {"e": 1})
        assert requests_mock.call_count == 20
        assert sum(slept) <= 30 + 1e-9  # They are no round numbers.

    def test_a_success_is_never_sent_again(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.post(A, json={})
        retry = Retry(2, on_status_codes=[200])
        route = Fallback([target("a", retry=retry), target("b")], [200])
        going(route).post("/v1/files", data=FORM, content_type=CONTENT_TYPE)
        assert requests_mock.call_count == 1

    def test_conditional(self, going: Going, requests_mock: requests_mock.Mocker) -> None:
        requests_mock.get(B, json={})
        route = Conditional(BOTH.targets, [({"metadata.tier": "paid"}, 1)])
        client = going(route)
        response = client.get("/v1/files", headers={"x-portkey-metadata": '{"tier": "paid"}'})
        assert marks(response)[1] == "config.targets[1]"
        refused = client.get("/v1/files")
        assert (refused.status_code, refused.headers["x-portkey-retry-attempt-count"]) == (
            400,
            "0",
        )


class TestRetry:
    @pytest.mark.parametrize(
        "failure", [{"status_code": 429}, {"status_code": 503}, {"exc": RESET}]
    )
    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_until_it_works(
        self,
        going: Going,
        requests_mock: requests_mock.Mocker,
        slept: list[float],
        failure: Any,
        method: str,
    ) -> None:
        requests_mock.register_uri(method, f"{A}/f", [failure, failure, {"json": {"ok": 1}}])
        response = going(target("a", retry=Retry(3))).open("/v1/files/f", method=method)
        assert (response.status_code, marks(response)) == (200, ("a", "config", "2"))
        assert len(slept) == 2
        assert slept[0] < slept[1]

    def test_until_it_is_enough(
        self, going: Going, requests_mock: requests_mock.Mocker, slept: list[float]
    ) -> None:
        requests_mock.get(A, status_code=500, json={"e": 1})
        response = going(target("a", retry=Retry(2))).get("/v1/files")
        assert (response.status_code, response.json) == (500, {"e": 1})
        assert marks(response)[2] == "2"
        assert (requests_mock.call_count, len(slept)) == (3, 2)

    @pytest.mark.parametrize("failure", [{"status_code": 400}, {"status_code": 404}])
    def test_not_what_is_no_use(
        self, going: Going, requests_mock: requests_mock.Mocker, failure: Any
    ) -> None:
        requests_mock.get(A, **failure)
        going(target("a", retry=Retry(2))).get("/v1/files")
        assert requests_mock.call_count == 1

    def test_a_timeout_counts_by_its_status(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(A, exc=requests.ReadTimeout())
        going(target("a", retry=Retry(1, on_status_codes=[503]))).get("/v1/files")
        assert requests_mock.call_count == 1
        assert going(target("a", retry=Retry(1))).get("/v1/files").status_code == 504
        assert requests_mock.call_count == 3

    def test_the_providers_wish(
        self, going: Going, requests_mock: requests_mock.Mocker, slept: list[float]
    ) -> None:
        soon, late = ({"status_code": 429, "headers": {"Retry-After": s}} for s in ("2", "31"))
        requests_mock.get(A, [soon, late, {"json": {}}])
        response = going(target("a", retry=Retry(5))).get("/v1/files")
        assert (response.status_code, marks(response)[2], slept) == (429, "1", [2.0])
        assert response.headers["Retry-After"] == "31"

    def test_then_the_next_target(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(A, status_code=503)
        requests_mock.get(B, [{"status_code": 503}, {"json": {}}])
        retry = Retry(1)
        route = Fallback([target("a", retry=retry), target("b", retry=retry)])
        assert marks(going(route).get("/v1/files")) == ("b", "config.targets[1]", "1")
        assert requests_mock.call_count == 4

    @pytest.mark.parametrize(
        ("first", "status"),
        [
            ({"exc": RESET}, 200),
            ({"exc": requests.ReadTimeout()}, 200),
            ({"status_code": 503}, 404),
        ],
    )
    def test_a_deletion_whose_answer_was_lost(
        self, going: Going, requests_mock: requests_mock.Mocker, first: Any, status: int
    ) -> None:
        gone = {"status_code": 404, "json": {"error": {}}}
        requests_mock.delete(f"{A}/f", [first, gone])
        response = going(target("a", retry=Retry(1))).delete("/v1/files/f")
        assert response.status_code == status
        deleted = {"id": "f", "object": "file", "deleted": True}
        assert response.json == (deleted if status == 200 else {"error": {}})


class TestUpload:
    @pytest.mark.parametrize(
        ("route", "live"),
        [
            (target("a"), True),
            (Fallback([target("a")]), True),
            (Fallback([target("a"), target("b")]), False),
            (LoadBalance([target("a")]), True),
            (Conditional([target("a")], [], 0), True),
            (target("a", retry=Retry(1)), False),
        ],
    )
    def test_is_spooled_only_if_it_may_be_sent_again(
        self, going: Going, requests_mock: requests_mock.Mocker, route: Route, live: bool
    ) -> None:
        requests_mock.post(A, json={})
        going(route).post("/v1/files", data=FORM, content_type=CONTENT_TYPE)
        assert requests_mock.last_request is not None
        assert ("Content-Length" not in requests_mock.last_request.headers) is live

    def test_is_sent_again_byte_for_byte(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        seen: list[str] = []

        def take(request: Any, context: Any) -> Any:
            parts = parse(request.body.read(), request.headers["Content-Type"])
            assert [part[0] for part in parts] == ["purpose", "file"]
            seen.append(hashlib.sha256(parts[1][2]).hexdigest())
            context.status_code = 503 if len(seen) < 4 else 200
            return {"seen": len(seen)}

        requests_mock.post(A, json=take)
        requests_mock.post(B, json=take)
        retry = Retry(1)
        route = Fallback([target("a", retry=retry), target("b", retry=retry)])
        response = going(route).post("/v1/files", data=FORM, content_type=CONTENT_TYPE)
        assert response.json == {"seen": 4}
        assert marks(response) == ("b", "config.targets[1]", "1")
        assert set(seen) == {hashlib.sha256(b"content" * 1000).hexdigest()}

    def test_no_target_may_be_incomplete(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        """It would hide what the others say, once the whole file has come."""
        route = Fallback([target("a"), Target("b")])
        response = going(route).post("/v1/files", data=FORM, content_type=CONTENT_TYPE)
        assert (response.status_code, marks(response)[1]) == (401, "config.targets[1]")
        assert requests_mock.call_count == 0

    def test_a_form_that_is_none_reaches_nobody(
        self, going: Going, requests_mock: requests_mock.Mocker
    ) -> None:
        body = field("purpose", "batch") + file(b"x") + file(b"y") + END
        response = going(BOTH).post("/v1/files", data=body, content_type=CONTENT_TYPE)
        assert response.status_code == 400
        assert requests_mock.call_count == 0


def test_once_an_answer_has_begun_nothing_is_sent_again(
    going: Going, requests_mock: requests_mock.Mocker
) -> None:
    """An answer that can't be read may be that to an upload that was stored."""
    url = "https://contoso.openai.azure.com/openai/v1/files"
    requests_mock.post(url, content=b"{cut")
    azure = Target(
        "azure-openai",
        api_key="k",
        options={"azure_resource_name": "contoso"},
        retry=Retry(3),
    )
    client = going(Fallback([azure, target("b")]))
    response = client.post("/v1/files", data=FORM, content_type=CONTENT_TYPE)
    assert response.status_code == 502
    assert requests_mock.call_count == 1


class TestForwardHeaders:
    def test_what_may_go_up(self, going: Going, requests_mock: requests_mock.Mocker) -> None:
        requests_mock.get(A, json={})
        names = ["X-Own", "Cookie", "authorization", "Host", "x-portkey-api-key", "Connection"]
        names += ["OpenAI-Project", "openai-organization", "api-key"]
        client = going(target("a", forward_headers=[*names, "bad name", "X-Absent"]))
        client.set_cookie("session", "secret")
        client.get(
            "/v1/files",
            headers={
                "X-Own": "1",
                "Authorization": "Bearer client",
                "x-portkey-api-key": "p",
                "OpenAI-Project": "proj_other",
                "api-key": "k",
            },
        )
        sent = requests_mock.last_request
        assert sent is not None
        assert sent.headers["X-Own"] == "1"
        assert sent.headers["Authorization"] == "Bearer sk-a"
        assert not {name.lower() for name in names[1:]} & (
            {name.lower() for name in sent.headers} - {"authorization"}
        )


class TestCustomHost:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_is_off_unless_allowed(
        self,
        make_client: MakeClient,
        requests_mock: requests_mock.Mocker,
        caplog: pytest.LogCaptureFixture,
        method: str,
    ) -> None:
        client = make_client(providers=PROVIDERS)
        headers = {
            "x-portkey-provider": "a",
            "Authorization": "Bearer sk-1",
            "x-portkey-custom-host": "http://evil.example/v1?q=SECRET",
        }
        with caplog.at_level(logging.WARNING):
            response = client.open("/v1/files", method=method, headers=headers)
        assert response.status_code == 400
        assert response.json is not None
        assert response.json["message"] == "Invalid custom host"
        assert response.json["status"] == "failure"
        assert requests_mock.call_count == 0
        assert "evil.example" in caplog.text
        assert "SECRET" not in caplog.text

    def test_is_reached_if_allowed(
        self, make_client: MakeClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get("https://h.example:8443/v1/files", json={"ok": 1})
        client = make_client(
            providers=PROVIDERS, config={"PORTKEY_FILES_ALLOWED_HOSTS": "*.example:8443"}
        )
        headers = {
            "x-portkey-provider": "a",
            "Authorization": "Bearer sk-1",
            "x-portkey-custom-host": "https://h.example:8443/v1/",
        }
        assert client.get("/v1/files", headers=headers).json == {"ok": 1}


class TestBlueprint:
    def test_a_resolver_decides_alone(self) -> None:
        with pytest.raises(ValueError, match="for the header resolver"):
            create_blueprint(lambda call: target("a"), api_keys={"x": "y"})

    def test_stored_credentials_without_gateway_keys_are_refused_at_start_up(
        self, make_client: MakeClient
    ) -> None:
        with pytest.raises(ValueError, match="need gateway keys"):
            make_client(virtual_keys={"a": target("a")}, providers=PROVIDERS)

    def test_gateway_keys_may_be_a_setting(
        self, make_client: MakeClient, requests_mock: requests_mock.Mocker
    ) -> None:
        requests_mock.get(A, json={})
        client = make_client(
            virtual_keys={"prod": target("a")},
            providers=PROVIDERS,
            config={"PORTKEY_FILES_API_KEYS": "gw-1, gw-2"},
        )
        headers = {"x-portkey-virtual-key": "prod", "x-portkey-api-key": "gw-2"}
        assert client.get("/v1/files", headers=headers).status_code == 200
        assert requests_mock.last_request is not None
        assert requests_mock.last_request.headers["Authorization"] == "Bearer sk-a"
        del headers["x-portkey-api-key"]
        assert client.get("/v1/files", headers=headers).status_code == 401

    def test_gateway_keys_that_nobody_would_look_at(self, make_client: MakeClient) -> None:
        with pytest.raises(ValueError, match="would not look at them"):
            make_client(lambda call: target("a"), config={"PORTKEY_FILES_API_KEYS": "gw"})

    def test_a_bad_list_of_hosts_is_said_at_start_up(self, make_client: MakeClient) -> None:
        with pytest.raises(ValueError, match="PORTKEY_FILES_ALLOWED_HOSTS"):
            make_client(config={"PORTKEY_FILES_ALLOWED_HOSTS": "http://a.example"})
