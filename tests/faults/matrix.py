"""The matrix: each stage with each operation, run against one server."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..streaming.wire import (
    BOUNDARY,
    KEY,
    LIST,
    LIVE,
    MIB,
    SPOOLED,
    TIMEOUT,
    Client,
    noise,
)
from .app import PATIENCE
from .places import places
from .provider import ANSWERS, Case, Provider
from .servers import Server, serve
from .stages import BROKEN, CUT, GONE, HALF, LET_GO, OPERATIONS, STAGES, UNSENT, Stage

NO_ANSWER = "no answer"


@dataclass(frozen=True)
class Cell:
    """A stage with an operation."""

    stage: Stage
    operation: str

    @property
    def id(self) -> str:
        """Its name in the tests."""
        return f"{self.stage.id}-{self.operation.replace(' ', '-')}"


#: All that there is to try.
CELLS = [
    Cell(stage, operation)
    for stage in STAGES
    for operation in OPERATIONS
    if operation not in stage.absent
]


@dataclass(frozen=True)
class Result:
    """What came of a cell.

    :param seen: what the client saw, or of a client that left, what the provider got.
    :param left_over: what the server holds that it did not hold before.
    :param false_completion: whether the provider got an upload that looks complete and is not.
    """

    seen: str
    left_over: list[str]
    false_completion: bool


class Bench:
    """A server with everything around it, on which cells are tried one after the other."""

    def __init__(self, server: Server, provider: Provider, addresses: dict[str, str]) -> None:
        self.server = server
        self._provider = provider
        self._addresses = addresses
        self._pairs = itertools.count(1)
        # What is kept from call to call is there from now on: connections, and threads.
        for patience in PATIENCE:
            self.is_free(patience)
        self._before = server.quiet()
        assert self._before.calls == 0

    def run(self, cell: Cell) -> Result:
        """Try a cell, and look what it leaves."""
        stage, operation = cell.stage, cell.operation
        case = Case(stage.answer or ANSWERS[operation.split()[0]])
        sent = noise(stage.size) if stage.size < MIB else bytes(stage.size)
        with self._provider.doing(stage.script, case):
            try:
                with Client(self.server.port) as client:
                    call = _Call(client, cell, case, self._addresses[stage.reach], sent)
                    seen = getattr(call, stage.client)()
            finally:
                case.left.set()
            # Until then, its connection to the provider is not back in the pool.
            assert self.server.is_idle(), "the call does not end"
            assert self.is_free(stage.patience), "the server does not answer any more"
            left_over = self.server.left_over(self._before)
        if stage.client == "uploading":
            seen = CUT if case.requests else UNSENT
        false = any(file is not None and file != sent for file in case.uploads)
        false = false or (stage.client == "uploading" and case.uploads not in ([], [None]))
        return Result(seen, left_over, false)

    def held_by_a_download(self) -> list[str]:
        """Return what is seen to be held while a download goes on."""
        stage = next(stage for stage in STAGES if stage.client == "downloading")
        case = Case(b"")
        with (
            self._provider.doing(stage.script, case),
            Client(self.server.port) as client,
        ):
            _Call(
                client, Cell(stage, "content"), case, self._addresses["provider"], b""
            ).begin()
            with client.open():
                return self.server.held().beyond(self._before)

    def is_free(self, patience: str) -> bool:
        """Return whether two calls at a time are answered, each of which waits for the other.

        They leave two connections to the provider in the pool.
        """
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            name = b"pair-%d" % next(self._pairs)
            answers: list[bytes] = []
            with self._provider.pair(name):
                threads = [
                    threading.Thread(target=self._list, args=(patience, name, answers))
                    for _ in range(2)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            if answers == [LIST, LIST]:
                return True
            # A machine that is busy may have kept one of them for too long.
        return False

    def _list(self, patience: str, query: bytes, answers: list[bytes]) -> None:
        with Client(self.server.port) as client:
            client.request(
                "GET",
                f"/{patience}/v1/files?{query.decode()}",
                f"x-fault-url: {self._addresses['provider']}",
                "Connection: close",
            )
            answers.append(client.answer().body)


class _Call:
    """A client's call, with the client's part in what goes wrong."""

    def __init__(
        self, client: Client, cell: Cell, case: Case, address: str, content: bytes
    ) -> None:
        self._client = client
        self._case = case
        self._method, path, self._body = "GET", "/v1/files", b""
        headers = []
        if cell.operation.startswith("upload"):
            opening, closing = LIVE if cell.operation == "upload live" else SPOOLED
            self._method, self._body = "POST", opening + content + closing
            headers = [
                f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
                f"Content-Length: {len(self._body)}",
            ]
        elif cell.operation != "list":
            path += "/file-1"
        if cell.operation == "content":
            path += "/content"
        if cell.operation == "delete":
            self._method = "DELETE"
        self._path = f"/{cell.stage.patience}{path}"
        self._headers = (f"x-fault-url: {address}", "Connection: close", *headers)
        self._live = cell.operation == "upload live"

    def begin(self) -> None:
        """Send the head of the request."""
        self._client.request(self._method, self._path, *self._headers)

    def _send(self, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # It may be refused before it is through.
            self._client.sock.sendall(body)

    def stays(self) -> str:
        """Read the answer to its end, and say what it is."""
        self.begin()
        self._send(self._body)
        try:
            response = self._client.open(self._method)
        except (OSError, http.client.HTTPException) as error:
            return f"{NO_ANSWER}: {error!r}"
        self._case.opened.set()
        with response:
            try:
                body = response.read()
            except TimeoutError:
                return "no end"
            except (OSError, http.client.HTTPException):
                return BROKEN
        assert KEY.encode() not in body
        if response.status == 200 and body == self._case.answer:
            return "200"
        if response.status == 200 and body == self._case.answer[: len(self._case.answer) // 2]:
            return HALF
        code = json.loads(body)["error"].get("code") if response.status >= 400 else "other body"
        return f"{response.status} {code or 'of the provider'}"

    def uploading(self) -> str:
        """Leave in the middle of the form."""
        self.begin()
        self._send(self._body[: len(self._body) // 2])
        if self._live:
            assert self._case.reached.wait(TIMEOUT)
        self._client.sock.close()
        return ""

    def waiting(self) -> str:
        """Leave when the provider has the request."""
        self.begin()
        self._send(self._body)
        assert self._case.reached.wait(TIMEOUT)
        self._client.reset()
        return GONE

    def downloading(self) -> str:
        """Leave in the middle of the answer."""
        self.begin()
        self._send(self._body)
        with self._client.open(self._method) as response:
            assert len(response.read(MIB)) == MIB
            self._client.reset()
        return LET_GO if self._case.let_go.wait(TIMEOUT) else "the provider is held"


@contextlib.contextmanager
def bench(kind: str, folder: Path) -> Iterator[Bench]:
    """Start a server of *kind* and what is around it.

    :param folder: an empty folder.
    """
    spool = folder / "spool"
    spool.mkdir()
    provider = Provider()
    with (
        provider.running() as address,
        places(folder) as others,
        serve(kind, spool) as server,
    ):
        yield Bench(server, provider, {"provider": address, **others})
        assert KEY not in server.log
