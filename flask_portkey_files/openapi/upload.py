"""The form that an upload is."""

from __future__ import annotations

from collections.abc import Mapping

from ..digest import ALGORITHMS, PART_FIELDS
from ..providers import Provider
from ..settings import Settings
from .schemas import Schema


def request_body(settings: Settings, providers: Mapping[str, Provider]) -> Schema:
    """Return the request body of an upload, with the limits of *settings*."""
    known = [provider.capabilities for provider in providers.values()]
    expiries = [one.expiry for one in known if one.expiry is not None]
    purposes = sorted({purpose for one in known for purpose in one.purposes or ()})
    seconds: Schema = {"type": "integer"}
    if expiries:
        seconds["minimum"] = min(expiry.least for expiry in expiries)
        seconds["maximum"] = max(expiry.most for expiry in expiries)
    digest = {
        "description": (
            f"RFC 9530's digest of the file, by {' or '.join(ALGORITHMS)}: a file that differs "
            "is refused."
        ),
        "schema": {"type": "string"},
    }
    form = {
        "type": "object",
        "required": ["purpose", "file"],
        "properties": {
            "purpose": {
                "type": "string",
                "pattern": r"\S",
                "description": (
                    "What the file is for. Send it before `file`: then the file is passed on "
                    "as it arrives. Which there are, the provider says."
                ),
                "examples": purposes or ["batch"],
            },
            "expires_after[anchor]": {
                "type": "string",
                "enum": ["created_at"],
                "description": "What the time is counted from.",
            },
            "expires_after[seconds]": {
                **seconds,
                "description": (
                    "How long the file is kept. A provider may take less than this range, and "
                    "one that can't be told refuses it."
                ),
            },
            "file": {
                "type": "string",
                "format": "binary",
                "description": (
                    f"The file, with a file name; at most {settings.max_bytes} bytes."
                ),
            },
        },
        "additionalProperties": True,
    }
    return {
        "required": True,
        "description": (
            f"One file, and at most {settings.max_parts} parts with it. All but the file may "
            f"take {settings.max_form_bytes} bytes. Other fields go up as well."
        ),
        "content": {
            "multipart/form-data": {
                "schema": form,
                "encoding": {
                    "file": {
                        "headers": {
                            "-".join(word.title() for word in name.split("-")): digest
                            for name in sorted(PART_FIELDS)
                        }
                    }
                },
            }
        },
        "x-limits": {
            "max_bytes": settings.max_bytes,
            "max_form_bytes": settings.max_form_bytes,
            "max_parts": settings.max_parts,
            "max_uploads": settings.max_uploads,
        },
    }
