"""The blueprint: five routes, and JSON for everything else under its prefix."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from .call import FilesCall, Operation
from .errors import FilesError
from .providers import Provider, registry
from .providers.base import invalid_file_id
from .relay import Relay
from .resolver import HeaderResolver, Resolver
from .response import error_response, http_error_response
from .settings import Settings

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Escaped slashes, and dots that make a segment on their own: WSGI decodes both before routing.
_ESCAPED = re.compile(r"%2f|%5c", re.IGNORECASE)


def create_blueprint(
    resolver: Resolver | None = None,
    *,
    name: str = "portkey_files",
    providers: Mapping[str, Provider | str] | None = None,
) -> Blueprint:
    """Return a blueprint with the Files API, to be registered under a prefix such as ``/v1``.

    Its settings are the ``PORTKEY_FILES_*`` keys of the application's config at the time it is
    registered. It can be registered in several applications, and several blueprints of
    different names in one.

    :param resolver: picks the provider for each call. Without one, the client's
        ``x-portkey-*`` headers do: see :class:`~flask_portkey_files.HeaderResolver`.
    :param name: the blueprint's name, the first part of its endpoints' names.
    :param providers: providers beside the built-in ones, by name. A string is the base URL of
        an OpenAI-compatible service that needs a key.
    :raises ValueError: a provider's base URL is not an http or https address, or, at
        registration, a setting is invalid.
    """
    known = registry(providers)
    resolve = resolver if resolver is not None else HeaderResolver(known)
    bp = Blueprint(name, __name__)

    def run(operation: Operation, file_id: str | None = None) -> Response:
        relays: dict[Blueprint, Relay] = current_app.extensions["portkey_files"]
        return relays[bp].run(
            FilesCall(
                operation=operation,
                method=request.method,
                file_id=_checked(file_id),
                query_string=request.query_string.decode("latin-1"),
                headers=request.headers,
            )
        )

    @bp.post("/files")
    def upload() -> Response:
        return run(Operation.UPLOAD)

    @bp.get("/files")
    def list_files() -> Response:
        return run(Operation.LIST)

    # Where slashes are merged, `/files//content` with its empty id asks for a file "content".
    @bp.get("/files/<file_id>", merge_slashes=False)
    def retrieve(file_id: str) -> Response:
        return run(Operation.RETRIEVE, file_id)

    @bp.get("/files/<file_id>/content", merge_slashes=False)
    def content(file_id: str) -> Response:
        return run(Operation.CONTENT, file_id)

    @bp.delete("/files/<file_id>", merge_slashes=False)
    def delete(file_id: str) -> Response:
        return run(Operation.DELETE, file_id)

    @bp.record
    def set_up(state: BlueprintSetupState) -> None:
        relays = state.app.extensions.setdefault("portkey_files", {})
        if bp not in relays:
            settings = Settings.from_mapping(state.app.config)
            relays[bp] = Relay(resolver=resolve, providers=known, settings=settings)
        # Without a prefix of its own, the blueprint answers for no paths but its own.
        everything = ["/<path:rest>"] if (state.url_prefix or "").strip("/") else []
        for rule in ("/files", "/files/", "/files/<path:rest>", *everything):
            # `/files` itself has routes for the other methods.
            methods = ("PUT", "PATCH", "DELETE") if rule == "/files" else _METHODS
            state.add_url_rule(rule, "fallback", fallback, methods=methods, merge_slashes=False)

    bp.register_error_handler(FilesError, error_response)
    bp.register_error_handler(HTTPException, http_error_response)
    return bp


def fallback(rest: str = "") -> Response:  # noqa: ARG001 - the rule's
    """Answer what no route matches: 405 where another method would, else 404."""
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None  # noqa: S101 - there is one for every request
    allowed = []
    for method in _METHODS:
        try:
            rule, _ = adapter.match(method=method, return_rule=True)
        except HTTPException:
            continue
        if rule.endpoint != request.endpoint:
            allowed.append(method)
    if allowed:
        raise MethodNotAllowed(allowed)
    raise NotFound


def _checked(file_id: str | None) -> str | None:
    """Return *file_id*, having looked at the path as the client wrote it, where there is one.

    :raises InvalidRequest: the id contains an escaped slash. The server has unescaped it by
        now, so what looks like an id followed by ``/content`` may have been a single segment.
    """
    if file_id is not None:
        raw = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or ""
        if _ESCAPED.search(raw.partition("?")[0]):
            raise invalid_file_id()
    return file_id
