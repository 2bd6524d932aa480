from __future__ import annotations

import multiprocessing
import os
import re
import sqlite3
import stat
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from flask_portkey_files.testing.store import FileStore, StoredFile, UnknownCursorError

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def add(
    store: FileStore,
    name: str = "a.txt",
    content: bytes = b"hello",
    *,
    purpose: str = "user_data",
    expires_in: int | None = None,
) -> StoredFile:
    with store.incoming() as incoming:
        incoming.file.write(content)
        return store.add(
            filename=name, purpose=purpose, content=incoming, expires_in=expires_in
        )


def add_many(data_dir: Path, prefix: str, count: int) -> list[str]:
    store = FileStore(data_dir)
    return [add(store, f"{prefix}-{n}").id for n in range(count)]


def names(store: FileStore, folder: str) -> list[str]:
    return [path.name for path in (store.data_dir / folder).iterdir()]


def test_add_and_get(tmp_path: Path) -> None:
    store = FileStore(tmp_path, clock=Clock())
    stored = add(store, "naïve.txt", b"12345", purpose="batch", expires_in=3600)
    assert re.fullmatch(r"file-[A-Za-z0-9]{24}", stored.id)
    assert store.get(stored.id) == stored
    assert stored.as_object() == {
        "id": stored.id,
        "object": "file",
        "bytes": 5,
        "created_at": 1_700_000_000,
        "expires_at": 1_700_003_600,
        "filename": "naïve.txt",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    path = store.path(stored.id)
    assert path is not None
    assert path.read_bytes() == b"12345"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(store, "incoming") == []


def test_an_upload_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with store.incoming() as incoming:
        incoming.file.write(b"half")
        assert stat.S_IMODE(incoming.path.stat().st_mode) == 0o600
        assert names(store, "incoming") == [incoming.path.name]
    assert names(store, "incoming") == names(store, "blobs") == []
    assert store.list().files == ()


def test_a_failing_database_leaves_no_blob(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with pytest.raises(sqlite3.Error), store.incoming() as incoming:
        store.add(filename=None, purpose="batch", content=incoming)  # type: ignore[arg-type]
    assert names(store, "incoming") == names(store, "blobs") == []


def test_unknown_ids(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for file_id in ("file-none", "../files.sqlite3", ""):
        assert store.get(file_id) is None
        assert store.path(file_id) is None
        assert store.delete(file_id) is False
    with pytest.raises(UnknownCursorError):
        store.list(after="file-none")


def test_delete(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    kept, gone = add(store), add(store)
    assert store.delete(gone.id) is True
    assert store.delete(gone.id) is False
    assert store.get(gone.id) is None
    assert names(store, "blobs") == [kept.id]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_are_stable_within_one_second(tmp_path: Path, order: str) -> None:
    store = FileStore(tmp_path, clock=Clock())
    ids = [add(store, str(n)).id for n in range(7)]
    seen: list[str] = []
    sizes = []
    after = None
    while True:
        page = store.list(limit=3, order=order, after=after)  # type: ignore[arg-type]
        seen += [stored.id for stored in page.files]
        sizes.append(len(page.files))
        if not page.has_more:
            break
        after = page.files[-1].id
        # What arrives meanwhile must not move what is still to come.
        if order == "desc":
            add(store, "late")
    assert seen == (ids if order == "asc" else ids[::-1])
    assert sizes == [3, 3, 1]


def test_order_follows_the_clock_before_the_number(tmp_path: Path) -> None:
    clock = Clock()
    store = FileStore(tmp_path, clock=clock)
    newer = add(store)
    clock.now -= 10
    older = add(store)
    assert store.list(order="asc").files == (older, newer)
    assert store.list(order="asc", after=older.id).files == (newer,)


def test_list_filters_by_purpose(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    batch, other, batch_2 = (add(store, purpose=p) for p in ("batch", "evals", "batch"))
    assert store.list(purpose="batch").files == (batch_2, batch)
    # A cursor may be any file, also one the filter leaves out.
    assert store.list(purpose="batch", after=other.id).files == (batch,)
    page = store.list(purpose="batch", limit=2)
    assert page.has_more is False
    assert store.list(purpose="vision").files == ()


def test_expired_files_are_invisible_then_purged(tmp_path: Path) -> None:
    clock = Clock()
    store = FileStore(tmp_path, clock=clock)
    expiring, kept = add(store, expires_in=3600), add(store)
    clock.now += 3599.9
    assert store.get(expiring.id) == expiring
    clock.now += 0.1
    assert store.get(expiring.id) is None
    assert store.path(expiring.id) is None
    assert store.delete(expiring.id) is False
    assert expiring.id in names(store, "blobs")
    with pytest.raises(UnknownCursorError):
        store.list(after=expiring.id)
    assert store.list().files == (kept,)
    assert names(store, "blobs") == [kept.id]


def test_files_survive_a_restart(tmp_path: Path) -> None:
    first = FileStore(tmp_path)
    stored = add(first, content=b"still here")
    second = FileStore(tmp_path)
    assert second.get(stored.id) == stored
    path = second.path(stored.id)
    assert path is not None
    assert path.read_bytes() == b"still here"
    assert second.list().files == (stored,)


def test_only_old_leftovers_are_removed(tmp_path: Path) -> None:
    clock = Clock()
    store = FileStore(tmp_path, clock=clock)
    stored = add(store)
    path = store.path(stored.id)
    assert path is not None
    ages = {"young": 23 * 3600, "old": 25 * 3600}
    for folder in ("incoming", "blobs"):
        for name, age in ages.items():
            leftover = tmp_path / folder / name
            leftover.write_bytes(b"x")
            os.utime(leftover, (clock.now - age,) * 2)
    os.utime(path, (clock.now - 99 * 3600,) * 2)
    again = FileStore(tmp_path, clock=clock)
    assert names(again, "incoming") == ["young"]
    assert sorted(names(again, "blobs")) == sorted(["young", stored.id])


def test_threads_add_at_once(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda n: add(store, str(n)).id, range(40)))
    assert {stored.id for stored in store.list().files} == set(ids)
    assert len(set(ids)) == 40


def test_processes_create_and_fill_one_store_at_once(tmp_path: Path) -> None:
    # spawn: a forked copy of a process with threads may hang on their locks.
    context = multiprocessing.get_context("spawn")
    data_dir = tmp_path / "shared"
    with ProcessPoolExecutor(3, mp_context=context) as pool:
        jobs = [pool.submit(add_many, data_dir, str(n), 15) for n in range(3)]
        ids = {file_id for job in jobs for file_id in job.result()}
    store = FileStore(data_dir)
    assert {stored.id for stored in store.list().files} == ids
    assert set(names(store, "blobs")) == ids
    assert len(ids) == 45
    assert names(store, "incoming") == []
