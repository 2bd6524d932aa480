"""The ``PORTKEY_FILES_*`` settings: their names, defaults and meaning."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Every setting's name in ``app.config`` and in the environment begins with this.
PREFIX = "PORTKEY_FILES_"

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


def _setting(
    default: Any, *, least: float | None = None, doc: str, secret: bool = False
) -> Any:
    return field(default=default, repr=not secret, metadata={"least": least, "doc": doc})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a mounted blueprint behaves, read once per application.

    Each attribute is the ``app.config`` key of the same name in capitals behind
    ``PORTKEY_FILES_``: ``max_bytes`` is ``PORTKEY_FILES_MAX_BYTES``. Values may be strings,
    as environment variables are.
    """

    max_bytes: int = _setting(
        2 * GIB, least=0, doc="The largest file that may be uploaded, in bytes; 413 above it."
    )
    max_form_bytes: int = _setting(
        128 * KIB,
        least=KIB,
        doc=(
            "The most bytes of an upload that are not the file itself: its fields, part "
            "headers and boundaries."
        ),
    )
    max_parts: int = _setting(
        64, least=2, doc="The most parts, fields and file together, that an upload may have."
    )
    max_field_bytes: int = _setting(
        64 * KIB, least=1, doc="The most bytes of the value of a form's field; 413 above it."
    )
    max_part_headers: int = _setting(
        8 * KIB, least=256, doc="The most bytes of the headers of a form's part; 431 above it."
    )
    max_header_bytes: int = _setting(
        32 * KIB,
        least=256,
        doc=(
            "The most bytes of the value of each header of a call; 431 above it. The server's "
            "own limit comes before."
        ),
    )
    connect_timeout: float = _setting(
        10.0, least=0.001, doc="Seconds to wait for a connection to the provider."
    )
    read_timeout: float = _setting(
        120.0,
        least=0.001,
        doc=(
            "Seconds to wait for the provider to take each piece of a request, for the head "
            "of its answer, and then for the whole of a short answer or for each next piece "
            "of a long one."
        ),
    )
    total_timeout: float = _setting(
        86400.0,
        least=0.001,
        doc=(
            "Seconds that a call may take in all, retries and the transfer of the file "
            "included. What is under way then is broken off."
        ),
    )
    min_upload_rate: int = _setting(
        500,
        least=0,
        doc=(
            "The least bytes a second that a client may send an upload at; 408 below it. 0: "
            "any rate will do."
        ),
    )
    min_download_rate: int = _setting(
        500,
        least=0,
        doc=(
            "The least bytes a second that a client may take an answer at; below it the "
            "transfer is broken off. 0: any rate will do."
        ),
    )
    slow_grace: float = _setting(
        60.0,
        least=0.001,
        doc="Seconds that a client may be below these rates, or stall.",
    )
    block_size: int = _setting(
        512 * KIB,
        least=KIB,
        doc="Bytes that are read and sent at a time; a transfer holds a few such blocks.",
    )
    pool_size: int = _setting(
        32, least=1, doc="Idle connections kept open to each provider, per worker process."
    )
    allowed_hosts: str | None = _setting(
        None,
        doc=(
            "The custom hosts that clients may name, separated by commas: names, `*.suffix`, "
            "addresses, networks such as `10.0.0.0/8`, each with `:port` or without. None if "
            "unset."
        ),
    )
    api_keys: str | None = _setting(
        None,
        doc=(
            "The gateway's own keys, separated by commas: with any, each call needs one in "
            "`x-portkey-api-key`."
        ),
        secret=True,
    )
    trusted_origins: str | None = _setting(
        None,
        doc=(
            "The origins whose pages may upload besides the service's own, separated by "
            "commas, such as `https://app.example`; `*` for any. None if unset."
        ),
    )
    max_retry_wait: float = _setting(
        30.0,
        least=0,
        doc=(
            "The longest that a call may wait for its retries, in seconds and all together; a "
            "provider that asks for more is not tried again."
        ),
    )
    max_uploads: int = _setting(
        100,
        least=1,
        doc="The most uploads at a time in each worker process; 503 with `Retry-After` above.",
    )
    spool_total: int = _setting(
        8 * GIB,
        least=0,
        doc="The most bytes that each worker process holds back at a time; 503 above it.",
    )
    digest: bool = _setting(
        False,
        doc=(
            "Whether the SHA-256 of each uploaded file is computed, and told in the response "
            "header `x-portkey-file-digest` and in the signal. Where the client says what it "
            "must be, it is in any case. It costs about as much as the rest of an upload."
        ),
    )
    access_log: bool = _setting(
        False,
        doc=(
            "Whether a line of JSON is logged for each call, to the logger "
            "`flask_portkey_files.access`."
        ),
    )
    spool_memory: int = _setting(
        MIB,
        least=0,
        doc="A spooled file above this many bytes is held on disk instead of in memory.",
    )
    spool_dir: str | None = _setting(
        None,
        doc="The folder for spooled files; the system's folder for temporary files if unset.",
    )
    idempotency: str | None = _setting(
        None,
        doc=(
            "Where uploads under an `Idempotency-Key` are kept track of: a folder, or a "
            "`redis://` address; `off` leaves the key to the provider. A private folder in the "
            "system's folder for temporary files if unset."
        ),
        secret=True,
    )
    idempotency_window: float = _setting(
        86400.0,
        least=1.0,
        doc="For how many seconds an `Idempotency-Key` gives the first upload's answer.",
    )
    idempotency_wait: float = _setting(
        5.0,
        least=0,
        doc=(
            "Seconds that an upload waits for another one under the same `Idempotency-Key`; "
            "409 with `Retry-After` then."
        ),
    )
    proxy: str | None = _setting(
        None,
        doc=(
            "The address of an HTTP proxy to reach providers through. HTTP_PROXY and its kin "
            "are not looked at."
        ),
        secret=True,
    )
    ca_bundle: str | None = _setting(
        None,
        doc="A file of CA certificates to verify providers with, instead of the built-in ones.",
    )

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> Settings:
        """Read the settings from *config*, usually ``app.config``.

        :raises ValueError: a value has the wrong form or is out of range, or a name that
            begins with ``PORTKEY_FILES_`` is not a setting. The message names it.
        """
        known = {PREFIX + f.name.upper(): f for f in dataclasses.fields(cls)}
        unknown = sorted(
            name for name in config if name.startswith(PREFIX) and name not in known
        )
        if unknown:
            raise ValueError(
                f"{unknown[0]} is not a setting; there are: {', '.join(sorted(known))}"
            )
        return cls(
            **{
                f.name: _convert(name, config[name], f)
                for name, f in known.items()
                if name in config
            }
        )

    def key_list(self) -> list[str]:
        """Return the gateway keys in ``api_keys``."""
        return [key.strip() for key in (self.api_keys or "").split(",") if key.strip()]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the name of every setting, as in ``app.config`` and in the environment."""
        return tuple(PREFIX + f.name.upper() for f in dataclasses.fields(cls))


def _convert(name: str, value: Any, f: dataclasses.Field[Any]) -> Any:
    """Return *value* in the type of the setting *f*, or say what is wrong with it."""
    if str(f.type).startswith("str"):
        return _checked_text(name, str(value)) if value else None
    if f.type == "bool":
        return _switch(name, value)
    kind = int if f.type == "int" else float
    what = "a whole number" if kind is int else "a number"
    try:
        if isinstance(value, bool) or (kind is int and isinstance(value, float)):
            raise ValueError
        number = kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {what}, not {value!r}") from None
    least = f.metadata["least"]
    if not least <= number < math.inf:
        raise ValueError(f"{name} must be {what} of at least {least}, not {value!r}")
    return number


def _switch(name: str, value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return text in {"true", "1", "yes", "on"}


def _checked_text(name: str, value: str) -> str:
    """Return *value*, or say what is wrong with it now rather than at the first call."""
    if name == f"{PREFIX}SPOOL_DIR" and not os.path.isdir(value):
        raise ValueError(f"{name} must be a folder that exists, not {value!r}")
    if name == f"{PREFIX}IDEMPOTENCY":
        return _checked_store(name, value)
    if name == f"{PREFIX}CA_BUNDLE" and not os.path.exists(value):
        raise ValueError(f"{name} must be a file that exists, not {value!r}")
    if name == f"{PREFIX}PROXY" and not value.startswith(("http://", "https://")):
        raise ValueError(f"{name} must be an http or https address")
    return value


def _checked_store(name: str, value: str) -> str:
    if value.lower() == "off":
        return "off"
    scheme, mark, _ = value.partition("://")
    # The value itself is not shown: it may have a password in it.
    if mark and scheme not in {"redis", "rediss", "unix"}:
        raise ValueError(f"{name} must be a folder, a redis:// address or off")
    if not mark and not os.path.isdir(os.path.dirname(os.path.abspath(value))):
        raise ValueError(f"{name} must be a folder in one that exists, not {value!r}")
    return value
