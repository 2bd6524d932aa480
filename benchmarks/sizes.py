"""Sizes in bytes: their names, and how they are read and written."""

from __future__ import annotations

import argparse
import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


def size(text: str) -> int:
    """Read a size such as ``64MiB``."""
    found = re.fullmatch(r"(\d+)\s*(B|KiB|MiB|GiB)?", text.strip(), re.IGNORECASE)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"not a size: {text!r}")
    factors = {"b": 1, "kib": KIB, "mib": MIB, "gib": GIB}
    return int(found[1]) * factors[(found[2] or "B").lower()]


def written(count: int) -> str:
    """Write a size in the largest unit that divides it."""
    for name, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if count and count % factor == 0:
            return f"{count // factor} {name}"
    return f"{count} B"
