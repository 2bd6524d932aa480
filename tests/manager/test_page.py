"""What people do on the page."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.manager.conftest import Opens
from tests.manager.page import FilesPage, payload
from tests.manager.slow import SlowProvider, slow_provider
from tests.support.gunicorn import Gunicorn


@pytest.fixture
def site(shared_site: Gunicorn) -> Gunicorn:
    """The shared site without a file in it."""
    headers = {"x-portkey-provider": "local"}
    listed = urllib.request.Request(f"{shared_site.url}/v1/files", headers=headers)
    with urllib.request.urlopen(listed) as answer:
        files = json.load(answer)["data"]
    for file in files:
        one = urllib.request.Request(
            f"{shared_site.url}/v1/files/{file['id']}", headers=headers, method="DELETE"
        )
        urllib.request.urlopen(one).close()
    return shared_site


@pytest.fixture
def page(site: Gunicorn, opens: Opens) -> FilesPage:
    return opens(f"{site.url}/").wait()


def downloaded(page: FilesPage, name: str) -> tuple[str, str]:
    """Download a file by its button; what the browser called it, and its digest."""
    # The browser's own window for choosing a place can't be driven.
    page.page.evaluate("delete window.showSaveFilePicker")
    with page.page.expect_download() as download:
        page.row(name).get_by_role("button", name=f"Download {name}").click()
    path = download.value.path()
    return download.value.suggested_filename, hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_files_it_says_what_to_do(page: FilesPage) -> None:
    assert page.page.url.endswith("/manager/")
    expect(page.page.get_by_text("No files yet")).to_be_visible()
    expect(page.page.get_by_text("Drop files anywhere")).to_be_visible()
    expect(page.problem).to_be_hidden()


def test_files_that_are_chosen_are_uploaded(page: FilesPage, sample: tuple[str, bytes]) -> None:
    page.upload(sample, ("notes.txt", b"notes"), ("b.jsonl", b"{}\n"), purpose="assistants")
    expect(page.transfers).to_have_count(3)
    expect(page.page.locator('[data-state="done"]')).to_have_count(3)
    expect(page.transfers.filter(has_text="sample.bin")).to_contain_text("Uploaded · 1.2 MB")
    assert sorted(page.names()) == ["b.jsonl", "notes.txt", "sample.bin"]
    expect(page.row("sample.bin")).to_contain_text("assistants")
    expect(page.page.locator("#count")).to_have_text("3 files")
    page.page.get_by_role("button", name="Clear finished").click()
    expect(page.page.locator("#transfers")).to_be_hidden()
    # Not only on the page.
    page.page.get_by_role("button", name="Refresh the list").click()
    page.wait()
    expect(page.rows).to_have_count(3)


def test_the_bytes_come_back_as_they_went(page: FilesPage, sample: tuple[str, bytes]) -> None:
    page.uploaded(sample, ("größe 1.txt", "größe".encode()))
    digest = hashlib.sha256(sample[1]).hexdigest()
    assert downloaded(page, "sample.bin") == ("sample.bin", digest)
    name, digest = downloaded(page, "größe 1.txt")
    assert name == "größe 1.txt"
    assert digest == hashlib.sha256("größe".encode()).hexdigest()
    download = page.transfers.filter(has_text="Downloaded").filter(has_text="sample.bin")
    expect(download).to_contain_text("Downloaded · 1.2 MB")


def test_a_download_goes_to_the_disk_as_it_arrives(
    page: FilesPage, sample: tuple[str, bytes]
) -> None:
    page.uploaded(sample)
    # A real file of the browser's own, in place of one that its window would let us choose.
    page.page.evaluate(
        """() => {
          window.showSaveFilePicker = async ({ suggestedName }) => {
            window.chosen = suggestedName;
            const root = await navigator.storage.getDirectory();
            return root.getFileHandle("chosen", { create: true });
          };
        }"""
    )
    page.row("sample.bin").get_by_role("button", name="Download").click()
    expect(page.page.get_by_text("Downloaded · 1.2 MB")).to_be_visible()
    digest = page.page.evaluate(
        """async () => {
          const root = await navigator.storage.getDirectory();
          const file = await (await root.getFileHandle("chosen")).getFile();
          const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
          return [window.chosen, ...new Uint8Array(digest)];
        }"""
    )
    assert digest[0] == "sample.bin"
    assert bytes(digest[1:]) == hashlib.sha256(sample[1]).digest()


def test_who_thinks_better_of_a_download_gets_none(page: FilesPage) -> None:
    page.uploaded(("a.txt", b"a"))
    page.page.evaluate(
        """() => {
          window.showSaveFilePicker = async () => {
            window.asked = true;
            throw new DOMException("", "AbortError");
          };
        }"""
    )
    page.row("a.txt").get_by_role("button", name="Download").click()
    page.page.wait_for_function("window.asked")
    expect(page.transfers).to_have_count(1)
    expect(page.problem).to_be_hidden()


def test_files_that_are_dropped_are_uploaded(page: FilesPage) -> None:
    page.purpose.select_option("user_data")
    page.drop("#drop", ("one.txt", b"1"), ("two.txt", b"22"))
    assert page.page.evaluate("window.highlighted")
    expect(page.rows).to_have_count(2)
    # Anywhere on the page.
    page.drop("h1", ("three.txt", b"333"))
    expect(page.row("three.txt")).to_contain_text("3 bytes")
    expect(page.page.locator("body")).not_to_have_class("dragging")


def test_other_purposes_and_expiry(page: FilesPage) -> None:
    page.purpose.select_option(label="Other …")
    page.expiry.select_option(label="7 days")
    own = page.page.get_by_label("Name of the purpose")
    page.page.locator("#picker").set_input_files(payload("a.txt", b"a"))
    # Nothing is sent as long as its purpose is not said.
    assert own.evaluate("field => field.validationMessage").startswith("Say what")
    expect(page.transfers).to_have_count(0)
    own.fill("evals")
    page.page.locator("#picker").set_input_files(payload("a.txt", b"a"))
    expect(page.row("a.txt")).to_contain_text("evals")
    expect(page.row("a.txt").locator(".until")).to_contain_text("until")
    page.row("a.txt").get_by_role("button", name="a.txt", exact=True).click()
    expect(page.details).to_contain_text("Kept until")


def test_pages_and_purposes(page: FilesPage, site: Gunicorn) -> None:
    for number in range(53):
        purpose = b"batch" if number % 10 else b"fine-tune"
        form = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="%s\r\n\r\n%s\r\n' % part
            for part in (
                (b'purpose"', purpose),
                (b'file"; filename="%02d.txt"' % number, b"x"),
            )
        )
        headers = {
            "x-portkey-provider": "local",
            "Content-Type": "multipart/form-data; boundary=b",
        }
        upload = urllib.request.Request(f"{site.url}/v1/files", form + b"--b--\r\n", headers)
        urllib.request.urlopen(upload).close()
    page.page.get_by_role("button", name="Refresh the list").click()
    expect(page.rows).to_have_count(50)
    expect(page.page.locator("#count")).to_have_text("50 files, and there are more")
    page.more.click()
    expect(page.rows).to_have_count(53)
    expect(page.more).to_be_hidden()
    assert page.names() == [f"{number:02}.txt" for number in reversed(range(53))]
    # The first of the new ones has the focus, and the number is said.
    expect(page.row("02.txt").locator("button.name")).to_be_focused()
    expect(page.said).to_have_text("53 files")
    page.filter.select_option("fine-tune")
    expect(page.rows).to_have_count(6)
    assert page.names() == ["50.txt", "40.txt", "30.txt", "20.txt", "10.txt", "00.txt"]
    page.filter.select_option("vision")
    expect(page.page.get_by_text("No files for “vision”")).to_be_visible()


def test_details(page: FilesPage) -> None:
    page.uploaded(("data.jsonl", b"{}\n" * 700))
    name = page.row("data.jsonl").get_by_role("button", name="data.jsonl", exact=True)
    name.click()
    expect(page.details).to_be_visible()
    for text in ("file-", "2.1 kB (2100 bytes)", "batch", "processed"):
        expect(page.details).to_contain_text(text)
    page.page.keyboard.press("Escape")
    expect(page.details).to_be_hidden()
    expect(name).to_be_focused()


def test_a_file_is_deleted_only_when_that_is_confirmed(page: FilesPage) -> None:
    page.uploaded(("keep.txt", b"k"), ("go.txt", b"g"))
    page.row("go.txt").get_by_role("button", name="Delete go.txt").click()
    expect(page.question).to_contain_text("“go.txt” will be deleted")
    expect(page.question.get_by_role("button", name="Cancel")).to_be_focused()
    page.question.get_by_role("button", name="Cancel").click()
    expect(page.rows).to_have_count(2)
    page.row("go.txt").get_by_role("button", name="Delete go.txt").click()
    page.question.get_by_role("button", name="Delete").click()
    expect(page.rows).to_have_count(1)
    expect(page.row("keep.txt").locator("button.name")).to_be_focused()
    expect(page.said).to_have_text("go.txt is deleted.")
    page.page.reload()
    page.wait()
    assert page.names() == ["keep.txt"]


def test_a_file_that_somebody_else_deleted(page: FilesPage, opens: Opens) -> None:
    page.uploaded(("a.txt", b"a"), ("b.txt", b"b"))
    other = opens(page.page.url).wait()
    for name in ("a.txt", "b.txt"):
        other.row(name).get_by_role("button", name=f"Delete {name}").click()
        other.question.get_by_role("button", name="Delete").click()
        expect(other.row(name)).to_have_count(0)
    # What was wanted is so.
    page.row("a.txt").get_by_role("button", name="Delete a.txt").click()
    page.question.get_by_role("button", name="Delete").click()
    expect(page.row("a.txt")).to_have_count(0)
    expect(page.problem).to_be_hidden()
    page.page.evaluate("delete window.showSaveFilePicker")
    page.row("b.txt").get_by_role("button", name="Download b.txt").click()
    expect(page.transfers.filter(has_text="No such File object")).to_have_count(1)
    page.row("b.txt").get_by_role("button", name="b.txt", exact=True).click()
    expect(page.details.get_by_role("alert")).to_contain_text("No such File object")


def test_the_names_of_files_are_no_markup(page: FilesPage) -> None:
    name = '<img src=x onerror="window.hurt=1">&quot;.txt'
    page.uploaded((name, b"x"))
    row = page.rows.first
    expect(row.locator("button.name")).to_have_text(name)
    row.locator("button.name").click()
    expect(page.details.get_by_role("heading")).to_have_text(name)
    page.page.keyboard.press("Escape")
    saved, _ = downloaded(page, name)
    assert re.fullmatch(r"[^<>\"/\\]+\.txt", saved)
    row.get_by_role("button", name="Delete").click()
    expect(page.question).to_contain_text(name)
    page.question.get_by_role("button", name="Delete").click()
    expect(page.rows).to_have_count(0)
    expect(page.page.locator("img")).to_have_count(0)
    assert page.page.evaluate("window.hurt") is None


def test_each_provider_has_a_key_of_its_own(page: FilesPage, site: Gunicorn) -> None:
    sent: list[tuple[str | None, str | None]] = []

    def answer(route: Route) -> None:
        headers = route.request.headers
        sent.append((headers.get("x-portkey-provider"), headers.get("x-portkey-api-key")))
        route.fulfill(json={"object": "list", "data": [], "has_more": False})

    page.page.route("**/v1/files?*", answer)
    expect(page.provider.locator("option").first).to_have_text("local")
    page.provider.select_option(label="groq")
    # What the provider does not take is not offered.
    assert page.purpose.locator("option").all_text_contents() == ["batch"]
    expect(page.page.locator("#expiry-field")).to_be_hidden()
    page.key.fill("gsk-1")
    page.key.press("Enter")
    page.provider.select_option(label="openai")
    expect(page.key).to_have_value("")
    page.provider.select_option(label="groq")
    expect(page.key).to_have_value("gsk-1")
    expect(page.page.get_by_text("No files yet")).to_be_visible()
    assert sent == [("groq", None), ("groq", "gsk-1"), ("openai", None), ("groq", "gsk-1")]
    # Nowhere but in the page, unless the user wants it kept.
    stored = "JSON.stringify([sessionStorage, localStorage, document.cookie, location.href])"
    assert "gsk-1" not in page.page.evaluate(stored)
    keep = page.page.get_by_label("Keep it until this tab is closed")
    keep.check()
    page.page.reload()
    page.provider.select_option(label="groq")
    expect(page.key).to_have_value("gsk-1")
    assert "gsk-1" not in page.page.evaluate(
        "JSON.stringify([localStorage, document.cookie, location.href])"
    )
    keep.uncheck()
    assert page.page.evaluate("sessionStorage.length") == 0


def test_a_key_that_is_missing_is_asked_for(page: FilesPage) -> None:
    page.provider.select_option(label="openai")
    expect(page.problem).to_have_text(re.compile("A key is needed here"))
    expect(page.problem).to_have_attribute("role", "alert")
    page.upload(("a.txt", b"a"))
    failed = page.transfers.filter(has_text="A key is needed here")
    expect(failed).to_have_count(1)
    # The provider can be chosen anew, and what could not be listed is listed.
    page.provider.select_option(label="local")
    expect(page.problem).to_be_hidden()
    expect(page.page.get_by_text("No files yet")).to_be_visible()


def test_what_the_server_refuses_is_said_in_its_words(page: FilesPage) -> None:
    page.purpose.select_option(label="Other …")
    page.page.get_by_label("Name of the purpose").fill("nonsense")
    page.page.locator("#picker").set_input_files(payload("a.txt", b"a"))
    failed = page.transfers.filter(has_text="Invalid value: 'nonsense'. Supported values are")
    expect(failed).to_have_count(1)
    expect(failed).to_have_attribute("data-state", "failed")
    failed.get_by_role("button", name="Remove a.txt from the transfers").click()
    expect(page.page.locator("#transfers")).to_be_hidden()
    expect(page.page.get_by_role("heading", name="Stored files")).to_be_focused()


def test_progress_and_cancel(browser_file: Path, opens: Opens) -> None:
    with (
        slow_provider() as (provider, url),
        Gunicorn(env={"EXAMPLE_STORE_URL": url}) as server,
    ):
        page = opens(server.url).wait()
        page.upload(browser_file)
        row = page.transfers.first
        status = row.locator(".transfer-status")
        # Some of it has gone, and not all: the provider has stopped reading.
        going = re.compile(r"^\d+(\.\d)? MB of 168 MB · \d.+/s · .+ left$")
        expect(status).to_have_text(going)
        bar = row.get_by_role("progressbar")
        assert 0 < bar.evaluate("bar => bar.value") < 1
        expect(status).to_have_text(re.compile("waiting for the server$"))
        row.get_by_role("button", name="Cancel the upload of big.bin").click()
        expect(status).to_have_text("Cancelled. Nothing was stored.")
        provider.go_on.set()
        # The provider never has an upload that looks complete.
        assert provider.ended.wait(20)
        assert provider.complete == [False]
        provider.ended.clear()
        page.upload(("small.txt", b"x"))
        page.upload(browser_file)
        expect(page.page.locator('[data-state="done"]')).to_have_count(2)
        assert provider.complete == [False, True, True]
        assert len(set(provider.keys)) == 3
        expect(page.rows).to_have_count(1)  # It has one id for all.


def test_uploads_wait_for_their_turn(opens: Opens) -> None:
    with (
        slow_provider() as (provider, url),
        Gunicorn(env={"EXAMPLE_STORE_URL": url}) as server,
    ):
        page = opens(server.url).wait()
        page.upload(*[(f"{number}.txt", b"x") for number in range(4)])
        expect(page.page.locator('[data-state="waiting"]')).to_have_count(2)
        page.transfers.filter(has_text="3.txt").get_by_role("button").click()
        expect(page.page.get_by_text("Cancelled before it began.")).to_be_visible()
        provider.go_on.set()
        expect(page.page.locator('[data-state="done"]')).to_have_count(3)


@pytest.fixture
def browser_file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    with path.open("wb") as file:
        file.truncate(SlowProvider.SIZE)
    return path


def test_a_server_that_is_gone(opens: Opens, tmp_path: Path) -> None:
    with Gunicorn(env={"EXAMPLE_DATA_DIR": str(tmp_path / "data")}) as server:
        page = opens(server.url).wait()
        keys: list[str | None] = []
        page.page.on(
            "request",
            lambda request: (
                keys.append(request.headers.get("idempotency-key"))
                if request.method == "POST"
                else None
            ),
        )
        page.page.context.set_offline(True)
        page.page.get_by_role("button", name="Refresh the list").click()
        expect(page.problem).to_contain_text("The server could not be reached")
        page.upload(("a.txt", b"a"))
        failed = page.transfers.first
        expect(failed).to_contain_text("Check your connection, then try again.")
        page.page.context.set_offline(False)
        page.problem.get_by_role("button", name="Try again").click()
        expect(page.page.get_by_text("No files yet")).to_be_visible()
        failed.get_by_role("button", name="Try the upload of a.txt again").click()
        expect(page.row("a.txt")).to_have_count(1)
        # It was the same upload, in case that the first one had arrived.
        assert len(keys) == 2
        assert len(set(keys)) == 1


def test_all_of_it_by_keyboard(page: FilesPage) -> None:
    keyboard = page.page.keyboard

    def tab_to(name: str, most: int = 30) -> None:
        for _ in range(most):
            keyboard.press("Tab")
            focused = page.page.evaluate(
                "document.activeElement.getAttribute('aria-label')"
                " ?? document.activeElement.labels?.[0]?.textContent"
                " ?? document.activeElement.textContent"
            )
            visible = page.page.evaluate("document.activeElement.matches(':focus-visible')")
            assert visible, focused
            if focused.strip() == name:
                return
        raise AssertionError(f"{name} can't be reached")

    tab_to("Skip to the files", most=1)
    keyboard.press("Enter")
    expect(page.page.locator("#files-heading")).to_be_focused()
    page.page.reload()
    page.wait()
    with page.page.expect_file_chooser() as chooser:
        tab_to("Choose files")
        keyboard.press("Enter")
    chooser.value.set_files([payload(name, b"x") for name in ("a.txt", "b.txt")])
    expect(page.rows).to_have_count(2)
    tab_to("Purpose")
    keyboard.press("ArrowDown")
    expect(page.purpose).to_have_value("batch")
    tab_to("Clear finished")
    keyboard.press("Enter")
    expect(page.page.locator("#files-heading")).to_be_focused()
    first = page.names()[0]
    tab_to(first)
    keyboard.press("Enter")
    expect(page.details).to_be_visible()
    # The dialog keeps the focus in it, and gives it back.
    tab_to("Download")
    keyboard.press("Escape")
    expect(page.row(first).locator("button.name")).to_be_focused()
    tab_to(f"Delete {first}")
    keyboard.press("Enter")
    expect(page.question.get_by_role("button", name="Cancel")).to_be_focused()
    tab_to("Delete")
    keyboard.press("Enter")
    expect(page.rows).to_have_count(1)
    expect(page.rows.first.locator("button.name")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(site: Gunicorn, opens: Opens, scheme: str) -> None:
    page = opens(site.url, color_scheme=scheme).wait()
    shade = page.page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (max(shade) < 64) == (scheme == "dark")


def test_nothing_sticks_out_on_a_phone(site: Gunicorn, opens: Opens) -> None:
    page = opens(site.url, viewport={"width": 320, "height": 640}, has_touch=True).wait()
    page.uploaded(("w" * 200 + ".txt", b"x"), ("short.txt", b"x"))
    page.provider.select_option(label="openai")
    expect(page.problem).to_be_visible()
    width = "document.documentElement.scrollWidth"
    assert page.page.evaluate(width) == 320
    page.provider.select_option(label="local")
    expect(page.rows).to_have_count(2)
    page.rows.last.locator("button.name").click()
    expect(page.details).to_be_visible()
    assert page.page.evaluate(width) == 320
    box = page.details.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320
    # Large enough for a finger (WCAG 2.2, 2.5.8), all of them.
    sizes = page.page.locator("button:visible").evaluate_all(
        "buttons => buttons.map(b => Math.min(b.offsetWidth, b.offsetHeight))"
    )
    assert min(sizes) >= 24


def test_motion_can_be_turned_off(site: Gunicorn, opens: Opens) -> None:
    page = opens(site.url, reduced_motion="reduce").wait()
    drop = page.page.locator(".drop")
    assert drop.evaluate("drop => getComputedStyle(drop).transition").startswith("none")
