"""Runs a call: resolves it, talks to the provider, and streams the answer back."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping

from flask import Flask, Response, current_app, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from .call import FilesCall, Operation
from .errors import BrokenTransfer, FilesError, PayloadTooLarge, UpstreamError
from .headers import downstream_headers
from .multipart import FormReader, RequestBody, file_too_large, read_form
from .providers import Provider
from .providers.base import Answer, Conversation, Reshaped, UpstreamResponse
from .resolver import Resolver, invalid_provider
from .routing import Target
from .settings import KIB, Settings
from .signals import Outcome, call_finished, call_started
from .transport import Transport

logger = logging.getLogger("flask_portkey_files")

#: An answer up to this size is read whole before the client gets its status, so that one that
#: is cut short is a clean 502.
WHOLE_ANSWER = 256 * KIB

#: Headers that no longer fit a body that was made anew.
_BODY_HEADERS = ("Content-Encoding", "Content-Length", "Content-MD5", "Content-Digest", "ETag")


class Relay:
    """What a mounted blueprint does with a call.

    :param resolver: picks the target of each call.
    :param providers: the providers by name.
    :param settings: the application's settings.
    """

    def __init__(
        self, *, resolver: Resolver, providers: Mapping[str, Provider], settings: Settings
    ) -> None:
        self._resolver = resolver
        self._providers = providers
        self._settings = settings
        self._transport = Transport(settings)

    def run(self, call: FilesCall) -> Response:
        """Return the response to *call*. Has to be called within its request context."""
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        progress = _Progress(app, call)
        call_started.send(app, call=call)
        try:
            response = self._answer(call, progress)
        except FilesError as error:
            response = error_response(error)
            progress.error = error.code
            if isinstance(error, UpstreamError):
                logger.warning("%s: %s", call.operation, error, exc_info=error)
        except HTTPException as error:
            progress.status = error.code or 500
            progress.finish()
            raise
        except Exception:
            progress.finish()
            raise
        progress.status = response.status_code
        if not response.direct_passthrough:
            if call.method != "HEAD":
                progress.bytes_out = len(response.get_data())
            response.call_on_close(progress.finish)
        return response

    def _answer(self, call: FilesCall, progress: _Progress) -> Response:
        target = self._resolver(call)
        if not isinstance(target, Target):
            raise TypeError(
                f"the resolver returned {type(target).__name__} instead of a Target"
            )
        progress.provider = target.provider
        provider = self._providers.get(target.provider)
        if provider is None:
            raise invalid_provider()
        if call.operation is not Operation.UPLOAD:
            conversation = getattr(provider, call.operation.value)(call, target)
            return self._respond(self._converse(conversation, target), call, target, progress)
        provider.check(call, target)
        progress.body = body = self._request_body()
        form = read_form(
            FormReader(body, request.headers.get("Content-Type", ""), self._settings),
            self._settings,
            live=not provider.needs_length,
        )
        try:
            answer = self._converse(provider.upload(call, target, form), target)
            return self._respond(answer, call, target, progress)
        finally:
            form.close()

    def _request_body(self) -> RequestBody:
        """Return the client's request body, unread.

        :raises PayloadTooLarge: the client announced more than an upload may have.
        """
        if "form" in vars(request) or getattr(request, "_cached_data", None) is not None:
            raise RuntimeError(
                "the upload's body has been read before the relay got it: the resolver, or "
                "something that runs before it, used request.form, .files, .values or "
                ".get_data()"
            )
        length = request.content_length
        limit = self._settings.max_bytes + self._settings.max_form_bytes
        if length is not None and length > limit:
            raise file_too_large(self._settings)
        try:
            return RequestBody(request.stream, content_length=length)
        except HTTPException as error:  # The host application's MAX_CONTENT_LENGTH.
            raise PayloadTooLarge("The request is larger than this service accepts.") from error

    def _converse(self, conversation: Conversation, target: Target) -> Answer:
        """Hold a provider's conversation and return what it comes to."""
        response: UpstreamResponse | None = None
        try:
            upstream_request = next(conversation)
            while True:
                if response is not None:
                    response.close()
                try:
                    response = self._transport.send(upstream_request, provider=target.provider)
                except FilesError as error:
                    # The provider may have something begun to undo.
                    upstream_request = conversation.throw(error)
                else:
                    upstream_request = conversation.send(response)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
        except BaseException:
            if response is not None:
                response.close()
            raise

    def _respond(
        self, answer: Answer, call: FilesCall, target: Target, progress: _Progress
    ) -> Response:
        """Turn what a conversation came to into the client's response."""
        upstream = answer.response
        headers = downstream_headers(upstream.headers)
        stream = _Stream(upstream, progress)
        try:
            if isinstance(answer, Reshaped):
                upstream.close()
                return json_response(answer.body, answer.status, headers)
            if 300 <= upstream.status < 400 and upstream.status != 304:
                raise UpstreamError(
                    f"The provider {target.provider} answered with a redirect "
                    f"({upstream.status}), which is not followed.",
                    code="upstream_redirect",
                )
            whole = stream.read_ahead(
                1 if call.operation is Operation.CONTENT else WHOLE_ANSWER
            )
        except BaseException:
            upstream.close()
            raise
        if stream.ahead:
            # The contract says what it is where the provider does not, and a browser that
            # guesses could take a file for a page of the host's.
            binary = call.operation is Operation.CONTENT and upstream.status < 400
            default = "application/octet-stream" if binary else "application/json"
            headers.setdefault("Content-Type", default)
        if not whole:
            response = _response(stream, upstream.status, headers)
            # Without this, a hook of the host's that looks at the data would hold all of it.
            response.direct_passthrough = True
            return response
        upstream.close()
        if call.method == "HEAD":
            # No sequence: its length would become the Content-Length.
            return _response(iter(()), upstream.status, headers)
        return _response([stream.ahead], upstream.status, headers)


