"""OpenAI, and every service that speaks its dialect.

The contract: https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

from typing import ClassVar

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..form import UploadForm
from ..routing import Target
from .base import Conversation, HTTPProvider, Relayed, file_segment
from .capabilities import Capabilities


class OpenAICompatible(HTTPProvider):
    """A service that speaks OpenAI's Files API: what it answers is relayed untouched.

    :param base_url: the address that ``/files`` is added to, e.g. ``http://10.0.0.5:8000/v1``.
    :param requires_api_key: whether a call without a key is refused (401) instead of being
        sent without one.
    :param needs_length: whether the service takes no chunked bodies, so that each upload is
        spooled and sent with its length.
    :param capabilities: what the service can do, if that is less than OpenAI.
    :raises ValueError: *base_url* is not an http or https address.
    """

    def __init__(
        self,
        base_url: str,
        *,
        requires_api_key: bool = True,
        needs_length: bool = False,
        capabilities: Capabilities | None = None,
    ) -> None:
        super().__init__(base_url, requires_api_key=requires_api_key)
        self.needs_length = needs_length
        if capabilities is not None:
            self.capabilities = capabilities

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
