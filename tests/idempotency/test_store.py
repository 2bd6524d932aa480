"""What both stores do, and what each does of its own."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock

from flask_portkey_files import Settings
from flask_portkey_files.errors import IdempotencyUnavailable, UploadInProgress
from flask_portkey_files.idempotency import redis as redis_store
from flask_portkey_files.idempotency import sqlite as sqlite_store
from flask_portkey_files.idempotency.once import make_store as store_of
from flask_portkey_files.idempotency.redis import RedisStore
from flask_portkey_files.idempotency.sqlite import SQLiteStore
from flask_portkey_files.idempotency.store import Store

from .conftest import MakeStore

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kills and forks"),
    # Since Python 3.12, of any other test's thread that is still there.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def some_name() -> str:
    """Return a name that no other test has: Redis is the same for all."""
    return uuid.uuid4().hex


# --- The contract ---------------------------------------------------------------------------


def test_a_text_is_kept_for_other_workers(make_store: MakeStore) -> None:
    name, store = some_name(), make_store()
    assert store.get(name) is None
    with store.claim(name, wait=0) as claim:
        assert claim.get() is None
        assert claim.put("first", 60)
        assert claim.put("second, ünïcode", 60)
    assert make_store().get(name) == "second, ünïcode"
    with make_store().claim(name, wait=0) as claim:
        assert claim.get() == "second, ünïcode"
        claim.drop()
        assert claim.get() is None
    assert store.get(name) is None


def test_what_is_too_old_is_gone(make_store: MakeStore) -> None:
    name, store = some_name(), make_store()
    with store.claim(name, wait=0) as claim:
        assert claim.put("text", 0.05, file="f" + name)
    time.sleep(0.1)
    assert store.get(name) is None
    # And the file may be another one's.
    with store.claim(some_name(), wait=0) as claim:
        assert claim.put("text", 60, file="f" + name)


def test_a_claim_excludes_others_until_it_ends(make_store: MakeStore) -> None:
    name, store, other = some_name(), make_store(), make_store()
    with store.claim(name, wait=0):
        for one in (store, other):
            with pytest.raises(UploadInProgress), one.claim(name, wait=0):
                pass
        with other.claim(some_name(), wait=0):
            pass
        # To read is no claim.
        assert other.get(name) is None
    with other.claim(name, wait=0):
        pass


def test_a_claim_ends_with_an_error_too(make_store: MakeStore) -> None:
    name, store = some_name(), make_store()
    with pytest.raises(KeyError), store.claim(name, wait=0):
        raise KeyError
    with store.claim(name, wait=0):
        pass


def test_a_claim_is_waited_for(make_store: MakeStore) -> None:
    name, store = some_name(), make_store()
    taken, told = threading.Event(), []

    def other() -> None:
        taken.set()
        with make_store().claim(name, wait=20) as claim:
            told.append(claim.get())

    thread = threading.Thread(target=other)
    with store.claim(name, wait=0) as claim:
        thread.start()
        assert taken.wait(20)
        claim.put("done", 60)
    thread.join(20)
    assert told == ["done"]


def test_one_at_a_time(make_store: MakeStore) -> None:
    name, inside, most = some_name(), 0, 0
    lock = threading.Lock()

    def visit() -> None:
        nonlocal inside, most
        with make_store().claim(name, wait=60) as claim:
            with lock:
                inside += 1
                most = max(most, inside)
            claim.put(str(int(claim.get() or "0") + 1), 60)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=visit) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1
    assert make_store().get(name) == "12"


def test_no_two_names_have_one_file(make_store: MakeStore) -> None:
    one, two, file, store = some_name(), some_name(), some_name(), make_store()
    with store.claim(one, wait=0) as first, store.claim(two, wait=0) as second:
        assert first.put("one", 60, file=file)
        assert not second.put("two", 60, file=file)
        assert second.get() is None
        assert first.put("one again", 60, file=file)
        assert second.put("two", 60, file=some_name())


def _claim_and_wait(store: Store, name: str, ready: object) -> None:
    with store.claim(name, wait=0) as claim:
        claim.put("of the killed one", 60)
        ready.set()  # type: ignore[attr-defined]
        time.sleep(60)


def test_a_killed_process_leaves_what_it_noted_and_no_claim(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "HELD", 1.0)
    context = multiprocessing.get_context("fork")
    name, store, ready = some_name(), make_store(), context.Event()
    process = context.Process(target=_claim_and_wait, args=(store, name, ready))
    process.start()
    assert ready.wait(20)
    with pytest.raises(UploadInProgress), store.claim(name, wait=0):
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    with store.claim(name, wait=20) as claim:
        assert claim.get() == "of the killed one"


def _use(store: Store, name: str) -> None:
    with store.claim(name, wait=0) as claim:
        claim.put("child", 60)


def test_a_store_that_was_used_goes_over_a_fork(make_store: MakeStore) -> None:
    context = multiprocessing.get_context("fork")
    store, names = make_store(), [some_name() for _ in range(4)]
    with store.claim(some_name(), wait=0) as claim:
        claim.put("parent", 60)
    processes = [context.Process(target=_use, args=(store, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 4
    assert [store.get(name) for name in names] == ["child"] * 4


# --- SQLite ---------------------------------------------------------------------------------


def test_nothing_is_made_before_it_is_used(tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path / "uploads"))
    assert not (tmp_path / "uploads").exists()
    store.get("0")
    assert (tmp_path / "uploads").exists()


def test_files_are_this_users_alone(tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path / "uploads"))
    name = some_name()
    with store.claim(name, wait=0) as claim:
        claim.put("text", 60)
        # The database, its journal and two locks.
        paths = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(paths) == 4
        assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_no_lock_is_left(tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path / "uploads"))
    with store.claim(some_name(), wait=0):
        assert list((tmp_path / "uploads" / "locks").iterdir())
    assert not list((tmp_path / "uploads" / "locks").iterdir())


def test_locks_of_killed_processes_are_swept(tmp_path: Path) -> None:
    SQLiteStore(str(tmp_path / "uploads")).get("0")
    locks = tmp_path / "uploads" / "locks"
    for name in ("old", "new", "held"):
        (locks / name).touch()
    for name in ("old", "held"):
        os.utime(locks / name, (1, 1))
    with ExitStack() as stack:
        lock = FileLock(locks / "held")
        stack.enter_context(lock.acquire())
        os.utime(locks / "held", (1, 1))
        SQLiteStore(str(tmp_path / "uploads")).get("0")
        assert {path.name for path in locks.iterdir()} == {"new", "held"}


def test_expired_rows_are_removed(tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path))
    for number in range(3):
        with store.claim(f"{number}", wait=0) as claim:
            claim.put("text", 0.01 if number < 2 else 60)
            time.sleep(0.02)
    connection = sqlite3.connect(tmp_path / "uploads.sqlite3")
    assert connection.execute("SELECT name FROM uploads").fetchall() == [("2",)]
    connection.close()


def test_the_default_folder_must_be_this_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    folder = sqlite_store.default_folder()
    assert folder.parent == tmp_path
    SQLiteStore().get("0")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with caplog.at_level(logging.ERROR), pytest.raises(IdempotencyUnavailable):
        SQLiteStore().get("0")
    assert "not this user's alone" in caplog.text
    folder.chmod(0o700)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IdempotencyUnavailable):
        SQLiteStore().get("0")


def test_the_default_folder_is_looked_at_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders for temporary files are cleaned up, and then anybody may make one there."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    folder = sqlite_store.default_folder()
    store = SQLiteStore()
    _use(store, "1")
    folder.chmod(0o755)
    with pytest.raises(IdempotencyUnavailable):
        store.get("1")
    with pytest.raises(IdempotencyUnavailable):
        _use(store, "2")


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that may write nowhere: who sends no key is not disturbed."""

    def fail() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    store = SQLiteStore()
    with pytest.raises(IdempotencyUnavailable):
        store.get("0")
    with pytest.raises(IdempotencyUnavailable):
        _use(store, "0")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "uploads.sqlite3").write_bytes(
        b"this is no database, but it is long enough" * 9
    )
    with pytest.raises(IdempotencyUnavailable):
        SQLiteStore(str(tmp_path)).get("0")
    with pytest.raises(IdempotencyUnavailable), SQLiteStore(str(tmp_path)).claim("0", wait=0):
        pass


