"""The instrumented application under a real gunicorn: it streams, and its figures are true."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ..streaming.wire import (
    LIST,
    LIVE,
    MIB,
    TIMEOUT,
    UPLOADED,
    Body,
    Client,
    noise,
    wait,
)
from ..support.gunicorn import Gunicorn
from ..support.parts import require
from ..support.upstream import Connection, Upstream
from .app import SPANS, read_spans

T = TypeVar("T")

#: 300 MB, in whole blocks.
SIZE = 288 * MIB
MOST = 16 * MIB

CONFIG = "python:tests.observability.gunicorn_conf"

TRACE, PARENT = "ab" * 16, "cd" * 8
TRACEPARENT = f"traceparent: 00-{TRACE}-{PARENT}-01"


@dataclass
class Observed:
    """The application, its provider, and what they say."""

    gunicorn: Gunicorn
    spans_folder: Path

    def client(self) -> Client:
        return Client(self.gunicorn.port)

    def ask(self) -> None:
        with self.client() as client:
            client.request("GET", "/v1/files", "Connection: close")
            assert client.answer().body == LIST

    def metrics(self) -> dict[str, float]:
        """Return what the metrics say, by name and labels, once no call is in flight."""

        def shown() -> dict[str, float]:
            with self.client() as client:
                client.request("GET", "/metrics", "Connection: close")
                text = client.answer().body.decode()
            found = {
                " ".join([sample.name, *values(sample.labels)]): sample.value
                for metric in text_string_to_metric_families(text)
                for sample in metric.samples
            }
            in_flight = [v for k, v in found.items() if "in_flight" in k]
            return {} if any(in_flight) else found

        until(shown)
        # A scrape reads a worker's files one after the other: it may have seen the counters of
        # before, and the gauge of after the end of a call.
        return until(shown)

    def spans(self, name: str) -> list[dict[str, Any]]:
        return [span for span in read_spans(self.spans_folder) if span["name"] == name]

    def span(self, name: str) -> dict[str, Any]:
        """Return the span of this name, once it has ended."""
        (span,) = until(lambda: self.spans(name))
        return span


def values(labels: dict[str, str]) -> list[str]:
    """Return the labels' values in one order, wherever they come from."""
    order = ("operation", "provider", "status", "error", "le")
    assert set(labels) <= {*order, "pid"}
    return [labels[name] for name in order if labels.get(name)]


