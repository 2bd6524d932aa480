"""The blueprint as an OpenAPI 3.1 document, made of the code's own facts.

Imported only by who wants the document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..call import Operation
from ..providers import Provider, registry
from ..routes import ROUTES
from ..settings import Settings
from .parameters import parameters, parameters_of, security, security_schemes
from .responses import HEADERS, responses_of, without_content
from .schemas import SCHEMAS, Schema
from .upload import request_body

_VARIABLE = re.compile(r"<(?:[^<>:]*:)?([^<>]*)>")

_SUMMARIES = {
    Operation.UPLOAD: "Store a file",
    Operation.LIST: "List files",
    Operation.RETRIEVE: "Get a file's metadata",
    Operation.CONTENT: "Get a file's content",
    Operation.DELETE: "Delete a file",
}


def openapi_document(
    *,
    version: str = "1",
    settings: Settings | None = None,
    providers: Mapping[str, Provider] | None = None,
    server: str = "/v1",
    resolver_headers: bool = True,
    gateway_keys: bool = False,
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a blueprint, ready for ``json.dumps()``.

    It is a new object each time, so it can be changed, for example to say how your service
    knows its clients.

    :param version: what ``info.version`` is to be: the version of your API.
    :param settings: the limits; the defaults if absent.
    :param providers: the providers by name; the built-in ones if absent.
    :param server: the prefix that the blueprint is registered under, or its whole URL. A
        variable as in ``/<tenant>/v1`` becomes one of the server's.
    :param resolver_headers: whether the header resolver reads the calls: its headers are in
        the document then, and where it looks for keys.
    :param gateway_keys: whether the header resolver asks for a key of the gateway's own.
    """
    settings = settings or Settings()
    providers = registry() if providers is None else providers
    shared = parameters(providers, resolver_headers=resolver_headers)
    components: Schema = {"schemas": SCHEMAS, "parameters": shared, "headers": HEADERS}
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Files",
            "version": version,
            "description": (
                "Portkey's and OpenAI's Files API. Each call is relayed to a provider. What it "
                "answers is passed on, or brought to OpenAI's shape where it differs; its "
                "errors come with its status."
            ),
        },
        "servers": [_server(server)],
        "paths": _paths(settings, providers, shared),
        "components": components,
    }
    if resolver_headers:
        schemes = security_schemes(providers, gateway_keys=gateway_keys)
        components["securitySchemes"] = schemes
        document["security"] = security(schemes, gateway_keys=gateway_keys)
    copied: dict[str, Any] = _copied(document)
    return copied


def _server(prefix: str) -> Schema:
    server: Schema = {"url": _VARIABLE.sub(r"{\1}", prefix) or "/"}
    if names := _VARIABLE.findall(prefix):
        server["variables"] = {name: {"default": name} for name in names}
    return server


def _paths(
    settings: Settings, providers: Mapping[str, Provider], shared: Mapping[str, Schema]
) -> Schema:
    paths: Schema = {}
    for method, rule, operation in ROUTES:
        item = paths.setdefault(_VARIABLE.sub(r"{\1}", rule), {})
        answers = responses_of(operation, settings, providers)
        described: Schema = {
            "operationId": f"{operation}File{'s' if operation is Operation.LIST else ''}",
            "summary": _SUMMARIES[operation],
            "parameters": parameters_of(operation, shared),
        }
        if operation is Operation.UPLOAD:
            described["requestBody"] = request_body(settings, providers)
        item[method.lower()] = {**described, "responses": answers}
        if method == "GET":
            # Flask answers it wherever it answers GET.
            item["head"] = {
                **described,
                "operationId": f"{described['operationId']}Head",
                "summary": f"{described['summary']}: the headers alone",
                "responses": without_content(answers),
            }
    return paths


def _copied(value: Any) -> Any:
    """Return *value* with nothing in it that belongs to anything else."""
    if isinstance(value, Mapping):
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, (list, tuple)) else value
