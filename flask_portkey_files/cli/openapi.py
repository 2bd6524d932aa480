"""``flask portkey-files openapi``: the blueprint as an OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
from flask.cli import with_appcontext

#: Returns the OpenAPI document of the blueprint in the current application. It takes the
#: address that the document is to name, or ``None`` for the blueprint's own prefix.
Describe = Callable[[str | None], dict[str, Any]]


def openapi_command(describe: Describe) -> click.Command:
    """Return the command that prints what *describe* returns."""

    @click.command("openapi")
    @click.option(
        "--server",
        metavar="URL",
        help="The address of the service, with its prefix; the prefix alone by default.",
    )
    @with_appcontext
    def command(server: str | None) -> None:
        """Print the OpenAPI document of the Files API, as JSON."""
        click.echo(json.dumps(describe(server), indent=2))

    return command
