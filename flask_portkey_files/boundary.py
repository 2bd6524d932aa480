"""Where a part of a multipart form ends."""

from __future__ import annotations

import re

from werkzeug.sansio.multipart import NEED_DATA, Event, MultipartDecoder, State

_LINE_BREAK = re.compile(rb"\r\n|\r|\n")
# What may follow a boundary at the end of a block, when its line is not complete.
_UNFINISHED = re.compile(rb"-?[^\S\r\n]*")

#: A boundary's line may go on with blanks (RFC 2046, 5.1.1).
MOST_BLANKS = 64


class Decoder(MultipartDecoder):
    """werkzeug's decoder, mended where a block ends inside a boundary's line.

    werkzeug (3.1.9) looks for the line break of a boundary only so far back that the boundary
    just fits. If a block ends one byte behind the boundary's text, it therefore lets go of the
    CR before it as if it belonged to the file. And of a part without a body (RFC 2046, 5.1.1),
    whose boundary comes right behind its head, it lets go of all that is there of the boundary.
    And where a block ends between the CR and the LF of a boundary's line, it takes the LF for
    the beginning of a head, which ends there if an empty line follows.
    """

    @property
    def window(self) -> int:
        """How many bytes a boundary's line may have, with the line breaks on both sides."""
        return len(self.boundary) + len(b"\r\n----\r\n") + MOST_BLANKS

    def next_event(self) -> Event:
        """Return what comes next, having waited for what may be a boundary behind a head."""
        if (
            self.state is State.DATA_START
            and not self.complete
            and len(self.buffer) <= self.window
        ):
            line_break = _LINE_BREAK.match(self.buffer)
            if line_break and self._may_be_boundary(bytes(self.buffer[line_break.end() :])):
                return NEED_DATA
        if not self.complete and self.buffer.endswith(b"\r") and self._ends_in_boundary():
            return NEED_DATA
        return super().next_event()

    def _ends_in_boundary(self) -> bool:
        """Return whether a boundary's line is all that is left, but for half its line break."""
        if self.state is State.PREAMBLE:
            found = self.preamble_re.search(self.buffer)
        elif self.state in {State.DATA_START, State.DATA}:
            found = self.boundary_re.search(self.buffer)
        else:
            return False
        return found is not None and found.end() == len(self.buffer)

    def _last_partial_boundary_index(self, data: bytes | bytearray) -> int:
        """Return where a boundary begins at the end of *data*, its length if none may."""
        for line_break in _LINE_BREAK.finditer(data, max(0, len(data) - self.window)):
            if self._may_be_boundary(bytes(data[line_break.end() :])):
                return line_break.start()
        return len(data)

    def _may_be_boundary(self, line: bytes) -> bool:
        """Return whether *line*, which has not ended, may become a boundary."""
        delimiter = b"--" + self.boundary
        if len(line) <= len(delimiter):
            return delimiter.startswith(line)
        return line.startswith(delimiter) and bool(_UNFINISHED.fullmatch(line, len(delimiter)))

    def split(self, data: bytes) -> tuple[int, bool]:
        """Find the end of a part's content in *data*, which continues it.

        The decoder itself copies a file's content several times. Whoever reads a large one
        takes what is in ``buffer`` and calls this instead, and gives the rest back at the end.

        :return: how many bytes of *data* are content for certain, and whether the boundary
            comes right behind them.
        """
        delimiter = b"--" + self.boundary
        # Looked for in a file that has none, the expression alone would take far longer. And
        # backwards the search goes by the delimiter's first byte, a dash, which text has less
        # of than of its last one, often a digit.
        at = data.find(delimiter) if data.rfind(delimiter) >= 0 else -1
        if at >= 0 and (found := self.boundary_re.search(data, max(0, at - 2))):
            return found.start(), True
        return self._last_partial_boundary_index(data), False
