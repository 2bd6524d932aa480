"""Where a call goes: a target, or a strategy over several."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TypeAlias

from .call import FilesCall
from .conditions import Query, faults, holds
from .errors import InvalidRoute

#: The statuses that are tried again unless others are given, as in Portkey's gateway.
RETRY_STATUS_CODES = frozenset({429, 500, 502, 503, 504})

#: How often a request may be tried again, as in Portkey's gateway.
MAX_ATTEMPTS = 5

# http.client would refuse these with an error that quotes the whole header.
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


@dataclass(frozen=True)
class Retry:
    """When a target is tried again.

    It is after a connection that failed, and after the given statuses; with waits that grow,
    and no sooner than the provider's ``Retry-After`` says. An upload is spooled for it, and
    sent again as it was.

    :param attempts: how often at most, besides the first time; 0 to 5.
    :param on_status_codes: the statuses.
    :param use_retry_after_header: whether the provider's ``Retry-After`` is heeded.
    :raises ValueError: *attempts* is out of range.
    """

    attempts: int
    _: KW_ONLY
    on_status_codes: Collection[int] = RETRY_STATUS_CODES
    use_retry_after_header: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.attempts <= MAX_ATTEMPTS:
            raise ValueError(f"attempts must be from 0 to {MAX_ATTEMPTS}, not {self.attempts}")


NO_RETRY = Retry(0)


@dataclass(frozen=True)
class Target:
    """One provider, with what it takes to reach it on the caller's behalf.

    :param provider: the provider's name: a built-in one such as ``"openai"``, or one that was
        given to :func:`~flask_portkey_files.create_blueprint`.
    :param api_key: the provider's own key.
    :param base_url: where the provider is, if not at its usual address. It is trusted: never
        take it from a client unchecked.
    :param custom_host: the same, as a client gave it: it is reached only if
        ``PORTKEY_FILES_ALLOWED_HOSTS`` allows it, and wins over *base_url*.
    :param options: what else the provider wants to know, by the names that Portkey's configs
        use, e.g. ``{"azure_resource_name": "contoso", "azure_api_version": "2024-10-21"}``.
    :param headers: headers to send to the provider besides the usual ones; they win over the
        client's.
    :param forward_headers: names of headers of the client's that are to go up as well.
        Cookies, credentials and ``x-portkey-*`` never do.
    :param retry: when to try again; never if absent.
    :param request_timeout: seconds until the provider's answer must have begun, the sending
        of an upload included; 408 if it has not.
    :raises ValueError: a key, option or header has characters that can't be sent in one, such
        as the line break at the end of a key that was read from a file; or *request_timeout*
        is not above zero.
    """

    provider: str
    _: KW_ONLY
    # All that may hold a credential is left out of the repr.
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)
    custom_host: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    forward_headers: Sequence[str] = field(default=(), repr=False)
    retry: Retry = field(default=NO_RETRY, repr=False)
    request_timeout: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.request_timeout is not None and not self.request_timeout > 0:
            raise ValueError("request_timeout must be above zero")
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


@dataclass(frozen=True)
class Fallback:
    """The targets one after the other, until one succeeds.

    :param targets: targets, or further strategies.
    :param on_status_codes: the statuses with which the next target is tried; every one that
        is no success (2xx, 304, 412, 416) if absent. A provider that can't be reached counts
        as 502, one that does not answer in time as 504 or 408.
    """

    targets: Sequence[Route]
    on_status_codes: Collection[int] | None = None

    def __post_init__(self) -> None:
        _need_targets(self.targets)


@dataclass(frozen=True)
class LoadBalance:
    """One of the targets, by chance.

    A call for one file is answered by the target that has the file: the others, even those of
    weight zero, are asked as well if the first one says 404 or fails.

    :param targets: targets, or further strategies.
    :param weights: how often each target is taken in relation to the others; all alike if
        absent.
    :raises ValueError: there are no targets, or the weights are not one for each, or one is
        below zero, or all are zero.
    """

    targets: Sequence[Route]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        _need_targets(self.targets)
        weights = self.weights
        if weights is not None and (
            len(weights) != len(self.targets)
            or not all(0 <= weight < math.inf for weight in weights)
            or not any(weights)
        ):
            raise ValueError(
                "there must be a weight for each target, none below zero and one above"
            )


@dataclass(frozen=True)
class Conditional:
    """The target whose condition is the first to hold.

    :param targets: targets, or further strategies.
    :param conditions: pairs of a query over the call's metadata, as in Portkey's configs, and
        the index of the target to take if it holds.
    :param default: the index of the target to take if none holds.
    :raises ValueError: a query is not valid, or an index is that of no target.
    """

    targets: Sequence[Route]
    conditions: Sequence[tuple[Query, int]]
    default: int | None = None

    def __post_init__(self) -> None:
        _need_targets(self.targets)
        for number, (query, _) in enumerate(self.conditions):
            for path, message in faults(query, f"conditions[{number}]"):
                raise ValueError(f"{path} {message}")
        indexes = [index for _, index in self.conditions]
        indexes += [] if self.default is None else [self.default]
        if not all(0 <= index < len(self.targets) for index in indexes):
            raise ValueError("an index must be that of one of the targets")


def _need_targets(targets: Sequence[Route]) -> None:
    if not targets:
        raise ValueError("a strategy needs at least one target")


#: Where a call can be sent.
Route: TypeAlias = Target | Fallback | LoadBalance | Conditional


@dataclass(frozen=True)
class Leg:
    """A target on the way.

    :param path: where it stands in the route, e.g. ``config.targets[1]``.
    """

    target: Target
    path: str


@dataclass(frozen=True)
class Chain:
    """Plans that are tried in turn.

    :param goes_on: whether an answer of this status leads to the next plan.
    :param search: whether it is one file that is looked for: that one of the plans knows
        nothing of it then says less than that another one failed.
    """

    plans: Sequence[Plan]
    goes_on: Callable[[int], bool] = field(repr=False)
    search: bool = False


#: A route of which nothing is left to choose.
Plan: TypeAlias = Leg | Chain


def plan(route: Route, call: FilesCall, *, path: str = "config") -> Plan:
    """Return what *route* comes to for *call*; chance decides where the route leaves it to.

    :raises InvalidRoute: no condition holds, and there is no default.
    """
    if isinstance(route, Target):
        return Leg(route, path)
    if isinstance(route, Fallback):
        codes = route.on_status_codes
        plans = [
            plan(t, call, path=f"{path}.targets[{i}]") for i, t in enumerate(route.targets)
        ]
        return _in_turn(plans, _not_ok if codes is None else codes.__contains__)
    if isinstance(route, LoadBalance):
        indexes = range(len(route.targets))
        (first,) = random.choices(indexes, route.weights)  # noqa: S311 - no secret
        order = [first, *(i for i in indexes if i != first)] if call.file_id else [first]
        plans = [plan(route.targets[i], call, path=f"{path}.targets[{i}]") for i in order]
        return _in_turn(plans, _may_be_elsewhere, search=True)
    index = _taken(route, call)
    return plan(route.targets[index], call, path=f"{path}.targets[{index}]")


def candidates(route: Route, call: FilesCall, *, path: str = "config") -> Iterator[Leg]:
    """Yield every target that *route* may come to for *call*, whatever chance decides.

    :raises InvalidRoute: no condition holds, and there is no default.
    """
    if isinstance(route, Target):
        yield Leg(route, path)
        return
    indexes: Iterable[int] = range(len(route.targets))
    if isinstance(route, Conditional):
        indexes = [_taken(route, call)]
    for index in indexes:
        yield from candidates(route.targets[index], call, path=f"{path}.targets[{index}]")


def _taken(route: Conditional, call: FilesCall) -> int:
    """Return the index of the target whose condition holds."""
    context = {"metadata": call.metadata}
    matching = (index for query, index in route.conditions if holds(query, context))
    index = next(matching, route.default)
    if index is None:
        raise InvalidRoute(
            "None of the config's conditions holds for this call's x-portkey-metadata, and "
            "there is no default.",
            param="x-portkey-metadata",
        )
    return index


def _in_turn(
    plans: Sequence[Plan], goes_on: Callable[[int], bool], *, search: bool = False
) -> Plan:
    return plans[0] if len(plans) == 1 else Chain(plans, goes_on, search)


def _may_be_elsewhere(status: int) -> bool:
    return status == 404 or status >= 500


def _not_ok(status: int) -> bool:
    # The last three are what a conditional request or one for a range may come to.
    return not (200 <= status < 300 or status in {304, 412, 416})


def legs(of: Plan) -> Iterator[Leg]:
    """Yield the targets of a plan in the order in which they are tried."""
    if isinstance(of, Leg):
        yield of
    else:
        for part in of.plans:
            yield from legs(part)
