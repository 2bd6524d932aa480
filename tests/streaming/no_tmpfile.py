"""The example application as on a file system that knows no files without a name."""

from __future__ import annotations

import tempfile

from flask import Flask

import example_app


def create_app() -> Flask:
    """Return the application, with files that get a name and lose it at once."""
    tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]
    return example_app.create_app()
