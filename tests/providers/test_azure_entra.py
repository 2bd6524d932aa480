"""Tokens of Microsoft Entra that the gateway gets itself, and who may have it do so."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from flask_portkey_files import (
    Fallback,
    FilesCall,
    FilesError,
    HeaderResolver,
    Operation,
    Retry,
    Target,
)
from flask_portkey_files.errors import InvalidRoute, MissingCredential
from flask_portkey_files.identity import (
    EntraTokens,
    Grant,
    TokenRefused,
    TokenUnavailable,
)
from flask_portkey_files.providers.azure import SCOPE, AzureOpenAI
from flask_portkey_files.providers.azure_ai import PROJECT_SCOPE, AzureAI
from tests.providers.gateway import Gateway
from tests.standins.azure import AzureDatedStandin, AzureV1Standin, FoundryStandin
from tests.standins.entra import (
    Certificate,
    EntraStandin,
    ManagedIdentityStandin,
    make_certificate,
)
from tests.support.parts import require

FILE = ("batch.jsonl", b'{"custom_id": "1"}\n', "application/jsonl")
LIST = FilesCall(operation=Operation.LIST)
APPLICATION = {
    "azure_auth_mode": "entra",
    "azure_entra_tenant_id": EntraStandin.tenant,
    "azure_entra_client_id": EntraStandin.client,
    "azure_entra_client_secret": EntraStandin.key,
}
GRANT = Grant("entra", SCOPE, EntraStandin.client, EntraStandin.tenant, EntraStandin.key)


@pytest.fixture(scope="module")
def identity() -> None:
    # What is asked for a part of a package that is missing altogether raises.
    found = importlib.util.find_spec("azure") and importlib.util.find_spec("azure.identity")
    require(found, "pip install azure-identity")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    require(shutil.which("openssl"), "apt-get install openssl")
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def entra(identity: None, certificate: Certificate) -> Iterator[EntraStandin]:
    with EntraStandin(certificate) as standin:
        yield standin


@pytest.fixture
def tokens(entra: EntraStandin) -> EntraTokens:
    return _tokens(entra)


def _tokens(entra: EntraStandin, **options: Any) -> EntraTokens:
    verify = str(entra.certificate.authority)
    return EntraTokens(
        **{
            "authority": entra.url,
            "connection_verify": verify,
            "retry_total": 0,
            **options,
        }
    )


@pytest.fixture
def machine(
    identity: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ManagedIdentityStandin]:
    """The machine's own identity."""
    with ManagedIdentityStandin() as standin:
        for name, value in standin.app_service.items():
            monkeypatch.setenv(name, value)
        yield standin


@pytest.fixture
def pod(entra: EntraStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pod's own identity, by its token file."""
    path = tmp_path / "token"
    path.write_text(entra.assertion)
    monkeypatch.setenv("AZURE_TENANT_ID", entra.tenant)
    monkeypatch.setenv("AZURE_CLIENT_ID", entra.client)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(path))
    return path


def _issued(entra: EntraStandin) -> int:
    return sum(seen.method == "POST" for seen in entra.seen)


