"""The gateways taking turns: each case through one after the other, round by round."""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from . import certificate, wrk
from .case import Case
from .client import Job, Result, uploads
from .gateways import Gateway, Provider
from .meter import Meter, settle
from .probe import probe
from .results import Results
from .sample import Sample
from .sizes import MIB

#: The longest that a case may take.
LIMIT = 240.0
_ROOT = Path(__file__).parents[1]


class Helper:
    """A module of this package in a process of its own, talked to in lines of JSON."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._in: IO[bytes] = self._process.stdin
        self._out: IO[bytes] = self._process.stdout

    def send(self, message: object) -> None:
        """Send a line."""
        self._in.write(json.dumps(message).encode() + b"\n")
        self._in.flush()

    def receive(self, timeout: float) -> Any:
        """Return what the next line says, or nothing after *timeout* seconds."""
        if not select.select([self._out], [], [], timeout)[0]:
            return None
        line = self._out.readline()
        if not line:
            raise RuntimeError("a helper has ended")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._in.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._process.kill()
        self._process.wait()
        self._out.close()


class Race:
    """Runs cases through *gateways* and adds to *results*."""

    def __init__(self, gateways: list[Gateway], results: Results) -> None:
        self._gateways = gateways
        self._results = results
        self._numbers = itertools.count()

    def __enter__(self) -> Race:
        self._temporary = tempfile.TemporaryDirectory(prefix="benchmarks-")
        self._folder = Path(self._temporary.name)
        issued = certificate.issue(self._folder)
        self._upstream = Helper("upstream", str(issued.chain), str(issued.key))
        self._port, tls = self._upstream.receive(30)["ports"]
        self._plain = Provider(f"http://127.0.0.1:{self._port}")
        self._tls = Provider(f"https://127.0.0.1:{tls}", issued.authority)
        self._client = Helper("client")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()
        self._upstream.close()
        self._temporary.cleanup()

    def round(self, number: int, cases: Iterable[Case]) -> None:
        """Run all *cases* once through each gateway."""
        turn = number % len(self._gateways)
        order = self._gateways[turn:] + self._gateways[:turn]
        for group, members in itertools.groupby(cases, lambda case: case.group):
            chosen = list(members)
            provider = self._tls if group == "tls" else self._plain
            taking_part = [
                gateway for gateway in order if any(_in(gateway, case) for case in chosen)
            ]
            try:
                self._start(taking_part, provider)
                for case in chosen:
                    for gateway in taking_part:
                        if _in(gateway, case):
                            sample = self._try(number, case, gateway, provider)
                            self._results.samples.append(sample)
                            _tell(sample)
            finally:
                for gateway in taking_part:
                    gateway.stop()

    def _start(self, gateways: list[Gateway], provider: Provider) -> None:
        for gateway in gateways:
            folder = self._folder / f"{next(self._numbers)}"
            folder.mkdir()
            gateway.start(provider, folder)
        for gateway in gateways:
            try:
                gateway.wait()
            except RuntimeError as error:
                print(error, file=sys.stderr)
                gateway.stop()
        for gateway in gateways:
            if gateway.running:
                self._warm_up(gateway, provider)

    def _warm_up(self, gateway: Gateway, provider: Provider) -> None:
        headers = gateway.headers(provider)
        wrk.run(_metadata(gateway), headers, concurrency=8, seconds=1)
        for job in (
            Job("upload", gateway.port, headers, MIB, "text", 10),
            Job("upload", gateway.port, headers, MIB, "random", 10),
            Job("download", gateway.port, headers, MIB, "random", 10),
        ):
            # What fails here fails in its case too, and is told there.
            self._do(job)

    def probe(self) -> None:
        """Ask each gateway once for what a client may want, in processes of its own."""
        gateways = [gateway for gateway in self._gateways if not gateway.only]
        try:
            self._start(gateways, self._plain)
            for gateway in gateways:
                if gateway.running:
                    self._results.findings += probe(
                        gateway.name,
                        gateway.port,
                        gateway.headers(self._plain),
                        self._port,
                    )
        finally:
            for gateway in gateways:
                gateway.stop()

    def _do(self, job: Job) -> Result:
        self._client.send(asdict(job))
        answer = self._client.receive(LIMIT)
        if answer is None:
            self._client.close()
            self._client = Helper("client")
            return Result(reason=f"not done after {LIMIT:g} s")
        return Result(**answer)

    def _try(self, number: int, case: Case, gateway: Gateway, provider: Provider) -> Sample:
        """Return a sample of *case*, of a gateway that is there again afterwards if it can."""
        sample = Sample(case.key, case.label, gateway.name, number)
        sample.size, sample.concurrency = case.size, case.concurrency
        if gateway.running:
            self._fill(sample, case, gateway, provider)
        else:
            sample.reason = "it did not start"
        if sample.reason and case.action != "metadata":
            # It may still be at it, or be gone.
            gateway.stop()
            self._start([gateway], provider)
        elif gateway.running:
            # What is left of a load may not run on beside the next gateway's.
            settle(gateway.root)
        return sample

    def _fill(self, sample: Sample, case: Case, gateway: Gateway, provider: Provider) -> None:
        """Run *case* and put what it came to into *sample*."""
        uploads(self._port)
        with Meter(gateway.root) as meter:
            if case.action == "metadata":
                self._metadata(sample, case, gateway, provider)
            else:
                self._transfers(sample, case, gateway, provider)
        usage = meter.usage
        sample.cpu = usage.cpu
        sample.idle_rss, sample.peak_rss = usage.idle_rss, usage.peak_rss
        sample.peak_process, sample.peak_pss = usage.peak_process, usage.peak_pss
        if usage.killed:
            sample.reason = f"memory ran out with {usage.peak_rss // MIB} MiB resident"
        elif case.action == "upload" and not sample.reason:
            sample.reason = self._lost(case)

    def _lost(self, case: Case) -> str | None:
        """Return what is wrong with the uploads that have arrived."""
        arrived = uploads(self._port)
        expected = (True, case.size, case.kind)
        bad = [r for r in arrived if (r["whole"], r["size"], r["kind"]) != expected]
        if bad:
            return f"the provider got {bad[0]['size']} bytes of {case.size}, or others"
        if len(arrived) != case.count:
            return f"the provider got {len(arrived)} uploads, not {case.count}"
        return None

    @staticmethod
    def _metadata(sample: Sample, case: Case, gateway: Gateway, provider: Provider) -> None:
        load = wrk.run(
            _metadata(gateway),
            gateway.headers(provider),
            concurrency=case.concurrency,
            seconds=case.seconds,
        )
        sample.units, sample.wall, sample.reason = load.requests, load.wall, load.reason
        sample.p50, sample.p99 = load.p50, load.p99

    def _transfers(
        self, sample: Sample, case: Case, gateway: Gateway, provider: Provider
    ) -> None:
        assert case.action != "metadata"
        result = self._do(
            Job(
                case.action,
                gateway.port,
                gateway.headers(provider),
                case.size,
                case.kind,
                case.count,
                case.concurrency,
                self._port,
            )
        )
        sample.reason, sample.wall = result.reason, result.wall
        sample.units = len(result.durations)
        took = result.from_fields if case.action == "first byte" else result.durations
        if took:
            sample.p50, sample.slowest = statistics.median(took), max(took)
            sample.p99 = sorted(took)[-1 - len(took) // 100]
        if result.from_body:
            sample.from_body = statistics.median(result.from_body)


def _in(gateway: Gateway, case: Case) -> bool:
    return not gateway.only or case.key in gateway.only


def _metadata(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port}/v1/files/file-1048576"


def _tell(sample: Sample) -> None:
    figures = sample.reason or (
        f"{sample.cpu_each * 1e3:.2f} ms of processor each, {sample.wall:.2f} s, "
        f"{sample.peak_rss / MIB:.0f} MiB"
    )
    print(
        f"{sample.round + 1}  {sample.label:<46}  {sample.gateway:<18}  {figures}",
        file=sys.stderr,
    )
