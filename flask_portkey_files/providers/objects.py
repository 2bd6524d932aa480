"""Files as objects of a bucket: their ids, as Portkey writes them, and their keys.

A file's id is the escaped address of its object, ``encodeURIComponent("s3://bucket/key")``.
What is uploaded without a key of its own gets one that tells when, for what, and of which
name: so the keys are in the order of time, and a list shows it all where a service lists keys
alone.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, unquote

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..errors import FilesError, InvalidRequest, InvalidRoute, envelope
from ..form import FilePart, UploadForm
from ..routing import Target
from .base import Reshaped, UpstreamRequest, UpstreamResponse
from .paging import Fetch, ListQuery, unknown_after, walk
from .shape import Refusal

#: The purpose of an object that was not uploaded here, as Portkey has it.
DEFAULT_PURPOSE = "batch"

#: The longest key, in bytes.
MAX_KEY = 1024

#: Headers that ask for a part of an object, or for it under conditions: none of them is meant
#: for what is reshaped.
CONDITIONS = (
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Range",
)

_PURPOSE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OURS = re.compile(
    r"(?P<stamp>[0-9]{8}T[0-9]{6}\.[0-9]{6})Z-[0-9a-f]{32}/"
    r"(?P<purpose>[A-Za-z0-9_.-]{1,64})/(?P<name>[^/]+)"
)
_UNSAFE_KEY = re.compile(r"(^|/)\.{1,2}(/|$)|[\x00-\x1f\x7f\ud800-\udfff]")
_UNSAFE_NAME = re.compile(r"[^\w .()+,=@~-]")
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]+")
_STAMP = "%Y%m%dT%H%M%S.%f"


class _NoAnswer:
    """Stands for the provider's answer where none was asked for."""

    status = 404

    def __init__(self) -> None:
        self.headers = Headers()

    def hurry(self, *, whole: bool) -> None:
        pass

    def blocks(self) -> Iterator[bytes]:
        return iter(())

    def read(self, most: int) -> bytes:  # noqa: ARG002 - the interface's
        return b""

    def json(self) -> Any:
        return {}

    def close(self) -> None:
        pass


def refusal(
    status: int,
    message: str,
    *,
    code: str | None,
    response: UpstreamResponse | None = None,
    param: str | None = None,
) -> Refusal:
    """Return what ends a conversation with an error in words of our own.

    Other than a :class:`FilesError` it is the target's answer, with which a strategy may go on
    to the next one.

    :param response: the provider's answer; ``None`` if it was not even asked.
    """
    kind = "invalid_request_error" if status < 500 else "server_error"
    if status == 429:
        kind = "rate_limit_error"
    body = envelope(message, type=kind, param=param, code=code)
    return Refusal(Reshaped(response or _NoAnswer(), body, status=status))


def refused(error: FilesError) -> Refusal:
    """Return *error* as the target's answer."""
    return Refusal(Reshaped(_NoAnswer(), error.body(), status=error.status))


def unknown_file(response: UpstreamResponse | None = None) -> Refusal:
    """Return the refusal of an id that is no file of this bucket, or of none at all."""
    return refusal(
        404,
        "There is no such file in the bucket and under the prefix that this call is for.",
        code="not_found",
        param="file_id",
        response=response,
    )


def safe_key(key: str) -> bool:
    """Return whether *key* can be part of a path without meaning another one."""
    return (
        0 < len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY
        and not key.endswith("/")
        and not _UNSAFE_KEY.search(key)
    )


@dataclass(frozen=True)
class Bucket:
    """A bucket, as far as a call may look into it.

    :param scheme: ``s3`` or ``gs``.
    :param prefix: what the keys of all files begin with.
    """

    scheme: str
    name: str
    prefix: str = ""

    def file_id(self, key: str) -> str:
        """Return the id of the object *key*, as JavaScript's encodeURIComponent writes it."""
        return quote(f"{self.scheme}://{self.name}/{key}", safe="!'()*")

    def key_of(self, call: FilesCall) -> str:
        """Return the key of the call's file.

        :raises Refusal: it is not in this bucket, or not under the prefix.
        """
        key = self.key(call.file_id or "")
        if key is None:
            raise unknown_file()
        return key

    def key(self, file_id: str) -> str | None:
        """Return the key that *file_id*, escaped or unescaped, stands for in this bucket."""
        address = file_id
        if re.match(rf"{self.scheme}%3a%2f%2f", file_id, re.IGNORECASE):
            try:
                address = unquote(file_id, errors="strict")
            except UnicodeDecodeError:
                return None
        start = f"{self.scheme}://{self.name}/"
        if not address.startswith(start + self.prefix):
            return None
        key = address.removeprefix(start)
        return key if safe_key(key) else None

    def lists(self, key: str) -> bool:
        """Return whether the object *key* has an id: a folder's placeholder has none."""
        return key.startswith(self.prefix) and safe_key(key)

    def new_key(self, named: str | None, file: NewFile) -> str:
        """Return the key for an upload.

        :param named: the key that the caller wants, with or without the prefix.
        :raises InvalidRoute: it is none that can be used.
        """
        if not named:
            stamp = file.time.strftime(_STAMP)
            name = _UNSAFE_NAME.sub("_", file.name)[-120:].strip(". ") or "file"
            return f"{self.prefix}{stamp}Z-{file.unique_id}/{file.purpose}/{name}"
        key = utf8(named).removeprefix(f"{self.scheme}://{self.name}/")
        key = key if key.startswith(self.prefix) else self.prefix + key
        if not safe_key(key):
            raise InvalidRoute(
                "The object's key, in the header x-portkey-provider-file-name (or, for S3, "
                f"x-portkey-aws-s3-object-key), must have 1 to {MAX_KEY} bytes, no control "
                "characters and no segments `.` and `..`, and must not end with a slash.",
                param="x-portkey-provider-file-name",
            )
        return key


