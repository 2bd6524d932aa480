"""The store of one machine: a SQLite file, and a lock of the operating system's for each claim.

The kernel lets go of such a lock when its process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import IdempotencyUnavailable, UploadInProgress

if TYPE_CHECKING:
    from filelock import FileLock

#: For how many seconds a statement waits for those of other workers.
PATIENCE = 10.0

#: How often a lock that another one has is tried, in seconds.
_POLL = 0.05

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    file TEXT UNIQUE,
    expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_by_expiry ON uploads (expires);
"""

logger = logging.getLogger("flask_portkey_files")


class SQLiteStore:
    """A store for the workers of one machine.

    A connection lives as long as a statement: what SQLite has open must not be taken over a
    fork. A write-ahead log would be worked off and removed each time that the last one is
    closed, which takes several times as long as a journal whose file stays.

    :param folder: where its files are; made if it is not there. Without one it is a folder of
        this user's in the system's folder for temporary files, which nobody else may read.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._given = folder
        #: The process that has found everything in its place.
        self._ready_in: int | None = None

    @property
    def _folder(self) -> Path:
        # Not before it is needed: there may be no folder for temporary files.
        return default_folder() if self._given is None else Path(self._given)

    @property
    def _database(self) -> Path:
        return self._folder / "uploads.sqlite3"

    def get(self, name: str) -> str | None:
        """Return the text under *name*."""
        with self._usable(), self._connected() as connection:
            query = "SELECT text FROM uploads WHERE name = ? AND expires > ?"
            row = connection.execute(query, (name, time.time())).fetchone()
            return None if row is None else str(row[0])

    @contextlib.contextmanager
    def claim(self, name: str, *, wait: float) -> Iterator[SQLiteClaim]:
        """Hold the lock on *name* for as long as the block lasts."""
        with self._usable():
            self._get_ready()
            path = self._folder / "locks" / name
            lock = _lock(path)
            try:
                lock.acquire(timeout=wait, poll_interval=_POLL)
            except TimeoutError:
                raise UploadInProgress from None
        try:
            yield SQLiteClaim(self, name)
        finally:
            # Who waits for the lock of a file that is gone looks for a new one.
            with contextlib.suppress(OSError):
                path.unlink()
            lock.release()

    def change(self, statement: str, values: tuple[object, ...]) -> None:
        """Run a statement that changes something, and forget what is too old.

        :raises sqlite3.IntegrityError: the file in *values* is another name's.
        """
        with self._usable(), self._connected() as connection, connection:
            connection.execute("DELETE FROM uploads WHERE expires <= ?", (time.time(),))
            connection.execute(statement, values)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Turn what the file system and SQLite raise into the client's answer."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except (OSError, NotImplementedError, sqlite3.Error) as error:
            where = self._given or "the system's folder for temporary files"
            logger.error("the store of uploads in %s can't be used: %s", where, error)
            raise IdempotencyUnavailable from error

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self._get_ready()
        with contextlib.closing(self._connect()) as connection:
            yield connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._database, timeout=PATIENCE, isolation_level="IMMEDIATE"
        )
        try:
            connection.execute("PRAGMA journal_mode = PERSIST")
            # What is noted must outlive the machine as well.
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _get_ready(self) -> None:
        """Make what is missing, once in each process."""
        folder = self._folder
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._given is None:
            # Each time: what is old in such a place is removed, and then anybody may make it.
            _check_private(folder)
        if self._ready_in == os.getpid() and self._database.exists():
            return
        (folder / "locks").mkdir(mode=0o700, exist_ok=True)
        with _lock(folder / "lock").acquire(timeout=PATIENCE):
            # Only if it is not there: to close it would end every lock that SQLite has on it in
            # this process. The journal gets its mode from SQLite.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._database, os.O_CREAT | os.O_EXCL, 0o600))
            with contextlib.closing(self._connect()) as connection:
                connection.executescript(_SCHEMA)
        self._sweep()
        self._ready_in = os.getpid()

    def _sweep(self) -> None:
        """Remove the files of locks whose processes were killed long ago."""
        for path in (self._folder / "locks").iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > 24 * 60 * 60:
                    with _lock(path).acquire(timeout=0):
                        path.unlink()


@dataclass(frozen=True)
class SQLiteClaim:
    """A name whose lock is held."""

    _store: SQLiteStore
    _name: str

    def get(self) -> str | None:
        """Return the text under the name."""
        return self._store.get(self._name)

    def put(self, text: str, seconds: float, *, file: str | None = None) -> bool:
        """Keep *text* under the name."""
        values = (self._name, text, file, time.time() + seconds)
        statement = (
            "INSERT INTO uploads VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "text = excluded.text, file = excluded.file, expires = excluded.expires"
        )
        try:
            self._store.change(statement, values)
        except sqlite3.IntegrityError:
            return False
        return True

    def drop(self) -> None:
        """Keep nothing under the name any more."""
        self._store.change("DELETE FROM uploads WHERE name = ?", (self._name,))


def default_folder() -> Path:
    """Return the folder of a store that is given none: each user has one on each machine."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"flask-portkey-files-{user}"


def _lock(path: Path) -> FileLock:
    """Return the operating system's lock on *path*, not yet taken.

    No lock at all is better than one that outlives its process.
    """
    # With the first key, not with the package: filelock brings asyncio along, and takes tens of
    # milliseconds to import.
    from filelock import FileLock

    return FileLock(path, mode=0o600, fallback_to_soft=False)


def _check_private(folder: Path) -> None:
    """Look whether *folder*, where anybody could have made it, is this user's alone.

    :raises PermissionError: it is not.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{folder} is no folder")
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o077):
        raise PermissionError(f"{folder} is not this user's alone")
