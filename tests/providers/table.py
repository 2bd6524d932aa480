"""Each provider's stand-in, and what the contract has to know of it; nothing else is known.

A provider that can't keep to the contract in some case has that in its row, with the reason,
which the test's id then shows.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from typing import Any
from urllib.parse import quote, unquote

from flask_portkey_files.providers.services import SERVICES
from tests.standins.anthropic import AnthropicStandin
from tests.standins.azure import AzureV1Standin, FoundryStandin
from tests.standins.base import BLOCK
from tests.standins.cohere import CohereStandin
from tests.standins.fireworks import FireworksStandin
from tests.standins.gcs import GCS, INSTALL, binary
from tests.standins.google import GoogleStandin
from tests.standins.openai import OpenAIStandin
from tests.standins.replicate import ReplicateStandin
from tests.standins.s3 import S3
from tests.standins.services import SERVICES as STANDINS
from tests.standins.together import TogetherStandin
from tests.support.parts import require

#: What in a row may deviate from the contract.
DOWNLOAD, PURPOSE, LISTED = "download", "purpose", "listed"
THROTTLED, HEAD = "throttled", "head"

#: A key that no provider takes, to be looked for in answers.
WRONG = "wrong-key-of-the-contract"


@dataclass(frozen=True)
class File:
    """A file that a stand-in holds and would give out."""

    name: str
    blocks: Callable[[], Iterator[bytes]]
    #: The fields of the form that it came in, where it came in one.
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A provider's stand-in, whose files are in its ``files``.

    :param standin: starts it.
    :param path: what stands behind its address in the target's base URL.
    :param options: the attributes of the stand-in that clients have to name, by the names of
        Portkey's options.
    :param credential: the option that is a credential besides the key, or instead of it.
    :param generated: what the stand-in's ``seed`` takes for files that can be downloaded,
        where that is not so for every file.
    :param begun: how much of a file has to be sent until the upload to the provider begins.
    :param unlisted: the members of a file object that are not, or not as they were, in lists.
    :param deviations: why the provider can't keep to the contract, by case.
    """

    standin: Callable[[], Any]
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    credential: str = ""
    generated: Mapping[str, Any] = field(default_factory=dict)
    begun: int = 300_000
    unlisted: tuple[str, ...] = ()
    deviations: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Skip the test if the stand-in needs what this machine does not have."""

    def headers(self, standin: Any, *, wrong: bool = False) -> dict[str, str]:
        """Return the headers that clients send besides the provider and the key."""
        given = {name: getattr(standin, own) for name, own in self.options.items()}
        if wrong and self.credential:
            given[self.credential] = WRONG
        return {f"x-portkey-{name}".replace("_", "-"): value for name, value in given.items()}

    def secrets(self, standin: Any) -> set[str]:
        """Return what must be in no answer."""
        own = {self.options[name] for name in self.options if "secret" in name}
        return {WRONG, standin.key, *(getattr(standin, name) for name in own)}

    def seed(self, standin: Any, count: int, **options: Any) -> list[str]:
        """Store small files; return their ids, the oldest first."""
        ids: list[str] = standin.seed(count, **options)
        return ids

    def files(self, standin: Any) -> dict[str, File]:
        """Return the files that are complete, by their ids."""
        return {
            file_id: File(stored.filename, stored.blocks, _fields(stored))
            for file_id, stored in standin.files.items()
        }

    def unfinished(self, standin: Any) -> int:
        """Return how many uploads were begun and neither finished nor given up."""
        return 0

    def clear(self, standin: Any) -> None:
        """Remove all files, and what the stand-in wrote for them."""
        standin.files.clear()
        _let_go(standin)


class Sessions(Row):
    """Google, where an upload is begun before the content is sent."""

    def unfinished(self, standin: Any) -> int:
        """Return the number of open sessions."""
        return sum(session.status == "active" for session in standin.sessions.values())


class Datasets(Row):
    """Fireworks, whose files are datasets."""

    def files(self, standin: Any) -> dict[str, File]:
        """Return the datasets that are ready."""
        return {
            dataset.id: File(stored.filename, stored.blocks)
            for dataset in standin.datasets.values()
            for stored in dataset.files.values()
            if dataset.state == "READY"
        }

    def unfinished(self, standin: Any) -> int:
        """Return the number of datasets that wait for their content."""
        return sum(dataset.state != "READY" for dataset in standin.datasets.values())

    def clear(self, standin: Any) -> None:
        """Remove all datasets."""
        standin.datasets.clear()
        _let_go(standin)


class Objects(Row):
    """A bucket, whose emulator is asked behind its front."""

    scheme = ""

    def seed(self, standin: Any, count: int, **options: Any) -> list[str]:
        """Store small objects."""
        return [self.id(standin, key) for key in standin.seed(count, **options)]

    def id(self, standin: Any, key: str) -> str:
        """Return the id of the file that this object is."""
        return quote(f"{self.scheme}://{standin.bucket}/{key}", safe="!'()*")

    def files(self, standin: Any) -> dict[str, File]:
        """Return the objects."""
        return {
            self.id(standin, key): File(name, partial(self.blocks, standin, key))
            for key, name in self.names(standin).items()
        }

    def clear(self, standin: Any) -> None:
        """Remove all objects."""
        for key in self.names(standin):
            self.remove(standin, key)
        _let_go(standin)

    def names(self, standin: Any) -> dict[str, str]:
        """Return the file names of all objects by the objects' own."""
        raise NotImplementedError

    def blocks(self, standin: Any, key: str) -> Iterator[bytes]:
        """Yield an object's content."""
        raise NotImplementedError

    def remove(self, standin: Any, key: str) -> None:
        """Remove an object."""
        raise NotImplementedError


