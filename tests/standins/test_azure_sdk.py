"""The stand-ins of Azure's files are what OpenAI's own SDK takes them for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.standins.azure import AzureDatedStandin, AzureV1Standin, FoundryStandin
from tests.support.parts import require

FILE = ("batch.jsonl", b'{"custom_id": "1"}\n', "application/jsonl")
TOKEN = "eyJ-an-entra-token"


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(importlib.util.find_spec("openai"), "pip install openai")
    import openai

    return openai


def _dated(sdk: Any, standin: AzureDatedStandin, **options: Any) -> Any:
    options = {"api_key": standin.key, "api_version": "2024-10-21"} | options
    return sdk.AzureOpenAI(azure_endpoint=standin.url, max_retries=0, **options)


def _v1(sdk: Any, standin: AzureV1Standin, **options: Any) -> Any:
    options = {"api_key": standin.key} | options
    return sdk.OpenAI(base_url=f"{standin.url}/openai/v1", max_retries=0, **options)


class TestDated:
    @pytest.fixture
    def standin(self) -> Iterator[AzureDatedStandin]:
        with AzureDatedStandin(tokens={TOKEN}) as standin:
            yield standin

    @pytest.fixture
    def client(self, sdk: Any, standin: AzureDatedStandin) -> Iterator[Any]:
        with _dated(sdk, standin) as client:
            yield client

    @pytest.fixture
    def http(self, standin: AzureDatedStandin) -> Iterator[requests.Session]:
        with requests.Session() as session:
            session.headers["api-key"] = standin.key
            session.params = {"api-version": "2024-10-21"}
            yield session

    def test_uploads(self, client: Any, standin: AzureDatedStandin) -> None:
        answer = client.files.with_raw_response.create(file=FILE, purpose="batch")
        uploaded = answer.parse()
        assert answer.http_response.status_code == 201
        assert answer.headers["Location"] == f"{standin.url}/openai/files/{uploaded.id}"
        assert uploaded.status == "pending"
        assert uploaded.bytes is None
        assert [client.files.retrieve(uploaded.id).status for _ in range(3)] == [
            "running",
            "processed",
            "processed",
        ]
        assert client.files.retrieve(uploaded.id).bytes == len(FILE[1])
        assert client.files.wait_for_processing(uploaded.id).status == "processed"
        assert standin.files[uploaded.id].extra["form"].order == ["purpose", "file"]

    def test_expires(self, client: Any, standin: AzureDatedStandin) -> None:
        uploaded = client.files.create(
            file=FILE, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert uploaded.expires_at == uploaded.created_at + 3600

    def test_expires_as_the_documents_write_it(
        self, http: requests.Session, standin: AzureDatedStandin
    ) -> None:
        fields = {
            "purpose": "batch",
            "expires_after.anchor": "created_at",
            "expires_after.seconds": "3600",
        }
        answer = http.post(f"{standin.url}/openai/files", data=fields, files={"file": FILE})
        assert answer.json()["expires_at"] == answer.json()["created_at"] + 3600

    def test_downloads(self, client: Any) -> None:
        uploaded = client.files.create(file=FILE, purpose="batch")
        assert client.files.content(uploaded.id).read() == FILE[1]

    def test_lists_everything_at_once(self, client: Any, standin: AzureDatedStandin) -> None:
        """There is no ``has_more``: the SDK takes the first page with an id for one of many.

        So its iterator would ask for ever, as ``after`` is ignored; only the page is looked at.
        """
        standin.seed(2_500, purpose="batch")
        standin.seed(1, purpose="fine-tune")
        page = client.files.list(limit=10)
        assert len(page.data) == 2_501
        assert page.has_more is None
        assert page.has_next_page()
        assert len(client.files.list(purpose="fine-tune").data) == 1

    def test_deletes(self, sdk: Any, client: Any, standin: AzureDatedStandin) -> None:
        first, second = standin.seed(2)
        assert client.files.delete(first).deleted is True
        with _dated(sdk, standin, api_version="2024-06-01") as earlier:
            answer = earlier.files.with_raw_response.delete(second)
        assert answer.http_response.status_code == 204
        assert answer.http_response.content == b""
        assert not standin.files

    def test_takes_a_token(self, sdk: Any, standin: AzureDatedStandin) -> None:
        with _dated(sdk, standin, api_key=None, azure_ad_token=TOKEN) as client:
            client.files.list()
        assert standin.seen[-1].headers["Authorization"] == f"Bearer {TOKEN}"
        with (
            _dated(sdk, standin, api_key=None, azure_ad_token="wrong") as client,
            pytest.raises(sdk.AuthenticationError),
        ):
            client.files.list()

    def test_wrong_key(self, sdk: Any, standin: AzureDatedStandin) -> None:
        with (
            _dated(sdk, standin, api_key="wrong") as client,
            pytest.raises(sdk.AuthenticationError),
        ):
            client.files.list()

    def test_the_key_is_no_token(self, standin: AzureDatedStandin) -> None:
        answer = requests.get(
            f"{standin.url}/openai/files?api-version=2024-10-21",
            headers={"Authorization": f"Bearer {standin.key}"},
        )
        assert answer.status_code == 401

    def test_unknown_file(self, sdk: Any, client: Any) -> None:
        with pytest.raises(sdk.NotFoundError) as caught:
            client.files.retrieve("file-unknown")
        assert caught.value.code == "notFound"

    @pytest.mark.parametrize("version", ["", "?api-version=v1", "?api-version=latest"])
    def test_needs_a_version(self, standin: AzureDatedStandin, version: str) -> None:
        answer = requests.get(
            f"{standin.url}/openai/files{version}", headers={"api-key": standin.key}
        )
        assert answer.status_code == 404
        assert answer.json() == {"error": {"code": "404", "message": "Resource not found"}}

    @pytest.mark.parametrize("path", ["/openai/v1/files", "/files", "/openai/files/a/b"])
    def test_other_paths(
        self, http: requests.Session, standin: AzureDatedStandin, path: str
    ) -> None:
        assert http.get(standin.url + path).status_code == 404

    @pytest.mark.parametrize(
        ("fields", "files"),
        [
            ({}, {"file": FILE}),
            ({"purpose": "user_data"}, {"file": FILE}),
            ({"purpose": "batch"}, {"other": (None, "x")}),
            ({"purpose": "batch"}, {"file": FILE[:2]}),
            (
                {"purpose": "batch", "expires_after[seconds]": "3600"},
                {"file": FILE},
            ),
            (
                {
                    "purpose": "batch",
                    "expires_after[anchor]": "created_at",
                    "expires_after[seconds]": "3599",
                },
                {"file": FILE},
            ),
        ],
    )
    def test_refuses_forms(
        self,
        http: requests.Session,
        standin: AzureDatedStandin,
        fields: dict[str, str],
        files: Any,
    ) -> None:
        answer = http.post(f"{standin.url}/openai/files", data=fields, files=files)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalidPayload"

    @pytest.mark.parametrize(
        ("status", "name"), [(429, "RateLimitError"), (500, "InternalServerError")]
    )
    def test_fails(
        self, sdk: Any, client: Any, standin: AzureDatedStandin, status: int, name: str
    ) -> None:
        standin.fail(status)
        with pytest.raises(getattr(sdk, name)):
            client.files.list()
        client.files.list()


@pytest.mark.parametrize("kind", [AzureV1Standin, FoundryStandin])
class TestV1:
    @pytest.fixture
    def standin(self, kind: type[AzureV1Standin]) -> Iterator[AzureV1Standin]:
        with kind(tokens={TOKEN}) as standin:
            yield standin

    @pytest.fixture
    def client(self, sdk: Any, standin: AzureV1Standin) -> Iterator[Any]:
        with _v1(sdk, standin) as client:
            yield client

    def test_uploads_reads_and_deletes(
        self, sdk: Any, client: Any, standin: AzureV1Standin
    ) -> None:
        uploaded = client.files.create(
            file=FILE, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert uploaded.status == "processed"
        assert uploaded.expires_at == uploaded.created_at + 3600
        assert client.files.retrieve(uploaded.id) == uploaded
        assert client.files.content(uploaded.id).read() == FILE[1]
        assert client.files.delete(uploaded.id).deleted is True
        with pytest.raises(sdk.NotFoundError):
            client.files.retrieve(uploaded.id)

    def test_pages(self, client: Any, standin: AzureV1Standin) -> None:
        ids = standin.seed(2_500, purpose="batch")
        standin.seed(1, purpose="assistants")
        listed = [file.id for file in client.files.list(limit=1000, purpose="batch")]
        assert listed == ids[::-1]
        assert [file.id for file in client.files.list(order="asc")][:2_500] == ids

    def test_ways_to_authenticate(self, sdk: Any, standin: AzureV1Standin) -> None:
        with _v1(sdk, standin, api_key=TOKEN) as client:
            client.files.list()
        with sdk.AzureOpenAI(
            base_url=f"{standin.url}/openai/v1",
            api_key=standin.key,
            api_version="preview",
            max_retries=0,
        ) as client:
            client.files.list()
        assert standin.seen[-1].headers["api-key"] == standin.key
        assert standin.seen[-1].query["api-version"] == "preview"

    def test_wrong_key(self, sdk: Any, standin: AzureV1Standin) -> None:
        with (
            _v1(sdk, standin, api_key="wrong") as client,
            pytest.raises(sdk.AuthenticationError),
        ):
            client.files.list()

    @pytest.mark.parametrize(
        "query",
        ["limit=0", "limit=10001", "limit=x", "order=up", "after=x", "api-version=2024"],
    )
    def test_refuses_parameters(self, standin: AzureV1Standin, query: str) -> None:
        answer = requests.get(
            f"{standin.url}/openai/v1/files?{query}", headers={"api-key": standin.key}
        )
        assert answer.status_code == 400

    def test_needs_the_type_of_the_file_part(self, standin: AzureV1Standin) -> None:
        answer = requests.post(
            f"{standin.url}/openai/v1/files",
            data={"purpose": "batch"},
            files={"file": FILE[:2]},
            headers={"api-key": standin.key},
        )
        assert answer.status_code == 400
        assert "content type" in answer.json()["error"]["message"]

    def test_other_paths(self, standin: AzureV1Standin) -> None:
        answer = requests.get(f"{standin.url}/v1/files", headers={"api-key": standin.key})
        assert answer.status_code == 404

    @pytest.mark.parametrize(
        ("status", "name"), [(429, "RateLimitError"), (500, "InternalServerError")]
    )
    def test_fails(
        self, sdk: Any, client: Any, standin: AzureV1Standin, status: int, name: str
    ) -> None:
        standin.fail(status)
        with pytest.raises(getattr(sdk, name)):
            client.files.list()


def test_a_project_of_foundry_takes_tokens_only(sdk: Any) -> None:
    with FoundryStandin(tokens={TOKEN}) as standin:
        [file_id] = standin.seed(1)
        base_url = f"{standin.url}/api/projects/one/openai/v1"
        with sdk.OpenAI(base_url=base_url, api_key=TOKEN, max_retries=0) as client:
            assert client.files.retrieve(file_id).id == file_id
        with (
            sdk.OpenAI(base_url=base_url, api_key=standin.key, max_retries=0) as client,
            pytest.raises(sdk.AuthenticationError),
        ):
            client.files.list()
