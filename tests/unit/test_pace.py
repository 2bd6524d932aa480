"""When a client counts as too slow. The times are made up: none is waited for."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from flask_portkey_files import pace
from flask_portkey_files.pace import Pace, Watch
from flask_portkey_files.settings import Settings


class Clock:
    """The time, as a test says it is."""

    def __init__(self) -> None:
        self.now = 1000.0

    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The gateway's and the client's end of a connection; with TCP, bytes can be counted."""
    with contextlib.ExitStack() as stack:
        if request.param == "unix":
            ours, theirs = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as server:
                theirs = socket.create_connection(server.getsockname())
                ours, _ = server.accept()
        stack.enter_context(ours)
        stack.enter_context(theirs)
        ours.settimeout(20)
        theirs.settimeout(20)
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def look(of: Pace, clock: Clock, seconds: float) -> bool:
    """Let time go by, in steps as the watch does, and return whether the client is given up."""
    for _ in range(round(seconds * 4)):
        clock.now += 0.25
        of.look(clock.now)
    return of.over


def test_a_client_that_stalls_is_given_up_after_the_grace(clock: Clock, pair: Pair) -> None:
    ours, _ = pair
    of = Pace(ours, rate=100, grace=10)
    of.begin(1)
    assert not look(of, clock, 9.75)
    # Where bytes can't be counted, a byte more takes as long as it may take.
    assert look(of, clock, 0.5)
    assert ours.recv(1) == b""


def test_who_is_fast_enough_may_take_for_ever(clock: Clock, pair: Pair) -> None:
    ours, theirs = pair
    of = Pace(ours, rate=100, grace=10)
    for _ in range(200):
        of.begin(110)
        assert not look(of, clock, 1)
        theirs.sendall(bytes(110))
        assert len(ours.recv(110)) == 110
        of.rest(110)
    assert clock.now > 1190


def test_who_is_too_slow_is_given_up_later(clock: Clock, pair: Pair) -> None:
    """At half the rate the grace lasts twice as long."""
    ours, theirs = pair
    of = Pace(ours, rate=100, grace=10)
    started = clock.now
    while not of.over:
        of.begin(50)
        if not look(of, clock, 1):
            theirs.sendall(bytes(50))
            ours.recv(50)
            of.rest(50)
    assert 15 <= clock.now - started <= 22


def test_a_byte_now_and_then_does_not_fill_a_read(clock: Clock) -> None:
    """A server waits for all of a read: only the system knows what has come of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with ours, theirs:
        of = Pace(ours, rate=100, grace=10)
        of.begin(512 * 1024)
        for _ in range(30):
            theirs.sendall(b"x")
            if look(of, clock, 1):
                break
        assert of.over
        assert clock.now < 1012


def test_time_in_which_nobody_waits_for_the_client_is_free(clock: Clock, pair: Pair) -> None:
    """Such as while the provider takes what there is."""
    ours, _ = pair
    of = Pace(ours, rate=100, grace=10)
    of.begin(10)
    assert not look(of, clock, 5)
    of.rest(10)
    assert not look(of, clock, 1000)
    of.begin(10)
    assert not look(of, clock, 4)
    assert look(of, clock, 2)


def test_any_rate_will_do(clock: Clock, pair: Pair) -> None:
    of = Pace(pair[0], rate=0, grace=10, end=clock.now + 5000)
    of.begin(10)
    assert not look(of, clock, 4999)
    # But not after the call's own end.
    assert look(of, clock, 2)


def test_a_taker_is_reset(clock: Clock) -> None:
    """Whoever takes too slowly must not take the end for the file's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with theirs:
        ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(bytes(1 << 20))
        ours.setblocking(True)
        blocked = threading.Thread(target=_send_on, args=(ours,))
        of = Pace(ours, rate=100, grace=10, sending=True)
        of.begin(64 * 1024 * 1024)
        blocked.start()
        assert look(of, clock, 11)
        blocked.join(20)
        assert not blocked.is_alive()
        with pytest.raises(ConnectionResetError):
            _read_on(theirs)


def _send_on(sock: socket.socket) -> None:
    with sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(bytes(1 << 20))


def _read_on(sock: socket.socket) -> None:
    while sock.recv(1 << 20):
        pass


def test_a_connection_that_was_let_go_is_left_alone(clock: Clock, pair: Pair) -> None:
    ours, theirs = pair
    watch = Watch(Settings())
    of = watch.sender(ours, clock.now + 1)
    of.begin(1)
    watch.release(of)
    assert not look(of, clock, 10)
    theirs.sendall(b"next")
    assert ours.recv(4) == b"next"
