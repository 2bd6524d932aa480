"""Google's access tokens, by google-auth: the only module that imports it.

The facts: https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from .errors import (
    InvalidCredential,
    InvalidRoute,
    MissingCredential,
    UnsupportedOperation,
    UpstreamError,
)

#: Where Google issues tokens.
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - no secret

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

#: How many accounts' tokens are kept at most.
MAX_ACCOUNTS = 256

#: Seconds to wait for a token.
TIMEOUT = 10

_NAMES = ("private_key", "client_email")


def require() -> None:
    """Make sure that google-auth is there.

    :raises UnsupportedOperation: it is not.
    """
    _module("google.auth.transport.requests")


class Tokens:
    """Gets access tokens and keeps them until shortly before they run out.

    :param token_uri: where tokens are asked for. What a service account's JSON says of that is
        not heeded: it would have the gateway send requests wherever a client likes.
    """

    def __init__(self, token_uri: str = TOKEN_URI) -> None:
        self._token_uri = token_uri
        self._accounts: OrderedDict[bytes, _Account] = OrderedDict()
        self._lock = threading.Lock()
        self._default = _Account(_default)

    def of(self, account: str) -> str:
        """Return a token of the service account whose key file's text is *account*.

        It may ask for a token, and wait for it.

        :raises InvalidRoute: the text is no such file.
        :raises InvalidCredential: Google refuses the account.
        :raises UpstreamError: Google can't be reached.
        """
        digest = hashlib.sha256(account.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            kept = self._accounts.get(digest)
            if kept is None:
                kept = self._accounts[digest] = _Account(
                    lambda: _service_account(account, self._token_uri)
                )
        try:
            token = kept.token()
        except BaseException:
            # What gets no token is not kept, and pushes nobody's out.
            with self._lock:
                self._accounts.pop(digest, None)
            raise
        with self._lock:
            self._accounts[digest] = kept
            self._accounts.move_to_end(digest)
            while len(self._accounts) > MAX_ACCOUNTS:
                self._accounts.popitem(last=False)
        return token

    def default(self) -> str:
        """Return a token of the host's application default credentials.

        It may ask for a token, and wait for it.

        :raises MissingCredential: there are none.
        :raises InvalidCredential: Google refuses them.
        :raises UpstreamError: Google can't be reached.
        """
        return self._default.token()


class _Account:
    """Credentials, made when they are needed first."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._credentials: Any = None

    def token(self) -> str:
        errors = _module("google.auth.exceptions")
        with self._lock:
            try:
                if self._credentials is None:
                    self._credentials = self._make()
                if not self._credentials.valid:
                    _refresh(self._credentials)
            except errors.DefaultCredentialsError as error:
                raise MissingCredential(
                    "The gateway's machine has no Google application default credentials."
                ) from error
            except errors.TransportError as error:
                raise UpstreamError("Could not reach Google's token endpoint.") from error
            except errors.RefreshError as error:
                if error.retryable:
                    raise UpstreamError("Google's token endpoint failed.") from error
                raise InvalidCredential(
                    "Google refused the service account's key; make a new one."
                ) from error
            except errors.GoogleAuthError as error:
                raise UpstreamError(
                    f"Could not get a Google access token: {type(error).__name__}."
                ) from error
            token: str = self._credentials.token
            return token


def _refresh(credentials: Any) -> None:
    request = _module("google.auth.transport.requests").Request()
    with request.session as session:
        # Neither a netrc file nor a proxy of the environment has a say.
        session.trust_env = False
        credentials.refresh(partial(request, timeout=TIMEOUT))


def _service_account(text: str, token_uri: str) -> Any:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise _no_account() from None
    if not isinstance(given, dict) or given.get("type") != "service_account":
        raise _no_account()
    if not all(isinstance(given.get(name), str) and given[name] for name in _NAMES):
        raise _no_account()
    # Nothing else of the file: some of its fields would lead elsewhere.
    info = {name: given[name] for name in _NAMES}
    key_id = given.get("private_key_id")
    info["private_key_id"] = key_id if isinstance(key_id, str) else ""
    make = _module("google.oauth2.service_account").Credentials.from_service_account_info
    try:
        return make({**info, "token_uri": token_uri}, scopes=[SCOPE])
    except Exception:
        # Whatever the library that reads the key raises.
        raise _no_account() from None


def _default() -> Any:
    credentials, _ = _module("google.auth").default(scopes=[SCOPE])
    return credentials


def _no_account() -> InvalidRoute:
    return InvalidRoute(
        "The header x-portkey-vertex-service-account-json must hold the JSON of a service "
        "account's key file.",
        param="x-portkey-vertex-service-account-json",
    )


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        # google-auth's transport raises one of its own where requests is missing.
        raise UnsupportedOperation(
            "This gateway can't get Google's access tokens: what that takes is not installed "
            "(pip install 'flask-portkey-files[vertex]').",
            code="missing_extra",
        ) from None
