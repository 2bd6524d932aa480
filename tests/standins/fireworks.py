"""Fireworks' datasets, the nearest that it has to files, and the storage behind them."""

from __future__ import annotations

import base64
import binascii
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, ClassVar

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Request, Response

from .base import Stored, json_response
from .presigned import GOOGLE, Signing, StorageStandin, parsed, timestamp

ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
FORMATS = ("FORMAT_UNSPECIFIED", "CHAT", "COMPLETION", "RL")
DEFAULT_PAGE, LARGEST_PAGE = 50, 200
#: HTTP statuses and what gRPC calls them.
CODES = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    405: 12,
    409: 6,
    412: 9,
    413: 3,
    429: 8,
    501: 12,
    503: 14,
}


@dataclass
class Dataset:
    """A dataset: what it was created with, and its files by their names."""

    id: str
    fields: dict[str, Any]
    created_at: float
    state: str = "UPLOADING"
    #: The sizes of the files that were announced, by their names.
    announced: dict[str, int] = field(default_factory=dict)
    files: dict[str, Stored] = field(default_factory=dict)


class FireworksStandin(StorageStandin):
    """Datasets: created empty, filled in one form or through the storage, then ready."""

    source: ClassVar[str] = (
        "fireworks-ai 1.2.30, resources/datasets.py, lib/dataset_upload.py, types/dataset*.py; "
        "https://docs.fireworks.ai/api-reference/create-dataset, /list-datasets, "
        "/upload-dataset-files, /get-dataset-upload-endpoint"
    )
    signing: ClassVar[Signing] = GOOGLE
    account: ClassVar[str] = "acme"
    #: The largest file that one form may have.
    form_limit: int = 150 * 1024 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.datasets: dict[str, Dataset] = {}

    def api(self, request: Request) -> Response:
        """Route the request."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return self.error(401)
        found = re.fullmatch(
            r"/v1/accounts/([^/:]+)/datasets(?:/([^/:]+)(:\w+)?)?", request.path
        )
        if found is None:
            raise NotFound
        account, dataset_id, verb = found.groups()
        if account != self.account:
            return self.error(403)
        if dataset_id is None:
            match request.method:
                case "POST":
                    return self.create(request)
                case "GET":
                    return self.page(request)
            return self.error(501)
        if dataset_id not in self.datasets:
            raise NotFound
        dataset = self.datasets[dataset_id]
        match request.method, verb:
            case "GET", None:
                return json_response(self.dataset_object(dataset))
            case "DELETE", None:
                del self.datasets[dataset_id]
                return json_response({})
            case "POST", ":getUploadEndpoint":
                return self.upload_endpoint(request, dataset)
            case "POST", ":upload":
                return self.upload(request, dataset)
            case "POST", ":validateUpload":
                return self.validate_upload(request, dataset)
            case "GET", ":getDownloadEndpoint":
                return self.download_endpoint(dataset)
        return self.error(501)

    def create(self, request: Request) -> Response:
        """Create a dataset that waits for its files."""
        body = parsed(request)
        if body is None or not isinstance(body.get("dataset"), dict):
            return self.error(400)
        dataset_id, fields = body.get("datasetId"), body["dataset"]
        if (
            not isinstance(dataset_id, str)
            or ID.fullmatch(dataset_id) is None
            or len(fields.get("displayName", "")) > 63
            or fields.get("format", "CHAT") not in FORMATS
            # A number of 64 bits is a string in this JSON.
            or not str(fields.get("exampleCount", "0")).isdecimal()
        ):
            return self.error(400)
        if dataset_id in self.datasets:
            return self.error(409)
        dataset = Dataset(dataset_id, fields, time.time())
        self.datasets[dataset_id] = dataset
        return json_response(self.dataset_object(dataset))

    def upload_endpoint(self, request: Request, dataset: Dataset) -> Response:
        """Answer where the announced files go to; they replace those announced before."""
        sizes = (parsed(request) or {}).get("filenameToSize")
        if not isinstance(sizes, dict) or not sizes or dataset.state != "UPLOADING":
            return self.error(400)
        if any("/" in name or not str(size).isdecimal() for name, size in sizes.items()):
            return self.error(400)
        dataset.announced = {name: int(size) for name, size in sizes.items()}
        dataset.files = {}
        urls = {
            name: self.presign_upload(
                name,
                self._receiver(dataset, name),
                {
                    "content-type": "application/octet-stream",
                    "x-goog-content-length-range": f"{size},{size}",
                },
            )
            for name, size in dataset.announced.items()
        }
        return json_response({"filenameToSignedUrls": urls})

    def _receiver(self, dataset: Dataset, name: str) -> Callable[[IO[bytes], int], None]:
        def receive(content: IO[bytes], size: int) -> None:
            self.store(dataset, name, content, size)

        return receive

    def store(self, dataset: Dataset, name: str, content: IO[bytes], size: int) -> Stored:
        """Keep one of a dataset's files."""
        stored = Stored(dataset.id, name, content, size, int(time.time()))
        dataset.files[name] = stored
        return stored

    def upload(self, request: Request, dataset: Dataset) -> Response:
        """Store the form's file, which makes the dataset ready."""
        if dataset.state != "UPLOADING":
            return self.error(400)
        form = self.form(request)
        if form.file is None or form.order != ["file"] or not form.filename:
            return self.error(400)
        if form.size > self.form_limit:
            return self.error(413)
        stored = self.store(dataset, form.filename, form.file, form.size)
        stored.extra["form"] = form
        dataset.state = "READY"
        uploaded = {
            "id": dataset.id,
            "object": "file",
            "bytes": stored.size,
            "created_at": stored.created_at,
            "filename": stored.filename,
            "purpose": "",
        }
        return json_response(uploaded)

    def validate_upload(self, request: Request, dataset: Dataset) -> Response:
        """Make a dataset ready if all its announced files have come."""
        if parsed(request) is None or not dataset.announced:
            return self.error(400)
        came = {name: stored.size for name, stored in dataset.files.items()}
        if came != dataset.announced or 0 in came.values():
            return self.error(400)
        dataset.state = "READY"
        return json_response({})

    def download_endpoint(self, dataset: Dataset) -> Response:
        """Answer where a dataset's files are."""
        if dataset.state != "READY":
            return self.error(400)
        urls = {
            name: self.presign_download(name, stored) for name, stored in dataset.files.items()
        }
        return json_response({"filenameToSignedUrls": urls})

    def page(self, request: Request) -> Response:
        """List the datasets, a page at a time."""
        order = request.args.get("orderBy", "name")
        size = request.args.get("pageSize", "0")
        start = offset_of(request.args.get("pageToken", ""), order)
        # No test needs the grammar of filters: refusing them all shows who relies on one.
        if not size.isdecimal() or start is None or request.args.get("filter"):
            return self.error(400)
        name, _, direction = order.partition(" ")
        keys: dict[str, Callable[[Dataset], Any]] = {
            "name": lambda dataset: dataset.id,
            "createTime": lambda dataset: dataset.created_at,
            "create_time": lambda dataset: dataset.created_at,
        }
        if name not in keys or direction not in {"", "desc"}:
            return self.error(400)
        datasets = sorted(self.datasets.values(), key=keys[name], reverse=direction == "desc")
        end = start + min(int(size) or DEFAULT_PAGE, LARGEST_PAGE)
        body: dict[str, Any] = {
            "datasets": [self.dataset_object(dataset) for dataset in datasets[start:end]],
            "totalSize": len(datasets),
        }
        if end < len(datasets):
            body["nextPageToken"] = token_of(end, order)
        return json_response(body)

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store datasets of one small file each; the last created comes first by its name."""
        ids = []
        for _ in range(count):
            number = self.next_id()
            content = f"file {number}".encode()
            dataset = Dataset(
                f"file-{999_999 - number}",
                {"displayName": f"file-{number}.jsonl", "exampleCount": "1", **options},
                1_700_000_000 + number,
                "READY",
            )
            self.store(dataset, f"file-{number}.jsonl", io.BytesIO(content), len(content))
            self.datasets[dataset.id] = dataset
            ids.append(dataset.id)
        return ids

    def dataset_object(self, dataset: Dataset) -> dict[str, Any]:
        """Return a dataset's metadata, which say nothing of its files' names and sizes."""
        created = timestamp(dataset.created_at)
        return {
            "displayName": "",
            "exampleCount": "0",
            "format": "FORMAT_UNSPECIFIED",
            **dataset.fields,
            "name": f"accounts/{self.account}/datasets/{dataset.id}",
            "createTime": created,
            "updateTime": created,
            "state": dataset.state,
            "status": {"code": "OK", "message": ""},
            "createdBy": "somebody@example.com",
            "estimatedTokenCount": "0",
            "averageTurnCount": 0,
        }

    def error(self, status: int) -> Response:
        """Return a gRPC status as JSON."""
        headers = {"Retry-After": "1"} if status == 429 else None
        body = {"code": CODES.get(status, 13), "message": f"refused: {status}", "details": []}
        return json_response(body, status, headers)


def token_of(offset: int, order: str) -> str:
    """Return what stands for the next page of a list in this order."""
    return base64.urlsafe_b64encode(f"{offset}|{order}".encode()).decode()


def offset_of(token: str, order: str) -> int | None:
    """Return where a page starts; ``None`` if the token is not one of such a list."""
    if not token:
        return 0
    try:
        offset, _, expected = base64.urlsafe_b64decode(token).decode().partition("|")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return int(offset) if expected == order and offset.isdecimal() else None
