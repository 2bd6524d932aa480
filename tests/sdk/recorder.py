"""A provider that answers every call of the Files API and remembers what it was sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.support.upstream import Connection

CONTENT = b"\x00\xffthe content\r\n"

FILE: dict[str, Any] = {
    "id": "file-recorded",
    "object": "file",
    "bytes": len(CONTENT),
    "created_at": 1700000000,
    "expires_at": None,
    "filename": "recorded.jsonl",
    "purpose": "batch",
    "status": "processed",
    "status_details": None,
}

#: What a provider may send that is not the client's business.
HEADERS = (
    "Content-Type: application/json",
    "x-request-id: req_recorded",
    "Set-Cookie: __cf_bm=of-the-provider; path=/",
)


@dataclass(frozen=True)
class Recorded:
    """One request as it came in."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Return the values of every header of this name."""
        return [value for key, value in self.headers if key == name.lower()]

    @property
    def names(self) -> set[str]:
        """The names of all headers, in lower case."""
        return {key for key, _ in self.headers}


@dataclass
class Recorder:
    """The script of an :class:`~tests.support.upstream.Upstream`.

    A request is in `requests` before its answer is sent, so a client that has an answer finds
    its request here.
    """

    requests: list[Recorded] = field(default_factory=list)

    def __call__(self, connection: Connection) -> None:
        while head := connection.read_head():
            lines = head.decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ")
            pairs = [line.partition(":") for line in lines[1:]]
            body, complete = connection.read_body()
            assert complete, f"{method} {path}: the body is cut"
            headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
            self.requests.append(Recorded(method, path, headers, body))
            connection.answer(self._answer(method, path.partition("?")[0]), headers=HEADERS)

    def _answer(self, method: str, path: str) -> bytes:
        if path.endswith("/content"):
            return CONTENT
        if method == "DELETE":
            return json.dumps({"id": FILE["id"], "object": "file", "deleted": True}).encode()
        if method == "GET" and path.endswith("/files"):
            ends = {"first_id": FILE["id"], "last_id": FILE["id"]}
            page = {"object": "list", "data": [FILE], "has_more": False, **ends}
            return json.dumps(page).encode()
        return json.dumps(FILE).encode()
