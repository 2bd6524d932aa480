"""Amazon's credentials and signatures, by botocore: the only module that imports it.

The facts: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
and https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from werkzeug.datastructures import Headers

from .errors import InvalidCredential, MissingCredential, UnsupportedOperation, UpstreamError

#: How many roles' credentials are kept at most.
MAX_ROLES = 256

#: Seconds to connect to STS, and to wait for what it says.
CONNECT_TIMEOUT, READ_TIMEOUT = 5, 10

UNSIGNED = "UNSIGNED-PAYLOAD"

#: Codes by which Amazon says that the credentials themselves are wrong.
WRONG_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)


class RoleDenied(InvalidCredential):
    """The role may not be assumed with these credentials (403)."""

    status = 403
    default_code = "role_denied"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """On whose behalf requests are signed.

    :param key_id: the access key's id; ``None`` for the default chain of the host.
    :param role_arn: the role to assume, if any.
    :param region: the region whose STS is asked for the role.
    """

    key_id: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    role_arn: str | None = None
    external_id: str | None = field(default=None, repr=False)
    region: str

    def digest(self) -> bytes:
        """Return what tells this identity from every other, without its secrets."""
        # Not by their repr: that of a secret is the same for all.
        return hashlib.sha256(json.dumps(list(vars(self).values())).encode()).digest()


def require() -> None:
    """Make sure that botocore is there.

    :raises UnsupportedOperation: it is not.
    """
    _module("botocore.session")


def sign(method: str, url: str, headers: Headers, credentials: Any, *, region: str) -> None:
    """Add the signature of a request to S3 to its *headers*; the body is left unsigned.

    Signed are the host, the content type and what is Amazon's own. What else is sent may be
    changed on the way, as a proxy changes ``Accept-Encoding``.

    :param credentials: as :meth:`Credentials.find` returns them.
    """
    auth = _module("botocore.auth").S3SigV4Auth(credentials, "s3", region)
    # Of itself it hashes a whole body that goes over plain HTTP.
    auth.payload = lambda request: UNSIGNED  # noqa: ARG005
    own = {
        name: value
        for name, value in headers.items()
        if name.lower() == "content-type" or name.lower().startswith("x-amz-")
    }
    request = _module("botocore.awsrequest").AWSRequest(method=method, url=url, headers=own)
    auth.add_auth(request)
    for name, value in request.headers.items():
        headers.set(name, value)


class Credentials:
    """Finds credentials and keeps those of roles until shortly before they run out.

    :param sts_url: where STS is, if not at the region's own address.
    """

    def __init__(self, sts_url: str | None = None) -> None:
        self._sts_url = sts_url
        self._roles: OrderedDict[bytes, _Role] = OrderedDict()
        self._lock = threading.Lock()
        self._default: Any = None

    def find(self, identity: Identity) -> Any:
        """Return credentials to sign with.

        It may ask STS, or what the default chain asks, and wait for the answer.

        :raises InvalidCredential: STS refuses the keys (401) or the role (403).
        :raises MissingCredential: the default chain finds nothing.
        :raises UpstreamError: STS can't be reached.
        """
        if identity.role_arn is not None:
            return _mapped(partial(self._of_role, identity))
        if identity.key_id is None:
            return _mapped(self._chain)
        credentials = _module("botocore.credentials")
        return credentials.ReadOnlyCredentials(identity.key_id, identity.secret, identity.token)

    def _chain(self) -> Any:
        """Return the credentials of the host's default chain."""
        with self._lock:
            if self._default is None:
                self._default = _module("botocore.session").Session().get_credentials()
            found = self._default
        if found is None:
            raise MissingCredential(
                "The gateway's machine has no AWS credentials in its default chain."
            )
        return found.get_frozen_credentials()

    def _of_role(self, identity: Identity) -> Any:
        """Return the credentials of the identity's role."""
        digest = identity.digest()
        with self._lock:
            role = self._roles.get(digest)
            if role is None:
                role = self._roles[digest] = _Role(lambda: self._assume(identity))
        try:
            found = role.credentials()
        except BaseException:
            # A role that can't be assumed is not kept, and pushes nobody's out.
            with self._lock:
                self._roles.pop(digest, None)
            raise
        with self._lock:
            self._roles[digest] = role
            self._roles.move_to_end(digest)
            while len(self._roles) > MAX_ROLES:
                self._roles.popitem(last=False)
        return found

    def _assume(self, identity: Identity) -> dict[str, Any]:
        """Assume the role, and return its credentials as botocore refreshes them."""
        source = self.find(_without_role(identity))
        session = _module("botocore.session").Session()
        client = session.create_client(
            "sts",
            region_name=identity.region,
            endpoint_url=self._sts_url,
            aws_access_key_id=source.access_key,
            aws_secret_access_key=source.secret_key,
            aws_session_token=source.token,
            config=_module("botocore.config").Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                retries={"total_max_attempts": 2},
            ),
        )
        wanted = {"RoleArn": identity.role_arn, "RoleSessionName": "flask-portkey-files"}
        if identity.external_id:
            wanted["ExternalId"] = identity.external_id
        with contextlib.closing(client):
            made = client.assume_role(**wanted)["Credentials"]
        return {
            "access_key": made["AccessKeyId"],
            "secret_key": made["SecretAccessKey"],
            "token": made["SessionToken"],
            "expiry_time": made["Expiration"].isoformat(),
        }


class _Role:
    """A role's credentials, which botocore renews."""

    def __init__(self, assume: Callable[[], dict[str, Any]]) -> None:
        self._assume = assume
        self._lock = threading.Lock()
        self._credentials: Any = None

    def credentials(self) -> Any:
        with self._lock:
            if self._credentials is None:
                refreshable = _module("botocore.credentials").RefreshableCredentials
                self._credentials = refreshable.create_from_metadata(
                    self._assume(), refresh_using=self._assume, method="assume-role"
                )
        return self._credentials.get_frozen_credentials()


def _without_role(identity: Identity) -> Identity:
    return Identity(
        key_id=identity.key_id,
        secret=identity.secret,
        token=identity.token,
        region=identity.region,
    )


def _mapped(find: Callable[[], Any]) -> Any:
    """Return what *find* does, with botocore's exceptions as ours.

    Their texts are left out: they name accounts and users.
    """
    errors = _module("botocore.exceptions")
    try:
        return find()
    except errors.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        if code in WRONG_CREDENTIALS:
            raise InvalidCredential(f"AWS refused the keys: {code}.") from error
        if 400 <= status < 500 and code != "Throttling":
            raise RoleDenied(
                f"AWS does not let these keys assume the role: {code}. Look at the role's "
                "ARN, its trust policy and its external id."
            ) from error
        raise UpstreamError(f"AWS STS answered {status} ({code}).") from error
    except errors.ParamValidationError as error:
        raise RoleDenied("The role's ARN or its external id is none that AWS takes.") from error
    except errors.BotoCoreError as error:
        raise UpstreamError(
            f"Could not get AWS credentials: {type(error).__name__}."
        ) from error


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise UnsupportedOperation(
            "This gateway can't sign requests to AWS: what that takes is not installed "
            "(pip install 'flask-portkey-files[bedrock]').",
            code="missing_extra",
        ) from None
