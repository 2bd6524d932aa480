"""The files APIs of Azure OpenAI and of Microsoft Foundry."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any, ClassVar

from werkzeug.wrappers import Request, Response

from .base import Form, Stored, file_response, json_response
from .openai import OpenAIStandin, expires_after

_DATED = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?")
_PROJECT = re.compile(r"/api/projects/[^/]+")
#: From this version on a deletion has an answer with a body.
_DELETION_WITH_BODY = "2024-09-01"

_CODES = {
    # What stands before the service answers these two, with codes of its own.
    401: "401",
    404: "notFound",
    400: "invalidPayload",
    403: "forbidden",
    409: "conflict",
    413: "invalidPayload",
    429: "tooManyRequests",
    503: "serviceUnavailable",
}
_MESSAGES = {
    401: (
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to "
        "provide a valid key for an active subscription and use a correct regional API "
        "endpoint for your resource."
    ),
    404: "The specified file could not be found.",
}


class _AzureStandin(OpenAIStandin):
    """What both forms of the API have in common."""

    key: ClassVar[str] = "azure-standin-key"

    def __init__(self, *, tokens: Container[str] = ()) -> None:
        super().__init__()
        #: The access tokens that are taken besides the key, such as a stand-in of Entra issued.
        self.tokens = tokens

    def authenticated(self, request: Request) -> bool:
        """Whether the request carries the resource's key or a token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer":
            return token in self.tokens
        return request.headers.get("api-key") == self.key

    def upload(self, request: Request) -> Response:
        """Store the form's file."""
        form = self.form(request)
        if form.get("purpose") not in (self.purposes or ()):
            return self.refuse("The purpose contains an invalid purpose.")
        if form.file is None:
            return self.refuse("The file is missing.")
        if not form.filename:
            return self.refuse("The file has no or an empty file name specified.")
        if not form.content_type:
            return self.refuse("The file has no or an empty content type specified.")
        try:
            expires = expires_after(form)
        except ValueError as error:
            return self.refuse(str(error))
        stored = self.store(form)
        stored.extra["expires_at"] = stored.created_at + expires if expires else None
        return self.created(stored)

    def created(self, stored: Stored) -> Response:
        """Say that a file is there."""
        return json_response(self.file_object(stored))

    def refuse(self, message: str) -> Response:
        """Refuse a request for this reason."""
        return self.error(400, message)

    def error(
        self, status: int, message: str | None = None, code: str | None = None
    ) -> Response:
        """Return Azure's envelope."""
        error = {
            "code": code or _CODES.get(status, "internalFailure"),
            "message": message or _MESSAGES.get(status, f"refused: {status}"),
        }
        headers = {"Retry-After": "1"} if status == 429 else None
        return json_response({"error": error}, status, headers)

    def no_resource(self) -> Response:
        """Answer what is asked for under no path of the API."""
        return self.error(404, "Resource not found", "404")


