"""What a stand-in does instead of its job, when a test asks for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_BLOCK = 64 * 1024


class Severed(ConnectionError):
    """Raised to break the connection to the client.

    As a ``ConnectionError`` it is what the server takes for a connection that is gone: it
    closes it, and writes no error page into what may be the middle of an answer.
    """


@dataclass(frozen=True)
class Fault:
    """One answer that is not the store's.

    :param status: what to answer with, ``None`` for the store's own answer.
    :param headers: the headers of that answer.
    :param body: its body.
    :param cut: after how many bytes of the body the connection breaks, be it this answer's or
        the store's; ``None`` if it does not, and -1 if there is no answer at all.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None


class Faults:
    """The faults to come, each for one request, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, fault: Fault, times: int) -> None:
        """Have *fault* happen to each of the next *times* requests.

        :raises ValueError: *times* is not at least 1.
        """
        if times < 1:
            raise ValueError(f"times must be at least 1, not {times}")
        with self._lock:
            self._waiting += [fault] * times

    def take(self) -> Fault | None:
        """Return the fault of the request at hand, ``None`` if it has none."""
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None

    def clear(self) -> None:
        """Let none of them happen."""
        with self._lock:
            self._waiting.clear()


def error_body(status: int) -> bytes:
    """Return an error in OpenAI's envelope, of the type that goes with *status*."""
    kind = {429: "rate_limit_error", 401: "authentication_error"}.get(
        status, "server_error" if status >= 500 else "invalid_request_error"
    )
    error: dict[str, Any] = {
        "message": f"The stand-in was told to answer {status}.",
        "type": kind,
        "param": None,
        "code": None,
    }
    return json.dumps({"error": error}).encode()


def severed_after(blocks: Iterator[bytes], most: int) -> Iterator[bytes]:
    """Yield the first *most* bytes of *blocks*, then break the connection."""
    # A server sends the head of an answer with its first piece.
    yield b""
    for block in blocks:
        piece, most = block[:most], most - len(block)
        if piece:
            yield piece
        if most < 0:
            break
    raise Severed("The stand-in was told to break off here")


def drain(body: Any) -> None:
    """Read a request's body to its end.

    A connection that is closed on bytes that still come in is reset, and the client would see
    that or the answer, as it happens.
    """
    while body.read(_BLOCK):
        pass
