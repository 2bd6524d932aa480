"""What a check found, and how it is told."""

from __future__ import annotations

import enum
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import click

from .output import json_line, plain, tell


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    FAILED = "failed"


_COLORS = {Level.OK: "green", Level.INFO: "blue", Level.WARNING: "yellow", Level.FAILED: "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    :param topic: what was looked at, in a word or two.
    :param message: what there is to say of it, and what to do about it.
    """

    level: Level
    topic: str
    message: str

    def as_object(self) -> dict[str, str]:
        """Return it as the JSON output has it."""
        return {"level": self.level.value, "topic": self.topic, "message": self.message}


def ok(topic: str, message: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, topic, message)


def info(topic: str, message: str) -> Finding:
    """Return a finding that is neither good nor bad."""
    return Finding(Level.INFO, topic, message)


def warning(topic: str, message: str) -> Finding:
    """Return a finding that may become a problem."""
    return Finding(Level.WARNING, topic, message)


def failed(topic: str, message: str) -> Finding:
    """Return a finding that something does not work."""
    return Finding(Level.FAILED, topic, message)


def shown(findings: Iterable[Finding], *, as_json: bool) -> Iterator[Finding]:
    """Print findings as they come, and yield them."""
    for finding in findings:
        if as_json:
            json_line(finding.as_object())
        else:
            tell(_line(finding))
        yield finding


def _line(finding: Finding) -> str:
    mark = click.style(f"{finding.level.value:<8}", fg=_COLORS[finding.level])
    message = plain(finding.message)
    if sys.stdout.isatty():
        # Below itself, where it does not fit into the line.
        width = max(shutil.get_terminal_size().columns - 23, 40)
        message = click.formatting.wrap_text(message, width).replace("\n", "\n" + " " * 23)
    return f"{mark} {finding.topic:<13} {message}"
