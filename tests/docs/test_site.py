"""The pages as a site: each is in its contents, once."""

from __future__ import annotations

import re

from tests.support.served import ROOT

DOCS = ROOT / "docs"


def test_every_page_is_in_a_toctree_once() -> None:
    """Sphinx warns of a page that is in none, and says nothing of one that is in two."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed: list[str] = []
    for tree in re.findall(r"^```\{toctree\}\n(.*?)^```$", index, re.MULTILINE | re.DOTALL):
        listed += [line for line in tree.splitlines() if line and not line.startswith(":")]
    pages = [page.stem for page in DOCS.iterdir() if page.suffix in (".md", ".rst")]
    assert sorted(listed) == sorted(set(pages) - {"index"})


def test_the_index_tells_of_each_page_what_it_has() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    linked = re.findall(r"^- \[[^]]+\]\(([^)]+)\): .+\.$", index, re.MULTILINE)
    pages = {page.name for page in DOCS.iterdir() if page.suffix in (".md", ".rst")}
    assert sorted(linked) == sorted(pages - {"index.md"})
