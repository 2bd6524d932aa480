"""How to serve the gateway: threads, since a transfer spends its time waiting.

Used by ``python -m example_app`` and by
``gunicorn -c example_app/gunicorn.conf.py 'example_app:create_app()'``.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from typing import Any

from gunicorn.http.unreader import SocketUnreader

# A sync worker would be killed by `timeout` in the middle of a long transfer; one with threads
# is only asked whether it is alive.
worker_class = "gthread"
workers = 1
# Each transfer holds a thread while it lasts.
threads = 16
# Longer than a client or a proxy in front keeps an idle connection, so that they close it.
keepalive = 75
# How long running transfers may go on after SIGTERM, in seconds.
graceful_timeout = 60

# What is received at once, in bytes, as much as the blueprint reads at once. gunicorn's own
# 1 MiB is copied again with each read, and each upload under way holds that much more. Older
# releases have no such bound; they read 8 KiB.
SocketUnreader.max_body_chunk = 512 * 1024  # type: ignore[attr-defined]


def pre_fork(server: Any, worker: Any) -> None:
    """Give each worker a processor of its own, as far as there are enough."""
    if hasattr(os, "sched_getaffinity"):
        used = Counter(getattr(other, "processor", None) for other in server.WORKERS.values())
        processors = list(os.sched_getaffinity(0))
        # In any order: other servers on this machine may choose as this one does.
        random.shuffle(processors)
        worker.processor = min(processors, key=lambda processor: used[processor])


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Keep the worker where it is.

    Python runs one thread of a process at a time. On several processors the threads wake each
    other across them at every change, and a small request costs nearly twice the time.
    """
    if hasattr(worker, "processor"):
        with contextlib.suppress(OSError):  # Some containers forbid it.
            os.sched_setaffinity(0, {worker.processor})
