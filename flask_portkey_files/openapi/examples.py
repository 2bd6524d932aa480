"""Answers as the gateway gives them, one of each kind.

Those of files are the file store's in :mod:`flask_portkey_files.testing`; the errors are made
by the code that makes them for a client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..call import FilesCall, Operation
from ..errors import FilesError, TooManyUploads, UnsupportedOperation, invalid_provider
from ..multipart import file_too_large
from ..providers import Provider
from ..providers.base import invalid_file_id, missing_key
from ..routing import Target
from ..settings import Settings

#: The file that the examples are of, and its content.
FILENAME = "data.jsonl"
CONTENT = '{"custom_id": "request-1"}\n'

_FILE: dict[str, Any] = {
    "bytes": len(CONTENT),
    "created_at": 1795407610,
    "expires_at": None,
    "filename": FILENAME,
    "id": "file-5rXtKA2IB33CzbQQsThxgTnO",
    "object": "file",
    "purpose": "batch",
    "status": "processed",
    "status_details": None,
}
_ID = _FILE["id"]

#: What each operation answers; a file's content is no JSON.
ANSWERS: Mapping[Operation, Any] = {
    Operation.UPLOAD: _FILE,
    Operation.LIST: {
        "data": [_FILE],
        "first_id": _ID,
        "has_more": False,
        "last_id": _ID,
        "object": "list",
    },
    Operation.RETRIEVE: _FILE,
    Operation.CONTENT: CONTENT,
    Operation.DELETE: {"deleted": True, "id": _ID, "object": "file"},
}


def errors(
    operation: Operation, settings: Settings, providers: Mapping[str, Provider]
) -> dict[int, dict[str, Any]]:
    """Return error bodies that *operation* can be answered with, by status and code."""
    found: dict[int, dict[str, Any]] = {}
    for error in _errors(operation, settings, providers):
        found.setdefault(error.status, {})[str(error.code)] = {"value": error.body()}
    return found


def _errors(
    operation: Operation, settings: Settings, providers: Mapping[str, Provider]
) -> Iterator[FilesError]:
    yield invalid_provider()
    yield missing_key(Target("openai"))
    if operation is Operation.UPLOAD:
        yield file_too_large(settings)
        yield TooManyUploads()
    elif operation is not Operation.LIST:
        yield invalid_file_id()
    for name, provider in providers.items():
        if operation not in provider.capabilities.operations:
            try:
                provider.check(FilesCall(operation=operation), Target(name))
            except UnsupportedOperation as error:
                yield error
                return
