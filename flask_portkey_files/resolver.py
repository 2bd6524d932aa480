"""Who decides where a call goes: the resolver callback, and the one that reads headers."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, Protocol, TypeAlias

from werkzeug.datastructures import Headers

from .call import FilesCall
from .config import ConfigParser, Defaults, load
from .errors import InvalidConfig, InvalidCredential, InvalidRoute, invalid_provider
from .headers import bearer
from .providers import Provider, registry
from .redaction import Secret
from .routing import MAX_ATTEMPTS, Retry, Route, Target

#: The longest x-portkey-request-timeout, in milliseconds: a day.
MAX_TIMEOUT = 24 * 60 * 60 * 1000

logger = logging.getLogger("flask_portkey_files")

_NO_DEFAULTS = Defaults()

#: What clients send in ``Authorization`` when they have no key for it: portkey-ai for Python
#: the first, portkey-ai for Node the second, careless string formatting the others.
PLACEHOLDER_KEYS = frozenset({"OPENAI_API_KEY", "DUMMY-KEY", "undefined", "null", "None"})

#: Stored credentials by their slug; a callback returns ``None`` for one that is unknown.
VirtualKeys: TypeAlias = Mapping[str, Target] | Callable[[str], Target | None]

#: Stored configs by their id, as objects or JSON text; a callback returns ``None`` for one
#: that is unknown.
Configs: TypeAlias = Mapping[str, Any] | Callable[[str], Any]

#: The gateway's own keys, by names of the host's choice; a callback returns whether a key is
#: one.
ApiKeys: TypeAlias = Mapping[str, str] | Iterable[str] | Callable[[str], bool]


class Resolver(Protocol):
    """Picks the route of a call, once a call, before a byte of its body is read.

    It runs inside Flask's request context and may end the call with ``flask.abort()``. It must
    not touch ``request.form``, ``.files``, ``.values`` or ``.get_data()``, which would read
    the upload.
    """

    def __call__(self, call: FilesCall, /) -> Route:
        """Return where the call goes."""
        ...


class HeaderResolver:
    """Lets the client pick the route, by Portkey's headers.

    ``x-portkey-provider`` names the provider, and the key is the one in ``Authorization:
    Bearer`` if there is a real one, else ``x-portkey-api-key``. What else a provider needs to
    know is in headers of its own, such as ``x-portkey-azure-resource-name``. Or
    ``x-portkey-virtual-key`` names stored credentials, or ``x-portkey-config`` says it all.

    :param providers: providers that may be picked beside the built-in ones, as for
        :func:`~flask_portkey_files.create_blueprint`.
    :param virtual_keys: stored credentials by slug.
    :param configs: stored configs by id.
    :param api_keys: the gateway's own keys. With any, ``x-portkey-api-key`` must be one of
        them in each call, and is no provider's key.
    :raises ValueError: there are stored credentials or configs but no gateway keys: whoever
        can reach the gateway could use them. Or one of a mapping's is not valid.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider | str] | None = None,
        *,
        virtual_keys: VirtualKeys | None = None,
        configs: Configs | None = None,
        api_keys: ApiKeys | None = None,
    ) -> None:
        self._is_gateway_key = _gateway_keys(api_keys)
        if (virtual_keys is not None or configs is not None) and self._is_gateway_key is None:
            raise ValueError(
                "virtual keys and stored configs need gateway keys (api_keys=, or the setting "
                "PORTKEY_FILES_API_KEYS): without them, whoever can reach the gateway could "
                "use the stored credentials"
            )
        self._providers = registry(providers)
        self._virtual_keys = _lookup(virtual_keys)
        self._configs = _lookup(configs)
        self._parser = ConfigParser(self._providers, self._stored)
        self._check_stored(virtual_keys, configs)

    @property
    def has_gateway_keys(self) -> bool:
        """Whether each call needs one of the gateway's own keys."""
        return self._is_gateway_key is not None

    def __call__(self, call: FilesCall, /) -> Route:
        """Return the route that the call's headers describe.

        :raises InvalidRoute: they describe none, or one that can't be used.
        :raises InvalidCredential: the gateway has keys of its own, and the call has none.
        """
        headers = call.headers
        self._authenticate(headers)
        defaults = _defaults(headers)
        text = Secret(headers.get("x-portkey-config", "").strip())
        if text:
            return self._configured(text, headers, defaults)
        slug = _slug(headers)
        name = headers.get("x-portkey-provider", "").strip()
        if slug:
            if self._stored(slug) is None:
                raise InvalidRoute(
                    "The virtual key is not known to this gateway.",
                    param="x-portkey-virtual-key",
                )
            return self._parser.parse({"virtual_key": slug}, defaults)
        if not name:
            raise InvalidRoute(
                "Either x-portkey-config or x-portkey-provider header is required",
                param="x-portkey-provider",
            )
        if name not in self._providers:
            raise invalid_provider()
        if defaults == _NO_DEFAULTS:
            return self._described(headers, name)
        return self._parser.parse(
            {"provider": name},
            replace(defaults, described=lambda _: self._described(headers, name)),
        )

    def _check_stored(self, virtual_keys: VirtualKeys | None, configs: Configs | None) -> None:
        """Look through what is stored, as far as it is at hand, before a client does."""
        for slug in virtual_keys if isinstance(virtual_keys, Mapping) else ():
            self._stored(slug)
        complete = Defaults(described=lambda name: Target(name or next(iter(self._providers))))
        for name, config in configs.items() if isinstance(configs, Mapping) else ():
            try:
                self._parse_stored(config, complete)
            except InvalidConfig as error:
                faults = "; ".join(error.faults) or error.message
                raise ValueError(f"the stored config {name!r} is not valid: {faults}") from None

    def _parse_stored(self, config: Any, defaults: Defaults) -> Route:
        config = load(config) if isinstance(config, str) else config
        # Where a stored credential goes is not for the client to say.
        defaults = replace(defaults, custom_host=None)
        return self._parser.parse(config, defaults, trusted=True)

    def _configured(self, text: str, headers: Headers, defaults: Defaults) -> Route:
        """Return the route of ``x-portkey-config``: JSON, or the id of a stored config."""

        def described(name: str | None) -> Target | None:
            name = name or headers.get("x-portkey-provider", "").strip()
            return self._described(headers, name) if name in self._providers else None

        defaults = replace(defaults, described=described, slug=_slug(headers))
        if text.startswith("{"):
            return self._parser.parse(load(text), defaults)
        config = self._configs(text)
        if config is None:
            raise InvalidConfig(
                "Invalid config passed. It must be JSON or the id of a stored config"
            )
        try:
            return self._parse_stored(config, defaults)
        except InvalidConfig as error:
            # What is wrong with it is for its owner to know.
            logger.error("the stored config %r is not valid: %s", text, error.faults or error)
            raise InvalidConfig("The stored config can't be used for this call") from None

    def _described(self, headers: Headers, name: str) -> Target:
        """Return the target of the provider *name* with the key and options in *headers*."""
        options = {
            option: Secret(value)
            for option in self._providers[name].options
            if (value := _option(headers, option))
        }
        named = headers.get("x-portkey-provider", "").strip()
        # The key is for the provider that the headers name, whatever a config says.
        key = self._api_key(headers, self._providers[name]) if named in {"", name} else None
        try:
            return self._providers[name].from_client(Target(name, api_key=key, options=options))
        except ValueError as error:
            raise InvalidRoute(str(error)) from None

    def _api_key(self, headers: Headers, provider: Provider) -> str | None:
        """Return the provider's key that the client sends, if it sends one."""
        names = [provider.key_header]
        if self._is_gateway_key is None:
            names.append("x-portkey-api-key")
        given = chain(
            [bearer(headers.get("Authorization"))],
            (headers.get(name, "").strip() for name in names if name is not None),
        )
        for key in map(Secret, filter(None, given)):
            if key not in PLACEHOLDER_KEYS and not self._is_ours(key):
                return key
        return None

    def _is_ours(self, key: str) -> bool:
        """Return whether *key* is for the gateway alone; clients may send theirs twice."""
        return self._is_gateway_key is not None and self._is_gateway_key(key)

    def _stored(self, slug: str) -> Target | None:
        target = self._virtual_keys(slug)
        if target is not None and not isinstance(target, Target):
            raise TypeError(f"virtual key {slug!r} is {type(target).__name__}, not a Target")
        if target is not None and target.provider not in self._providers:
            raise ValueError(
                f"virtual key {slug!r} has the unknown provider {target.provider!r}"
            )
        return target

    def _authenticate(self, headers: Headers) -> None:
        if self._is_gateway_key is None:
            return
        key = Secret(headers.get("x-portkey-api-key", "").strip())
        if not key:
            raise InvalidCredential(
                "This gateway needs a key of its own in the header x-portkey-api-key.",
                param="x-portkey-api-key",
                code="missing_api_key",
            )
        if not self._is_gateway_key(key):
            raise InvalidCredential(
                "The key in the header x-portkey-api-key is not one of this gateway's.",
                param="x-portkey-api-key",
            )


