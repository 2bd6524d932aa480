"""Where a file waits that can't be passed on while it arrives."""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Iterable, Iterator
from typing import IO

from .errors import SpoolUnavailable
from .settings import Settings
from .signals import spool_changed


class SpoolSpace:
    """How much may be held back at a time.

    :param most: in bytes, over all files.
    :param sender: who says so in the signal ``spool_changed``.
    """

    def __init__(self, most: int, *, sender: object = None) -> None:
        self._sender = sender
        self._left = most
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take *count* bytes of it.

        :raises SpoolUnavailable: so much is not left.
        """
        with self._lock:
            if count > self._left:
                raise SpoolUnavailable(
                    "Too much is being held back at the moment. Send `purpose` before `file`, "
                    "or try again later."
                )
            self._left -= count

    def give_back(self, count: int) -> None:
        """Give *count* bytes back."""
        with self._lock:
            self._left += count

    def tell(self, change: int) -> None:
        """Send the signal that *change* bytes more are taken, or fewer if it is negative."""
        if change and spool_changed.receivers:
            spool_changed.send(self._sender, change=change)


class SpooledFile:
    """A file's content held back, in memory if it is small, else in an unlinked 0600 file.

    :param blocks: the content; it is read to its end.
    :param space: what the content takes its space from, if that is bounded.
    :raises SpoolUnavailable: there is no room for it.
    """

    def __init__(
        self, blocks: Iterable[bytes], settings: Settings, space: SpoolSpace | None = None
    ) -> None:
        self._space = space
        self._taken = 0
        self._block_size = settings.block_size
        self._file: IO[bytes] = io.BytesIO()
        self.length = 0
        try:
            for block in blocks:
                if space is not None:
                    space.take(len(block))
                    self._taken += len(block)
                    space.tell(len(block))
                self.length += len(block)
                self._write(block, settings)
        except BaseException:
            self.close()
            raise

    def _write(self, block: bytes, settings: Settings) -> None:
        try:
            if self.length > settings.spool_memory and isinstance(self._file, io.BytesIO):
                held = self._file.getbuffer()
                self._file = tempfile.TemporaryFile(dir=settings.spool_dir)  # noqa: SIM115
                self._file.write(held)
            self._file.write(block)
        except OSError as error:
            raise SpoolUnavailable(
                "There is no room to hold the file back until it can be sent on. Send "
                "`purpose` before `file`, or try again later.",
            ) from error

    def blocks(self) -> Iterator[bytes]:
        """Yield the content from the start, as often as this is called."""
        self._file.seek(0)
        while block := self._file.read(self._block_size):
            yield block

    def close(self) -> None:
        """Give the space back; what is in memory goes with this object."""
        if not isinstance(self._file, io.BytesIO):
            self._file.close()
        if self._space is not None:
            taken, self._taken = self._taken, 0
            self._space.give_back(taken)
            self._space.tell(-taken)
