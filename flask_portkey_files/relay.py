"""Runs a call: resolves it, talks to the provider, and streams the answer back."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from flask import Flask, Response, current_app, g, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_input_stream

from .body import RequestBody, request_too_large
from .call import FilesCall, Operation
from .digest import REQUEST_HEADER
from .errors import FilesError, HeadersTooLarge, TooManyUploads, UpstreamError
from .form import UploadForm
from .headers import downstream_headers
from .idempotency.once import Once, Upload, make_store
from .idempotency.scope import Scope, key_of
from .journey import Journeys
from .multipart import FormReader, file_too_large, read_form
from .origin import check_origin, origins
from .pace import Watch
from .progress import Progress
from .providers import Provider
from .providers.base import (
    Answer,
    Reshaped,
    invalid_file_id,
)
from .resolver import Resolver
from .response import (
    Stream,
    client_connection,
    error_response,
    http_error_response,
    json_response,
    linger,
    make_response,
    tell_digest,
)
from .routing import (
    Conditional,
    Fallback,
    Leg,
    LoadBalance,
    Plan,
    Route,
    Target,
    candidates,
    legs,
    plan,
)
from .settings import KIB, Settings
from .signals import call_started
from .spool import SpoolSpace
from .uwsgi import ChunkedInput, is_uwsgi

logger = logging.getLogger("flask_portkey_files")

#: An answer up to this size is read whole before the client gets its status, so that one that
#: is cut short is a clean 502.
WHOLE_ANSWER = 256 * KIB

#: Where a request keeps its calls, what ends what they have begun, and its responses.
OPEN_CALLS = "_portkey_files_calls"
CLOSERS = "_portkey_files_closers"
RESPONSES = "_portkey_files_responses"

_ESCAPED = re.compile(r"%2f|%5c", re.IGNORECASE)


class Relay:
    """What a mounted blueprint does with a call.

    :param app: the application that it is mounted in, the sender of the signals.
    :param resolver: picks the target of each call.
    :param providers: the providers by name.
    :param settings: the application's settings.
    :param idempotency_scope: says whose an ``Idempotency-Key`` is.
    :raises ValueError: a setting is not valid.
    """

    def __init__(
        self,
        *,
        app: Flask,
        resolver: Resolver,
        providers: Mapping[str, Provider],
        settings: Settings,
        idempotency_scope: Scope | None = None,
    ) -> None:
        self._app = app
        self._resolver = resolver
        self._settings = settings
        #: The providers that there are, by name.
        self.providers = providers
        self._trusted_origins = origins(settings.trusted_origins or "")
        self._journeys = Journeys(providers, settings)
        self._uploads = threading.BoundedSemaphore(settings.max_uploads)
        self._space = SpoolSpace(settings.spool_total, sender=app)
        self._watch = Watch(settings)
        store = make_store(settings)
        self._once: Once | None = None
        if store is not None:
            self._once = Once(store, settings, self._journeys, idempotency_scope)
        # What is sent again is known by its digest.
        self._digesting = replace(settings, digest=True)

    @property
    def resolver(self) -> Resolver:
        """Who picks the route of each call."""
        return self._resolver

    @property
    def settings(self) -> Settings:
        """The settings that it was made with."""
        return self._settings

    def run(self, call: FilesCall) -> Response:
        """Return the response to *call*. Has to be called within its request context."""
        progress = Progress(self._app, call)
        progress.deadline = time.monotonic() + self._settings.total_timeout
        g.setdefault(OPEN_CALLS, []).append(progress)
        if call.operation is Operation.UPLOAD:
            progress.body = _request_body()
        try:
            if call_started.receivers:
                call_started.send(self._app, call=call)
            response = self._answer(call, progress)
        except FilesError as error:
            response = error_response(error)
            progress.error = error.code
            if isinstance(error, UpstreamError):
                logger.warning("%s: %s", call.operation, error)
                logger.debug("%s failed", call.operation, exc_info=error)
        except HTTPException as error:  # From the resolver, most likely flask.abort().
            response = http_error_response(error)
        except Exception:
            progress.fail()
            progress.finish()
            raise
        progress.status = response.status_code
        _mark(response, call, progress)
        try:
            progress.answer(response)
        except Exception:
            progress.fail()
            response.close()
            progress.finish()
            raise
        if not response.direct_passthrough:
            progress.bytes_out = len(response.get_data()) if call.method != "HEAD" else 0
            response.call_on_close(progress.finish)
            connection = client_connection()
            if connection:
                self._look_after(response, connection, progress)
            if connection and progress.body and not progress.body.ended and not _is_read():
                linger(response, progress.body, connection)
        g.setdefault(RESPONSES, []).append(response)
        return response

    def _look_after(
        self, response: Response, connection: socket.socket, progress: Progress
    ) -> None:
        """Give the client up if it does not take a whole answer."""
        pace = self._watch.taker(connection, progress.deadline)
        pace.begin(progress.bytes_out)
        release = partial(self._watch.release, pace)
        response.call_on_close(release)
        g.setdefault(CLOSERS, []).append(release)

    def targets(self, call: FilesCall) -> list[Leg]:
        """Return every target that *call* may come to, without making it.

        Has to be called within a request context, for the resolver's sake.

        :raises FilesError: the resolver refuses the call; it may raise anything else too.
        """
        return list(candidates(self._route(call), call))

    def probe(self, target: Target, call: FilesCall) -> Answer:
        """Make *call* to one target, once. Who calls this closes the answer's response.

        :raises FilesError: there is no answer.
        """
        return self._journeys.ask(target, call)

    def _route(self, call: FilesCall) -> Route:
        route = self._resolver(call)
        if not isinstance(route, (Target, Fallback, LoadBalance, Conditional)):
            raise TypeError(
                f"the resolver returned {type(route).__name__}, not a Target or a strategy"
            )
        return route

    def _answer(self, call: FilesCall, progress: Progress) -> Response:
        _check_headers(self._settings.max_header_bytes)
        file_id = call.file_id
        if (
            file_id is not None
            and not file_id.startswith(("s3://", "gs://"))
            and _ESCAPED.search(raw_path())
        ):
            # The server has unescaped it by now: what looks like an id followed by `/content`
            # may have been a single segment.
            raise invalid_file_id()
        if call.operation is Operation.UPLOAD:
            check_origin(call.headers, request.host, self._trusted_origins)
        route = self._route(call)
        trip = plan(route, call)
        if call.operation is not Operation.UPLOAD:
            return self._respond(self._journeys.go(trip, call, None, progress), call, progress)
        live = self._may_be_live(trip, call, progress)
        key = None if self._once is None else key_of(call)
        if self._once is None or key is None:
            with self._received(call, progress, self._settings, live) as form:
                return self._send(trip, call, progress, form)
        # An answer that is kept must suit whoever asks again.
        call = replace(call, headers=_without(call.headers, "accept-encoding"))
        upload = Upload(
            call=call,
            legs=tuple(candidates(route, call)),
            progress=progress,
            live=live,
            receive=partial(self._received, call, progress, self._digesting),
            send=partial(self._send, trip, call, progress),
        )
        return self._once.run(key, upload, _place())

    @contextlib.contextmanager
    def _received(
        self, call: FilesCall, progress: Progress, settings: Settings, live: bool
    ) -> Iterator[UploadForm]:
        """Read an upload up to where it can be sent on, and let go of it in the end.

        :param live: whether the file may be passed on while it arrives.
        """
        if not self._uploads.acquire(blocking=False):
            raise TooManyUploads
        try:
            body = progress.body
            assert body is not None  # noqa: S101 - it is there for each upload
            if connection := client_connection():
                body.pace = self._watch.sender(connection, progress.deadline)
            reader = progress.reader = self._form_reader(body)
            form = read_form(
                reader,
                settings,
                live=live,
                space=self._space,
                sha256=call.headers.get(REQUEST_HEADER),
            )
            try:
                yield form
            finally:
                form.close()
        finally:
            self._uploads.release()
            if progress.body and progress.body.pace:
                self._watch.release(progress.body.pace)

    def _send(
        self, trip: Plan, call: FilesCall, progress: Progress, form: UploadForm
    ) -> Response:
        """Take an upload to its target and return what comes of it."""
        answer = self._journeys.go(trip, call, form, progress)
        response = self._respond(answer, call, progress)
        if answer.status < 300:
            tell_digest(response, form, progress)
        return response

    def _may_be_live(self, trip: Plan, call: FilesCall, progress: Progress) -> bool:
        """Return whether an upload's file can be passed on as it arrives.

        :raises FilesError: the upload can't work, whatever its form.
        """
        live = isinstance(trip, Leg) and not trip.target.retry.attempts
        for leg in legs(trip):
            progress.provider, progress.option = leg.target.provider, leg.path
            provider = self._journeys.check(leg.target, call)
            live = live and not provider.needs_length
        return live

    def _form_reader(self, body: RequestBody) -> FormReader:
        """Return the reader of the client's form.

        :raises PayloadTooLarge: the client announced more than an upload may have.
        """
        if _is_read():
            raise RuntimeError(
                "the upload's body has been read before the relay got it: the resolver, or "
                "something that runs before it, used request.form, .files, .values or "
                ".get_data()"
            )
        announced = request.content_length or 0
        body.most = request.max_content_length
        if body.most is not None and announced > body.most:
            raise request_too_large()
        if announced > self._settings.max_bytes + self._settings.max_form_bytes:
            raise file_too_large(self._settings)
        return FormReader(body, request.headers.get("Content-Type", ""), self._settings)

    def _respond(self, answer: Answer, call: FilesCall, progress: Progress) -> Response:
        """Turn what a conversation came to into the client's response."""
        upstream = answer.response
        headers = downstream_headers(upstream.headers)
        stream = Stream(upstream, progress, self._watch)
        try:
            if isinstance(answer, Reshaped):
                stream.read_ahead(1)  # A connection is kept only if the answer was read.
                upstream.close()
                return json_response(answer.body, answer.status, headers)
            content = call.operation is Operation.CONTENT
            upstream.hurry(whole=not content)
            whole = stream.read_ahead(1 if content else WHOLE_ANSWER)
            upstream.hurry(whole=False)
        except BaseException:
            upstream.close()
            raise
        if stream.ahead:
            # The contract says what it is where the provider does not, and a browser that
            # guesses could take a file for a page of the host's.
            binary = content and upstream.status < 400
            default = "application/octet-stream" if binary else "application/json"
            headers.setdefault("Content-Type", default)
        if not whole:
            response = make_response(stream, upstream.status, headers)
            # Without this, a hook of the host's that looks at the data would hold all of it.
            response.direct_passthrough = True
            g.setdefault(CLOSERS, []).append(stream.close)
            return response
        upstream.close()
        if call.method == "HEAD":
            # No sequence: its length would become the Content-Length.
            return make_response(iter(()), upstream.status, headers)
        return make_response([stream.ahead], upstream.status, headers)


