"""The states that the page can be in, one after the other: looked at, and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator

from playwright.sync_api import expect

from tests.manager.page import FilesPage

FILES = [
    ("training-set-2026-11.jsonl", 2_234_112, "fine-tune"),
    ("questions.jsonl", 2_345, "batch"),
    ("handbook.pdf", 1_832_345, "assistants"),
    ("sketch of the new start page, second draft.png", 432_123, "vision"),
    ("notes.txt", 71, "user_data"),
]
SENDING = ("recordings.zip", 9_400_000)


def scenes(
    page: FilesPage, *, pace: int = 1_500_000, until: str = r"[2-7]\.\d MB"
) -> Iterator[str]:
    """Take an empty page of the example from state to state, and yield each one's name.

    :param pace: the bytes a second of the upload that is to be seen.
    :param until: how much of it has to be sent by then, as a pattern.
    """
    yield "empty"
    for name, size, purpose in FILES:
        page.uploaded((name, bytes(size)), purpose=purpose)
    page.page.get_by_role("button", name="Clear finished").click()
    # Nothing is pointed at, and nothing has the focus.
    page.page.reload()
    page.wait()
    expect(page.rows).to_have_count(len(FILES))
    yield "list"
    page.rows.first.locator("button.name").click()
    expect(page.details).to_contain_text("processed")
    yield "details"
    page.page.keyboard.press("Escape")
    page.rows.first.get_by_role("button", name="Delete").click()
    yield "question"
    page.page.keyboard.press("Escape")
    session = page.page.context.new_cdp_session(page.page)
    network = {"offline": False, "latency": 0, "downloadThroughput": -1}
    session.send("Network.emulateNetworkConditions", {**network, "uploadThroughput": pace})
    page.upload((SENDING[0], bytes(SENDING[1])))
    expect(page.transfers.first).to_contain_text(re.compile(rf"{until} of .* left"))
    yield "uploading"
    page.transfers.first.get_by_role("button", name="Cancel").click()
    page.page.get_by_role("button", name="Clear finished").click()
    session.send("Network.emulateNetworkConditions", {**network, "uploadThroughput": -1})
    page.provider.select_option(label="openai")
    expect(page.problem).to_be_visible()
    page.upload((SENDING[0], b"x"))
    expect(page.transfers.first).to_have_attribute("data-state", "failed")
    yield "error"
