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
from ..errors import InvalidRoute, MissingCredential, UpstreamError
from ..form import UploadForm
from ..headers import bearer
from ..identity import HOST_MODES, MODES, EntraTokens, Grant
from ..routing import Target
from .base import (
    Answer,
    Conversation,
    Provider,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
    checked_base_url,
    file_segment,
    missing_key,
)
from .capabilities import OPENAI_EXPIRY, Capabilities
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

#: What a token is for.
SCOPE = "https://cognitiveservices.azure.com/.default"

#: The options of everything of Azure's.
COMMON_OPTIONS = (
    "azure_api_version",
    "azure_ad_token",
    "azure_auth_mode",
    "azure_entra_tenant_id",
    "azure_entra_client_id",
    "azure_entra_client_secret",
    "azure_entra_scope",
    "azure_managed_client_id",
    "azure_workload_client_id",
)

_API_VERSION = "api-version"
_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")
_SCOPE = re.compile(r"[A-Za-z0-9_.:/-]{1,250}/\.default")
_RESOURCE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class AzureOpenAI(OpenAICompatible):
    """Azure OpenAI, brought to OpenAI's shape where it differs.

    Its options: ``azure_resource_name`` (needed unless the target has a base URL, which then
    ends in ``/openai``) and ``azure_api_version`` (``v1`` if absent). Instead of with the key,
    it authenticates with ``azure_ad_token``, a token of Microsoft Entra, if there is one; else
    with a token that it gets itself, if ``azure_auth_mode`` is one of these:

    - ``entra``: for the application ``azure_entra_client_id`` of the tenant
      ``azure_entra_tenant_id`` with ``azure_entra_client_secret``.
    - ``managed``: for the managed identity of the machine, or its ``azure_managed_client_id``.
    - ``workload``: for the workload identity of the pod, or its ``azure_workload_client_id``.

    The last two are the host's own identities: a client can't ask for them, and their tokens
    never go to a custom host. ``azure_entra_scope`` names what tokens are for, if not for what
    the address takes by itself.

    A token is got within the conversation, before its first request. That blocks the thread,
    for as long as :data:`~flask_portkey_files.identity.WAITING` allows; the call's own
    ``request_timeout`` does not count it.

    :param tokens: where tokens come from; the public cloud's Entra if absent.
    """

    key_header: ClassVar[str | None] = "api-key"
    options: ClassVar[tuple[str, ...]] = ("azure_resource_name", *COMMON_OPTIONS)

    capabilities: Capabilities = Capabilities(
        expiry=OPENAI_EXPIRY,
        max_bytes=512 * 1024 * 1024,
        note="Which purposes there are depends on the api-version, and is left to Azure.",
    )

    def __init__(self, *, tokens: EntraTokens | None = None) -> None:
        # Each resource has its own address: base_url() makes it.
        super().__init__("https://openai.azure.com")
        self._tokens = tokens or EntraTokens()

    def check(self, call: FilesCall, target: Target) -> None:
        """Refuse a call that can't work, without getting a token for it yet."""
        Provider.check(self, call, target)
        self.base_url(call, target)
        if _grant(target) is None:
            self.credentials(target)
        else:
            self._tokens.check()

    def from_client(self, target: Target) -> Target:
        """Refuse what speaks for the host."""
        if _mode(target) in HOST_MODES:
            raise InvalidRoute(
                f"azure_auth_mode `{_mode(target)}` is the identity of the gateway's own "
                "machine, which calls can use only through a virtual key or a stored config "
                "that names the provider.",
                param="x-portkey-azure-auth-mode",
            )
        return target

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Send the form on; 201 becomes 200, and Azure's status OpenAI's."""
        response = yield self.request(call, target, "POST", "/files", body=form)
        return _file(response)

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files; a dated api-version returns them all at once, so they are paged here."""
        response = yield self.request(call, target, "GET", "/files")
        if _failed(response):
            return Relayed(response)
        body = response.json()
        files = body.get("data") if isinstance(body, dict) else None
        if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
            raise UpstreamError(
                f"The provider {target.provider} answered with a list of files that is none."
            )
        files = [_reshape(file) for file in files]
        if version_of(call, target) in UNDATED:
            return Reshaped(response, {**body, "data": files})
        return Reshaped(response, page(files, replace(ListQuery.of(call), purpose=None)))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the file object; Azure's status becomes OpenAI's."""
        path = f"/files/{file_segment(call)}"
        response = yield self.request(call, target, "GET", path)
        return _file(response)

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
        """Return the request, asking for an answer that can be read here.

        It blocks where a token has to be got first.
        """
        if _mode(target) and not target.options.get("azure_entra_scope"):
            scope = {"azure_entra_scope": self.scope(call, target)}
            target = replace(target, options={**target.options, **scope})
        request = super().request(call, target, method, path, **options)
        if not path.endswith("/content"):
            request.headers.set("Accept-Encoding", "identity")
            for name in ("If-Range", "Range"):
                request.headers.pop(name, None)
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
        return base + "/v1" if version_of(call, target) in UNDATED else base

    def query(self, call: FilesCall, target: Target) -> str:
        """Return the client's query with the api-version; ``v1`` goes without one.

        A dated api-version pages nothing, so what would ask it to is left to :meth:`list`.
        """
        version = version_of(call, target)
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

    def scope(self, call: FilesCall, target: Target) -> str:  # noqa: ARG002 - for subclasses
        """Return what a token has to be for."""
        return SCOPE

    def credentials(self, target: Target) -> Headers:
        """Return the token that the target has or gets, else the key in Azure's own header.

        :raises FilesError: there is none of these.
        """
        token = target.options.get("azure_ad_token")
        if not token and (grant := _grant(target)):
            token = self._tokens.get(grant)
        if token:
            return Headers([("Authorization", f"Bearer {bearer(token) or token}")])
        if not target.api_key:
            raise missing_key(target)
        return Headers([("api-key", target.api_key)])


def _mode(target: Target) -> str:
    return target.options.get("azure_auth_mode", "").strip().lower()


def _grant(target: Target) -> Grant | None:
    """Return what the target's token is got with, ``None`` if it needs none to be got.

    :raises InvalidRoute: the mode is not known, or not for this target, or an option of its is
        no id of Entra's.
    :raises MissingCredential: an option of the mode is missing.
    """
    mode, options = _mode(target), target.options
    if not mode or options.get("azure_ad_token"):
        return None
    if mode not in MODES:
        raise InvalidRoute(
            f"azure_auth_mode must be one of: {', '.join(MODES)}; leave it out to use a key.",
            param="x-portkey-azure-auth-mode",
        )
    if mode in HOST_MODES and target.custom_host is not None:
        raise InvalidRoute(
            "The gateway's own identity is never used at a custom host.",
            param="x-portkey-custom-host",
        )
    scope = options.get("azure_entra_scope") or SCOPE
    if not _SCOPE.fullmatch(scope):
        raise InvalidRoute(
            f"azure_entra_scope must be a resource followed by `/.default`, such as `{SCOPE}`.",
            param="x-portkey-azure-entra-scope",
        )
    if mode in HOST_MODES:
        return Grant(mode, scope, _id(target, f"azure_{mode}_client_id"))
    names = ("azure_entra_tenant_id", "azure_entra_client_id", "azure_entra_client_secret")
    if missing := [name for name in names if not options.get(name)]:
        raise MissingCredential(f"azure_auth_mode `entra` needs: {', '.join(missing)}.")
    tenant, client = _id(target, names[0]), _id(target, names[1])
    return Grant(mode, scope, client, tenant, options[names[2]])


def _id(target: Target, name: str) -> str:
    """Return an option that is an id of Entra's, empty if it is not given."""
    value = target.options.get(name, "")
    if value and not _ID.fullmatch(value):
        raise InvalidRoute(
            f"{name} may have letters, digits, dots and dashes only.",
            param=f"x-portkey-{name.replace('_', '-')}",
        )
    return value


def version_of(call: FilesCall, target: Target) -> str:
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
    """Return a file object with OpenAI's status, and with a size even if that is unknown yet.

    What is no file object stays as it is.
    """
    if not isinstance(item, dict):
        return item
    status = item.get("status")
    common = STATUSES.get(status) if isinstance(status, str) else None
    known = {"status": common} if common else {}
    return {**item, **known, "bytes": item.get("bytes")}