class AzureDatedStandin(_AzureStandin):
    """Azure OpenAI under a dated ``api-version``: an API of its own, though it looks alike."""

    source: ClassVar[str] = (
        "openai 3.57.0, lib/azure.py; Azure/azure-rest-api-specs, specification/"
        "cognitiveservices/data-plane/AzureOpenAI/authoring/stable/2024-10-21/azureopenai.yaml "
        "and its examples, 2024-08-01-preview for the deletion; "
        "Azure/azure-sdk-for-net#44710 for the part's type"
    )
    prefix: ClassVar[str] = "/openai"
    purposes: ClassVar[tuple[str, ...]] = (
        "fine-tune",
        "fine-tune-results",
        "assistants",
        "assistants_output",
        "batch",
    )
    #: What a new file goes through; it gets one step on whenever it is looked at.
    states: ClassVar[tuple[str, ...]] = ("pending", "running", "processed")

    def answer(self, request: Request) -> Response:
        """Route the request."""
        if not self.authenticated(request):
            return self.error(401)
        if not _DATED.fullmatch(request.args.get("api-version", "")):
            return self.no_resource()
        match request.method, request.path.split("/")[1:]:
            case "POST", ["openai", "files"]:
                return self.upload(request)
            case "GET", ["openai", "files"]:
                return self.page(request)
            case "GET", ["openai", "files", file_id]:
                return json_response(self.looked_at(self.get(file_id)))
            case "GET", ["openai", "files", file_id, "content"]:
                return file_response(self.get(file_id))
            case "DELETE", ["openai", "files", file_id]:
                stored = self.get(file_id)
                del self.files[file_id]
                # A version's date sorts as a text.
                if request.args["api-version"] < _DELETION_WITH_BODY:
                    return Response(status=204)
                return self.deleted(stored)
        return self.no_resource()

    def store(self, form: Form) -> Stored:
        """Keep a form's file, which is yet to be looked through."""
        stored = super().store(form)
        stored.extra["states"] = list(self.states)
        return stored

    def created(self, stored: Stored) -> Response:
        """Say that a file is there, and where."""
        location = f"{self.url}/openai/files/{stored.id}"
        return json_response(self.file_object(stored), 201, {"Location": location})

    def looked_at(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata one step further on."""
        if len(states := stored.extra.get("states", [])) > 1:
            states.pop(0)
        return self.file_object(stored)

    def page(self, request: Request) -> Response:
        """List all files; there are no pages, and what would ask for one is ignored."""
        data = [self.file_object(stored) for stored in self.filtered(request)]
        return json_response({"object": "list", "data": data})

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata, without its size while it is unknown."""
        metadata = super().file_object(stored)
        metadata["status"] = stored.extra.get("states", ["processed"])[0]
        if metadata["status"] == "pending":
            del metadata["bytes"]
        if expires_at := stored.extra.get("expires_at"):
            metadata["expires_at"] = expires_at
        return metadata


class AzureV1Standin(_AzureStandin):
    """Azure OpenAI's and Foundry's ``/openai/v1``: OpenAI's API under another address."""

    source: ClassVar[str] = (
        "openai 3.57.0; https://learn.microsoft.com/azure/foundry/reference/rest/"
        "files-create-file and files-list-files; "
        "https://learn.microsoft.com/rest/api/microsoft-foundry/azureopenai/files"
    )
    prefix: ClassVar[str] = "/openai/v1"
    purposes: ClassVar[tuple[str, ...]] = (
        "assistants",
        "batch",
        "fine-tune",
        "vision",
        "user_data",
        "evals",
    )

    def answer(self, request: Request) -> Response:
        """Route the request."""
        if not self.authenticated(request):
            return self.error(401)
        if request.args.get("api-version", "v1") not in {"v1", "preview"}:
            return self.error(400, "API version not supported", "BadRequest")
        match request.method, self.path(request).split("/")[1:]:
            case "POST", ["openai", "v1", "files"]:
                return self.upload(request)
            case "GET", ["openai", "v1", "files"]:
                return self.page(request)
            case "GET", ["openai", "v1", "files", file_id]:
                return json_response(self.file_object(self.get(file_id)))
            case "GET", ["openai", "v1", "files", file_id, "content"]:
                return file_response(self.get(file_id))
            case "DELETE", ["openai", "v1", "files", file_id]:
                stored = self.get(file_id)
                del self.files[file_id]
                return self.deleted(stored)
        return self.no_resource()

    def path(self, request: Request) -> str:
        """Return the path below the resource."""
        return request.path

    def authenticated(self, request: Request) -> bool:
        """Whether the request carries the resource's key, in either header, or a token."""
        bearer = f"Bearer {self.key}"
        return super().authenticated(request) or request.headers.get("Authorization") == bearer

    def page(self, request: Request) -> Response:
        """List files as OpenAI pages them."""
        if not re.fullmatch(r"\d{1,5}", request.args.get("limit", "1")):
            return self.refuse("The limit is not a number.")
        if request.args.get("order", "asc") not in {"asc", "desc"}:
            return self.refuse("The order is neither asc nor desc.")
        return super().page(request)

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        metadata = super().file_object(stored)
        metadata["expires_at"] = stored.extra.get("expires_at")
        metadata["status_details"] = None
        return metadata

    def error(
        self, status: int, message: str | None = None, code: str | None = None
    ) -> Response:
        """Return the envelope, which has OpenAI's fields where the service itself answers."""
        response = super().error(status, message, code)
        if status in {401, 404} and code != "404":
            return response
        error = response.get_json()["error"]
        kind = "server_error" if status >= 500 else "invalid_request_error"
        error |= {"type": kind, "param": None}
        return json_response({"error": error}, status, dict(response.headers))


class FoundryStandin(AzureV1Standin):
    """Microsoft Foundry: the same API, also under a project's address, which takes no key."""

    source: ClassVar[str] = (
        f"{AzureV1Standin.source}; "
        "https://learn.microsoft.com/python/api/azure-ai-projects/azure.ai.projects.aiprojectclient"
    )

    def path(self, request: Request) -> str:
        """Return the path below the resource or below one of its projects."""
        return _PROJECT.sub("", request.path)

    def authenticated(self, request: Request) -> bool:
        """Whether the request carries what its address takes."""
        if not _PROJECT.match(request.path):
            return super().authenticated(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and token in self.tokens
