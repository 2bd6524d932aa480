"""What the dialects share whose providers answer in shapes of their own."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

from werkzeug.datastructures import Headers

from ..call import FilesCall
from ..errors import FilesError, UpstreamError
from ..form import FileBody, FormField, UploadForm
from ..routing import Target
from .base import HTTPProvider, UpstreamRequest, UpstreamResponse
from .capabilities import Capabilities
from .handed import handed
from .paging import ListQuery
from .shape import Refusal, failure

#: How many addresses of a storage are asked for one file at most.
MAX_HOPS = 5

#: Of the client's headers, those about the answer that it gets, or about a whole upload: an
#: answer that is read here is another one, and an upload may take several requests.
_ABOUT_THE_WHOLE = frozenset(
    {
        "accept",
        "accept-encoding",
        "idempotency-key",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
    }
)

#: What is still of use where a file's content is fetched from a storage.
_ABOUT_A_PART = ("If-Range", "Range")

#: What a storage answers to those.
_ABOUT_RANGES = frozenset({412, 416})

_CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "permission_denied",
    404: "not_found",
    409: "conflict",
    412: "precondition_failed",
    413: "payload_too_large",
    416: "invalid_range",
    429: "rate_limit_exceeded",
}

#: Requests whose answers are not handed on.
Asking = Generator[UpstreamRequest, UpstreamResponse, UpstreamResponse]


class ReshapingProvider(HTTPProvider):
    """A service that answers in a shape of its own, so that its answers are read here."""

    def ask(
        self,
        call: FilesCall,
        target: Target,
        method: str,
        path: str,
        *,
        query: str = "",
        json_body: object = None,
        body: UploadForm | bytes | None = None,
        content_type: str | None = None,
    ) -> UpstreamRequest:
        """Return a request whose answer is to be read here.

        :param query: the query string, without the ``?``; never the client's own.
        :param json_body: what to send as JSON.
        :param body: what to send instead, of the *content_type* if that is bytes.
        """
        kept = [item for item in call.headers if item[0].lower() not in _ABOUT_THE_WHOLE]
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if json_body is not None:
            body, content_type = json.dumps(json_body).encode(), "application/json"
        if content_type is not None:
            headers["Content-Type"] = content_type
        return self.request(
            replace(call, headers=Headers(kept)),
            target,
            method,
            path,
            query=query,
            body=body,
            headers=headers,
        )

    def undo(self, request: UpstreamRequest) -> Generator[UpstreamRequest, UpstreamResponse]:
        """Make the *request* that takes back what was begun, whatever comes of it."""
        with suppress(FilesError):
            (yield request).close()


def mapping(response: UpstreamResponse, *, provider: str) -> dict[str, Any]:
    """Return the JSON object in the body of an answer.

    :raises Refusal: the answer is no success.
    :raises UpstreamError: there is no such object.
    """
    body = accepted(response).json()
    if not isinstance(body, dict):
        raise unexpected(provider)
    return body


def mappings(value: object, *, provider: str) -> list[dict[str, Any]]:
    """Return *value* as the list of JSON objects that it should be; ``None`` is an empty one.

    :raises UpstreamError: it is none.
    """
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise unexpected(provider)
    return value


def accepted(response: UpstreamResponse) -> UpstreamResponse:
    """Return *response* if it is a success.

    :raises Refusal: it is none; the client gets it in OpenAI's envelope, under one of OpenAI's
        codes instead of a number.
    """
    if not 200 <= response.status < 300:
        raise Refusal(failure(response, code=_CODES.get(response.status)))
    return response


def unexpected(provider: str) -> UpstreamError:
    """Return the error for an answer that is not what the provider documents."""
    return UpstreamError(f"The provider {provider} answered with something unexpected.")


def is_redirect(response: UpstreamResponse) -> bool:
    """Return whether an answer sends the request to another address."""
    return response.status in {301, 302, 303, 307, 308} and "Location" in response.headers


def joined(url: str, response: UpstreamResponse) -> str | None:
    """Return where an answer to a request for *url* redirects to, ``None`` if to nowhere."""
    try:
        return urljoin(url, response.headers["Location"])
    except ValueError:
        return None


def stored(
    url: object,
    base_url: str,
    *,
    method: str = "GET",
    headers: Headers | None = None,
    body: FileBody | None = None,
) -> Asking:
    """Ask a storage at the address that the provider handed out, and where that leads to.

    No credential goes there, and nothing of the client's that is not in *headers*.

    :param base_url: the provider's own address.
    :raises UpstreamError: an address can't be used, or leads on too often; or the storage says
        no, which says nothing about what the client asked for.
    :raises Refusal: there is no such part of the file as *headers* ask for.
    """
    headers = headers if headers is not None else Headers()
    address = handed(url if isinstance(url, str) else None, base_url)
    for _ in range(MAX_HOPS):
        request = UpstreamRequest(method=method, url=address, headers=headers, body=body)
        response = yield request
        if not is_redirect(response):
            if response.status in _ABOUT_RANGES:
                return accepted(response)
            if response.status == 304 or 200 <= response.status < 300:
                return response
            response.close()
            raise UpstreamError(f"The provider's storage answered {response.status}.")
        address = handed(joined(address, response), base_url)
    raise UpstreamError("The provider's storage redirects without end.")


def fetched(call: FilesCall, request: UpstreamRequest, base_url: str) -> Asking:
    """Make the *request* for a file's content and return the answer that has it.

    :param base_url: the provider's own address; the content may be in a storage elsewhere.
    :raises Refusal: the answer is no success.
    """
    response = yield request
    if is_redirect(response):
        address = joined(request.url, response)
        return (yield from stored(address, base_url, headers=range_headers(call)))
    return response if response.status == 304 else accepted(response)


def range_headers(call: FilesCall) -> Headers:
    """Return the headers of the client's that ask for a part of a file."""
    return Headers(
        [(name, call.headers[name]) for name in _ABOUT_A_PART if name in call.headers]
    )


def wanted(call: FilesCall, known: Capabilities) -> ListQuery:
    """Return what the client asks of a list; a purpose may be in the provider's own words.

    :raises InvalidRequest: a parameter has a value that OpenAI does not know.
    """
    query = ListQuery.of(call)
    if query.purpose is None:
        return query
    return replace(query, purpose=known.common_purpose(query.purpose))


def unsent(fields: Iterable[FormField]) -> Iterator[FormField]:
    """Read the fields behind a file to their end, and send none of them.

    Only at its end is it known that the client's form is whole.
    """
    for _ in fields:
        pass
    yield from ()


def selected(body: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """Return what *body* says, but for some of it and for what it says nothing in."""
    return {k: v for k, v in body.items() if k not in without and v not in (None, "", [], {})}
