"""What a store keeps of an upload, and its form as text. No credential is in it."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Ending:
    """An upload that the provider may have whole, and whose answer is not known.

    :param upload: the upload's digest: that of its fields and its file.
    :param options: where in the route the targets stand that may have it.
    :param started: when it began, in Unix seconds.
    :param ended: when the last of it was sent.
    :param settled: whether there was an answer, so that nothing is still on its way.
    """

    upload: str
    options: tuple[str, ...]
    started: float
    ended: float
    settled: bool = False


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The answer to an upload that was stored.

    :param upload: the upload's digest.
    :param provider: the name of the provider that has the file.
    :param option: where in the route its target stands.
    """

    upload: str
    status: int
    body: bytes
    content_type: str
    content_encoding: str | None
    provider: str | None
    option: str


Entry: TypeAlias = Ending | Kept


def written(entry: Entry) -> str:
    """Return *entry* as text."""
    told = asdict(entry)
    if isinstance(entry, Kept):
        told["body"] = base64.b64encode(entry.body).decode()
    return json.dumps({type(entry).__name__.lower(): told})


def read(text: str | None) -> Entry | None:
    """Return what :func:`written` has made *text* of, ``None`` for none.

    :raises ValueError: it was not.
    """
    if text is None:
        return None
    try:
        ((kind, told),) = json.loads(text).items()
        if kind == "kept":
            return Kept(**{**told, "body": base64.b64decode(told["body"])})
        ending = Ending(**told)
        return replace(ending, options=tuple(ending.options))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError("the store of uploads has something else in it") from error
