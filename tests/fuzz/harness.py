"""Runs one target under atheris, which lets itself be led by what the code covers.

``python -m tests.fuzz.harness TARGET FOLDER SECONDS``, with the names of the modules that it
watches as JSON on its standard input; libFuzzer ends the process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import atheris


def main() -> None:
    """Fuzz until the time is over or something is found."""
    name, folder, seconds = sys.argv[1:]
    # Found out in advance, for what is imported once can't be instrumented any more.
    watched = json.loads(sys.stdin.read())
    with atheris.instrument_imports(include=watched, enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus = Path(folder, "corpus")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = Path(folder, "words")
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-dict={words}",
            f"-max_total_time={seconds}",
            f"-artifact_prefix={folder}/",
            "-max_len=2048",
            "-timeout=10",
            "-print_final_stats=1",
        ],
        target.run,
    )
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
