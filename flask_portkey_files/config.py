"""Portkey's configs: JSON that says where calls go, made into routes.

The format: https://portkey.ai/docs/api-reference/inference-api/config-object
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .conditions import Query
from .conditions import faults as query_faults
from .errors import InvalidConfig, InvalidRoute
from .providers import Provider, checked_base_url
from .redaction import Secret, is_secret
from .routing import (
    MAX_ATTEMPTS,
    RETRY_STATUS_CODES,
    Conditional,
    Fallback,
    LoadBalance,
    Retry,
    Route,
    Target,
)

MODES = ("single", "fallback", "loadbalance", "conditional")

#: How deep strategies may be nested, and how many targets there may be in all.
MAX_DEPTH = 10
MAX_TARGETS = 20

#: What a config that is not JSON is answered with, by Portkey's own gateway too.
NOT_JSON = "Invalid config passed. You need to pass a valid json"


@dataclass(frozen=True)
class Defaults:
    """What a target gets that does not say otherwise: from headers, or a strategy above it.

    :param described: returns the target that the call's headers describe, of the given
        provider or of the one that they name; for a config that is a single target.
    :param slug: the virtual key that the headers name; likewise.
    """

    retry: Retry | None = None
    request_timeout: float | None = None
    # It may have a password in it, for which it is refused.
    custom_host: str | None = field(default=None, repr=False)
    forward_headers: tuple[str, ...] = ()
    described: Callable[[str | None], Target | None] | None = None
    slug: str | None = None


def load(text: str) -> Any:
    """Return the JSON in *text*.

    :raises InvalidConfig: it is none.
    """

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse, object_hook=_hidden)
    except (ValueError, RecursionError):
        raise InvalidConfig(NOT_JSON) from None


def _hidden(fields: dict[str, Any]) -> dict[str, Any]:
    """Return *fields* with credentials that do not show themselves."""
    return {
        name: Secret(value) if isinstance(value, str) and is_secret(name) else value
        for name, value in fields.items()
    }


class ConfigParser:
    """Makes configs into routes.

    :param providers: the providers by name.
    :param stored: returns the stored credentials of a slug, ``None`` if there are none.
    """

    def __init__(
        self, providers: Mapping[str, Provider], stored: Callable[[str], Target | None]
    ) -> None:
        self._providers = providers
        self._stored = stored

    def parse(self, config: Any, defaults: Defaults, *, trusted: bool = False) -> Route:
        """Return the route that *config* describes.

        :param defaults: what the call's headers say.
        :param trusted: whether the config is the host's own and not a client's: its custom
            hosts need no permission, and may be given a stored credential.
        :raises InvalidConfig: it is not valid; every fault is listed by its path.
        """
        reading = _Reading(self._providers, self._stored, defaults, trusted=trusted)
        route = reading.node(config, "config", defaults, depth=1)
        if reading.faults or route is None:
            raise InvalidConfig("Invalid config passed", faults=reading.faults)
        return route


class _Reading:
    """One config on its way to a route, with the faults found so far."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        stored: Callable[[str], Target | None],
        headers: Defaults,
        *,
        trusted: bool,
    ) -> None:
        self._providers = providers
        self._stored = stored
        self._headers = headers
        self._trusted = trusted
        self._targets = 0
        self.faults: list[str] = []

    def fault(self, path: str, message: str) -> None:
        self.faults.append(f"path: {path}, message: {message}")

    def node(self, node: Any, path: str, above: Defaults, *, depth: int) -> Route | None:
        """Return the route of a config or of one of its targets, ``None`` if it is faulty."""
        if not isinstance(node, Mapping):
            self.fault(path, "must be an object")
            return None
        here = self._defaults(node, path, above)
        if "strategy" not in node and "targets" not in node:
            return self._target(node, path, here)
        if depth > MAX_DEPTH:
            self.fault(path, f"is nested more than {MAX_DEPTH} deep")
            return None
        return self._strategy(node, path, here, depth)

    def _strategy(
        self, node: Mapping[str, Any], path: str, here: Defaults, depth: int
    ) -> Route | None:
        strategy = self._value(node, "strategy", path, dict, what="an object") or {}
        mode = strategy.get("mode", "single")
        if mode not in MODES:
            self.fault(f"{path}.strategy.mode", f"must be one of: {', '.join(MODES)}")
        targets = node.get("targets")
        if not isinstance(targets, list) or not targets:
            self.fault(f"{path}.targets", "must be a list of at least one target")
            return None
        self._targets += len(targets)
        if self._targets > MAX_TARGETS:
            self.fault(f"{path}.targets", f"there may be {MAX_TARGETS} targets in all")
            return None
        # The headers' key is not for whichever provider a strategy names.
        below = replace(here, described=None, slug=None)
        routes = [
            self.node(target, f"{path}.targets[{index}]", below, depth=depth + 1)
            for index, target in enumerate(targets)
        ]
        codes = self._codes(strategy, f"{path}.strategy", None)
        weights = [self._weight(t, f"{path}.targets[{i}]") for i, t in enumerate(targets)]
        if mode == "loadbalance" and not sum(weights) > 0:
            self.fault(f"{path}.targets", "at least one weight must be above zero")
        cases, default = self._conditions(strategy, targets, path, mode)
        if self.faults:
            return None
        found = [route for route in routes if route is not None]
        if mode == "loadbalance":
            return LoadBalance(found, weights)
        if mode == "conditional":
            return Conditional(found, cases, default)
        return Fallback(found if mode == "fallback" else found[:1], codes)

    def _conditions(
        self, strategy: Mapping[str, Any], targets: list[Any], path: str, mode: Any
    ) -> tuple[list[tuple[Query, int]], int | None]:
        """Return the cases of a conditional strategy, and the index of its default."""
        names = [
            target.get("name") if isinstance(target, Mapping) else None for target in targets
        ]

        def index_of(name: Any, where: str) -> int:
            if not isinstance(name, str) or name not in names:
                self.fault(where, "must be the name of one of the targets")
                return 0
            return names.index(name)

        if mode != "conditional":
            return [], None
        listed = strategy.get("conditions")
        if not isinstance(listed, list) or not listed:
            self.fault(
                f"{path}.strategy.conditions", "must be a list of at least one condition"
            )
            listed = []
        cases: list[tuple[Query, int]] = []
        for number, condition in enumerate(listed):
            where = f"{path}.strategy.conditions[{number}]"
            if not isinstance(condition, Mapping):
                self.fault(where, "must be an object")
                continue
            query = condition.get("query")
            for fault in query_faults(query, f"{where}.query"):
                self.fault(*fault)
            index = index_of(condition.get("then"), f"{where}.then")
            if isinstance(query, Mapping):
                cases.append((query, index))
        default = strategy.get("default")
        if default is None:
            return cases, None
        return cases, index_of(default, f"{path}.strategy.default")

    def _target(self, node: Mapping[str, Any], path: str, here: Defaults) -> Target | None:
        """Return a node that is no strategy as a target."""
        slug = self._text(node, "virtual_key", path)
        name = self._text(node, "provider", path)
        if name is not None and name.startswith("@"):
            slug, name = name[1:], None
        if slug is None and name is None:
            slug = here.slug
        if slug is not None:
            return self._stored_target(slug, node, path, here)
        if name is not None and name not in self._providers:
            known = ", ".join(sorted(self._providers))
            self.fault(f"{path}.provider", f"must be one of: {known}")
            return None
        # Beside what the host stored, the client has no say in what goes with it.
        described = None if self._trusted and name else here.described
        base: Target | None = Target(name) if name else None
        if described is not None:
            base = described(name)
        if base is None:
            self.fault(
                path, "must have a 'provider', a 'virtual_key', or a strategy and targets"
            )
            return None
        provider = self._providers[base.provider]
        options = {
            option: text
            for option in provider.options
            # Portkey's configs know Azure's options without the prefix as well.
            for name in (option.removeprefix("azure_"), option)
            if (text := self._text(node, name, path)) is not None
        }
        key = self._text(node, "api_key", path)
        try:
            if self._trusted and not name and (key is not None or options):
                # The client's headers would name the provider that gets it.
                raise ValueError("must have a 'provider' beside a key or a provider's option")
            target = replace(
                base,
                api_key=base.api_key if key is None else key,
                options={**base.options, **options},
            )
            # With a client's options beside them, not even a stored config's are the host's.
            if described is not None or not self._trusted:
                target = provider.from_client(target)
        except (ValueError, InvalidRoute) as error:
            self.fault(path, str(error))
            return None
        if self._trusted and target.custom_host is not None:
            self.fault(path, "can't go to an address that the call's headers name")
            return None
        return self._finished(target, here)

    def _stored_target(
        self, slug: str, node: Mapping[str, Any], path: str, here: Defaults
    ) -> Target | None:
        stored = self._stored(slug)
        if stored is None:
            self.fault(path, "there is no such virtual key")
            return None
        # A stored credential goes where its owner said, not where a client would have it.
        given = [
            name
            for name in ("api_key", *self._providers[stored.provider].options)
            if node.get(name) is not None
        ]
        if here.custom_host is not None and not self._trusted:
            given.append("custom_host")
        for name in given:
            self.fault(f"{path}.{name}", "can't be given for a virtual key")
        return self._finished(stored, here)

    def _finished(self, target: Target, here: Defaults) -> Target:
        """Return *target* with what is said of it here or above."""
        if here.custom_host is not None:
            target = (
                replace(target, base_url=here.custom_host)
                if self._trusted
                else replace(target, custom_host=here.custom_host)
            )
        return replace(
            target,
            retry=here.retry or target.retry,
            request_timeout=here.request_timeout or target.request_timeout,
            forward_headers=here.forward_headers or target.forward_headers,
        )

    def _defaults(self, node: Mapping[str, Any], path: str, above: Defaults) -> Defaults:
        """Return what holds for a node and all below it."""
        timeout = self._number(node, "request_timeout", path)
        if timeout is not None and timeout < 0:
            self.fault(f"{path}.request_timeout", "must not be below zero, in milliseconds")
        host = self._text(node, "custom_host", path)
        if host is not None and self._trusted:
            try:
                checked_base_url(host)
            except ValueError as error:
                self.fault(f"{path}.custom_host", str(error))
        names = self._value(node, "forward_headers", path, list, what="a list of header names")
        if names is not None and not all(isinstance(name, str) for name in names):
            self.fault(f"{path}.forward_headers", "must be a list of header names")
            names = []
        headers = self._headers
        return replace(
            above,
            retry=self._retry(node, path) or above.retry,
            # What headers say of these wins over a config, as in Portkey's gateway.
            request_timeout=headers.request_timeout
            or (timeout / 1000 if timeout and timeout > 0 else above.request_timeout),
            custom_host=headers.custom_host or host or above.custom_host,
            forward_headers=headers.forward_headers
            or (above.forward_headers if names is None else tuple(names)),
        )

    def _retry(self, node: Mapping[str, Any], path: str) -> Retry | None:
        given = self._value(node, "retry", path, dict, what="an object")
        if given is None:
            return None
        path = f"{path}.retry"
        codes = self._codes(given, path, RETRY_STATUS_CODES)
        heeded = given.get("use_retry_after_header", True)
        if not isinstance(heeded, bool):
            self.fault(f"{path}.use_retry_after_header", "must be true or false")
        attempts = given.get("attempts")
        if not (_is_whole(attempts) and 0 <= attempts <= MAX_ATTEMPTS):
            self.fault(f"{path}.attempts", f"must be a whole number from 0 to {MAX_ATTEMPTS}")
            return None
        return Retry(
            int(attempts), on_status_codes=codes or (), use_retry_after_header=bool(heeded)
        )

    def _codes(self, node: Mapping[str, Any], path: str, default: Any) -> Any:
        codes = node.get("on_status_codes")
        if codes is None:
            return default
        if not isinstance(codes, list) or not all(
            _is_whole(code) and 100 <= code <= 599 for code in codes
        ):
            self.fault(f"{path}.on_status_codes", "must be a list of HTTP statuses")
            return default
        return frozenset(map(int, codes))

    def _weight(self, target: Any, path: str) -> float:
        if not isinstance(target, Mapping):
            return 0
        weight = self._number(target, "weight", path)
        if weight is None:
            return 1
        if weight < 0:
            self.fault(f"{path}.weight", "must not be below zero")
            return 0
        return weight

    def _text(self, node: Mapping[str, Any], name: str, path: str) -> str | None:
        text: str | None = self._value(node, name, path, str, what="a string")
        return text or None  # An empty one says nothing, as in Portkey's gateway.

    def _number(self, node: Mapping[str, Any], name: str, path: str) -> float | None:
        value = node.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e9:
            self.fault(f"{path}.{name}", "must be a number of a sensible size")
            return None
        return float(value)

    def _value(
        self, node: Mapping[str, Any], name: str, path: str, kind: type, *, what: str
    ) -> Any:
        value = node.get(name)
        if value is not None and not isinstance(value, kind):
            self.fault(f"{path}.{name}", f"must be {what}")
            return None
        return value


def _is_whole(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)
