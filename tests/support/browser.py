"""A real Chromium, and what it has to complain about a page."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
MISSING = "apt-get install chromium"

ARGUMENTS = [
    "--no-sandbox",  # CI runs as root.
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

#: Milliseconds that a page may take for what is expected of it, on a busy machine too.
PATIENCE = 20_000
expect.set_options(timeout=PATIENCE)

# A violation is told to the page itself, before it goes to the console.
_WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) =>
  violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium, and stop it when the block ends."""
    assert CHROMIUM, MISSING
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page in a browser profile of its own.

    :param options: what Playwright's ``new_context()`` takes, such as ``color_scheme``.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        # A zone and language of its own: dates look alike on each machine.
        given = {"locale": "en-US", "timezone_id": "UTC", **options}
        self._context = browser.new_context(**given)
        self._context.set_default_timeout(PATIENCE)
        self._context.add_init_script(_WATCH)
        self.page: Page = self._context.new_page()
        #: What the page, or the browser for it, has complained about.
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in {"error", "warning"}
                else None
            ),
        )
        self.page.on("dialog", lambda dialog: dialog.accept())

    def close(self) -> None:
        """Close the page, and raise what violated its content security policy."""
        violations = self.page.evaluate("window.violations")
        self._context.close()
        assert violations == [], violations
