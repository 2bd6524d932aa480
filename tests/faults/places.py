"""What may stand where a provider should, and is none."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ..streaming.wire import TIMEOUT
from ..support.upstream import Connection, Upstream


@contextlib.contextmanager
def places(folder: Path) -> Iterator[dict[str, str]]:
    """Give the address of each, by its name.

    :param folder: where the stranger's certificate is put.
    """
    context = _stranger(folder)

    def stranger(conn: Connection) -> None:
        conn.sock.settimeout(TIMEOUT)
        with (
            contextlib.suppress(ssl.SSLError),  # Its certificate is not taken.
            context.wrap_socket(conn.sock, server_side=True) as wrapped,
        ):
            wrapped.recv(1)

    def no_tls(conn: Connection) -> None:
        conn.read_some()
        conn.answer(b"This is no place for TLS.", status="400 Bad Request")

    def mute(conn: Connection) -> None:
        while conn.read_some():
            pass

    with (
        socket.socket() as taken,
        Upstream(stranger) as other,
        Upstream(no_tls) as plain,
        Upstream(mute) as silent,
    ):
        # Bound and not listening: nobody else can get it.
        taken.bind(("127.0.0.1", 0))
        yield {
            "nobody": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "stranger": f"https://127.0.0.1:{other.port}",
            "no-tls": f"https://127.0.0.1:{plain.port}",
            "mute": f"https://127.0.0.1:{silent.port}",
        }


def _stranger(folder: Path) -> ssl.SSLContext:
    """Return the TLS of a server whose certificate nobody vouches for."""
    chain, key = folder / "stranger.pem", folder / "stranger.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(
        [*command.split(), *names, "-keyout", str(key), "-out", str(chain)],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context
