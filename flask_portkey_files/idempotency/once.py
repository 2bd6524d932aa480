"""Running an upload under an ``Idempotency-Key`` once, and answering what comes again."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial

from flask import Response

from ..call import FilesCall
from ..errors import FilesError, IdempotencyUnavailable, KeyReused, UpstreamError
from ..form import UploadForm
from ..journey import Journeys
from ..progress import Progress
from ..response import make_response, tell_digest
from ..routing import Leg
from ..settings import Settings
from .entry import Ending, Entry, Kept, read, written
from .scope import Scope, file_name, name_of
from .search import Search
from .sqlite import SQLiteStore
from .store import Claim, Store
from .watch import Watch

#: The response header that says that the answer is an earlier upload's, as with Stripe.
REPLAYED = "Idempotent-Replayed"

#: For how many seconds after its last piece was sent a file may be missing in the provider's
#: list and still come, and how often it is looked for.
SETTLING = 10.0
LOOK_EVERY = 1.0

logger = logging.getLogger("flask_portkey_files")


@dataclass(frozen=True)
class Upload:
    """An upload under a key.

    :param legs: every target that it may go to.
    :param live: whether its file may be passed on while it arrives.
    :param receive: reads it, live or not, up to where it can be sent on.
    :param send: takes it to its target.
    """

    call: FilesCall
    legs: Sequence[Leg]
    progress: Progress
    live: bool
    receive: Callable[[bool], AbstractContextManager[UploadForm]]
    send: Callable[[UploadForm], Response]


class Once:
    """Runs an upload under a key once.

    :param store: where uploads are kept track of.
    :param scope: says who a client is, if not its credentials.
    """

    def __init__(
        self, store: Store, settings: Settings, journeys: Journeys, scope: Scope | None = None
    ) -> None:
        self._store = store
        self._settings = settings
        self._journeys = journeys
        self._scope = scope

    def run(self, key: str, upload: Upload, place: Iterable[object]) -> Response:
        """Return the answer to an upload: its own, or that of the first one under its key.

        :param place: where in which application it came in.
        :raises FilesError: there is none.
        """
        name = name_of(key, upload.call, upload.legs, place, self._scope)
        entry = _read(self._store.get(name))
        if not isinstance(entry, Kept):
            with self._store.claim(name, wait=self._settings.idempotency_wait) as claim:
                entry = _read(claim.get())
                if not isinstance(entry, Kept):
                    attempt = _Attempt(claim, entry, upload, self._settings, self._journeys)
                    return attempt.run()
        return _replay(entry, upload)


class _Found(Exception):
    """An upload was stored that seemed to have failed: its response."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class _Attempt:
    """An upload that has its key to itself.

    :param before: what is known of one that was cut off before.
    """

    def __init__(
        self,
        claim: Claim,
        before: Ending | None,
        upload: Upload,
        settings: Settings,
        journeys: Journeys,
    ) -> None:
        self._claim = claim
        self._noted = before
        #: What has been looked for already.
        self._looked_for = before
        #: The ids of files that are others, by where in the route their targets stand.
        self._others: defaultdict[str, set[str]] = defaultdict(set)
        self._upload = upload
        self._window = settings.idempotency_window
        self._journeys = journeys
        self._started = time.time()

    def run(self) -> Response:
        """Look for the file of an upload that was cut off, else send this one."""
        upload, before = self._upload, self._noted
        # To be compared before anything is sent, it is held back.
        with upload.receive(upload.live and before is None) as form:
            watch = Watch(form, upload.call.query_string, self._note)
            if before is not None:
                if watch.finish() != before.upload:
                    raise KeyReused
                found = self._find(before, form)
                if found is not None:
                    return found
            upload.progress.before_again = partial(self._look_again, form)
            try:
                response = upload.send(watch.form)
            except _Found as found_after_all:
                return found_after_all.response
            except FilesError as error:
                if error.status < 500 and not isinstance(error, UpstreamError):
                    self._free()
                raise
            self._conclude(response, watch)
            return response

    def _note(self, digest: str) -> None:
        """Note that the provider can have the whole file from now on.

        :raises IdempotencyUnavailable: that can't be noted, and so must not be.
        """
        before, option = self._noted, self._upload.progress.option
        options = before.options if before else ()
        self._noted = Ending(
            upload=digest,
            options=options if option in options else (*options, option),
            started=before.started if before else self._started,
            ended=time.time(),
        )
        self._claim.put(written(self._noted), self._window)

    def _conclude(self, response: Response, watch: Watch) -> None:
        """Keep a success; let the key be used again after a refusal."""
        with suppress(IdempotencyUnavailable):  # It is logged, and the next one looks again.
            if 200 <= response.status_code < 300:
                # One that is streamed is none of a file's metadata.
                if not response.direct_passthrough:
                    self._keep(response, watch.finish())
            elif self._noted is not None:
                # A server that fails may have stored the file before.
                settled = replace(self._noted, settled=True)
                if response.status_code >= 500 or not self._free():
                    self._claim.put(written(settled), self._window)

    def _free(self) -> bool:
        """Let the key be used again after a refusal, and return whether that could be.

        It can't after several tries: an earlier one may have succeeded unheard.
        """
        if self._noted is None or self._upload.progress.tries > 1:
            return False
        with suppress(IdempotencyUnavailable):
            self._claim.drop()
        return True

    def _keep(self, response: Response, digest: str) -> None:
        progress = self._upload.progress
        kept = Kept(
            upload=digest,
            status=response.status_code,
            body=response.get_data(),
            content_type=response.headers.get("Content-Type", "application/json"),
            content_encoding=response.headers.get("Content-Encoding"),
            provider=progress.provider,
            option=progress.option,
        )
        file_id = _file_id(kept.body)
        file = None if file_id is None else file_name(self._leg(kept.option), file_id)
        if not self._claim.put(written(kept), self._window, file=file):
            self._claim.put(written(kept), self._window)

    def _find(self, before: Ending, form: UploadForm) -> Response | None:
        """Return the answer that an earlier upload would have had, if it was stored."""
        # By a clock that nobody sets: one that was set back would make it a long wait.
        end = time.monotonic() + min(SETTLING, before.ended + SETTLING - time.time())
        while (found := self._look(before, form)) is None:
            if before.settled or time.monotonic() >= end:
                return None
            time.sleep(LOOK_EVERY)
        return found

    def _look_again(self, form: UploadForm) -> None:
        """Look whether a try of this upload's was stored after all, before the next one.

        :raises _Found: it was.
        """
        noted = self._noted
        if noted is None or noted is self._looked_for:
            return
        self._looked_for = noted
        # A route that asks for another try gets it, if nothing speaks against it.
        with suppress(FilesError):
            found = self._look(noted, form)
            if found is not None:
                raise _Found(found)

    def _look(self, noted: Ending, form: UploadForm) -> Response | None:
        """Look for the file once, wherever it may be."""
        for option in noted.options:
            leg = self._leg(option)
            search = Search(
                self._journeys,
                leg,
                self._upload.call,
                form,
                # It began before now, also if the clock has been set back.
                since=min(noted.started, time.time()),
                others=self._others[option],
                end=self._upload.progress.deadline,
            )
            for found in search.files():
                kept = Kept(
                    upload=noted.upload,
                    status=200,
                    body=json.dumps(found, separators=(",", ":")).encode(),
                    content_type="application/json",
                    content_encoding=None,
                    provider=leg.target.provider,
                    option=option,
                )
                file = file_name(leg, str(found["id"]))
                # Another upload of the same file may have been cut off as well.
                if self._claim.put(written(kept), self._window, file=file):
                    logger.warning("found the file of an upload that was cut off")
                    return _respond(kept, self._upload.progress, form)
        return None

    def _leg(self, option: str) -> Leg:
        """Return the target that stands there in the route."""
        return next(leg for leg in self._upload.legs if leg.path == option)


