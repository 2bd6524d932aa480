"""Valid uploads of all kinds, and what can become of one on its way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

#: RFC 2046, 5.1.1: what a boundary is made of; it does not end in a space.
_BOUNDARY = "0123456789abcXYZ'()+_,-./:=?"
#: What a name may be made of; neither a backslash nor a control character is in one.
_NAMES = st.text(
    st.one_of(
        st.sampled_from("\"';=[]%22 name*é数"),
        st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="\\"),
    ),
    max_size=12,
)
_HEADERS = st.lists(
    st.sampled_from(
        [
            *("Content-Type: text/plain", "content-type: application/jsonl; charset=utf-8"),
            *("X-Mine: a: b", "Content-Transfer-Encoding: binary", "X-Empty:"),
        ]
    ),
    max_size=2,
    unique_by=lambda header: header.partition(":")[0].lower(),
)


@dataclass(frozen=True)
class Form:
    """An upload as bytes, and what is in it."""

    body: bytes
    boundary: str
    fields: tuple[tuple[str, bytes], ...]
    filename: str
    content: bytes


@st.composite
def _boundaries(draw: st.DrawFn) -> str:
    start = draw(st.text(f"{_BOUNDARY} ", max_size=8))
    return start + draw(st.text(_BOUNDARY, min_size=1, max_size=8))


def _contents(boundary: str) -> st.SearchStrategy[bytes]:
    """Return contents, most of them nearly a boundary and none of them one."""
    line = f"--{boundary}".encode()
    pieces = [
        b"\r",
        b"\n",
        b"\r\n",
        b"-",
        b"--",
        line,
        line[:-1],
        line + b"x",
        line + b"-",
        b" ",
    ]
    one = re.compile(rb"(\r\n|\r|\n)" + re.escape(line) + rb"(--|[^\S\r\n]*[\r\n])")
    near = st.lists(st.sampled_from(pieces) | st.binary(max_size=5), max_size=8).map(b"".join)
    return (near | st.binary(max_size=300)).filter(
        lambda content: not one.search(b"\r\n" + content + b"\r\n")
    )


def _quoted(name: str, escape: str) -> str:
    return name.replace('"', escape)


@st.composite
def forms(draw: st.DrawFn) -> Form:
    """Return a form with a file, a purpose and more fields, in any order."""
    boundary = draw(_boundaries())
    contents = _contents(boundary)
    names = _NAMES.filter(lambda name: name not in {"", "file", "purpose"})
    fields = draw(st.lists(st.tuples(names, contents), max_size=4))
    fields.insert(draw(st.integers(0, len(fields))), ("purpose", b"batch"))
    filename = draw(_NAMES.filter(bool))
    content = draw(contents)
    place = draw(st.integers(0, len(fields)))
    escape = draw(st.sampled_from(['\\"', "%22"]))
    parts = []
    for name, value in fields:
        parts.append((f'form-data; name="{_quoted(name, escape)}"', value))
    disposition = f'form-data; name="file"; filename="{_quoted(filename, escape)}"'
    parts.insert(place, (disposition, content))
    blanks = st.sampled_from(["", "", " ", "\t "])
    lines = [draw(st.sampled_from(["", "", "This is a form.\r\n", "\r\n"]))]
    body = lines[0].encode()
    for disposition, value in parts:
        head = [f"--{boundary}{draw(blanks)}", f"Content-Disposition: {disposition}"]
        body += "\r\n".join([*head, *draw(_HEADERS), "", ""]).encode() + value + b"\r\n"
    body += f"--{boundary}--{draw(blanks)}".encode()
    body += draw(st.sampled_from([b"\r\n", b"\r\n", b"", b"\r\nepilogue", b"\r\n\r\n"]))
    # Some write a quote as %22, and a name that has just that reads the same.
    read: Callable[[str], str] = lambda name: name.replace("%22", '"')  # noqa: E731
    return Form(
        body,
        boundary,
        tuple((read(name), value) for name, value in fields),
        read(filename),
        content,
    )


Mutation = Callable[[bytes, bytes], bytes]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Form, bytes, bool]:
    """Return a form, what became of its body, and whether that is a truncated one."""
    form = draw(forms())
    body, line = form.body, b"--" + form.boundary.encode()
    kind = draw(st.sampled_from(["cut", "flip", "double", "drop", "move", "head", "insert"]))
    at = draw(st.integers(0, len(body) - 1))
    if kind == "cut":
        # Behind the two dashes there is nothing any more that has to come.
        end = body.rindex(line + b"--") + len(line) + 1
        return form, body[: min(at, end)], True
    if kind == "flip":
        flipped = body[at] ^ (1 << draw(st.integers(0, 7)))
        return form, body[:at] + bytes([flipped]) + body[at + 1 :], False
    if kind == "insert":
        piece = draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\r\n", line]))
        return form, body[:at] + piece + body[at:], False
    if kind == "head":
        garbage = draw(st.binary(max_size=40))
        return form, body.replace(b"Content-Disposition:", garbage + b":", 1), False
    places = [found.start() for found in re.finditer(re.escape(line), body)]
    start = draw(st.sampled_from(places))
    end = start + len(line)
    if kind == "double":
        return form, body[:end] + b"\r\n" + body[start:], False
    without = body[:start] + body[end:]
    if kind == "drop":
        return form, without, False
    at = min(at, len(without))
    return form, without[:at] + line + without[at:], False


def sizes() -> st.SearchStrategy[tuple[int, ...]]:
    """Return how many bytes come with each read."""
    few = st.lists(st.integers(1, 40), min_size=1, max_size=6)
    return (few | st.lists(st.integers(1, 400), min_size=1, max_size=3)).map(tuple)


@st.composite
def framings(draw: st.DrawFn, body: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Return how *body* is sent: a header, the bytes, and what of them is the body.

    The last is ``None`` if the bytes are no complete body.
    """
    kind = draw(st.sampled_from(["length", "chunks", "long", "short", "torn", "garbage"]))
    if kind == "length":
        return b"Content-Length: %d" % len(body), body, body
    if kind == "long":
        more = draw(st.integers(1, 1000))
        return b"Content-Length: %d" % (len(body) + more), body, None
    if kind == "short":
        less = draw(st.integers(0, len(body)))
        return b"Content-Length: %d" % less, body, body[:less]
    chunked = b"Transfer-Encoding: chunked"
    edges = sorted(draw(st.sets(st.integers(1, max(1, len(body) - 1)), max_size=4)))
    chunks = [body[i:j] for i, j in zip([0, *edges], [*edges, len(body)], strict=True)]
    sent = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk] + [b"0\r\n\r\n"]
    if kind == "chunks":
        return chunked, b"".join(sent), body
    whole = b"".join(sent)
    if kind == "torn":
        # The last chunk's own end is all that may be missing and is not missed.
        return chunked, whole[: draw(st.integers(0, len(whole) - len(b"0\r\n\r\n")))], None
    size = draw(
        st.sampled_from([b"", b"-1", b"x", b"0x5", b"1 1", b"_1", b"fffffffffffffffff"])
    )
    place = draw(st.integers(0, len(sent) - 1))
    sent[place] = size + b"\r\n" + sent[place].partition(b"\r\n")[2]
    return chunked, b"".join(sent), None
