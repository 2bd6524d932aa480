"""Clients that are too slow: how long the gateway waits for one, and how it stops."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import struct
import sys
import threading
import time

from .settings import Settings

#: How often it is looked at who is waited for, in seconds.
TICK = 0.25

#: After so many looks at nobody, looking stops until the next one comes.
_IDLE = 40

# Linux' tcpi_bytes_acked and tcpi_bytes_received (linux/tcp.h, since 4.1).
_COUNTERS = struct.Struct("=120xQQ")


class Pace:
    """How fast a client sends its bytes, or takes ours.

    Only time in which the gateway waits for the client counts. Of that it has the grace; each
    byte wins some of it back, as much as it takes at the least rate. So a client that stalls
    is given up after the grace, and one below the rate somewhat later.

    How many bytes have gone over the connection, Linux says. Elsewhere it is known only when a
    read or write is through, so that the client has the time for a whole one besides.

    :param connection: the client's.
    :param rate: in bytes a second; 0 if any will do.
    :param grace: in seconds.
    :param end: when the wait is over in any case, by ``time.monotonic()``.
    :param sending: whether it is the gateway that sends.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        rate: float,
        grace: float,
        end: float = math.inf,
        sending: bool = False,
    ) -> None:
        self._connection = connection
        self._rate = rate
        self._grace = self._left = grace
        self._end = end
        self._sending = sending
        self._lock = threading.Lock()
        self._closed = False
        # Seconds waited before, since when again, and for how many bytes: replaced as one.
        self._waits: tuple[float, float | None, int] = (0.0, None, 0)
        self._done = 0
        self._seen = 0.0
        self._count: int | None = None
        #: Whether the client has been given up.
        self.over = False

    def begin(self, size: int) -> None:
        """Count the time from now on as waited, for *size* bytes at most."""
        self._waits = (self._waits[0], time.monotonic(), size)

    def rest(self, done: int = 0) -> None:
        """Count no more time; *done* bytes have come, or have been taken."""
        waited, since, _ = self._waits
        if since is not None:
            self._waits = (waited + time.monotonic() - since, None, 0)
            self._done += done

    def look(self, now: float) -> None:
        """Give the client up if it has been waited for for too long."""
        with self._lock:
            if self._closed or self.over:
                return
            waited, since, size = self._waits
            if since is not None:
                waited += max(0.0, now - since)
            slow = self._rate > 0 and self._is_slow(waited, size)
            if since is not None and (slow or now >= self._end):
                self.over = True
                self._stop()

    def close(self) -> None:
        """Let go of the connection, which may be another request's from now on."""
        with self._lock:
            self._closed = True

    def _is_slow(self, waited: float, size: int) -> bool:
        count = self._counted()
        unknown = 0.0
        if count is None:
            count, unknown = self._done, size / self._rate
        won = (count - (count if self._count is None else self._count)) / self._rate
        self._left = min(self._grace, self._left + won - (waited - self._seen))
        self._count, self._seen = count, waited
        return self._left + unknown <= 0

    def _counted(self) -> int | None:
        """Return how many bytes have gone over the connection, if the system says so."""
        if sys.platform != "linux":
            return None
        try:
            info = self._connection.getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, _COUNTERS.size
            )
            acknowledged, received = _COUNTERS.unpack(info)
        except (OSError, struct.error):  # Such as for a socket of the machine's own.
            return None
        return int(acknowledged if self._sending else received)

    def _stop(self) -> None:
        """Have whoever waits for the client go on: it reads an end, or can't write."""
        connection, how = self._connection, socket.SHUT_RD
        with contextlib.suppress(OSError):  # The client may have closed it.
            if self._sending:
                # Nobody may take what follows for the end of the file.
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                how = socket.SHUT_RDWR
            if isinstance(connection, ssl.SSLSocket):
                # Its own method takes the session from those who are using it.
                socket.socket.shutdown(connection, how)
            else:
                connection.shutdown(how)


class Watch:
    """Looks after the clients that a process waits for.

    In one thread, which runs while there are any.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._paces: set[Pace] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def sender(self, connection: socket.socket, end: float) -> Pace:
        """Return the pace of a client that sends."""
        return self._watched(connection, self._settings.min_upload_rate, end, sending=False)

    def taker(self, connection: socket.socket, end: float) -> Pace:
        """Return the pace of a client that takes what is sent."""
        return self._watched(connection, self._settings.min_download_rate, end, sending=True)

    def release(self, pace: Pace) -> None:
        """Look after a client no more."""
        with self._lock:
            self._paces.discard(pace)
        pace.close()

    def _watched(
        self, connection: socket.socket, rate: float, end: float, *, sending: bool
    ) -> Pace:
        pace = Pace(
            connection, rate=rate, grace=self._settings.slow_grace, end=end, sending=sending
        )
        with self._lock:
            self._paces.add(pace)
            # A process that was forked does not have the thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="portkey-files-pace", daemon=True
                )
                self._thread.start()
        return pace

    def _run(self) -> None:
        idle = 0
        while True:
            time.sleep(TICK)
            with self._lock:
                paces = list(self._paces)
                idle = 0 if paces else idle + 1
                if idle > _IDLE:
                    self._thread = None
                    return
            now = time.monotonic()
            for pace in paces:
                pace.look(now)