def until(find: Callable[[], T]) -> T:
    """Return what *find* does as soon as it is something."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := find()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)
    return found


@contextmanager
def serve(
    script: Callable[[Connection], None],
    folder: Path,
    *,
    workers: int = 1,
    app: str = "create_app",
) -> Iterator[Observed]:
    """Start the application before a provider that does what *script* says."""
    spans, shared = folder / "spans", folder / "shared"
    spans.mkdir()
    shared.mkdir()
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(script))
        gunicorn = stack.enter_context(
            Gunicorn(
                f"tests.observability.app:{app}()",
                env={
                    "EXAMPLE_STORE_URL": upstream.url,
                    "PROMETHEUS_MULTIPROC_DIR": str(shared),
                    SPANS: str(spans),
                },
                arguments=(
                    # It imports the package, which one of the applications has to do later.
                    *(("--config", CONFIG) if workers > 1 else ()),
                    *("--worker-class", "gthread", "--workers", str(workers)),
                    *("--threads", "4", "--graceful-timeout", "0"),
                ),
            )
        )
        yield Observed(gunicorn, spans)


def test_it_streams_300_mb_and_counts_each_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require(Path("/proc/self/status").exists(), "needs Linux' /proc")
    block = noise(MIB)
    received: Queue[int] = Queue()

    def provider(conn: Connection) -> None:
        while head := conn.read_head():
            if head.startswith(b"POST "):
                body = Body(conn)
                size = sum(map(len, body))
                assert body.complete
                received.put(size)
                conn.answer(UPLOADED)
                return
            if b"/content " in head.split(b"\r\n")[0]:
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
                for _ in range(SIZE // MIB):
                    conn.send(block)
            else:
                conn.answer(LIST)

    opening, closing = LIVE

    def upload(observed: Observed) -> None:
        with observed.client() as client:
            client.begin_upload(len(opening) + SIZE + len(closing))
            client.send(opening)
            for _ in range(SIZE // MIB):
                client.send(block)
            client.send(closing)
            assert client.answer().body == UPLOADED

    def download(observed: Observed) -> None:
        with observed.client() as client:
            client.request("GET", "/v1/files/file-1/content")
            with client.open() as response:
                for _ in range(SIZE // MIB):
                    assert response.read(MIB) == block
                assert response.read(1) == b""

    with serve(provider, tmp_path, workers=2) as observed:
        lists = 0
        # Until each worker has counted something.
        while len(list((tmp_path / "shared").glob("counter_*.db"))) < 2:
            observed.ask()
            lists += 1
            assert lists < 500
        before = {
            worker.pid: worker.memory_info().rss for worker in observed.gunicorn.workers()
        }
        assert len(before) == 2
        started = time.monotonic()
        upload(observed)
        download(observed)
        metrics = observed.metrics()
        seconds = time.monotonic() - started
        grown = observed.gunicorn.peak_memory() - min(before.values())
        assert grown < MOST

        up, down, listed = "upload local", "content local", "list local"
        name = "portkey_files_"
        assert metrics[f"{name}calls_total {up} 200"] == 1
        assert metrics[f"{name}calls_total {down} 200"] == 1
        assert metrics[f"{name}calls_total {listed} 200"] == lists
        assert sum(v for k, v in metrics.items() if f"{name}calls_total" in k) == lists + 2
        assert metrics[f"{name}received_bytes_total {up}"] == SIZE + len(opening) + len(closing)
        assert metrics[f"{name}provider_sent_bytes_total {up}"] == wait(received)
        assert metrics[f"{name}file_bytes_total {up}"] == SIZE
        assert metrics[f"{name}sent_bytes_total {up}"] == len(UPLOADED)
        assert metrics[f"{name}sent_bytes_total {down}"] == SIZE
        assert metrics[f"{name}file_bytes_total {down}"] == SIZE
        assert metrics[f"{name}sent_bytes_total {listed}"] == lists * len(LIST)
        assert metrics[f"{name}attempts_total {listed} 200"] == lists
        assert metrics[f"{name}call_duration_seconds_count {up}"] == 1
        assert metrics[f"{name}spooled_bytes"] == 0
        for labels in (up, down):
            first = metrics[f"{name}call_first_byte_seconds_sum {labels}"]
            assert first <= metrics[f"{name}call_duration_seconds_sum {labels}"] < seconds
        # One worker's figures stay when it is gone, but for what it had under way.
        counted = sum(v for k, v in metrics.items() if f"{name}calls_total" in k)
        gone = next(iter(before))
        os.kill(gone, signal.SIGTERM)
        until(lambda: not list((tmp_path / "shared").glob(f"gauge_live*_{gone}.db")))
        later = observed.metrics()
        assert sum(v for k, v in later.items() if f"{name}calls_total" in k) == counted

        span = observed.span("files content")
        assert span["attributes"]["http.response.body.size"] == SIZE
        assert duration(span) <= seconds
    with capsys.disabled():
        print(  # noqa: T201 - the figure that was asked for
            f"\n{SIZE * 2 / 1e6:.0f} MB, half up and half down, in {seconds:.1f} s with "
            f"{grown / MIB:.1f} MiB more memory; the metrics have each byte, over 2 workers"
        )


def duration(span: dict[str, Any]) -> float:
    return moment(span["end_time"]) - moment(span["start_time"])


def moment(written: str) -> float:
    """Return a time as a number; older Pythons read no ``Z``."""
    return datetime.fromisoformat(written.replace("Z", "+00:00")).timestamp()


def is_within(inner: dict[str, Any], outer: dict[str, Any]) -> bool:
    """Return whether a span's parent is another one."""
    return bool(inner["parent_id"] == outer["context"]["span_id"])


