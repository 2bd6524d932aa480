from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.support.gunicorn import Gunicorn
from tests.support.parts import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.manager.page import FilesPage
    from tests.support.browser import Tab

Opens: TypeAlias = Callable[..., "FilesPage"]

# What can't be imported can't say why it is skipped: a test of test_routes.py does.
collect_ignore = (
    []
    if find_spec("playwright") or os.environ.get("CI")
    else ["test_page.py", "test_accessibility.py", "test_cross_origin.py", "test_newcomer.py"]
)

#: What the browser says of each call that is no success; the page says it in its own words.
REFUSED = re.compile(
    r"Failed to load resource: "
    r"(the server responded with a status of \d+|net::ERR_INTERNET_DISCONNECTED)"
)


# Not of the session: Playwright keeps an event loop in this thread as long as it runs.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    from tests.support.browser import CHROMIUM, MISSING, chromium

    require(CHROMIUM, MISSING)
    with chromium() as started:
        yield started


@pytest.fixture(scope="package")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    data = tmp_path_factory.mktemp("manager") / "data"
    with Gunicorn(env={"EXAMPLE_DATA_DIR": str(data)}) as server:
        yield server


@pytest.fixture
def opens(browser: Browser) -> Iterator[Opens]:
    """Opens pages; at the end each must have kept its policy and have had no error."""
    from tests.manager.page import FilesPage
    from tests.support.browser import Tab

    tabs: list[Tab] = []

    def open_page(url: str, **options: Any) -> FilesPage:
        tab = Tab(browser, **options)
        tabs.append(tab)
        tab.page.goto(url)
        return FilesPage(tab.page)

    yield open_page
    complaints = [text for tab in tabs for text in tab.complaints]
    for tab in tabs:
        tab.close()
    assert [text for text in complaints if not REFUSED.match(text)] == []


@pytest.fixture
def sample() -> tuple[str, bytes]:
    """A file of which each block differs."""
    return "sample.bin", b"".join(number.to_bytes(4, "big") for number in range(300_000))
