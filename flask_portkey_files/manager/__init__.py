"""The file manager: a page on which people list, upload, download and delete files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files as package_files
from typing import Any

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    render_template,
    request,
    url_for,
)
from flask.blueprints import BlueprintSetupState

from ..call import Operation
from ..providers import Capabilities
from ..providers.capabilities import OPENAI_EXPIRY
from ..relay import Relay
from ..resolver import HeaderResolver

#: What the page consists of besides its HTML, each with its media type. Not left to the
#: system to guess: on some, a script is ``text/plain``, and a browser refuses to run it.
ASSETS = {
    "manager.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **{
        f"{module}.js": "text/javascript; charset=utf-8"
        for module in (
            "manager", "api", "dialogs", "dom", "download", "errors", "files", "format",
            "provider", "transfers", "upload",
        )
    },
}  # fmt: skip

#: The page runs its own scripts and styles and speaks with its own host, and nothing else.
#: No string becomes markup or code (https://w3c.github.io/trusted-types/dist/spec/).
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}

#: What providers' answers are sent down with, so that one that a browser shows, be it a file or
#: the page of an error, can't act as the host's.
ANSWER_HEADERS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}

_ANY = Capabilities(expiry=OPENAI_EXPIRY)


def create_file_manager(
    files: Blueprint,
    *,
    name: str = "portkey_files_manager",
    title: str = "Files",
    providers: Sequence[str] = (),
    key_header: str | None = None,
    csrf_token: Callable[[], str] | None = None,
    page_size: int = 50,
) -> Blueprint:
    """Return a blueprint with a page for the files of the blueprint *files*.

    Register it after *files*, in the same application and under a prefix of its own. Who may
    open the page is for the host to say, in a ``before_request`` function of it; what can be
    done on it is what *files* lets the browser do.

    As long as it is registered, the answers of *files* come with
    ``Content-Security-Policy: sandbox``, so that a browser shows none as a page of the host's.

    :param files: what :func:`~flask_portkey_files.create_blueprint` returned.
    :param name: the blueprint's name, the first part of its endpoints' names.
    :param title: the page's title and heading.
    :param providers: the providers to choose from, sent as ``x-portkey-provider``: names, or
        ``@`` and the slug of a virtual key. Without any the header is not sent, and the
        resolver of *files* decides by itself.
    :param key_header: the header in which the page sends the key that it asks for, such as
        ``x-portkey-api-key``; in ``Authorization`` it is sent as ``Bearer``. Without it the
        page asks for none. A key stays in the page, or in the browser tab's ``sessionStorage``
        if the user wants that. Each provider has one of its own, unless *files* has gateway
        keys.
    :param csrf_token: returns a token that the page sends as ``X-CSRFToken`` with uploads and
        deletions, such as Flask-WTF's ``generate_csrf``. Called for each time that the page is
        loaded.
    :param page_size: how many files are listed at a time, from 1 to 1000.
    :raises ValueError: *key_header* is no header's name, *page_size* is out of range, or, at
        registration, *files* is not registered yet or a provider is not known.
    """
    if key_header is not None and not re.fullmatch(r"[A-Za-z0-9-]+", key_header):
        raise ValueError(f"key_header must be a header's name, not {key_header!r}")
    if not 1 <= page_size <= 1000:
        raise ValueError(f"page_size must be from 1 to 1000, not {page_size!r}")
    bp = Blueprint(name, __name__, template_folder="templates")

    @bp.record
    def check(state: BlueprintSetupState) -> None:
        known = _relay(state.app.extensions, files).providers
        for provider in providers:
            if provider not in known and not provider.startswith("@"):
                raise ValueError(f"there is no provider {provider!r} to offer on the page")

    @bp.get("/")
    def page(**_: Any) -> Response:  # What variables of the prefix stand for.
        relay = _relay(current_app.extensions, files)
        config = {
            "filesUrl": _files_url(files),
            "pageSize": page_size,
            "providers": [_provider(provider, relay) for provider in providers or (None,)],
            "keyHeader": key_header,
            # A provider's key must not go to the provider that is chosen next.
            "oneKey": _has_gateway_keys(relay),
            "csrfToken": csrf_token() if csrf_token is not None else None,
        }
        html = render_template("flask_portkey_files/manager.html", title=title, config=config)
        return Response(html, mimetype="text/html", headers=PAGE_HEADERS)

    @bp.get("/file-manager/<asset>")
    def asset(asset: str, **_: Any) -> Response:
        if asset not in ASSETS:
            abort(404)
        data = (package_files(__name__) / "static" / asset).read_bytes()
        response = Response(data, headers={"X-Content-Type-Options": "nosniff"})
        response.content_type = ASSETS[asset]
        response.cache_control.no_cache = True
        response.add_etag()
        return response.make_conditional(request)  # type: ignore[return-value]

    @bp.after_app_request
    def isolate(response: Response) -> Response:
        blueprint = (request.endpoint or "").rpartition(".")[0]
        if current_app.blueprints.get(blueprint) is files:
            for header, value in ANSWER_HEADERS.items():
                response.headers.setdefault(header, value)
        return response

    return bp


def _relay(extensions: Mapping[str, Any], files: Blueprint) -> Relay:
    relays: Mapping[Blueprint, Relay] = extensions.get("portkey_files", {})
    if files not in relays:
        raise ValueError(
            f"the blueprint {files.name!r}, whose files the page is to show, has to come from "
            "create_blueprint() and be registered in the same application first"
        )
    return relays[files]


def _files_url(files: Blueprint) -> str:
    """Return the path of the list of files, whatever prefixes there are in front of it."""
    # A host may have registered it under another name, or in a blueprint of its own.
    name = next(name for name, bp in current_app.blueprints.items() if bp is files)
    endpoint = f"{name}.{Operation.LIST}"
    given = request.view_args or {}
    values: dict[str, Any] = {
        key: value
        for key, value in given.items()
        if current_app.url_map.is_endpoint_expecting(endpoint, key)
    }
    return url_for(endpoint, **values)


def _provider(name: str | None, relay: Relay) -> dict[str, object]:
    """Return what the page has to know of a provider."""
    provider = relay.providers.get(name or "")
    known = _ANY if provider is None else provider.capabilities
    expiry = known.expiry
    return {
        "name": name,
        "operations": [op.value for op in Operation if op in known.operations],
        "purposes": known.purposes,
        "expiry": expiry and {"least": expiry.least, "most": expiry.most, "unit": expiry.unit},
        "maxBytes": min(known.max_bytes or relay.settings.max_bytes, relay.settings.max_bytes),
    }


def _has_gateway_keys(relay: Relay) -> bool:
    return isinstance(relay.resolver, HeaderResolver) and relay.resolver.has_gateway_keys
