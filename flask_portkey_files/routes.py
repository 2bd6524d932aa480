"""The routes of the blueprint, below its prefix."""

from __future__ import annotations

from .call import Operation

ROUTES = (
    ("POST", "/files", Operation.UPLOAD),
    ("GET", "/files", Operation.LIST),
    ("GET", "/files/<file_id>", Operation.RETRIEVE),
    ("GET", "/files/<file_id>/content", Operation.CONTENT),
    ("DELETE", "/files/<file_id>", Operation.DELETE),
)

#: What the ids of objects in buckets begin with.
SCHEMES = ("s3", "gs")

#: A file in a bucket is named by its URI, escaped. WSGI servers unescape a path before it is
#: matched, so such an id has slashes by then.
OBJECT_ROUTES = tuple(
    (method, f"/files/{scheme}://<path:key>{tail}", operation)
    for scheme in SCHEMES
    for method, tail, operation in (
        ("GET", "", Operation.RETRIEVE),
        ("GET", "/content", Operation.CONTENT),
        ("DELETE", "", Operation.DELETE),
    )
)

#: Where the OpenAPI document is, if it is switched on: beside the files, so that it can't be
#: taken for the id of one.
OPENAPI_RULE = "/openapi.json"
