"""The commands under ``flask portkey-files``."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ..providers import Provider
from .providers import providers_command


def group_name(blueprint: str) -> str:
    """Return the name that the commands of the *blueprint* of this name stand under."""
    return blueprint.replace("_", "-")


def add_commands(group: click.Group, providers: Mapping[str, Provider]) -> None:
    """Put a blueprint's commands under its *group*.

    :param providers: the blueprint's providers, by name.
    """
    group.add_command(providers_command(providers))
