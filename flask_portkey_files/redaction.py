"""Keeping secrets out of logs, and out of what shows the variables of a failed function."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from werkzeug.datastructures import EnvironHeaders

#: What stands in the place of a secret.
MASK = "***"

# Names whose values are secrets: of headers, options, fields of JSON and XML.
# Bounded, since a line of a log may be one long word.
_NAME = (
    r"(?<![\w-])[\w-]{0,40}(?:authorization|secret|token|passw(?:or)?d|credential|signature|cookie"
    r"|service[-_]account[-_]json"
    r"|(?:api|access|account|customer|functions|private|subscription)[-_]?key)[\w-]{0,40}"
)
_IS_NAME = re.compile(_NAME, re.IGNORECASE)
# Short names are such only in a query.
_IN_QUERY = rf"(?:{_NAME}|key|sig|code|auth|assertion)"

_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # A private key in PEM, its line breaks escaped or not, up to where it was cut off.
        r"()()-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
        r"(?s:.)*?(?:-----END [A-Z ]{0,20}PRIVATE KEY-----|\Z)",
        # A config can hold anything, up to the end of its header, as can JSON.
        r"((?:x-portkey-config|service[-_]account[-_]json)[\"']?\s*[:=,]\s*[bu]?[\"']?)()[^\r\n]+",
        r"(\b(?:set-)?cookie2?\s*:\s*)()[^\r\n]+",
        # Authorization: Bearer token, also as Python and JSON write a mapping or a pair.
        rf"({_NAME}\\?[\"']?\s*[:=,]\s*[bu]?)(\\?[\"'])(?:(?!\2)[^\r\n])+",
        rf"({_NAME}\s*[:=]\s*)()(?:(?:bearer|basic|digest|aws4-hmac-sha256)\s[^\r\n]+|"
        r"[^\s\"',;&)}\]]+)",
        rf"(<{_NAME}>)()[^<]+",
        rf"([?&]{_IN_QUERY}=)()[^&\s\"'#]+",
        r"(\b(?:bearer|basic)\s+)()[\w.~+/=-]{6,}",
        # The password of an address.
        r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@\"']*:)()[^\s/@\"']+(?=@)",
        # A JSON Web Token, and keys that show whose they are.
        r"()()(?<![\w-])eyJ[\w-]{6,}\.[\w-]+\.[\w-]*",
        r"()()\b(?:sk|pk|rk|gsk|xai|r8|fw|hf|tgp|nvapi|key)[-_][\w-]{16,}",
        r"()()\b(?:(?:AKIA|ASIA)[0-9A-Z]{12,}|AIza[\w-]{30,}|ya29\.[\w-]{10,})",
    )
)


class Secret(str):
    """Text that does not show itself where variables are shown, as in a report of a crash.

    Only its ``repr`` differs. What is made of it by a method or an operator is plain text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class SecretBytes(bytes):
    """The same for bytes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class ClientHeaders(EnvironHeaders):
    """A request's headers, of which the ``repr`` has only the names."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sorted({name for name, _ in self})})"


def is_secret(name: str) -> bool:
    """Return whether what has this name, such as an option, is likely a secret."""
    return bool(_IS_NAME.fullmatch(name))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return *text* with what looks like a secret masked.

    :param secrets: what is masked besides, wherever it stands.
    """
    for secret in secrets:
        text = text.replace(secret, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda found: found[1] + found[2] + MASK, text)
    return text


class SecretsFilter(logging.Filter):
    """Masks credentials in log records: in the message, in tracebacks and in extra fields.

    For the handlers of a host that logs at ``DEBUG``, where ``urllib3``, ``botocore`` and
    others show what they send. Known by their names or shapes are values of headers and
    fields (``Authorization``, ``x-portkey-config``, ``api_key`` …), of queries (``?key=``,
    ``X-Amz-Signature``), passwords in addresses, bearer tokens, and keys with a known
    beginning such as ``sk-``. It is a net under the care that the code takes: what has neither
    a name nor a shape is not seen.

    To be added to handlers, since a filter of a logger is not asked for the records of those
    below it.

    :param secrets: what is masked besides, such as stored keys, wherever it stands.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets = tuple(secret for secret in secrets if secret)

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask what is in *record*, and let it pass."""
        try:
            message = record.getMessage()
        except Exception:
            # Arguments that do not fit are for the handler to report; it would show them.
            message, record.args = str(record.msg), None
        clean = redact(message, self._secrets)
        if clean != message:
            record.msg, record.args = clean, None
        if record.exc_info:
            # What a formatter takes if it is there.
            shown = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_text = redact(shown, self._secrets)
            if record.exc_text != shown:
                # One that writes JSON would make the text anew.
                record.exc_info = None
        for name, value in list(vars(record).items()):
            if name not in _OWN:
                named = "" if name in _PLAIN else name
                setattr(record, name, self._masked(named, value))
        return True

    def _masked(self, name: str, value: Any, depth: int = 0) -> Any:
        """Return *value*, which stands under *name*, with what is secret of it masked."""
        if isinstance(value, str):
            return MASK if is_secret(name) else redact(value, self._secrets)
        if isinstance(value, bytes):
            return self._masked(name, value.decode("latin-1")).encode("latin-1")
        if not isinstance(value, (Mapping, list, tuple)):
            return value
        if depth == _MAX_DEPTH:  # It may have itself in it.
            return MASK
        if isinstance(value, Mapping):
            return {key: self._masked(str(key), value[key], depth + 1) for key in value}
        items = [self._masked(name, item, depth + 1) for item in value]
        return tuple(items) if isinstance(value, tuple) else items


#: How deep a field may be nested before what is further down is masked.
_MAX_DEPTH = 10

#: A record's attributes that come from no value of the program's.
_PLAIN = frozenset(vars(logging.makeLogRecord({})))
_OWN = _PLAIN - {"msg", "exc_text", "stack_info"}
