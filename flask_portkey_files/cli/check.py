"""``flask portkey-files check``: what does not work, and what may not one day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click
from flask import Blueprint, current_app

from ..providers import Provider
from .connection import Connection, connected
from .findings import Finding, Level, shown
from .inside import extras_findings, gunicorn_findings, settings_findings, spool_findings
from .output import Failed, counted
from .outside import outside_findings
from .reach import resolver_findings


def check_command(blueprint: Blueprint, providers: Mapping[str, Provider]) -> click.Command:
    """Return the command that looks for what is wrong."""

    @click.command("check")
    @click.option(
        "--gunicorn-config",
        metavar="PATH",
        type=click.Path(exists=True, dir_okay=False),
        help="gunicorn's configuration; gunicorn.conf.py in this folder if absent.",
    )
    @click.option(
        "--test-file",
        "purpose",
        metavar="PURPOSE",
        help="With --url: upload a small file for this purpose, download and delete it.",
    )
    @click.option(
        "--json", "as_json", is_flag=True, help="Print each result as a line of JSON."
    )
    @connected(blueprint)
    def command(
        *,
        connection: Connection,
        gunicorn_config: str | None,
        purpose: str | None,
        as_json: bool,
    ) -> None:
        """Look for what does not work, or may not one day.

        Of the application in this process: its settings, where its resolver sends a call, each
        provider that this may be, the folder for uploads that are held back, gunicorn's
        configuration. With --url: what is between here and a running gateway.
        """
        if connection.app is None:
            verify = connection.session.verify
            ca_bundle = verify if isinstance(verify, str) else None
            findings = outside_findings(connection, ca_bundle, purpose)
        elif purpose is not None:
            raise click.UsageError("--test-file is for --url.")
        else:
            findings = _inside(connection, blueprint, providers, gunicorn_config)
        levels = [finding.level for finding in shown(findings, as_json=as_json)]
        if bad := levels.count(Level.FAILED):
            raise Failed(f"{counted(bad, 'check')} failed.")

    return command


def _inside(
    connection: Connection,
    blueprint: Blueprint,
    providers: Mapping[str, Provider],
    gunicorn_config: str | None,
) -> Iterator[Finding]:
    relay = current_app.extensions["portkey_files"][blueprint]
    yield from settings_findings(relay.settings)
    yield from spool_findings(relay.settings)
    yield from gunicorn_findings(gunicorn_config)
    yield from extras_findings()
    yield from resolver_findings(
        relay, providers, connection.headers, f"{connection.base_url}/files"
    )