def test_a_database_that_is_removed_is_made_anew(tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path / "uploads"))
    _use(store, "1")
    for path in (tmp_path / "uploads").glob("uploads*"):
        path.unlink()
    assert store.get("1") is None
    _use(store, "1")
    assert store.get("1") == "child"


def test_what_is_open_stays_locked(tmp_path: Path) -> None:
    """To open and close SQLite's file beside it would end its locks in this process."""
    _use(SQLiteStore(str(tmp_path)), "1")
    database = tmp_path / "uploads.sqlite3"
    connection = sqlite3.connect(database)
    connection.execute("BEGIN IMMEDIATE")
    # As a second blueprint in this process does first.
    assert SQLiteStore(str(tmp_path)).get("1") == "child"
    code = (
        "import sys, sqlite3; connection = sqlite3.connect(sys.argv[1], timeout=0); "
        "connection.execute('BEGIN IMMEDIATE')"
    )
    command = [sys.executable, "-c", code, str(database)]
    other = subprocess.run(command, check=False, timeout=30, capture_output=True, text=True)
    assert "database is locked" in other.stderr
    connection.close()


# --- Redis ----------------------------------------------------------------------------------


def test_a_claim_is_extended_while_it_lasts(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "HELD", 0.3)
    name, store = some_name(), RedisStore(redis_url)
    with store.claim(name, wait=0) as claim:
        time.sleep(1)
        with pytest.raises(UploadInProgress), RedisStore(redis_url).claim(name, wait=0):
            pass
        assert claim.put("text", 60)


