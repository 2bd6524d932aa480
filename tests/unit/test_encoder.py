from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_portkey_files.encoder import FormEncoder
from flask_portkey_files.errors import SpoolUnavailable
from flask_portkey_files.form import FilePart, FormField, UploadForm
from flask_portkey_files.multipart import read_form
from flask_portkey_files.settings import KIB, Settings
from flask_portkey_files.spool import SpooledFile

from .forms import END, field, file, parse, reader

FORM = (
    field("purpose", "batch")
    + field("expires_after[seconds]", "3600", "Content-Type: text/plain; charset=utf-8")
    + field("expires_after[seconds]", b"\xff\x00")
    + file(b"\r\ncontent\r\n", 'dön \\"n.jsonl', "content-type: application/jsonl", "X-Mine: 1")
)
PARTS = [
    ("purpose", None, b"batch", {}),
    ("expires_after[seconds]", None, b"3600", {"Content-Type": "text/plain; charset=utf-8"}),
    ("expires_after[seconds]", None, b"\xff\x00", {}),
    (
        "file",
        'dön "n.jsonl',
        b"\r\ncontent\r\n",
        {"Content-Type": "application/jsonl", "X-Mine": "1"},
    ),
]


def form_of(body: bytes, *, live: bool) -> UploadForm:
    return read_form(reader(body), Settings(), live=live)


def test_a_live_form_has_no_length_and_goes_out_as_it_came() -> None:
    encoder = FormEncoder(form_of(FORM + field("late", "yes") + END, live=True))
    assert not hasattr(encoder, "len")
    assert parse(encoder.read(), encoder.content_type) == [*PARTS, ("late", None, b"yes", {})]
    assert encoder.finished


def test_a_spooled_form_has_its_exact_length_and_the_file_last() -> None:
    body = file(b"content") + field("purpose", "batch") + END
    form = form_of(body, live=True)
    encoder = FormEncoder(form)
    data = encoder.read()
    assert encoder.len == len(data)
    assert [part[0] for part in parse(data, encoder.content_type)] == ["purpose", "file"]
    # It can be sent again.
    again = FormEncoder(form)
    assert parse(again.read(), again.content_type) == parse(data, encoder.content_type)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_reads_never_exceed_their_size_and_lose_nothing(live: bool, size: int) -> None:
    encoder = FormEncoder(form_of(FORM + END, live=live))
    before = encoder.started
    blocks = list(iter(lambda: encoder.read(size), b""))
    assert max(map(len, blocks)) <= size
    assert parse(b"".join(blocks), encoder.content_type) == PARTS
    assert (before, encoder.started, encoder.finished) == (False, True, True)


def test_reading_the_rest_after_a_piece() -> None:
    encoder = FormEncoder(form_of(FORM + END, live=True))
    assert parse(encoder.read(10) + encoder.read(), encoder.content_type) == PARTS
    assert encoder.read() == encoder.read(10) == b""


@pytest.mark.parametrize("live", [True, False])
def test_a_file_of_no_bytes(live: bool) -> None:
    encoder = FormEncoder(form_of(field("purpose", "batch") + file(b"") + END, live=live))
    assert parse(encoder.read(), encoder.content_type)[1][2] == b""


def test_the_head_goes_before_anything_of_the_file_is_read() -> None:
    class Body:
        length = None

        def blocks(self) -> Iterator[bytes]:
            pytest.fail("read")

        def close(self) -> None:
            pass

    part = FilePart("a.txt", "text/plain", (), Body())
    encoder = FormEncoder(UploadForm((FormField("purpose", b"batch"),), part))
    head = encoder.read(10_000)
    assert head.endswith(b"\r\nContent-Type: text/plain\r\n\r\n")
    assert b"\r\n\r\nbatch\r\n--" in head


@pytest.mark.parametrize(
    "filename",
    [
        '"a%22b\\\\c\\"d.txt"',
        "a.txt",
        "\"a.txt\"; filename*=utf-8''a%0D%0AX-Evil%3A%201",
        '"数据.jsonl"',
    ],
)
def test_a_file_name_goes_out_as_it_was_written(filename: str) -> None:
    disposition = f'form-data; name="file"; filename={filename}'.encode()
    body = b"--b0undary\r\nContent-Disposition: " + disposition + b"\r\n\r\nx\r\n"
    data = FormEncoder(form_of(field("purpose", "batch") + body + END, live=True)).read()
    assert b"\r\nContent-Disposition: " + disposition + b"\r\n" in data