class S3Objects(Objects):
    """Objects of the bucket behind Bedrock."""

    scheme = "s3"

    def check(self) -> None:
        """Skip the test without moto."""
        for part in ("boto3", "moto"):
            require(
                importlib.util.find_spec(part), "pip install boto3 'moto[server,s3,sts,iam]'"
            )

    def unfinished(self, standin: Any) -> int:
        """Return the number of open multipart uploads."""
        return len(standin._uploads)

    def names(self, standin: Any) -> dict[str, str]:
        """Return the file names, which are among the objects' metadata, if anywhere."""
        s3 = _s3(standin)
        listed = s3.list_objects_v2(Bucket=standin.bucket).get("Contents", [])
        keys = [item["Key"] for item in listed]
        heads = {key: s3.head_object(Bucket=standin.bucket, Key=key) for key in keys}
        return {
            key: unquote(head["Metadata"].get("filename", key)) for key, head in heads.items()
        }

    def blocks(self, standin: Any, key: str) -> Iterator[bytes]:
        """Yield an object's content."""
        body = _s3(standin).get_object(Bucket=standin.bucket, Key=key)["Body"]
        with body:
            yield from body.iter_chunks(BLOCK)

    def remove(self, standin: Any, key: str) -> None:
        """Remove an object."""
        _s3(standin).delete_object(Bucket=standin.bucket, Key=key)


class GCSObjects(Objects):
    """Objects of the bucket behind Vertex AI."""

    scheme = "gs"

    def check(self) -> None:
        """Skip the test without the emulator."""
        require(binary(), INSTALL)

    def names(self, standin: Any) -> dict[str, str]:
        """Return the file names, which are among the objects' metadata, if anywhere."""
        items = json.loads(b"".join(self._ask(standin, "GET", ""))).get("items", [])
        return {
            item["name"]: item.get("metadata", {}).get("filename", item["name"])
            for item in items
        }

    def blocks(self, standin: Any, key: str) -> Iterator[bytes]:
        """Yield an object's content."""
        return self._ask(standin, "GET", f"/{quote(key, safe='')}?alt=media")

    def remove(self, standin: Any, key: str) -> None:
        """Remove an object."""
        for _ in self._ask(standin, "DELETE", f"/{quote(key, safe='')}"):
            pass

    def _ask(self, standin: Any, method: str, path: str) -> Iterator[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", standin._port, timeout=30)
        connection.request(method, f"/storage/v1/b/{standin.bucket}/o{path}")
        answer = connection.getresponse()
        assert answer.status in {200, 204}, answer.status
        while block := answer.read(BLOCK):
            yield block
        connection.close()


@cache
def _s3(standin: S3) -> Any:
    """Return a client of moto itself: the front's record stays what the gateway sent."""
    return import_module("boto3").client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{standin._port}",
        region_name=standin.region,
        aws_access_key_id=standin.key_id,
        aws_secret_access_key=standin.secret,
    )


def _let_go(standin: Any) -> None:
    """Close the files of uploads, which may be large."""
    for file in standin._held:
        file.close()
    standin._held.clear()


def _fields(stored: Any) -> tuple[tuple[str, str], ...]:
    form = stored.extra.get("form")
    return tuple(form.fields) if form else ()


UPLOADS = "uploads are not downloadable"
PURPOSES = "purposes are not kept"


def _service(slug: str, **more: Any) -> Row:
    return Row(standin=STANDINS[slug], path=STANDINS[slug].prefix, **more)


TABLE: Mapping[str, Row] = {
    "openai": Row(
        standin=OpenAIStandin,
        path="/v1",
        deviations={HEAD: "HEAD is relayed as such, for OpenAI to judge"},
    ),
    "azure-openai": Row(standin=AzureV1Standin, path="/openai"),
    "azure-ai": Row(standin=FoundryStandin, path="/models"),
    "anthropic": Row(
        standin=AnthropicStandin,
        path="/v1",
        generated={"downloadable": True},
        deviations={DOWNLOAD: UPLOADS, PURPOSE: PURPOSES},
    ),
    "google": Sessions(
        standin=GoogleStandin,
        generated={"source": "GENERATED"},
        deviations={DOWNLOAD: UPLOADS, PURPOSE: PURPOSES},
    ),
    "bedrock": S3Objects(
        standin=S3,
        options={
            "aws_s3_bucket": "bucket",
            "aws_region": "region",
            "aws_access_key_id": "key_id",
            "aws_secret_access_key": "secret",
        },
        credential="aws_secret_access_key",
        # What fits into one part is held until its end is known.
        begun=12 * 1024 * 1024,
        unlisted=("filename",),
        deviations={
            LISTED: "lists tell the keys only, whose names are of safe characters",
            THROTTLED: "HEAD does not tell why it is a 503",
        },
    ),
    "vertex-ai": GCSObjects(standin=GCS, options={"vertex_storage_bucket_name": "bucket"}),
    "mistral-ai": _service("mistral-ai"),
    "x-ai": _service("x-ai"),
    "together-ai": Row(standin=TogetherStandin, path="/v1"),
    "fireworks-ai": Datasets(
        standin=FireworksStandin,
        path="/v1",
        options={"fireworks_account_id": "account"},
        unlisted=("bytes",),
        deviations={LISTED: "lists tell no sizes"},
    ),
    "cohere": Row(standin=CohereStandin, path="/v1"),
    "replicate": Row(
        standin=ReplicateStandin,
        path="/v1",
        options={"replicate_owner": "owner", "replicate_signing_secret": "signing_secret"},
        credential="replicate_signing_secret",
    ),
    "openrouter": _service(
        "openrouter",
        generated={"downloadable": True},
        deviations={DOWNLOAD: UPLOADS, PURPOSE: PURPOSES},
    ),
    **{slug: _service(slug) for slug in SERVICES},
}
