"""Google's token endpoint: a signed assertion, or a refresh token, for an access token."""

from __future__ import annotations

import base64
import json
import time
from typing import Any, ClassVar

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request, Response

from .base import Standin, json_response

EMAIL = "gateway@standin-project.iam.gserviceaccount.com"
PROJECT = "standin-project"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LONGEST = 3600
#: What google-auth writes into every assertion, wherever it sends it.
AUDIENCE = "https://oauth2.googleapis.com/token"


class GoogleToken(Standin):
    """Issues tokens to one service account; also as the metadata server of a machine.

    A token is added to :attr:`tokens`, which a stand-in that takes tokens may share.
    """

    source: ClassVar[str] = (
        "google-auth, oauth2/_client.py, compute_engine/_metadata.py; "
        "https://developers.google.com/identity/protocols/oauth2/service-account"
    )

    def __init__(self, tokens: set[str] | None = None, *, lives: int = 3599) -> None:
        """Issue tokens that live so many seconds."""
        from cryptography.hazmat.primitives.asymmetric import rsa

        super().__init__()
        self.tokens = set() if tokens is None else tokens
        self.lives = lives
        #: The claims of the assertions that were taken.
        self.claims: list[dict[str, Any]] = []
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def account(self, **changes: str) -> dict[str, str]:
        """Return the service account's key file."""
        from cryptography.hazmat.primitives import serialization

        pem = self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "standin-key-id",
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "100000000000000000001",
            "token_uri": self.token_uri,
            "universe_domain": "googleapis.com",
            **changes,
        }

    @property
    def token_uri(self) -> str:
        """Where tokens are to be had."""
        return f"{self.url}/token"

    def answer(self, request: Request) -> Response:
        """Route the request."""
        if request.path == "/token" and request.method == "POST":
            return self._grant(request)
        if request.method == "GET":
            return self._metadata(request)
        raise NotFound

    def error(self, status: int) -> Response:
        """Return OAuth's error."""
        kind = "internal_failure" if status >= 500 else "invalid_request"
        return self._error(kind, f"refused: {status}", status)

    def _error(self, kind: str, description: str, status: int = 400) -> Response:
        return json_response({"error": kind, "error_description": description}, status)

    def _grant(self, request: Request) -> Response:
        form = request.form
        if form.get("grant_type") != JWT_BEARER:
            return self._error("unsupported_grant_type", f"Invalid grant_type: {form}")
        claims = self._verified(form.get("assertion", ""))
        if claims is None:
            return self._error("invalid_grant", "Invalid JWT Signature.")
        if claims.get("iss") != EMAIL:
            return self._error("invalid_grant", "Invalid grant: account not found")
        if claims.get("aud") not in {AUDIENCE, self.token_uri}:
            return self._error("invalid_grant", "Invalid JWT: bad audience")
        issued, ends = claims.get("iat", 0), claims.get("exp", 0)
        if not issued - 300 <= time.time() <= ends or ends - issued > LONGEST:
            return self._error("invalid_grant", "Invalid JWT: not a short-lived token")
        if not claims.get("scope"):
            return self._error("invalid_scope", "Invalid OAuth scope or ID token audience")
        self.claims.append(claims)
        return self._issue()

    def _issue(self) -> Response:
        token = f"ya29.standin-{self.next_id()}"
        self.tokens.add(token)
        return json_response(
            {"access_token": token, "expires_in": self.lives, "token_type": "Bearer"}
        )

    def _verified(self, assertion: str) -> dict[str, Any] | None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        signed, _, signature = assertion.rpartition(".")
        try:
            self._private.public_key().verify(
                _decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            claims: dict[str, Any] = json.loads(_decoded(signed.partition(".")[2]))
        except (InvalidSignature, ValueError):
            return None
        return claims

    def _metadata(self, request: Request) -> Response:
        """Answer as the metadata server of a machine on Google's cloud."""
        if request.headers.get("Metadata-Flavor") != "Google":
            return Response("Missing Metadata-Flavor:Google header.", 403)
        flavor = {"Metadata-Flavor": "Google"}
        path = request.path.removeprefix("/computeMetadata/v1/")
        if path in {"/", "instance/service-accounts/default/"}:
            account = {"email": EMAIL, "scopes": [], "aliases": ["default"]}
            return json_response(account, headers=flavor)
        if path in {f"instance/service-accounts/{who}/token" for who in ("default", EMAIL)}:
            response = self._issue()
            response.headers.update(flavor)
            return response
        plain = {
            "project/project-id": PROJECT,
            "universe/universe-domain": "googleapis.com",
        }
        if path in plain:
            return Response(plain[path], headers=flavor)
        raise NotFound


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
