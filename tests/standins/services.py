"""The services that copy OpenAI's Files API, each with what it does otherwise."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from werkzeug.wrappers import Request, Response

from .base import Stored, json_response
from .mistral_ai import MistralStandin
from .openai import OpenAIStandin
from .openrouter import OpenRouterStandin
from .service import DAY, HOUR, PlainListService, Refused, Service
from .x_ai import XAIStandin

BATCH = "batch"
#: The seconds that OpenAI's expiry policy may name.
EXPIRY = range(HOUR, 30 * DAY + 1)


class GroqStandin(PlainListService):
    """Groq: for batches only."""

    source = "groq 1.7.0, resources/files.py; https://console.groq.com/docs/api-reference"
    prefix = "/openai/v1"
    purposes = (BATCH,)
    id_format = "file_01jh6x76wtemjr74t1{:08d}"
    status = None

    def error(self, status: int) -> Response:
        """Return Groq's envelope: OpenAI's without what is null."""
        error = {"message": f"refused: {status}", "type": "invalid_request_error"}
        if status == 401:
            error |= {"message": "Invalid API Key", "code": "invalid_api_key"}
        elif status == 429:
            error |= {"type": "tokens", "code": "rate_limit_exceeded"}
        elif status >= 500:
            error |= {"type": "internal_server_error"}
        headers = {"Retry-After": "1"} if status == 429 else None
        return json_response({"error": error}, status, headers)


class DashScopeStandin(Service):
    """Alibaba's Model Studio, at its endpoint that copies OpenAI.

    The native API (``/api/v1/files``), which the dashscope SDK speaks, is another one: field
    ``files`` in the form, ``page_no`` and ``page_size``, answers wrapped in ``data``.
    """

    source = "https://www.alibabacloud.com/help/en/model-studio/openai-file-interface"
    prefix = "/compatible-mode/v1"
    purposes = ("file-extract", BATCH)
    default_limit = 2000
    max_limit = 2000
    list_fields = ("object", "has_more")

    def new_id(self, stored: Stored) -> str:
        """Return an id that names the purpose."""
        kind = "fe" if stored.extra["purpose"] == "file-extract" else "batch"
        return f"file-{kind}-{self.next_id():022d}"

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        return super().file_object(stored) | {"status_details": None}

    def get(self, file_id: str) -> Stored:
        """Return a file; for a missing one, the request is bad."""
        if file_id not in self.files:
            raise Refused(self.error(400))
        return self.files[file_id]

    def error(self, status: int) -> Response:
        """Return the envelope, with the request's id beside the error."""
        kind = "server_error" if status >= 500 else "invalid_request_error"
        code = {401: "invalid_api_key", 429: "limit_requests"}.get(status)
        error = {"message": f"refused: {status}", "type": kind, "param": None, "code": code}
        return json_response({"error": error, "request_id": "standin-request"}, status)


class ZhipuStandin(Service):
    """Zhipu's Files API: no metadata of one file, and content of batches only."""

    source = (
        "zhipuai 2.1.5, api_resource/files.py; https://docs.bigmodel.cn/api-reference "
        "(the File API's OpenAPI description)"
    )
    prefix = "/api/paas/v4"
    #: Those of the description and those of the SDK: each names some that the other does not.
    purposes = (
        BATCH,
        "code-interpreter",
        "agent",
        "voice-clone-input",
        "file-extract",
        "fine-tune",
        "retrieval",
    )
    id_format = "1765172961_{:032x}"
    status = None
    default_limit = 20
    max_limit = 100
    list_needs_purpose = True
    list_fields = ("object", "has_more")
    has_retrieve = False

    def page(self, request: Request) -> Response:
        """List files; the only order is that of their creation, and OpenAI's are refused."""
        if request.args.get("order", "created_at") != "created_at":
            raise self.refuse("order")
        return super().page(request)

    def content(self, stored: Stored) -> Response:
        """Return a file's content, if it is a batch's."""
        if stored.extra["purpose"] != BATCH:
            raise self.refuse("purpose")
        return super().content(stored)

    def error(self, status: int) -> Response:
        """Return the envelope, whose code is a string of digits."""
        code = {400: "1210", 401: "1000", 429: "1302"}.get(status, str(status))
        return json_response({"error": {"code": code, "message": f"refused: {status}"}}, status)


class ZAIStandin(ZhipuStandin):
    """Z.ai's Files API: Zhipu's, abroad."""

    source = (
        "zai-sdk 0.0.3.4, api_resource/files/files.py; "
        "https://docs.z.ai/api-reference/agents/file-upload"
    )


class MoonshotStandin(PlainListService):
    """Moonshot's Files API: the content of a document is the text that was read from it."""

    source = "https://platform.kimi.ai/docs/api/files-upload and its neighbours"
    purposes = ("file-extract", "image", "video", BATCH)
    id_format = "clg681objj8g{:08d}"
    status = "ok"

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        return super().file_object(stored) | {"status_details": ""}

    def content(self, stored: Stored) -> Response:
        """Return what was read from a document, as JSON; a batch's lines as they are."""
        match stored.extra["purpose"]:
            case "file-extract":
                return Response(extracted(stored), mimetype="application/json")
            case "batch":
                return super().content(stored)
        raise self.refuse("purpose")

    def error(self, status: int) -> Response:
        """Return the envelope: a message and a type."""
        kinds = {
            400: "invalid_request_error",
            401: "invalid_authentication_error",
            404: "resource_not_found_error",
            429: "rate_limit_reached_error",
        }
        error = {"message": f"refused: {status}", "type": kinds.get(status, "server_error")}
        return json_response({"error": error}, status)


