"""The codes of the gateway's own errors: which there are, and when each is the answer."""

from __future__ import annotations

from dataclasses import dataclass

from ..aws import RoleDenied
from ..call import Operation
from ..errors import (
    CrossOriginRequest,
    FilesError,
    HeadersTooLarge,
    IdempotencyUnavailable,
    InvalidConfig,
    InvalidCredential,
    InvalidRequest,
    InvalidRoute,
    KeyReused,
    MissingCredential,
    PayloadTooLarge,
    RequestBroken,
    RequestTimeout,
    SpoolUnavailable,
    TooManyUploads,
    UnsupportedOperation,
    UploadInProgress,
    UploadTooSlow,
    UploadUncertain,
    UpstreamError,
    UpstreamTimeout,
)

_ALL = frozenset(Operation)
_UPLOAD = frozenset({Operation.UPLOAD})
_CONTENT = frozenset({Operation.CONTENT})
_LISTED = _ALL - _UPLOAD
_ONE_FILE = _LISTED - {Operation.LIST}


@dataclass(frozen=True)
class Code:
    """The ``code`` of an error that the gateway itself produces.

    :param name: the code.
    :param kind: a class of the errors that have it, which says their status and type.
    :param when: what has happened then, in Markdown: what ``docs/errors.md`` says, without
        its links.
    :param operations: what it can be an answer to.
    """

    name: str
    kind: type[FilesError]
    when: str
    operations: frozenset[Operation] = _ALL


