"""Fireworks' datasets, the nearest that it has to files.

The contract: https://docs.fireworks.ai/api-reference/create-dataset and its neighbours, and
``resources/datasets.py`` and ``lib/dataset_upload.py`` of the SDK (fireworks-ai 1.2).
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import replace
from pathlib import PurePath
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import uuid4

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..errors import FilesError, InvalidRequest, InvalidRoute
from ..form import FileBody, UploadForm
from ..routing import Target
from .base import (
    Conversation,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
    file_segment,
    invalid_file_id,
)
from .capabilities import Capabilities
from .paging import ListQuery, Page, walk
from .reshaping import (
    Asking,
    ReshapingProvider,
    accepted,
    mapping,
    mappings,
    range_headers,
    selected,
    stored,
    unexpected,
    wanted,
)
from .shape import Refusal, deletion, file_object, unix_seconds

#: The longest name that a dataset may be shown under.
MAX_NAME = 63

MAX_PAGE = 200

#: What a dataset is taken for that was not created here.
PURPOSE = "fine-tune"

_OCTETS = "application/octet-stream"
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OWN_ID = re.compile(r"(batch|fine-tune)-[0-9a-f]{32}")
_TOTAL = re.compile(r"bytes 0-0/([0-9]{1,18})")


class FireworksAI(ReshapingProvider):
    """Fireworks AI: each file is a dataset of one file.

    A dataset knows no purpose: those that are created here have it in their id.

    Its option: ``fireworks_account_id``, the account whose datasets they are.

    :param base_url: where the service is.
    """

    options: ClassVar[tuple[str, ...]] = ("fireworks_account_id",)
    needs_length = True
    # Both are the jobs that Fireworks takes datasets for.
    capabilities = Capabilities(
        purposes=("fine-tune", "batch"),
        note=(
            "Files are datasets of the account in `x-portkey-fireworks-account-id`; names are "
            "cut to 63 characters, and lists have no `bytes`."
        ),
    )

    #: The largest file that goes up in a form; 150 MB is the limit of the whole request.
    form_limit: ClassVar[int] = 150_000_000 - 64 * 1024

    def __init__(self, base_url: str = "https://api.fireworks.ai/v1") -> None:
        super().__init__(base_url)

    def base_url(self, call: FilesCall, target: Target) -> str:
        """Return the address of the account's datasets.

        :raises InvalidRoute: there is no account, or one that is none.
        """
        account = target.options.get("fireworks_account_id", "")
        if not _ACCOUNT.fullmatch(account):
            raise InvalidRoute(
                f"The provider {target.provider} needs the account's id, letters, digits and "
                "dashes, in the header x-portkey-fireworks-account-id.",
                param="x-portkey-fireworks-account-id",
            )
        return f"{super().base_url(call, target)}/accounts/{account}/datasets"

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Create a dataset, fill it, and get its metadata."""
        dataset_id = f"{form.value('purpose')}-{uuid4().hex}"
        dataset = {
            "displayName": _shortened(_name(form)),
            "userUploaded": {},
            # A number of 64 bits is a string in this JSON.
            "exampleCount": str(_lines(form.file.body)),
        }
        body = {"datasetId": dataset_id, "dataset": dataset}
        accepted((yield self.ask(call, target, "POST", "", json_body=body)))
        path = f"/{dataset_id}"
        size = form.file.body.length or 0
        try:
            if size <= self.form_limit:
                only = replace(form, fields=())
                accepted((yield self.ask(call, target, "POST", f"{path}:upload", body=only)))
            else:
                yield from self._through_storage(call, target, form, path)
            response = yield self.ask(call, target, "GET", path)
            created = mapping(response, provider=target.provider)
        except Exception:
            yield from self.undo(self.ask(call, target, "DELETE", path))
            raise
        return Reshaped(response, _file(created, size=size))

    def _through_storage(
        self, call: FilesCall, target: Target, form: UploadForm, path: str
    ) -> Generator[UpstreamRequest, UpstreamResponse]:
        """Fill a dataset by way of the storage, which takes what is too large for a form."""
        name, size = _name(form), form.file.body.length
        body: dict[str, Any] = {"filenameToSize": {name: str(size)}}
        response = yield self.ask(
            call, target, "POST", f"{path}:getUploadEndpoint", json_body=body
        )
        signed = {"Content-Type": _OCTETS, "X-Goog-Content-Length-Range": f"{size},{size}"}
        response = yield from stored(
            _addresses(response, target).get(name),
            self.base_url(call, target),
            method="PUT",
            headers=Headers(signed),
            body=form.file.body,
        )
        response.close()
        path = f"{path}:validateUpload"
        accepted((yield self.ask(call, target, "POST", path, json_body={})))

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List datasets, in either order as Fireworks pages them."""
        query = wanted(call, self.capabilities)
        asked = {
            "pageSize": str(_page_size(query)),
            "orderBy": "createTime desc" if query.order == "desc" else "createTime",
        }

        def fetch(cursor: Any) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
            parameters = urlencode({**asked, "pageToken": cursor} if cursor else asked)
            response = yield self.ask(call, target, "GET", "", query=parameters)
            body = mapping(response, provider=target.provider)
            found = mappings(body.get("datasets"), provider=target.provider)
            files = [_file(dataset, size=None) for dataset in found]
            return Page(files, body.get("nextPageToken") or None, response)

        return (yield from walk(fetch, query, order=query.order))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the dataset's metadata, and its file's size from the storage."""
        response = yield self.ask(call, target, "GET", _path(call))
        dataset = mapping(response, provider=target.provider)
        size = None
        if dataset.get("state") == "READY":
            size = yield from self._size(call, target)
        return Reshaped(response, _file(dataset, size=size))

    def _size(
        self, call: FilesCall, target: Target
    ) -> Generator[UpstreamRequest, UpstreamResponse, int | None]:
        """Return the size of a dataset's file, ``None`` if it can't be found out."""
        try:
            response = yield from self._download(
                call, target, Headers([("Range", "bytes=0-0"), ("Accept-Encoding", "identity")])
            )
        except (Refusal, FilesError):
            return None
        response.close()
        total = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
        return int(total[1]) if total else None

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the dataset's file from the storage, of several the first by its name."""
        return Relayed((yield from self._download(call, target, range_headers(call))))

    def _download(self, call: FilesCall, target: Target, headers: Headers) -> Asking:
        path = f"{_path(call)}:getDownloadEndpoint"
        response = yield self.ask(call, target, "GET", path)
        addresses = _addresses(response, target)
        if not addresses:
            raise InvalidRequest(
                "The file has no content yet; look at its status, and try again later.",
                param="file_id",
                code="no_content",
            )
        base = self.base_url(call, target)
        return (yield from stored(addresses[min(addresses)], base, headers=headers))

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the dataset."""
        response = yield self.ask(call, target, "DELETE", _path(call))
        return Reshaped(accepted(response), deletion(call.file_id))


def _path(call: FilesCall) -> str:
    """Return the dataset's path.

    :raises InvalidRequest: the id could be taken for one with a verb behind it.
    """
    if ":" in (call.file_id or ""):
        raise invalid_file_id()
    return f"/{file_segment(call)}"


def _addresses(response: UpstreamResponse, target: Target) -> dict[str, Any]:
    """Return the storage's addresses by the names of the files."""
    body = mapping(response, provider=target.provider)
    addresses = body.get("filenameToSignedUrls") or {}
    if not isinstance(addresses, dict):
        raise unexpected(target.provider)
    return addresses


