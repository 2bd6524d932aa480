"""The stand-in of Anthropic's files is what Anthropic's own SDK takes it for."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.standins.anthropic import BETA, AnthropicStandin
from tests.support.parts import require

FILE = ("report.txt", b"What was found", "text/plain")


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(importlib.util.find_spec("anthropic"), "pip install anthropic")
    import anthropic

    return anthropic


@pytest.fixture
def standin() -> Iterator[AnthropicStandin]:
    with AnthropicStandin() as standin:
        yield standin


@pytest.fixture
def client(sdk: Any, standin: AnthropicStandin) -> Iterator[Any]:
    with sdk.Anthropic(api_key=standin.key, base_url=standin.url, max_retries=0) as client:
        yield client


@pytest.fixture(params=["files", "beta.files", "beta.files with the header"])
def files(request: pytest.FixtureRequest, client: Any) -> Any:
    """The SDK's files in each of the ways it has."""
    if request.param == "files":
        return client.files
    if request.param == "beta.files":
        return client.beta.files
    return client.with_options(default_headers={"anthropic-beta": BETA}).beta.files


@pytest.fixture
def http(standin: AnthropicStandin) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers.update({"x-api-key": standin.key, "anthropic-version": "2023-06-01"})
        yield session


def test_uploads_and_reads_metadata(files: Any) -> None:
    uploaded = files.upload(file=FILE)
    assert (uploaded.filename, uploaded.mime_type, uploaded.size_bytes) == (
        "report.txt",
        "text/plain",
        14,
    )
    assert uploaded.type == "file"
    assert uploaded.downloadable is False
    assert uploaded.created_at.tzinfo is not None
    assert files.retrieve_metadata(uploaded.id) == uploaded


def test_keeps_the_form(client: Any, standin: AnthropicStandin) -> None:
    uploaded = client.files.upload(file=FILE, expires_in_seconds=3600)
    form = standin.files[uploaded.id].extra["form"]
    assert form.order == ["expires_in_seconds", "file"]
    assert uploaded.expires_at.timestamp() == int(uploaded.created_at.timestamp()) + 3600


def test_a_large_file_is_on_disk(
    client: Any, standin: AnthropicStandin, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(3 * 1024 * 1024))
    uploaded = client.files.upload(file=large)
    stored = standin.files[uploaded.id]
    assert stored.size == 3 * 1024 * 1024
    assert getattr(stored.content, "_rolled", True)


def test_deletes(sdk: Any, files: Any) -> None:
    uploaded = files.upload(file=FILE)
    deleted = files.delete(uploaded.id)
    assert (deleted.id, deleted.type) == (uploaded.id, "file_deleted")
    with pytest.raises(sdk.NotFoundError):
        files.delete(uploaded.id)


def test_downloads_only_what_a_tool_made(
    sdk: Any, files: Any, standin: AnthropicStandin
) -> None:
    [made] = standin.seed(1, downloadable=True)
    assert files.download(made).read() == b"file 1"
    uploaded = files.upload(file=FILE)
    with pytest.raises(sdk.BadRequestError) as caught:
        files.download(uploaded.id)
    assert caught.value.error_code == "file_not_downloadable"


def test_an_expired_file_has_no_content(
    sdk: Any, client: Any, standin: AnthropicStandin
) -> None:
    [made] = standin.seed(1, downloadable=True, expires=3600)
    with pytest.raises(sdk.NotFoundError) as caught:
        client.files.download(made)
    assert caught.value.error_code == "file_expired"


def test_pages(client: Any, standin: AnthropicStandin) -> None:
    ids = standin.seed(2_500)
    assert [file.id for file in client.files.list(limit=1000)] == ids[::-1]
    assert len(standin.seen) == 3


def test_pages_twenty_by_default(client: Any, standin: AnthropicStandin) -> None:
    standin.seed(21)
    page = client.beta.files.list()
    assert len(page.data) == 20
    assert page.next_page.startswith("page_")


def test_lists_chosen_files(sdk: Any, client: Any, standin: AnthropicStandin) -> None:
    ids = standin.seed(30)
    page = client.files.list(ids=[ids[3], "file_unknown"])
    assert [file.id for file in page] == [ids[3]]
    with pytest.raises(sdk.BadRequestError):
        client.files.list(ids=ids[:2], limit=10)


