"""How Sphinx makes the site of these pages: ``sphinx-build -W -n --keep-going docs site``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The pages are made of this checkout, not of an installed release.
sys.path.insert(0, str(ROOT))

import flask_portkey_files  # noqa: E402

project = "flask_portkey_files"
author = "the flask_portkey_files maintainers"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx calls it so.
release = version = flask_portkey_files.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

# --- The pages, in Markdown -----------------------------------------------------------------

#: Headings have the anchors that forges give them, since the pages are read there as well.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "fieldlist"]
myst_links_external_new_tab = False
copybutton_prompt_text = "$ "

# --- The reference, out of docstrings -------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# Other projects' names are not linked: their inventories would have to be fetched for each
# build. What is this project's own has to resolve.
nitpick_ignore_regex = [
    ("py:.*", rf"({module})(\..*)?")
    for module in (
        *("blinker", "collections", "datetime", "flask", "opentelemetry", "prometheus_client"),
        *("typing", "werkzeug", "Path"),
    )
]

# Names for what `create_blueprint()` takes, which its own entry spells out.
nitpick_ignore = [("py:class", name) for name in ("ApiKeys", "Configs", "Scope", "VirtualKeys")]

# --- How it looks ---------------------------------------------------------------------------

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False
html_show_sourcelink = False
