"""Cohere's datasets, the nearest that it has to files."""

from __future__ import annotations

import io
import re
import secrets
import time
from datetime import datetime
from typing import Any, ClassVar

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request, Response

from .base import Form, Stored, json_response
from .presigned import GOOGLE, Signing, StorageStandin, timestamp

DATASETS = "/v1/datasets"
TYPES = (
    "embed-input",
    "embed-result",
    "cluster-result",
    "cluster-outliers",
    "reranker-finetune-input",
    "single-label-classification-finetune-input",
    "chat-finetune-input",
    "multi-label-classification-finetune-input",
    "batch-chat-input",
    "batch-openai-chat-input",
    "batch-embed-v2-input",
    "batch-chat-v2-input",
)
STATUSES = ("unknown", "queued", "processing", "failed", "validated", "skipped")
MESSAGES = {401: "invalid api token", 404: "dataset not found", 429: "too many requests"}


class CohereStandin(StorageStandin):
    """Datasets: created from a form, listed by limit and offset.

    There is no content: a dataset's parts have the address of the file as it came, if
    ``keep_original_file`` was asked for. The address of the rows as the service stores them
    (``url``, in Avro) is not here, nor is the second file ``eval_data``.
    """

    source: ClassVar[str] = (
        "cohere 7.3.1, datasets/raw_client.py, types/dataset*.py; "
        "https://docs.cohere.com/reference/create-dataset, /list-datasets, /get-dataset, "
        "/delete-dataset"
    )
    signing: ClassVar[Signing] = GOOGLE

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Stored] = {}
        #: The most datasets that one answer lists, whatever was asked for; the reference
        #: names none.
        self.cap: int | None = None
        #: What becomes of an uploaded dataset.
        self.status = "validated"

    def api(self, request: Request) -> Response:
        """Route the request."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return self.error(401)
        if not f"{request.path}/".startswith(f"{DATASETS}/"):
            raise NotFound
        match request.method, request.path.removeprefix(DATASETS).strip("/").split("/"):
            case "POST", [""]:
                return self.create(request)
            case "GET", [""]:
                return self.page(request)
            case "GET", ["usage"]:
                used = sum(stored.size for stored in self.files.values())
                return json_response({"organization_usage": used})
            case "GET", [dataset_id]:
                return json_response({"dataset": self.dataset_object(self.get(dataset_id))})
            case "DELETE", [dataset_id]:
                self.get(dataset_id)
                del self.files[dataset_id]
                return json_response({})
        raise NotFound

    def get(self, dataset_id: str) -> Stored:
        """Return a dataset."""
        if dataset_id not in self.files:
            raise NotFound
        return self.files[dataset_id]

    def create(self, request: Request) -> Response:
        """Store the form's file; what is known of it stands in the query."""
        name, kind = request.args.get("name"), request.args.get("type")
        if not name or kind not in TYPES or request.mimetype != "multipart/form-data":
            return self.error(400)
        form = self.form(request)
        if form.file is None or form.order != ["data"] or not form.filename:
            return self.error(400)
        stored = self.store(form, dict(request.args.items(multi=False)))
        return json_response({"id": stored.id})

    def store(self, form: Form, options: dict[str, str]) -> Stored:
        """Keep a dataset; its id is made of its name."""
        assert form.file is not None
        slug = re.sub(r"[^a-zA-Z0-9_-]+", "-", options["name"]).strip("-")
        stored = Stored(
            f"{slug}-{secrets.token_hex(3)}",
            form.filename or "",
            form.file,
            form.size,
            int(time.time()),
            {"options": options, "form": form, "status": self.status},
        )
        self.files[stored.id] = stored
        return stored

    def page(self, request: Request) -> Response:
        """List the datasets that the query asks for, the newest first."""
        arguments = request.args
        try:
            limit = count_of(arguments.get("limit"))
            offset = count_of(arguments.get("offset")) or 0
            before, after = (time_of(arguments.get(name)) for name in ("before", "after"))
        except ValueError:
            return self.error(400)
        kind, status = arguments.get("datasetType"), arguments.get("validationStatus")
        if status is not None and status not in STATUSES:
            return self.error(400)
        chosen = [
            stored
            for stored in sorted(
                self.files.values(), key=lambda stored: stored.created_at, reverse=True
            )
            if kind in {None, stored.extra["options"]["type"]}
            and status in {None, stored.extra["status"]}
            and (before is None or stored.created_at < before)
            and (after is None or stored.created_at > after)
        ]
        sizes = [size for size in (limit, self.cap) if size is not None]
        end = offset + min(sizes) if sizes else None
        return json_response(
            {"datasets": [self.dataset_object(stored) for stored in chosen[offset:end]]}
        )

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small datasets."""
        ids = []
        for _ in range(count):
            number = self.next_id()
            content = f"file {number}".encode()
            form = Form(
                filename=f"file-{number}.jsonl", file=io.BytesIO(content), size=len(content)
            )
            kind = options.get("type", "embed-input")
            stored = self.store(form, {"name": f"file-{number}.jsonl", "type": kind})
            stored.created_at = 1_700_000_000 + number
            ids.append(stored.id)
        return ids

    def dataset_object(self, stored: Stored) -> dict[str, Any]:
        """Return a dataset's metadata."""
        options = stored.extra["options"]
        created = timestamp(stored.created_at)
        part = {
            "id": f"{stored.id}-part-0",
            "name": stored.filename,
            "index": 0,
            "size_bytes": stored.size,
            "num_rows": 1,
            "samples": [],
        }
        if options.get("keep_original_file") == "true":
            part["original_url"] = self.presign_download(stored.filename, stored)
        return {
            "id": stored.id,
            "name": options["name"],
            "created_at": created,
            "updated_at": created,
            "dataset_type": options["type"],
            "validation_status": stored.extra["status"],
            "validation_error": "",
            "schema": "",
            "required_fields": ["text"],
            "preserve_fields": [],
            "dataset_parts": [part],
            "validation_warnings": [],
        }

    def error(self, status: int) -> Response:
        """Return Cohere's error."""
        headers = {"Retry-After": "1"} if status == 429 else None
        message = MESSAGES.get(status, f"refused: {status}")
        return json_response({"id": secrets.token_hex(8), "message": message}, status, headers)


def count_of(text: str | None) -> int | None:
    """Return a limit or an offset, for which the service takes ``10.0`` too.

    :raises ValueError: it is none.
    """
    if text is None:
        return None
    number = float(text)
    if number < 0 or number != int(number):
        raise ValueError(text)
    return int(number)


def time_of(text: str | None) -> float | None:
    """Return the seconds that a time in RFC 3339 stands for.

    :raises ValueError: it is none.
    """
    if text is None:
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
