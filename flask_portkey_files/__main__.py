"""The commands without an application of one's own: ``python -m flask_portkey_files --help``.

They reach the providers themselves, or with ``--url`` a running gateway.
"""

from __future__ import annotations

from flask import Flask
from flask.cli import ScriptInfo

from .blueprint import create_blueprint


def main() -> None:
    """Run a command."""
    blueprint = create_blueprint()
    app = Flask("flask_portkey_files")
    app.register_blueprint(blueprint, url_prefix="/v1")
    blueprint.cli.main(
        prog_name="python -m flask_portkey_files", obj=ScriptInfo(create_app=lambda: app)
    )


if __name__ == "__main__":
    main()