def _check_headers(most: int) -> None:
    """Refuse a call with a header whose value is longer than *most* bytes.

    :raises HeadersTooLarge: there is one.
    """
    for name, value in request.environ.items():
        if (name[:5] == "HTTP_" or name == "CONTENT_TYPE") and len(value) > most:
            header = name.removeprefix("HTTP_").replace("_", "-").lower()
            raise HeadersTooLarge(
                f"The header {header} has more than {most} bytes.", param=header
            )


def _without(headers: Headers, name: str) -> Headers:
    return Headers([item for item in headers if item[0].lower() != name])


def _mark(response: Response, call: FilesCall, progress: Progress) -> None:
    """Put Portkey's headers on the client's response."""
    # The provider's own headers of these names have been left out.
    response.headers.add("x-portkey-trace-id", call.trace_id)
    response.headers.add("x-portkey-retry-attempt-count", str(progress.retries))
    if progress.provider is not None:
        response.headers.add("x-portkey-provider", progress.provider)
        response.headers.add("x-portkey-last-used-option-index", progress.option)


def _request_body() -> RequestBody:
    """Return the client's request body, unread.

    Not ``request.stream``: that refuses a body above ``MAX_CONTENT_LENGTH`` before the
    resolver, which may change that limit for this request, has run.
    """
    length = request.content_length
    if is_uwsgi(request.environ) and request.headers.get("Transfer-Encoding"):
        return RequestBody(ChunkedInput(), content_length=length)
    return RequestBody(get_input_stream(request.environ), content_length=length)


