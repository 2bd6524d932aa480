"""axe-core finds nothing to object to, in any state of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from axe_playwright_python.sync_playwright import Axe

from tests.manager.conftest import Opens
from tests.manager.scenes import scenes
from tests.support.gunicorn import Gunicorn

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

# All of its rules, those of best practice too, except the experimental ones.
RULES = {
    "runOnly": [
        "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice",
    ]
}  # fmt: skip


def test_no_violations(opens: Opens, tmp_path: Path) -> None:
    checked: list[tuple[str, str]] = []
    with Gunicorn(env={"EXAMPLE_DATA_DIR": str(tmp_path / "data")}) as server:
        # Still, because a colour on its way to another one is no colour to judge.
        page = opens(server.url, reduced_motion="reduce").wait()
        # Slow enough to last as long as it is looked at, on a busy machine too.
        for state in scenes(page, pace=100_000, until="[kM]B"):
            for scheme in SCHEMES:
                page.page.emulate_media(color_scheme=scheme)
                results = Axe().run(page.page, options=RULES)
                found = f"{state}, {scheme}:\n{results.generate_report()}"
                assert results.violations_count == 0, found
                assert len(results.response["passes"]) >= 20
                checked.append((state, scheme))
    states = ("empty", "list", "details", "question", "uploading", "error")
    assert checked == [(state, scheme) for state in states for scheme in SCHEMES]


def test_axe_would_find_something(opens: Opens, tmp_path: Path) -> None:
    with Gunicorn(env={"EXAMPLE_DATA_DIR": str(tmp_path / "data")}) as server:
        page = opens(server.url).wait()
        page.page.evaluate("document.querySelector('label[for=purpose]').remove()")
        results = Axe().run(page.page, options=RULES)
        assert [found["id"] for found in results.response["violations"]] == ["select-name"]
