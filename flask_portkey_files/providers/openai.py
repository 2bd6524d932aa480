"""OpenAI, and every service that speaks its dialect.

The contract: https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

from typing import ClassVar

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..errors import MissingCredential
from ..form import UploadForm
from ..headers import upstream_headers
from ..routing import Target
from .base import (
    Conversation,
    Provider,
    Relayed,
    UpstreamRequest,
    checked_base_url,
    file_segment,
)


class OpenAICompatible(Provider):
    """A service that speaks OpenAI's Files API: what it answers is relayed untouched.

    :param base_url: the address that ``/files`` is added to, e.g. ``http://10.0.0.5:8000/v1``.
    :param requires_api_key: whether a call without a key is refused (401) instead of being
        sent without one.
    :param needs_length: whether the service takes no chunked bodies, so that each upload is
        spooled and sent with its length.
    :raises ValueError: *base_url* is not an http or https address.
    """

    def __init__(
        self, base_url: str, *, requires_api_key: bool = True, needs_length: bool = False
    ) -> None:
        self._base_url = checked_base_url(base_url)
        self._requires_api_key = requires_api_key
        self.needs_length = needs_length

    def check(self, call: FilesCall, target: Target) -> None:
        """Refuse an upload whose target is incomplete."""
        self.base_url(call, target)
        self.credentials(target)

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Send the form on."""
        response = yield self.request(call, target, "POST", "/files", body=form)
        return Relayed(response)

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the list."""
        response = yield self.request(call, target, call.method, "/files")
        return Relayed(response)

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the file object."""
        path = f"/files/{file_segment(call)}"
        response = yield self.request(call, target, call.method, path)
        return Relayed(response)

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the content."""
        path = f"/files/{file_segment(call)}/content"
        response = yield self.request(call, target, call.method, path)
        return Relayed(response)

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the deletion."""
        path = f"/files/{file_segment(call)}"
        response = yield self.request(call, target, "DELETE", path)
        return Relayed(response)

    def request(
        self,
        call: FilesCall,
        target: Target,
        method: str,
        path: str,
        *,
        body: UploadForm | None = None,
    ) -> UpstreamRequest:
        """Return the request for *path* below the target's base URL, credentials included.

        :raises MissingCredential: the service needs a key and the target has none.
        """
        headers = upstream_headers(call.headers, target.forward_headers)
        for name, value in self.credentials(target):
            headers.set(name, value)
        for name, value in target.headers.items():
            headers.set(name, value)
        query = self.query(call, target)
        url = self.base_url(call, target) + path + (f"?{query}" if query else "")
        return UpstreamRequest(method=method, url=url, headers=headers, body=body)

    def base_url(self, call: FilesCall, target: Target) -> str:  # noqa: ARG002 - for subclasses
        """Return the address that paths are added to, without a slash at its end."""
        return checked_base_url(target.base_url) if target.base_url else self._base_url

    def query(self, call: FilesCall, target: Target) -> str:  # noqa: ARG002 - for subclasses
        """Return the query string to send, without the ``?``."""
        return call.query_string

    def credentials(self, target: Target) -> Headers:
        """Return the headers that say on whose behalf the request is made."""
        if target.api_key:
            return Headers([("Authorization", f"Bearer {target.api_key}")])
        if self._requires_api_key:
            raise missing_key(target)
        return Headers()


class OpenAI(OpenAICompatible):
    """OpenAI itself."""

    options: ClassVar[tuple[str, ...]] = ("openai_organization", "openai_project")

    def __init__(self) -> None:
        super().__init__("https://api.openai.com/v1")

    def credentials(self, target: Target) -> Headers:
        """Return the key, and the organization and project if the target names them.

        They come from the target alone: with a key that the host holds, a client must not be
        able to choose another project of the host's.
        """
        headers = super().credentials(target)
        for option, name in (
            ("openai_organization", "OpenAI-Organization"),
            ("openai_project", "OpenAI-Project"),
        ):
            if value := target.options.get(option):
                headers.set(name, value)
        return headers


def missing_key(target: Target) -> MissingCredential:
    """Return the error for a target without the key that its provider needs."""
    return MissingCredential(
        f"No API key for the provider {target.provider}. Send it as `Authorization: Bearer "
        "<key>` or in the header `x-portkey-api-key`."
    )
