from __future__ import annotations

import io
import itertools
import re
import socket
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_portkey_files.body import RequestBody
from flask_portkey_files.errors import (
    FilesError,
    InvalidRequest,
    PayloadTooLarge,
    RequestBroken,
)
from flask_portkey_files.form import FormField, UploadForm
from flask_portkey_files.multipart import FormReader, read_form
from flask_portkey_files.settings import KIB, Settings

from .forms import CONTENT_TYPE, END, field, file, reader

SMALL = Settings(max_bytes=1000, max_form_bytes=KIB, max_parts=4, block_size=KIB)


def read(body: bytes, *, live: bool = True, settings: Settings | None = None) -> UploadForm:
    settings = settings or Settings()
    return read_form(reader(body, settings=settings), settings, live=live)


Pairs = list[tuple[str, bytes]]


def pairs(fields: Iterable[FormField]) -> Pairs:
    return [(field.name, field.value) for field in fields]


def read_in(pieces: Iterable[bytes], settings: Settings | None = None) -> UploadForm:
    """Read a form that comes in these *pieces*."""
    settings = settings or Settings()
    left = iter(pieces)

    class Stream:
        def read(self, size: int) -> bytes:
            return next(left, b"")

    request = RequestBody(Stream(), content_length=None)
    return read_form(FormReader(request, CONTENT_TYPE, settings), settings, live=True)


def drain(form: UploadForm) -> tuple[bytes, Pairs]:
    return b"".join(form.file.body.blocks()), pairs(form.trailing)


class TestRequestBody:
    def test_counts_what_is_read(self) -> None:
        body = RequestBody(io.BytesIO(b"abcdef"), content_length=6)
        assert [body.read(4), body.read(4), body.read(4)] == [b"abcd", b"ef", b""]
        assert body.received == 6

    def test_an_end_before_the_announced_length_is_an_error(self) -> None:
        body = RequestBody(io.BytesIO(b"abc"), content_length=100)
        assert body.read(10) == b"abc"
        with pytest.raises(RequestBroken, match="after 3 of 100 bytes"):
            body.read(10)

    def test_a_chunked_body_ends_where_the_server_says(self) -> None:
        body = RequestBody(io.BytesIO(b"abc"), content_length=None)
        assert [body.read(10), body.read(10)] == [b"abc", b""]

    @pytest.mark.parametrize("error", [OSError("gone"), ValueError("bad chunk"), EOFError()])
    def test_whatever_the_server_raises_is_a_broken_request(self, error: Exception) -> None:
        class Stream:
            def read(self, size: int) -> bytes:
                raise error

        with pytest.raises(RequestBroken) as raised:
            RequestBody(Stream(), content_length=None).read(1)
        assert raised.value.__cause__ is error
        # requests would take an OSError for the provider's fault.
        assert not isinstance(raised.value, OSError)

    def test_the_hosts_own_limit(self) -> None:
        body = RequestBody(io.BytesIO(b"abcdef"), content_length=None)
        body.most = 4
        assert body.read(4) == b"abcd"
        with pytest.raises(PayloadTooLarge):
            body.read(1)

    def test_discarding_the_rest(self) -> None:
        here, there = socket.socketpair()
        stream = io.BytesIO(bytes(300_000))
        body = RequestBody(stream, content_length=300_000)
        body.read(10)
        body.discard(here, most=100_000, seconds=60)
        assert 100_000 <= stream.tell() < 300_000
        body.discard(here, most=1_000_000, seconds=60)
        assert body.ended
        broken = RequestBody(io.BytesIO(b"abc"), content_length=10)
        broken.discard(here, most=1_000_000, seconds=60)
        assert broken.ended
        there.close()
        here.close()

    def test_discarding_what_never_comes(self) -> None:
        here, there = socket.socketpair()
        with here, there, here.makefile("rb") as stream:
            body = RequestBody(stream, content_length=10)
            body.discard(here, most=1_000_000, seconds=0.01)
            assert body.ended

    def test_reads_grow_with_what_has_come(self) -> None:
        class Stream(io.BytesIO):
            sizes: list[int]

            def read(self, size: int | None = -1) -> bytes:
                self.sizes.append(size or 0)
                return super().read(size)

        stream = Stream(field("purpose", "batch") + file(bytes(40 * KIB)) + END)
        stream.sizes = []
        settings = Settings(block_size=8 * KIB)
        form = read_form(
            FormReader(RequestBody(stream, content_length=None), CONTENT_TYPE, settings),
            settings,
            live=True,
        )
        drain(form)
        assert stream.sizes[:4] == [1024, 1024, 2048, 4096]
        assert set(stream.sizes[4:]) == {8 * KIB}


