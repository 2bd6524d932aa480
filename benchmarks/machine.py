"""The machine that a run was made on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import psutil

from .sizes import GIB


def facts() -> dict[str, str]:
    """Return what a reader has to know to compare figures with their own."""
    found = re.search(
        r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
    )
    return {
        "processor": found[1] if found else platform.processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / GIB:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
