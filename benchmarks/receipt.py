"""What arrived of an upload: looked at piece by piece, and not kept."""

from __future__ import annotations

import re
import time
from typing import get_args

from .form import BLOCK, Kind, agrees, block

#: More than a boundary is long.
MARGIN = 256
#: The most that is kept of what does not agree with the content.
MOST = 4 * 1024 * 1024


class Receipt:
    """Finds out whether an upload's form is complete and its file is what was sent."""

    def __init__(self, content_type: str) -> None:
        found = re.search(r'boundary="?([^";]+)', content_type)
        self._mark = b"\r\n--" + (found[1].encode() if found else b"?")
        self._opening = bytearray()
        self._tail = bytearray()
        self._agreed = 0
        self._in_file = self._in_tail = False
        #: When the first byte of the body arrived.
        self.first = 0.0
        self.ended = 0.0
        self.kind: Kind | None = None
        #: The file's bytes, or those that came so far.
        self.size = 0
        #: Whether all of the body came, with the closing boundary, and the file is intact.
        self.whole = False

    def feed(self, piece: memoryview) -> None:
        """Look at the next piece of the body."""
        if not self.first:
            self.first = time.monotonic()
        if self._in_file:
            self._content(piece)
            return
        self._opening += piece
        part = re.search(rb'name="?file"?[;\r]', self._opening)
        start = self._opening.find(b"\r\n\r\n", part.start()) if part else -1
        if start >= 0:
            self._in_file = True
            self._content(memoryview(bytes(self._opening[start + 4 :])))

    def _content(self, piece: memoryview) -> None:
        if not piece:
            return
        if self.kind is None:
            kinds: tuple[Kind, ...] = get_args(Kind)
            self.kind = next((kind for kind in kinds if agrees(piece[:16], kind, 0)), None)
        if not self._in_tail:
            if self.kind and agrees(piece, self.kind, self._agreed):
                self._agreed += len(piece)
                self.size = self._agreed
                return
            self._in_tail = True
        if len(self._tail) < MOST:
            self._tail += piece

    def finish(self) -> None:
        """Note that the body came to its end."""
        self.ended = time.monotonic()
        if self.kind is None:
            return
        # The boundary's first bytes may have agreed with the content.
        back = min(MARGIN, self._agreed)
        begin = (self._agreed - back) % BLOCK
        cycle = block(self.kind) * (2 + len(self._tail) // BLOCK)
        rest = (cycle + cycle)[begin : begin + back] + bytes(self._tail)
        at = rest.find(self._mark)
        if at < 0:
            return
        self.size = self._agreed - back + at
        after = rest[at:].rstrip()
        self.whole = (
            rest[:at] == (cycle + cycle)[begin : begin + at]
            and after[-2:] == b"--"
            and after.endswith(self._mark[2:] + b"--")
        )

    def record(self) -> dict[str, object]:
        """Return what is known by now."""
        return {
            "first": self.first,
            "ended": self.ended,
            "kind": self.kind,
            "size": self.size,
            "whole": self.whole,
        }