def bucket(
    scheme: str, name: str, prefix: str, *, pattern: re.Pattern[str], header: str
) -> Bucket:
    """Return the bucket that a target names.

    :param pattern: what a bucket's name looks like.
    :param header: the header that names it.
    :raises InvalidRoute: there is no name, or one that can be none; or the prefix is none.
    """
    if not name:
        raise InvalidRoute(
            f"Invalid request, please provide `{header}` in the request headers", param=header
        )
    if not pattern.fullmatch(name) or ".." in name:
        raise InvalidRoute(f"The header {header} must be the name of a bucket.", param=header)
    prefix = utf8(prefix)
    if prefix and (prefix.startswith("/") or not safe_key(prefix + "x")):
        raise InvalidRoute(
            "The prefix of the files in the bucket must not begin with a slash, nor have "
            "control characters or segments `.` and `..`."
        )
    return Bucket(scheme, name, prefix)


def without_host_option(target: Target, option: str) -> Target:
    """Return *target*, which is a client's.

    :raises InvalidRoute: it has the *option*, which is for the host's own targets alone.
    """
    if target.options.get(option) is not None:
        raise InvalidRoute(
            f"The option {option} is for the gateway's own targets; send credentials of your "
            "own.",
            param=f"x-portkey-{option.replace('_', '-')}",
        )
    return target


def utf8(text: str) -> str:
    """Return a header's *text* as UTF-8, which WSGI hands out as if it were Latin-1."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


@dataclass(frozen=True)
class NewFile:
    """What is told of a file that is being uploaded."""

    name: str
    purpose: str
    content_type: str
    time: datetime
    #: The same when the upload is tried again: a second try replaces what the first one made.
    unique_id: str

    @classmethod
    def of(cls, call: FilesCall, form: UploadForm) -> NewFile:
        """Read the form.

        :raises InvalidRequest: the purpose can't be part of a key.
        """
        purpose = (form.value("purpose") or "").strip()
        if not _PURPOSE.fullmatch(purpose) or not purpose.strip("."):
            raise InvalidRequest(
                "`purpose` must be 1 to 64 letters, digits, dots, dashes and underscores, e.g. "
                "`batch`.",
                param="purpose",
                code="unsupported_purpose",
            )
        content_type = _content_type(form.file)
        return cls(form.file.filename, purpose, content_type, call.started, call.unique_id)


def _content_type(file: FilePart) -> str:
    given = file.content_type
    return given if _CONTENT_TYPE.fullmatch(given) else "application/octet-stream"


def told_by(key: str) -> tuple[str, str, int | None]:
    """Return the file name, the purpose and the time in Unix seconds that a *key* tells."""
    found = _OURS.search(key)
    if found is not None and found.end() == len(key):
        try:
            time = datetime.strptime(found["stamp"], _STAMP).replace(tzinfo=timezone.utc)
        except ValueError:
            pass
        else:
            return found["name"], found["purpose"], int(time.timestamp())
    return key.rpartition("/")[2], DEFAULT_PURPOSE, None


def listed(
    fetch: Fetch, query: ListQuery, files: Bucket
) -> Generator[UpstreamRequest, UpstreamResponse, Reshaped]:
    """Return the page that *query* asks for.

    :param fetch: asks for pages in the order of keys, the first one from ``after`` on if the
        order is ``asc``: then that is all it takes. For ``desc`` all keys are read.
    """
    if query.after is not None and files.key(query.after) is None:
        raise unknown_after()
    if query.order == "asc":
        # The provider is asked for what comes behind it.
        query = replace(query, after=None)
    return (yield from walk(fetch, query, order="asc"))