def _gateway_keys(api_keys: ApiKeys | None) -> Callable[[str], bool] | None:
    """Return the check of a gateway key, ``None`` if there are no such keys."""
    if api_keys is None:
        return None
    if callable(api_keys):
        return _strict(api_keys)
    if isinstance(api_keys, (str, bytes)):
        raise TypeError("api_keys must be several keys: a mapping, a list, or a callback")
    keys = list(api_keys.values()) if isinstance(api_keys, Mapping) else list(api_keys)
    if not keys or not all(isinstance(key, str) and key.strip() for key in keys):
        raise ValueError("there must be a gateway key, and none may be empty")
    # Of one length, and all compared: the time taken tells nothing about a key.
    digests = [_digest(key.strip()) for key in keys]

    def check(key: str) -> bool:
        given = _digest(key)
        return sum(hmac.compare_digest(given, digest) for digest in digests) > 0

    return check


def _strict(callback: Callable[[str], bool]) -> Callable[[str], bool]:
    """Return *callback*, held to its word: a coroutine, for one, would be true of any key."""

    def check(key: str) -> bool:
        answer = callback(key)
        if not isinstance(answer, bool):
            raise TypeError(
                f"the api_keys callback returned {type(answer).__name__}, not a bool"
            )
        return answer

    return check


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _lookup(stored: Mapping[str, Any] | Callable[[str], Any] | None) -> Callable[[str], Any]:
    """Return what looks a name up, be it in a mapping, by a callback, or in nothing."""

    def look_up(name: str) -> Any:
        if callable(stored):
            return stored(name)
        return None if stored is None else stored.get(name)

    return look_up