def test_pages_as_in_the_beta(client: Any, standin: AnthropicStandin) -> None:
    """The SDK's own files no longer know the cursor of the beta; its class of pages does."""
    from anthropic.pagination import SyncPage
    from anthropic.types.beta.beta_file_metadata import BetaFileMetadata

    ids = standin.seed(2_500)
    pages = client.get_api_list(
        "/v1/files",
        page=SyncPage[BetaFileMetadata],
        model=BetaFileMetadata,
        options={"headers": {"anthropic-beta": BETA}, "params": {"limit": 1000}},
    )
    assert [file.id for file in pages] == ids[::-1]
    assert len(standin.seen) == 3


def test_pages_backwards_in_the_beta(http: requests.Session, standin: AnthropicStandin) -> None:
    newest_first = standin.seed(10)[::-1]
    params = {"before_id": newest_first[5], "limit": "3"}
    url = f"{standin.url}/v1/files"
    page = http.get(url, params=params, headers={"anthropic-beta": BETA}).json()
    assert [file["id"] for file in page["data"]] == newest_first[2:5]
    assert page["has_more"] is True
    assert "expires_at" not in page["data"][0]


@pytest.mark.parametrize("limit", [0, 1001])
def test_refuses_limits(sdk: Any, files: Any, limit: int) -> None:
    with pytest.raises(sdk.BadRequestError):
        files.list(limit=limit)


@pytest.mark.parametrize("query", ["purpose=batch", "after_id=x", "page=nonsense", "order=asc"])
def test_refuses_parameters(
    http: requests.Session, standin: AnthropicStandin, query: str
) -> None:
    assert http.get(f"{standin.url}/v1/files?{query}").status_code == 400


@pytest.mark.parametrize("seconds", [3599, 7_776_001])
def test_refuses_expiries(sdk: Any, client: Any, seconds: int) -> None:
    with pytest.raises(sdk.BadRequestError):
        client.files.upload(file=FILE, expires_in_seconds=seconds)


@pytest.mark.parametrize("name", ["a" * 256, 'what"is', "a:b"])
def test_refuses_file_names(sdk: Any, client: Any, name: str) -> None:
    with pytest.raises(sdk.BadRequestError):
        client.files.upload(file=(name, b"x", "text/plain"))


def test_makes_up_a_name(client: Any) -> None:
    """The SDK sends no name at all for a stream that has none."""
    uploaded = client.files.upload(file=io.BytesIO(b"12345"))
    assert uploaded.filename == "unnamed.bin"
    assert uploaded.size_bytes == 5


def test_refuses_what_is_too_large(sdk: Any, client: Any, standin: AnthropicStandin) -> None:
    standin.largest = 4
    with pytest.raises(sdk.APIStatusError) as caught:
        client.files.upload(file=io.BytesIO(b"12345"))
    assert caught.value.status_code == 413


def test_refuses_other_fields_and_no_file(
    http: requests.Session, standin: AnthropicStandin
) -> None:
    url = f"{standin.url}/v1/files"
    assert http.post(url, data={"purpose": "batch"}, files={"file": FILE}).status_code == 400
    assert http.post(url, files={"document": FILE}).status_code == 400
    assert http.post(url, data=b"x").status_code == 400


def test_unknown_file(sdk: Any, files: Any) -> None:
    with pytest.raises(sdk.NotFoundError) as caught:
        files.retrieve_metadata("file_unknown")
    assert caught.value.type == "not_found_error"
    assert caught.value.request_id.startswith("req_")


def test_wrong_key(sdk: Any, standin: AnthropicStandin) -> None:
    with (
        sdk.Anthropic(api_key="wrong", base_url=standin.url, max_retries=0) as client,
        pytest.raises(sdk.AuthenticationError),
    ):
        client.files.list()


def test_headers(http: requests.Session, standin: AnthropicStandin) -> None:
    url = f"{standin.url}/v1/files"
    assert http.get(url).status_code == 200
    del http.headers["anthropic-version"]
    assert http.get(url).status_code == 400
    del http.headers["x-api-key"]
    assert http.get(url).status_code == 401


def test_methods_and_paths(http: requests.Session, standin: AnthropicStandin) -> None:
    assert http.put(f"{standin.url}/v1/files").status_code == 405
    assert http.get(f"{standin.url}/v1/file").status_code == 404


@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "RateLimitError"), (500, "InternalServerError"), (529, "OverloadedError")],
)
def test_fails(sdk: Any, files: Any, standin: AnthropicStandin, status: int, name: str) -> None:
    import anthropic._exceptions as exceptions

    standin.fail(status)
    with pytest.raises(getattr(sdk, name, None) or getattr(exceptions, name)):
        files.list()
    files.list()
