"""The file manager, as those who use it see it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

Given = Path | tuple[str, bytes]


def payload(name: str, data: bytes) -> Any:
    """Return a file in the form in which Playwright has one chosen."""
    return {"name": name, "mimeType": "text/plain", "buffer": data}


class FilesPage:
    """A loaded page; what it finds, it finds by label and role wherever there is one."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.provider = page.get_by_label("Provider", exact=True)
        self.key = page.get_by_label("Key", exact=True)
        self.purpose = page.get_by_label("Purpose", exact=True)
        self.expiry = page.get_by_label("Keep for")
        self.filter = page.get_by_label("Show", exact=True)
        self.rows = page.locator("#file-list > li")
        self.transfers = page.locator("#transfer-list > li")
        self.problem = page.locator("#problem")
        self.more = page.get_by_role("button", name="Load more")
        self.details = page.locator("dialog#details")
        self.question = page.get_by_role("alertdialog")
        self.said = page.get_by_role("status")

    def wait(self) -> FilesPage:
        """Wait until the list has come, or why it has not."""
        expect(self.page.get_by_text("Loading …")).to_be_hidden()
        return self

    def upload(self, *files: Given, purpose: str = "batch") -> None:
        """Choose files with the picker."""
        self.purpose.select_option(purpose)
        chosen: Sequence[Any] = [
            file if isinstance(file, Path) else payload(*file) for file in files
        ]
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Choose files").click()
        chooser.value.set_files(chosen)

    def uploaded(self, *files: Given, purpose: str = "batch") -> None:
        """Choose files, and wait until they are stored."""
        before = self.page.locator('[data-state="done"]').count()
        self.upload(*files, purpose=purpose)
        expect(self.page.locator('[data-state="done"]')).to_have_count(before + len(files))

    def drop(self, selector: str, *files: tuple[str, bytes]) -> None:
        """Drop files on an element, with the events that a browser makes of it."""
        self.page.evaluate(
            """([selector, files]) => {
              const dataTransfer = new DataTransfer();
              for (const [name, text] of files) dataTransfer.items.add(new File([text], name));
              const target = document.querySelector(selector);
              for (const type of ["dragenter", "dragover"]) {
                const options = { bubbles: true, cancelable: true, dataTransfer };
                target.dispatchEvent(new DragEvent(type, options));
              }
              window.highlighted = document.body.classList.contains("dragging");
              const options = { bubbles: true, cancelable: true, dataTransfer };
              target.dispatchEvent(new DragEvent("drop", options));
            }""",
            [selector, [[name, data.decode()] for name, data in files]],
        )

    def row(self, name: str) -> Locator:
        """Return the row of the file of this name."""
        return self.rows.filter(has=self.page.get_by_role("button", name=name, exact=True))

    def names(self) -> list[str]:
        """Return the names of the files that are listed."""
        return self.rows.locator("button.name").all_text_contents()
