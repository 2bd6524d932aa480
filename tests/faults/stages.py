"""The stages of a call, and what goes wrong in each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..streaming.wire import MIB, TIMEOUT, Body, noise
from ..support.upstream import Connection
from .provider import Case, Script

#: What is said of each operation in the page; an upload goes one of two ways.
OPERATIONS = ("upload live", "upload spooled", "list", "retrieve", "content", "delete")

UPLOADS = ("upload live", "upload spooled")

#: What clients see.
WELL = "200"
UPSTREAM = "502 upstream_error"
TIMED_OUT = "504 upstream_timeout"
BROKEN = "broken transfer"
#: The answer ends where the provider said that it would.
HALF = "200, as long as announced"
#: What is seen of a client that is gone: what the provider gets.
CUT = "the provider's request is cut"
UNSENT = "the provider gets no request"
GONE = "the answer is dropped"
LET_GO = "the provider is let go"

#: An answer that is streamed, since it is longer than what is read before the client gets its
#: status.
LONG = noise(2 * MIB)
#: More than the sockets between gateway and provider hold.
TOO_MUCH = 16 * MIB
#: So much takes longer than the steady mount waits, and each pause is much shorter.
DRIPS, PAUSE = 5, 0.12

NO_BODY = "its request has no body"


@dataclass(frozen=True)
class Stage:
    """A stage of a call with what goes wrong in it.

    :param id: its name in the tests.
    :param title: its name in the page.
    :param script: what the provider does.
    :param sees: what the client sees, or what it sees with some operations and with others
        (under ``""``).
    :param patience: which mount of the gateway is asked: see :data:`tests.faults.app.PATIENCE`.
    :param reach: what stands where the provider should.
    :param client: whether the client stays, and if not, when it leaves.
    :param size: how long the file is that is uploaded.
    :param answer: the body of the right answer, if not the usual one.
    :param absent: operations for which there is no such stage, with the reason.
    """

    id: str
    title: str
    script: Script
    sees: str | Mapping[str, str]
    patience: Literal["patient", "steady", "hasty"] = "patient"
    reach: Literal["provider", "nobody", "stranger", "no-tls", "mute"] = "provider"
    client: Literal["stays", "uploading", "waiting", "downloading"] = "stays"
    size: int = 100_000
    answer: bytes | None = field(default=None, repr=False)
    absent: Mapping[str, str] = field(default_factory=dict)

    def expected(self, operation: str) -> str:
        """Return what the client sees with *operation*."""
        if isinstance(self.sees, str):
            return self.sees
        return self.sees.get(operation) or self.sees[""]


def uploads_only(reason: str = NO_BODY) -> dict[str, str]:
    """Return why other operations than uploads are absent."""
    return {operation: reason for operation in OPERATIONS if operation not in UPLOADS}


def head(*lines: str, status: str = "200 OK") -> bytes:
    """Return the head of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def well(conn: Connection, case: Case) -> bool:
    """Nothing goes wrong."""
    case.read_body(conn)
    conn.answer(case.answer)
    return True


def sends(*pieces: bytes, reset: bool = False) -> Script:
    """Send *pieces* for an answer, then close or reset the connection."""

    def script(conn: Connection, case: Case) -> None:
        case.read_body(conn)
        for piece in pieces:
            conn.send(piece)
        if reset:
            if LONG in pieces or HALF_CHUNK in pieces:
                # A reset overtakes what was sent before it.
                case.opened.wait(TIMEOUT)
            conn.reset()

    return script


def sends_and_waits(*pieces: bytes) -> Script:
    """Send *pieces* for an answer, and no more."""

    def script(conn: Connection, case: Case) -> None:
        case.read_body(conn)
        for piece in pieces:
            conn.send(piece)
        conn.read_some()

    return script


def resets_at_once(conn: Connection, case: Case) -> None:
    conn.reset()


def endlessly(opening: bytes, piece: bytes) -> Script:
    """Send *opening*, and then *piece* for as long as it is taken."""

    def script(conn: Connection, case: Case) -> None:
        case.read_body(conn)
        conn.send(opening)
        with contextlib.suppress(ConnectionError):
            while True:
                conn.send(piece)
        case.let_go.set()

    return script


def with_head(*lines: str) -> Script:
    """Answer well, with further lines in the head."""

    def script(conn: Connection, case: Case) -> bool:
        case.read_body(conn)
        conn.answer(case.answer, headers=lines)
        return True

    return script


def after(opening: bytes) -> Script:
    """Answer well, with *opening* before it."""

    def script(conn: Connection, case: Case) -> bool:
        case.read_body(conn)
        conn.send(opening)
        conn.answer(case.answer)
        return True

    return script


def announces_half(conn: Connection, case: Case) -> bool:
    case.read_body(conn)
    conn.send(head(f"Content-Length: {len(case.answer) // 2}") + case.answer)
    return True


def announces(length: str) -> Script:
    """Answer well, but for a length that is none."""

    def script(conn: Connection, case: Case) -> None:
        case.read_body(conn)
        conn.send(head(f"Content-Length: {length}") + case.answer)

    return script


