"""A call's way to the targets of its plan: conversations, retries and fallbacks."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import replace

from werkzeug.datastructures import Headers

from .backoff import wait
from .call import FilesCall, Operation
from .egress import EgressPolicy
from .errors import FilesError, InvalidRoute, UpstreamError, UpstreamTimeout
from .form import UploadForm
from .progress import Progress
from .providers import Provider
from .providers.base import Answer, Conversation, Relayed, Reshaped, UpstreamResponse
from .resolver import invalid_provider
from .routing import Leg, Plan, Target
from .settings import Settings
from .transport import Transport

logger = logging.getLogger("flask_portkey_files")


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
        *others, last = trip.plans
        for part in others:
            try:
                answer = self.go(part, call, form, progress)
            except UpstreamError as error:
                if error.answered or not trip.goes_on(error.status):
                    raise
                logger.warning("%s: %s: %s", progress.option, call.operation, error)
            else:
                if not trip.goes_on(answer.status):
                    return answer
                answer.response.close()
        return self.go(last, call, form, progress)

    def _visit(
        self, leg: Leg, call: FilesCall, form: UploadForm | None, progress: Progress
    ) -> Answer:
        """Ask one target, again if it says so, and return its answer."""
        retry = leg.target.retry
        progress.provider, progress.option = leg.target.provider, leg.path
        lost = False
        for attempt in range(retry.attempts + 1):
            progress.retries = attempt
            error: UpstreamError | None = None
            try:
                answer = self._ask(leg.target, call, form)
            except UpstreamError as caught:
                error = caught
                broken = not isinstance(caught, UpstreamTimeout)
                again = not caught.answered and (
                    broken or caught.status in retry.on_status_codes
                )
                lost = lost or caught.sent
            else:
                if lost and call.operation is Operation.DELETE and answer.status == 404:
                    # The first request did it; only its answer never came.
                    deleted = {"id": call.file_id, "object": "file", "deleted": True}
                    return Reshaped(answer.response, deleted)
                again = answer.status in retry.on_status_codes
            headers = Headers() if error else answer.response.headers
            seconds = wait(attempt, retry, headers, most=self._settings.max_retry_wait)
            if not again or attempt == retry.attempts or seconds is None:
                break
            if error is None:
                answer.response.close()
            time.sleep(seconds)
        if error is not None:
            raise error
        return answer

    def _ask(self, target: Target, call: FilesCall, form: UploadForm | None) -> Answer:
        """Hold the conversation of one operation with one target."""
        provider = self._provider(target)
        permitted = self._permitted(target)
        if form is not None:
            conversation = provider.upload(call, permitted, form)
        else:
            conversation = getattr(provider, call.operation.value)(call, permitted)
        answer = self._converse(conversation, target)
        if isinstance(answer, Relayed) and 300 <= answer.status < 400 and answer.status != 304:
            answer.response.close()
            raise UpstreamError(
                f"The provider {target.provider} answered with a redirect ({answer.status}), "
                "which is not followed.",
                code="upstream_redirect",
            )
        return answer

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

    def _converse(self, conversation: Conversation, target: Target) -> Answer:
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
                        guarded=target.custom_host is not None,
                    )
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
