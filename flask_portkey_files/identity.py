"""Access tokens of Microsoft Entra: the only module that uses azure-identity.

The contract: https://learn.microsoft.com/python/api/azure-identity/azure.identity
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from .errors import UnsupportedOperation, UpstreamError

ENTRA = "entra"
MANAGED = "managed"
WORKLOAD = "workload"

#: Where tokens may come from: an application's secret, or the two identities that the machine
#: itself has, which are nobody's but the host's.
MODES = (ENTRA, MANAGED, WORKLOAD)
HOST_MODES = frozenset({MANAGED, WORKLOAD})

#: How many credentials are held at most, each with its tokens.
MAX_HELD = 256

#: What a thread waits for a token: seconds for a connection, then for the answer, and how
#: often it is tried again. Proxies and the like in the environment are not looked at, as
#: nowhere in this package.
WAITING = {
    "connection_timeout": 3,
    "read_timeout": 10,
    "retry_total": 1,
    "use_env_settings": False,
}

_CODE = re.compile(r"AADSTS([0-9]{1,12})")
# A transient error, and a tenant that asks too much: nothing is wrong with the credentials.
_PASSING = frozenset({"90033", "90055"})


@dataclass(frozen=True)
class Grant:
    """What a token is asked for with.

    :param mode: one of :data:`MODES`.
    :param scope: what the token is for.
    :param client: the application's id, or that of the identity; the host's own if empty.
    :param tenant: the tenant of the application.
    :param secret: the application's secret.
    """

    mode: str
    scope: str
    client: str = ""
    tenant: str = ""
    secret: str = field(default="", repr=False)

    @property
    def key(self) -> tuple[str, ...]:
        """What two grants have in common that get the same tokens; the secret is hashed."""
        digest = hashlib.sha256(self.secret.encode("utf-8", "surrogatepass")).hexdigest()
        return (self.mode, self.tenant, self.client, digest, self.scope)


class TokenUnavailable(UpstreamError):
    """No token could be got, and that is not the caller's fault (502)."""

    default_code = "entra_unavailable"
    #: The provider itself has not been asked for anything.
    sent = False


class TokenRefused(UpstreamError):
    """Entra takes the credentials for wrong (401), as a provider does with a wrong key."""

    status = 401
    type = "invalid_request_error"
    default_code = "invalid_api_key"
    sent = False


class EntraTokens:
    """Gets tokens and holds them until they expire, for all threads of a process.

    :param authority: where tokens for ``entra`` and ``workload`` come from, an https address;
        if absent, what the environment variable ``AZURE_AUTHORITY_HOST`` says, else the public
        cloud. It is the host's choice alone: secrets are sent there.
    :param most: how many credentials are held; beyond that, the one unused for longest goes.
    :param options: further arguments for each of azure-identity's credentials, such as
        ``proxies``, ``connection_verify`` or ``retry_total``.
    """

    def __init__(
        self, *, authority: str | None = None, most: int = MAX_HELD, **options: Any
    ) -> None:
        self._authority = authority
        self._most = most
        self._options = {**WAITING, **options}
        self._held: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def check(self) -> None:
        """See whether azure-identity is there.

        :raises UnsupportedOperation: it is not.
        """
        _library()

    def get(self, grant: Grant) -> str:
        """Return a token that is still valid.

        It blocks while one is fetched, for as long as :data:`WAITING` allows; otherwise it
        comes from memory.

        :raises TokenRefused: Entra refuses the application's credentials.
        :raises TokenUnavailable: no token can be had for another reason.
        :raises UnsupportedOperation: azure-identity is not installed.
        """
        library = _library()
        with self._lock:
            credential = self._held.get(grant.key)
        try:
            if credential is None:
                credential = self._credential(library, grant)
            token: str = credential.get_token(grant.scope).token
        except Exception as error:
            # Its own words name tenants and applications, and so go to azure-identity's
            # logger alone.
            raise _explained(error, grant) from None
        with self._lock:
            # Only what has got a token is held: wrong secrets push nobody's out.
            self._held[grant.key] = credential
            self._held.move_to_end(grant.key)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return token

    def _credential(self, library: Any, grant: Grant) -> Any:
        if grant.mode == MANAGED:
            return library.ManagedIdentityCredential(
                client_id=grant.client or None, **self._options
            )
        options = self._options
        if self._authority:
            # Whoever names an authority vouches for it.
            options = {
                **options,
                "authority": self._authority,
                "disable_instance_discovery": True,
            }
        if grant.mode == WORKLOAD:
            return library.WorkloadIdentityCredential(client_id=grant.client or None, **options)
        return library.ClientSecretCredential(
            grant.tenant, grant.client, grant.secret, **options
        )


def _library() -> Any:
    """Return azure-identity.

    :raises UnsupportedOperation: it is not installed.
    """
    try:
        import azure.identity
    except ImportError:
        raise UnsupportedOperation(
            "This gateway can't get tokens from Microsoft Entra: install "
            "flask-portkey-files[azure] where it runs, or send a token of your own in "
            "x-portkey-azure-ad-token.",
            param="x-portkey-azure-auth-mode",
            code="missing_extra",
        ) from None
    return azure.identity


def _explained(error: Exception, grant: Grant) -> UpstreamError:
    """Return what went wrong in words that give nothing away."""
    found = _CODE.search(str(error))
    named = f" (AADSTS{found[1]})" if found else ""
    if grant.mode in HOST_MODES:
        return TokenUnavailable(
            f"The gateway got no token for its own {grant.mode} identity{named}. Its log has "
            "more from azure.identity."
        )
    answer = getattr(error, "response", None)
    passing = getattr(answer, "status_code", 0) >= 500 or (found and found[1] in _PASSING)
    # msal has a ValueError for a tenant that there is not.
    if not passing and (found or isinstance(error.__cause__, ValueError)):
        return TokenRefused(
            f"Microsoft Entra refused the client credentials{named}: see that the tenant id, "
            "the client id, the client secret and the scope are right, and that the secret has "
            "not expired."
        )
    return TokenUnavailable(f"Microsoft Entra could not be asked for a token{named}.")
