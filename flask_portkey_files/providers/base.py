"""A provider: its dialect of the Files API, as conversations without I/O."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, TypeAlias
from urllib.parse import quote, urlsplit

from werkzeug.datastructures import Headers

from ..call import FilesCall, Operation
from ..errors import InvalidRequest, MissingCredential, UnsupportedOperation
from ..form import FileBody, FormField, UploadForm
from ..headers import upstream_headers
from ..routing import Target
from .capabilities import OPENAI_EXPIRY, Capabilities
from .expiry import converted


@dataclass(frozen=True, kw_only=True)
class UpstreamRequest:
    """A request that a conversation wants sent to the provider.

    :param body: what to send, if anything: a form, as ``multipart/form-data``; bytes; or a
        file's content on its own, with its length if it has one, else in chunks. The two last
        need a ``Content-Type`` among the headers.
    """

    method: str
    url: str = field(repr=False)
    headers: Headers = field(repr=False)
    body: UploadForm | FileBody | bytes | None = field(default=None, repr=False)


class UpstreamResponse(Protocol):
    """The provider's answer to a request: its head is there, its body still to be read."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Headers:
        """The headers as the provider sent them, repeated ones repeated."""
        ...

    def hurry(self, *, whole: bool) -> None:
        """Say whether what is read now has to be there as a whole within the read timeout."""
        ...

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, in the provider's content encoding."""
        ...

    def read(self, most: int) -> bytes:
        """Read the whole body, decoded.

        :param most: the longest that it may be, in bytes.
        :raises UpstreamError: the body is cut, or longer than that.
        """
        ...

    def json(self) -> Any:
        """Read the whole body, decoded, as JSON.

        :raises UpstreamError: the body is cut, far too long, or no JSON.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


@dataclass(frozen=True)
class Relayed:
    """The client gets the provider's answer as it is, streamed."""

    response: UpstreamResponse

    @property
    def status(self) -> int:
        """The HTTP status that the client gets."""
        return self.response.status


@dataclass(frozen=True)
class Reshaped:
    """The client gets *body* as JSON, under the provider's headers.

    :param response: the provider's answer that *body* was made from.
    """

    response: UpstreamResponse
    body: Any
    status: int = 200


Answer: TypeAlias = Relayed | Reshaped

#: An operation. It yields requests, is sent the response to each, and returns the answer.
Conversation: TypeAlias = Generator[UpstreamRequest, UpstreamResponse, Answer]


