"""No key where it does not belong, whatever goes wrong, with all loggers at their loudest."""

from __future__ import annotations

import hmac
import importlib.util
import io
import json
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, got_request_exception
from werkzeug.datastructures import Headers

import flask_portkey_files
from flask_portkey_files import (
    FilesCall,
    HeaderResolver,
    Operation,
    Target,
    create_blueprint,
)
from flask_portkey_files.errors import InvalidCredential
from flask_portkey_files.providers import Conversation, OpenAICompatible, Provider
from flask_portkey_files.redaction import SecretsFilter
from flask_portkey_files.signals import call_finished, call_started

from ..support.parts import require
from ..support.upstream import Connection, Upstream

PACKAGE = str(Path(flask_portkey_files.__file__).parent)
KEY = "k3y-That-M4tters-4711"
GATEWAY_KEY = "g4teway-k3y-4712"

OPERATIONS: tuple[tuple[str, str], ...] = (
    ("POST", "/v1/files"),
    ("GET", "/v1/files"),
    ("GET", "/v1/files/file-1"),
    ("GET", "/v1/files/file-1/content"),
    ("DELETE", "/v1/files/file-1"),
)


class Crashing(OpenAICompatible):
    """A provider whose author made a mistake, when the request is made."""

    def request(self, *arguments: Any, **options: Any) -> Any:
        request = super().request(*arguments, **options)
        raise LookupError(request.method)


class Late(OpenAICompatible):
    """One that fails over the answer."""

    def request(self, *arguments: Any, **options: Any) -> Any:
        return super().request(*arguments, **options)

    def list(self, call: FilesCall, target: Target) -> Conversation:
        response = yield self.request(call, target, call.method, "/files")
        raise LookupError(response.status)


