"""``flask portkey-files providers``: what every provider can do."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ..providers import Provider
from ..providers.table import as_json, markdown, text

FORMATS = {"text": text, "markdown": markdown, "json": as_json}


def providers_command(providers: Mapping[str, Provider]) -> click.Command:
    """Return the command that prints what each of a blueprint's *providers* can do."""

    @click.command("providers")
    @click.argument("names", nargs=-1)
    @click.option(
        "--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True
    )
    @click.option("--json", "form", flag_value="json", help="Short for --format json.")
    def command(names: tuple[str, ...], form: str) -> None:
        """Print what each provider's files API can do, or those of NAMES."""
        unknown = [name for name in names if name not in providers]
        if unknown:
            raise click.UsageError(
                f"There is no provider {unknown[0]!r}; there are: {', '.join(providers)}."
            )
        chosen = {name: providers[name] for name in names or providers}
        click.echo(FORMATS[form](chosen), nl=False)

    return command
