"""Requests for metadata at a fixed concurrency, made by wrk."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Load:
    """What wrk has found."""

    requests: int
    wall: float
    p50: float
    p99: float
    reason: str | None


def install() -> None:
    """Install the system's package, if there is none."""
    if shutil.which("wrk") is None:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=True)


def version() -> str:
    """Return the version that it names."""
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return said.stdout.split("[")[0].replace("wrk", "").strip()


def run(url: str, headers: Mapping[str, str], *, concurrency: int, seconds: float) -> Load:
    """Ask *url* over and over."""
    command = [
        "wrk",
        "-t1",
        f"-c{concurrency}",
        f"-d{seconds:g}s",
        "--timeout",
        "30s",
        "--latency",
    ]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    made = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", said)
    assert made, said
    reasons = re.findall(r"(Non-2xx or 3xx responses: \d+|Socket errors: .+)", said)
    if not int(made[1]):
        reasons.append("no answer")
    return Load(
        requests=int(made[1]),
        wall=float(made[2]) * _UNITS[made[3]],
        p50=_latency(said, 50),
        p99=_latency(said, 99),
        reason="; ".join(reasons) or None,
    )


def _latency(said: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", said, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0