class Report(logging.Handler):
    """What the log has, and what a reporter of crashes would have."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.text = io.StringIO()
        #: The frames that show the key: where, and the variable.
        self.frames: list[tuple[str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text.write(self.format(record) + "\n")
        if record.exc_info and record.exc_info[1]:
            self.crash(record.exc_info[1])

    def crash(self, error: BaseException) -> None:
        """Look at an exception as Sentry and its kin do: with the variables of each frame."""
        whole = traceback.TracebackException.from_exception(error, capture_locals=True)
        queue: list[traceback.TracebackException | None] = [whole]
        seen: set[int] = set()
        while queue:
            part = queue.pop()
            if part is None or id(part) in seen:
                continue
            seen.add(id(part))
            queue += [part.__cause__, part.__context__]
            self.text.write("".join(part.format_exception_only()))
            for frame in part.stack:
                for name, value in (frame.locals or {}).items():
                    if KEY in value or GATEWAY_KEY in value:
                        self.frames.append((frame.filename, frame.name, name))

    @property
    def ours(self) -> list[tuple[str, str, str]]:
        """The frames of the package that show the key."""
        return [frame for frame in self.frames if frame[0].startswith(PACKAGE)]


@pytest.fixture
def report() -> Iterator[Report]:
    """Have all loggers say all they know."""
    handler = Report()
    root = logging.getLogger()
    level, loggers = root.level, ["flask_portkey_files", "urllib3", "requests", "werkzeug"]
    levels = {name: logging.getLogger(name).level for name in loggers}
    root.addHandler(handler)
    root.setLevel(1)
    for name in loggers:
        logging.getLogger(name).setLevel(1)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def half(conn: Connection) -> None:
    """Break off in the middle of an answer."""
    while conn.read_head():
        conn.read_body()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{")
        return


def refusing(conn: Connection) -> None:
    """Refuse, with a cookie."""
    while conn.read_head():
        conn.read_body()
        conn.answer(b'{"error": {}}', status="401 No", headers=("Set-Cookie: a=b",))


def silent(conn: Connection) -> None:
    """Close without a word."""
    conn.read_head()


def calls(app: Flask, headers: Mapping[str, str], report: Report) -> list[int]:
    """Make each call, and return the statuses; nothing that comes back has the key."""
    told: list[str] = []

    def crashed(sender: Flask, exception: BaseException, **_: Any) -> None:
        report.crash(exception)

    def tell(sender: Flask, **values: Any) -> None:
        told.append(repr(values))

    statuses = []
    with (
        got_request_exception.connected_to(crashed, app),
        call_started.connected_to(tell, app),
        call_finished.connected_to(tell, app),
    ):
        for method, path in OPERATIONS:
            form = {"purpose": "batch", "file": (io.BytesIO(b"{}\n"), "data.jsonl")}
            data: Any = form if method == "POST" else None
            response = app.test_client().open(path, method=method, data=data, headers=headers)
            try:
                body = response.get_data()
            except Exception as error:
                report.crash(error)
                body = b""
            shown = f"{response.headers} {body!r} {told}"
            assert KEY not in shown
            assert GATEWAY_KEY not in shown
            statuses.append(response.status_code)
            response.close()
    return statuses


def application(url: str, resolver: Any = None, **options: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(
        PORTKEY_FILES_ALLOWED_HOSTS="127.0.0.1", PORTKEY_FILES_READ_TIMEOUT=5, TESTING=False
    )
    providers: dict[str, Provider | str] = {
        "acme": f"{url}/v1",
        "crashing": Crashing(f"{url}/v1"),
        "late": Late(f"{url}/v1"),
    }
    blueprint = create_blueprint(resolver, providers=providers, **options)
    app.register_blueprint(blueprint, url_prefix="/v1")
    return app


def is_there(part: str) -> bool:
    try:
        return importlib.util.find_spec(part) is not None
    except ModuleNotFoundError:  # Not even the package that it is in.
        return False


def is_kept(report: Report) -> None:
    assert KEY not in report.text.getvalue()
    assert GATEWAY_KEY not in report.text.getvalue()
    assert report.ours == []


AZURE = {
    "x-portkey-provider": "azure-openai",
    "x-portkey-azure-resource-name": "contoso",
}
AWS = {
    "x-portkey-provider": "bedrock",
    "x-portkey-aws-s3-bucket": "bucket",
    "x-portkey-aws-access-key-id": "AKIA-any",
    "x-portkey-aws-secret-access-key": "any",
}
ACME = {"x-portkey-provider": "acme"}

#: Each header that may carry a credential, and what it takes for the call to get far.
CREDENTIALS: dict[str, dict[str, str]] = {
    "bearer": {**ACME, "Authorization": f"Bearer {KEY}"},
    "portkey": {**ACME, "x-portkey-api-key": KEY},
    "crashing": {"x-portkey-provider": "crashing", "Authorization": f"Bearer {KEY}"},
    "late": {"x-portkey-provider": "late", "Authorization": f"Bearer {KEY}"},
    "azure": {**AZURE, "api-key": KEY},
    "azure-token": {**AZURE, "x-portkey-azure-ad-token": KEY},
    "anthropic": {"x-portkey-provider": "anthropic", "x-api-key": KEY},
    "google": {"x-portkey-provider": "google", "x-goog-api-key": KEY},
    "aws-secret": {**AWS, "x-portkey-aws-secret-access-key": KEY},
    "aws-id": {**AWS, "x-portkey-aws-access-key-id": KEY},
    "vertex": {
        "x-portkey-provider": "vertex-ai",
        "x-portkey-vertex-storage-bucket-name": "bucket",
        "Authorization": f"Bearer {KEY}",
    },
    "vertex-account": {
        "x-portkey-provider": "vertex-ai",
        "x-portkey-vertex-storage-bucket-name": "bucket",
        "x-portkey-vertex-service-account-json": json.dumps({"private_key": KEY}),
    },
    "replicate": {
        "x-portkey-provider": "replicate",
        "x-portkey-replicate-owner": "o",
        "x-portkey-replicate-signing-secret": KEY,
        "Authorization": f"Bearer {KEY}",
    },
    "config": {
        "x-portkey-config": json.dumps(
            {
                "strategy": {"mode": "fallback"},
                "targets": [
                    {"provider": "acme", "api_key": KEY, "retry": {"attempts": 1}},
                    {"provider": "crashing", "api_key": KEY},
                ],
            }
        )
    },
    "forwarded": {
        **ACME,
        "Authorization": "Bearer any",
        "x-team-token": KEY,
        "x-portkey-forward-headers": "x-team-token",
    },
    "cookie": {**ACME, "Authorization": "Bearer any", "Cookie": f"session={KEY}"},
    "not-sendable": {
        **ACME,
        "Authorization": f"Bearer {KEY}",
        "x-team": "a\x01b",
        "x-portkey-forward-headers": "x-team",
    },
}

#: What some of these need to get anywhere.
NEEDS = {"aws-secret": "botocore", "aws-id": "botocore", "vertex-account": "google.auth"}

SCRIPTS: dict[str, Callable[[Connection], None]] = {
    "refusing": refusing,
    "half": half,
    "silent": silent,
}


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_what_a_client_sends(credential: str, report: Report) -> None:
    if part := NEEDS.get(credential):
        require(is_there(part), "pip install '.[bedrock,vertex]'")
    headers = CREDENTIALS[credential]
    if credential.startswith("aws"):
        # botocore shows what it signs, which is what the filter is for.
        report.addFilter(SecretsFilter())
    for script in SCRIPTS.values():
        with Upstream(script) as upstream:
            app = application(upstream.url)
            more = {}
            if headers.get("x-portkey-provider") not in {"acme", "crashing", "late", None}:
                more = {"x-portkey-custom-host": upstream.url}
            statuses = calls(app, {**headers, **more}, report)
            # All but what is refused, or crashes, before that gets to the provider.
            assert upstream.connections or set(statuses) <= {400, 401, 404, 500}
            assert report.text.getvalue() or set(statuses) <= {400, 401, 404}
    is_kept(report)


def test_connection_refused_and_name_unknown(report: Report) -> None:
    headers = {**ACME, "Authorization": f"Bearer {KEY}"}
    for url in ("http://127.0.0.1:1", "http://name.invalid", "https://127.0.0.1:1"):
        assert set(calls(application(url), headers, report)) == {502}
    assert "could not" in report.text.getvalue().lower()
    is_kept(report)


def fails(*_: Any) -> Any:
    raise LookupError("the host's own fault")


def test_resolver_that_fails(report: Report) -> None:
    def resolver(call: FilesCall) -> Target:
        Target("acme", api_key=call.headers["Authorization"].removeprefix("Bearer "))
        return Target("acme", api_key=fails())

    app = application("http://127.0.0.1:1", resolver)
    headers = {"Authorization": f"Bearer {KEY}", "x-portkey-api-key": KEY}
    assert set(calls(app, headers, report)) == {500}
    is_kept(report)


@pytest.mark.parametrize("part", ["api_keys", "virtual_keys", "configs"])
def test_callback_that_fails(part: str, report: Report) -> None:
    options: dict[str, Any] = {"api_keys": [GATEWAY_KEY], part: fails}
    app = application("http://127.0.0.1:1", **options)
    inline = {
        "strategy": {"mode": "fallback"},
        "targets": [{"provider": "acme", "api_key": KEY}, {"virtual_key": "a"}],
    }
    for config in ("pc-stored", json.dumps(inline)):
        headers = {
            "x-portkey-api-key": GATEWAY_KEY,
            "x-portkey-config": config,
            "Authorization": f"Bearer {KEY}",
        }
        statuses = set(calls(app, headers, report))
        assert statuses <= {400, 500, 502}
    assert report.frames or "fault" in report.text.getvalue()
    is_kept(report)


def test_stored_keys(report: Report) -> None:
    """They do not show in what is refused at registration either."""
    for bad in ({"a": Target("unknown", api_key=KEY)}, {"a": KEY}):
        try:
            HeaderResolver(virtual_keys=bad, api_keys=[GATEWAY_KEY])  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            report.text.write(str(error))
    with pytest.raises(ValueError, match="line break") as raised:
        Target("acme", api_key=f"{KEY}\n")
    report.text.write(f"{raised.value} {Target('acme', api_key=KEY, options={'a': KEY})!r}")
    is_kept(report)


def test_what_remains_is_not_ours(report: Report) -> None:
    """As the page on security says: Flask's own frame has the request's environment."""
    app = application("http://127.0.0.1:1", fails)
    calls(app, {"Authorization": f"Bearer {KEY}"}, report)
    shown = {(Path(file).parts[-2], function, name) for file, function, name in report.frames}
    assert shown == {("flask", "wsgi_app", "environ")}


@pytest.mark.parametrize("given", ["first-key", "last-key", "another-one", "f"])
def test_a_gateway_key_is_compared_with_all(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that it takes tells neither which one it is nor how near it comes."""
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def watched(a: Any, b: Any) -> bool:
        compared.append((len(a), len(b)))
        return compare(a, b)

    resolver = HeaderResolver(api_keys=["first-key", "other", "last-key"])
    monkeypatch.setattr(hmac, "compare_digest", watched)
    headers = Headers({"x-portkey-api-key": given, "x-portkey-provider": "openai"})
    call = FilesCall(operation=Operation.LIST, headers=headers)
    if given.endswith("-key"):
        resolver(call)
    else:
        with pytest.raises(InvalidCredential):
            resolver(call)
    assert compared == [(32, 32)] * 3
