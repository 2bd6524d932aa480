"""What uWSGI does in ways of its own: chunked bodies, and the end of a body that is cut short.

See "uWSGI API - the Python API", https://uwsgi-docs.readthedocs.io/en/latest/PythonModule.html,
and "HTTP chunked input" there. The module ``uwsgi`` is there inside of a uWSGI process only.
"""

from __future__ import annotations

import importlib
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any


def is_uwsgi(environ: Mapping[str, Any]) -> bool:
    """Return whether it is uWSGI that serves this request."""
    return "uwsgi.version" in environ


class ChunkedInput:
    """A chunked request body, which uWSGI leaves out of ``wsgi.input``."""

    def __init__(self) -> None:
        self._read_chunk = importlib.import_module("uwsgi").chunked_read
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """Return at most *size* bytes, none at the end.

        :raises OSError: the body is cut short, is not chunked as it should be, or nothing came
            for as long as ``chunked-input-timeout`` says.
        """
        data = self._left or self._read_chunk()
        self._left = data[size:]
        return data[:size]


def break_off() -> None:
    """Have the client's connection reset when uWSGI closes it.

    uWSGI marks the end of a body without a length by the end of the connection, and closes it
    properly even after an error.
    """
    # A copy, so that uWSGI keeps its own; the option is the connection's, not the copy's.
    with socket.socket(fileno=os.dup(importlib.import_module("uwsgi").connection_fd())) as copy:
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
