"""A file's digest, computed on its way and held against what the client says it is.

The syntax is that of RFC 9530, "Digest Fields".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator

from .errors import InvalidRequest
from .form import PartHeaders

#: The request header that says what the file's SHA-256 is, in hexadecimal or base64.
REQUEST_HEADER = "x-portkey-file-sha256"
#: The response header that says what it was.
RESPONSE_HEADER = "x-portkey-file-digest"

#: The fields of a part that say what its content's digest is. A part of a form has no other
#: representation than its content, so the two mean the same there.
PART_FIELDS = frozenset({"content-digest", "repr-digest"})

#: RFC 9530's names of what is not deprecated, with Python's.
ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}

_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):\s*(?:;[^,]*)?")


class FileDigest:
    """A file's digests.

    :param expected: what the client says they are: pairs of RFC 9530's algorithm and value.
    """

    def __init__(self, expected: Iterable[tuple[str, bytes]] = ()) -> None:
        self._expected = list(expected)
        names = {"sha-256", *(algorithm for algorithm, _ in self._expected)}
        self._hashes = {name: hashlib.new(ALGORITHMS[name]) for name in sorted(names)}
        #: The SHA-256 in hexadecimal, once the file has been read to its end.
        self.sha256: str | None = None

    @classmethod
    def asked(
        cls, part: PartHeaders, request: str | None, *, always: bool
    ) -> FileDigest | None:
        """Return what is to be computed of a file, ``None`` if nothing is.

        :param part: the headers of the file's part.
        :param request: the request's header of the name :data:`REQUEST_HEADER`.
        :param always: whether it is computed even if the client says nothing of it.
        :raises InvalidRequest: what the client says is no digest.
        """
        expected = [
            found
            for name, value in part
            if name.lower() in PART_FIELDS
            for found in _parsed(name, value)
        ]
        if request is not None:
            expected.append(("sha-256", _decoded(REQUEST_HEADER, request.strip(), 32)))
        return cls(expected) if expected or always else None

    def through(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the file's *blocks*, all but its end unchecked.

        :raises InvalidRequest: the file is another one than the client says.
        """
        for block in blocks:
            for one in self._hashes.values():
                one.update(block)
            yield block
        for algorithm, value in self._expected:
            if not hmac.compare_digest(self._hashes[algorithm].digest(), value):
                raise InvalidRequest(
                    f"The file's {algorithm} is not what the request says: it was changed on "
                    "its way, or the digest is another file's. Nothing was stored; send it "
                    "again.",
                    param="file",
                    code="digest_mismatch",
                )
        self.sha256 = self._hashes["sha-256"].hexdigest()

    def field(self) -> str | None:
        """Return the SHA-256 as RFC 9530 writes it, ``None`` before the file's end."""
        if self.sha256 is None:
            return None
        return f"sha-256=:{base64.b64encode(bytes.fromhex(self.sha256)).decode()}:"


def _parsed(name: str, value: str) -> Iterator[tuple[str, bytes]]:
    """Yield the digests in a field that can be checked here."""
    for member in value.split(","):
        found = _MEMBER.fullmatch(member)
        if not found:
            raise _invalid(name)
        if found[1] in ALGORITHMS:
            size = hashlib.new(ALGORITHMS[found[1]]).digest_size
            yield found[1], _decoded(name, found[2], size)


def _decoded(name: str, text: str, size: int) -> bytes:
    try:
        if len(text) == 2 * size:
            return bytes.fromhex(text)
        value = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise _invalid(name) from None
    if len(value) != size:
        raise _invalid(name)
    return value


def _invalid(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"`{name}` is no digest that can be checked: in {REQUEST_HEADER} give the file's "
        "SHA-256 in hexadecimal or base64, in a part's Content-Digest `sha-256=:<base64>:`.",
        param=name.lower(),
        code="invalid_digest",
    )
