"""What holds for every provider of the registry, to a client that does not know which it is.

The client is OpenAI's own. It names the provider and what that has to be told in headers; the
resolver adds the stand-in's address. What a provider can't do is in ``table.py``.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from uuid import uuid4

import openai
import pytest
import requests

from flask_portkey_files import FilesCall, HeaderResolver, Operation, Target
from flask_portkey_files.idempotency.once import _Attempt
from flask_portkey_files.providers import Capabilities, Provider, registry
from flask_portkey_files.providers.capabilities import OPENAI_EXPIRY

from .checks import break_off, digest
from .gateway import Gateway
from .table import DOWNLOAD, HEAD, LISTED, PURPOSE, TABLE, THROTTLED, WRONG, File, Row

Call = Callable[[], Any]

REGISTRY = registry()
MIB = 1024 * 1024
DAY = 24 * 3600
NAME = "données & 1.jsonl"
LINES = b'{"custom_id": "1"}\n' * 20

#: The members that each file object has, and their types.
SHAPE = {
    "id": str,
    "object": str,
    "bytes": int,
    "created_at": int,
    "filename": str,
    "purpose": str,
    "status": str,
}
#: What an object store is asked for a file's metadata for.
BY_METADATA = (Operation.RETRIEVE, Operation.DELETE)
OF_A_FILE = (Operation.RETRIEVE, Operation.CONTENT, Operation.DELETE)
FAULTS: dict[int, type[openai.APIStatusError]] = {
    401: openai.AuthenticationError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}


@dataclass(frozen=True)
class Served:
    """A provider's stand-in with a gateway in front of it."""

    slug: str
    row: Row
    provider: Provider
    standin: Any
    gateway: Gateway
    client: openai.OpenAI

    @property
    def known(self) -> Capabilities:
        """What the provider says that it can do."""
        return self.provider.capabilities

    @property
    def files(self) -> Any:
        """The client's files; untyped, for some providers have purposes of their own."""
        return self.client.files

    @property
    def purposes(self) -> tuple[str, ...]:
        """One purpose of the provider's, and another one if there is one."""
        one, *others = {"batch": None, **dict.fromkeys(self.known.purposes or ("user_data",))}
        return (one, *others[:1])

    def upload(self, content: Any = LINES, purpose: str = "batch", **fields: Any) -> Any:
        """Upload a file."""
        return self.files.create(file=(NAME, content), purpose=purpose, **fields)

    def seed(self, count: int = 1, **options: Any) -> list[str]:
        """Store small files behind the gateway's back."""
        return self.row.seed(self.standin, count, **options)

    def headers(self) -> dict[str, str]:
        """Return the headers that the client sends."""
        return {
            "x-portkey-provider": self.slug,
            "Authorization": f"Bearer {self.standin.key}",
            **self.row.headers(self.standin),
        }

    def rest(self) -> None:
        """Wait until the stand-in is at rest: an upload may end after its client is told."""
        with self.standin._idle:
            idle = self.standin._idle.wait_for(lambda: not self.standin._running, 10)
        assert idle

    def stored(self) -> dict[str, File]:
        """Return the files that the stand-in holds."""
        self.rest()
        return self.row.files(self.standin)

    def call(self, operation: Operation, file_id: str, files: Any = None) -> Any:
        """Perform an operation."""
        files = files or self.files
        if operation is Operation.UPLOAD:
            return files.create(file=(NAME, LINES), purpose="batch")
        if operation is Operation.LIST:
            return files.list()
        return getattr(files, operation.value)(file_id)

    def refused(
        self, kind: type[openai.APIStatusError], call: Call, **expected: Any
    ) -> openai.APIStatusError:
        """Return the error that a call ends with: an envelope of OpenAI's without secrets.

        :param expected: members that the envelope has to have.
        """
        with pytest.raises(kind) as caught:
            call()
        error = caught.value
        assert type(error) is kind
        body = error.response.json()["error"]
        assert isinstance(body["message"], str)
        assert body["message"]
        assert {name: body.get(name) for name in expected} == expected
        told = f"{error.response.text} {error.response.headers}"
        assert not [secret for secret in self.row.secrets(self.standin) if secret in told]
        return error


