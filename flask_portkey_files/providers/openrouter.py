"""OpenRouter's Files API: one store, whose answers come in more than one shape.

The contract: https://openrouter.ai/docs/api/api-reference/files and guides/features/files-api;
openrouter 1.3.84, files.py and components. What asks for which shape is not documented, so
each answer is read by the fields that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..call import FilesCall
from .base import Answer, Reshaped, UpstreamResponse
from .capabilities import Capabilities
from .service import File, Lists, Service
from .shape import deletion, file_object, unix_seconds

#: What OpenAI's shape has a place for, and the marks of the shapes.
_READ = {
    *("id", "object", "type", "_shape", "filename", "bytes", "size_bytes", "created_at"),
    *("purpose", "status", "expires_at"),
}


class OpenRouter(Service):
    """OpenRouter, brought to OpenAI's shape.

    :param base_url: the address that ``/files`` is added to.
    :raises ValueError: *base_url* is not an http or https address.
    """

    def __init__(self, base_url: str = "https://openrouter.ai/api/v1") -> None:
        super().__init__(
            base_url,
            capabilities=Capabilities(
                max_bytes=100 * 1024 * 1024,
                note=(
                    "An uploaded file can't be downloaded (400), and its purpose is not kept: "
                    "all are `user_data`."
                ),
            ),
            lists=Lists(order="asc", limit=1000, cursor=True),
        )

    def file(self, item: Mapping[str, Any]) -> File:
        """Return a file object of any of the shapes in OpenAI's."""
        return file_object(
            id=item.get("id") or "",
            size=item.get("bytes", item.get("size_bytes")),
            created_at=unix_seconds(item.get("created_at")),
            filename=item.get("filename") or "",
            purpose=item.get("purpose") or "user_data",
            status=item.get("status") or "processed",
            expires_at=unix_seconds(item.get("expires_at")),
            extra={name: value for name, value in item.items() if name not in _READ},
        )

    def deleted(self, call: FilesCall, response: UpstreamResponse) -> Answer:
        """Return OpenAI's answer to a deletion, whichever shape the provider's has."""
        return Reshaped(response, deletion(call.file_id))
