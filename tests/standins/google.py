"""The files API of the Gemini Developer API."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, Any, ClassVar

from werkzeug.exceptions import Forbidden, MethodNotAllowed, NotFound
from werkzeug.wrappers import Request, Response

from .base import BLOCK, Standin, Stored, file_response, json_response

#: What every chunk but the last must be a multiple of.
GRANULARITY = 8 * 1024 * 1024
#: The reference has the second, the SDK uses the first since its third major version.
VERSIONS = ("v1", "v1beta")
LARGEST = 2 * 1024 * 1024 * 1024
KEPT_FOR = 48 * 3600

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MESSAGES = {403: "You do not have permission to access the File or it may not exist."}
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
#: What may stand in the metadata that starts an upload; each field has two names in JSON.
_METADATA = {
    "name": "name",
    "displayName": "displayName",
    "display_name": "displayName",
    "mimeType": "mimeType",
    "mime_type": "mimeType",
    "sizeBytes": "sizeBytes",
    "size_bytes": "sizeBytes",
}


@dataclass
class Session:
    """An upload that was started."""

    metadata: dict[str, Any]
    content_type: str
    length: int
    content: IO[bytes]
    received: int = 0
    status: str = "active"


class GoogleStandin(Standin):
    """The Gemini Developer API's files and the resumable protocol that uploads them."""

    source: ClassVar[str] = (
        "google-genai 3.6.1, files.py, _api_client.py, _extra_utils.py, types.py; "
        "https://ai.google.dev/api/files; "
        "https://developers.google.com/streetview/publish/resumable-uploads"
    )
    key: ClassVar[str] = "AIza-standin"

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Stored] = {}
        #: The uploads that were started, by the id in their URL.
        self.sessions: dict[str, Session] = {}

    # --- Operations -------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Route the request."""
        path = request.path.replace(":", "/:").split("/")[1:]
        if path[:1] == ["upload"] and path[1] in VERSIONS and path[2:] == ["files"]:
            return self.upload(request, path[1])
        if refusal := self._refusal(request):
            return refusal
        routes: dict[str, Callable[[], Response]]
        match path:
            case [version, *_] if version not in VERSIONS:
                raise NotFound
            case [_, "files"]:
                routes = {"GET": lambda: self.page(request)}
            case [_, "files", name]:
                routes = {
                    "GET": lambda: json_response(self.file_object(self.get(name, request))),
                    "DELETE": lambda: self.delete(name, request),
                }
            case [_, "files", name, ":download"]:
                routes = {"GET": lambda: self.download(name, request)}
            case _:
                raise NotFound
        if request.method not in routes:
            raise MethodNotAllowed(list(routes))
        return routes[request.method]()

    def page(self, request: Request) -> Response:
        """List files, the newest first."""
        if unknown := set(request.args) - {"pageSize", "pageToken", "key"}:
            name = min(unknown)
            return self.error(
                400, f'Invalid JSON payload received. Unknown name "{name}": Cannot bind.'
            )
        size = request.args.get("pageSize", "10")
        if not (size.isdecimal() and int(size) <= 100):
            return self.error(400, "* ListFilesRequest.page_size: must be between 0 and 100")
        start = 0
        if token := request.args.get("pageToken"):
            if not token.removeprefix("next-").isdecimal():
                return self.error(400, "page_token is invalid")
            start = int(token.removeprefix("next-"))
        files = list(reversed(self.files.values()))
        end = start + (int(size) or 10)
        # Empty values are left out of a protocol buffer's JSON: no files are an empty object.
        body: dict[str, Any] = {}
        if chosen := files[start:end]:
            body["files"] = [self.file_object(stored) for stored in chosen]
        if end < len(files):
            body["nextPageToken"] = f"next-{end}"
        return json_response(body)

    def download(self, name: str, request: Request) -> Response:
        """Return the content of a generated file; nobody gets back what he uploaded."""
        stored = self.get(name, request)
        if request.args.get("alt") != "media":
            return self.error(400, "alt=media is needed.")
        if stored.extra["source"] != "GENERATED":
            return self.error(400, "Only generated files can be downloaded.")
        return file_response(stored, stored.extra["mimeType"])

    def delete(self, name: str, request: Request) -> Response:
        """Remove a file."""
        self.get(name, request)
        del self.files[name]
        return json_response({})

    # --- The upload -------------------------------------------------------------------------

    def upload(self, request: Request, version: str) -> Response:
        """Answer a step of the resumable protocol."""
        if request.method not in {"POST", "PUT"}:
            raise MethodNotAllowed(["POST", "PUT"])
        commands = _commands(request)
        if "upload_id" not in request.args:
            return self._refusal(request) or self.start(request, version, commands)
        # The URL itself is the permission: the key is not asked for again.
        session = self.sessions.get(request.args["upload_id"])
        if session is None:
            return self.error(404, "Upload session not found.")
        if commands == {"query"}:
            return Response(
                headers={
                    "X-Goog-Upload-Status": session.status,
                    "X-Goog-Upload-Size-Received": str(session.received),
                }
            )
        if commands == {"cancel"}:
            session.status = "cancelled"
            return Response(headers={"X-Goog-Upload-Status": "cancelled"})
        if session.status != "active":
            return self._broken(session, f"The upload is {session.status}.")
        if not commands or commands - {"upload", "finalize"}:
            return self._broken(session, "Unknown X-Goog-Upload-Command.")
        return self.receive(request, session, commands)

    def start(self, request: Request, version: str, commands: set[str]) -> Response:
        """Give out the URL that takes the content."""
        headers = request.headers
        if headers.get("X-Goog-Upload-Protocol") != "resumable" or commands != {"start"}:
            return self.error(400, "A resumable upload begins with the command start.")
        length = headers.get("X-Goog-Upload-Header-Content-Length", "")
        if not length.isdecimal():
            return self.error(400, "X-Goog-Upload-Header-Content-Length is needed.")
        if int(length) > LARGEST:
            return self.error(400, "The file is larger than 2 GB.")
        try:
            body = json.loads(request.stream.read(BLOCK) or b"{}")
            metadata = _metadata(body)
        except ValueError as error:
            return self.error(400, f"Invalid JSON payload received. {error}")
        content_type = headers.get("X-Goog-Upload-Header-Content-Type") or metadata.get(
            "mimeType"
        )
        if not content_type:
            return self.error(400, "The MIME type is unknown.")
        name = metadata.get("name", "").removeprefix("files/")
        if name and not _ID.fullmatch(name):
            return self.error(400, "* CreateFileRequest.file.name: invalid resource name")
        if name in self.files:
            return self.error(409, "Requested entity already exists")
        number = f"standin-{self.next_id()}"
        session = Session(metadata, content_type, int(length), self.spool())
        self.sessions[number] = session
        url = f"{self.url}/upload/{version}/files?upload_id={number}&upload_protocol=resumable"
        return Response(
            headers={
                "X-Goog-Upload-Status": "active",
                "X-Goog-Upload-URL": url,
                "X-Goog-Upload-Control-URL": url,
                "X-Goog-Upload-Chunk-Granularity": str(GRANULARITY),
                "X-GUploader-UploadID": number,
            }
        )

    def receive(self, request: Request, session: Session, commands: set[str]) -> Response:
        """Take a chunk, and make the file when it is the last."""
        offset = request.headers.get("X-Goog-Upload-Offset")
        if offset != str(session.received) and (offset is not None or "upload" in commands):
            return self._broken(session, f"The offset must be {session.received}.")
        received = 0
        while block := request.stream.read(BLOCK):
            received += len(block)
            if session.received + received > session.length:
                return self._spoilt(session, "More was sent than was announced.")
            session.content.write(block)
        session.received += received
        if "finalize" not in commands:
            if received % GRANULARITY:
                return self._spoilt(session, f"A chunk must be a multiple of {GRANULARITY}.")
            return Response(headers={"X-Goog-Upload-Status": "active"})
        if session.received != session.length:
            return self._spoilt(session, "Less was sent than was announced.")
        session.status = "final"
        stored = self._store(
            session.content,
            session.length,
            int(time.time()),
            mimeType=session.content_type,
            name=session.metadata.get("name", "").removeprefix("files/"),
            displayName=session.metadata.get("displayName"),
            # Only what has to be transcoded is worked on.
            state="PROCESSING" if session.content_type.startswith("video/") else "ACTIVE",
            session=session,
        )
        body = {"file": self.file_object(stored)}
        return json_response(body, headers={"X-Goog-Upload-Status": "final"})

    def _broken(self, session: Session, message: str) -> Response:
        response = self.error(400, message)
        response.headers["X-Goog-Upload-Status"] = session.status
        response.headers["X-Goog-Upload-Size-Received"] = str(session.received)
        return response

    def _spoilt(self, session: Session, message: str) -> Response:
        """Refuse a chunk of which a part may already be kept: the upload is over."""
        session.status = "final"
        return self._broken(session, message)

    # --- What is stored ---------------------------------------------------------------------

    def get(self, name: str, request: Request) -> Stored:
        """Return a file; one that was being worked on is ready the next time."""
        if name not in self.files:
            # Whether a file exists is nobody's business but its owner's.
            raise Forbidden
        stored = self.files[name]
        if stored.extra["state"] == "PROCESSING" and request.method == "GET":
            stored.extra["state"] = "ACTIVE"
        return stored

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small files; ``source="GENERATED"`` for such as can be downloaded."""
        ids = []
        for _ in range(count):
            number = len(self.files) + 1
            content = f"file {number}".encode()
            stored = self._store(
                io.BytesIO(content),
                len(content),
                1_700_000_000 + number,
                **{"mimeType": "text/plain", "displayName": f"file-{number}.txt"} | options,
            )
            ids.append(stored.id)
        return ids

    def _store(self, content: IO[bytes], size: int, created_at: int, **extra: Any) -> Stored:
        name = extra.pop("name", "") or f"standin{self.next_id():06d}"
        digest = hashlib.sha256()
        extra = {"displayName": None, "source": "UPLOADED", "state": "ACTIVE"} | extra
        stored = Stored(name, extra["displayName"] or "", content, size, created_at, extra)
        for block in stored.blocks():
            digest.update(block)
        # The service encodes the digest's hexadecimal digits, not its bytes.
        extra["sha256Hash"] = base64.b64encode(digest.hexdigest().encode()).decode()
        self.files[name] = stored
        return stored

    # --- Shapes -----------------------------------------------------------------------------

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        extra = stored.extra
        uri = f"{self.url}/v1beta/files/{stored.id}"
        created = _timestamp(stored.created_at)
        metadata = {
            "name": f"files/{stored.id}",
            "mimeType": extra["mimeType"],
            "sizeBytes": str(stored.size),
            "createTime": created,
            "updateTime": created,
            "expirationTime": _timestamp(stored.created_at + KEPT_FOR),
            "sha256Hash": extra["sha256Hash"],
            "uri": uri,
            "state": extra["state"],
            "source": extra["source"],
        }
        if extra["displayName"]:
            metadata["displayName"] = extra["displayName"]
        if extra["source"] == "GENERATED":
            metadata["downloadUri"] = f"{uri}:download?alt=media"
        if extra["state"] == "FAILED":
            metadata["error"] = {"code": 3, "message": "The file could not be processed."}
        return metadata

    def error(
        self,
        status: int,
        message: str | None = None,
        details: list[dict[str, Any]] | None = None,
    ) -> Response:
        """Return Google's envelope."""
        error: dict[str, Any] = {
            "code": status,
            "message": message or _MESSAGES.get(status, f"refused: {status}"),
            "status": _STATUSES.get(status, "UNKNOWN"),
        }
        if details:
            error["details"] = details
        return json_response({"error": error}, status)

    def _refusal(self, request: Request) -> Response | None:
        """Refuse a request without the key, as the service does: not with 401."""
        key = request.headers.get("x-goog-api-key") or request.args.get("key")
        if not key:
            return self.error(
                403, "Method doesn't allow unregistered callers. Please use API Key."
            )
        if key != self.key:
            info = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }
            return self.error(400, "API key not valid. Please pass a valid API key.", [info])
        return None


def _commands(request: Request) -> set[str]:
    value = request.headers.get("X-Goog-Upload-Command", "")
    return {command.strip().lower() for command in value.split(",") if command.strip()}


def _metadata(body: Any) -> dict[str, Any]:
    """Return the file's metadata under one name each.

    :raises ValueError: the body has a field that the service doesn't know.
    """
    if not isinstance(body, dict) or not isinstance(body.get("file", {}), dict):
        raise ValueError("An object is expected.")
    if unknown := (set(body) - {"file"}) | (set(body.get("file", {})) - set(_METADATA)):
        raise ValueError(f'Unknown name "{min(unknown)}": Cannot find field.')
    return {_METADATA[name]: value for name, value in body.get("file", {}).items()}


def _timestamp(seconds: int) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"
