"""Answers of the blueprint, held against its own OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, request
from openapi_schema_validator import OAS31Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from flask_portkey_files import Settings
from flask_portkey_files.openapi import openapi_document
from flask_portkey_files.routes import ROUTES

PATHS = {
    operation.value: (rule.replace("<", "{").replace(">", "}"), method.lower())
    for method, rule, operation in ROUTES
}


class Conformance:
    """A document that answers are held against."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Any = Registry().with_resource("urn:document", resource)

    @classmethod
    def of(cls, app: Flask) -> Conformance:
        """Return that of an application with a blueprint of the usual name."""
        names = {name: app.config[name] for name in Settings.names() if name in app.config}
        return cls(openapi_document(settings=Settings.from_mapping(names)))

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        """Raise a ``ValidationError`` if *value* has not the shape of *schema*."""
        # Its references are relative to the document.
        scoped = {"$id": "urn:document", "components": self.document["components"], **schema}
        OAS31Validator(scoped, registry=self._registry).validate(value)

    def response(self, operation: str, status: int, method: str = "") -> dict[str, Any]:
        """Return what the document says of an operation's answer with this *status*."""
        path, usual = PATHS[operation]
        responses = self.document["paths"][path][method or usual]["responses"]
        found = responses.get(str(status)) or responses.get(f"{status // 100}XX")
        assert found, f"{operation} has no answer {status}: {sorted(responses)}"
        return dict(found)

    def own(self, operation: str, status: int) -> dict[str, Any]:
        """Return the schema of the gateway's own errors of this *status*."""
        content = self.response(operation, status)["content"]["application/json"]
        return dict(content["schema"]["anyOf"][0])

    def check(
        self, operation: str, method: str, status: int, headers: Any, body: bytes | None
    ) -> None:
        """Hold one answer against the document.

        :param body: ``None`` if it is not to be looked at.
        """
        head = method == "HEAD"
        known = self.response(operation, status, "head" if head else "")
        for name, reference in known["headers"].items():
            described = self.document["components"]["headers"][name]
            assert reference == {"$ref": f"#/components/headers/{name}"}
            if (value := headers.get(name)) is not None:
                integer = described["schema"]["type"] == "integer"
                self.validate(int(value) if integer else value, described["schema"])
        if head or not body:
            return
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        content = known.get("content", {})
        media = content.get(kind, content.get("*/*"))
        assert media is not None, f"{operation} {status} is never {kind}"
        if schema := media.get("schema"):
            self.validate(json.loads(body), schema)

    def watch(self, app: Flask, name: str = "portkey_files") -> None:
        """Have each answer of the blueprint called *name* in *app* held against it."""

        @app.after_request
        def check(response: Response) -> Response:
            blueprint, _, endpoint = (request.endpoint or "").rpartition(".")
            operation = endpoint.partition("_")[0]
            if blueprint == name and operation in PATHS:
                body = None if response.direct_passthrough else response.get_data()
                self.check(
                    operation, request.method, response.status_code, response.headers, body
                )
            return response