def make_store(settings: Settings) -> Store | None:
    """Return the store that the settings name, ``None`` if keys are left to the provider.

    :raises ValueError: it can't be used.
    """
    where = settings.idempotency
    if where == "off":
        return None
    if where is not None and "://" in where:
        from .redis import RedisStore

        return RedisStore(where)
    return SQLiteStore(where)


def _replay(kept: Kept, upload: Upload) -> Response:
    """Return the answer of an earlier upload, if this one is the same."""
    with upload.receive(True) as form:
        watch = Watch(form, upload.call.query_string, lambda _: None)
        if watch.finish() != kept.upload:
            raise KeyReused
        return _respond(kept, upload.progress, form)


def _respond(kept: Kept, progress: Progress, form: UploadForm) -> Response:
    progress.provider, progress.option = kept.provider, kept.option
    progress.replayed = True
    headers = {"Content-Type": kept.content_type, REPLAYED: "true"}
    if kept.content_encoding is not None:
        headers["Content-Encoding"] = kept.content_encoding
    response = make_response([kept.body], kept.status, headers)
    tell_digest(response, form, progress)
    return response


def _read(text: str | None) -> Entry | None:
    """Return what the store has.

    :raises IdempotencyUnavailable: it has something else.
    """
    try:
        return read(text)
    except ValueError as error:
        logger.error("%s", error)
        raise IdempotencyUnavailable from error


def _file_id(body: bytes) -> str | None:
    """Return the id of the file in an answer, ``None`` if there is none."""
    with suppress(ValueError, RecursionError):
        told = json.loads(body)
        if isinstance(told, dict) and told.get("id"):
            return str(told["id"])
    return None
