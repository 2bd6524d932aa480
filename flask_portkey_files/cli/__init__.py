"""The commands under ``flask portkey-files``."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ..providers import Provider
from .openapi import Describe, openapi_command
from .providers import providers_command


def group_name(blueprint: str) -> str:
    """Return the name that the commands of the *blueprint* of this name stand under."""
    return blueprint.replace("_", "-")


def add_commands(
    group: click.Group, providers: Mapping[str, Provider], describe: Describe
) -> None:
    """Put a blueprint's commands under its *group*.

    :param providers: the blueprint's providers, by name.
    :param describe: returns its OpenAPI document.
    """
    group.add_command(providers_command(providers))
    group.add_command(openapi_command(describe))
