"""The fixture ``portkey_files_upstream``, for the tests of an application with the blueprint.

pytest loads it where the outermost ``conftest.py`` says so::

    pytest_plugins = ["flask_portkey_files.testing.pytest_plugin"]

It is no entry point, which would have every run of pytest import the package, needed or not,
and before coverage is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .upstream import Upstream


@pytest.fixture
def portkey_files_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """Provide a provider that stands in for all: what a blueprint sends comes to it."""
    folder: Path = tmp_path_factory.mktemp("portkey_files_upstream")
    with Upstream(folder) as upstream, upstream.instead_of_providers():
        yield upstream