@pytest.mark.parametrize("app", ["create_app", "create_early_app"])
def test_an_upload_streams_through_all_instrumentation(tmp_path: Path, app: str) -> None:
    content = noise(2 * MIB)
    begun: Queue[bytes] = Queue()
    heads: Queue[bytes] = Queue()

    def provider(conn: Connection) -> None:
        heads.put(conn.read_head())
        body, received = Body(conn), b""
        for piece in body:
            before, received = len(received), received + piece
            if before < MIB // 2 <= len(received):
                begun.put(received)
        assert body.complete
        assert content in received
        conn.answer(UPLOADED)

    opening, closing = LIVE
    with serve(provider, tmp_path, app=app) as observed:
        with observed.client() as client:
            client.begin_upload(
                len(opening) + len(content) + len(closing), TRACEPARENT, "baggage: user=7"
            )
            client.send(opening + content[:MIB])
            # It is at the provider, and half of it has not been sent.
            assert content[: MIB // 4] in wait(begun)
            client.send(content[MIB:] + closing)
            assert client.answer().body == UPLOADED
        call = observed.span("files upload")
        (attempt,) = observed.spans("files upload attempt")
        (sent,) = observed.spans("POST")
        (request,) = observed.spans("POST /v1/files")
    assert is_within(sent, attempt)
    assert is_within(attempt, call)
    assert is_within(call, request)
    assert request["parent_id"] == f"0x{PARENT}"
    assert {span["context"]["trace_id"] for span in (call, sent)} == {f"0x{TRACE}"}
    # The provider goes on with the span that sent it.
    head = wait(heads).decode().lower().split("\r\n")
    ours = sent["context"]
    (traceparent,) = (line for line in head if line.startswith("traceparent: "))
    assert traceparent == f"traceparent: 00-{TRACE}-{ours['span_id'][2:]}-01"


def test_a_download_streams_through_all_instrumentation(tmp_path: Path) -> None:
    first_is_there: Queue[None] = Queue()
    request_is_over: Queue[None] = Queue()
    last = Queue[float]()

    def provider(conn: Connection) -> None:
        assert conn.read_head().startswith(b"GET ")
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        wait(first_is_there)
        wait(request_is_over)
        last.put(time.time())
        conn.send(b"half")

    with serve(provider, tmp_path) as observed, observed.client() as client:
        client.request("GET", "/v1/files/file-1/content?token=secret")
        with client.open() as response:
            assert response.read(4) == b"half"
            first_is_there.put(None)
            # The span of the request ends with the head; that of the call must not.
            request = observed.span("GET /v1/files/<file_id>/content")
            assert observed.spans("files content") == []
            request_is_over.put(None)
            assert response.read() == b"half"
        call = observed.span("files content")
        (sent,) = observed.spans("GET")
    assert moment(request["end_time"]) < wait(last) <= moment(call["end_time"])
    assert call["attributes"]["http.response.body.size"] == 8
    assert is_within(call, request)
    assert sent["attributes"]["http.url"].endswith("/v1/files/file-1/content")


def test_a_broken_transfer_is_told(tmp_path: Path) -> None:
    def provider(conn: Connection) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhalf")

    with serve(provider, tmp_path) as observed:
        with observed.client() as client:
            client.request("GET", "/v1/files/file-1/content")
            with client.open() as response, pytest.raises(Exception, match="more expected"):
                response.read()
        metrics = observed.metrics()
        call = observed.span("files content")
    assert metrics["portkey_files_calls_total content local 200 broken_transfer"] == 1
    assert metrics["portkey_files_sent_bytes_total content local"] == 4
    assert call["status"]["status_code"] == "ERROR"
