"""What every stand-in does with what it is sent."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest
from werkzeug.wrappers import Request, Response

from .base import IN_MEMORY, Form, Standin, json_response

CONTENT_TYPE = {"Content-Type": "multipart/form-data; boundary=b"}
NAMELESS = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ncontent\r\n--b--\r\n'


class Forms(Standin):
    """Keeps the last form."""

    last: Form | None = None

    def answer(self, request: Request) -> Response:
        self.last = self.form(request)
        return json_response({})

    def error(self, status: int) -> Response:
        return json_response({"own": status}, status)


@pytest.fixture
def forms() -> Iterator[Forms]:
    with Forms() as forms:
        yield forms


def send(forms: Forms, body: bytes, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", int(forms.url.rpartition(":")[2]))
    connection.putrequest("POST", "/")
    for name, value in {**CONTENT_TYPE, **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    assert connection.sock is not None
    connection.sock.shutdown(1)
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, read


def test_a_file_without_a_name_is_a_file(forms: Forms) -> None:
    assert send(forms, NAMELESS, Content_Length=str(len(NAMELESS))) == (200, b"{}")
    assert forms.last is not None
    assert forms.last.file is not None
    assert (forms.last.filename, forms.last.fields, forms.last.size) == (None, [], 7)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(NAMELESS[:-9], {"Content_Length": "80"}, id="no end"),
        pytest.param(NAMELESS[:60], {"Content_Length": "9000"}, id="cut"),
        pytest.param(b"40\r\n" + NAMELESS[:20], {"Transfer_Encoding": "chunked"}, id="chunk"),
        pytest.param(b"no form", {"Content_Length": "7"}, id="no form"),
    ],
)
def test_what_is_no_whole_form_is_the_services_own_400(
    forms: Forms, body: bytes, headers: dict[str, str]
) -> None:
    assert send(forms, body, **headers) == (400, b'{"own": 400}')


def test_files_are_closed_at_the_end() -> None:
    with Forms() as forms:
        large = NAMELESS.replace(b"content", b"x" * (IN_MEMORY + 1))
        assert send(forms, large, Content_Length=str(len(large)))[0] == 200
        assert send(forms, large[:-9], Content_Length=str(len(large) - 9))[0] == 400
        assert forms.last is not None
        file = forms.last.file
        assert file is not None
        assert not file.closed
    assert file.closed