class TestContentType:
    @pytest.mark.parametrize(
        "content_type", ["", "application/json", "text/plain; boundary=x", "multipart/mixed"]
    )
    def test_not_multipart(self, content_type: str) -> None:
        with pytest.raises(InvalidRequest, match="multipart/form-data") as raised:
            reader(b"", content_type=content_type)
        assert raised.value.code == "invalid_content_type"

    @pytest.mark.parametrize(
        "content_type", ["multipart/form-data", 'multipart/form-data; boundary=""']
    )
    def test_no_boundary(self, content_type: str) -> None:
        with pytest.raises(InvalidRequest, match="no boundary"):
            reader(b"", content_type=content_type)

    def test_case_and_quotes(self) -> None:
        form = read_form(
            reader(
                field("purpose", "batch") + file(b"x") + END,
                content_type='Multipart/Form-Data; charset=utf-8; boundary="b0undary"',
            ),
            Settings(),
            live=True,
        )
        assert drain(form) == (b"x", [])


class TestReadForm:
    def test_fields_first_is_live(self) -> None:
        form = read(
            field("purpose", "batch")
            + field("expires_after[anchor]", "created_at")
            + field("expires_after[seconds]", "3600", "Content-Type: text/plain")
            + field("expires_after[seconds]", "7200")
            + file(b"content", "a b.jsonl", "Content-Type: application/jsonl", "X-Mine: 1")
            + field("note", "late")
            + END
        )
        assert form.live
        assert pairs(form.fields) == [
            ("purpose", b"batch"),
            ("expires_after[anchor]", b"created_at"),
            ("expires_after[seconds]", b"3600"),
            ("expires_after[seconds]", b"7200"),
        ]
        assert form.fields[2].headers == (
            ("Content-Disposition", 'form-data; name="expires_after[seconds]"'),
            ("Content-Type", "text/plain"),
        )
        assert form.value("expires_after[seconds]") == "3600"
        assert form.value("other") is None
        assert (form.file.filename, form.file.content_type) == (
            "a b.jsonl",
            "application/jsonl",
        )
        assert form.file.headers == (
            ("Content-Disposition", 'form-data; name="file"; filename="a b.jsonl"'),
            ("Content-Type", "application/jsonl"),
            ("X-Mine", "1"),
        )
        assert drain(form) == (b"content", [("note", b"late")])
        form.close()

    @pytest.mark.parametrize("live", [True, False])
    def test_file_first_is_spooled_and_fields_come_together(self, live: bool) -> None:
        form = read(file(b"content") + field("purpose", "batch") + END, live=live)
        assert not form.live
        assert form.file.body.length == 7
        assert pairs(form.fields) == [("purpose", b"batch")]
        # As often as it takes.
        assert drain(form) == drain(form) == (b"content", [])
        form.close()

    def test_spooled_where_live_is_not_wanted(self) -> None:
        form = read(field("purpose", "batch") + file(b"content") + END, live=False)
        assert not form.live
        assert drain(form) == (b"content", [])

    @pytest.mark.parametrize("content", [b"", b"\r\n", b"-b0undary", b"\r\n--b0undar", b"\r"])
    @pytest.mark.parametrize("live", [True, False])
    def test_awkward_contents(self, content: bytes, live: bool) -> None:
        form = read(field("purpose", "batch") + file(content) + END, live=live)
        assert drain(form) == (content, [])

    @pytest.mark.parametrize(
        ("sent", "name"),
        [
            ("données 数据.jsonl", "données 数据.jsonl"),
            ('a\\"b.txt', 'a"b.txt'),
            ("a%22b.txt", 'a"b.txt'),
            ("a;b=c.txt", "a;b=c.txt"),
        ],
    )
    def test_file_names(self, sent: str, name: str) -> None:
        form = read(field("purpose", "batch") + file(b"x", sent) + END)
        assert form.file.filename == name

    def test_a_file_without_a_type_gets_one(self) -> None:
        form = read(field("purpose", "batch") + file(b"x") + END)
        assert form.file.content_type == "application/octet-stream"

    @pytest.mark.parametrize(
        ("body", "param", "code"),
        [
            (field("purpose", "batch") + END, "file", "missing_required_parameter"),
            (END, "file", "missing_required_parameter"),
            (file(b"x") + END, "purpose", "missing_required_parameter"),
            (field("purpose", "") + file(b"x"), "purpose", "missing_required_parameter"),
            (field("purpose", " \t") + file(b"x"), "purpose", "missing_required_parameter"),
            (file(b"x") + field("purpose", "") + END, "purpose", "missing_required_parameter"),
            (file(b"x") + file(b"y"), "file", "too_many_files"),
            (file(b"x", part="document"), "file", "missing_required_parameter"),
            (file(b"x", name=""), "file", "invalid_file"),
            (field("file", "x") + END, "file", "invalid_file"),
            (b"", None, "malformed_form"),
            (b"garbage", None, "malformed_form"),
            (field("purpose", "batch") + file(b"x"), None, "malformed_form"),
            (
                b"--b0undary\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
                None,
                "malformed_form",
            ),
            (
                b"--b0undary\r\nContent-Disposition: form-data; name=a\r\n"
                b"Content-Disposition: form-data; name=file\r\n\r\nx\r\n" + END,
                None,
                "malformed_form",
            ),
            (
                b"--b0undary\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
                None,
                "malformed_form",
            ),
            (
                field("purpose", "batch") + b"--b0undary\r\nX: \xff\r\n\r\n",
                None,
                "malformed_form",
            ),
        ],
    )
    @pytest.mark.parametrize("live", [True, False])
    def test_faults(self, body: bytes, param: str | None, code: str, live: bool) -> None:
        with pytest.raises(InvalidRequest) as raised:
            drain(read(body, live=live))
        assert (raised.value.param, raised.value.code) == (param, code)

    @pytest.mark.parametrize(
        ("trailer", "code"),
        [
            (file(b"y"), "too_many_files"),
            (file(b"y", part="other"), "too_many_files"),
            (field("purpose", ""), "missing_required_parameter"),
            (field("file", "text"), "invalid_file"),
        ],
    )
    def test_faults_behind_a_live_file(self, trailer: bytes, code: str) -> None:
        form = read(field("purpose", "batch") + file(b"x") + trailer + END)
        assert b"".join(form.file.body.blocks()) == b"x"
        with pytest.raises(InvalidRequest) as raised:
            list(form.trailing)
        assert raised.value.code == code

    def test_a_body_that_breaks_off_behind_its_closing_boundary(self) -> None:
        body = field("purpose", "batch") + file(b"x") + END
        request = RequestBody(io.BytesIO(body), content_length=len(body) + 2)
        form = read_form(FormReader(request, CONTENT_TYPE, Settings()), Settings(), live=True)
        with pytest.raises(RequestBroken):
            drain(form)


