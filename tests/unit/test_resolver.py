from __future__ import annotations

import pytest
from werkzeug.datastructures import Headers

from flask_portkey_files import FilesCall, HeaderResolver, Operation, Target
from flask_portkey_files.errors import InvalidRoute


def resolve(**headers: str) -> Target:
    pairs = {name.replace("_", "-"): value for name, value in headers.items()}
    call = FilesCall(operation=Operation.LIST, headers=Headers(pairs))
    target = HeaderResolver()(call)
    assert isinstance(target, Target)
    return target


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer sk-1"}, "sk-1"),
        ({"x_portkey_api_key": "pk-1"}, "pk-1"),
        ({"Authorization": "Bearer sk-1", "x_portkey_api_key": "pk-1"}, "sk-1"),
        # What portkey-ai for Python sends beside the key that it was given.
        ({"Authorization": "Bearer OPENAI_API_KEY", "x_portkey_api_key": "pk-1"}, "pk-1"),
        ({"Authorization": "Bearer OPENAI_API_KEY"}, None),
        ({"Authorization": "Bearer undefined"}, None),
        ({"Authorization": "Bearer sk-1", "x_portkey_api_key": ""}, "sk-1"),
        ({"Authorization": "Basic dTpw", "x_portkey_api_key": " pk-1 "}, "pk-1"),
        ({"Authorization": "Bearer ", "x_portkey_api_key": " "}, None),
        ({}, None),
    ],
)
def test_the_credential(headers: dict[str, str], key: str | None) -> None:
    assert resolve(x_portkey_provider="openai", **headers).api_key == key


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Either x-portkey-config or x-portkey-provider header is required"),
        (
            {"x_portkey_provider": " "},
            "Either x-portkey-config or x-portkey-provider header is required",
        ),
        ({"x_portkey_provider": "nobody"}, "Invalid provider passed"),
    ],
)
def test_portkeys_own_messages(headers: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRoute) as raised:
        resolve(**headers)
    body = raised.value.body()
    assert (raised.value.status, body["status"], body["message"]) == (400, "failure", message)
    assert body["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": "x-portkey-provider",
        "code": "invalid_route",
    }


def test_options_are_those_that_the_provider_knows() -> None:
    target = resolve(
        x_portkey_provider="azure-openai",
        x_portkey_azure_resource_name="contoso",
        x_portkey_azure_api_version="2024-10-21",
        x_portkey_openai_project="proj",
        x_portkey_api_key="key",
    )
    assert target.options == {
        "azure_resource_name": "contoso",
        "azure_api_version": "2024-10-21",
    }


@pytest.mark.parametrize("prefix", ["x_portkey_openai_", "OpenAI_"])
def test_openais_own_headers(prefix: str) -> None:
    target = resolve(
        x_portkey_provider="openai",
        **{f"{prefix}organization": "org", f"{prefix}project": "proj"},
    )
    assert target.options == {"openai_organization": "org", "openai_project": "proj"}


def test_a_header_that_cannot_be_sent_on() -> None:
    with pytest.raises(InvalidRoute, match="api_key") as raised:
        resolve(x_portkey_provider="openai", Authorization="Bearer sk-\x7f1")
    assert "sk-" not in str(raised.value)


class TestTarget:
    def test_nothing_secret_is_in_its_repr(self) -> None:
        target = Target(
            "openai",
            api_key="SECRET",
            base_url="http://u:SECRET@host",
            options={"azure_ad_token": "SECRET"},
            headers={"X-Key": "SECRET"},
        )
        assert repr(target) == "Target(provider='openai')"

    @pytest.mark.parametrize("timeout", [0, -1])
    def test_no_time_at_all(self, timeout: float) -> None:
        with pytest.raises(ValueError, match="request_timeout"):
            Target("openai", request_timeout=timeout)

    @pytest.mark.parametrize("key", ["sk-1\n", "sk-\x00", "sk-→"])
    def test_a_key_that_cannot_be_sent_is_refused_and_not_quoted(self, key: str) -> None:
        for arguments in ({"api_key": key}, {"options": {"t": key}}, {"headers": {"X": key}}):
            with pytest.raises(ValueError, match="'openai'") as raised:
                Target("openai", **arguments)
            assert "sk-" not in str(raised.value)
