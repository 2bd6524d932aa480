"""The stand-in of xAI's files is what its documentation has OpenAI's SDK and HTTP do.

xAI's own SDK (xai-sdk) speaks gRPC (service ``xai_api.Files``), not HTTP, so it cannot prove
anything here. xAI's documentation uses OpenAI's SDK for uploads, and plain HTTP for lists:
OpenAI's SDK does not know the token that leads to the next page.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.standins.x_ai import XAIStandin
from tests.support.parts import require

FILE = ("data.pdf", b"%PDF-1.7")


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(importlib.util.find_spec("openai"), "pip install openai")
    import openai

    return openai


@pytest.fixture
def standin() -> Iterator[XAIStandin]:
    with XAIStandin() as standin:
        yield standin


@pytest.fixture
def files(sdk: Any, standin: XAIStandin) -> Iterator[Any]:
    url = f"{standin.url}/v1"
    with sdk.OpenAI(api_key=standin.key, base_url=url, max_retries=0) as client:
        yield client.files


@pytest.fixture
def http(standin: XAIStandin) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {standin.key}"
        yield session


def test_all_operations_of_one_file(files: Any, standin: XAIStandin) -> None:
    created = files.create(file=FILE, purpose="anything")
    assert created.to_dict() == {
        "id": created.id,
        "object": "file",
        "bytes": 8,
        "created_at": created.created_at,
        "expires_at": None,
        "filename": "data.pdf",
        "purpose": "anything",
    }
    assert files.retrieve(created.id) == created
    assert files.content(created.id).read() == FILE[1]
    assert files.delete(created.id).to_dict() == {"id": created.id, "deleted": True}
    assert not standin.files


@pytest.mark.parametrize(
    "expiry",
    [
        {"expires_after": "86400"},
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "86400"},
    ],
)
def test_expiry(standin: XAIStandin, http: requests.Session, expiry: dict[str, str]) -> None:
    url = f"{standin.url}/v1/files"
    created = http.post(url, data=expiry, files={"file": FILE}, timeout=5).json()
    assert created["expires_at"] - created["created_at"] == 86400
    assert created["purpose"] == ""


def test_expiry_behind_the_file_or_out_of_range(
    standin: XAIStandin, http: requests.Session
) -> None:
    url = f"{standin.url}/v1/files"
    # requests puts what stands in `files` into the form in this order.
    late = {"file": FILE, "expires_after": (None, b"86400")}
    answer = http.post(url, files=late, timeout=5)
    assert answer.status_code == 400
    assert answer.json().keys() == {"code", "error"}
    for seconds in ("3599", "2592001", "soon"):
        fields = {"expires_after": seconds}
        assert http.post(url, data=fields, files={"file": FILE}, timeout=5).status_code == 400


def test_openais_expiry(files: Any) -> None:
    expires_after = {"anchor": "created_at", "seconds": 3600}
    created = files.create(file=FILE, purpose="assistants", expires_after=expires_after)
    assert created.expires_at - created.created_at == 3600


def test_list_to_the_end(standin: XAIStandin, http: requests.Session) -> None:
    ids = standin.seed(2500)
    found: list[str] = []
    query: dict[str, Any] = {}
    while True:
        page = http.get(f"{standin.url}/v1/files", params=query, timeout=5).json()
        found += [file["id"] for file in page["data"]]
        if "pagination_token" not in page:
            break
        query = {"limit": 100, "pagination_token": page["pagination_token"]}
    # 2,500 are 25 full pages: the last one's token leads to an empty page.
    assert page == {"data": []}
    assert found == ids


def test_lists_do_not_know_what_openais_do(files: Any, standin: XAIStandin) -> None:
    ids = standin.seed(150)
    page = files.list(after=ids[99], purpose="none", limit=100)
    assert [file.id for file in page.data] == ids[:100]
    assert page.has_more is None
    second = files.list(extra_query={"pagination_token": ids[99]})
    assert [file.id for file in second.data] == ids[100:]


def test_orders(files: Any, standin: XAIStandin) -> None:
    ids = standin.seed(12)
    newest = files.list(order="desc", limit=2)
    assert [file.id for file in newest.data] == ids[:-3:-1]
    by_name = files.list(extra_query={"sort_by": "filename"})
    names = [file.filename for file in by_name.data]
    assert names == sorted(names)


def test_refusals(sdk: Any, files: Any, standin: XAIStandin) -> None:
    for call in (files.retrieve, files.content, files.delete):
        with pytest.raises(sdk.NotFoundError):
            call("file_none")
    for query in ({"limit": 0}, {"limit": 101}, {"order": "up"}):
        with pytest.raises(sdk.BadRequestError):
            files.list(**query)
    url = f"{standin.url}/v1"
    # As the real service does: a wrong key is an invalid argument.
    with (
        sdk.OpenAI(api_key="wrong", base_url=url, max_retries=0) as client,
        pytest.raises(sdk.BadRequestError) as caught,
    ):
        client.files.list()
    # What OpenAI's SDK takes for the body is the member `error`: here, the message.
    assert str(caught.value.body).startswith("Incorrect API key provided")
    assert requests.get(f"{url}/files", timeout=5).status_code == 401


def test_failures(sdk: Any, files: Any, standin: XAIStandin) -> None:
    standin.fail(429)
    with pytest.raises(sdk.RateLimitError):
        files.list()
    standin.fail(500)
    with pytest.raises(sdk.InternalServerError):
        files.list()