#: Every code that an answer can have, by status.
CODES = (
    Code(
        "invalid_request",
        InvalidRequest,
        "For a provider whose lists are paged by the gateway: `order`, `limit` or "
        "`after` is not valid, and `param` names it. Without a `param`: a header of the "
        "call, or of its file part, has characters that can't be sent on. An "
        "`InvalidRequest` of a resolver's or provider's has this code too, unless it is "
        "given another.",
    ),
    Code(
        "invalid_route",
        InvalidRoute,
        "The provider or virtual key is not named or not known, a header it needs is "
        "missing or not valid, an option is for the host alone to give, a custom host "
        "is not allowed or can't be resolved, or no condition of a `conditional` "
        "strategy holds.",
    ),
    Code(
        "invalid_config",
        InvalidConfig,
        "The config in `x-portkey-config` is not JSON, not the id of a stored config, "
        "or not valid. Of a stored config that is not valid no fault is listed; they "
        "are logged.",
    ),
    Code(
        "invalid_file_id",
        InvalidRequest,
        "The file id is not a single path segment: it is `.` or `..`, or has a slash, a "
        "backslash or a control character; for `google` and `fireworks-ai` also a "
        "colon.",
        _ONE_FILE,
    ),
    Code(
        "invalid_content_type",
        InvalidRequest,
        "An upload is not `multipart/form-data`, or names no boundary. For `google`: "
        "the file part's `Content-Type` is no media type.",
        _UPLOAD,
    ),
    Code(
        "malformed_form",
        InvalidRequest,
        "The multipart form can't be read, or ends before its closing boundary.",
        _UPLOAD,
    ),
    Code(
        "incomplete_body",
        RequestBroken,
        "The request body ended early or became unreadable.",
        _UPLOAD,
    ),
    Code(
        "missing_required_parameter",
        InvalidRequest,
        "`file` or `purpose` is missing, or `purpose` is empty.",
        _UPLOAD,
    ),
    Code(
        "invalid_file",
        InvalidRequest,
        "The `file` part has no file name, or an empty one.",
        _UPLOAD,
    ),
    Code(
        "too_many_files",
        InvalidRequest,
        "The form has more than one file.",
        _UPLOAD,
    ),
    Code(
        "unsupported_purpose",
        InvalidRequest,
        "The provider takes no files for this `purpose`; the message lists those that "
        "it takes. For a bucket: `purpose` has characters that a key can't have.",
        _UPLOAD,
    ),
    Code(
        "ambiguous_purpose",
        InvalidRequest,
        "The form has more than one `purpose`, and they differ.",
        _UPLOAD,
    ),
    Code(
        "unsupported_expires_after",
        InvalidRequest,
        "The provider can't be told when a file is to expire.",
        _UPLOAD,
    ),
    Code(
        "invalid_expires_after",
        InvalidRequest,
        "`expires_after` has another anchor than `created_at`, or is no time that the "
        "provider takes; the message has the bounds.",
        _UPLOAD,
    ),
    Code(
        "expires_after_too_late",
        InvalidRequest,
        "`expires_after` came after `file`, and the provider has to know it first.",
        _UPLOAD,
    ),
    Code(
        "list_too_long",
        InvalidRequest,
        "The provider's list can't be read to where the page, or the file that is "
        "looked up in it, would be found: it has too many pages.",
        _LISTED,
    ),
    Code(
        "no_content",
        InvalidRequest,
        "`fireworks-ai`: the file has no content yet.",
        _CONTENT,
    ),
    Code(
        "invalid_digest",
        InvalidRequest,
        "What the client says the file's digest is, is none that can be checked.",
        _UPLOAD,
    ),
    Code(
        "digest_mismatch",
        InvalidRequest,
        "The file is another one than its digest says. Nothing was stored.",
        _UPLOAD,
    ),
    Code(
        "invalid_idempotency_key",
        InvalidRequest,
        "The upload's `Idempotency-Key` is empty, longer than 255 characters, or has "
        "characters that are not printable ASCII.",
        _UPLOAD,
    ),
    Code(
        "missing_api_key",
        MissingCredential,
        "The provider needs a key and none was given. The answer has `WWW-Authenticate: "
        "Bearer`. Also, without that header: the gateway has keys of its own, and the "
        "call has none in `x-portkey-api-key`.",
    ),
    Code(
        "invalid_api_key",
        InvalidCredential,
        "The key in `x-portkey-api-key` is not one of this gateway's. Or Microsoft "
        "Entra, AWS or Google refuses the credentials that a token or signature was to "
        "be got with.",
    ),
    Code(
        "role_denied",
        RoleDenied,
        "`bedrock`: AWS does not let the keys assume the role.",
    ),
    Code(
        "cross_origin_request",
        CrossOriginRequest,
        "A browser sent the upload for a page of another origin.",
        _UPLOAD,
    ),
    Code(
        "request_timeout",
        RequestTimeout,
        "The provider did not answer within the call's own request timeout.",
    ),
    Code(
        "upload_too_slow",
        UploadTooSlow,
        "The client sent its upload more slowly than `PORTKEY_FILES_MIN_UPLOAD_RATE`, or "
        "stalled, for longer than `PORTKEY_FILES_SLOW_GRACE`. Or "
        "`PORTKEY_FILES_TOTAL_TIMEOUT` was over while it was still sending.",
        _UPLOAD,
    ),
    Code(
        "idempotency_in_progress",
        UploadInProgress,
        "Another upload under the same `Idempotency-Key` is still under way after "
        "`PORTKEY_FILES_IDEMPOTENCY_WAIT` seconds. The answer has `Retry-After`.",
        _UPLOAD,
    ),
    Code(
        "idempotency_uncertain",
        UploadUncertain,
        "An earlier upload under the same `Idempotency-Key` was cut off at its end, and "
        "it can't be found out whether the provider has the file. The answer has "
        "`x-should-retry: false`.",
        _UPLOAD,
    ),
    Code(
        "file_too_large",
        PayloadTooLarge,
        "The file is larger than `PORTKEY_FILES_MAX_BYTES`.",
        _UPLOAD,
    ),
    Code(
        "form_too_large",
        PayloadTooLarge,
        "The form has more parts than `PORTKEY_FILES_MAX_PARTS`, or more bytes besides "
        "the file than `PORTKEY_FILES_MAX_FORM_BYTES`.",
        _UPLOAD,
    ),
    Code(
        "field_too_large",
        PayloadTooLarge,
        "The value of the field in `param` has more bytes than "
        "`PORTKEY_FILES_MAX_FIELD_BYTES`.",
        _UPLOAD,
    ),
    Code(
        "payload_too_large",
        PayloadTooLarge,
        "The request is larger than the application's `MAX_CONTENT_LENGTH`.",
        _UPLOAD,
    ),
    Code(
        "idempotency_key_reused",
        KeyReused,
        "The `Idempotency-Key` was used for another upload: another file, file name or field.",
        _UPLOAD,
    ),
    Code(
        "headers_too_large",
        HeadersTooLarge,
        "A header's value is longer than `PORTKEY_FILES_MAX_HEADER_BYTES`, and `param` names "
        "it; or the headers of a part of the form are longer than "
        "`PORTKEY_FILES_MAX_PART_HEADERS`.",
    ),
    Code(
        "unsupported_operation",
        UnsupportedOperation,
        "The provider has no such operation, or not for this file or these credentials.",
    ),
    Code(
        "missing_extra",
        UnsupportedOperation,
        "The extra `azure`, `bedrock` or `vertex`, which the call needs, is not installed.",
    ),
    Code(
        "upstream_error",
        UpstreamError,
        "The provider can't be reached, closed the connection, or sent what can't be "
        "used, such as a head that is cut or a switch to another protocol (101).",
    ),
    Code(
        "upstream_redirect",
        UpstreamError,
        "The provider answered with a redirect. Redirects are not followed.",
    ),
    Code(
        "entra_unavailable",
        UpstreamError,
        "No token of Microsoft Entra could be got, and that is not the caller's fault.",
    ),
    Code(
        "spool_unavailable",
        SpoolUnavailable,
        "There is no room to hold an upload back: the disk is full, or "
        "`PORTKEY_FILES_SPOOL_TOTAL` bytes are held already.",
        _UPLOAD,
    ),
    Code(
        "too_many_uploads",
        TooManyUploads,
        "`PORTKEY_FILES_MAX_UPLOADS` uploads are under way in this process. The answer "
        "has `Retry-After`.",
        _UPLOAD,
    ),
    Code(
        "idempotency_unavailable",
        IdempotencyUnavailable,
        "The upload has an `Idempotency-Key`, and the store of these can't be used; the "
        "log says why. It was not sent, or was broken off. The answer has "
        "`Retry-After`.",
        _UPLOAD,
    ),
    Code(
        "upstream_timeout",
        UpstreamTimeout,
        "The provider did not connect, take the request or answer in time, or the call took "
        "longer than `PORTKEY_FILES_TOTAL_TIMEOUT`.",
    ),
)