@pytest.mark.parametrize(
    ("disposition", "made"),
    [
        ('form-data; name="purpose"; name="note"', 'form-data; name="note"'),
        ("form-data; name*=utf-8''note", 'form-data; name="note"'),
        ('form-data; name*0="no"; name*1="te"', 'form-data; name="note"'),
    ],
)
def test_a_name_that_could_be_read_otherwise_is_written_anew(
    disposition: str, made: str
) -> None:
    body = f"--b0undary\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n".encode()
    form = form_of(field("purpose", "batch") + body + file(b"x") + END, live=True)
    data = FormEncoder(form).read()
    assert f"\r\nContent-Disposition: {made}\r\n".encode() in data
    assert disposition.encode() not in data


def test_an_empty_type_is_no_type() -> None:
    form = form_of(field("purpose", "b") + file(b"x", "a", "Content-Type:") + END, live=True)
    assert b"Content-Type: application/octet-stream\r\n" in FormEncoder(form).read()


def test_a_form_of_ones_own() -> None:
    """A provider may make a form: its names are escaped, and no line break is let through."""
    spool = SpooledFile([b"x"], Settings())
    part = FilePart('a"b\r\nX-Evil: 1.txt', "text/plain", (), spool)
    data = FormEncoder(UploadForm((FormField("na\nme", b"v"),), part)).read()
    assert b'name="na%0Ame"\r\n\r\nv\r\n' in data
    assert b'name="file"; filename="a%22b%0D%0AX-Evil: 1.txt"\r\n' in data
    assert b"Content-Type: text/plain\r\n" in data


class TestSpool:
    def test_small_files_stay_in_memory(self, tmp_path: Path) -> None:
        spool = SpooledFile(
            [b"ab", b"c"], Settings(spool_memory=3, spool_dir=str(tmp_path / "no"))
        )
        assert b"".join(spool.blocks()) == b"abc"
        spool.close()

    def test_larger_ones_go_to_a_file_that_has_no_name(self, tmp_path: Path) -> None:
        settings = Settings(spool_memory=3, spool_dir=str(tmp_path), block_size=KIB)
        spool = SpooledFile([b"ab", b"cd", b"e" * 3000], settings)
        assert list(tmp_path.iterdir()) == []
        assert [len(block) for block in spool.blocks()] == [1024, 1024, 956]
        assert b"".join(spool.blocks()) == b"abcd" + b"e" * 3000
        spool.close()
        with pytest.raises(ValueError, match="closed"):
            list(spool.blocks())

    def test_no_room(self, tmp_path: Path) -> None:
        settings = Settings(spool_memory=0, spool_dir=str(tmp_path / "missing"))
        with pytest.raises(SpoolUnavailable):
            SpooledFile([b"x"], settings)

    def test_nothing_is_left_when_the_file_breaks_off(self, tmp_path: Path) -> None:
        def blocks() -> Iterator[bytes]:
            yield b"x" * 10
            raise KeyError

        with pytest.raises(KeyError):
            SpooledFile(blocks(), Settings(spool_memory=1, spool_dir=str(tmp_path)))


@pytest.mark.parametrize("filename", ["a\\", "a\\\\", '\\"', "C:\\data.jsonl", '"'])
def test_a_name_with_a_backslash_that_is_written_anew(filename: str) -> None:
    """Unescaped, the one at the end would make the file a field without an end."""
    escaped = filename.replace("\\", "\\\\").replace('"', "%22")
    # The other `name` makes the whole ambiguous.
    other = file(b"content", f'{escaped}"; x="; name=y')
    form = form_of(field("purpose", "batch") + other + field("n", "v") + END, live=True)
    assert form.file.filename == filename
    encoder = FormEncoder(form)
    parts = [part[:3] for part in parse(encoder.read(), encoder.content_type)]
    assert parts[1:] == [("file", filename, b"content"), ("n", None, b"v")]


def test_a_field_whose_name_has_a_backslash_at_its_end() -> None:
    whole = FilePart("f", "text/plain", (), SpooledFile(iter([b"x"]), Settings()))
    with contextlib.closing(UploadForm((FormField("a\\", b"1"),), whole)) as form:
        encoder = FormEncoder(form)
        parts = [part[:3] for part in parse(encoder.read(), encoder.content_type)]
    assert parts == [("a\\", None, b"1"), ("file", "f", b"x")]
