"""xAI's Files API over HTTP: a token leads from page to page.

The contract: https://docs.x.ai/developers/files/managing-files and rest-api-reference/files;
orders, limits and expiry: xai-sdk 1.21.0, sync/files.py.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from urllib.parse import urlencode

from ..call import FilesCall
from ..routing import Target
from .base import Answer, Conversation, Reshaped, UpstreamRequest, UpstreamResponse
from .capabilities import Capabilities, Expiry
from .paging import ListQuery, Page, walk
from .service import Service, further, succeeds
from .shape import Refusal, deletion, failure

MAX_LIMIT = 100

#: How the service begins to tell that a key is wrong, which it does with 400.
WRONG_KEY = "incorrect api key"


class XAI(Service):
    """xAI, brought to OpenAI's shape.

    :param base_url: the address that ``/files`` is added to.
    :raises ValueError: *base_url* is not an http or https address.
    """

    def __init__(self, base_url: str = "https://api.x.ai/v1") -> None:
        super().__init__(
            base_url,
            # The field has to come before the file, as all do that the gateway sends.
            capabilities=Capabilities(expiry=Expiry(field="expires_after")),
        )

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files in the order that is asked for; the provider has both."""
        query = ListQuery.of(call)
        limit = MAX_LIMIT
        if not query.after and not query.purpose:
            # One more than is needed tells whether that is all.
            limit = min(limit, query.limit + 1)
        given = [
            *further(call),
            ("limit", str(limit)),
            ("order", query.order),
            ("sort_by", "created_at"),
        ]

        def fetch(
            token: str | None,
        ) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
            paging = [("pagination_token", token)] if token else []
            response = yield self.request(
                call, target, "GET", "/files", query=urlencode([*given, *paging])
            )
            if not succeeds(response):
                raise Refusal(self.refusal(response))
            body, files = self.listed(response)
            # A full page has a token even where nothing follows it.
            following: Any = body.get("pagination_token") if files else None
            return Page(files, following or None, response)

        return (yield from walk(fetch, query, order=query.order))

    def deleted(self, call: FilesCall, response: UpstreamResponse) -> Answer:
        """Return OpenAI's answer to a deletion; the provider's own has no ``object``."""
        return Reshaped(response, deletion(call.file_id))

    def refusal(self, response: UpstreamResponse) -> Reshaped:
        """Return the provider's error in OpenAI's envelope; a wrong key is a 401."""
        refusal = failure(response)
        error = refusal.body["error"]
        if refusal.status != 400 or not error["message"].lower().startswith(WRONG_KEY):
            return refusal
        body = {"error": {**error, "code": "invalid_api_key"}}
        return Reshaped(response, body, status=401)
