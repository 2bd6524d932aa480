"""What holds for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# No test is timed: on a busy machine an example takes as long as it takes.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

#: Tests of servers in processes of their own, where coverage sees nothing. In this process it
#: would trace dozens of threads that begin at once, which on Python 3.11 now and then ends one
#: with "Cannot install a trace function while another trace function is being installed".
UNTRACED = (
    "faults",
    "idempotency/test_kill.py",
    "idempotency/test_workers.py",
    "manager/test_accessibility.py",
    "manager/test_cross_origin.py",
    "manager/test_page.py",
    "observability/test_under_gunicorn.py",
    "packaging",
    "sdk",
    "security/test_isolation.py",
    "servers",
    "streaming",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests of other processes out of what coverage measures."""
    untraced = [Path(__file__).parent / name for name in UNTRACED]
    for item in items:
        if any(item.path.is_relative_to(path) for path in untraced):
            item.add_marker("no_cover")
