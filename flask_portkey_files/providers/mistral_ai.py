"""Mistral's Files API: pages by number, and errors that are a detail.

The contract: https://docs.mistral.ai/api/endpoint/files; mistralai 3.7.0, client/files.py and
client/models. The unit of ``expiry`` is nowhere documented: it is taken for hours, in which
the same API counts how long its signed addresses live.
"""

from __future__ import annotations

from collections.abc import Generator
from urllib.parse import urlencode

from ..call import FilesCall
from ..routing import Target
from .base import Conversation, UpstreamRequest, UpstreamResponse
from .capabilities import Capabilities, Expiry
from .paging import ListQuery, Page, walk
from .service import Service, further, succeeds
from .shape import Refusal

HOUR = 3600

#: A page's length: the default, since the longest is not documented.
PAGE_SIZE = 100


class MistralAI(Service):
    """Mistral, brought to OpenAI's shape.

    :param base_url: the address that ``/files`` is added to.
    :raises ValueError: *base_url* is not an http or https address.
    """

    def __init__(self, base_url: str = "https://api.mistral.ai/v1") -> None:
        super().__init__(
            base_url,
            capabilities=Capabilities(
                purposes=("fine-tune", "batch", "ocr", "agentic_safety"),
                expiry=Expiry(field="expiry", unit=HOUR),
                note=(
                    "`expires_after` has to be whole hours: the unit of the provider's own "
                    "field is not documented, and taken for hours."
                ),
            ),
        )

    def list(self, call: FilesCall, target: Target) -> Conversation:
        """List files, reading the provider's pages, which begin with the newest file."""
        query = ListQuery.of(call)
        size = PAGE_SIZE
        if query.order == "desc" and not query.after:
            # One more than is needed tells whether that is all.
            size = min(size, query.limit + 1)
        given = further(call)
        if query.purpose:
            given.append(("purpose", self.capabilities.own_purpose(query.purpose)))
        read: list[int] = []

        def fetch(
            number: int | None,
        ) -> Generator[UpstreamRequest, UpstreamResponse, Page]:
            number = number or 0
            paging = [("page", str(number)), ("page_size", str(size))]
            response = yield self.request(
                call, target, "GET", "/files", query=urlencode([*given, *paging])
            )
            if not succeeds(response):
                raise Refusal(self.refusal(response))
            body, files = self.listed(response)
            read.append(len(files))
            total = body.get("total")
            ends = sum(read) >= total if isinstance(total, int) else len(files) < size
            return Page(files, None if ends or not files else number + 1, response)

        return (yield from walk(fetch, query, order="desc"))
