"""The pictures in the documentation: ``python -m tests.manager.screenshots [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from tests.manager.page import FilesPage
from tests.manager.scenes import scenes
from tests.support.browser import Tab, chromium
from tests.support.gunicorn import Gunicorn
from tests.support.served import ROOT

WIDE: dict[str, Any] = {"viewport": {"width": 1000, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 1.25}
DARK: dict[str, Any] = {"color_scheme": "dark"}

#: Each picture, by the state that it shows and the browser that shows it.
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "empty": ("empty", WIDE),
    "list": ("list", WIDE),
    "details": ("details", WIDE),
    "uploading": ("uploading", WIDE),
    "error": ("error", WIDE),
    "dark": ("list", {**WIDE, **DARK}),
    "phone": ("list", PHONE),
}


def main(folder: Path) -> None:
    """Take each picture, and print its size."""
    folder.mkdir(parents=True, exist_ok=True)
    browsers: list[dict[str, Any]] = []
    for _, options in PICTURES.values():
        if options not in browsers:
            browsers.append(options)
    with chromium() as browser:
        for options in browsers:
            wanted = {
                state: name for name, (state, shown) in PICTURES.items() if shown == options
            }
            _take(browser, options, wanted, folder)


def _take(
    browser: Browser, options: dict[str, Any], wanted: dict[str, str], folder: Path
) -> None:
    with (
        tempfile.TemporaryDirectory() as data,
        Gunicorn(env={"EXAMPLE_DATA_DIR": data}) as server,
    ):
        tab = Tab(browser, reduced_motion="reduce", **options)
        tab.page.goto(server.url)
        for state in scenes(FilesPage(tab.page).wait()):
            if state not in wanted:
                continue
            path = folder / f"file-manager-{wanted.pop(state)}.png"
            # What is below the edge of a phone's screen is shown as well.
            tab.page.screenshot(path=path, full_page=options is PHONE)
            print(f"{path.stat().st_size // 1000:4} kB  {path.name}")  # noqa: T201
            if not wanted:
                break
        tab.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
