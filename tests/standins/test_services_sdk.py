"""The stand-ins of the services without an SDK of their own are what OpenAI's takes them for.

Their documentation uses OpenAI's SDK. dashscope's own speaks another API (``/api/v1/files``),
and that of Cerebras has no files (cerebras-cloud-sdk 1.91: its documentation is ahead of it).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.standins.openai import OpenAIStandin
from tests.standins.services import SERVICES
from tests.support.parts import require

LINES = b'{"custom_id": "request-1"}\n'
#: Those that this module proves; the others have modules of their own.
PROVED = (
    "cerebras",
    "dashscope",
    "deepinfra",
    "kluster-ai",
    "moonshot",
    "nebius",
    "novita-ai",
    "siliconflow",
)
WITH_RETRIEVE = [slug for slug in PROVED if slug != "siliconflow"]
WITH_CURSOR = ("cerebras", "dashscope", "deepinfra", "kluster-ai")


@pytest.fixture(scope="module")
def sdk() -> Any:
    require(importlib.util.find_spec("openai"), "pip install openai")
    import openai

    return openai


@dataclass(frozen=True)
class Service:
    """A service's stand-in, and OpenAI's SDK on it."""

    slug: str
    standin: OpenAIStandin
    files: Any
    url: str

    def get(self, path: str, **query: str) -> requests.Response:
        """Ask the stand-in without an SDK."""
        key = {"Authorization": f"Bearer {self.standin.key}"}
        return requests.get(f"{self.url}{path}", params=query, headers=key, timeout=5)


@pytest.fixture
def service(request: pytest.FixtureRequest, sdk: Any) -> Iterator[Service]:
    slug: str = request.param
    with SERVICES[slug]() as standin:
        url = f"{standin.url}{standin.prefix}"
        with sdk.OpenAI(api_key=standin.key, base_url=url, max_retries=0) as client:
            yield Service(slug, standin, client.files, url)


def services(*slugs: str) -> pytest.MarkDecorator:
    """Run a test on each of these services."""
    return pytest.mark.parametrize("service", slugs, indirect=True)


def upload(service: Service) -> Any:
    return service.files.create(file=("data.jsonl", LINES), purpose="batch")


@services(*WITH_RETRIEVE)
def test_all_operations_of_one_file(service: Service) -> None:
    created = upload(service)
    assert (created.object, created.filename, created.bytes, created.purpose) == (
        "file",
        "data.jsonl",
        len(LINES),
        "batch",
    )
    assert isinstance(created.created_at, int)
    assert service.standin.files[created.id].extra["form"].order == ["purpose", "file"]
    assert service.files.retrieve(created.id) == created
    content = service.files.content(created.id)
    assert content.read() == LINES
    kind = "x-ndjson" if service.slug == "cerebras" else "octet-stream"
    assert content.response.headers["Content-Type"] == f"application/{kind}"
    deleted = service.files.delete(created.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (created.id, True, "file")
    assert not service.standin.files


@services(*WITH_RETRIEVE)
def test_the_status_of_each(service: Service) -> None:
    created = upload(service).to_dict()
    match service.slug:
        case "dashscope" | "kluster-ai":
            assert created["status"] == "processed"
        case "moonshot":
            assert created["status"] == "ok"
        case "nebius":
            assert created["status"] is None
        case _:
            assert "status" not in created


@services(*WITH_CURSOR)
def test_list_to_the_end(service: Service) -> None:
    ids = service.standin.seed(2500)
    limit = 100 if service.slug == "cerebras" else 1000
    found = [file.id for file in service.files.list(limit=limit)]
    assert found == (ids if service.slug == "cerebras" else ids[::-1])
    for query in ({"limit": 0}, {"limit": 10_001}, {"after": "none"}):
        assert (
            service.get("/files", **{key: str(query[key]) for key in query}).status_code == 400
        )


@services(*WITH_CURSOR)
def test_orders(service: Service) -> None:
    ids = service.standin.seed(3)
    oldest_first = [file.id for file in service.files.list(order="asc")] == ids
    # Model Studio does not know the parameter; Cerebras knows no other order.
    assert oldest_first is (service.slug != "dashscope")


@services("moonshot", "novita-ai")
def test_lists_that_hold_all_files(service: Service) -> None:
    ids = service.standin.seed(2500)
    page = service.files.list(limit=1, after=ids[7])
    assert [file.id for file in page.data] == ids[::-1]
    assert page.has_more is None


@services("nebius", "siliconflow")
def test_lists_with_a_limit_alone(service: Service) -> None:
    ids = service.standin.seed(2500)

    def found(**query: str) -> list[str]:
        data = service.get("/files", purpose="batch", **query).json()["data"]
        return [file["id"] for file in (data if isinstance(data, list) else data["data"])]

    assert found() == ids[: -10 - 1 : -1]
    assert found(after=ids[-1]) == found()
    assert found(limit="10000") == ids[::-1]
    assert service.get("/files", purpose="batch", limit="0").status_code in {400, 422}


@services("cerebras", "deepinfra")
def test_files_that_expire(service: Service) -> None:
    days = {"cerebras": 7, "deepinfra": 30}[service.slug]
    created = upload(service)
    assert created.expires_at - created.created_at == days * 86400


@services("cerebras", "deepinfra")
def test_openais_expiry(service: Service, sdk: Any) -> None:
    def create(seconds: int, anchor: str = "created_at") -> Any:
        return service.files.create(
            file=("data.jsonl", LINES),
            purpose="batch",
            expires_after={"anchor": anchor, "seconds": seconds},
        )

    created = create(3600)
    assert created.expires_at - created.created_at == 3600
    for arguments in ((3599,), (2_592_001,), (3600, "deleted_at")):
        with pytest.raises(sdk.BadRequestError):
            create(*arguments)


@services("moonshot")
def test_extracted_text(service: Service, sdk: Any) -> None:
    text = 'Größe "1"\n'
    document = service.files.create(file=("data.txt", text.encode()), purpose="file-extract")
    content = service.files.content(document.id)
    assert content.response.headers["Content-Type"] == "application/json"
    assert content.response.json() == {
        "content": text,
        "file_type": "text/plain",
        "filename": "data.txt",
        "title": "",
        "type": "file",
    }
    image = service.files.create(file=("data.png", b"\x89PNG"), purpose="image")
    with pytest.raises(sdk.BadRequestError):
        service.files.content(image.id)


@services("dashscope")
def test_ids_that_name_the_purpose(service: Service) -> None:
    assert upload(service).id.startswith("file-batch-")
    document = service.files.create(file=("data.txt", LINES), purpose="file-extract")
    assert document.id.startswith("file-fe-")
    assert document.status_details is None
    assert [file.id for file in service.files.list(purpose="file-extract")] == [document.id]


@services("novita-ai")
def test_novitas_wrapping_of_lists(service: Service) -> None:
    created = upload(service)
    assert created.to_dict()["metadata"] == {"total_requests": 1}
    body = service.get("/files").json()
    assert body.keys() == {"code", "message", "data"}
    assert body["data"] == [created.to_dict()]


@services("siliconflow")
def test_siliconflows_wrapping(service: Service, sdk: Any) -> None:
    created = upload(service)
    assert (created.code, created.message, created.status) == (20000, "Ok", True)
    assert created.data.keys() == {
        "id",
        "object",
        "bytes",
        "createdAt",
        "filename",
        "purpose",
    }
    body = service.get("/files", purpose="batch").json()
    assert body["data"]["object"] == "file"
    [listed] = body["data"]["data"]
    assert (listed["id"], listed["line_count"]) == (created.data["id"], 1)
    assert listed["created_at"] == created.data["createdAt"]
    assert service.get("/files").status_code == 400
    for call in (service.files.retrieve, service.files.content, service.files.delete):
        with pytest.raises(sdk.NotFoundError):
            call(listed["id"])


@services(*WITH_RETRIEVE)
def test_an_unknown_file(service: Service, sdk: Any) -> None:
    # Model Studio says that the request is bad.
    expected = sdk.BadRequestError if service.slug == "dashscope" else sdk.NotFoundError
    for call in (service.files.retrieve, service.files.content, service.files.delete):
        with pytest.raises(expected):
            call("file-none")


@services(*PROVED)
def test_refusals(service: Service, sdk: Any) -> None:
    expected = sdk.UnprocessableEntityError if service.slug == "nebius" else sdk.BadRequestError
    with pytest.raises(expected):
        service.files.create(file=("data.jsonl", LINES), purpose="assistants")
    with (
        sdk.OpenAI(api_key="wrong", base_url=service.url, max_retries=0) as client,
        pytest.raises(sdk.AuthenticationError),
    ):
        client.files.list()
    key = {"Authorization": f"Bearer {service.standin.key}"}
    url = f"{service.url}/files"
    form = {"purpose": (None, "batch")}
    assert requests.post(url, headers=key, files=form, timeout=5).status_code in {400, 422}
    assert requests.post(url, headers=key, data=b"{}", timeout=5).status_code in {400, 422}
    assert not service.standin.files


@services(*PROVED)
def test_failures(service: Service, sdk: Any) -> None:
    service.standin.fail(429)
    with pytest.raises(sdk.RateLimitError):
        upload(service)
    service.standin.fail(500)
    with pytest.raises(sdk.InternalServerError):
        upload(service)
    assert not service.standin.files


def test_every_service_has_a_source_and_a_proof() -> None:
    proved_elsewhere = {"groq", "mistral-ai", "openrouter", "x-ai", "z-ai", "zhipu"}
    assert set(SERVICES) == {*PROVED, *proved_elsewhere}
    assert all(standin.source for standin in SERVICES.values())