class TestThroughTheGateway:
    """A client's own application, named in headers."""

    @pytest.fixture(params=["dated", "v1", "foundry", "project"])
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def standin(self, kind: str, entra: EntraStandin) -> Iterator[Any]:
        standins = {"dated": AzureDatedStandin, "v1": AzureV1Standin}
        with standins.get(kind, FoundryStandin)(tokens=entra.tokens) as standin:
            yield standin

    @pytest.fixture
    def gateway(self, kind: str, tokens: EntraTokens, standin: Any) -> Iterator[Gateway]:
        paths = {"dated": "/openai", "v1": "/openai", "project": "/api/projects/one"}
        provider = AzureAI(tokens=tokens) if kind[0] in "fp" else AzureOpenAI(tokens=tokens)
        resolver = HeaderResolver({"azure": provider})

        def resolve(call: FilesCall) -> Target:
            target = resolver(call)
            assert isinstance(target, Target)
            return replace(target, base_url=standin.url + paths.get(kind, "/models"))

        with Gateway({"azure": provider}, resolver=resolve) as gateway:
            yield gateway

    def client(self, gateway: Gateway, kind: str, **options: str) -> openai.OpenAI:
        given = APPLICATION | options
        if kind == "dated":
            given["azure_api_version"] = "2024-10-21"
        headers = {f"x_portkey_{name}": value for name, value in given.items()}
        return gateway.client("azure", "a-key", **headers)

    def test_everything(
        self, gateway: Gateway, kind: str, standin: Any, entra: EntraStandin
    ) -> None:
        with self.client(gateway, kind) as client:
            uploaded = client.files.create(file=FILE, purpose="batch")
            assert client.files.retrieve(uploaded.id).id == uploaded.id
            assert client.files.content(uploaded.id).read() == FILE[1]
            assert [file.id for file in client.files.list()] == [uploaded.id]
            assert client.files.delete(uploaded.id).deleted
        (token,) = entra.tokens
        for seen in standin.seen:
            assert seen.headers["Authorization"] == f"Bearer {token}"
            assert "api-key" not in seen.headers
            assert EntraStandin.key not in str(seen)
        assert _issued(entra) == 1

    @pytest.mark.parametrize(
        ("option", "code"),
        [
            ({"azure_entra_client_secret": "wrong"}, "AADSTS7000215"),
            ({"azure_entra_client_id": "unknown"}, "AADSTS700016"),
            ({"azure_entra_scope": "https://unknown.example/.default"}, "AADSTS500011"),
            ({"azure_entra_tenant_id": "unknown"}, "client credentials: see"),
        ],
    )
    def test_refused(
        self,
        gateway: Gateway,
        kind: str,
        standin: Any,
        caplog: pytest.LogCaptureFixture,
        option: dict[str, str],
        code: str,
    ) -> None:
        with (
            self.client(gateway, kind, **option) as client,
            pytest.raises(openai.AuthenticationError, match=code) as caught,
        ):
            client.files.create(file=FILE, purpose="batch")
        said = caught.value.response.text
        assert caught.value.code == "invalid_api_key"
        for secret in (EntraStandin.tenant, EntraStandin.client, EntraStandin.key):
            assert secret not in said
        assert EntraStandin.key not in caplog.text
        assert not standin.seen

    def test_entra_fails(
        self, gateway: Gateway, kind: str, standin: Any, entra: EntraStandin
    ) -> None:
        entra.fail(503, times=2)
        with (
            self.client(gateway, kind) as client,
            pytest.raises(openai.InternalServerError) as caught,
        ):
            client.files.list()
        assert (caught.value.status_code, caught.value.code) == (502, "entra_unavailable")
        assert not standin.seen

    def test_a_token_of_the_clients_own_wins(
        self, gateway: Gateway, kind: str, standin: Any, entra: EntraStandin
    ) -> None:
        token = entra.issue()
        with self.client(gateway, kind, azure_ad_token=token) as client:
            client.files.list()
        assert standin.seen[-1].headers["Authorization"] == f"Bearer {token}"
        assert not entra.seen

    def test_without_azure_identity(
        self,
        gateway: Gateway,
        kind: str,
        standin: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setitem(sys.modules, "azure.identity", None)
        with (
            self.client(gateway, kind) as client,
            pytest.raises(openai.InternalServerError) as caught,
        ):
            client.files.create(file=FILE, purpose="batch")
        assert caught.value.status_code == 501
        assert "flask-portkey-files[azure]" in str(caught.value)
        assert not standin.seen

    @pytest.mark.parametrize("mode", ["managed", "workload", "MANAGED"])
    def test_the_machines_identity_is_not_the_clients(
        self,
        gateway: Gateway,
        kind: str,
        standin: Any,
        machine: ManagedIdentityStandin,
        mode: str,
    ) -> None:
        with (
            self.client(gateway, kind, azure_auth_mode=mode) as client,
            pytest.raises(openai.BadRequestError) as caught,
        ):
            client.files.list()
        assert caught.value.param == "x-portkey-azure-auth-mode"
        assert not machine.seen
        assert not standin.seen


class TestTheMachinesOwnIdentity:
    """A target of the host's own; who else may not is in ``tests/unit/test_from_client.py``."""

    @pytest.mark.parametrize("client", [None, ManagedIdentityStandin.client])
    def test_managed(self, machine: ManagedIdentityStandin, client: str | None) -> None:
        options = {"azure_auth_mode": "managed"}
        if client:
            options["azure_managed_client_id"] = client
        provider = AzureOpenAI(tokens=EntraTokens(retry_total=0))
        with AzureV1Standin(tokens=machine.tokens) as standin:
            [file_id] = standin.seed(1)
            target = Target("azure", options=options, base_url=f"{standin.url}/openai")
            with (
                Gateway({"azure": provider}, resolver=lambda call: target) as gateway,
                gateway.client("any", "any") as files,
            ):
                assert [file.id for file in files.files.list()] == [file_id]
                assert files.files.retrieve(file_id).id == file_id
        assert [seen.query.get("client_id") for seen in machine.seen] == [client]
        assert machine.seen[0].query["resource"] == "https://cognitiveservices.azure.com"

    def test_managed_on_a_virtual_machine(
        self, identity: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with ManagedIdentityStandin() as machine:
            for name, value in machine.virtual_machine.items():
                monkeypatch.setenv(name, value)
            token = EntraTokens(retry_total=0).get(Grant("managed", SCOPE))
            assert token in machine.tokens

    @pytest.mark.parametrize("client", ["", EntraStandin.client])
    def test_workload(self, tokens: EntraTokens, pod: Path, client: str) -> None:
        options = {"azure_auth_mode": "workload", "azure_workload_client_id": client}
        provider = AzureAI(tokens=tokens)
        target = Target("azure-ai", options=options, base_url="https://x.example")
        request = next(provider.list(LIST, target))
        assert request.headers["Authorization"].startswith("Bearer eyJ-standin-token-")

    def test_that_it_has_none_is_not_the_callers_fault(
        self, machine: ManagedIdentityStandin, tokens: EntraTokens, pod: Path
    ) -> None:
        pod.write_text("another")
        grants = [Grant("managed", SCOPE, "unknown"), Grant("workload", SCOPE)]
        for grant, named in zip(grants, ("identity. ", "AADSTS700213"), strict=True):
            with pytest.raises(TokenUnavailable, match=named) as raised:
                tokens.get(grant)
            assert raised.value.status == 502
        pod.unlink()
        with pytest.raises(TokenUnavailable) as raised:
            tokens.get(grants[1])
        assert str(pod) not in str(raised.value)

    def test_no_workload_at_all(
        self, tokens: EntraTokens, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(TokenUnavailable):
            tokens.get(Grant("workload", SCOPE))


class TestOptions:
    @pytest.mark.parametrize("missing", [name for name in APPLICATION if "entra" in name])
    def test_missing(self, missing: str) -> None:
        options = {name: value for name, value in APPLICATION.items() if name != missing}
        target = Target("azure", options=options, base_url="https://x.example")
        with pytest.raises(MissingCredential, match=f"needs: {missing}"):
            AzureOpenAI().check(LIST, target)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("azure_auth_mode", "magic"),
            ("azure_entra_tenant_id", "../x"),
            ("azure_entra_tenant_id", "a/b"),
            ("azure_entra_client_id", "a b"),
            ("azure_entra_scope", "https://x.example"),
            ("azure_entra_scope", "https://x.example/.default https://y.example/.default"),
        ],
    )
    def test_not_valid(self, option: str, value: str) -> None:
        options = APPLICATION | {option: value}
        target = Target("azure", options=options, base_url="https://x.example")
        with pytest.raises(InvalidRoute) as raised:
            AzureOpenAI().check(LIST, target)
        assert raised.value.param == f"x-portkey-{option.replace('_', '-')}"

    @pytest.mark.parametrize(
        ("provider", "path", "version", "scope", "expected"),
        [
            (AzureOpenAI, "", "", "", SCOPE),
            (AzureAI, "/models", "", "", SCOPE),
            (AzureAI, "/api/projects/one", "", "", PROJECT_SCOPE),
            (AzureAI, "/api/projects/one", "v1", "", PROJECT_SCOPE),
            (AzureAI, "/api/projects/one", "2024-10-21", "", SCOPE),
            (AzureAI, "/api/projects/one", "", "https://x/.default", "https://x/.default"),
            (AzureOpenAI, "", "", "https://x/.default", "https://x/.default"),
        ],
    )
    def test_what_a_token_is_for(
        self,
        provider: type[AzureOpenAI],
        path: str,
        version: str,
        scope: str,
        expected: str,
    ) -> None:
        asked: list[Grant] = []

        class Tokens(EntraTokens):
            def check(self) -> None:
                pass

            def get(self, grant: Grant) -> str:
                asked.append(grant)
                return "token"

        options = {
            **APPLICATION,
            **({"azure_api_version": version} if version else {}),
            **({"azure_entra_scope": scope} if scope else {}),
        }
        target = Target("azure", options=options, base_url=f"https://x.example{path}")
        used = provider(tokens=Tokens())
        used.check(LIST, target)
        assert not asked
        request = next(used.list(LIST, target))
        assert request.headers["Authorization"] == "Bearer token"
        assert asked == [replace(GRANT, scope=expected)]


class TestTokens:
    def test_they_are_held(self, tokens: EntraTokens, entra: EntraStandin) -> None:
        first = tokens.get(GRANT)
        assert tokens.get(replace(GRANT)) == first
        other = tokens.get(replace(GRANT, scope=PROJECT_SCOPE))
        assert other != first
        assert _issued(entra) == 2

    def test_by_the_secret_too(self, tokens: EntraTokens) -> None:
        tokens.get(GRANT)
        with pytest.raises(TokenRefused):
            tokens.get(replace(GRANT, secret="guessed"))

    def test_no_more_than_allowed(self, entra: EntraStandin) -> None:
        tokens = _tokens(entra, most=2)
        other = replace(GRANT, scope=PROJECT_SCOPE)
        tokens.get(GRANT)
        tokens.get(other)
        # Failures push nothing out.
        for number in range(3):
            with pytest.raises(FilesError):
                tokens.get(replace(GRANT, secret=f"guessed-{number}"))
        tokens.get(GRANT)
        tokens.get(other)
        assert _issued(entra) == 2 + 3

    def test_the_one_unused_for_longest_goes(self, entra: EntraStandin) -> None:
        tokens = _tokens(entra, most=1)
        first = tokens.get(GRANT)
        tokens.get(replace(GRANT, scope=PROJECT_SCOPE))
        assert tokens.get(GRANT) != first
        assert _issued(entra) == 3

    def test_for_many_threads(self, tokens: EntraTokens, entra: EntraStandin) -> None:
        barrier = threading.Barrier(8)

        def get(_: int) -> str:
            barrier.wait()
            return tokens.get(GRANT)

        with ThreadPoolExecutor(8) as pool:
            got = set(pool.map(get, range(8)))
        assert got <= entra.tokens
        held = tokens.get(GRANT)
        assert held in got

    def test_entra_is_not_trusted_blindly(self, entra: EntraStandin) -> None:
        with pytest.raises(TokenUnavailable):
            _tokens(entra, connection_verify=True).get(GRANT)
        assert not entra.tokens

    def test_nobody_there(self, identity: None, certificate: Certificate) -> None:
        standin = EntraStandin(certificate)
        with standin:
            tokens = _tokens(standin)
        with pytest.raises(TokenUnavailable) as raised:
            tokens.get(GRANT)
        assert raised.value.sent is False

    def test_a_secret_is_in_no_repr(self) -> None:
        assert EntraStandin.key not in repr(GRANT)
        assert EntraStandin.key not in repr(GRANT.key)


def test_a_fallback_goes_on_where_entra_refuses(tokens: EntraTokens) -> None:
    with AzureV1Standin() as standin:
        [file_id] = standin.seed(1)
        base = f"{standin.url}/openai"
        wrong = APPLICATION | {"azure_entra_client_secret": "wrong"}
        route = Fallback(
            [
                Target("azure", options=wrong, base_url=base),
                Target("azure", api_key=standin.key, base_url=base),
            ]
        )
        provider = AzureOpenAI(tokens=tokens)
        with (
            Gateway({"azure": provider}, resolver=lambda call: route) as gateway,
            gateway.client("any", "any") as client,
        ):
            assert client.files.retrieve(file_id).id == file_id
            uploaded = client.files.create(file=FILE, purpose="batch")
        assert b"".join(standin.files[uploaded.id].blocks()) == FILE[1]


def test_a_retry_gets_its_token(tokens: EntraTokens, entra: EntraStandin) -> None:
    with AzureV1Standin(tokens=entra.tokens) as standin:
        target = Target(
            "azure", options=APPLICATION, base_url=f"{standin.url}/openai", retry=Retry(1)
        )
        provider = AzureOpenAI(tokens=tokens)
        with Gateway({"azure": provider}, resolver=lambda call: target) as gateway:
            entra.fail(503)
            assert requests.get(f"{gateway.url}/v1/files").status_code == 200
