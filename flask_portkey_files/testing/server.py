"""OpenAI's Files API in front of a `FileStore`.

Uploads go to disk as they arrive: the form is parsed block by block, and its file's bytes
are written to the store's own incoming file, so a file is never held in memory or copied.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import IO, Literal, cast

from flask import Flask, Response, jsonify, request, send_file
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    InternalServerError,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)
from werkzeug.http import parse_options_header

from .store import FileStore, UnknownCursorError

try:
    import multipart  # type: ignore[import-untyped]
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "flask_portkey_files.testing needs an extra: pip install 'flask-portkey-files[testing]'"
    ) from error

UPLOAD_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
MAX_PAGE = 10_000
MIN_EXPIRY_SECONDS = 60 * 60
MAX_EXPIRY_SECONDS = 30 * 24 * 60 * 60
MAX_PARTS = 1000
# All fields of a form together; they are held in memory.
MAX_FIELD_BYTES = 500_000

_ANCHOR = "expires_after[anchor]"
_SECONDS = "expires_after[seconds]"


class ApiError(Exception):
    """An answer in OpenAI's error envelope."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code

    def as_response(self) -> Response:
        """Return the answer to send."""
        error = {
            "message": self.message,
            "type": "server_error" if self.status >= 500 else "invalid_request_error",
            "param": self.param,
            "code": self.code,
        }
        response = jsonify(error=error)
        response.status_code = self.status
        return response


class UploadForm:
    """A multipart form of which the file goes to `file` and the fields to memory."""

    def __init__(self, boundary: str, file: IO[bytes]) -> None:
        self.filenames: list[str] = []
        self._boundary = boundary
        self._file = file
        self._fields: dict[str, bytearray] = {}
        self._field_bytes = 0
        self._part: bytearray | IO[bytes] | None = None
        self._part_start = b""

    def get(self, name: str) -> str | None:
        """Return the first field of this name, or None where there is none."""
        value = self._fields.get(name)
        return None if value is None else value.decode(errors="replace")

    def read(self, body: IO[bytes], length: int | None, block_size: int = 64 * 1024) -> None:
        """Read the whole of `body`, which has `length` bytes where that is known."""
        count = 0
        try:
            # Not strict: that would refuse a block that starts behind the closing boundary,
            # if only with the line break that usually follows it.
            with multipart.PushMultipartParser(
                self._boundary, max_segment_count=MAX_PARTS
            ) as parser:
                while block := _read_block(body, block_size):
                    count += len(block)
                    for event in parser.parse(block):
                        if isinstance(event, multipart.MultipartSegment):
                            self._start_part(event.header("Content-Disposition"))
                        elif event is not None:
                            self._write(event)
        except multipart.ParserLimitReached:
            raise RequestEntityTooLarge from None
        except multipart.MultipartError:
            # Also the case of a body that ends before its closing boundary.
            raise ApiError("The multipart form data is malformed or incomplete.") from None
        # Not every server notices a client that hangs up early: some just end the stream,
        # and what follows the closing boundary may have been cut without a trace.
        if length is not None and count != length:
            raise _incomplete()

    def _start_part(self, disposition: str) -> None:
        # werkzeug's reading of the header, because the parser's own ignores `filename*`.
        _, options = parse_options_header(disposition)
        name, filename = options.get("name", ""), options.get("filename")
        self._part, self._part_start = None, b""
        if filename is None:
            self._part = bytearray()
            self._fields.setdefault(name, self._part)
        elif name == "file":
            self.filenames.append(filename)
            if len(self.filenames) == 1:
                self._part = self._file

    def _write(self, data: bytes) -> None:
        # The parser overlooks the boundary behind a part that has not even an empty line
        # after its headers, and would take the next part for the content of this one.
        line = b"--" + self._boundary.encode()
        if len(self._part_start) < len(line):
            self._part_start += data[: len(line) - len(self._part_start)]
            if self._part_start == line:
                raise multipart.ParserError("A part without a body")
        if isinstance(self._part, bytearray):
            self._field_bytes += len(data)
            if self._field_bytes > MAX_FIELD_BYTES:
                raise RequestEntityTooLarge
            self._part += data
        elif self._part is not None:
            self._part.write(data)


def _read_block(body: IO[bytes], size: int) -> bytes:
    try:
        return body.read(size)
    except (OSError, ValueError, ClientDisconnected):
        raise _incomplete() from None


