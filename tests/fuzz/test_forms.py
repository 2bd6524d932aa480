"""Forms of all kinds, however they come in; and mangled ones, looked at from all sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from werkzeug.sansio.multipart import MultipartDecoder

from flask_portkey_files import boundary, multipart

from ..unit.forms import BOUNDARY, END, field, file
from .forms import Form, forms, mutated, sizes
from .outcome import ours
from .profile import bounded
from .targets import TARGETS, Finding, Fuzzed, check_form


@bounded(150)
@given(forms(), sizes())
def test_a_form_has_the_same_parts_however_it_comes_in(
    form: Form, cut: tuple[int, ...]
) -> None:
    parts = check_form(form.body, form.boundary, cut)
    assert parts is not None, ours(form.body, form.boundary)
    assert parts.fields == form.fields
    assert parts.filename == form.filename
    assert parts.content == form.content


@bounded(150)
@given(mutated(), sizes())
def test_a_mangled_form_is_refused_or_read_alike_by_all(
    case: tuple[Form, bytes, bool], cut: tuple[int, ...]
) -> None:
    form, body, truncated = case
    parts = check_form(body, form.boundary, cut)
    assert not (truncated and parts), "a truncated form was taken"


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_what_is_fuzzed_passes_on_its_seeds(target: Fuzzed) -> None:
    for seed in (*target.seeds, *target.words, b""):
        target.run(seed)
        target.run(seed[: len(seed) // 2])


def test_a_decoder_that_reads_pieces_otherwise_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """werkzeug's own, whose faults the gateway's decoder mends."""
    body = field("purpose", "batch") + file(b"content") + END
    # One byte behind the text of the last boundary.
    cut = len(body) - len(b"-\r\n")
    assert check_form(body, BOUNDARY, (cut, 1000)) is not None

    class Plain(boundary.Decoder):
        next_event = MultipartDecoder.next_event

        def _last_partial_boundary_index(self, data: bytes | bytearray) -> int:
            return MultipartDecoder._last_partial_boundary_index(self, data)

    monkeypatch.setattr(multipart, "Decoder", Plain)
    with pytest.raises(Finding, match="by how the bytes came in"):
        check_form(body, BOUNDARY, (cut, 1000))


def test_a_form_that_is_sent_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    body = field("purpose", "batch") + file(b"x") + END
    head = 'Content-Disposition: form-data; name="other"\r\n\r\n'
    monkeypatch.setattr("flask_portkey_files.encoder._headers", lambda part: head)
    with pytest.raises(Finding, match="a provider reads other fields"):
        check_form(body, BOUNDARY, (7,))
