"""The stand-ins of Zhipu's and Z.ai's files are what their own SDKs take them for.

Neither SDK has metadata of one file, nor has the API: that is tested over plain HTTP. Both have
no exception of their own for 404.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.standins.services import ZAIStandin, ZhipuStandin
from tests.support.parts import require

LINES = b'{"custom_id": "request-1"}\n'


@dataclass(frozen=True)
class Sdk:
    """A service's SDK: its module, the name of its client, and the stand-in."""

    module: Any
    client: str
    standin: ZhipuStandin

    def files(self, key: str) -> Any:
        """Return the SDK's files."""
        make = getattr(self.module, self.client)
        base_url = f"{self.standin.url}/api/paas/v4"
        return make(api_key=key, base_url=base_url, max_retries=0).files


@pytest.fixture(params=["zhipuai.ZhipuAI", "zai.ZhipuAiClient", "zai.ZaiClient"])
def sdk(request: pytest.FixtureRequest) -> Iterator[Sdk]:
    name, _, client = request.param.partition(".")
    package = {"zhipuai": "zhipuai", "zai": "zai-sdk"}[name]
    require(importlib.util.find_spec(name), f"pip install {package} sniffio")
    kind = ZAIStandin if client == "ZaiClient" else ZhipuStandin
    with kind() as standin:
        yield Sdk(importlib.import_module(name), client, standin)


@pytest.fixture
def files(sdk: Sdk) -> Any:
    return sdk.files(sdk.standin.key)


def test_upload_content_delete(sdk: Sdk, files: Any) -> None:
    created = files.create(file=("data.jsonl", LINES), purpose="batch")
    assert (created.object, created.filename, created.bytes, created.purpose) == (
        "file",
        "data.jsonl",
        len(LINES),
        "batch",
    )
    assert created.status is None
    assert files.content(created.id).read() == LINES
    deleted = files.delete(created.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (created.id, True, "file")
    assert not sdk.standin.files


def test_list_to_the_end(sdk: Sdk, files: Any) -> None:
    ids = sdk.standin.seed(2500, purpose="batch")
    found: list[str] = []
    query: dict[str, Any] = {"purpose": "batch", "limit": 100}
    while True:
        page = files.list(**query)
        found += [file.id for file in page.data]
        if not page.has_more:
            break
        query["after"] = found[-1]
    assert found == ids[::-1]
    assert len(files.list(purpose="batch").data) == 20
    assert files.list(purpose="agent").data == []


def test_refusals(sdk: Sdk, files: Any) -> None:
    failed = sdk.module.core.APIRequestFailedError
    for query in (
        {},
        {"purpose": "assistants"},
        {"purpose": "batch", "limit": 101},
        {"purpose": "batch", "order": "desc"},
        {"purpose": "batch", "after": "none"},
    ):
        with pytest.raises(failed, match="1210"):
            files.list(**query)
    with pytest.raises(failed):
        files.create(file=("data.jsonl", LINES), purpose="assistants")
    document = files.create(file=("data.txt", LINES), purpose="agent")
    with pytest.raises(failed):
        files.content(document.id)
    with pytest.raises(sdk.module.core.APIAuthenticationError, match="1000"):
        sdk.files("wrong").list(purpose="batch")
    for call in (files.content, files.delete):
        with pytest.raises(sdk.module.core.APIStatusError) as caught:
            call("none")
        assert caught.value.status_code == 404


def test_there_is_no_metadata_of_one_file(sdk: Sdk) -> None:
    [file_id] = sdk.standin.seed(1)
    url = f"{sdk.standin.url}/api/paas/v4/files/{file_id}"
    key = {"Authorization": f"Bearer {sdk.standin.key}"}
    assert requests.get(url, headers=key, timeout=5).status_code == 404


def test_failures(sdk: Sdk, files: Any) -> None:
    sdk.standin.fail(429)
    with pytest.raises(sdk.module.core.APIReachLimitError):
        files.list(purpose="batch")
    sdk.standin.fail(500)
    with pytest.raises(sdk.module.core.APIInternalError):
        files.list(purpose="batch")
