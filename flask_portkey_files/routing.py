"""Where a call goes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field

# http.client would refuse these with an error that quotes the whole header.
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


@dataclass(frozen=True)
class Target:
    """One provider, with what it takes to reach it on the caller's behalf.

    :param provider: the provider's name: a built-in one such as ``"openai"``, or one that was
        given to :func:`~flask_portkey_files.create_blueprint`.
    :param api_key: the provider's own key.
    :param base_url: where the provider is, if not at its usual address. It is trusted: never
        take it from a client unchecked.
    :param options: what else the provider wants to know, by the names that Portkey's configs
        use, e.g. ``{"azure_resource_name": "contoso", "azure_api_version": "2024-10-21"}``.
    :param headers: headers to send to the provider besides the usual ones; they win over the
        client's.
    :raises ValueError: a key, option or header has characters that can't be sent in one, such
        as the line break at the end of a key that was read from a file.
    """

    provider: str
    _: KW_ONLY
    # All but the name are left out of the repr: they hold credentials.
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, value in self._sent():
            if _UNSENDABLE.search(value):
                raise ValueError(
                    f"{name} of the target for provider {self.provider!r} contains a line "
                    "break or another character that can't be sent in a header"
                )

    def _sent(self) -> Iterator[tuple[str, str]]:
        if self.api_key is not None:
            yield "api_key", self.api_key
        for name, value in self.options.items():
            yield f"option {name}", value
        for name, value in self.headers.items():
            yield f"header {name!r}", name + value
