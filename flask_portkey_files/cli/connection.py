"""How a command reaches a Files API: the application's own in this process, or one at a URL."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import click
import requests
import urllib3
from flask import Blueprint, Flask, current_app
from flask.cli import with_appcontext

from .output import Failed
from .wsgi import WSGIAdapter

#: What goes on a connection that fails for a while: a list or a deletion is asked for again.
PASSING = frozenset({429, 502, 503, 504})
TRIES = 4
LONGEST_WAIT = 30.0

#: How many files are asked for at a time.
PAGE = 1000

#: The environment variable with the gateway's key, by the name that Portkey's own SDK gives it.
GATEWAY_KEY = "PORTKEY_API_KEY"

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Connection:
    """A Files API and what is sent with each call to it.

    :param base_url: the address that ``/files`` is added to.
    :param headers: the headers of each call.
    :param app: the application that answers, if it is one of this process.
    :param blueprint: its blueprint.
    """

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    session: requests.Session = field(repr=False)
    timeout: float
    app: Flask | None = None
    blueprint: Blueprint | None = None

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Iterator[requests.Response]:
        """Make a call, and have its answer streamed in the ``with`` block.

        :param path: what is added to the base URL, escaped.
        :raises Failed: there is no answer, or it breaks off.
        """
        where = "the application" if self.app is not None else urlsplit(self.base_url).netloc
        try:
            with self.session.request(
                method,
                self.base_url + path,
                params=params,
                data=body,
                headers={**self.headers, **(headers or {})},
                timeout=(min(self.timeout, 10), self.timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                yield response
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise Failed(f"{where} did not answer in time.") from None
        except requests.exceptions.SSLError as error:
            raise Failed(f"The TLS connection to {where} failed: {_cause(error)}.") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Failed(f"The connection to {where} failed: {_cause(error)}.") from None

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> tuple[dict[str, Any], requests.Response]:
        """Make a call and return its answer, a JSON object, and the response.

        A call without a body is made again if the answer is one that passes.

        :raises Failed: there is no answer, or it is an error or no JSON.
        """
        for attempt in range(TRIES):
            with self.open(method, path, params=params, headers=headers, body=body) as response:
                response.content  # noqa: B018 - reads it
            last = body is not None or attempt == TRIES - 1
            if response.status_code not in PASSING or last:
                break
            time.sleep(wait(response, attempt))
        if not response.ok:
            raise refusal(response)
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._no_files_api(response)
        return answer, response

    def files(
        self, *, purpose: str | None, order: str | None, after: str | None, most: int | None
    ) -> Iterator[dict[str, Any]]:
        """Yield file objects, page after page.

        :param most: how many at most; all if ``None``.
        :raises Failed: a page can't be had.
        """
        left = most
        while left is None or left > 0:
            named = {"purpose": purpose, "order": order, "after": after}
            params = {name: value for name, value in named.items() if value is not None}
            params["limit"] = str(min(left or PAGE, PAGE))
            page, response = self.ask("GET", "/files", params=params)
            told = page.get("data") or []
            if not isinstance(told, list):
                raise self._no_files_api(response)
            data = [file for file in told if isinstance(file, dict)]
            yield from data[:left]
            if left is not None:
                left -= len(data)
            if not data or not page.get("has_more"):
                return
            last = str(data[-1].get("id"))
            if last == after:
                raise Failed("The list does not go on: `after` is ignored.")
            after = last

    def _no_files_api(self, response: requests.Response) -> Failed:
        return Failed(
            f"What answered {response.status_code} at {self.base_url} is no Files API "
            f"({response.content[:80].decode('utf-8', 'replace')!r}).",
            status=response.status_code,
        )


def file_path(file_id: str) -> str:
    """Return the path of a file: its id may have what means something in a path."""
    return f"/files/{quote(file_id, safe='%')}"


def wait(response: requests.Response, attempt: int) -> float:
    """Return how long to wait before a call is made again, in seconds."""
    with contextlib.suppress(ValueError):
        asked = float(response.headers.get("Retry-After", ""))
        return min(max(asked, 0.0), LONGEST_WAIT)
    return min(0.5 * 2.0**attempt, LONGEST_WAIT)


def refusal(response: requests.Response) -> Failed:
    """Return the error for an answer that is one."""
    status = response.status_code
    try:
        error = response.json()["error"]
        message, code = error["message"], error.get("code")
        if (code, error.get("param")) == ("invalid_route", "x-portkey-provider"):
            message = f"{message}: --provider, --virtual-key or --config says where to"
    except (ValueError, KeyError, TypeError, AttributeError):
        said = f"The answer is {status} {response.reason}."
        if status == 404:
            said += " Is the Files API's prefix, such as /v1, at the end of the address?"
        return Failed(said, status=status)
    return Failed(f"{message} ({status})", code=code and str(code), status=status)


def _cause(error: BaseException) -> str:
    """Return what is behind an error, without the address, which may have a secret in it."""
    seen: BaseException = error
    while True:
        inner = getattr(seen, "reason", None) or seen.__cause__ or seen.__context__
        if not isinstance(inner, BaseException):
            break
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    if isinstance(seen, urllib3.exceptions.ProtocolError):
        return str(seen.args[0]).rstrip(".")
    return type(seen).__name__


# --- The options ----------------------------------------------------------------------------


def connected(blueprint: Blueprint) -> Callable[[_F], _F]:
    """Give a command the options of a connection, and its function the ``connection``."""

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def run(
            *,
            url: str | None,
            prefix: str | None,
            timeout: float,
            ca_bundle: str | None,
            given: tuple[str, ...],
            provider: str | None,
            virtual_key: str | None,
            config: str | None,
            key_env: str | None,
            ask_key: bool,
            **rest: Any,
        ) -> Any:
            headers = {
                **_named(provider=provider, virtual_key=virtual_key, config=config),
                **_keys(provider, key_env, ask=ask_key),
                **_headers(given),
            }
            # Nothing but what is said here is sent: no netrc entry, no cookie.
            with requests.Session() as session:
                session.headers.clear()
                session.headers["User-Agent"] = "flask-portkey-files"
                session.trust_env = False
                if url is not None:
                    base_url = _checked_url(url)
                    session.verify = ca_bundle or True
                    session.proxies = dict(requests.utils.get_environ_proxies(base_url))
                    rest["connection"] = Connection(base_url, headers, session, timeout)
                else:
                    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
                    host = app.config["SERVER_NAME"] or "localhost"
                    base_url = f"http://{host}" + (
                        mounted_at(app, blueprint) if prefix is None else prefix.rstrip("/")
                    )
                    session.mount("http://", WSGIAdapter(app.wsgi_app))
                    rest["connection"] = Connection(
                        base_url, headers, session, timeout, app, blueprint
                    )
                return function(**rest)

        for option in reversed(_options()):
            run = option(run)
        return with_appcontext(run)  # type: ignore[return-value]

    return decorate


def _options() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--url",
            metavar="URL",
            help="Ask a running gateway, such as https://my.service/v1, instead of the "
            "application in this process.",
        ),
        click.option("--provider", help="The provider, by its name.", shell_complete=_names),
        click.option("--virtual-key", metavar="SLUG", help="The stored credential to use."),
        click.option("--config", metavar="ID", help="The stored config, or one as JSON."),
        click.option(
            "--key-env",
            metavar="NAME",
            help="The environment variable with the key or token, which is sent as "
            "`Authorization: Bearer`. OPENAI_API_KEY by default, with --provider openai.",
        ),
        click.option("--ask-key", is_flag=True, help="Ask for that key; it is not shown."),
        click.option(
            "-H",
            "--header",
            "given",
            multiple=True,
            metavar="'NAME: VALUE'",
            help="A further header, or @FILE with one on each line. Secrets belong there.",
        ),
        click.option(
            "--prefix",
            metavar="PATH",
            help="Where the blueprint is, if its prefix has variables, such as /acme/v1.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0.1),
            default=300.0,
            show_default=True,
            help="Seconds to wait for an answer, and for each next piece of it.",
        ),
        click.option(
            "--ca-bundle",
            type=click.Path(exists=True),
            help="CA certificates to verify --url with.",
        ),
    ]


def _names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from ..providers import registry

    return [name for name in registry() if name.startswith(incomplete)]


def _named(**values: str | None) -> dict[str, str]:
    return {
        f"x-portkey-{name.replace('_', '-')}": value
        for name, value in values.items()
        if value is not None
    }


def _keys(provider: str | None, key_env: str | None, *, ask: bool) -> dict[str, str]:
    """Return the headers with secrets: from the environment or asked for, never arguments."""
    headers = {}
    if gateway_key := os.environ.get(GATEWAY_KEY):
        headers["x-portkey-api-key"] = gateway_key
    if ask:
        key = click.prompt("Key", hide_input=True, err=True)
    elif key_env is not None:
        if not (key := os.environ.get(key_env, "")):
            raise click.UsageError(f"The environment variable {key_env} is not set.")
    else:
        # Of another provider's the key would be in the wrong hands.
        key = os.environ.get("OPENAI_API_KEY", "") if provider == "openai" else ""
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    lines: list[str] = []
    for item in given:
        if item.startswith("@"):
            try:
                lines += Path(item[1:]).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeError):
                raise click.UsageError(f"The file {item[1:]!r} can't be read.") from None
        else:
            lines.append(item)
    headers = {}
    for line in filter(str.strip, lines):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.UsageError("A header is written as 'Name: value'.")
        headers[name.strip()] = value.strip()
    return headers


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.UsageError("--url must be an http or https address.")
    if parts.username is not None or parts.query or parts.fragment:
        raise click.UsageError("--url must have no credentials, no query and no fragment.")
    return url.rstrip("/")


def mounted_at(app: Flask, blueprint: Blueprint) -> str:
    """Return the prefix that *blueprint* has in *app*.

    :raises click.UsageError: it has variables, so that it has to be said which.
    """
    names = {name for name, bp in app.blueprints.items() if bp is blueprint}
    rules = [
        rule.rule.removesuffix("/files")
        for rule in app.url_map.iter_rules()
        if rule.endpoint in {f"{name}.upload" for name in names}
    ]
    for rule in rules:
        if "<" not in rule:
            return rule
    raise click.UsageError(
        f"The blueprint is at {rules[0]}: say which with --prefix."
        if rules
        else "The blueprint is not in this application."
    )