class Provider:
    """One provider's dialect.

    A subclass overrides the operations that its provider has; the others are answered with
    501. An operation that can't go on raises a
    :class:`~flask_portkey_files.errors.FilesError`.
    """

    #: The ``Target.options`` that this provider understands, by the names of Portkey's
    #: configs. The header resolver fills each in from ``x-portkey-<name>``, with dashes.
    options: ClassVar[tuple[str, ...]] = ()

    #: Whether an upload must be sent with its length, and so be spooled before.
    needs_length: bool = False

    #: The header in which the provider's own clients send its key, beside ``Authorization``.
    #: The header resolver looks there too.
    key_header: ClassVar[str | None] = None

    #: What the provider's files API can do.
    capabilities: Capabilities = Capabilities(expiry=OPENAI_EXPIRY)

    def check(self, call: FilesCall, target: Target) -> None:
        """Refuse a call that can't work, before a byte of its body is read.

        :raises UnsupportedOperation: the provider has no such operation.
        :raises FilesError: what is missing, such as the key.
        """
        if call.operation not in self.capabilities.operations:
            raise self._unsupported(call, target)

    def from_client(self, target: Target) -> Target:
        """Return *target*, whose options a client gave at least in part, as it may have it.

        The header resolver asks this of each target that is not the host's alone. A provider
        with an option that speaks for the host, such as one for the identity of its machine,
        refuses it here; one with an option that is an address moves it to ``custom_host``,
        which is reached only if it is allowed.

        :raises InvalidRoute: an option is for the host alone to give.
        """
        return target

    def accept(self, target: Target, form: UploadForm) -> UploadForm:
        """Return *form* in the provider's terms: its purpose, and when the file expires.

        :raises InvalidRequest: the provider does not know the purpose, or can't be told when
            the file is to expire.
        """
        known = self.capabilities
        purpose = form.value("purpose") or ""
        if known.purposes is not None and purpose not in known.purposes:
            raise InvalidRequest(
                f"The provider {target.provider} takes no files for the purpose "
                f"`{purpose[:64]}`; `purpose` must be one of: {', '.join(known.purposes)}.",
                param="purpose",
                code="unsupported_purpose",
            )
        if known.purposes is not None or known.aliases:
            own = known.own_purpose(purpose)
            form = replace(
                form,
                fields=tuple(_one_purpose(form.fields, purpose, own)),
                trailing=_one_purpose(form.trailing, purpose, own),
            )
        if known.expiry is OPENAI_EXPIRY:
            return form
        return converted(form, known.expiry, provider=target.provider)

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:  # noqa: ARG002
        """Store the form's file."""
        raise self._unsupported(call, target)

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files."""
        raise self._unsupported(call, target)

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get one file's metadata."""
        raise self._unsupported(call, target)

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Get one file's content."""
        raise self._unsupported(call, target)

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete one file."""
        raise self._unsupported(call, target)

    def _unsupported(self, call: FilesCall, target: Target) -> UnsupportedOperation:
        has = [op.value for op in Operation if op in self.capabilities.operations]
        return UnsupportedOperation(
            f"The provider {target.provider} has no {call.operation} operation for files; it "
            f"has: {', '.join(has)}."
        )


def _one_purpose(fields: Iterable[FormField], purpose: str, own: str) -> Iterator[FormField]:
    """Yield *fields* with the provider's *own* word for the *purpose*.

    :raises InvalidRequest: one says otherwise: the provider might take that, unlooked at.
    """
    for item in fields:
        if item.name != "purpose":
            yield item
        elif item.value.decode("utf-8", "replace") == purpose:
            yield FormField("purpose", own.encode()) if own != purpose else item
        else:
            raise InvalidRequest(
                "The form has more than one `purpose`; send it once, before `file`.",
                param="purpose",
                code="ambiguous_purpose",
            )


class HTTPProvider(Provider):
    """A provider with one base URL and a key.

    :param base_url: the address that paths are added to.
    :param requires_api_key: whether a call without a key is refused (401) instead of being
        sent without one.
    :raises ValueError: *base_url* is not an http or https address.
    """

    def __init__(self, base_url: str, *, requires_api_key: bool = True) -> None:
        self._base_url = checked_base_url(base_url)
        self._requires_api_key = requires_api_key

    def check(self, call: FilesCall, target: Target) -> None:
        """Refuse a call that can't work, or whose target is incomplete."""
        super().check(call, target)
        if call.operation is Operation.UPLOAD:
            # The others have no body to be read before their request is made.
            self.base_url(call, target)
            self.credentials(target)

    def request(
        self,
        call: FilesCall,
        target: Target,
        method: str,
        path: str,
        *,
        body: UploadForm | FileBody | bytes | None = None,
        query: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UpstreamRequest:
        """Return the request for *path* below the target's base URL, credentials included.

        :param query: the query string, without the ``?``; :meth:`query` if ``None``.
        :param headers: further headers.
        :raises MissingCredential: the service needs a key and the target has none.
        """
        sent = upstream_headers(call.headers, target.forward_headers)
        for name, value in (headers or {}).items():
            sent.set(name, value)
        for name, value in self.credentials(target):
            sent.set(name, value)
        for name, value in target.headers.items():
            sent.set(name, value)
        if query is None:
            query = self.query(call, target)
        url = self.base_url(call, target) + path + (f"?{query}" if query else "")
        return UpstreamRequest(method=method, url=url, headers=sent, body=body)

    def base_url(self, call: FilesCall, target: Target) -> str:  # noqa: ARG002 - for subclasses
        """Return the address that paths are added to, without a slash at its end."""
        return checked_base_url(target.base_url) if target.base_url else self._base_url

    def query(self, call: FilesCall, target: Target) -> str:  # noqa: ARG002 - for subclasses
        """Return the query string to send, without the ``?``."""
        return call.query_string

    def credentials(self, target: Target) -> Headers:
        """Return the headers that say on whose behalf the request is made."""
        if target.api_key:
            return Headers([("Authorization", f"Bearer {target.api_key}")])
        if self._requires_api_key:
            raise missing_key(target)
        return Headers()


def missing_key(target: Target) -> MissingCredential:
    """Return the error for a target without the key that its provider needs."""
    return MissingCredential(
        f"No API key for the provider {target.provider}. Send it as `Authorization: Bearer "
        "<key>` or in the header `x-portkey-api-key`."
    )


# Dots and slashes mean something to servers and to what stands before them, even escaped.
_UNSAFE_ID = re.compile(r"^\.{1,2}$|[/\\\x00-\x1f\x7f]")


def file_segment(call: FilesCall) -> str:
    """Return the call's file id as one segment of a path, escaped.

    :raises InvalidRequest: the id could be taken for more than one segment.
    """
    file_id = call.file_id or ""
    if not file_id or _UNSAFE_ID.search(file_id):
        raise invalid_file_id()
    return quote(file_id, safe="")


def invalid_file_id() -> InvalidRequest:
    """Return the error for a file id that is no single path segment."""
    return InvalidRequest(
        "The file id is not valid: it must be a single path segment as the provider gave it.",
        param="file_id",
        code="invalid_file_id",
    )


def checked_base_url(url: str) -> str:
    """Return *url* without a slash at its end.

    :raises ValueError: it is not an ``http`` or ``https`` address that paths can be added to.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"not an http or https address: {url!r}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "a base URL must not contain credentials, a query or a fragment: "
            f"{parts.scheme}://{parts.hostname}…"
        )
    return url.rstrip("/")