class TestLimits:
    @pytest.mark.parametrize("live", [True, False])
    def test_the_file_may_be_as_large_as_the_limit(self, live: bool) -> None:
        body = field("purpose", "batch") + file(bytes(1000)) + END
        assert drain(read(body, live=live, settings=SMALL))[0] == bytes(1000)

    @pytest.mark.parametrize("live", [True, False])
    def test_and_not_larger(self, live: bool) -> None:
        body = field("purpose", "batch") + file(bytes(1001)) + END
        with pytest.raises(PayloadTooLarge, match="at most 1000 bytes") as raised:
            drain(read(body, live=live, settings=SMALL))
        assert raised.value.param == "file"

    @pytest.mark.parametrize(
        "body",
        [
            field("note", "x" * 2000) + field("purpose", "batch") + file(b"x") + END,
            b"".join(field("note", "x" * 300) for _ in range(4)) + END,
            b"".join(field("n", "") for _ in range(5)) + END,
            b"--b0undary\r\nX-Endless: " + b"x" * 10_000,
            b"x" * 10_000,
            field("purpose", "batch") + file(b"x") + END + b"x" * 10_000,
            field("purpose", "batch", "X-Long: " + "x" * 1100) + file(b"x") + END,
        ],
        ids=["field", "fields", "parts", "header", "preamble", "epilogue", "part header"],
    )
    def test_everything_else_is_limited_too(self, body: bytes) -> None:
        with pytest.raises(PayloadTooLarge) as raised:
            drain(read(body, settings=SMALL))
        assert raised.value.code == "form_too_large"


