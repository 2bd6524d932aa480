"""What a client may not say of a target, in headers or in a config, and the host may."""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from flask_portkey_files import FilesCall, HeaderResolver, Operation, Target
from flask_portkey_files.errors import InvalidConfig, InvalidRoute
from flask_portkey_files.providers import Provider
from flask_portkey_files.providers.azure import AzureOpenAI
from flask_portkey_files.providers.azure_ai import AzureAI

PROVIDERS: dict[str, Provider | str] = {"azure-openai": AzureOpenAI(), "azure-ai": AzureAI()}
LIST = FilesCall(operation=Operation.LIST)

each_mode = pytest.mark.parametrize("mode", ["managed", "workload", " MANAGED "])
each_provider = pytest.mark.parametrize("provider", list(PROVIDERS))


def resolve(headers: dict[str, str], **stored: Any) -> Any:
    call = FilesCall(operation=Operation.LIST, headers=Headers(headers))
    return HeaderResolver(PROVIDERS, **stored)(call)


def configured(config: object, **stored: Any) -> Any:
    """Return what a client's config, or the id of a stored one, comes to."""
    headers = {
        "x-portkey-provider": "azure-openai",
        "x-portkey-azure-resource-name": "evil",
        "x-portkey-api-key": "gw",
        "Authorization": "Bearer k",
        "x-portkey-config": config if isinstance(config, str) else json.dumps(config),
    }
    return resolve(headers, **stored)


@each_mode
@each_provider
class TestTheMachinesIdentity:
    def test_not_by_headers(self, mode: str, provider: str) -> None:
        headers = {"x-portkey-provider": provider, "x-portkey-azure-auth-mode": mode}
        with pytest.raises(InvalidRoute) as raised:
            resolve(headers)
        assert raised.value.param == "x-portkey-azure-auth-mode"
        with pytest.raises(InvalidRoute):
            resolve({**headers, "x-portkey-config": '{"retry": {"attempts": 1}}'})

    @pytest.mark.parametrize("name", ["auth_mode", "azure_auth_mode"])
    def test_not_by_a_clients_config(self, mode: str, provider: str, name: str) -> None:
        target = {"provider": provider, name: mode, "resource_name": "evil"}
        for config in (
            target,
            {"targets": [target]},
            {"strategy": {"mode": "fallback"}, "targets": [{"targets": [target]}]},
            {name: mode},
        ):
            with pytest.raises(InvalidConfig) as raised:
                configured(config)
            assert "own machine" in str(raised.value.faults)

    def test_not_beside_a_virtual_key(self, mode: str, provider: str) -> None:
        stored = {"virtual_keys": {"own": Target(provider)}, "api_keys": ["gw"]}
        with pytest.raises(InvalidConfig):
            configured({"virtual_key": "own", "azure_auth_mode": mode}, **stored)
        headers = {
            "x-portkey-virtual-key": "own",
            "x-portkey-azure-auth-mode": mode,
            "x-portkey-api-key": "gw",
        }
        assert resolve(headers, **stored) == Target(provider)

    def test_what_the_host_stored(self, mode: str, provider: str) -> None:
        options = {"azure_auth_mode": mode}
        target = Target(provider, options=options)
        stored = {
            "virtual_keys": {"own": target},
            "configs": {
                "pc-whole": {"provider": provider, **options},
                "pc-key": {"virtual_key": "own"},
                "pc-nested": {"targets": [{"provider": provider, **options}]},
                # This a client would complete, and so say where the token goes.
                "pc-part": options,
            },
            "api_keys": ["gw"],
        }
        for config in ({"virtual_key": "own"}, "pc-whole", "pc-key"):
            assert configured(config, **stored) == target
        assert configured("pc-nested", **stored).targets == [target]
        with pytest.raises(InvalidRoute, match="can't be used for this call"):
            configured("pc-part", **stored)

    def test_at_no_custom_host(self, mode: str, provider: str) -> None:
        options = {"azure_auth_mode": mode}
        target = Target(provider, options=options, base_url="http://x", custom_host="http://x")
        built = PROVIDERS[provider]
        assert isinstance(built, Provider)
        with pytest.raises(InvalidRoute, match="custom host"):
            built.check(LIST, target)


def test_a_clients_own_application_is_its_own_affair() -> None:
    options = {
        "azure_auth_mode": "entra",
        "azure_entra_tenant_id": "t",
        "azure_entra_client_id": "c",
        "azure_entra_client_secret": "s",
    }
    headers = {f"x-portkey-{name.replace('_', '-')}": value for name, value in options.items()}
    assert resolve({"x-portkey-provider": "azure-openai", **headers}).options == options
    assert configured({"provider": "azure-ai", **options}).options == options


@pytest.mark.parametrize(
    ("provider", "header"),
    [
        ("azure-openai", "api-key"),
        ("azure-ai", "api-key"),
        ("anthropic", "x-api-key"),
        ("google", "x-goog-api-key"),
    ],
)
def test_a_key_where_the_providers_own_clients_send_it(provider: str, header: str) -> None:
    def resolved(*headers: tuple[str, str]) -> Any:
        given = Headers([("x-portkey-provider", provider), *headers])
        return HeaderResolver()(FilesCall(operation=Operation.LIST, headers=given))

    assert resolved((header, "own")).api_key == "own"
    # Authorization says it more plainly, unless all that it holds is a placeholder.
    both = resolved((header, "own"), ("Authorization", "Bearer other"))
    assert both.api_key == "other"
    assert resolved((header, "own"), ("Authorization", "Bearer undefined")).api_key == "own"
    # And it is nobody else's.
    openai = Headers([("x-portkey-provider", "openai"), (header, "own")])
    call = FilesCall(operation=Operation.LIST, headers=openai)
    assert getattr(HeaderResolver()(call), "api_key", "") is None
