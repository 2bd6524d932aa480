"""Replicate.

The contract: https://replicate.com/docs/reference/http#files.create and its neighbours, and
``file.py`` of the SDK (replicate 1.0).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from ..call import FilesCall, Operation
from ..errors import UnsupportedOperation
from ..form import FormField, UploadForm
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
from .paging import Page, walk
from .reshaping import (
    ReshapingProvider,
    accepted,
    fetched,
    mapping,
    mappings,
    range_headers,
    selected,
    unexpected,
    unsent,
    wanted,
)
from .shape import deletion, file_object, unix_seconds

#: How long an address for a download is good, in seconds: it is used at once.
LIFETIME = 60

#: The purpose of a file that was not uploaded with one.
NO_PURPOSE = "user_data"


class Replicate(ReshapingProvider):
    """Replicate: files for a day, their purpose among their metadata.

    Its options: ``replicate_owner`` and ``replicate_signing_secret``, the account's name and
    the secret that Replicate has downloads signed with; content is there with both only.

    :param base_url: where the service is.
    """

    options: ClassVar[tuple[str, ...]] = ("replicate_owner", "replicate_signing_secret")
    capabilities = Capabilities(
        max_bytes=100 * 1024**2,
        note=(
            "Replicate deletes files after a day; content needs the account's name and signing "
            "secret in `x-portkey-replicate-owner` and `x-portkey-replicate-signing-secret`."
        ),
    )

    def __init__(self, base_url: str = "https://api.replicate.com/v1") -> None:
        super().__init__(base_url)

    def check(self, call: FilesCall, target: Target) -> None:
        """Refuse a call that can't work; content is none without a signature."""
        super().check(call, target)
        if call.operation is Operation.CONTENT and not all(
            map(target.options.get, self.options)
        ):
            raise UnsupportedOperation(
                f"The provider {target.provider} hands out content not for a key, but for a "
                "signature: send the account's name and its signing secret in the headers "
                "x-portkey-replicate-owner and x-portkey-replicate-signing-secret.",
                param="x-portkey-replicate-signing-secret",
            )

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Send the file with its purpose as metadata; 201 becomes 200."""
        file = form.file
        metadata = {"purpose": form.value("purpose") or ""}
        fields = (
            FormField("filename", file.filename.encode("utf-8", "replace")),
            FormField("type", file.content_type.encode("utf-8", "replace")),
            FormField(
                "metadata",
                json.dumps(metadata).encode(),
                (("Content-Type", "application/json"),),
            ),
        )
        body = UploadForm(fields, replace(file, name="content"), unsent(form.trailing))
        response = yield self.ask(call, target, "POST", "/files", body=body)
        return Reshaped(response, _file(mapping(response, provider=target.provider)))

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files, the newest first; Replicate says with an address what comes next."""
        provider = target.provider

        def fetch(cursor: Any) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
            query = urlencode({"cursor": cursor}) if cursor else ""
            response = yield self.ask(call, target, "GET", "/files", query=query)
            body = mapping(response, provider=provider)
            files = [_file(item) for item in mappings(body.get("results"), provider=provider)]
            return Page(files, _cursor(body.get("next"), provider=provider), response)

        return (yield from walk(fetch, wanted(call, self.capabilities), order="desc"))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the file's metadata."""
        response = yield self.ask(call, target, "GET", f"/files/{file_segment(call)}")
        return Reshaped(response, _file(mapping(response, provider=target.provider)))

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the content, from an address that is signed here."""
        segment = file_segment(call)
        owner, secret = (target.options[name] for name in self.options)
        expiry = int(time.time()) + LIFETIME
        signed = f"{owner} {unquote(segment)} {expiry}".encode()
        signature = base64.b64encode(
            hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        ).decode()
        query = urlencode({"owner": owner, "expiry": expiry, "signature": signature})
        base = self.base_url(call, target)
        url = f"{base}/files/{segment}/download?{query}"
        request = UpstreamRequest(method="GET", url=url, headers=range_headers(call))
        return Relayed((yield from fetched(call, request, base)))

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the file; an empty answer becomes OpenAI's."""
        response = yield self.ask(call, target, "DELETE", f"/files/{file_segment(call)}")
        return Reshaped(accepted(response), deletion(call.file_id))


def _cursor(following: object, *, provider: str) -> str | None:
    """Return the cursor in the address of the next page, ``None`` if there is no page.

    The address itself is not asked: it is for the service's own host, and the key with it.
    """
    if following is None:
        return None
    try:
        cursor = parse_qs(urlsplit(str(following)).query).get("cursor")
    except ValueError:
        cursor = None
    if not cursor:
        raise unexpected(provider)
    return cursor[0]


def _file(item: dict[str, Any]) -> dict[str, Any]:
    """Return a file of Replicate's in OpenAI's shape."""
    metadata = item.get("metadata")
    purpose = metadata.get("purpose") if isinstance(metadata, dict) else None
    return file_object(
        id=str(item.get("id", "")),
        size=item.get("size"),
        created_at=unix_seconds(item.get("created_at")),
        filename=str(item.get("name", "")),
        purpose=purpose if isinstance(purpose, str) and purpose else NO_PURPOSE,
        expires_at=unix_seconds(item.get("expires_at")),
        extra=selected(item, "name", "size", "urls"),
    )
