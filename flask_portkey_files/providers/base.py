"""A provider: its dialect of the Files API, as conversations without I/O."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias
from urllib.parse import quote, urlsplit

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..errors import InvalidRequest, UnsupportedOperation
from ..form import UploadForm
from ..routing import Target


@dataclass(frozen=True, kw_only=True)
class UpstreamRequest:
    """A request that a conversation wants sent to the provider.

    :param body: the form to send as ``multipart/form-data``, if any.
    """

    method: str
    url: str = field(repr=False)
    headers: Headers = field(repr=False)
    body: UploadForm | None = field(default=None, repr=False)


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

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, in the provider's content encoding."""
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

    def check(self, call: FilesCall, target: Target) -> None:
        """Refuse an upload that can't work, before its body is read.

        :raises FilesError: what is missing, such as the key.
        """

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
        return UnsupportedOperation(
            f"The provider {target.provider} has no {call.operation} operation for files."
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
