"""How to serve the gateway: threads, since a transfer spends its time waiting.

Used by ``python -m example_app`` and by
``gunicorn -c example_app/gunicorn.conf.py 'example_app:create_app()'``.
"""

from __future__ import annotations

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