def _defaults(headers: Headers) -> Defaults:
    """Return what the headers beside the provider's say of every target.

    :raises InvalidRoute: one of them has no sensible value.
    """
    count = _number(headers, "x-portkey-retry-count", most=MAX_ATTEMPTS)
    if count is not None and not count.is_integer():
        raise _no_number("x-portkey-retry-count", MAX_ATTEMPTS)
    timeout = _number(headers, "x-portkey-request-timeout", most=MAX_TIMEOUT)
    forward = headers.get("x-portkey-forward-headers", "")
    return Defaults(
        retry=None if count is None else Retry(int(count)),
        request_timeout=timeout / 1000 if timeout else None,
        custom_host=headers.get("x-portkey-custom-host", "").strip() or None,
        forward_headers=tuple(name.strip() for name in forward.split(",") if name.strip()),
    )


def _slug(headers: Headers) -> str | None:
    """Return the virtual key that the headers name: on its own, or as ``@slug``."""
    slug = headers.get("x-portkey-virtual-key", "").strip()
    provider = headers.get("x-portkey-provider", "").strip()
    return slug or (provider[1:] if provider.startswith("@") else "") or None


def _number(headers: Headers, name: str, *, most: int) -> float | None:
    text = headers.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,3})?", text) or float(text) > most:
        raise _no_number(name, most)
    return float(text)


def _no_number(name: str, most: int) -> InvalidRoute:
    return InvalidRoute(f"The header {name} must be a number from 0 to {most}.", param=name)


def _option(headers: Headers, option: str) -> str | None:
    name = option.replace("_", "-")
    value = headers.get(f"x-portkey-{name}")
    # OpenAI's clients send these two under OpenAI's own names.
    if value is None and name in {"openai-organization", "openai-project"}:
        value = headers.get(name)
    return value and value.strip()
