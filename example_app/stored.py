"""Virtual keys, configs and gateway keys from a file, JSON or TOML.

In TOML::

    [api_keys]                  # the gateway's own, by names of your choice
    team-a = "gateway-key"

    [virtual_keys.openai-prod]  # stored credentials, by slug
    provider = "openai"
    api_key = "sk-..."

    [configs.pc-safe]           # Portkey's configs, by id
    strategy = { mode = "fallback" }
    targets = [{ virtual_key = "openai-prod" }, { provider = "local" }]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from flask_portkey_files import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What else of a virtual key is the target's own; anything more is an option of its provider.
FIELDS = ("api_key", "base_url")


def read_stored(path: str | None) -> dict[str, Any]:
    """Return the keyword arguments for ``create_blueprint()`` that the file at *path* holds.

    :raises ValueError: the file has another form.
    """
    if not path:
        return {}
    file = Path(path)
    text = file.read_text(encoding="utf-8")
    stored = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    unknown = stored.keys() - {"api_keys", "virtual_keys", "configs"}
    if unknown:
        raise ValueError(f"{path}: unknown table {min(unknown)!r}")
    if "virtual_keys" in stored:
        stored["virtual_keys"] = {
            slug: _target(path, slug, entry) for slug, entry in stored["virtual_keys"].items()
        }
    result: dict[str, Any] = stored
    return result


def _target(path: str, slug: str, entry: dict[str, str]) -> Target:
    if "provider" not in entry:
        raise ValueError(f"{path}: the virtual key {slug!r} has no provider")
    fields = {name: entry[name] for name in FIELDS if name in entry}
    options = {name: entry[name] for name in entry.keys() - {"provider", *FIELDS}}
    return Target(
        entry["provider"],
        api_key=fields.get("api_key"),
        base_url=fields.get("base_url"),
        options=options,
    )
