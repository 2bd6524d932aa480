"""How long a provider may take: for each wait, for its answer, and for all of a call."""

from __future__ import annotations

import contextlib
import io
import math
import socket
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Deadlines:
    """Until when a request may take, by ``time.monotonic()``.

    :param answer: when the head of its answer must be there.
    :param end: when the call must be over, whatever it is doing then.
    """

    answer: float = math.inf
    end: float = math.inf


_NONE = Deadlines()

#: Those of the request that is being sent.
DEADLINES: ContextVar[Deadlines] = ContextVar("DEADLINES", default=_NONE)


def time_left(most: float) -> float:
    """Return for how long a socket may be waited for: *most* seconds, or until the deadline.

    :raises TimeoutError: that is over.
    """
    return seconds_left(most, DEADLINES.get().answer)


def seconds_left(most: float, deadline: float) -> float:
    """Return *most*, or the seconds until *deadline* if those are less.

    :raises TimeoutError: the deadline is over.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is over")
    return min(most, left)


class TimedSource(io.RawIOBase):
    """What comes in on a socket, each wait for it no longer than what is left.

    A socket's own timeout begins anew with each byte, so a provider that sends one now and
    then would never be given up.

    :param sock: the socket; its timeout is changed.
    :param most: the longest wait for anything, in seconds.
    """

    def __init__(self, sock: socket.socket, most: float) -> None:
        self._sock = sock
        self._raw: Any = sock.makefile("rb", buffering=0)
        self._most = most
        self._set = sock.gettimeout()
        #: When what is read now must be there, by ``time.monotonic()``.
        self.deadline = math.inf

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """Read once, as ``io.RawIOBase`` says.

        :raises TimeoutError: nothing came in time.
        """
        left = seconds_left(self._most, self.deadline)
        if left != self._set:
            self._set = left
            with contextlib.suppress(OSError):  # What is closed says so when it is read.
                self._sock.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        """Let go of the socket."""
        if not self.closed:
            self._raw.close()
        super().close()
