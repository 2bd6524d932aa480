"""Together AI's files API, and the storage behind it."""

from __future__ import annotations

import io
import time
import uuid
from typing import IO, Any, ClassVar

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request, Response

from .base import Stored, file_response, json_response
from .presigned import AMAZON, Signing, StorageStandin

FILES = "/v1/files"
REQUIRED = ("purpose", "file_name")
FILE_TYPES = ("csv", "jsonl", "parquet")
#: The SDK's and the reference's lists are not the same: the service has both.
PURPOSES = (
    "fine-tune",
    "calibration",
    "eval",
    "eval-sample",
    "eval-output",
    "eval-summary",
    "batch-generated",
    "batch-api",
)


class TogetherStandin(StorageStandin):
    """Files in three steps: announce, PUT to the storage, preprocess; or in one form.

    Not here: the upload of files above 5 GB in parts (``/files/multipart/*``).
    """

    source: ClassVar[str] = (
        "together 3.1.1, resources/files.py and lib/resources/files.py; "
        "https://docs.together.ai/reference/upload-file, /get-files, /get-files-id-content, "
        "/delete-files-id"
    )
    signing: ClassVar[Signing] = AMAZON

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Stored] = {}
        #: What was announced and has not come yet.
        self.announced: dict[str, dict[str, str]] = {}
        #: Whether content is fetched from the storage, by a redirect.
        self.redirects = False

    def api(self, request: Request) -> Response:
        """Route the request."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return self.error(401)
        if not f"{request.path}/".startswith(f"{FILES}/"):
            raise NotFound
        match request.method, request.path.removeprefix(FILES).strip("/").split("/"):
            case "POST", [""]:
                return self.announce(request)
            case "POST", ["upload"]:
                return self.upload(request)
            case "POST", [file_id, "preprocess"]:
                return self.preprocess(file_id)
            case "GET", [""]:
                # The reference promises no order: this one is that of the random ids.
                listed = [self.file_object(self.files[name]) for name in sorted(self.files)]
                return json_response({"data": listed})
            case "GET", [file_id]:
                return json_response(self.file_object(self.get(file_id)))
            case "GET", [file_id, "content"]:
                return self.content(self.get(file_id))
            case "DELETE", [file_id]:
                self.get(file_id)
                del self.files[file_id]
                return json_response({"id": file_id, "deleted": True})
        raise NotFound

    def get(self, file_id: str) -> Stored:
        """Return a file whose bytes have come."""
        if file_id not in self.files:
            raise NotFound
        return self.files[file_id]

    def announce(self, request: Request) -> Response:
        """Answer where the bytes of a file go to."""
        fields = self._announced_fields(request)
        if not acceptable(fields):
            return self.error(400)
        checksum = fields.get("checksum")
        for stored in self.files.values():
            if checksum and stored.extra["fields"].get("checksum") == checksum:
                body = {"error": self._error(409), "file_id": stored.id}
                return json_response(body, 409)
        file_id = f"file-{uuid.uuid4()}"
        self.announced[file_id] = fields

        def receive(content: IO[bytes], size: int) -> None:
            self.store(file_id, fields, content, size)

        address = self.presign_upload(fields["file_name"], receive)
        headers = {"Location": address, "X-Together-File-Id": file_id}
        response = Response(status=302, headers=headers)
        response.autocorrect_location_header = False
        return response

    def _announced_fields(self, request: Request) -> dict[str, str]:
        """Return what is known of a file: from a form, or as the older SDKs send it."""
        fields = dict(request.args.items())
        if request.mimetype != "multipart/form-data":
            return {**fields, **dict(request.form.items())}
        return {**fields, **dict(self.form(request).fields)}

    def store(
        self, file_id: str, fields: dict[str, str], content: IO[bytes], size: int
    ) -> Stored:
        """Keep a file's bytes."""
        stored = Stored(
            file_id,
            fields["file_name"],
            content,
            size,
            int(time.time()),
            {
                "purpose": fields["purpose"],
                "fields": fields,
                "processing_status": "PENDING",
            },
        )
        self.files[file_id] = stored
        return stored

    def preprocess(self, file_id: str) -> Response:
        """Take note that a file's bytes have come."""
        if file_id in self.announced and file_id not in self.files:
            return self.error(400)
        stored = self.get(file_id)
        self.announced.pop(file_id, None)
        stored.extra["processing_status"] = "COMPLETED"
        return json_response(self.file_object(stored))

    def upload(self, request: Request) -> Response:
        """Store the file of a form that has it all: the way for who has no storage client."""
        form = self.form(request)
        if form.file is None or "file" not in form.order:
            return self.error(400)
        fields = dict(form.fields)
        if "file" in fields or not acceptable(fields):
            return self.error(400)
        stored = self.store(f"file-{uuid.uuid4()}", fields, form.file, form.size)
        stored.extra.update(form=form, processing_status="COMPLETED")
        return json_response(self.file_object(stored))

    def content(self, stored: Stored) -> Response:
        """Answer a file's bytes, or where they are."""
        if not self.redirects:
            return file_response(stored, "text/plain")
        response = Response(status=302)
        response.headers["Location"] = self.presign_download(stored.filename, stored)
        response.autocorrect_location_header = False
        return response

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small files."""
        ids = []
        for _ in range(count):
            number = self.next_id()
            content = f"file {number}".encode()
            fields = {
                "purpose": options.get("purpose", "batch-api"),
                "file_name": f"file-{number}.jsonl",
            }
            file_id = f"file-{uuid.uuid5(uuid.NAMESPACE_OID, str(number))}"
            stored = self.store(file_id, fields, io.BytesIO(content), len(content))
            stored.created_at = 1_700_000_000 + number
            stored.extra["processing_status"] = "COMPLETED"
            ids.append(file_id)
        return ids

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        status = stored.extra["processing_status"]
        return {
            "id": stored.id,
            "object": "file",
            "created_at": stored.created_at,
            "filename": stored.filename,
            "bytes": stored.size,
            "purpose": stored.extra["purpose"],
            "Processed": status == "COMPLETED",
            "FileType": stored.extra["fields"].get("file_type", "jsonl"),
            "LineCount": 0,
            "processing_status": status,
        }

    def error(self, status: int) -> Response:
        """Return Together's envelope."""
        headers = {"Retry-After": "1"} if status == 429 else None
        return json_response({"error": self._error(status)}, status, headers)

    def _error(self, status: int) -> dict[str, str | None]:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        code = {401: "invalid_api_key", 404: "not_found"}.get(status)
        return {"message": f"refused: {status}", "type": kind, "param": None, "code": code}


def acceptable(fields: dict[str, str]) -> bool:
    """Tell whether the fields are those of a file that the service takes."""
    return (
        all(fields.get(name) for name in REQUIRED)
        and fields["purpose"] in PURPOSES
        and fields.get("file_type", "jsonl") in FILE_TYPES
    )
