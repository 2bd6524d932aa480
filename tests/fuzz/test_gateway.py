"""Mangled uploads over the whole application, under gunicorn, before a raw socket.

The client gets an answer each time, and never a 5xx; the provider never has a whole upload but
the one that the client sent.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ..streaming.wire import UPLOADED, boundary_of
from ..support.gunicorn import Gunicorn
from ..support.upstream import Connection, Upstream
from .forms import Form, forms, framings, mutated
from .outcome import Parts, ours, werkzeugs
from .profile import bounded

#: How long an answer may take: a worker that hangs would not give one.
SECONDS = 20.0


class Provider:
    """Keeps the body of each upload that comes whole."""

    def __init__(self) -> None:
        self._whole: list[tuple[bytes, bytes]] = []
        self._running = 0
        self._changed = threading.Condition()

    def __call__(self, conn: Connection) -> None:
        conn.sock.settimeout(SECONDS)
        while conn.read_head():
            with self._changed:
                self._running += 1
            try:
                body, complete = conn.read_body()
                if complete:
                    with self._changed:
                        self._whole.append((body, boundary_of(conn)))
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()
            if not complete:
                return
            conn.answer(UPLOADED)

    def take(self) -> list[tuple[bytes, bytes]]:
        """Return what came whole since the last time, when nothing is under way."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._running, SECONDS)
            whole, self._whole = self._whole, []
        return whole


class Served:
    """The gateway with the provider behind it."""

    def __init__(self, port: int, provider: Provider) -> None:
        self._port = port
        self._provider = provider

    def check(self, boundary: str, framing: bytes, sent: bytes, body: bytes | None) -> bool:
        """Send an upload and look at both ends; return whether it was stored.

        :param framing: the header that says how long the body is.
        :param sent: the bytes that are sent as the body.
        :param body: what of them is the body, ``None`` if it is not whole.
        """
        expected = "incomplete_body" if body is None else ours(body, boundary)
        status = self._post(boundary, framing, sent)
        whole = self._provider.take()
        if isinstance(expected, Parts):
            assert status == 200
            ((got, line),) = whole
            parts = werkzeugs(got, line)
            assert parts is not None
            files = [(name, content) for _, name, content in parts if name is not None]
            assert files == [(expected.filename, expected.content)]
            named = [(name, value) for name, file, value in parts if file is None]
            assert sorted(named) == sorted(expected.fields)
            return True
        assert 400 <= status < 500, f"{status} for {expected}"
        assert whole == []
        return False

    def _post(self, boundary: str, framing: bytes, sent: bytes) -> int:
        head = (
            b"POST /v1/files HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
            b"x-portkey-provider: local\r\nAuthorization: Bearer sk-1\r\n"
            b'Content-Type: multipart/form-data; boundary="%b"\r\n%b\r\n\r\n'
        ) % (boundary.encode(), framing)
        with socket.create_connection(("127.0.0.1", self._port), timeout=SECONDS) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(head + sent)
                sock.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(sock)
            try:
                response.begin()
                response.read()
                return response.status
            finally:
                response.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    provider = Provider()
    folder: Path = tmp_path_factory.mktemp("idempotency")
    env = {"PORTKEY_FILES_IDEMPOTENCY": str(folder)}
    with (
        Upstream(provider) as upstream,
        Gunicorn(
            env={**env, "EXAMPLE_STORE_URL": upstream.url},
            arguments=("--worker-class", "gthread", "--threads", "4"),
        ) as gunicorn,
    ):
        yield Served(gunicorn.port, provider)
        assert "Traceback" not in gunicorn.log


def test_each_form_is_stored_as_it_is(served: Served) -> None:
    stored = []

    @bounded(30)
    @given(forms(), st.booleans())
    def send(form: Form, chunked: bool) -> None:
        framing, sent = b"Content-Length: %d" % len(form.body), form.body
        if chunked:
            framing = b"Transfer-Encoding: chunked"
            sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(form.body), form.body)
        assert served.check(form.boundary, framing, sent, form.body)
        stored.append(form)

    send()
    assert len(stored) >= 30


def test_a_mangled_form_is_never_stored_unless_it_still_is_a_form(served: Served) -> None:
    truncated = []

    @bounded(120)
    @given(mutated())
    def send(case: tuple[Form, bytes, bool]) -> None:
        form, body, cut = case
        stored = served.check(form.boundary, b"Content-Length: %d" % len(body), body, body)
        assert not (cut and stored)
        truncated.append(cut)

    send()
    assert any(truncated)


def test_a_body_whose_framing_is_wrong_is_never_stored(served: Served) -> None:
    broken = []

    @bounded(120)
    @given(st.data())
    def send(data: st.DataObject) -> None:
        form = data.draw(forms())
        framing, sent, body = data.draw(framings(form.body))
        stored = served.check(form.boundary, framing, sent, body)
        assert not (body is None and stored)
        broken.append(body is None)

    send()
    assert any(broken)