Serve = Callable[[str], Served]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Start a provider's stand-in and a gateway, each once for all tests."""
    headers = HeaderResolver()

    def started(slug: str) -> Served:
        row = TABLE[slug]
        standin = stack.enter_context(row.standin())

        def resolve(call: FilesCall) -> Target:
            target = headers(call)
            assert isinstance(target, Target)
            return replace(target, base_url=standin.url + row.path)

        gateway = stack.enter_context(Gateway(resolver=resolve))
        client = gateway.client(slug, standin.key, **row.headers(standin))
        stack.enter_context(client)
        return Served(slug, row, REGISTRY[slug], standin, gateway, client)

    with ExitStack() as stack:
        yield cache(started)


@pytest.fixture
def served(request: pytest.FixtureRequest, serve: Serve) -> Iterator[Served]:
    """A provider without files that has been asked for nothing."""
    slug: str = request.param
    if slug not in TABLE:
        pytest.fail(f"the provider {slug} has no stand-in in tests/providers/table.py")
    TABLE[slug].check()
    served = serve(slug)
    served.standin.seen.clear()
    yield served
    served.rest()
    served.standin._failures.clear()
    served.row.clear(served.standin)


def deviation(slug: str, case: str) -> str:
    """Return why a provider deviates in this case, for the test's id."""
    reason = TABLE[slug].deviations.get(case) if slug in TABLE else None
    return f": {reason}" if reason else ""


def providers(case: str = "", *, has: Operation | None = None) -> pytest.MarkDecorator:
    """Run a test for each provider, or for those that have an operation."""
    params = [
        pytest.param(slug, id=slug + deviation(slug, case))
        for slug, provider in REGISTRY.items()
        if has is None or has in provider.capabilities.operations
    ]
    return pytest.mark.parametrize("served", params, indirect=True)


def operations(*, there: bool, case: str = "") -> pytest.MarkDecorator:
    """Run a test for each operation that a provider has, or has not.

    :param case: what providers deviate by where they are asked for one file's metadata.
    """
    params = [
        pytest.param(
            slug,
            operation,
            id=f"{slug}-{operation}"
            + (deviation(slug, case) if operation in BY_METADATA else ""),
        )
        for slug, provider in REGISTRY.items()
        for operation in Operation
        if (operation in provider.capabilities.operations) == there
    ]
    return pytest.mark.parametrize(("served", "operation"), params, indirect=["served"])


def check_shape(file: Any, *, unlisted: tuple[str, ...] = ()) -> None:
    """Check that a file object has all that OpenAI's has."""
    told = file.to_dict()
    types = {name: type(told.get(name)) for name in SHAPE if name not in unlisted}
    assert types == {name: kind for name, kind in SHAPE.items() if name not in unlisted}
    assert told["object"] == "file"
    assert told["status"] in {"uploaded", "processed", "error"}


