"""Azure OpenAI, with dated api-versions and with ``v1``.

The contract: https://learn.microsoft.com/azure/ai-services/openai/reference (dated) and
https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle (``v1``).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, unquote_plus

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..errors import InvalidRoute, UpstreamError
from ..form import UploadForm
from ..headers import bearer
from ..routing import Target
from .base import (
    Answer,
    Conversation,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
    checked_base_url,
    file_segment,
    missing_key,
)
from .openai import OpenAICompatible
from .paging import PAGING, ListQuery, page

#: Azure's states of a file as OpenAI's three.
STATUSES = {
    "notRunning": "uploaded",
    "pending": "uploaded",
    "running": "uploaded",
    "succeeded": "processed",
    "canceled": "error",
    "failed": "error",
    "deleting": "error",
    "deleted": "error",
}

#: The api-versions that are no dates: they have a path of their own and OpenAI's paging.
UNDATED = frozenset({"v1", "preview"})

_API_VERSION = "api-version"
_RESOURCE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class AzureOpenAI(OpenAICompatible):
    """Azure OpenAI, brought to OpenAI's shape where it differs.

    Its options: ``azure_resource_name`` (needed unless the target has a base URL, which then
    ends in ``/openai``), ``azure_api_version`` (``v1`` if absent) and ``azure_ad_token``, a
    Microsoft Entra token that is used instead of the key.
    """

    options: ClassVar[tuple[str, ...]] = (
        "azure_resource_name",
        "azure_api_version",
        "azure_ad_token",
    )

    def __init__(self) -> None:
        # Each resource has its own address: base_url() makes it.
        super().__init__("https://openai.azure.com")

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Send the form on; 201 becomes 200, and Azure's status OpenAI's."""
        response = yield self.request(call, target, "POST", "/files", body=form)
        return _file(response)

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files; a dated api-version returns them all at once, so they are paged here."""
        response = yield self.request(call, target, call.method, "/files")
        if _failed(response) or call.method == "HEAD":
            return Relayed(response)
        body = response.json()
        files = body.get("data") if isinstance(body, dict) else None
        if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
            raise UpstreamError(
                f"The provider {target.provider} answered with a list of files that is none."
            )
        files = [_reshape(file) for file in files]
        if _version(call, target) in UNDATED:
            return Reshaped(response, {**body, "data": files})
        return Reshaped(response, page(files, replace(ListQuery.of(call), purpose=None)))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the file object; Azure's status becomes OpenAI's."""
        path = f"/files/{file_segment(call)}"
        response = yield self.request(call, target, call.method, path)
        return Relayed(response) if call.method == "HEAD" else _file(response)

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the file; an empty answer becomes OpenAI's."""
        path = f"/files/{file_segment(call)}"
        response = yield self.request(call, target, "DELETE", path)
        empty = response.status == 204 or response.headers.get("Content-Length") == "0"
        if empty and not _failed(response):
            deleted = {"id": call.file_id, "object": "file", "deleted": True}
            return Reshaped(response, deleted)
        return Relayed(response)

    def request(
        self, call: FilesCall, target: Target, method: str, path: str, **options: Any
    ) -> UpstreamRequest:
        """Return the request, asking for an answer that can be read here."""
        request = super().request(call, target, method, path, **options)
        if not path.endswith("/content"):
            request.headers.set("Accept-Encoding", "identity")
        return request

    def base_url(self, call: FilesCall, target: Target) -> str:
        """Return the resource's address.

        :raises InvalidRoute: there is no resource name, or one that is none.
        """
        base = target.base_url and checked_base_url(target.base_url)
        if not base:
            name = target.options.get("azure_resource_name", "")
            if not _RESOURCE.fullmatch(name):
                raise InvalidRoute(
                    "The provider azure-openai needs the name of the Azure resource, letters, "
                    "digits and dashes, in the header x-portkey-azure-resource-name.",
                    param="x-portkey-azure-resource-name",
                )
            base = f"https://{name}.openai.azure.com/openai"
        return base + "/v1" if _version(call, target) in UNDATED else base

    def query(self, call: FilesCall, target: Target) -> str:
        """Return the client's query with the api-version; ``v1`` goes without one.

        A dated api-version pages nothing, so what would ask it to is left to :meth:`list`.
        """
        version = _version(call, target)
        drop = {_API_VERSION} if version in UNDATED else {_API_VERSION, *PAGING}
        query = "&".join(
            item
            for item in call.query_string.split("&")
            if item and unquote_plus(item.partition("=")[0]) not in drop
        )
        if version == "v1":
            return query
        own = f"{_API_VERSION}={quote(version, safe='')}"
        return f"{query}&{own}" if query else own

    def credentials(self, target: Target) -> Headers:
        """Return the Entra token if the target has one, else the key in Azure's own header."""
        if token := target.options.get("azure_ad_token"):
            return Headers([("Authorization", f"Bearer {bearer(token) or token}")])
        if not target.api_key:
            raise missing_key(target)
        return Headers([("api-key", target.api_key)])


def _version(call: FilesCall, target: Target) -> str:
    """Return the api-version: the target's, else the one in the client's query, else ``v1``."""
    asked = dict(parse_qsl(call.query_string)).get(_API_VERSION)
    return target.options.get("azure_api_version") or asked or "v1"


def _failed(response: UpstreamResponse) -> bool:
    return not 200 <= response.status < 300


def _file(response: UpstreamResponse) -> Answer:
    """Return a file object in OpenAI's shape, an error as it is."""
    return (
        Relayed(response)
        if _failed(response)
        else Reshaped(response, _reshape(response.json()))
    )


def _reshape(item: Any) -> Any:
    """Return a file object with OpenAI's status; what has none stays as it is."""
    if isinstance(item, dict) and item.get("status") in STATUSES:
        return {**item, "status": STATUSES[item["status"]]}
    return item
