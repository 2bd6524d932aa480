"""The addresses of Microsoft Foundry, and who may name which."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from werkzeug.datastructures import Headers

from flask_portkey_files import FilesCall, HeaderResolver, Operation, Target
from flask_portkey_files.errors import InvalidRoute
from flask_portkey_files.providers.azure_ai import AzureAI
from tests.providers.gateway import Gateway
from tests.standins.azure import FoundryStandin

LIST = FilesCall(operation=Operation.LIST)
OWN = "https://contoso.services.ai.azure.com"


def _target(url: str, **options: str) -> Target:
    return Target("azure-ai", api_key="k", options={"azure_foundry_url": url, **options})


def _resolve(headers: dict[str, str], **stored: Any) -> Any:
    resolver = HeaderResolver({"azure-ai": AzureAI()}, **stored)
    return resolver(FilesCall(operation=Operation.LIST, headers=Headers(headers)))


@pytest.mark.parametrize(
    ("path", "version", "expected"),
    [
        ("", "", "/openai/v1/files"),
        ("/", "v1", "/openai/v1/files"),
        ("/models", "", "/openai/v1/files"),
        ("/models/", "preview", "/openai/v1/files?api-version=preview"),
        ("/openai/v1/", "", "/openai/v1/files"),
        ("/models?api-version=x", "", "/openai/v1/files"),
        ("/api/projects/one", "", "/api/projects/one/openai/v1/files"),
        ("/api/projects/one/", "v1", "/api/projects/one/openai/v1/files"),
        ("/api/projects/one/openai/v1", "", "/api/projects/one/openai/v1/files"),
        ("/api/projects/", "", "/openai/v1/files"),
        ("/api/projects/../x", "", "/openai/v1/files"),
        ("/models", "2024-10-21", "/openai/files?api-version=2024-10-21"),
        ("/api/projects/one", "2024-10-21", "/openai/files?api-version=2024-10-21"),
    ],
)
def test_addresses(path: str, version: str, expected: str) -> None:
    options = {"azure_api_version": version} if version else {}
    request = next(AzureAI().list(LIST, _target(OWN + path, **options)))
    assert request.url == OWN + expected
    assert request.headers["api-key"] == "k"


@pytest.mark.parametrize(
    "url", ["", "contoso", "ftp://x", "https://", "https://u:p@x", "https://x:99999999"]
)
def test_no_address(url: str) -> None:
    with pytest.raises(InvalidRoute) as raised:
        AzureAI().check(LIST, _target(url))
    assert raised.value.param == "x-portkey-azure-foundry-url"


@pytest.mark.parametrize(
    "url",
    [
        OWN,
        f"{OWN}/",
        f"{OWN}/api/projects/one",
        "https://Contoso.openai.azure.com/models",
        "https://contoso.cognitiveservices.azure.com",
    ],
)
def test_a_client_may_name_a_resource_at_microsofts(url: str) -> None:
    headers = {"x-portkey-provider": "azure-ai", "x-portkey-azure-foundry-url": url}
    target = _resolve(headers)
    assert (target.custom_host, target.options) == (None, {"azure_foundry_url": url})
    config = {"provider": "azure-ai", "azure_foundry_url": url}
    assert _resolve({"x-portkey-config": json.dumps(config)}) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://contoso.services.ai.azure.com",
        "http://169.254.169.254",
        "https://evil.example/.services.ai.azure.com",
        "https://evil.example#.services.ai.azure.com",
        "https://services.ai.azure.com",
        "https://a.services.ai.azure.com.evil.example",
        "https://a.services.ai.azure.com@evil.example",
        "https://a@b.services.ai.azure.com",
        "https://a.b.services.ai.azure.com",
        "https://a.services.ai.azure.com:8443",
        "https://a.services.ai.azure.com\\@evil.example",
        "https://a.services-ai.azure.com",
    ],
)
def test_anything_else_that_a_client_names_is_a_custom_host(url: str) -> None:
    headers = {"x-portkey-provider": "azure-ai", "x-portkey-azure-foundry-url": url}
    assert _resolve(headers).custom_host == url
    config: dict[str, Any] = {"provider": "azure-ai", "foundry_url": url}
    assert _resolve({"x-portkey-config": json.dumps(config)}).custom_host == url
    config = {"strategy": {"mode": "fallback"}, "targets": [config]}
    assert _resolve({"x-portkey-config": json.dumps(config)}).targets[0].custom_host == url


def test_a_config_wins_over_headers() -> None:
    evil = "http://evil.example"
    headers = {"x-portkey-provider": "azure-ai", "x-portkey-azure-foundry-url": evil}
    config = {"provider": "azure-ai", "azure_foundry_url": OWN}
    target = _resolve({**headers, "x-portkey-config": json.dumps(config)})
    assert (target.custom_host, target.options["azure_foundry_url"]) == (None, OWN)


def test_a_stored_config_goes_where_it_says() -> None:
    stored: dict[str, dict[str, str]] = {
        "pc-whole": {"provider": "azure-ai", "azure_foundry_url": "http://10.0.0.1"},
        "pc-part": {},
    }
    headers = {
        "x-portkey-api-key": "gw",
        "x-portkey-provider": "azure-ai",
        "x-portkey-azure-foundry-url": "http://evil.example",
    }
    given = {"configs": stored, "api_keys": ["gw"]}
    target = _resolve({**headers, "x-portkey-config": "pc-whole"}, **given)
    assert (target.custom_host, target.options["azure_foundry_url"]) == (
        None,
        "http://10.0.0.1",
    )
    with pytest.raises(InvalidRoute, match="can't be used for this call"):
        _resolve({**headers, "x-portkey-config": "pc-part"}, **given)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_custom_host_through_the_gateway(allowed: bool) -> None:
    with FoundryStandin() as standin:
        [file_id] = standin.seed(1)
        host = standin.url.partition("//")[2]
        settings = {"PORTKEY_FILES_ALLOWED_HOSTS": host if allowed else ""}
        with (
            Gateway({"azure-ai": AzureAI()}, settings) as gateway,
            gateway.client(
                "azure-ai", standin.key, x_portkey_azure_foundry_url=f"{standin.url}/models"
            ) as client,
        ):
            if allowed:
                assert client.files.retrieve(file_id).id == file_id
            else:
                with pytest.raises(openai.BadRequestError):
                    client.files.retrieve(file_id)
                assert not standin.seen
