"""Parts that the tests need and this machine may not have."""

from __future__ import annotations

import os

import pytest


def require(condition: object, reason: str) -> None:
    """Skip the test unless *condition* holds; where ``CI`` is set, fail it instead.

    :param reason: what is missing, and the command that gets it.
    """
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
