"""What a provider's files API can do, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..call import Operation


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """How a provider is told when an uploaded file is to go.

    :param field: the name of its form field; ``None`` for OpenAI's own two fields
        ``expires_after[anchor]`` and ``expires_after[seconds]``, which go up as they came.
    :param least: the shortest time, in seconds.
    :param most: the longest time, in seconds.
    :param unit: how many seconds the field counts as one.
    """

    field: str | None = None
    least: int = 3600
    most: int = 30 * 24 * 3600
    unit: int = 1


#: OpenAI's own. Whether a value is in range is left to the provider.
OPENAI_EXPIRY = Expiry()


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a provider's files API can do.

    :param operations: what it has; another operation is answered with 501 before a byte is
        sent.
    :param purposes: the values of ``purpose`` that an upload may have, in OpenAI's words;
        ``None`` if any value is left to the provider to judge.
    :param aliases: OpenAI's word for a purpose to the provider's own, where they differ.
    :param expiry: how ``expires_after`` is passed on; ``None`` if it can't be, which is a 400.
    :param max_bytes: the largest file that the provider documents, if it does.
    :param note: what else users must know, one sentence for the table in the documentation.
    """

    operations: frozenset[Operation] = frozenset(Operation)
    purposes: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    expiry: Expiry | None = None
    max_bytes: int | None = None
    note: str = ""

    def own_purpose(self, purpose: str) -> str:
        """Return the provider's own word for a *purpose* in OpenAI's."""
        return self.aliases.get(purpose, purpose)

    def common_purpose(self, purpose: str) -> str:
        """Return OpenAI's word for the provider's own *purpose*."""
        return next((name for name, own in self.aliases.items() if own == purpose), purpose)
