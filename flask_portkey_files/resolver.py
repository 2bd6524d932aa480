"""Who decides where a call goes: the resolver callback, and the one that reads headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from werkzeug.datastructures import Headers

from .call import FilesCall
from .errors import InvalidRoute
from .headers import bearer
from .providers import Provider, registry
from .routing import Target

#: What clients send in ``Authorization`` when they have no key for it: portkey-ai for Python
#: the first, portkey-ai for Node the second, careless string formatting the others.
PLACEHOLDER_KEYS = frozenset({"OPENAI_API_KEY", "DUMMY-KEY", "undefined", "null", "None"})


class Resolver(Protocol):
    """Picks the provider for a call, once a call, before a byte of its body is read.

    It runs inside Flask's request context and may end the call with ``flask.abort()``. It must
    not touch ``request.form``, ``.files``, ``.values`` or ``.get_data()``, which would read
    the upload.
    """

    def __call__(self, call: FilesCall, /) -> Target:
        """Return where the call goes."""
        ...


class HeaderResolver:
    """Lets the client pick the provider, by Portkey's headers.

    ``x-portkey-provider`` names it. The key is the one in ``Authorization: Bearer`` if there
    is a real one, else ``x-portkey-api-key``. What else a provider needs to know is in
    headers of its own, such as ``x-portkey-azure-resource-name``.

    :param providers: providers that may be picked beside the built-in ones, as for
        :func:`~flask_portkey_files.create_blueprint`.
    """

    def __init__(self, providers: Mapping[str, Provider | str] | None = None) -> None:
        self._providers = registry(providers)

    def __call__(self, call: FilesCall, /) -> Target:
        """Return the target that the call's headers describe.

        :raises InvalidRoute: they name no provider, or an unknown one.
        """
        name = call.headers.get("x-portkey-provider", "").strip()
        if not name:
            raise InvalidRoute(
                "Either x-portkey-config or x-portkey-provider header is required",
                param="x-portkey-provider",
            )
        provider = self._providers.get(name)
        if provider is None:
            raise invalid_provider()
        options = {
            option: value
            for option in provider.options
            if (value := _option(call.headers, option))
        }
        try:
            return Target(name, api_key=_api_key(call.headers), options=options)
        except ValueError as error:
            raise InvalidRoute(str(error)) from None


def invalid_provider() -> InvalidRoute:
    """Return the error for a provider that is not known."""
    return InvalidRoute("Invalid provider passed", param="x-portkey-provider")


def _api_key(headers: Headers) -> str | None:
    given = headers.get("x-portkey-api-key", "").strip()
    for key in (bearer(headers.get("Authorization")), given):
        if key and key not in PLACEHOLDER_KEYS:
            return key
    return None


def _option(headers: Headers, option: str) -> str | None:
    name = option.replace("_", "-")
    value = headers.get(f"x-portkey-{name}")
    # OpenAI's clients send these two under OpenAI's own names.
    if value is None and name in {"openai-organization", "openai-project"}:
        value = headers.get(name)
    return value and value.strip()