@given(st.data())
def test_however_the_bytes_arrive_the_parts_are_the_same(data: st.DataObject) -> None:
    content = data.draw(st.binary(max_size=200) | st.text("\r\n-b0undary").map(str.encode))
    if b"\n--b0undary" in b"\n" + content or b"\r--b0undary" in content:
        return
    body = field("purpose", "batch") + file(content) + field("late", "yes") + END
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=8)))
    pieces = [body[i:j] for i, j in itertools.pairwise([0, *cuts, len(body)])]
    assert drain(read_in(pieces)) == (content, [("late", b"yes")])


@given(st.data())
def test_a_truncated_form_is_always_an_error(data: st.DataObject) -> None:
    body = field("purpose", "batch") + file(b"content\r\n") + field("late", "yes") + END
    end = data.draw(st.integers(0, len(body) - len(b"\r\n") - 1))
    with pytest.raises(FilesError):
        drain(read(body[:end], live=data.draw(st.booleans())))


def test_a_block_that_ends_inside_the_line_of_a_boundary() -> None:
    """werkzeug's own decoder adds the CR of the line break before it to the part."""
    body = field("purpose", "batch") + file(b"content") + field("late", "yes") + END
    for behind in (b"content\r\n--b0undary", b"yes\r\n--b0undary"):
        end = body.index(behind) + len(behind)
        for cut in range(end - 15, end + 4):
            assert drain(read_in([body[:cut], body[cut:]])) == (b"content", [("late", b"yes")])


@pytest.mark.parametrize("blanks", [b"", b" \t"])
def test_a_part_that_ends_with_its_head(blanks: bytes) -> None:
    """werkzeug's own decoder takes half a boundary for content there, and misses the rest."""
    head = file(b"")[: -len(b"\r\n")]
    late = field("late", "yes").replace(b"\r\n", blanks + b"\r\n", 1)
    body = field("purpose", "batch") + head + late + END
    for cut in range(1, len(body)):
        assert drain(read_in([body[:cut], body[cut:]])) == (b"", [("late", b"yes")])


def test_a_block_that_ends_within_the_line_break_of_a_boundary() -> None:
    """werkzeug's own decoder takes the LF for an empty head, if an empty line follows."""
    purpose, content = (
        part.replace(b"\r\n", b"\r\n\n", 1) for part in (field("purpose", "batch"), file(b"x"))
    )
    body = purpose + content + field("late", "yes").replace(b"\r\n", b"\r\n\n", 1) + END
    for cut in range(1, len(body)):
        assert drain(read_in([body[:cut], body[cut:]])) == (b"x", [("late", b"yes")])


def test_blanks_behind_a_boundary() -> None:
    end = b"--b0undary-- \t \r\n"
    body = field("purpose", "batch") + file(b"content") + end
    for cut in range(1, len(body)):
        assert drain(read_in([body[:cut], body[cut:]])) == (b"content", [])


#: What content looks like a boundary's line with, and is none.
NEARLY = st.lists(
    st.sampled_from(
        [
            *(
                b"\r",
                b"\n",
                b"\r\n",
                b"-",
                b"--",
                b"b0undary",
                b"--b0undary",
                b" ",
                b"\t",
                b"x",
            ),
            *(b"\r\n--b0undaryx", b"\r\n--b0undary-", b"\r\n--b0undar\r\n", b"\n--b0undary x"),
        ]
    ),
    max_size=12,
).map(b"".join)
LINE = re.compile(rb"(\r\n|\r|\n)--b0undary(--|[^\S\r\n]*[\r\n])")


@given(st.data())
def test_content_that_looks_like_a_boundary(data: st.DataObject) -> None:
    content = data.draw(NEARLY.filter(lambda c: not LINE.search(b"\r\n" + c + b"\r\n")))
    body = field("purpose", "batch") + file(content) + field("late", "yes") + END
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=8)))
    edges = [0, *cuts, len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert drain(read_in(pieces)) == (content, [("late", b"yes")])


def test_nothing_is_held_back_that_is_no_boundary() -> None:
    """A block of lines goes on whole; copying its end to the next would cost each time."""
    body = field("purpose", "batch") + file(b"")[: -len(b"\r\n")]
    lines = b'{"a": 1}\r\n' * 10
    pieces = [body, lines + b"x", lines + b"\r\n--b0un", b"dery", b"\r\n" + END]
    blocks = [block for block in read_in(pieces).file.body.blocks() if block]
    assert blocks == [lines + b"x", lines, b"\r\n--b0undery"]
