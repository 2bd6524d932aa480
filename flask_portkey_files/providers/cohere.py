"""Cohere's datasets, the nearest that it has to files.

The contract: https://docs.cohere.com/reference/create-dataset and its neighbours, and
``datasets/raw_client.py`` of the SDK (cohere 7.3).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from ..call import FilesCall
from ..errors import UnsupportedOperation
from ..form import FileBody, UploadForm
from ..routing import Target
from .base import (
    Conversation,
    Relayed,
    Reshaped,
    UpstreamRequest,
    UpstreamResponse,
    file_segment,
)
from .capabilities import Capabilities
from .paging import Page, walk
from .reshaping import (
    ReshapingProvider,
    accepted,
    mapping,
    mappings,
    range_headers,
    selected,
    stored,
    unexpected,
    unsent,
    wanted,
)
from .shape import deletion, file_object, unix_seconds

#: The types that a dataset can be created with.
TYPES = (
    "embed-input",
    "reranker-finetune-input",
    "single-label-classification-finetune-input",
    "chat-finetune-input",
    "multi-label-classification-finetune-input",
    "batch-chat-input",
    "batch-openai-chat-input",
    "batch-embed-v2-input",
    "batch-chat-v2-input",
)

#: Cohere's states of a dataset as OpenAI's three; a dataset in another state is being read.
STATUSES = {"validated": "processed", "skipped": "processed", "failed": "error"}

#: How long Cohere keeps a dataset, in seconds.
LIFETIME = 30 * 24 * 3600

PAGE_SIZE = 100


class Cohere(ReshapingProvider):
    """Cohere: each file is a dataset of one file.

    :param base_url: where the service is.
    """

    capabilities = Capabilities(
        purposes=("batch", "fine-tune", *TYPES),
        aliases={"batch": "batch-openai-chat-input", "fine-tune": "chat-finetune-input"},
        note=(
            "Files are datasets, which Cohere deletes after 30 days; content is there for what "
            "was uploaded through the gateway."
        ),
    )

    def __init__(self, base_url: str = "https://api.cohere.com/v1") -> None:
        super().__init__(base_url)

    def upload(self, call: FilesCall, target: Target, form: UploadForm) -> Conversation:
        """Create a dataset, told to keep the file as it came, and get its metadata."""
        counted = _Counted(form.file.body)
        file = replace(form.file, name="data", body=counted)
        about = {
            "name": form.file.filename,
            "type": form.value("purpose") or "",
            "keep_original_file": "true",
        }
        response = yield self.ask(
            call,
            target,
            "POST",
            "/datasets",
            query=urlencode(about),
            body=UploadForm(fields=(), file=file, trailing=unsent(form.trailing)),
        )
        dataset_id = mapping(response, provider=target.provider).get("id")
        if not isinstance(dataset_id, str):
            raise unexpected(target.provider)
        path = f"/datasets/{quote(dataset_id, safe='')}"
        try:
            response = yield self.ask(call, target, "GET", path)
            created = self._file(_dataset(response, target))
        except Exception:
            yield from self.undo(self.ask(call, target, "DELETE", path))
            raise
        if created["bytes"] is None:
            # The service has not looked at it yet.
            created["bytes"] = counted.size
        return Reshaped(response, created)

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List datasets: all are read and sorted, since Cohere promises no order."""
        query = wanted(call, self.capabilities)
        own = self.capabilities.own_purpose(query.purpose or "")
        kind = {"datasetType": own} if own in TYPES else {}

        def fetch(cursor: Any) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
            offset = cursor or 0
            asked = urlencode({"limit": PAGE_SIZE, "offset": offset, **kind})
            response = yield self.ask(call, target, "GET", "/datasets", query=asked)
            body = mapping(response, provider=target.provider)
            found = mappings(body.get("datasets"), provider=target.provider)
            # A page may be shorter than was asked for; only an empty one is the end.
            following = offset + len(found) if found else None
            return Page([self._file(dataset) for dataset in found], following, response)

        return (yield from walk(fetch, query, order=None))

    def retrieve(self, call: FilesCall, target: Target) -> Conversation:
        """Get the dataset's metadata."""
        response = yield self.ask(call, target, "GET", f"/datasets/{file_segment(call)}")
        return Reshaped(response, self._file(_dataset(response, target)))

    def content(self, call: FilesCall, target: Target) -> Conversation:
        """Relay the file as it came, from the storage where Cohere keeps it."""
        response = yield self.ask(call, target, "GET", f"/datasets/{file_segment(call)}")
        for part in _parts(_dataset(response, target)):
            if url := part.get("original_url"):
                base = self.base_url(call, target)
                return Relayed((yield from stored(url, base, headers=range_headers(call))))
        raise UnsupportedOperation(
            f"The provider {target.provider} has not kept this file as it came; it does so for "
            "files that are uploaded through this gateway, once it has looked at them."
        )

    def delete(self, call: FilesCall, target: Target) -> Conversation:
        """Delete the dataset."""
        response = yield self.ask(call, target, "DELETE", f"/datasets/{file_segment(call)}")
        return Reshaped(accepted(response), deletion(call.file_id))

    def _file(self, dataset: dict[str, Any]) -> dict[str, Any]:
        created_at = unix_seconds(dataset.get("created_at"))
        parts = _parts(dataset)
        sizes = [
            part["size_bytes"] for part in parts if isinstance(part.get("size_bytes"), int)
        ]
        # Who has the address of a file has the file: none is shown.
        shown = [selected(part, "url", "original_url") for part in parts]
        return file_object(
            id=str(dataset.get("id", "")),
            size=sum(sizes) if sizes else None,
            created_at=created_at,
            filename=str(dataset.get("name", "")),
            purpose=self.capabilities.common_purpose(str(dataset.get("dataset_type", ""))),
            status=STATUSES.get(str(dataset.get("validation_status")), "uploaded"),
            expires_at=None if created_at is None else created_at + LIFETIME,
            extra=selected({**dataset, "dataset_parts": shown}, "name"),
        )


class _Counted:
    """A file's content that counts what is read of it."""

    def __init__(self, body: FileBody) -> None:
        self._body = body
        self.size = 0

    @property
    def length(self) -> int | None:
        """The length in bytes, ``None`` while the file is still coming in."""
        return self._body.length

    def blocks(self) -> Iterator[bytes]:
        """Yield the content piece by piece."""
        self.size = 0
        for block in self._body.blocks():
            self.size += len(block)
            yield block

    def close(self) -> None:
        """Let go of whatever holds the content."""
        self._body.close()


def _dataset(response: UpstreamResponse, target: Target) -> dict[str, Any]:
    """Return the dataset in an answer.

    :raises Refusal: the answer is no success.
    :raises UpstreamError: there is no dataset.
    """
    dataset = mapping(response, provider=target.provider).get("dataset")
    if not isinstance(dataset, dict):
        raise unexpected(target.provider)
    return dataset


def _parts(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the files of a dataset, in their order."""
    parts = dataset.get("dataset_parts")
    parts = (
        [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    )
    return sorted(parts, key=_index)


def _index(part: dict[str, Any]) -> float:
    index = part.get("index")
    return index if isinstance(index, (int, float)) else 0
