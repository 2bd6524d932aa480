"""Ours and other gateways before the same provider, doing the same, in turns.

Linux only. From the top of the repository, in an environment with the extra ``bench``::

    python -m benchmarks.compare --quick
    python -m benchmarks.compare --only 'upload/*' --gateways 'ours,nginx,portkey (lock)'
    python -m benchmarks.compare

The last of these writes docs/benchmarks.md and its plot; the others only print. The peers are
installed into the cache folder at the first run.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from . import machine, report, wrk
from .case import Case, cases
from .gateways import Gateway, LiteLLM, Nginx, Ours, Portkey
from .race import Race
from .results import Results
from .target import evaluate

_ROOT = Path(__file__).parents[1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, help="default: 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try it out")
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="cases, e.g. 'upload/*,metadata/8'"
    )
    parser.add_argument("--gateways", metavar="A,B", help="default: all")
    parser.add_argument("--list", action="store_true", help="list cases and gateways, and end")
    parser.add_argument(
        "--gunicorn-arguments", default="", metavar="ARGUMENTS", help="more of them, for ours"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "flask-portkey-files-benchmarks",
        help="where the peers are installed",
    )
    parser.add_argument("--json", type=Path, help="default: results.json in the cache")
    parser.add_argument(
        "--docs",
        type=Path,
        help="the folder of benchmarks.md and benchmarks.svg; default: docs for a run of "
        "everything, none otherwise",
    )
    parser.add_argument(
        "--from", dest="read", type=Path, metavar="JSON", help="report an earlier run again"
    )
    return parser


def _gateways(options: argparse.Namespace) -> list[Gateway]:
    cache: Path = options.cache.resolve()
    more: str = options.gunicorn_arguments
    known: list[Gateway] = [
        Ours(cache, arguments=more),
        Ours(
            cache,
            name="ours (32 threads)",
            threads=32,
            arguments=more,
            only=frozenset({"crowd"}),
        ),
        Nginx(cache),
        Portkey(cache / "portkey-lock", pinned=True),
        Portkey(cache / "portkey-npx", pinned=False),
        LiteLLM(cache / "litellm"),
    ]
    if options.gateways is None:
        return known
    names = [name.strip() for name in options.gateways.split(",")]
    if unknown := set(names) - {gateway.name for gateway in known}:
        raise SystemExit(f"no such gateway: {', '.join(sorted(unknown))}")
    if "ours" in names:
        names.append("ours (32 threads)")
    return [gateway for gateway in known if gateway.name in names]


def _measure(options: argparse.Namespace, chosen: list[Case]) -> Results:
    gateways = _gateways(options)
    wrk.install()
    for gateway in gateways:
        print(f"installing {gateway.name}", file=sys.stderr)
        gateway.install()
    results = Results(
        machine=machine.facts(),
        versions={gateway.name: gateway.versions() for gateway in gateways},
        load={"wrk": wrk.version()},
        rounds=options.rounds or (1 if options.quick else 3),
        quick=options.quick,
        gunicorn_arguments=options.gunicorn_arguments,
    )
    began = time.monotonic()
    with Race(gateways, results) as race:
        if options.only == "*":
            race.probe()
        for number in range(results.rounds):
            race.round(number, chosen)
    results.seconds = time.monotonic() - began
    return results


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and return the exit status."""
    options = _parser().parse_args(arguments)
    # So that the gateways are stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    every = cases(quick=options.quick)
    chosen = [case for case in every if report.matches(case.key, options.only)]
    if options.list:
        for case in chosen:
            print(f"{case.key:<24}{case.label}")
        for gateway in _gateways(options):
            print(gateway.name)
        return 0
    if options.read:
        results = Results.read(options.read)
    else:
        results = _measure(options, chosen)
        file = options.json or options.cache / "results.json"
        results.write(file)
        print(f"raw figures: {file}", file=sys.stderr)
    targets = evaluate(results)
    text = report.markdown(results, targets)
    print(text)
    whole = not (options.quick or options.gateways or options.read) and chosen == every
    docs = options.docs or (_ROOT / "docs" if whole else None)
    if docs:
        from . import plot

        report.insert(docs / "benchmarks.md", text)
        plot.draw(results, docs / "benchmarks.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