def test_a_lost_claim_changes_nothing(redis_url: str) -> None:
    name, store = some_name(), RedisStore(redis_url)
    with store.claim(name, wait=0) as claim:
        # As after a pause that was longer than the lock lives.
        store._client.delete(f"portkey-files:{name}:lock")
        with store.claim(name, wait=0) as other:
            other.put("other", 60)
            for change in (lambda: claim.put("first", 60), claim.drop):
                with pytest.raises(IdempotencyUnavailable):
                    change()
        assert store.get(name) == "other"


def test_a_redis_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    store = RedisStore("redis://:hidden-password@127.0.0.1:1/0")
    with pytest.raises(IdempotencyUnavailable):
        store.get("0")
    with pytest.raises(IdempotencyUnavailable), store.claim("0", wait=0):
        pass
    assert "hidden-password" not in caplog.text


# --- The setting ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"),
    [("off", type(None)), ("OFF", type(None)), (None, SQLiteStore), ("/tmp/x", SQLiteStore)],
)
def test_the_setting_picks_the_store(value: str | None, kind: type) -> None:
    config = {"PORTKEY_FILES_IDEMPOTENCY": value}
    assert type(store_of(Settings.from_mapping(config))) is kind


def test_the_setting_picks_redis() -> None:
    settings = Settings.from_mapping({"PORTKEY_FILES_IDEMPOTENCY": "redis://127.0.0.1:1/0"})
    assert type(store_of(settings)) is RedisStore
    assert "redis://" not in repr(settings)


@pytest.mark.parametrize("value", ["http://127.0.0.1/", "/not/there/at/all"])
def test_a_setting_that_is_none(value: str) -> None:
    with pytest.raises(ValueError, match="PORTKEY_FILES_IDEMPOTENCY must be a folder"):
        Settings.from_mapping({"PORTKEY_FILES_IDEMPOTENCY": value})


def test_redis_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ValueError, match=r"flask-portkey-files\[redis\]"):
        store_of(Settings(idempotency="redis://127.0.0.1/0"))
