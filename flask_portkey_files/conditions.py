"""The query language of conditional routing, as in Portkey's configs.

A query is an object of ``{"metadata.<name>": <test>}``, where a test is a value to be equal to
or an object of operators; all must hold. ``$and`` and ``$or`` take lists of queries.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

re2: Any
try:
    re2 = importlib.import_module("re2")
except ImportError:  # The extra `regex`: $regex is refused without it.
    re2 = None

Query: TypeAlias = Mapping[str, Any]

#: What queries may ask about. A call's metadata is in the header ``x-portkey-metadata``; the
#: other two are for Portkey's other APIs, and nothing is known of them here.
CONTEXTS = ("metadata", "params", "url")

#: How deep queries may be nested.
MAX_DEPTH = 10

#: A pattern longer than this is refused, and so is one that takes more memory, in bytes.
MAX_PATTERN = 500
MAX_PATTERN_MEMORY = 1024 * 1024


def _number(value: Any) -> float:
    """Return *value* as a number; one that is none compares with nothing."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _same(a: Any, b: Any) -> bool:
    # As in JSON: true is not 1.
    return isinstance(a, bool) is isinstance(b, bool) and bool(a == b)


def _compiled(pattern: str) -> Any:
    """Return *pattern* compiled by RE2.

    Patterns come from clients, and so do the values: RE2 bounds the memory that a pattern
    takes, and the time that a match takes. Python's own engine does neither.
    """
    options = re2.Options()
    options.max_mem = MAX_PATTERN_MEMORY
    options.log_errors = False
    return re2.compile(pattern, options=options)


def _matches(value: Any, pattern: str) -> bool:
    if re2 is None or not isinstance(value, str):
        return False
    try:
        return _compiled(pattern).search(value) is not None
    except UnicodeError:  # JSON may name half a character, which no text has.
        return False


#: What an operator says of a value and its own operand.
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _same,
    "$ne": lambda value, operand: not _same(value, operand),
    "$gt": lambda value, operand: _number(value) > _number(operand),
    "$gte": lambda value, operand: _number(value) >= _number(operand),
    "$lt": lambda value, operand: _number(value) < _number(operand),
    "$lte": lambda value, operand: _number(value) <= _number(operand),
    "$in": lambda value, operand: any(_same(value, item) for item in operand),
    "$nin": lambda value, operand: not any(_same(value, item) for item in operand),
    "$regex": _matches,
}


def holds(query: Query, context: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a valid *query* is true of *context*."""
    for key, test in query.items():
        if key == "$and":
            if not all(holds(part, context) for part in test):
                return False
        elif key == "$or":
            if not any(holds(part, context) for part in test):
                return False
        else:
            kind, _, name = key.partition(".")
            value = context.get(kind, {}).get(name)
            tests = test if isinstance(test, Mapping) else {"$eq": test}
            if not all(OPERATORS[op](value, operand) for op, operand in tests.items()):
                return False
    return True


def faults(query: Any, path: str, *, depth: int = 1) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a query: the path of each fault and a message."""
    if not isinstance(query, Mapping):
        yield path, "must be an object"
        return
    if depth > MAX_DEPTH:
        yield path, f"is nested more than {MAX_DEPTH} deep"
        return
    for key, test in query.items():
        here = f"{path}.{key}"
        if key in {"$and", "$or"}:
            if not isinstance(test, list) or not test:
                yield here, "must be a list of queries"
            else:
                for index, part in enumerate(test):
                    yield from faults(part, f"{here}[{index}]", depth=depth + 1)
        elif key.partition(".")[0] not in CONTEXTS or not key.partition(".")[2]:
            yield (
                here,
                "must be `$and`, `$or`, or a name behind `metadata.`, `params.` or `url.`",
            )
        elif isinstance(test, Mapping):
            for operator, operand in test.items():
                yield from _operator_faults(operator, operand, f"{here}.{operator}")
        elif isinstance(test, list):
            yield here, "must be a value or an object of operators"


def _operator_faults(operator: str, operand: Any, path: str) -> Iterator[tuple[str, str]]:
    if operator not in OPERATORS:
        yield path, f"is not an operator; there are: {', '.join(OPERATORS)}, $and, $or"
    elif operator in {"$in", "$nin"} and not isinstance(operand, list):
        yield path, "must be a list"
    elif operator in {"$gt", "$gte", "$lt", "$lte"} and _number(operand) != _number(operand):
        yield path, "must be a number"
    elif operator == "$regex":
        if re2 is None:
            yield path, "is not available: this gateway lacks the extra `regex`"
        elif not isinstance(operand, str) or len(operand) > MAX_PATTERN:
            yield path, f"must be a pattern of at most {MAX_PATTERN} characters"
        else:
            try:
                _compiled(operand)
            except (re2.error, UnicodeError):
                yield path, "is not a regular expression that RE2 takes"