def announces_two(conn: Connection, case: Case) -> None:
    case.read_body(conn)
    lengths = [f"Content-Length: {len(case.answer) - less}" for less in (0, 1)]
    conn.send(head(*lengths) + case.answer)


def refuses_early(conn: Connection, case: Case) -> None:
    conn.read_some()
    conn.answer(
        b'{"error":{"message":"Too large for me."}}',
        status="413 Content Too Large",
        headers=("Content-Type: application/json",),
    )


def accepts_early(conn: Connection, case: Case) -> None:
    conn.read_some()
    conn.answer(case.answer)


def drips_head(conn: Connection, case: Case) -> bool:
    case.read_body(conn)
    answer = head(f"Content-Length: {len(case.answer)}")
    for index in range(DRIPS):
        conn.send(answer[index * 7 : index * 7 + 7])
        threading.Event().wait(PAUSE)
    conn.send(answer[DRIPS * 7 :] + case.answer)
    return True


def drips_body(conn: Connection, case: Case) -> bool:
    """Send the end of the answer in drips."""
    case.read_body(conn)
    begun = len(case.answer) - DRIPS
    conn.send(head(f"Content-Length: {len(case.answer)}") + case.answer[:begun])
    for index in range(DRIPS):
        threading.Event().wait(PAUSE)
        conn.send(case.answer[begun + index :][:1])
    return True


def drips_on(opening: bytes, piece: bytes) -> Script:
    """Send *opening*, and then *piece* again and again, with pauses, for as long as it goes."""

    def script(conn: Connection, case: Case) -> None:
        case.read_body(conn)
        conn.send(opening)
        while True:
            threading.Event().wait(PAUSE / 4)
            conn.send(piece)

    return script


def takes_slowly(conn: Connection, case: Case) -> None:
    """Take the body in with pauses: more of it than the sockets hide stays out meanwhile."""
    body, taken, pauses = Body(conn), 0, 0
    for piece in body:
        taken += len(piece)
        if pauses < DRIPS and taken > pauses * MIB:
            pauses += 1
            threading.Event().wait(PAUSE)
    assert body.complete
    conn.answer(case.answer)


def says_nothing(conn: Connection, case: Case) -> None:
    case.read_body(conn)
    conn.read_some()


def reads_nothing(conn: Connection, case: Case) -> None:
    # Until the gateway gives up, which is not to be seen without reading.
    case.left.wait(TIMEOUT)


def is_left_while_reading(conn: Connection, case: Case) -> None:
    case.reached.set()
    case.read_body(conn)


def is_left_while_thinking(conn: Connection, case: Case) -> None:
    case.read_body(conn)
    case.reached.set()
    case.left.wait(TIMEOUT)
    conn.answer(case.answer)


