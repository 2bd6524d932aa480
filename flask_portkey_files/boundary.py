"""Where a part of a multipart form ends."""

from __future__ import annotations

import re

from werkzeug.sansio.multipart import MultipartDecoder

_LINE_BREAK = re.compile(rb"\r\n|\r|\n")
# What may follow a boundary at the end of a block, when its line is not complete.
_UNFINISHED = re.compile(rb"-?[^\S\r\n]*")

#: A boundary's line may go on with blanks (RFC 2046, 5.1.1).
MOST_BLANKS = 64


class Decoder(MultipartDecoder):
    """werkzeug's decoder, mended where a block ends inside a boundary's end of line.

    werkzeug (3.1.9) looks for the line break of a boundary only so far back that the boundary
    just fits. If a block ends one byte behind the boundary's text, it therefore lets go of the
    CR before it as if it belonged to the file.
    """

    @property
    def window(self) -> int:
        """How many bytes a boundary's line may have, with the line breaks on both sides."""
        return len(self.boundary) + len(b"\r\n----\r\n") + MOST_BLANKS

    def _last_partial_boundary_index(self, data: bytes | bytearray) -> int:
        """Return where a boundary begins at the end of *data*, its length if none may."""
        delimiter = b"--" + self.boundary
        for line_break in _LINE_BREAK.finditer(data, max(0, len(data) - self.window)):
            rest = data[line_break.end() :]
            if delimiter.startswith(bytes(rest)):
                return line_break.start()
            if rest.startswith(delimiter) and _UNFINISHED.fullmatch(rest, len(delimiter)):
                return line_break.start()
        return len(data)

    def split(self, data: bytes) -> tuple[int, bool]:
        """Find the end of a part's content in *data*, which continues it.

        The decoder itself copies a file's content several times. Whoever reads a large one
        takes what is in ``buffer`` and calls this instead, and gives the rest back at the end.

        :return: how many bytes of *data* are content for certain, and whether the boundary
            comes right behind them.
        """
        delimiter = b"--" + self.boundary
        at = data.find(delimiter)
        while at >= 0:
            start = at - 2 if data[max(0, at - 2) : at] == b"\r\n" else max(0, at - 1)
            if self.boundary_re.match(data, start):
                return start, True
            at = data.find(delimiter, at + 1)
        return self._last_partial_boundary_index(data), False