class _Stream:
    """The body of a response: the provider's, as it arrives, broken off if that breaks off."""

    def __init__(self, upstream: UpstreamResponse, progress: _Progress) -> None:
        self._upstream = upstream
        self._blocks = upstream.blocks()
        self._progress = progress
        self._done = False
        #: What has been read and not been handed out.
        self.ahead = b""

    def read_ahead(self, size: int) -> bool:
        """Read until *size* bytes are there, and return whether that was all there is."""
        blocks: list[bytes] = []
        missing = size
        for block in self._blocks:
            blocks.append(block)
            missing -= len(block)
            if missing <= 0:
                break
        self.ahead = b"".join(blocks)
        return missing > 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block, self.ahead = self.ahead, b""
        try:
            block = block or next(self._blocks)
        except StopIteration:
            self._done = True
            raise
        except UpstreamError as error:
            self._progress.error = BrokenTransfer.default_code
            logger.warning("the answer was cut short: %s", error)
            raise BrokenTransfer(error.message) from error
        self._progress.bytes_out += len(block)
        return block

    def close(self) -> None:
        """Let go of the provider; called by the WSGI server, however the response ended."""
        self._upstream.close()
        if not self._done and self._progress.error is None:
            self._progress.error = "client_disconnected"
        self._progress.finish()


class _Progress:
    """What is known of a call while it runs, for the signal at its end."""

    def __init__(self, app: Flask, call: FilesCall) -> None:
        self._app = app
        self._call = call
        self._started = time.monotonic()
        self._finished = False
        self.status = 500
        self.provider: str | None = None
        self.body: RequestBody | None = None
        self.bytes_out = 0
        self.error: str | None = None

    def finish(self) -> None:
        """Send the signal, once."""
        if self._finished:
            return
        self._finished = True
        outcome = Outcome(
            provider=self.provider,
            status=self.status,
            bytes_in=self.body.received if self.body else 0,
            bytes_out=self.bytes_out,
            duration=time.monotonic() - self._started,
            error=self.error,
        )
        call_finished.send(self._app, call=self._call, outcome=outcome)


def _response(
    body: Iterable[bytes], status: int, headers: Headers | Mapping[str, str]
) -> Response:
    response = Response(body, status)
    # Flask gives every response a content type: one that has none keeps none.
    del response.headers["Content-Type"]
    response.headers.extend(headers)
    return response


def json_response(body: object, status: int, headers: Headers | Mapping[str, str]) -> Response:
    """Return *body* as JSON, under *headers* as far as they can still be true of it."""
    data = json.dumps(body, separators=(",", ":")).encode()
    response = _response([data], status, headers)
    for name in _BODY_HEADERS:
        response.headers.pop(name, None)
    response.headers["Content-Type"] = "application/json"
    return response


def error_response(error: FilesError) -> Response:
    """Return the client's response to an error of the gateway's own."""
    return json_response(error.body(), error.status, error.headers)