def _file(dataset: dict[str, Any], *, size: int | None) -> dict[str, Any]:
    """Return a dataset in OpenAI's shape."""
    dataset_id = str(dataset.get("name", "")).rpartition("/")[2]
    own = _OWN_ID.fullmatch(dataset_id)
    return file_object(
        id=dataset_id,
        size=size,
        created_at=unix_seconds(dataset.get("createTime")),
        filename=str(dataset.get("displayName") or dataset_id),
        purpose=own[1] if own else PURPOSE,
        status="processed" if dataset.get("state") == "READY" else "uploaded",
        extra=selected(dataset, "name", "displayName", "userUploaded"),
    )


def _name(form: UploadForm) -> str:
    """Return the file's name without the folders that it may have before it."""
    return re.split(r"[/\\]", form.file.filename)[-1] or "file.jsonl"


def _shortened(name: str) -> str:
    """Return *name*, cut before its suffix if it is too long to be shown."""
    if len(name) <= MAX_NAME:
        return name
    suffix = PurePath(name).suffix[-MAX_NAME:]
    return name[: MAX_NAME - len(suffix)] + suffix


def _lines(body: FileBody) -> int:
    """Return the number of lines, which are examples, in a file."""
    lines, last = 0, b"\n"
    for block in body.blocks():
        lines += block.count(b"\n")
        last = block[-1:] or last
    return lines + (last != b"\n")


def _page_size(query: ListQuery) -> int:
    """Return how many datasets to ask for: one more than are needed, if that is known."""
    if query.after or query.purpose:
        return MAX_PAGE
    return min(query.limit + 1, MAX_PAGE)
