"""Where Azure's tokens come from: Microsoft Entra, and the endpoints of managed identities."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request, Response

from .base import Standin, json_response

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME = 3600
#: What the tenant's applications may get tokens for.
RESOURCES = frozenset({"https://cognitiveservices.azure.com", "https://ai.azure.com"})


@dataclass(frozen=True)
class Certificate:
    """A server's certificate for loopback, and the authority that vouches for it."""

    authority: Path
    chain: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    """Have openssl make a certificate for loopback and its authority.

    :raises RuntimeError: openssl is missing or too old.
    """
    if (openssl := shutil.which("openssl")) is None:
        raise RuntimeError("openssl is needed: apt-get install openssl")
    made = Certificate(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    authority_key = folder / "authority.key"
    new = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    commands = [
        [
            *new.split(),
            *("-subj", "/CN=Stand-in authority"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(authority_key), "-out", str(made.authority)),
        ],
        [
            *new.split(),
            *("-subj", "/CN=127.0.0.1"),
            *("-CA", str(made.authority), "-CAkey", str(authority_key)),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(made.key), "-out", str(made.chain)),
        ],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
    return made


class _TokenStandin(Standin):
    """What issues access tokens."""

    def __init__(self) -> None:
        super().__init__()
        #: Every token that was issued; a stand-in of Azure can be given this very set.
        self.tokens: set[str] = set()

    def issue(self) -> str:
        """Return a new token."""
        token = f"eyJ-standin-token-{self.next_id()}"
        self.tokens.add(token)
        return token

    def seed(self, count: int, **options: Any) -> list[str]:
        """Issue tokens, as if somebody had asked for them."""
        return [self.issue() for _ in range(count)]


class EntraStandin(_TokenStandin):
    """A tenant of Microsoft Entra with one application.

    Its libraries accept no authority but one of https, so it is served with a certificate.
    """

    source: ClassVar[str] = (
        "azure-identity 1.27.0, _credentials/client_secret.py, workload_identity.py, "
        "_internal/utils.py; msal 1.39.0, authority.py, oauth2cli/oauth2.py; "
        "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow"
    )
    #: The application's secret.
    key: ClassVar[str] = "standin-client-secret"
    tenant: ClassVar[str] = "11111111-2222-3333-4444-555555555555"
    client: ClassVar[str] = "66666666-7777-8888-9999-000000000000"
    #: What the workload's token file has to contain.
    assertion: ClassVar[str] = "eyJ-standin-service-account-token"

    def __init__(self, certificate: Certificate) -> None:
        super().__init__()
        self.certificate = certificate
        self.ssl_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ssl_context.load_cert_chain(certificate.chain, certificate.key)

    @property
    def url(self) -> str:
        """The authority."""
        return super().url.replace("http:", "https:")

    def answer(self, request: Request) -> Response:
        """Route the request."""
        match request.method, request.path.split("/")[1:]:
            case "GET", [tenant, "v2.0", ".well-known", "openid-configuration"]:
                return self._tenant(tenant) or json_response(self._configuration())
            case "POST", [tenant, "oauth2", "v2.0", "token"]:
                return self._tenant(tenant) or self.token(request)
        raise NotFound

    def _tenant(self, tenant: str) -> Response | None:
        if tenant == self.tenant:
            return None
        return self.refuse(400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.")

    def _configuration(self) -> dict[str, Any]:
        base = f"{self.url}/{self.tenant}"
        return {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "issuer": f"{base}/v2.0",
            "token_endpoint_auth_methods_supported": [
                "client_secret_post",
                "private_key_jwt",
                "client_secret_basic",
            ],
        }

    def token(self, request: Request) -> Response:
        """Issue a token for the application's secret or for its workload's token."""
        form = {
            name: values[0] for name, values in parse_qs(request.get_data(as_text=True)).items()
        }
        if form.get("grant_type") != "client_credentials":
            return self.refuse(400, "unsupported_grant_type", 70003, "Unsupported grant type.")
        if form.get("client_id") != self.client:
            message = f"Application with identifier '{form.get('client_id')}' was not found."
            return self.refuse(400, "unauthorized_client", 700016, message)
        if "client_assertion" in form:
            if form.get("client_assertion_type") != ASSERTION_TYPE:
                return self.refuse(400, "invalid_request", 900144, "No client_assertion_type.")
            if form["client_assertion"] != self.assertion:
                message = "No matching federated identity record found."
                return self.refuse(401, "invalid_client", 700213, message)
        elif form.get("client_secret") != self.key:
            return self.refuse(
                401, "invalid_client", 7000215, "Invalid client secret provided."
            )
        resource, found, _ = form.get("scope", "").rpartition("/.default")
        if not found:
            return self.refuse(
                400, "invalid_scope", 1002012, "The scope must end in /.default."
            )
        if resource not in RESOURCES:
            message = f"The resource principal named {resource} was not found in the tenant."
            return self.refuse(400, "invalid_resource", 500011, message)
        return json_response(
            {
                "token_type": "Bearer",
                "expires_in": LIFETIME,
                "ext_expires_in": LIFETIME,
                "access_token": self.issue(),
            }
        )

    def refuse(self, status: int, error: str, number: int, message: str) -> Response:
        """Return an error as OAuth has it, with Entra's numbers."""
        return json_response(
            {
                "error": error,
                "error_description": f"AADSTS{number}: {message}",
                "error_codes": [number],
                "timestamp": time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime()),
                "trace_id": "00000000-0000-0000-0000-000000000000",
                "correlation_id": "00000000-0000-0000-0000-000000000000",
            },
            status,
        )

    def error(self, status: int) -> Response:
        """Return Entra's error of this status."""
        error = "temporarily_unavailable" if status >= 500 else "invalid_request"
        return self.refuse(status, error, 90033, f"refused: {status}")


class ManagedIdentityStandin(_TokenStandin):
    """The two places where a managed identity's token comes from.

    ``/msi/token`` is App Service's, to be named by ``IDENTITY_ENDPOINT``; the path of the
    instance metadata service is a virtual machine's, to be reached by
    ``AZURE_POD_IDENTITY_AUTHORITY_HOST``.
    """

    source: ClassVar[str] = (
        "azure-identity 1.27.0, _credentials/app_service.py, imds.py; msal 1.39.0, "
        "managed_identity.py; https://learn.microsoft.com/entra/identity/"
        "managed-identities-azure-resources/how-to-use-vm-token"
    )
    #: What App Service's ``IDENTITY_HEADER`` has to be.
    key: ClassVar[str] = "standin-identity-header"
    #: The identity that can be named; without a name the system's own one is meant.
    client: ClassVar[str] = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

    @property
    def app_service(self) -> dict[str, str]:
        """The environment of an App Service."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/msi/token", "IDENTITY_HEADER": self.key}

    @property
    def virtual_machine(self) -> dict[str, str]:
        """The environment that has a virtual machine's credential come here."""
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": self.url}

    def answer(self, request: Request) -> Response:
        """Route the request."""
        match request.method, request.path:
            case "GET", "/msi/token":
                return self._app_service_token(request)
            case "GET", "/metadata/identity/oauth2/token":
                return self._virtual_machine_token(request)
        raise NotFound

    def _app_service_token(self, request: Request) -> Response:
        if request.headers.get("X-IDENTITY-HEADER") != self.key:
            return self._app_service_error(403, "The identity header is wrong.")
        if request.args.get("api-version") != "2019-08-01":
            return self._app_service_error(400, "The api-version is not supported.")
        if not self._is_known(request):
            return self._app_service_error(400, "No User Assigned identity found.")
        return json_response(
            {
                "access_token": self.issue(),
                "expires_on": str(int(time.time()) + LIFETIME),
                "resource": request.args["resource"],
                "token_type": "Bearer",
                "client_id": request.args.get("client_id", self.client),
            }
        )

    def _virtual_machine_token(self, request: Request) -> Response:
        if request.headers.get("Metadata") != "true":
            return self._virtual_machine_error(400, "Required metadata header not specified")
        if request.args.get("api-version") != "2018-02-01":
            return self._virtual_machine_error(400, "The api-version is not supported.")
        if not self._is_known(request):
            return self._virtual_machine_error(400, "Identity not found")
        now = int(time.time())
        # Numbers are texts here.
        return json_response(
            {
                "access_token": self.issue(),
                "client_id": request.args.get("client_id", self.client),
                "expires_in": str(LIFETIME),
                "expires_on": str(now + LIFETIME),
                "ext_expires_in": str(LIFETIME),
                "not_before": str(now),
                "resource": request.args["resource"],
                "token_type": "Bearer",
            }
        )

    def _is_known(self, request: Request) -> bool:
        resource = request.args.get("resource", "").rstrip("/")
        return (
            resource in RESOURCES and request.args.get("client_id", self.client) == self.client
        )

    def _app_service_error(self, status: int, message: str) -> Response:
        return json_response({"statusCode": status, "message": message}, status)

    def _virtual_machine_error(self, status: int, message: str) -> Response:
        return json_response({"error": "invalid_request", "error_description": message}, status)

    def error(self, status: int) -> Response:
        """Return the metadata service's error of this status."""
        return self._virtual_machine_error(status, f"refused: {status}")
