"""Two tenants at once, hundreds of calls: none sees anything of another's."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from ..support.gunicorn import Gunicorn
from ..support.upstream import Connection, Upstream

TENANTS = ("anna", "bert", "carl")
CALLS = 450
SIZE = 60_000


class Provider:
    """Keeps connections open, sets cookies, and marks all that it says with whom it says it to.

    Every few calls it breaks off, or says more than it should.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.uploads: Counter[str] = Counter()
        #: Which tenants came over each connection.
        self.shared: list[set[str]] = []
        self._lock = threading.Lock()

    def __call__(self, conn: Connection) -> None:
        conn.sock.settimeout(30)
        seen: set[str] = set()
        with self._lock:
            self.shared.append(seen)
        while head := conn.read_head():
            tenant = (conn.header("Authorization") or "").removeprefix("Bearer key-of-")
            body, complete = conn.read_body()
            seen.add(tenant)
            self._check(tenant, head + body)
            if not self._answer(conn, head, tenant, complete):
                return

    def _check(self, tenant: str, got: bytes) -> None:
        others = [name for name in TENANTS if name != tenant and name.encode() in got]
        cookie = re.search(rb"(?im)^cookie:", got)
        if tenant not in TENANTS or others or cookie:
            with self._lock:
                self.faults.append(f"{tenant} came with {others} {cookie}")

    def _answer(self, conn: Connection, head: bytes, tenant: str, complete: bool) -> bool:
        """Answer, and return whether the connection goes on."""
        mark = tenant.encode()
        if head.startswith(b"POST") and complete:
            with self._lock:
                self.uploads[tenant] += 1
        whole = mark * (SIZE // len(mark))
        if b"/content" not in head:
            whole = json.dumps({"id": f"file-of-{tenant}", "object": "file"}).encode()
        cookies = (f"Set-Cookie: session={tenant}; Path=/", "Connection: keep-alive")
        fate = random.random()
        if fate < 0.1:  # Breaks off in the middle.
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole))
            conn.send(whole[: len(whole) // 2])
            return False
        if fate < 0.2:  # Says more than it should: an answer to nobody behind the other.
            more = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nleft by " + mark
            conn.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole + more
            )
            return True
        if fate < 0.3:
            conn.answer(
                b'{"error": {"message": "%b"}}' % mark, status="500 No", headers=cookies
            )
            return True
        conn.answer(whole, headers=cookies)
        return True


def call(url: str, number: int) -> str:
    """Make one call, and return what came of it."""
    tenant = TENANTS[number % len(TENANTS)]
    others = [name for name in TENANTS if name != tenant]
    headers = {
        "x-portkey-provider": "local",
        "Authorization": f"Bearer key-of-{tenant}",
        "Cookie": f"session={tenant}",
        "x-portkey-trace-id": tenant,
    }
    kind = number // len(TENANTS) % 5
    pause = threading.Event()
    with (
        requests.Session() as session,
        contextlib.closing(
            session.request(
                ("POST", "GET", "GET", "GET", "DELETE")[kind],
                url + ("", "", "/file-1", "/file-1/content", "/file-1")[kind],
                headers=headers,
                data={"purpose": f"batch-{tenant}"} if kind == 0 else None,
                files={"file": (f"{tenant}.jsonl", tenant.encode() * 5000)}
                if kind == 0
                else None,
                stream=True,
                timeout=60,
            )
        ) as response,
    ):
        assert "Set-Cookie" not in response.headers
        if number % 17 == 0:  # Leaves in the middle.
            next(response.iter_content(100), b"")
            return "left"
        try:
            body = b"".join(response.iter_content(8192))
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return "broken"
        pause.wait(number % 3 / 1000)
        assert response.headers["x-portkey-trace-id"] == tenant
    shown = body + repr(response.headers).encode()
    assert not [name for name in others if name.encode() in shown]
    if response.status_code == 200 and kind == 3:
        assert body == tenant.encode() * (SIZE // len(tenant))
    elif response.status_code == 200:
        assert json.loads(body)["id"] == f"file-of-{tenant}"
    else:
        assert response.status_code in {500, 502}
        assert tenant.encode() in body or b"the provider local" in body.lower()
    return str(response.status_code)


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_tenants_at_once(worker: str) -> None:
    provider = Provider()
    options = ["--worker-class", worker, "--workers", "2"]
    options += ["--threads", "12"] if worker == "gthread" else []
    with Upstream(provider) as upstream:
        # Few connections, so that they are handed from tenant to tenant.
        env = {"EXAMPLE_STORE_URL": upstream.url, "PORTKEY_FILES_POOL_SIZE": "4"}
        with (
            Gunicorn(env=env, arguments=(*options, "--graceful-timeout", "1")) as gunicorn,
            ThreadPoolExecutor(24) as threads,
        ):
            url = f"{gunicorn.url}/v1/files"
            began = time.monotonic()
            came = Counter(threads.map(lambda number: call(url, number), range(CALLS)))
            log = gunicorn.log
    assert provider.faults == []
    assert sum(came.values()) == CALLS
    # Each kind of end was there, and most calls went well.
    assert came["200"] > CALLS / 3
    assert min(came[end] for end in ("500", "502", "left")) > 0
    assert came["broken"] + came["502"] > CALLS / 50
    assert set(provider.uploads) == set(TENANTS)
    # Connections went from tenant to tenant, which is what could have gone wrong.
    assert max(len(seen) for seen in provider.shared) == len(TENANTS)
    assert "key-of-" not in log
    assert time.monotonic() - began < 100
