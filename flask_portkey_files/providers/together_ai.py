"""Together AI.

The contract: https://docs.together.ai/reference/upload-file and its neighbours, and how the
SDK (together 3.1, ``lib/resources/files.py``) uploads.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import PurePath
from typing import Any
from uuid import uuid4

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..form import UploadForm
from ..routing import Target
from .base import (
    Conversation,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
    file_segment,
)
from .capabilities import Capabilities
from .paging import page
from .reshaping import (
    ReshapingProvider,
    accepted,
    fetched,
    is_redirect,
    mapping,
    mappings,
    stored,
    unexpected,
    wanted,
)
from .shape import deletion, file_object, unix_seconds

FILE_TYPES = frozenset({"csv", "jsonl", "parquet"})

#: Together's states of a file as OpenAI's three; files that need no validation have none.
STATUSES = {
    "": "processed",
    "COMPLETED": "processed",
    "FAILED": "error",
    "INVALID_FORMAT": "error",
}

_FILE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OCTETS = "application/octet-stream"


class TogetherAI(ReshapingProvider):
    """Together AI: a file is announced, sent to a storage, and then looked at.

    :param base_url: where the service is.
    """

    needs_length = True
    capabilities = Capabilities(
        purposes=("fine-tune", "batch", "evals", "calibration", "batch-api", "eval"),
        aliases={"batch": "batch-api", "evals": "eval"},
        max_bytes=5 * 1024**3,
        note="The type of a file is taken from its name: `.jsonl`, `.csv` or `.parquet`.",
    )

    def __init__(self, base_url: str = "https://api.together.ai/v1") -> None:
        super().__init__(base_url)

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Announce the file, send it to the storage, and have it looked at."""
        body, content_type = _multipart(_announcement(form))
        response = yield self.ask(
            call, target, "POST", "/files", body=body, content_type=content_type
        )
        if not is_redirect(response):
            accepted(response)
            raise unexpected(target.provider)
        file_id = response.headers.get("X-Together-File-Id", "")
        if not _FILE_ID.fullmatch(file_id):
            raise unexpected(target.provider)
        path = f"/files/{file_id}"
        try:
            response = yield from self._send(call, target, form, response.headers["Location"])
            response = yield self.ask(call, target, "POST", f"{path}/preprocess")
            return Reshaped(response, self._file(mapping(response, provider=target.provider)))
        except Exception:
            yield from self.undo(self.ask(call, target, "DELETE", path))
            raise

    def _send(
        self, call: FilesCall, target: Target, form: UploadForm, url: str
    ) -> Generator[UpstreamRequest, UpstreamResponse, UpstreamResponse]:
        return stored(
            url,
            self.base_url(call, target),
            method="PUT",
            headers=Headers([("Content-Type", _OCTETS)]),
            body=form.file.body,
        )

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files; they come all at once and in no order, so they are paged here."""
        query = wanted(call, self.capabilities)
        response = yield self.ask(call, target, "GET", "/files")
        body = mapping(response, provider=target.provider)
        files = [self._file(f) for f in mappings(body.get("data"), provider=target.provider)]
        return Reshaped(response, page(files, query))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the file object."""
        response = yield self.ask(call, target, "GET", f"/files/{file_segment(call)}")
        return Reshaped(response, self._file(mapping(response, provider=target.provider)))

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the content, from the storage if the service redirects there.

        With GET even for HEAD: an address of the storage allows one method.
        """
        path = f"/files/{file_segment(call)}/content"
        request = self.request(call, target, "GET", path, query="")
        return Relayed((yield from fetched(call, request, self.base_url(call, target))))

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the file."""
        response = yield self.ask(call, target, "DELETE", f"/files/{file_segment(call)}")
        return Reshaped(accepted(response), deletion(call.file_id))

    def _file(self, item: dict[str, Any]) -> dict[str, Any]:
        return file_object(
            id=str(item.get("id", "")),
            size=item.get("bytes"),
            created_at=unix_seconds(item.get("created_at")),
            filename=str(item.get("filename", "")),
            purpose=self.capabilities.common_purpose(str(item.get("purpose", ""))),
            status=STATUSES.get(str(item.get("processing_status") or ""), "uploaded"),
            extra=item,
        )


def _announcement(form: UploadForm) -> dict[str, str]:
    """Return what the service is told of a file before it comes.

    Not its checksum: a file that the service has already would be refused.
    """
    name = form.file.filename
    fields = {"purpose": form.value("purpose") or "", "file_name": name}
    kind = PurePath(name).suffix[1:].lower()
    if kind in FILE_TYPES:
        fields["file_type"] = kind
    return fields


def _multipart(fields: dict[str, str]) -> tuple[bytes, str]:
    """Return *fields* as a form without a file, and its content type."""
    # No value can contain what nobody can guess.
    boundary = uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    body = f"{''.join(parts)}--{boundary}--\r\n"
    return body.encode("utf-8", "replace"), f"multipart/form-data; boundary={boundary}"