def in_common(file: Any, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what OpenAI's file object has, of one."""
    return {name: getattr(file, name) for name in SHAPE if name not in without}


def test_each_provider_has_a_stand_in_and_no_other() -> None:
    assert sorted(TABLE) == sorted(REGISTRY)


# --- The five operations --------------------------------------------------------------------


@providers(PURPOSE)
def test_an_upload_arrives(served: Served) -> None:
    created = served.upload()
    check_shape(created)
    assert (created.bytes, created.filename) == (len(LINES), NAME)
    assert abs(created.created_at - time.time()) < 60
    kept = PURPOSE not in served.row.deviations
    assert created.purpose == ("batch" if kept else "user_data")
    [(file_id, stored)] = served.stored().items()
    assert (file_id, stored.name) == (created.id, NAME)
    assert b"".join(stored.blocks()) == LINES


@providers(has=Operation.LIST)
def test_an_upload_whose_answer_was_lost_is_found(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    with monkeypatch.context() as patch:
        # As if the worker were killed before it can keep the answer.
        patch.setattr(_Attempt, "_conclude", lambda *_: None)
        created = served.upload(extra_headers=headers)
    create = served.files.with_raw_response.create
    for _ in range(2):
        again = create(file=(NAME, LINES), purpose="batch", extra_headers=headers)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.parse().id == created.id
    assert list(served.stored()) == [created.id]


@providers(LISTED)
def test_a_file_is_retrieved_and_listed(served: Served) -> None:
    created = served.upload()
    retrieved = served.files.retrieve(created.id)
    check_shape(retrieved)
    assert in_common(retrieved) == in_common(created)
    page = served.files.list()
    [listed] = page.data
    without = served.row.unlisted
    check_shape(listed, unlisted=without)
    for file in (created, retrieved, listed):
        told = file.to_json()
        assert not [secret for secret in served.row.secrets(served.standin) if secret in told]
        # Who has a signed address has the file.
        assert "signature=" not in told.lower()
    assert in_common(listed, without=without) == in_common(created, without=without)
    assert page.has_more is False
    assert page.model_extra == {
        "object": "list",
        "first_id": created.id,
        "last_id": created.id,
    }


@providers(DOWNLOAD, has=Operation.CONTENT)
def test_content(served: Served) -> None:
    created = served.upload()
    if DOWNLOAD not in served.row.deviations:
        assert served.files.content(created.id).read() == LINES
        return
    served.refused(openai.BadRequestError, lambda: served.files.content(created.id))
    [generated] = served.seed(**served.row.generated)
    expected = b"".join(served.stored()[generated].blocks())
    assert served.files.content(generated).read() == expected != b""


@providers(HEAD)
def test_head(served: Served) -> None:
    """Lists and metadata can be asked for without their bodies."""
    [file_id] = served.seed()
    for tail, status in (("", 200), (f"/{file_id}", 200), ("/file-none", 404)):
        url = f"{served.gateway.url}/v1/files{tail}"
        answer = requests.head(url, headers=served.headers(), timeout=10)
        assert answer.content == b""
        if HEAD in served.row.deviations:
            assert served.standin.seen[-1].method == "HEAD"
        else:
            assert answer.status_code == status


@providers(has=Operation.DELETE)
def test_a_deleted_file_is_gone(served: Served) -> None:
    kept, deleted = served.upload(), served.upload()
    answer = served.files.delete(deleted.id)
    assert answer.to_dict() == {"id": deleted.id, "object": "file", "deleted": True}
    assert list(served.stored()) == [kept.id]
    assert [file.id for file in served.files.list()] == [kept.id]
    for operation in OF_A_FILE:
        gone = served.refused(openai.NotFoundError, lambda: served.call(operation, deleted.id))  # noqa: B023
        assert gone.status_code == 404


@operations(there=False)
def test_an_operation_that_there_is_not(served: Served, operation: Operation) -> None:
    [file_id] = served.seed()
    error = served.refused(
        openai.InternalServerError,
        lambda: served.call(operation, file_id),
        code="unsupported_operation",
    )
    assert error.status_code == 501
    has = [known.value for known in Operation if known in served.known.operations]
    for word in (served.slug, operation.value, ", ".join(has)):
        assert word in error.message
    assert served.standin.seen == []


@providers()
def test_a_file_that_there_is_not(served: Served) -> None:
    served.seed(2)
    for operation in OF_A_FILE:
        if operation in served.known.operations:
            served.refused(
                openai.NotFoundError,
                lambda: served.call(operation, "file-none"),  # noqa: B023
            )
    assert len(served.stored()) == 2


# --- Lists ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["desc", "asc"])
@providers()
def test_all_pages(served: Served, order: str) -> None:
    seeded = served.seed(25)
    pages = list(served.files.list(limit=7, order=order).iter_pages())
    assert [len(page.data) for page in pages] == [7, 7, 7, 4]
    assert [page.has_more for page in pages] == [True, True, True, False]
    files = [file for page in pages for file in page.data]
    times = [file.created_at for file in files]
    assert times == sorted(times, reverse=order == "desc")
    ids = [file.id for file in files]
    assert sorted(ids) == sorted(seeded)
    if len(set(times)) == len(times):
        assert ids == (seeded if order == "asc" else seeded[::-1])
    assert [file.id for file in served.files.list(limit=7, order=order)] == ids


@pytest.mark.parametrize("order", ["desc", "asc"])
@providers()
def test_a_last_page_that_is_full(served: Served, order: str) -> None:
    served.seed(6)
    pages = list(served.files.list(limit=3, order=order).iter_pages())
    assert [(len(page.data), page.has_more) for page in pages] == [(3, True), (3, False)]
    assert served.files.list(limit=6, order=order).has_more is False
    empty = served.files.list(after=pages[-1].data[-1].id, order=order)
    assert (empty.data, empty.has_more) == ([], False)


@providers()
def test_no_files(served: Served) -> None:
    page = served.files.list()
    assert (page.data, page.has_more, page.object) == ([], False, "list")


@providers(PURPOSE)
def test_files_of_one_purpose(served: Served) -> None:
    purposes = [purpose for purpose in served.purposes for _ in range(3)]
    made = [(served.upload(purpose=purpose).id, purpose) for purpose in purposes]
    for purpose in served.purposes:
        listed = list(served.files.list(purpose=purpose, limit=2))
        expected = {file_id for file_id, given in made if given == purpose}
        if PURPOSE in served.row.deviations:
            # All are taken for one purpose.
            expected = {file_id for file_id, _ in made if purpose == "user_data"}
        assert {file.id for file in listed} == expected
        assert len(listed) == len(expected)


# --- What an upload says --------------------------------------------------------------------


@providers()
def test_when_a_file_expires(served: Served) -> None:
    expiry = served.known.expiry
    asked = {"anchor": "created_at", "seconds": 2 * DAY}
    if expiry is None:
        served.refused(
            openai.BadRequestError,
            lambda: served.upload(expires_after=asked),
            code="unsupported_expires_after",
            param="expires_after",
        )
        assert served.standin.seen == []
        return
    created = served.upload(expires_after=asked)
    assert created.expires_at == created.created_at + 2 * DAY
    [stored] = served.stored().values()
    sent = {name: value for name, value in stored.fields if name != "purpose"}
    if expiry.field is None:
        assert sent == {f"expires_after[{name}]": str(asked[name]) for name in asked}
    else:
        assert sent == {expiry.field: str(2 * DAY // expiry.unit)}


@providers()
def test_a_time_to_expire_that_is_none(served: Served) -> None:
    expiry = served.known.expiry or OPENAI_EXPIRY
    for seconds in (expiry.least - 1, expiry.most + expiry.unit):
        asked = {"anchor": "created_at", "seconds": seconds}
        served.refused(
            openai.BadRequestError,
            lambda: served.upload(expires_after=asked),  # noqa: B023
        )
    assert served.stored() == {}
    if expiry is not OPENAI_EXPIRY or served.known.expiry is None:
        assert served.standin.seen == []


@providers()
def test_a_purpose_that_there_is_not(served: Served) -> None:
    if served.known.purposes is None:
        # Then it goes up.
        assert served.upload(purpose="user_data").purpose == "user_data"
        return
    served.refused(
        openai.BadRequestError,
        lambda: served.upload(purpose="vision"),
        code="unsupported_purpose",
        param="purpose",
    )
    assert served.standin.seen == []


# --- Trouble --------------------------------------------------------------------------------


@operations(there=True, case=THROTTLED)
def test_the_providers_errors(served: Served, operation: Operation) -> None:
    [file_id] = served.seed(**served.row.generated)
    faults = {status: (status, kind) for status, kind in FAULTS.items()}
    if operation in BY_METADATA and THROTTLED in served.row.deviations:
        faults[429] = (503, openai.InternalServerError)
    for status, (answered, kind) in faults.items():
        # Twice, for S3 says what it is only to a second request: HEAD has no body.
        served.standin.fail(status, times=2)
        error = served.refused(kind, lambda: served.call(operation, file_id))
        assert error.status_code == answered
        assert len(served.standin._failures) < 2
        served.standin._failures.clear()
    assert list(served.stored()) == [file_id]


@operations(there=True)
def test_a_wrong_key(served: Served, operation: Operation) -> None:
    [file_id] = served.seed(**served.row.generated)
    row = served.row
    headers = row.headers(served.standin, wrong=True)
    with served.gateway.client(served.slug, WRONG, **headers) as stranger:
        served.refused(
            openai.AuthenticationError,
            lambda: served.call(operation, file_id, stranger.files),
        )
    assert list(served.stored()) == [file_id]


@providers()
def test_an_upload_that_fails_half_way(served: Served) -> None:
    """A provider with several steps is left as it was found, whichever of them fails."""
    content = b"x" * served.row.begun
    served.upload(content)
    steps = len(served.standin.seen)
    served.row.clear(served.standin)
    for done in range(steps):
        # A failure of zero is none.
        served.standin._failures[:] = [*[0] * done, 500]
        served.refused(openai.InternalServerError, lambda: served.upload(content))
        assert served.standin._failures == []
        assert (served.stored(), served.row.unfinished(served.standin)) == ({}, 0)


@pytest.fixture(scope="module")
def large() -> bytes:
    return random.Random(1).randbytes(24 * MIB)


@providers()
def test_a_large_file(served: Served, large: bytes) -> None:
    created = served.upload(large)
    assert created.bytes == len(large)
    [stored] = served.stored().values()
    assert digest(stored.blocks()) == hashlib.sha256(large).hexdigest()


@providers()
def test_an_upload_that_the_client_breaks_off(served: Served) -> None:
    live = not served.provider.needs_length
    break_off(
        served.gateway,
        served.headers(),
        started=lambda: not live or bool(served.standin.seen),
        size=served.row.begun,
    )
    assert bool(served.standin.seen) == live
    assert (served.stored(), served.row.unfinished(served.standin)) == ({}, 0)
