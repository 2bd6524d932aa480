"""A length of time on the command line."""

from __future__ import annotations

import re

import click

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def period(text: str) -> int:
    """Return a number with a unit, such as ``7d``, in seconds.

    :raises click.BadParameter: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text.strip().lower())
    if not found:
        raise click.BadParameter(
            f"{text!r} is no period: write a number and a unit, such as 30m, 12h, 7d or 2w."
        )
    return int(found[1]) * _SECONDS[found[2]]
