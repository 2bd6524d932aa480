"""The stand-ins of Entra and of managed identities are what azure-identity takes them for."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.standins.azure import AzureDatedStandin
from tests.standins.entra import (
    Certificate,
    EntraStandin,
    ManagedIdentityStandin,
    make_certificate,
)
from tests.support.parts import require

SCOPE = "https://cognitiveservices.azure.com/.default"
#: Proxies and certificates of this machine's environment are none of these tests' business.
OWN = {"use_env_settings": False, "retry_total": 0}


@pytest.fixture(scope="module")
def identity() -> Any:
    # What is asked for a part of a package that is missing altogether raises.
    found = importlib.util.find_spec("azure") and importlib.util.find_spec("azure.identity")
    require(found, "pip install azure-identity")
    import azure.identity

    return azure.identity


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    require(shutil.which("openssl"), "apt-get install openssl")
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def entra(certificate: Certificate) -> Iterator[EntraStandin]:
    with EntraStandin(certificate) as standin:
        yield standin


@pytest.fixture
def trusting(entra: EntraStandin) -> dict[str, Any]:
    """What has a credential come to the stand-in and trust it."""
    return OWN | {
        "authority": entra.url,
        "disable_instance_discovery": True,
        "connection_verify": str(entra.certificate.authority),
    }


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(EntraStandin.assertion)
    return path


def _client_secret(identity: Any, entra: EntraStandin, secret: str, **options: Any) -> Any:
    return identity.ClientSecretCredential(entra.tenant, entra.client, secret, **options)


class TestClientSecret:
    def test_gets_a_token(
        self, identity: Any, entra: EntraStandin, trusting: dict[str, Any]
    ) -> None:
        with _client_secret(identity, entra, entra.key, **trusting) as credential:
            token = credential.get_token(SCOPE)
            assert token.token in entra.tokens
            assert credential.get_token(SCOPE).token == token.token
        assert [(seen.method, seen.path) for seen in entra.seen] == [
            ("GET", f"/{entra.tenant}/v2.0/.well-known/openid-configuration"),
            ("POST", f"/{entra.tenant}/oauth2/v2.0/token"),
        ]

    def test_its_token_opens_azure(
        self, identity: Any, entra: EntraStandin, trusting: dict[str, Any]
    ) -> None:
        with (
            AzureDatedStandin(tokens=entra.tokens) as azure,
            _client_secret(identity, entra, entra.key, **trusting) as credential,
        ):
            answer = requests.get(
                f"{azure.url}/openai/files?api-version=2024-10-21",
                headers={"Authorization": f"Bearer {credential.get_token(SCOPE).token}"},
            )
        assert answer.status_code == 200

    def test_trusts_by_a_transport(
        self, identity: Any, entra: EntraStandin, trusting: dict[str, Any]
    ) -> None:
        from azure.core.pipeline.transport import RequestsTransport

        verify = trusting.pop("connection_verify")
        transport = RequestsTransport(connection_verify=verify, use_env_settings=False)
        with _client_secret(
            identity, entra, entra.key, transport=transport, **trusting
        ) as credential:
            assert credential.get_token(SCOPE).token in entra.tokens

    def test_trusts_by_the_environment(
        self,
        identity: Any,
        entra: EntraStandin,
        trusting: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", trusting.pop("connection_verify"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        trusting["use_env_settings"] = True
        with _client_secret(identity, entra, entra.key, **trusting) as credential:
            assert credential.get_token(SCOPE).token in entra.tokens

    def test_is_not_trusted_otherwise(
        self, identity: Any, entra: EntraStandin, trusting: dict[str, Any]
    ) -> None:
        from azure.core.exceptions import ClientAuthenticationError

        del trusting["connection_verify"]
        with (
            _client_secret(identity, entra, entra.key, **trusting) as credential,
            pytest.raises(ClientAuthenticationError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            credential.get_token(SCOPE)

    def test_https_is_needed(self, identity: Any) -> None:
        with pytest.raises(ValueError, match="https"):
            identity.ClientSecretCredential("t", "c", "s", authority="http://127.0.0.1:1")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"secret": "wrong"}, "AADSTS7000215"),
            ({"scope": "https://unknown.example/.default"}, "AADSTS500011"),
            ({"client": "unknown"}, "AADSTS700016"),
        ],
    )
    def test_refuses(
        self,
        identity: Any,
        entra: EntraStandin,
        trusting: dict[str, Any],
        options: dict[str, str],
        message: str,
    ) -> None:
        from azure.core.exceptions import ClientAuthenticationError

        credential = identity.ClientSecretCredential(
            entra.tenant,
            options.get("client", entra.client),
            options.get("secret", entra.key),
            **trusting,
        )
        with credential, pytest.raises(ClientAuthenticationError, match=message):
            credential.get_token(options.get("scope", SCOPE))

    def test_unknown_tenant(
        self, identity: Any, entra: EntraStandin, trusting: dict[str, Any]
    ) -> None:
        from azure.core.exceptions import ClientAuthenticationError

        credential = identity.ClientSecretCredential(
            "unknown", entra.client, entra.key, **trusting
        )
        with credential, pytest.raises(ClientAuthenticationError, match="tenant name"):
            credential.get_token(SCOPE)

    def test_fails(self, identity: Any, entra: EntraStandin, trusting: dict[str, Any]) -> None:
        from azure.core.exceptions import ClientAuthenticationError

        with _client_secret(identity, entra, entra.key, **trusting) as credential:
            credential.get_token(SCOPE)
            entra.fail(500)
            with pytest.raises(ClientAuthenticationError):
                credential.get_token("https://ai.azure.com/.default")


class TestWorkload:
    def test_gets_a_token(
        self, identity: Any, entra: EntraStandin, trusting: dict[str, Any], token_file: Path
    ) -> None:
        with identity.WorkloadIdentityCredential(
            tenant_id=entra.tenant,
            client_id=entra.client,
            token_file_path=str(token_file),
            **trusting,
        ) as credential:
            assert credential.get_token(SCOPE).token in entra.tokens

    def test_gets_a_token_by_the_environment(
        self,
        identity: Any,
        entra: EntraStandin,
        token_file: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("AZURE_TENANT_ID", entra.tenant)
        monkeypatch.setenv("AZURE_CLIENT_ID", entra.client)
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token_file))
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", entra.url)
        with identity.WorkloadIdentityCredential(
            disable_instance_discovery=True,
            connection_verify=str(entra.certificate.authority),
            **OWN,
        ) as credential:
            assert credential.get_token(SCOPE).token in entra.tokens

    def test_refuses_another_token(
        self, identity: Any, entra: EntraStandin, trusting: dict[str, Any], token_file: Path
    ) -> None:
        from azure.core.exceptions import ClientAuthenticationError

        token_file.write_text("another")
        with (
            identity.WorkloadIdentityCredential(
                tenant_id=entra.tenant,
                client_id=entra.client,
                token_file_path=str(token_file),
                **trusting,
            ) as credential,
            pytest.raises(ClientAuthenticationError, match="AADSTS700213"),
        ):
            credential.get_token(SCOPE)


class TestManaged:
    @pytest.fixture
    def standin(self) -> Iterator[ManagedIdentityStandin]:
        with ManagedIdentityStandin() as standin:
            yield standin

    @pytest.fixture(params=["app_service", "virtual_machine"])
    def environment(
        self,
        request: pytest.FixtureRequest,
        standin: ManagedIdentityStandin,
        monkeypatch: pytest.MonkeyPatch,
    ) -> str:
        for name, value in getattr(standin, request.param).items():
            monkeypatch.setenv(name, value)
        return str(request.param)

    @pytest.mark.parametrize("client", [None, ManagedIdentityStandin.client])
    def test_gets_a_token(
        self,
        identity: Any,
        standin: ManagedIdentityStandin,
        environment: str,
        client: str | None,
    ) -> None:
        with identity.ManagedIdentityCredential(client_id=client, **OWN) as credential:
            assert credential.get_token(SCOPE).token in standin.tokens
        assert standin.seen[0].query["resource"] == "https://cognitiveservices.azure.com"
        assert standin.seen[0].query.get("client_id") == client

    def test_refuses_an_unknown_identity(
        self, identity: Any, standin: ManagedIdentityStandin, environment: str
    ) -> None:
        from azure.core.exceptions import ClientAuthenticationError

        with (
            identity.ManagedIdentityCredential(client_id="unknown", **OWN) as credential,
            pytest.raises(ClientAuthenticationError),
        ):
            credential.get_token(SCOPE)

    def test_refuses_a_wrong_header(
        self,
        identity: Any,
        standin: ManagedIdentityStandin,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from azure.core.exceptions import ClientAuthenticationError

        for name, value in (standin.app_service | {"IDENTITY_HEADER": "wrong"}).items():
            monkeypatch.setenv(name, value)
        with (
            identity.ManagedIdentityCredential(**OWN) as credential,
            pytest.raises(ClientAuthenticationError),
        ):
            credential.get_token(SCOPE)

    def test_needs_what_keeps_others_out(self, standin: ManagedIdentityStandin) -> None:
        query = "api-version=2018-02-01&resource=https://cognitiveservices.azure.com/"
        url = f"{standin.url}/metadata/identity/oauth2/token?{query}"
        assert requests.get(url).status_code == 400
        assert requests.get(url, headers={"Metadata": "true"}).status_code == 200