def create_store_app(store: FileStore) -> Flask:
    """Return the application that serves `store` under /v1/files."""
    app = Flask(__name__, static_folder=None)
    # A path with a doubled slash is an unknown one, not a redirect.
    app.url_map.merge_slashes = False

    @app.post("/v1/files")
    def create_file() -> Response:
        if request.mimetype != "multipart/form-data":
            raise ApiError(
                f"Invalid Content-Type header ({request.mimetype or 'none'}),"
                " expected multipart/form-data."
            )
        with store.incoming() as content:
            form = UploadForm(request.mimetype_params.get("boundary", ""), content.file)
            form.read(request.stream, request.content_length)
            if len(form.filenames) > 1:
                raise ApiError("Only one 'file' may be uploaded at a time.", param="file")
            # A form sends a file field nobody filled in as a file without a name.
            if not any(form.filenames):
                raise _missing("file")
            purpose = form.get("purpose")
            if not purpose:
                raise _missing("purpose")
            if purpose not in UPLOAD_PURPOSES:
                raise _not_one_of("purpose", purpose, UPLOAD_PURPOSES)
            stored = store.add(
                filename=form.filenames[0],
                purpose=purpose,
                content=content,
                expires_in=_expiry(form),
            )
        return jsonify(stored.as_object())

    @app.get("/v1/files")
    def list_files() -> Response:
        limit = MAX_PAGE
        if "limit" in request.args:
            limit = _integer("limit", request.args["limit"], 1, MAX_PAGE)
        order = request.args.get("order", "desc")
        if order not in ("asc", "desc"):
            raise _not_one_of("order", order, ("asc", "desc"))
        after = request.args.get("after")
        try:
            page = store.list(
                purpose=request.args.get("purpose"),
                limit=limit,
                order=cast("Literal['asc', 'desc']", order),
                after=after,
            )
        except UnknownCursorError:
            raise ApiError(f"No such File object: {after}", param="after") from None
        return jsonify(
            object="list",
            data=[stored.as_object() for stored in page.files],
            first_id=page.files[0].id if page.files else None,
            last_id=page.files[-1].id if page.files else None,
            has_more=page.has_more,
        )

    @app.get("/v1/files/<file_id>")
    def retrieve_file(file_id: str) -> Response:
        stored = store.get(file_id)
        if stored is None:
            raise _no_such_file(file_id)
        return jsonify(stored.as_object())

    @app.delete("/v1/files/<file_id>")
    def delete_file(file_id: str) -> Response:
        if not store.delete(file_id):
            raise _no_such_file(file_id)
        return jsonify(id=file_id, object="file", deleted=True)

    @app.get("/v1/files/<file_id>/content")
    def file_content(file_id: str) -> Response:
        stored = store.get(file_id)
        path = store.path(file_id)
        if stored is None or path is None:
            raise _no_such_file(file_id)
        try:
            return send_file(
                path,
                mimetype="application/octet-stream",
                as_attachment=True,
                download_name=_download_name(stored.filename),
                conditional=True,
                # The bytes behind an id never change.
                etag=stored.id,
                last_modified=stored.created_at,
            )
        except FileNotFoundError:  # Deleted between the question and the answer.
            raise _no_such_file(file_id) from None

    app.register_error_handler(ApiError, ApiError.as_response)
    app.register_error_handler(HTTPException, _http_error)
    app.after_request(_add_request_id)
    return app


def _expiry(form: UploadForm) -> int | None:
    anchor, seconds = form.get(_ANCHOR), form.get(_SECONDS)
    if anchor is None and seconds is None:
        return None
    if anchor is None:
        raise _missing(_ANCHOR)
    if anchor != "created_at":
        raise _not_one_of(_ANCHOR, anchor, ("created_at",))
    if seconds is None:
        raise _missing(_SECONDS)
    return _integer(_SECONDS, seconds, MIN_EXPIRY_SECONDS, MAX_EXPIRY_SECONDS)


def _integer(name: str, text: str, minimum: int, maximum: int) -> int:
    # int() would also take "1_000", " 5" and the digits of other scripts.
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ApiError(
            f"Invalid type for '{name}': expected an integer, but got '{text[:100]}' instead.",
            param=name,
            code="invalid_type",
        )
    value = int(text)
    if value < minimum:
        raise ApiError(
            f"Invalid '{name}': integer below minimum value."
            f" Expected a value >= {minimum}, but got {value} instead.",
            param=name,
            code="integer_below_min_value",
        )
    if value > maximum:
        raise ApiError(
            f"Invalid '{name}': integer above maximum value."
            f" Expected a value <= {maximum}, but got {value} instead.",
            param=name,
            code="integer_above_max_value",
        )
    return value


def _download_name(filename: str) -> str:
    # A control character, such as a line break, must not reach a header.
    clean = "".join("_" if unicodedata.category(c) == "Cc" else c for c in filename)
    return clean or "file"


def _incomplete() -> ApiError:
    return ApiError("The request body ended before it was complete.")


def _missing(name: str) -> ApiError:
    return ApiError(
        f"Missing required parameter: '{name}'.",
        param=name,
        code="missing_required_parameter",
    )


def _not_one_of(name: str, value: str, allowed: tuple[str, ...]) -> ApiError:
    supported = ", ".join(f"'{choice}'" for choice in allowed)
    return ApiError(
        f"Invalid value: '{value[:100]}'. Supported values are: {supported}.",
        param=name,
        code="invalid_value",
    )


def _no_such_file(file_id: str) -> ApiError:
    return ApiError(f"No such File object: {file_id}", status=404, param="id")


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, NotFound):
        message = f"Invalid URL ({request.method} {request.path})"
    elif isinstance(error, MethodNotAllowed):
        message = f"Not allowed to {request.method} on {request.path}."
    elif isinstance(error, InternalServerError):
        message = "The server had an error while processing your request."
    else:
        message = error.description or error.name
    response = ApiError(message, status=error.code or 500).as_response()
    # Such as Allow of a 405 and Content-Range of a 416.
    for name, value in error.get_headers(request.environ):
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _add_request_id(response: Response) -> Response:
    response.headers["x-request-id"] = f"req_{secrets.token_hex(16)}"
    return response
