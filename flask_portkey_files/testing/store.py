"""Where the file store keeps its files: SQLite for what they are, a folder for their bytes.

Any number of threads and processes may share one folder. Every operation opens its own
connection, so nothing here is tied to a thread or has to survive a fork; SQLite's write
ahead log lets readers and a writer work side by side. Nothing is flushed to the platter:
a file survives the process, and a power cut may lose the newest ones.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import string
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

_ALPHABET = string.ascii_letters + string.digits
_LOCK_SECONDS = 30.0
_LEFTOVER_SECONDS = 24 * 60 * 60

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
);
CREATE INDEX IF NOT EXISTS files_by_age ON files (created_at, seq);
CREATE INDEX IF NOT EXISTS files_by_expiry ON files (expires_at)
    WHERE expires_at IS NOT NULL;
"""

# Spelled here because inside the class `list` is the method.
_Values = list[Any]

_COLUMNS = "id, filename, purpose, size, created_at, expires_at"


class UnknownCursorError(LookupError):
    """The file a listing should continue after does not exist (any more)."""


@dataclass(frozen=True)
class StoredFile:
    """What the store knows about one file."""

    id: str
    filename: str
    purpose: str
    size: int
    created_at: int
    expires_at: int | None

    def as_object(self) -> dict[str, Any]:
        """Return the file as OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


@dataclass(frozen=True)
class FilePage:
    """One page of a listing."""

    files: tuple[StoredFile, ...]
    has_more: bool


class IncomingFile:
    """Bytes on their way into the store: a private file that no listing shows.

    Write to `file`, then give the whole to `FileStore.add`. Leaving the `with` block
    without having done so removes it.
    """

    def __init__(self, directory: Path) -> None:
        # mkstemp: nobody else can guess, open or pre-create the name, and the mode is 0600.
        descriptor, name = tempfile.mkstemp(dir=directory, prefix="upload-")
        self.path = Path(name)
        self.file: IO[bytes] = os.fdopen(descriptor, "w+b")

    def move(self, target: Path) -> int:
        """Close the file, rename it to `target` and return its size."""
        self.file.close()
        size = self.path.stat().st_size
        self.path.replace(target)
        return size

    def discard(self) -> None:
        """Close and remove the file; does nothing once it was moved or discarded."""
        # Closing writes what is still buffered, and a full disk is a reason to be here.
        with contextlib.suppress(OSError):
            self.file.close()
        _remove(self.path)

    def __enter__(self) -> IncomingFile:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()


class FileStore:
    """Files in a folder that is created where it does not exist.

    `clock` answers the time in seconds since the epoch.
    """

    def __init__(self, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.data_dir = Path(data_dir).absolute()
        self._clock = clock
        self._database_path = self.data_dir / "files.sqlite3"
        self._blobs = self.data_dir / "blobs"
        self._incoming = self.data_dir / "incoming"
        for directory in (self.data_dir, self._blobs, self._incoming):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._create_schema()
        self._purge_expired()
        self._remove_leftovers()

    def incoming(self) -> IncomingFile:
        """Start a file: what to write an upload to before it is added."""
        return IncomingFile(self._incoming)

    def add(
        self,
        *,
        filename: str,
        purpose: str,
        content: IncomingFile,
        expires_in: int | None = None,
    ) -> StoredFile:
        """Take `content` into the store and return the file it became."""
        self._purge_expired()
        file_id = "file-" + "".join(secrets.choice(_ALPHABET) for _ in range(24))
        blob = self._blobs / file_id
        size = content.move(blob)
        try:
            with self._database() as database:
                # The clock is read under the write lock, so files are numbered in the
                # order of their times and a page never misses a latecomer.
                database.execute("BEGIN IMMEDIATE")
                created_at = int(self._clock())
                stored = StoredFile(
                    id=file_id,
                    filename=filename,
                    purpose=purpose,
                    size=size,
                    created_at=created_at,
                    expires_at=None if expires_in is None else created_at + expires_in,
                )
                database.execute(
                    f"INSERT INTO files ({_COLUMNS}) "  # noqa: S608 - a constant
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        stored.id,
                        stored.filename,
                        stored.purpose,
                        stored.size,
                        stored.created_at,
                        stored.expires_at,
                    ),
                )
                database.execute("COMMIT")
        except BaseException:
            _remove(blob)
            raise
        return stored

    def get(self, file_id: str) -> StoredFile | None:
        """Return a file, or None where there is none of this id."""
        with self._database() as database:
            row = database.execute(
                f"SELECT {_COLUMNS} FROM files WHERE id = ?"  # noqa: S608 - a constant
                " AND (expires_at IS NULL OR expires_at > ?)",
                (file_id, self._clock()),
            ).fetchone()
        return None if row is None else StoredFile(*row)

    def path(self, file_id: str) -> Path | None:
        """Return where a file's bytes are, or None where there is no file of this id.

        Another process may delete the file at any time: opening the path can still fail.
        """
        # Only an id the database knows becomes a path, so none can lead out of the folder.
        stored = self.get(file_id)
        return None if stored is None else self._blobs / stored.id

    def list(
        self,
        *,
        purpose: str | None = None,
        limit: int = 10_000,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> FilePage:
        """Return up to `limit` files by age, those of a purpose, those after a file.

        Raises `UnknownCursorError` where no file has the id `after`.
        """
        self._purge_expired()
        now = self._clock()
        conditions = ["(expires_at IS NULL OR expires_at > ?)"]
        values: _Values = [now]
        if purpose is not None:
            conditions.append("purpose = ?")
            values.append(purpose)
        with self._database() as database:
            if after is not None:
                cursor = database.execute(
                    "SELECT created_at, seq FROM files WHERE id = ?"
                    " AND (expires_at IS NULL OR expires_at > ?)",
                    (after, now),
                ).fetchone()
                if cursor is None:
                    raise UnknownCursorError(after)
                conditions.append(
                    "(created_at, seq) " + (">" if order == "asc" else "<") + " (?, ?)"
                )
                values.extend(cursor)
            direction = "ASC" if order == "asc" else "DESC"
            where = " AND ".join(conditions)
            rows = database.execute(
                f"SELECT {_COLUMNS} FROM files WHERE {where}"  # noqa: S608 - constants
                f" ORDER BY created_at {direction}, seq {direction} LIMIT ?",
                (*values, limit + 1),
            ).fetchall()
        return FilePage(tuple(StoredFile(*row) for row in rows[:limit]), len(rows) > limit)

    def delete(self, file_id: str) -> bool:
        """Remove a file; False where there was none of this id."""
        with self._database() as database:
            deleted = database.execute(
                "DELETE FROM files WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)",
                (file_id, self._clock()),
            ).rowcount
        if deleted:
            _remove(self._blobs / file_id)
        return bool(deleted)

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        # isolation_level=None: transactions are written out where they are wanted, instead
        # of being opened behind the back of a statement.
        connection = sqlite3.connect(
            self._database_path, timeout=_LOCK_SECONDS, isolation_level=None
        )
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            yield connection
        finally:
            connection.close()  # Rolls back what was not committed.

    def _create_schema(self) -> None:
        # Switching to the write ahead log ignores the busy timeout, so two processes
        # that create the same store at once have to take turns here.
        deadline = time.monotonic() + _LOCK_SECONDS
        while not self._try_create_schema(final=time.monotonic() > deadline):
            time.sleep(0.01)

    def _try_create_schema(self, *, final: bool) -> bool:
        try:
            with self._database() as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            if final or "locked" not in str(error):
                raise
            return False
        return True

    def _purge_expired(self) -> None:
        with self._database() as database:
            # Reading first keeps the write lock free in the usual case of nothing to do.
            expired = database.execute(
                "SELECT id FROM files WHERE expires_at <= ?", (self._clock(),)
            ).fetchall()
            if expired:
                database.execute("BEGIN IMMEDIATE")
                database.executemany("DELETE FROM files WHERE id = ?", expired)
                database.execute("COMMIT")
        for (file_id,) in expired:
            _remove(self._blobs / file_id)

    def _remove_leftovers(self) -> None:
        """Remove what killed processes left behind.

        A young file may be an upload that another process is receiving right now.
        """
        oldest = self._clock() - _LEFTOVER_SECONDS
        for path in self._incoming.iterdir():
            if _older_than(path, oldest):
                _remove(path)
        for path in self._blobs.iterdir():
            if _older_than(path, oldest) and not self._is_known(path.name):
                _remove(path)

    def _is_known(self, file_id: str) -> bool:
        with self._database() as database:
            query = "SELECT 1 FROM files WHERE id = ?"
            return database.execute(query, (file_id,)).fetchone() is not None


def _older_than(path: Path, seconds: float) -> bool:
    try:
        return path.stat().st_mtime < seconds
    except FileNotFoundError:  # Another process was faster.
        return False


def _remove(path: Path) -> None:
    # Some systems refuse to remove a file that somebody still reads; it is then left for
    # the next start.
    with contextlib.suppress(OSError):
        path.unlink()
