"""The store of several machines: Redis, with redis-py's own locks."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import IdempotencyUnavailable, UploadInProgress

if TYPE_CHECKING:
    from redis.lock import Lock

#: For how many seconds a claim outlives its process.
HELD = 10.0

#: For how many seconds Redis is waited for.
PATIENCE = 5.0

_PREFIX = "portkey-files:"

logger = logging.getLogger("flask_portkey_files")


class RedisStore:
    """A store for the workers of several machines. redis-py opens connections anew in a fork.

    :param url: a ``redis://``, ``rediss://`` or ``unix://`` address.
    :raises ValueError: it is none, or the extra ``redis`` is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError:
            raise ValueError(
                "PORTKEY_FILES_IDEMPOTENCY names a Redis server: install "
                "flask-portkey-files[redis]"
            ) from None
        self._errors = (redis.RedisError, OSError)
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
        )

    def get(self, name: str) -> str | None:
        """Return the text under *name*."""
        with self._usable():
            found: Any = self._client.get(_text_key(name))
            return None if found is None else found.decode()

    @contextlib.contextmanager
    def claim(self, name: str, *, wait: float) -> Iterator[RedisClaim]:
        """Hold the lock on *name* for as long as the block lasts."""
        from redis.exceptions import LockError

        # Its token has to be known to the thread that extends it.
        lock = self._client.lock(f"{_PREFIX}{name}:lock", timeout=HELD, thread_local=False)
        with self._usable():
            if not lock.acquire(blocking_timeout=wait):
                raise UploadInProgress
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(lock, over), daemon=True)
        keeper.start()
        try:
            yield RedisClaim(self, name, lock)
        finally:
            over.set()
            keeper.join()
            with contextlib.suppress(LockError):  # It was lost, and is another's by now.
                try:
                    lock.release()
                except self._errors as error:
                    if isinstance(error, LockError):
                        raise
                    # It ends by itself.
                    logger.warning("a lock in Redis could not be released: %s", _kind(error))

    def _keep(self, lock: Lock, over: threading.Event) -> None:
        """Extend *lock* again and again until its block is *over*."""
        from redis.exceptions import LockError

        while not over.wait(HELD / 3):
            try:
                lock.reacquire()
            except LockError:
                return
            except self._errors as error:
                logger.warning("a lock in Redis could not be extended: %s", _kind(error))

    def change(self, name: str, lock: Lock, text: str | None, **options: Any) -> bool:
        """Keep *text* under *name*, or nothing, if *lock* is still held.

        :param options: ``file`` and ``seconds``.
        :return: whether it is kept; it is not if another name has the file.
        """
        file: str | None = options.get("file")
        milliseconds = max(1, round(options.get("seconds", 0) * 1000))
        file_key = f"{_PREFIX}file:{file}"

        def run(pipe: Any) -> bool:
            if pipe.get(lock.name) != lock.local.token:
                logger.error("a lock in Redis was lost while its upload was under way")
                raise IdempotencyUnavailable
            owner = None if file is None else pipe.get(file_key)
            pipe.multi()
            if text is None:
                pipe.delete(_text_key(name))
                return True
            if owner not in {None, name.encode()}:
                return False
            if file is not None:
                pipe.set(file_key, name, px=milliseconds)
            pipe.set(_text_key(name), text, px=milliseconds)
            return True

        with self._usable():
            kept: bool = self._client.transaction(
                run, lock.name, file_key, value_from_callable=True
            )
            return kept

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Turn what redis-py raises into the client's answer."""
        try:
            yield
        except self._errors as error:
            # Without its text, which may have the address in it.
            logger.error("Redis, the store of uploads, can't be used: %s", _kind(error))
            raise IdempotencyUnavailable from error


@dataclass(frozen=True)
class RedisClaim:
    """A name whose lock is held, and extended while it is."""

    _store: RedisStore
    _name: str
    _lock: Lock

    def get(self) -> str | None:
        """Return the text under the name."""
        return self._store.get(self._name)

    def put(self, text: str, seconds: float, *, file: str | None = None) -> bool:
        """Keep *text* under the name."""
        return self._store.change(self._name, self._lock, text, seconds=seconds, file=file)

    def drop(self) -> None:
        """Keep nothing under the name any more."""
        self._store.change(self._name, self._lock, None)


def _text_key(name: str) -> str:
    return f"{_PREFIX}{name}"


def _kind(error: BaseException) -> str:
    return type(error).__name__
