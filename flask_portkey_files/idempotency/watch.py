"""An upload on its way, watched: what it is, and when its last piece goes out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..form import FileBody, FormField, UploadForm


class Watch:
    """Computes an upload's digest on its way, and says when it is about to end.

    The digest is that of what the upload means, not of its bytes: the boundary is another one
    each time, and fields may come before the file or behind it.

    :param form: the upload; its file's digest is computed.
    :param query: the query string that it came with.
    :param ending: called before the provider can have all of it, each time that it is sent.
    """

    def __init__(self, form: UploadForm, query: str, ending: Callable[[str], None]) -> None:
        self._original = form
        self._query = query
        self._ending = ending
        self._trailing: list[FormField] = []
        body = form.file.body
        #: The upload, to be sent in its place.
        self.form = replace(
            form,
            file=replace(form.file, body=_Body(body, self._end)),
            trailing=self._watched_trailing() if form.live else (),
        )
        #: The upload's digest, once all of it has been read.
        self.digest: str | None = None
        if not form.live:
            self.digest = self._computed()

    def finish(self) -> str:
        """Read what has not been read yet, keep nothing of it, and return the digest.

        :raises FilesError: it can't be read.
        """
        if self.digest is None:
            for _ in self._original.file.body.blocks():
                pass
            self._trailing += self._original.trailing
            self.digest = self._computed()
        return self.digest

    def _watched_trailing(self) -> Iterator[FormField]:
        """Yield the fields behind the file; at their end the client's form has come whole."""
        for field in self._original.trailing:
            self._trailing.append(field)
            yield field
        self.digest = self._computed()
        self._ending(self.digest)

    def _end(self) -> None:
        assert self.digest is not None  # noqa: S101 - a file with a length has been read
        self._ending(self.digest)

    def _computed(self) -> str:
        form = self._original
        assert form.digest is not None  # noqa: S101 - the relay has it computed
        fields = [(field.name, field.value.hex()) for field in (*form.fields, *self._trailing)]
        # Those of the same name stay in their order.
        fields.sort(key=lambda pair: pair[0])
        file = [form.file.filename, form.file.content_type, form.digest.sha256]
        told = json.dumps([self._query, fields, file])
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True)
class _Body:
    """A file's content that says when its last bytes are handed out, if its length is known.

    The end of a form that is still coming in is behind the fields that follow the file.
    """

    _body: FileBody
    _end: Callable[[], None]

    @property
    def length(self) -> int | None:
        """The length in bytes, ``None`` while the file is still coming in."""
        return self._body.length

    def blocks(self) -> Iterator[bytes]:
        """Yield the content piece by piece."""
        left = self._body.length
        if left is None:
            yield from self._body.blocks()
            return
        if not left:
            self._end()
        for block in self._body.blocks():
            left -= len(block)
            if not left:
                self._end()
            yield block

    def close(self) -> None:
        """Let go of whatever holds the content."""
        self._body.close()
