"""Fireworks' stand-in as Fireworks' own SDK sees it.

The SDK (1.2) has every operation, and a helper that uploads through the storage, which insists
on https: the test that uses it takes the stand-in's addresses for such.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from tests.standins.fireworks import FireworksStandin
from tests.support.parts import require

OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(find_spec("fireworks"), "fireworks is not there: pip install fireworks-ai")
    return importlib.import_module("fireworks")


@pytest.fixture
def service() -> Iterator[FireworksStandin]:
    with FireworksStandin() as standin:
        yield standin


@pytest.fixture
def client(sdk: Any, service: FireworksStandin) -> Any:
    return sdk.Fireworks(
        api_key=service.key, account_id=service.account, base_url=service.url, max_retries=0
    )


def create(client: Any, dataset_id: str = "mine") -> Any:
    dataset = {"display_name": "Mine", "user_uploaded": {}, "example_count": "1"}
    return client.datasets.create(dataset_id=dataset_id, dataset=dataset)


def fetched(client: Any, dataset_id: str) -> dict[str, bytes]:
    urls = client.datasets.get_download_endpoint(dataset_id).filename_to_signed_urls
    return {name: requests.get(url, timeout=10).content for name, url in urls.items()}


def test_form_and_back(client: Any, service: FireworksStandin, tmp_path: Path) -> None:
    created = create(client)
    assert created.name == "accounts/acme/datasets/mine"
    assert (created.state, created.display_name) == ("UPLOADING", "Mine")
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    uploaded = client.datasets.upload("mine", file=path)
    assert (uploaded.id, uploaded.bytes, uploaded.filename) == ("mine", 9, "a.jsonl")
    assert (uploaded.object, type(uploaded.created_at)) == ("file", int)
    assert service.datasets["mine"].files["a.jsonl"].extra["form"].order == ["file"]
    ready = client.datasets.get("mine")
    assert (ready.state, ready.create_time) == ("READY", created.create_time)
    assert fetched(client, "mine") == {"a.jsonl": b'{"a": 1}\n'}
    assert client.datasets.delete("mine") == {}
    assert list(client.datasets.list()) == []


def test_shards_through_the_storage(
    client: Any, service: FireworksStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = importlib.import_module("fireworks.lib.dataset_upload")
    httpx = helper.httpx

    def secure(url: str) -> Any:
        return httpx.URL(url).copy_with(scheme="https")

    monkeypatch.setattr(helper, "httpx", SimpleNamespace(Client=httpx.Client, URL=secure))
    for name, lines in {"a.jsonl": 1, "b.jsonl": 500_000}.items():
        (tmp_path / name).write_bytes(b"0123456789abcde\n" * lines)
    create(client)
    helper.upload_dataset_shards(client, "mine", str(tmp_path))
    assert client.datasets.get("mine").state == "READY"
    puts = [seen for seen in service.seen if seen.method == "PUT"]
    assert [len(puts), puts[0].headers.get("Authorization")] == [2, None]
    assert puts[0].headers["X-Goog-Content-Length-Range"] == "16,16"
    for name, content in fetched(client, "mine").items():
        assert (
            hashlib.sha256(content).digest()
            == hashlib.sha256((tmp_path / name).read_bytes()).digest()
        )


@pytest.mark.parametrize("page_size", [None, 7, 200, 1000])
def test_pages(client: Any, service: FireworksStandin, page_size: int | None) -> None:
    count = 2500 if page_size == 200 else 450
    ids = service.seed(count)
    options = {} if page_size is None else {"page_size": page_size}
    listed = [dataset.name.split("/")[-1] for dataset in client.datasets.list(**options)]
    assert listed == ids[::-1]
    assert len(service.seen) == -(-count // min(page_size or 50, 200))


def test_pages_by_time(client: Any, service: FireworksStandin) -> None:
    ids = service.seed(120)
    listed = client.datasets.list(order_by="createTime desc", page_size=50)
    assert [dataset.name.split("/")[-1] for dataset in listed] == ids[::-1]
    listed = client.datasets.list(order_by="createTime")
    assert [dataset.name.split("/")[-1] for dataset in listed] == ids


def test_total_and_bad_parameters(client: Any, sdk: Any, service: FireworksStandin) -> None:
    service.seed(60)
    page = client.datasets.list(page_size=50)
    assert page.to_dict()["totalSize"] == 60
    for options in (
        {"page_token": "none"},
        {"page_token": page.next_page_token, "order_by": "createTime"},
        {"page_size": -1},
        {"order_by": "size"},
    ):
        with pytest.raises(sdk.BadRequestError):
            client.datasets.list(**options)


def test_refusals(client: Any, sdk: Any, service: FireworksStandin) -> None:
    for call in (
        client.datasets.get,
        client.datasets.delete,
        client.datasets.get_download_endpoint,
    ):
        with pytest.raises(sdk.NotFoundError) as unknown:
            call("none")
    assert unknown.value.body == {"code": 5, "message": "refused: 404", "details": []}
    with pytest.raises(sdk.AuthenticationError):
        client.with_options(api_key="wrong").datasets.list()
    with pytest.raises(sdk.PermissionDeniedError):
        client.datasets.list(account_id="another")
    service.fail(429)
    with pytest.raises(sdk.RateLimitError):
        client.datasets.list()
    service.fail(500)
    with pytest.raises(sdk.InternalServerError):
        client.datasets.list()


def test_create_refuses(client: Any, sdk: Any) -> None:
    create(client)
    with pytest.raises(sdk.ConflictError):
        create(client)
    for dataset_id in ("", "Upper", "a.jsonl", "1st", "end-", "a" * 64):
        with pytest.raises(sdk.BadRequestError):
            create(client, dataset_id)
    with pytest.raises(sdk.BadRequestError):
        client.datasets.create(dataset_id="b", dataset={"display_name": "x" * 64})


def test_steps_out_of_order(client: Any, sdk: Any, service: FireworksStandin) -> None:
    create(client)
    with pytest.raises(sdk.BadRequestError):
        client.datasets.get_download_endpoint("mine")
    with pytest.raises(sdk.BadRequestError):
        client.datasets.validate_upload("mine", body={})
    for sizes in ({}, {"a/b.jsonl": "1"}, {"a.jsonl": "many"}):
        with pytest.raises(sdk.BadRequestError):
            client.datasets.get_upload_endpoint("mine", filename_to_size=sizes)
    client.datasets.get_upload_endpoint("mine", filename_to_size={"a.jsonl": "1"})
    with pytest.raises(sdk.BadRequestError):
        client.datasets.validate_upload("mine", body={})
    with pytest.raises(sdk.BadRequestError):
        client.datasets.upload("mine")
    service.form_limit = 3
    with pytest.raises(sdk.APIStatusError):
        client.datasets.upload("mine", file=("a.jsonl", b"1234"))
    client.datasets.upload("mine", file=("a.jsonl", b"123"))
    with pytest.raises(sdk.BadRequestError):
        client.datasets.upload("mine", file=("a.jsonl", b"123"))


def test_storage_takes_what_was_signed(client: Any) -> None:
    create(client)
    endpoint = client.datasets.get_upload_endpoint("mine", filename_to_size={"a.jsonl": "3"})
    address = endpoint.filename_to_signed_urls["a.jsonl"]
    assert "SignedHeaders=content-type%3Bhost%3Bx-goog-content-length-range" in address
    signed = {"Content-Type": OCTETS, "X-Goog-Content-Length-Range": "3,3"}

    def put(content: Any, **headers: str) -> tuple[int, bool]:
        sent = {name: value for name, value in {**signed, **headers}.items() if value}
        answer = requests.put(address, data=content, headers=sent, timeout=10)
        return answer.status_code, "</Error>" in answer.text

    assert put(b"abc", **{"X-Goog-Content-Length-Range": ""}) == (400, True)
    assert put(b"abc", **{"X-Goog-Content-Length-Range": "0,9"}) == (403, True)
    assert put(b"abc", **{"Content-Type": "text/plain"}) == (403, True)
    assert put(b"abc", Authorization="Bearer standin-key") == (400, True)
    assert put(iter([b"abc"])) == (411, True)
    assert put(b"ab") == (400, True)
    assert put(b"abcd") == (400, True)
    assert put(b"abc") == (200, False)
    assert put(b"abc") == (400, True)
