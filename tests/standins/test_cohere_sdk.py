"""Cohere's stand-in as Cohere's own SDK sees it.

The SDK (7.3) has every operation; none of them is a file's content. Each file of a dataset has
an address in the storage, which is fetched over plain HTTP.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import Any

import pytest
import requests

from tests.standins.cohere import CohereStandin
from tests.support.parts import require

BEARER = {"Authorization": f"Bearer {CohereStandin.key}"}


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(find_spec("cohere"), "cohere is not there: pip install cohere")
    return importlib.import_module("cohere")


@pytest.fixture
def service() -> Iterator[CohereStandin]:
    with CohereStandin() as standin:
        yield standin


@pytest.fixture
def client(sdk: Any, service: CohereStandin) -> Any:
    return sdk.Client(api_key=service.key, base_url=service.url, max_retries=0)


def create(client: Any, **options: Any) -> str:
    data = ("a.jsonl", io.BytesIO(b'{"text": "a"}\n'), "application/jsonl")
    options = {"name": "my data.jsonl", "type": "embed-input", **options}
    created = client.datasets.create(data=data, **options)
    assert isinstance(created.id, str)
    return created.id


def test_create_and_back(client: Any, service: CohereStandin) -> None:
    dataset_id = create(client, keep_original_file=True)
    assert dataset_id.startswith("my-data-jsonl-")
    assert service.seen[0].query["name"] == "my data.jsonl"
    assert service.files[dataset_id].extra["form"].content_type == "application/jsonl"
    dataset = client.datasets.get(dataset_id).dataset
    assert (dataset.name, dataset.dataset_type) == ("my data.jsonl", "embed-input")
    assert dataset.validation_status == "validated"
    assert dataset.created_at.tzinfo is not None
    (part,) = dataset.dataset_parts
    assert (part.name, part.size_bytes) == ("a.jsonl", 14)
    assert requests.get(part.original_url, timeout=10).content == b'{"text": "a"}\n'
    assert client.datasets.get_usage().organization_usage == 14
    assert client.datasets.delete(dataset_id) == {}
    assert client.datasets.list().datasets == []


def test_original_is_kept_only_if_asked_for(client: Any) -> None:
    (part,) = client.datasets.get(create(client)).dataset.dataset_parts
    assert part.original_url is None


def test_storage_refuses_the_key(client: Any) -> None:
    dataset_id = create(client, keep_original_file=True)
    (part,) = client.datasets.get(dataset_id).dataset.dataset_parts
    assert requests.get(part.original_url, headers=BEARER, timeout=10).status_code == 400


def test_pages(client: Any, service: CohereStandin) -> None:
    ids = service.seed(2500)
    listed: list[str] = []
    while page := client.datasets.list(limit=400, offset=len(listed)).datasets:
        listed += [dataset.id for dataset in page]
    assert listed == ids[::-1]
    assert len(client.datasets.list().datasets) == 2500


def test_pages_under_a_cap(client: Any, service: CohereStandin) -> None:
    ids = service.seed(250)
    service.cap = 100
    assert len(client.datasets.list(limit=400).datasets) == 100
    assert client.datasets.list(limit=400, offset=249).datasets[0].id == ids[0]


def test_filters(client: Any, service: CohereStandin) -> None:
    ids = service.seed(10)
    chat = create(client, type="batch-chat-input")
    listed = client.datasets.list(dataset_type="batch-chat-input").datasets
    assert [dataset.id for dataset in listed] == [chat]
    middle = datetime.fromtimestamp(1_700_000_005, timezone.utc)
    listed = client.datasets.list(before=middle).datasets
    assert [dataset.id for dataset in listed] == ids[3::-1]
    listed = client.datasets.list(after=middle, validation_status="validated").datasets
    assert [dataset.id for dataset in listed] == [chat, *ids[:4:-1]]
    assert client.datasets.list(validation_status="failed").datasets == []


def test_refusals(client: Any, sdk: Any, service: CohereStandin) -> None:
    with pytest.raises(sdk.NotFoundError) as unknown:
        client.datasets.get("none")
    assert set(unknown.value.body) == {"id", "message"}
    with pytest.raises(sdk.NotFoundError):
        client.datasets.delete("none")
    stranger = sdk.Client(api_key="wrong", base_url=service.url, max_retries=0)
    with pytest.raises(sdk.UnauthorizedError):
        stranger.datasets.list()
    service.fail(429)
    with pytest.raises(sdk.TooManyRequestsError):
        client.datasets.list()
    service.fail(500)
    with pytest.raises(sdk.InternalServerError):
        client.datasets.list()


def test_create_refuses(client: Any, sdk: Any, service: CohereStandin) -> None:
    for options in ({"name": ""}, {"type": "batch"}):
        with pytest.raises(sdk.BadRequestError):
            create(client, **options)
    url = f"{service.url}/v1/datasets"
    query = {"name": "a", "type": "embed-input"}
    data = {"data": ("a.jsonl", b"content")}
    in_form = requests.post(url, data=query, files=data, headers=BEARER, timeout=10)
    assert in_form.status_code == 400
    other: dict[str, Any] = {"file": ("a.jsonl", b"content")}
    answer = requests.post(url, params=query, files=other, headers=BEARER, timeout=10)
    assert answer.status_code == 400
    for limit in (-1, "some"):
        answer = requests.get(url, params={"limit": limit}, headers=BEARER, timeout=10)
        assert answer.status_code == 400


def test_large_file(client: Any, service: CohereStandin) -> None:
    content = b"0123456789abcde\n" * 500_000
    created = client.datasets.create(
        name="large",
        type="embed-input",
        data=("large.jsonl", io.BytesIO(content), "application/jsonl"),
        keep_original_file=True,
    )
    (part,) = client.datasets.get(created.id).dataset.dataset_parts
    assert requests.get(part.original_url, timeout=10).content == content


def test_no_content(service: CohereStandin) -> None:
    (dataset_id,) = service.seed(1)
    url = f"{service.url}/v1/datasets/{dataset_id}/content"
    assert requests.get(url, headers=BEARER, timeout=10).status_code == 404
