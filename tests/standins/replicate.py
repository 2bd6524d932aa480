"""Replicate's files API."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import io
import json
import time
import uuid
from typing import Any, ClassVar
from urllib.parse import urlencode

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request, Response

from .base import Form, Standin, Stored, file_response, json_response
from .presigned import timestamp

FILES = "/v1/files"
DAY = 24 * 3600
TITLES = {401: "Unauthenticated", 404: "Not found", 429: "Too many requests"}
DETAILS = {
    401: "You did not pass a valid authentication token",
    404: "The requested resource could not be found.",
}


class ReplicateStandin(Standin):
    """Files from one form, listed in pages of a size that the service picks.

    The content is fetched with a signature that only who has the account's signing secret can
    make, not with the key.
    """

    source: ClassVar[str] = (
        "replicate 1.0.7, file.py, exceptions.py, client.py; "
        "https://replicate.com/docs/reference/http#files.list, #files.create, #files.delete, "
        "#files.get, #files.download"
    )
    owner: ClassVar[str] = "acme"
    signing_secret: ClassVar[str] = "standin-signing-secret"
    page_size: ClassVar[int] = 100
    #: The largest file.
    limit: int = 100 * 1024 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Stored] = {}

    def answer(self, request: Request) -> Response:
        """Route the request."""
        if not f"{request.path}/".startswith(f"{FILES}/"):
            raise NotFound
        segments = request.path.removeprefix(FILES).strip("/").split("/")
        if segments[1:] == ["download"] and request.method == "GET":
            return self.download(request, segments[0])
        if request.headers.get("Authorization") not in {
            f"Bearer {self.key}",
            f"Token {self.key}",
        }:
            return self.error(401)
        match request.method, segments:
            case "POST", [""]:
                return self.create(request)
            case "GET", [""]:
                return self.page(request)
            case "GET", [file_id]:
                return json_response(self.file_object(self.get(file_id)))
            case "DELETE", [file_id]:
                self.get(file_id)
                del self.files[file_id]
                return Response(status=204)
            case _, [""] | [_]:
                return self.error(405)
        raise NotFound

    def get(self, file_id: str) -> Stored:
        """Return a file."""
        if file_id not in self.files:
            raise NotFound
        return self.files[file_id]

    def create(self, request: Request) -> Response:
        """Store the form's file."""
        form = self.form(request)
        if form.file is None or "content" not in form.order:
            return self.error(400)
        if form.get("content") is not None:
            return self.error(400)
        try:
            metadata = json.loads(form.get("metadata") or "{}")
        except ValueError:
            return self.error(400)
        name = form.get("filename") or form.filename or ""
        if not 0 < len(name.encode()) <= 255 or not isinstance(metadata, dict):
            return self.error(400)
        if form.size > self.limit:
            return self.error(413)
        kind = form.get("type") or form.content_type or "application/octet-stream"
        stored = self.store(form, name, kind, metadata, int(time.time()))
        return json_response(self.file_object(stored), 201)

    def store(
        self, form: Form, name: str, kind: str, metadata: dict[str, Any], created_at: int
    ) -> Stored:
        """Keep a form's file."""
        assert form.file is not None
        file_id = base64.b32encode(uuid.uuid4().bytes).decode().lower().rstrip("=")
        extra = {
            "form": form,
            "content_type": kind,
            "metadata": metadata,
            # What a cursor points at: it outlives the file.
            "number": self.next_id(),
        }
        stored = Stored(file_id, name, form.file, form.size, created_at, extra)
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        for block in stored.blocks():
            md5.update(block)
            sha256.update(block)
        extra["checksums"] = {"md5": md5.hexdigest(), "sha256": sha256.hexdigest()}
        self.files[file_id] = stored
        return stored

    def page(self, request: Request) -> Response:
        """List files, the newest first; the cursors are whole addresses."""
        newest_first = sorted(self.files.values(), key=lambda stored: -stored.extra["number"])
        older, number = True, None
        if cursor := request.args.get("cursor"):
            try:
                direction, _, text = base64.b64decode(cursor).decode().partition("=")
                older, number = direction == "p", int(text)
            except (binascii.Error, ValueError):
                return self.error(404)
        if number is None:
            chosen = newest_first[: self.page_size]
        elif older:
            below = [stored for stored in newest_first if stored.extra["number"] < number]
            chosen = below[: self.page_size]
        else:
            above = [stored for stored in newest_first if stored.extra["number"] > number]
            chosen = above[-self.page_size :]
        body: dict[str, Any] = {"next": None, "previous": None}
        if chosen and chosen[-1] is not newest_first[-1]:
            body["next"] = self._cursor("p", chosen[-1])
        if chosen and chosen[0] is not newest_first[0]:
            body["previous"] = self._cursor("r", chosen[0])
        body["results"] = [self.file_object(stored) for stored in chosen]
        return json_response(body)

    def _cursor(self, direction: str, stored: Stored) -> str:
        cursor = base64.b64encode(f"{direction}={stored.extra['number']}".encode()).decode()
        return f"{self.url}{FILES}?{urlencode({'cursor': cursor})}"

    def download(self, request: Request, file_id: str) -> Response:
        """Return a file's content to who shows a signature of it that has not expired."""
        owner, expiry = request.args.get("owner", ""), request.args.get("expiry", "")
        signature = request.args.get("signature", "")
        expected = self.signature(file_id, expiry)
        if owner != self.owner or not hmac.compare_digest(signature, expected):
            return self.error(401)
        if not expiry.isdecimal() or int(expiry) < time.time():
            return self.error(401)
        stored = self.get(file_id)
        return file_response(stored, stored.extra["content_type"])

    def signature(self, file_id: str, expiry: str) -> str:
        """Return what allows to download a file until a time."""
        signed = f"{self.owner} {file_id} {expiry}".encode()
        digest = hmac.new(self.signing_secret.encode(), signed, hashlib.sha256).digest()
        return base64.b64encode(digest).decode()

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small files."""
        ids = []
        for index in range(count):
            content = f"file {index}".encode()
            form = Form(file=io.BytesIO(content), size=len(content))
            metadata = options.get("metadata", {})
            stored = self.store(
                form, f"file-{index}.jsonl", "application/jsonl", metadata, 1_700_000_000
            )
            stored.created_at += stored.extra["number"]
            ids.append(stored.id)
        return ids

    def file_object(self, stored: Stored) -> dict[str, Any]:
        """Return a file's metadata."""
        return {
            "id": stored.id,
            "name": stored.filename,
            "content_type": stored.extra["content_type"],
            "size": stored.size,
            "etag": stored.extra["checksums"]["md5"],
            "checksums": stored.extra["checksums"],
            "metadata": stored.extra["metadata"],
            "created_at": timestamp(stored.created_at),
            "expires_at": timestamp(stored.created_at + DAY),
            "urls": {"get": f"{self.url}{FILES}/{stored.id}"},
        }

    def error(self, status: int) -> Response:
        """Return a problem as RFC 7807 describes it."""
        body = {
            "title": TITLES.get(status, "Problem"),
            "detail": DETAILS.get(status, f"refused: {status}"),
            "status": status,
        }
        response = json_response(body, status)
        response.mimetype = "application/problem+json"
        if status == 429:
            response.headers["Retry-After"] = "1"
        return response