CHUNKED = head("Transfer-Encoding: chunked")
FAR_TOO_LONG = head("Content-Length: 9000000")
CHUNK = b"%x\r\n%b\r\n" % (len(LONG), LONG)
HALF_CHUNK = CHUNK[: len(CHUNK) // 2]

STAGES = (
    # Before there is a connection.
    Stage("well", "nothing goes wrong", well, WELL),
    Stage("refused", "the connection is refused", well, UPSTREAM, reach="nobody"),
    Stage("tls-wrong", "TLS: a wrong certificate", well, UPSTREAM, reach="stranger"),
    Stage("tls-none", "TLS: there is none", well, UPSTREAM, reach="no-tls"),
    Stage(
        *("tls-silent", "TLS: silence", well, TIMED_OUT),
        reach="mute",
        patience="hasty",
    ),
    # Before the head of the answer is there.
    Stage("reset", "reset before the head", resets_at_once, UPSTREAM),
    Stage("closed", "closed before the head", sends(), UPSTREAM),
    Stage("head-closed", "head cut, closed", sends(b"HTTP/1.1 200 OK\r\nContent-Le"), UPSTREAM),
    Stage(
        *("head-reset", "head cut, reset"),
        sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", reset=True),
        UPSTREAM,
    ),
    Stage("no-http", "no HTTP at all", sends(b"220 mail.example ESMTP\r\n"), UPSTREAM),
    Stage(
        *("head-endless", "endless header lines"),
        endlessly(b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n"),
        UPSTREAM,
    ),
    Stage(
        *("line-endless", "an endless header line"),
        endlessly(b"HTTP/1.1 200 OK\r\nx-more: ", b"and more" * 1000),
        UPSTREAM,
    ),
    Stage("head-64k", "a header of 64 KiB", with_head("x-long: " + "x" * 65536), UPSTREAM),
    Stage("head-60k", "a header of 60 KiB", with_head("x-long: " + "x" * 60000), WELL),
    # Other answers before the answer.
    Stage("interim-100", "100 before the answer", after(head(status="100 Continue")), WELL),
    Stage(
        *("interim-103", "103 before the answer"),
        after(head("Link: </style.css>", status="103 Early Hints")),
        WELL,
    ),
    Stage(
        *("interim-many", "several 1xx before the answer"),
        after(head(status="102 Processing") * 20 + head(status="103 Early Hints") * 20),
        WELL,
    ),
    Stage(
        *("interim-endless", "endless 1xx"),
        endlessly(b"", head(status="102 Processing")),
        UPSTREAM,
    ),
    Stage("interim-101", "101", sends(head(status="101 Switching Protocols")), UPSTREAM),
    # In the body.
    Stage(
        *("length-cut-early", "body cut with `Content-Length`, short answer"),
        sends(head("Content-Length: 400") + b'{"id":'),
        {"content": BROKEN, "": UPSTREAM},
    ),
    Stage(
        *("length-cut-late", "body cut with `Content-Length`, long answer"),
        sends(FAR_TOO_LONG, LONG, reset=True),
        BROKEN,
    ),
    Stage(
        *("chunk-cut-early", "body cut in a chunk, short answer"),
        sends(CHUNKED + b'190\r\n{"id":'),
        {"content": BROKEN, "": UPSTREAM},
    ),
    Stage(
        *("chunk-cut-late", "body cut in a chunk, long answer"),
        sends(CHUNKED, HALF_CHUNK, reset=True),
        BROKEN,
    ),
    Stage("chunks-cut", "body cut between chunks", sends(CHUNKED, CHUNK), BROKEN),
    Stage(
        *("chunk-bad-early", "bad chunk size, short answer"),
        sends(CHUNKED + b"no size\r\n{}\r\n0\r\n\r\n"),
        UPSTREAM,
    ),
    Stage(
        *("chunk-bad-late", "bad chunk size, long answer"),
        sends(CHUNKED, CHUNK, b"no size\r\n{}\r\n0\r\n\r\n"),
        BROKEN,
    ),
    Stage(
        *("length-long", "`Content-Length` too long, then silence"),
        sends_and_waits(head("Content-Length: 400") + b'{"id":'),
        {"content": BROKEN, "": TIMED_OUT},
        patience="hasty",
    ),
    Stage("length-short", "`Content-Length` too short", announces_half, HALF),
    Stage("length-two", "two different `Content-Length`", announces_two, UPSTREAM),
    Stage("length-word", "`Content-Length` is no number", announces("many"), UPSTREAM),
    Stage("length-negative", "`Content-Length` below zero", announces("-2"), UPSTREAM),
    Stage("length-huge", "`Content-Length` beyond measure", announces("9" * 30), UPSTREAM),
    # While an upload is sent.
    Stage(
        *("early-4xx", "413 before the whole upload was read"),
        *(refuses_early, "413 of the provider"),
        size=TOO_MUCH,
        absent=uploads_only(),
    ),
    Stage(
        *("early-2xx", "200 before the whole upload was read"),
        *(accepts_early, UPSTREAM),
        size=TOO_MUCH,
        absent=uploads_only(),
    ),
    # Slowness and silence.
    Stage("drip-head", "head in drips, and there in time", drips_head, WELL),
    Stage(
        *("drip-head-on", "head in drips, and not there in time"),
        *(drips_on(b"HTTP/1.1 200 OK\r\nx-more:", b" more"), TIMED_OUT),
        patience="hasty",
    ),
    Stage(
        *("drip-body", "long answer in drips"),
        *(drips_body, WELL),
        patience="steady",
        answer=LONG,
    ),
    Stage(
        *("drip-body-on", "short answer in drips, and not there in time"),
        *(drips_on(FAR_TOO_LONG, b"{"), TIMED_OUT),
        patience="hasty",
        absent={"content": "content may take as long as it does"},
    ),
    Stage(
        *("drip-taken", "upload taken in drips"),
        *(takes_slowly, WELL),
        patience="steady",
        size=TOO_MUCH,
        absent=uploads_only(),
    ),
    Stage("silent", "silence instead of an answer", says_nothing, TIMED_OUT, patience="hasty"),
    Stage(
        *("silent-head", "silence in the head"),
        *(sends_and_waits(b"HTTP/1.1 200 OK\r\nContent-Le"), TIMED_OUT),
        patience="hasty",
    ),
    Stage(
        *("silent-body", "silence in the body, long answer"),
        *(sends_and_waits(FAR_TOO_LONG, LONG), BROKEN),
        patience="hasty",
    ),
    Stage(
        *("deaf", "the upload is not read"),
        *(reads_nothing, TIMED_OUT),
        patience="hasty",
        size=TOO_MUCH,
        absent=uploads_only(),
    ),
    # The client leaves.
    Stage(
        *("gone-uploading", "client gone while it uploads"),
        is_left_while_reading,
        {"upload live": CUT, "upload spooled": UNSENT},
        client="uploading",
        absent=uploads_only(),
    ),
    Stage(
        *("gone-waiting", "client gone while it waits for the head"),
        *(is_left_while_thinking, GONE),
        client="waiting",
    ),
    Stage(
        *("gone-downloading", "client gone in mid-download"),
        endlessly(head("Content-Length: 1099511627776"), LONG),
        LET_GO,
        client="downloading",
    ),
)
