"""The blueprint: five routes, and JSON for everything else under its prefix."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, request, request_finished
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, default_exceptions

from .access import log_calls
from .allocator import keep_blocks
from .call import FilesCall, Operation
from .cli import add_commands, group_name
from .errors import FilesError
from .idempotency.scope import Scope
from .providers import Provider, registry
from .redaction import ClientHeaders
from .relay import Relay, close_open, close_together, raw_path
from .resolver import ApiKeys, Configs, HeaderResolver, Resolver, VirtualKeys
from .response import error_response, http_error_response, json_response
from .routes import OBJECT_ROUTES, OPENAPI_RULE, ROUTES
from .settings import Settings

# What a URL does not carry as it is (RFC 3986, 2), and a percent sign that escapes nothing.
_UNESCAPED = re.compile(rb"[^!-~]|%(?![0-9A-Fa-f]{2})")


def create_blueprint(
    resolver: Resolver | None = None,
    *,
    name: str = "portkey_files",
    providers: Mapping[str, Provider | str] | None = None,
    virtual_keys: VirtualKeys | None = None,
    configs: Configs | None = None,
    api_keys: ApiKeys | None = None,
    idempotency_scope: Scope | None = None,
    openapi: bool = False,
) -> Blueprint:
    """Return a blueprint with the Files API, to be registered under a prefix such as ``/v1``.

    Its settings are the ``PORTKEY_FILES_*`` keys of the application's config at the time it is
    registered. It can be registered in several applications, and several blueprints of
    different names in one.

    :param resolver: picks the provider for each call. Without one, the client's
        ``x-portkey-*`` headers do: see :class:`~flask_portkey_files.HeaderResolver`.
    :param name: the blueprint's name, the first part of its endpoints' names. Its commands are
        under ``flask portkey-files``, or under another name with dashes.
    :param providers: providers beside the built-in ones, by name. A string is the base URL of
        an OpenAI-compatible service that needs a key.
    :param virtual_keys: stored credentials by slug, which clients name in
        ``x-portkey-virtual-key``, in ``x-portkey-provider`` as ``@slug``, or in a config: a
        mapping, or a callback that returns ``None`` for an unknown slug.
    :param configs: stored configs by id, which clients name in ``x-portkey-config``: a mapping
        to objects or JSON text, or a callback.
    :param api_keys: the gateway's own keys, one of which each call then needs in
        ``x-portkey-api-key``: by name, or a callback that returns whether a key is one. The
        setting ``PORTKEY_FILES_API_KEYS`` if absent.
    :param idempotency_scope: says on whose behalf an upload with an ``Idempotency-Key`` is, as
        a text that is the tenant's alone, where clients' credentials change: it is asked in
        the request's context, after the resolver. Without it the client's credentials and the
        targets' say so.
    :param openapi: whether ``GET <prefix>/openapi.json`` returns the OpenAPI document, to
        everyone who asks.
    :raises ValueError: a provider's base URL is not an http or https address; stored
        credentials are given together with a resolver, which alone decides then; or, at
        registration, a setting is invalid, or there are stored credentials but no gateway
        keys.
    """
    known = registry(providers)
    stored = (virtual_keys, configs, api_keys)
    if resolver is not None and any(given is not None for given in stored):
        raise ValueError(
            "virtual_keys, configs and api_keys are for the header resolver: give them to the "
            "HeaderResolver that your own resolver calls, or leave the resolver out"
        )
    bp = Blueprint(name, __name__, cli_group=group_name(name))

    def describe(server: str | None = None) -> dict[str, Any]:
        # Nobody else pays for what it imports.
        from .openapi import openapi_document

        relays: dict[Blueprint, Relay] = current_app.extensions["portkey_files"]
        decides = relays[bp].resolver
        headers = decides if isinstance(decides, HeaderResolver) else None
        return openapi_document(
            settings=relays[bp].settings,
            providers=known,
            server=_prefix(name) if server is None else server,
            resolver_headers=headers is not None,
            gateway_keys=headers is not None and headers.has_gateway_keys,
        )

    def serve_document(**_: Any) -> Response:
        # The prefix as it was called, with what its variables stand for.
        prefix = request.script_root + request.path.removesuffix(OPENAPI_RULE)
        return json_response(describe(prefix), 200, {})

    add_commands(bp, known, describe)
    if openapi:
        bp.add_url_rule(OPENAPI_RULE, "openapi", serve_document, methods=["GET"])

    def run(
        operation: Operation, scheme: str = "", *, file_id: str | None = None, **path: Any
    ) -> Response:
        if scheme:
            file_id = f"{scheme}://{path['key']}"
            if operation is Operation.CONTENT and not _ends_in_content():
                # It is the end of the key; only a slash that was not escaped ends the id.
                operation, file_id = Operation.RETRIEVE, f"{file_id}/content"
        relays: dict[Blueprint, Relay] = current_app.extensions["portkey_files"]
        query = _UNESCAPED.sub(lambda m: b"%%%02X" % ord(m[0]), request.query_string)
        call = FilesCall(
            operation=operation,
            method=request.method,
            file_id=file_id,
            query_string=query.decode("ascii"),
            headers=ClientHeaders(request.environ),
        )
        return relays[bp].run(call)

    def view(operation: Operation, scheme: str = "") -> Callable[..., Response]:
        def answer(**path: Any) -> Response:
            return run(operation, scheme, **path)

        # Extensions such as Flask-Limiter tell views apart by their names.
        answer.__name__ = answer.__qualname__ = f"{name}_{operation}"
        return answer

    for method, rule, operation in ROUTES:
        bp.add_url_rule(
            rule,
            operation.value,
            view(operation),
            methods=[method],
            # Merged, `/files//content` with its empty id would ask for a file "content".
            merge_slashes="<file_id>" not in rule,
        )
    for method, rule, operation in OBJECT_ROUTES:
        scheme = rule.split("/")[2].rstrip(":")
        bp.add_url_rule(
            rule,
            f"{operation.value}_{scheme}",
            view(operation, scheme),
            methods=[method],
            merge_slashes=False,
        )

    @bp.record
    def set_up(state: BlueprintSetupState) -> None:
        relays = state.app.extensions.setdefault("portkey_files", {})
        if bp not in relays:
            settings = Settings.from_mapping(state.app.config)
            if resolver is not None and settings.api_keys:
                raise ValueError(
                    "PORTKEY_FILES_API_KEYS is for the header resolver: this blueprint has a "
                    "resolver of its own, which would not look at them"
                )
            resolve = resolver or HeaderResolver(
                known,
                virtual_keys=virtual_keys,
                configs=configs,
                api_keys=api_keys if api_keys is not None else settings.key_list() or None,
            )
            keep_blocks()
            if settings.access_log:
                log_calls(cast(Flask, state.app))
            relays[bp] = Relay(
                app=cast(Flask, state.app),
                resolver=resolve,
                providers=known,
                settings=settings,
                idempotency_scope=idempotency_scope,
            )
            request_finished.connect(close_together, state.app)
        state.app.before_request(_unrouted(state.url_prefix or ""))

    bp.teardown_request(close_open)
    bp.register_error_handler(FilesError, error_response)
    bp.register_error_handler(HTTPException, http_error_response)
    # By code as well: Flask prefers a host's handler for a code to one for the base class.
    for code in default_exceptions:
        bp.register_error_handler(code, http_error_response)
    return bp


def _prefix(name: str) -> str:
    """Return the prefix that the blueprint of this name has in the current application."""
    # A blueprint inside another one has that one's name before its own.
    endpoint = f".{name}.{Operation.LIST.value}"
    rules = current_app.url_map.iter_rules()
    rule = next(rule.rule for rule in rules if f".{rule.endpoint}".endswith(endpoint))
    return rule.removesuffix("/files")


def _ends_in_content() -> bool:
    """Return whether the path ends in ``/content`` as the client wrote it, if that is known."""
    raw = raw_path()
    return not raw or raw.endswith("/content")


def _unrouted(prefix: str) -> Callable[[], Response | None]:
    """Return a hook that answers in JSON what no route under *prefix* matches.

    A blueprint's error handlers are not asked then: there is no route that would say whose
    request it is. Without a prefix of its own, a blueprint answers for ``/files`` alone.
    """
    parts = re.split(r"<[^>]*>", prefix.strip("/"))
    base = "/" + "[^/]+".join(map(re.escape, parts)) if parts != [""] else "/files"
    ours = re.compile(rf"{base}(/.*)?", re.DOTALL)

    def answer() -> Response | None:
        error = request.routing_exception
        if isinstance(error, (NotFound, MethodNotAllowed)) and ours.fullmatch(request.path):
            return http_error_response(error)
        return None

    return answer
