"""What a store of uploads does: it keeps a text under a name, and lets one at a time at it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Claim(Protocol):
    """A name that nobody else has at the moment."""

    def get(self) -> str | None:
        """Return the text under the name, ``None`` if there is none or its time is over.

        :raises IdempotencyUnavailable: the store can't be used.
        """
        ...

    def put(self, text: str, seconds: float, *, file: str | None = None) -> bool:
        """Keep *text* under the name, so that it outlives this process.

        :param seconds: for how long.
        :param file: what file it is about; no two names have the same one.
        :return: whether it is kept; it is not if another name has that file.
        :raises IdempotencyUnavailable: the store can't be used, or the claim was lost.
        """
        ...

    def drop(self) -> None:
        """Keep nothing under the name any more.

        :raises IdempotencyUnavailable: the store can't be used, or the claim was lost.
        """
        ...


class Store(Protocol):
    """Where uploads are kept track of, shared by all workers of a service.

    It opens nothing before it is first used, and no connection goes from a process to one that
    is forked from it.
    """

    def get(self, name: str) -> str | None:
        """Return the text under *name* without a claim.

        :raises IdempotencyUnavailable: the store can't be used.
        """
        ...

    def claim(self, name: str, *, wait: float) -> AbstractContextManager[Claim]:
        """Return the claim on *name*, which ends with the block or with the process.

        :param name: lower-case hexadecimal digits.
        :param wait: for how many seconds another claim on it is waited for.
        :raises UploadInProgress: that was not enough.
        :raises IdempotencyUnavailable: the store can't be used.
        """
        ...
