"""What can go wrong, each with the HTTP status and the OpenAI error body a client gets.

None of these is an ``OSError``: requests and urllib3 take an ``OSError`` raised by a body for
a failure of the connection to the provider, and a WSGI server takes one raised by a response
for a client that went away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar


class FilesError(Exception):
    """Anything the gateway itself has to say no to; the base of all its errors.

    :param message: what is wrong and what to do about it, shown to the client. It must not
        contain a credential.
    :param param: the field, header or path parameter at fault.
    :param code: a short machine-readable name; each class has its own default.
    """

    #: The HTTP status of the answer.
    status: ClassVar[int] = 500
    #: OpenAI's coarse class of the error, the ``type`` in the body.
    type: ClassVar[str] = "server_error"
    #: The ``code`` in the body, unless one is given.
    default_code: ClassVar[str | None] = None
    #: Headers that the answer carries besides its content type.
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.default_code

    def body(self) -> dict[str, object]:
        """Return the JSON body of the answer, OpenAI's error envelope."""
        return envelope(self.message, type=self.type, param=self.param, code=self.code)


def envelope(
    message: str,
    *,
    type: str,  # noqa: A002 - the envelope's own name for it
    param: str | None = None,
    code: str | None = None,
) -> dict[str, object]:
    """Return OpenAI's error envelope around *message*."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


class InvalidRequest(FilesError):
    """The client asked for something that can't be done as it stands (400)."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_request"


class InvalidRoute(InvalidRequest):
    """The headers name no provider, or one that can't be used (400).

    Clients of Portkey's own gateway look for ``status`` and ``message`` at the top of the
    body, clients of OpenAI for the envelope: the body has both.
    """

    default_code = "invalid_route"

    def body(self) -> dict[str, object]:
        """Return OpenAI's envelope with Portkey's two keys beside it."""
        return {"status": "failure", "message": self.message, **super().body()}


def invalid_provider() -> InvalidRoute:
    """Return the error for a provider that is not known, in Portkey's own words."""
    return InvalidRoute("Invalid provider passed", param="x-portkey-provider")


class InvalidConfig(InvalidRoute):
    """The config in ``x-portkey-config`` can't be used (400).

    :param faults: what is wrong with it, each as ``path: ..., message: ...``; Portkey's own
        gateway lists them in this form under ``errors``.
    """

    default_code = "invalid_config"

    def __init__(self, message: str, *, faults: Sequence[str] = ()) -> None:
        super().__init__(message, param="x-portkey-config")
        self.faults = tuple(faults)

    def body(self) -> dict[str, object]:
        """Return the body of the base class with the list of faults beside it."""
        body = super().body()
        return {**body, "errors": list(self.faults)} if self.faults else body


class CrossOriginRequest(InvalidRequest):
    """A browser sent the upload for a page of another origin (403)."""

    status = 403
    default_code = "cross_origin_request"


class RequestBroken(InvalidRequest):
    """The request body ended, or became unreadable, before it was complete (400)."""

    default_code = "incomplete_body"


class UploadTooSlow(RequestBroken):
    """The client sends its upload too slowly, or not at all any more (408)."""

    status = 408
    type = "timeout_error"
    default_code = "upload_too_slow"


class PayloadTooLarge(InvalidRequest):
    """The upload is larger than this gateway takes (413)."""

    status = 413
    default_code = "payload_too_large"


class HeadersTooLarge(InvalidRequest):
    """A header of the call, or the headers of a part of its form, are too long (431)."""

    status = 431
    default_code = "headers_too_large"


class MissingCredential(InvalidRequest):
    """The provider needs a key and none was given (401)."""

    status = 401
    default_code = "missing_api_key"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}


class SpoolUnavailable(FilesError):
    """There is no room to hold an upload back until it can be sent (503)."""

    status = 503
    default_code = "spool_unavailable"


class TooManyUploads(FilesError):
    """As many uploads are under way as this process takes (503)."""

    status = 503
    default_code = "too_many_uploads"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__("Too many uploads are under way; try again in a moment.")


class KeyReused(InvalidRequest):
    """The ``Idempotency-Key`` was used for another upload before (422)."""

    status = 422
    default_code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another upload: another file, name or field. "
            "Use a new key for a new upload.",
            param="idempotency-key",
        )


class UploadInProgress(InvalidRequest):
    """An upload under the same ``Idempotency-Key`` is still under way (409)."""

    status = 409
    default_code = "idempotency_in_progress"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__(
            "An upload under this Idempotency-Key is under way; send this one again in a "
            "moment to get its answer.",
            param="idempotency-key",
        )


class UploadUncertain(InvalidRequest):
    """It can't be found out whether an earlier upload was stored (409)."""

    status = 409
    default_code = "idempotency_uncertain"
    # Nothing changes by itself.
    headers: ClassVar[Mapping[str, str]] = {"x-should-retry": "false"}

    def __init__(self, why: str) -> None:
        super().__init__(
            "An earlier upload under this Idempotency-Key was cut off when the provider may "
            f"have had the whole file, and {why}. Look whether the provider has the file, and "
            "upload it under a new key if not.",
            param="idempotency-key",
        )


class IdempotencyUnavailable(FilesError):
    """Uploads under an ``Idempotency-Key`` can't be kept track of at the moment (503)."""

    status = 503
    default_code = "idempotency_unavailable"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__(
            "Uploads under an Idempotency-Key can't be kept track of at the moment. Send this "
            "one again later, or without the key.",
            param="idempotency-key",
        )


class InvalidCredential(InvalidRequest):
    """The gateway key is missing or wrong (401)."""

    status = 401
    default_code = "invalid_api_key"


class UnsupportedOperation(InvalidRequest):
    """The provider's API has no such operation (501)."""

    status = 501
    default_code = "unsupported_operation"
    # OpenAI's clients would try again what can never work.
    headers: ClassVar[Mapping[str, str]] = {"x-should-retry": "false"}


class UpstreamError(FilesError):
    """The provider could not be reached, or what it answered can't be used (502)."""

    status = 502
    default_code = "upstream_error"
    #: Whether the provider may have got the request, and done what it says.
    sent = True
    #: Whether its answer had begun: then nothing is tried again, nor anywhere else.
    answered = False


class UpstreamTimeout(UpstreamError):
    """The provider did not connect or answer in time (504)."""

    status = 504
    default_code = "upstream_timeout"


class RequestTimeout(UpstreamTimeout):
    """The provider did not answer within the call's own time limit (408)."""

    status = 408
    type = "timeout_error"
    default_code = "request_timeout"


class BrokenTransfer(UpstreamError):
    """The provider broke off after its answer had begun.

    Raised while a response is being streamed, so no status can be sent any more: it makes the
    WSGI server break the connection, and the client sees a transfer that failed instead of a
    short file that looks whole.
    """

    default_code = "broken_transfer"