def _place() -> list[object]:
    """Return what tells apart where a request came in, from every other place of a service."""
    path = request.script_root + request.path
    # A variable may also be in the name of the host.
    variables = sorted((name, str(value)) for name, value in (request.view_args or {}).items())
    user = request.environ.get("REMOTE_USER")
    return [current_app.name, request.blueprint, path, variables, user]


def raw_path() -> str:
    """Return the path as the client wrote it, empty where the WSGI server does not say."""
    environ = request.environ
    raw: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    return raw.partition("?")[0]


def close_open(error: BaseException | None = None) -> None:
    """Close what a failed request leaves open: its response will not be sent.

    Registered as the blueprint's ``teardown_request`` function.
    """
    calls: list[Progress] = g.pop(OPEN_CALLS, [])
    closers: list[Callable[[], None]] = g.pop(CLOSERS, [])
    if error is not None:
        for progress in calls:
            progress.fail()
        for close in closers:
            close()
        for progress in calls:
            progress.finish()


def close_together(sender: Flask, response: Response) -> None:  # noqa: ARG001 - the signal's
    """Have the blueprint's responses closed with *response*, which goes out in their place.

    A hook of the host's may have put it there, with their content in it or without. Registered
    as a receiver of Flask's ``request_finished``.
    """
    for replaced in g.pop(RESPONSES, []):
        if replaced is not response:
            response.call_on_close(replaced.close)


def _is_read() -> bool:
    """Return whether Flask has read the request's body already."""
    return "form" in vars(request) or getattr(request, "_cached_data", None) is not None