def extracted(stored: Stored) -> Iterator[bytes]:
    """Yield Moonshot's JSON of a document, block by block."""
    yield b'{"content":"'
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for block in chain(stored.blocks(), [b""]):
        yield json.dumps(decoder.decode(block, final=not block))[1:-1].encode()
    rest = {"file_type": "text/plain", "filename": stored.filename, "title": "", "type": "file"}
    yield b'",' + json.dumps(rest)[1:].encode()


class DeepInfraStandin(Service):
    """DeepInfra: for batches only, and every file expires."""

    source = "https://docs.deepinfra.com/batch/file-endpoints"
    prefix = "/v1/openai"
    purposes = (BATCH,)
    id_format = "file_{:06d}"
    status = None
    default_limit = 10_000
    max_limit = 10_000
    orders = True
    lifetime = 30 * DAY
    expires_after = EXPIRY


class CerebrasStandin(Service):
    """Cerebras: for batches only, oldest first, and every file expires."""

    source = (
        "https://inference-docs.cerebras.ai/api-reference/file/upload-file, list-files etc."
    )
    purposes = (BATCH,)
    id_format = "fileI72lQshwSO6Z7L{:06d}"
    status = None
    default_limit = 20
    max_limit = 100
    order = "asc"
    list_fields = ("object",)
    lifetime = 7 * DAY
    expires_after = EXPIRY
    content_type = "application/x-ndjson"


class NebiusStandin(Service):
    """Nebius: lists know how many, but no page behind the first."""

    source = "https://docs.studio.nebius.com/api-reference/files/list-user-files, upload-file"
    purposes = (BATCH, "fine-tune")
    id_format = "file-{:08d}"
    invalid_status = 422
    default_limit = 10
    max_limit = 10_000
    cursor = False
    list_fields = ("object",)

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata; its status may be null."""
        return super().file_object(stored) | {"status": None, "status_details": None}

    def error(self, status: int) -> Response:
        """Return the service's own: a detail alone."""
        return json_response({"detail": f"refused: {status}"}, status)


class NovitaStandin(PlainListService):
    """Novita: for batches only; its lists are wrapped, one file is not."""

    source = "https://novita.ai/docs/api-reference/model-apis-llm-list-files and its neighbours"
    prefix = "/openai/v1"
    purposes = (BATCH,)
    id_format = "file_{:010d}"
    status = None

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata, with the number of requests in it."""
        return super().file_object(stored) | {"metadata": {"total_requests": lines(stored)}}

    def list_object(self, files: list[Stored], *, has_more: bool) -> dict[str, Any]:
        """Return the list; its code is a string."""
        data = [self.file_object(stored) for stored in files]
        return {"code": "200", "message": "success", "data": data}

    def error(self, status: int) -> Response:
        """Return the service's own."""
        body = {"code": status, "reason": f"REFUSED_{status}", "message": f"refused: {status}"}
        return json_response(body | {"metadata": {}}, status)


class KlusterStandin(Service):
    """kluster.ai: OpenAI's, for batches only."""

    source = "https://docs.kluster.ai/get-started/start-api"
    purposes = (BATCH,)
    id_format = "6759{:020x}"
    default_limit = 10_000
    max_limit = 10_000
    orders = True


class SiliconFlowStandin(Service):
    """SiliconFlow: answers are wrapped, and there is nothing but uploads and lists."""

    source = "https://docs.siliconflow.cn/cn/api-reference/batch/upload-file, get-file-list"
    purposes = (BATCH,)
    id_format = "file-jkvyt{:05d}"
    status = None
    default_limit = 10
    max_limit = 10_000
    cursor = False
    list_needs_purpose = True
    has_retrieve = False
    has_content = False
    has_delete = False

    def upload(self, request: Request) -> Response:
        """Store the form's file; its time has another name here than in lists."""
        body = super().upload(request).get_json()
        body["createdAt"] = body.pop("created_at")
        return json_response(wrapped(body))

    def list_object(self, files: list[Stored], *, has_more: bool) -> dict[str, Any]:
        """Return the list, which calls itself a file."""
        data = [self.file_object(stored) | {"line_count": lines(stored)} for stored in files]
        return wrapped({"data": data, "object": "file"})

    def error(self, status: int) -> Response:
        """Return the service's own: some are a bare string, and not all of those JSON."""
        match status:
            case 401:
                return json_response("Invalid token", 401)
            case 404:
                return Response("404 page not found", 404, mimetype="text/plain")
            case 429:
                return json_response({"message": "rate limiting", "data": None}, 429)
        code = 20012 if status < 500 else 50505
        return json_response(
            {"code": code, "message": f"refused: {status}", "data": None}, status
        )


def wrapped(data: object) -> dict[str, Any]:
    """Return SiliconFlow's wrapping of an answer."""
    return {"code": 20000, "message": "Ok", "status": True, "data": data}


def lines(stored: Stored) -> int:
    """Return how many lines a file has."""
    return sum(block.count(b"\n") for block in stored.blocks())


#: The stand-ins by Portkey's slug of the provider.
SERVICES: dict[str, type[OpenAIStandin]] = {
    "cerebras": CerebrasStandin,
    "dashscope": DashScopeStandin,
    "deepinfra": DeepInfraStandin,
    "groq": GroqStandin,
    "kluster-ai": KlusterStandin,
    "mistral-ai": MistralStandin,
    "moonshot": MoonshotStandin,
    "nebius": NebiusStandin,
    "novita-ai": NovitaStandin,
    "openrouter": OpenRouterStandin,
    "siliconflow": SiliconFlowStandin,
    "x-ai": XAIStandin,
    "z-ai": ZAIStandin,
    "zhipu": ZhipuStandin,
}
