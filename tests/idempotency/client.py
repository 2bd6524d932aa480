"""A client that can stop in the middle of an upload."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT = 60.0
BOUNDARY = "c1ient-b0undary"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """Return the code of an error of the gateway's own."""
        return str(self.body["error"]["code"])

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


def form(filename: str, content: bytes, *, purpose_first: bool = True) -> bytes:
    purpose = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    ).encode()
    head = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
        f'name="file"; filename="{filename}"\r\n\r\n'
    ).encode()
    file = head + content + b"\r\n"
    parts = purpose + file if purpose_first else file + purpose
    return parts + f"--{BOUNDARY}--\r\n".encode()


def upload(
    port: int,
    key: str | None,
    filename: str = "data.jsonl",
    content: bytes = b"{}\n",
    *,
    credential: str = "sk-client",
    headers: Mapping[str, str] | None = None,
    purpose_first: bool = True,
    halfway: Callable[[], object] | None = None,
    path: str = "/v1/files",
) -> Answer:
    """Upload a file.

    :param halfway: called when half of the body has been sent.
    :raises OSError: the connection broke.
    :raises http.client.HTTPException: likewise.
    """
    body = form(filename, content, purpose_first=purpose_first)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.putrequest("POST", path, skip_accept_encoding=True)
        sent = {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(len(body)),
            "Authorization": f"Bearer {credential}",
            "x-portkey-provider": "local",
            **(headers or {}),
        }
        if key is not None:
            sent["Idempotency-Key"] = key
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders()
        if halfway is not None:
            connection.send(body[: len(body) // 2])
            halfway()
            body = body[len(body) // 2 :]
        connection.send(body)
        response = connection.getresponse()
        data = response.read()
        told = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, json.loads(data), told)
    finally:
        connection.close()
