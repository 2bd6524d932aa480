"""A call's way to the targets of its plan: conversations, retries and fallbacks."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from werkzeug.datastructures import Headers

from .backoff import wait
from .call import FilesCall, Operation
from .egress import EgressPolicy, EgressRefused
from .errors import (
    FilesError,
    InvalidRoute,
    UpstreamError,
    UpstreamTimeout,
    invalid_provider,
)
from .form import UploadForm
from .progress import OpenAttempt, Progress
from .providers import Provider
from .providers.base import Answer, Conversation, Relayed, Reshaped, UpstreamResponse
from .providers.shape import Refusal
from .routing import Chain, Leg, Plan, Target
from .settings import Settings
from .transport import Transport

#: How many requests one call may make at most: a config may name many targets, each to be tried
#: several times.
MAX_TRIES = 20

logger = logging.getLogger("flask_portkey_files")


#: What trying a target comes to: an answer, or that there was none.
Result: TypeAlias = Answer | UpstreamError | EgressRefused


class Journeys:
    """Takes calls to their targets.

    :param providers: the providers by name.
    """

    def __init__(self, providers: Mapping[str, Provider], settings: Settings) -> None:
        self._providers = providers
        self._settings = settings
        self._egress = EgressPolicy(settings.allowed_hosts or "")
        self._transport = Transport(settings, self._egress)

    def check(self, target: Target, call: FilesCall) -> Provider:
        """Return the target's provider, having looked whether an upload to it can work.

        :raises FilesError: it can't.
        """
        provider = self._provider(target)
        provider.check(call, self._permitted(target))
        return provider

    def go(
        self, trip: Plan, call: FilesCall, form: UploadForm | None, progress: Progress
    ) -> Answer:
        """Try the targets of a plan in turn and return the answer that counts."""
        if isinstance(trip, Leg):
            return self._visit(trip, call, form, progress)
        failure: Result | None = None
        for part in trip.plans:
            result: Result
            try:
                result = self.go(part, call, form, progress)
            except (UpstreamError, EgressRefused) as error:
                result = error
            last = part is trip.plans[-1] or progress.tries >= MAX_TRIES
            if last or _is_final(result, trip):
                break
            logger.warning(
                "%s: %s: %s (going on)", progress.option, call.operation, _describe(result)
            )
            if trip.search and failure is None and result.status != 404:
                failure = result
            else:
                _close(result)
        if failure is not None and result.status == 404:
            _close(result)
            result = failure
        elif failure is not None:
            _close(failure)
        if isinstance(result, FilesError):
            raise result
        return result

    def _visit(
        self, leg: Leg, call: FilesCall, form: UploadForm | None, progress: Progress
    ) -> Answer:
        """Ask one target, again if it says so, and return its answer."""
        progress.provider, progress.option = leg.target.provider, leg.path
        lost = False
        for attempt in range(leg.target.retry.attempts + 1):
            progress.retries = attempt
            if progress.tries and progress.before_again is not None:
                progress.before_again()
            progress.tries += 1
            result: Answer | UpstreamError
            try:
                with progress.attempt() as opened:
                    result = self.ask(leg.target, call, form, opened, end=progress.deadline)
            except UpstreamError as error:
                result = error
                lost = lost or error.sent
            if lost and call.operation is Operation.DELETE and result.status == 404:
                # An earlier request did it; only its answer never came.
                assert not isinstance(result, UpstreamError)  # noqa: S101 - none is a 404
                deleted = {"id": call.file_id, "object": "file", "deleted": True}
                return Reshaped(result.response, deleted)
            seconds = self._pause(result, leg.target, attempt, progress)
            if seconds is None:
                break
            _close(result)
            progress.waited += seconds
            time.sleep(seconds)
        if isinstance(result, UpstreamError):
            raise result
        if isinstance(result, Relayed) and 300 <= result.status < 400 and result.status != 304:
            result.response.close()
            raise UpstreamError(
                f"The provider {leg.target.provider} answered with a redirect "
                f"({result.status}), which is not followed.",
                code="upstream_redirect",
            )
        return result

    def _pause(
        self, result: Answer | UpstreamError, target: Target, attempt: int, progress: Progress
    ) -> float | None:
        """Return how long to wait before *target* is tried again, ``None`` if it is not."""
        retry = target.retry
        again = result.status in retry.on_status_codes and not 200 <= result.status < 300
        headers = Headers()
        if not isinstance(result, UpstreamError):
            headers = result.response.headers
        elif result.answered:
            again = False
        elif not isinstance(result, UpstreamTimeout):
            again = result.status >= 500
        if not again or attempt == retry.attempts or progress.tries >= MAX_TRIES:
            return None
        most = min(
            self._settings.max_retry_wait - progress.waited,
            progress.deadline - time.monotonic(),
        )
        return wait(attempt, retry, headers, most=most) if most >= 0 else None

    def ask(
        self,
        target: Target,
        call: FilesCall,
        form: UploadForm | None = None,
        attempt: OpenAttempt | None = None,
        *,
        end: float = math.inf,
    ) -> Answer:
        """Hold the conversation of one operation with one target, once.

        :param attempt: what is told of it, if something is.
        :param end: when the call must be over, by ``time.monotonic()``.
        :raises FilesError: there is no answer.
        """
        provider = self._provider(target)
        permitted = self._permitted(target)
        provider.check(call, permitted)
        if form is not None:
            conversation = provider.upload(call, permitted, provider.accept(permitted, form))
        else:
            conversation = getattr(provider, call.operation.value)(call, permitted)
        answer = self._converse(conversation, target, attempt, end)
        return attempt.ends_with(answer) if attempt else answer

    def _provider(self, target: Target) -> Provider:
        provider = self._providers.get(target.provider)
        if provider is None:
            raise invalid_provider()
        return provider

    def _permitted(self, target: Target) -> Target:
        """Return *target* at its custom host, if it has one and that is permitted.

        :raises InvalidRoute: it is not.
        """
        if target.custom_host is None:
            return target
        try:
            return replace(target, base_url=self._egress.check_url(target.custom_host))
        except InvalidRoute:
            # Without what may be a password before it, or a token in the query behind it.
            host = re.split(r"[/?#\\]", target.custom_host.partition("//")[2])[0]
            logger.warning("Refused the custom host %r", host.rpartition("@")[2])
            raise

    def _converse(
        self,
        conversation: Conversation,
        target: Target,
        attempt: OpenAttempt | None,
        end: float,
    ) -> Answer:
        """Hold a provider's conversation and return what it comes to."""
        response: UpstreamResponse | None = None
        try:
            upstream_request = next(conversation)
            while True:
                if response is not None:
                    response.close()
                try:
                    response = self._transport.send(
                        upstream_request,
                        provider=target.provider,
                        timeout=target.request_timeout,
                        end=end,
                        guarded=target.custom_host is not None,
                        attempt=attempt,
                    )
                except FilesError as error:
                    # The provider may have something begun to undo.
                    upstream_request = conversation.throw(error)
                else:
                    upstream_request = conversation.send(response)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
        except Refusal as refusal:
            return refusal.answer
        except BaseException:
            if response is not None:
                response.close()
            raise


def _is_final(result: Result, chain: Chain) -> bool:
    """Return whether nothing further of *chain* is tried after *result*."""
    if isinstance(result, UpstreamError) and result.answered:
        return True
    return 200 <= result.status < 300 or not chain.goes_on(result.status)


def _describe(result: Result) -> str:
    return str(result) if isinstance(result, FilesError) else f"status {result.status}"


def _close(result: Result) -> None:
    if not isinstance(result, FilesError):
        result.response.close()
