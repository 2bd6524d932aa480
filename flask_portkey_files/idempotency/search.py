"""Looking at the provider for a file whose upload was cut off at its very end."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from werkzeug.datastructures import Headers

from ..call import FilesCall, Operation
from ..errors import InvalidRequest, UploadUncertain, UpstreamError
from ..form import UploadForm
from ..journey import Journeys
from ..providers.base import Answer, Relayed
from ..routing import Leg

#: How many files are asked for at a time, and how often.
PAGE = 100
MAX_PAGES = 100

#: How many seconds the clocks of the provider and of this machine may be apart.
SKEW = 300

#: A name above this length may come back shortened.
LONG_NAME = 60

#: Of the client's headers, those that are about its upload, or about the answer that it gets.
_ABOUT_THE_UPLOAD = re.compile(
    r"accept|accept-encoding|content-.*|expect|idempotency-key|if-.*|range|transfer-encoding",
    re.IGNORECASE,
)

_NOT_ALPHANUMERIC = re.compile(r"[\W_]+", re.ASCII)

File = dict[str, Any]


class Search:
    """Looks for one upload's file at one target.

    :param call: the upload that is made again.
    :param form: its form, held back.
    :param since: when the file can have been stored first, in Unix seconds.
    :param others: the ids of files that are known to have other content; it learns more.
    :param end: when the search must be over, by ``time.monotonic()``.
    """

    def __init__(
        self,
        journeys: Journeys,
        leg: Leg,
        call: FilesCall,
        form: UploadForm,
        *,
        since: float,
        others: set[str],
        end: float = math.inf,
    ) -> None:
        self._journeys = journeys
        self._leg = leg
        self._call = call
        self._form = form
        self._since = since - SKEW
        self._others = others
        self._end = end
        kept = [item for item in call.headers if not _ABOUT_THE_UPLOAD.fullmatch(item[0])]
        self._headers = Headers(kept)

    def files(self) -> Iterator[File]:
        """Yield what may be the upload's file, as OpenAI's file objects.

        That is each file whose name, size and time fit and whose content is the upload's.
        Where the provider does not give content back, it is the one that fits, if it is the
        only one.

        :raises UploadUncertain: the provider can't be looked at, or several fit.
        :raises UpstreamError: it does not answer.
        """
        unconfirmed = []
        for file in self._fitting():
            file_id = str(file["id"])
            if file_id in self._others:
                continue
            same = self._has_content(file)
            if same is False:
                self._others.add(file_id)
            if same:
                yield file
            elif same is None and file.get("bytes") == self._form.file.body.length:
                unconfirmed.append(file)
        if len(unconfirmed) > 1:
            raise UploadUncertain("the provider has several files that it could be")
        yield from unconfirmed

    def _fitting(self) -> Iterator[File]:
        """Yield the files in the provider's list that could be the upload's."""
        name, length = self._form.file.filename, self._form.file.body.length
        provider = self._journeys.check(self._leg.target, self._call)
        purpose = self._form.value("purpose")
        own = {purpose, provider.capabilities.own_purpose(purpose or "")}
        for file, native in self._listed():
            created_at = file.get("created_at")
            if isinstance(created_at, (int, float)) and created_at < self._since:
                continue
            if file.get("bytes") not in {None, length} or file.get("status") == "error":
                continue
            if not _similar(str(file.get("filename") or ""), name):
                continue
            # Some providers know of no purposes, and all their files have the same one.
            kept = native or provider.capabilities.purposes is not None
            if kept and file.get("purpose") not in {None, "", *own}:
                continue
            yield file

    def _listed(self) -> Iterator[tuple[File, bool]]:
        """Yield the files in the provider's list, and whether they are as it has them."""
        seen: set[str] = set()
        after: str | None = None
        for _ in range(MAX_PAGES):
            answer, body = self._page(after)
            data = body.get("data") if isinstance(body, dict) else None
            if not isinstance(data, list):
                raise UploadUncertain("the provider gives no list of its files")
            files = [file for file in data if isinstance(file, dict) and file.get("id")]
            new = [file for file in files if str(file["id"]) not in seen]
            seen.update(str(file["id"]) for file in new)
            yield from ((file, isinstance(answer, Relayed)) for file in new)
            if body.get("has_more") is not True or not new or self._is_past(files):
                return
            after = str(files[-1]["id"])
        raise UploadUncertain("the provider has too many files to look through")

    def _page(self, after: str | None) -> tuple[Answer, Any]:
        paging = {"limit": str(PAGE), "order": "desc", **({"after": after} if after else {})}
        query = [*parse_qsl(self._call.query_string), *paging.items()]
        answer = self._ask(Operation.LIST, query_string=urlencode(query))
        if answer is None:
            raise UploadUncertain("the provider does not list its files to this caller")
        with closing(answer.response):
            if isinstance(answer, Relayed):
                return answer, answer.response.json()
            return answer, answer.body

    def _is_past(self, files: list[File]) -> bool:
        """Return whether all files behind these are too old."""
        times = [file.get("created_at") for file in files]
        known = [time for time in times if isinstance(time, (int, float))]
        in_order = len(known) == len(times) and known == sorted(known, reverse=True)
        return in_order and bool(known) and known[-1] < self._since

    def _has_content(self, file: File) -> bool | None:
        """Return whether the content of *file* is the upload's, ``None`` if that is unknown."""
        file_id = str(file["id"])
        if file_id.startswith(("s3%3A", "gs%3A")):
            file_id = unquote(file_id)
        answer = self._ask(Operation.CONTENT, file_id=file_id)
        if answer is None:
            return None
        with closing(answer.response) as response:
            if not isinstance(answer, Relayed) or "Content-Encoding" in response.headers:
                return None
            digest, size = hashlib.sha256(), 0
            for block in response.blocks():
                digest.update(block)
                size += len(block)
        known = self._form.digest
        if known is not None and digest.hexdigest() == known.sha256:
            return True
        # Some providers give a text that they made of the file.
        return False if size == self._form.file.body.length else None

    def _ask(self, operation: Operation, **about: str) -> Answer | None:
        """Return the provider's answer, ``None`` if it has none to give.

        :raises UpstreamError: it may have one later.
        """
        call = FilesCall(operation=operation, headers=self._headers, **about)
        try:
            answer = self._journeys.ask(self._leg.target, call, end=self._end)
        except InvalidRequest:
            return None
        if 200 <= answer.status < 300:
            return answer
        answer.response.close()
        if answer.status >= 500 or answer.status == 429:
            raise UpstreamError(
                f"The provider {self._leg.target.provider} answered {answer.status} when it "
                "was asked whether it has the file of an earlier upload; try again later."
            )
        return None


def _similar(one: str, other: str) -> bool:
    """Return whether two names may be of one file: providers change what they don't like."""
    if max(len(one), len(other)) > LONG_NAME:
        return True
    return _letters(one) == _letters(other)


def _letters(name: str) -> str:
    return _NOT_ALPHANUMERIC.sub("", re.split(r"[/\\]", unquote(name))[-1])
