"""``expires_after`` in an upload's form, and what a provider makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..errors import InvalidRequest
from ..form import FormField, UploadForm
from .capabilities import Expiry

_FIELD = re.compile(r"expires_after(\[.*\]|\..*)?")


def converted(form: UploadForm, expiry: Expiry | None, *, provider: str) -> UploadForm:
    """Return *form* with its ``expires_after`` in the provider's own field.

    :param expiry: how the provider is told; ``None`` if it can't be.
    :raises InvalidRequest: the provider can't be told, or the value is no time that it takes.
    """
    asked = [f for f in form.fields if _FIELD.fullmatch(f.name)]
    fields = [f for f in form.fields if f not in asked]
    if asked and expiry is None:
        raise _unsupported(provider)
    if asked and expiry is not None:
        value = str(_seconds(asked, expiry) // expiry.unit)
        fields.append(FormField(expiry.field or "expires_after", value.encode()))
    late = _unsupported(provider) if expiry is None else _too_late()
    return replace(form, fields=tuple(fields), trailing=_without_expiry(form.trailing, late))


def _without_expiry(trailing: Iterable[FormField], late: InvalidRequest) -> Iterator[FormField]:
    for field in trailing:
        if _FIELD.fullmatch(field.name):
            raise late
        yield field


def _too_late() -> InvalidRequest:
    return InvalidRequest(
        "Send `expires_after` before `file`: this provider has to know it first.",
        param="expires_after",
        code="expires_after_too_late",
    )


def _seconds(asked: list[FormField], expiry: Expiry) -> int:
    """Return the time that the fields ask for, in seconds from the upload."""
    given: dict[str, str] = {}
    for field in asked:
        text = field.value.decode("utf-8", "replace").strip()
        key = re.sub(r"[\[\]. ]", "", field.name.removeprefix("expires_after"))
        if not key and text.startswith("{"):
            try:
                members = json.loads(text)
            except (ValueError, RecursionError):
                raise _invalid(expiry) from None
            given |= {str(name): str(value) for name, value in members.items()}
        else:
            given[key or "seconds"] = text
    seconds, anchor = given.pop("seconds", ""), given.pop("anchor", "created_at")
    if given or anchor != "created_at" or not re.fullmatch(r"[0-9]{1,12}", seconds):
        raise _invalid(expiry)
    if not expiry.least <= int(seconds) <= expiry.most or int(seconds) % expiry.unit:
        raise _invalid(expiry)
    return int(seconds)


def _invalid(expiry: Expiry) -> InvalidRequest:
    whole = f", a multiple of {expiry.unit}" if expiry.unit > 1 else ""
    return InvalidRequest(
        "`expires_after` must have the anchor `created_at` and, for this provider, between "
        f"{expiry.least} and {expiry.most} seconds{whole}.",
        param="expires_after",
        code="invalid_expires_after",
    )


def _unsupported(provider: str) -> InvalidRequest:
    return InvalidRequest(
        f"The provider {provider} can't be told when a file is to expire; leave "
        "`expires_after` out, and delete the file when it is no longer needed.",
        param="expires_after",
        code="unsupported_expires_after",
    )
