"""The commands under ``flask portkey-files``."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint

from ..providers import Provider
from .check import check_command
from .download import download_command
from .listing import list_command, show_command
from .openapi import Describe, openapi_command
from .providers import providers_command
from .removal import delete_command, purge_command
from .upload import upload_command


def group_name(blueprint: str) -> str:
    """Return the name that the commands of the *blueprint* of this name stand under."""
    return blueprint.replace("_", "-")


def add_commands(
    blueprint: Blueprint, providers: Mapping[str, Provider], describe: Describe
) -> None:
    """Put the commands of a *blueprint* into its group.

    :param providers: its providers, by name.
    :param describe: returns its OpenAPI document.
    """
    for make in (
        upload_command,
        list_command,
        show_command,
        download_command,
        delete_command,
        purge_command,
    ):
        blueprint.cli.add_command(make(blueprint))
    blueprint.cli.add_command(check_command(blueprint, providers))
    blueprint.cli.add_command(providers_command(providers))
    blueprint.cli.add_command(openapi_command(describe))
