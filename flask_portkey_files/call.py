"""What the client asked for, before anything is decided about it."""

from __future__ import annotations

import contextlib
import enum
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from werkzeug.datastructures import Headers


class Operation(enum.Enum):
    """The five things that can be asked of the Files API."""

    UPLOAD = "upload"
    LIST = "list"
    RETRIEVE = "retrieve"
    CONTENT = "content"
    DELETE = "delete"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class FilesCall:
    """A read-only view of one call, given to the resolver before its body is read.

    :param operation: which of the five routes was called.
    :param method: the HTTP method; ``HEAD`` comes with the operations that also take ``GET``.
    :param file_id: the file that is named in the path, decoded; ``None`` for upload and list.
    :param query_string: the query exactly as the client wrote it, without the ``?``.
    :param headers: the client's headers; looking one up ignores upper and lower case.
    """

    operation: Operation
    method: str = "GET"
    file_id: str | None = None
    query_string: str = ""
    # Left out of the repr: they hold the client's credentials.
    headers: Headers = field(default_factory=Headers, repr=False)

    @cached_property
    def trace_id(self) -> str:
        """The client's ``x-portkey-trace-id``, or one made for this call."""
        return self.headers.get("x-portkey-trace-id", "").strip() or str(uuid.uuid4())

    @cached_property
    def started(self) -> datetime:
        """When the call was first looked at, in UTC; the same for all its tries."""
        return datetime.now(timezone.utc)

    @cached_property
    def unique_id(self) -> str:
        """An id that no other call has, 32 hexadecimal digits; the same for all its tries."""
        return uuid.uuid4().hex

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """The client's ``x-portkey-metadata``, a JSON object; empty if it is none.

        Portkey's gateway takes metadata that can't be read for none as well.
        """
        text: str = self.headers.get("x-portkey-metadata", "")
        with contextlib.suppress(UnicodeError):
            # WSGI hands UTF-8 out as if it were Latin-1.
            text = text.encode("latin-1").decode()
        try:
            metadata = json.loads(text)
        except (ValueError, RecursionError):
            return {}
        return metadata if isinstance(metadata, dict) else {}
