"""What is masked in a log, and what does not show itself."""

from __future__ import annotations

import io
import logging
import sys
import time
from typing import Any

import pytest

from flask_portkey_files.redaction import (
    MASK,
    ClientHeaders,
    Secret,
    SecretBytes,
    SecretsFilter,
    redact,
)

KEY = "k3y-That-M4tters"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {KEY}",
        f"authorization: {KEY}\r\nHost: x",
        f"Proxy-Authorization: Basic {KEY}==",
        f"Authorization: AWS4-HMAC-SHA256 Credential=a/b, Signature={KEY}",
        f"{{'Authorization': 'Bearer {KEY}', 'Host': 'x'}}",
        f"{{'api-key': b'{KEY}'}}",
        f"[('x-api-key', '{KEY}'), ('Host', 'x')]",
        f'{{"api_key": "{KEY}", "provider": "openai"}}',
        f'"{{\\"api_key\\": \\"{KEY}\\"}}"',
        f'x-portkey-config: {{"anything": "{KEY}"}}',
        f"x-portkey-api-key: {KEY}",
        f"x-portkey-azure-entra-client-secret: {KEY}",
        f"x-portkey-aws-session-token: {KEY}",
        f"x-portkey-vertex-service-account-json: {KEY}",
        f"Cookie: a=b; session={KEY}",
        f"Set-Cookie: a=b; session={KEY}",
        f"GET /v1/files?key={KEY}&limit=1 HTTP/1.1",
        f"https://bucket.example/file?X-Amz-Signature={KEY}",
        f"https://bucket.example/file?sv=1&sig={KEY}",
        f"http://user:{KEY}@proxy.example:8080",
        f"<SecretAccessKey>{KEY}</SecretAccessKey>",
        f"the token is Bearer {KEY}",
        f"api_key='{KEY}'",
        f'"private_key": "{KEY}"',
        f"{{'private_key_id': '1', 'private_key': '{KEY}'}}",
        f'x-portkey-vertex-service-account-json: {{"type": "a", "client": "{KEY}"}}',
        f"DefaultEndpointsProtocol=https;AccountKey={KEY};EndpointSuffix=x",
        f"Endpoint=sb://x/;SharedAccessKey={KEY}",
        f"Ocp-Apim-Subscription-Key: {KEY}",
        f"grant_type=jwt-bearer&assertion={KEY}",
    ],
)
def test_named(text: str) -> None:
    clean = redact(text)
    assert KEY not in clean
    assert MASK in clean


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-0123456789abcdefABCDEF",
        "sk-ant-api03-0123456789abcdef",
        "gsk_0123456789abcdefABCDEF",
        "xai-0123456789abcdefABCDEF",
        "r8_0123456789abcdefABCDEF",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA0123456789abcdefghijklmnopqrstuvw",
        "ya29.a0AfH6SMBx0123456789",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ],
)
def test_known_by_its_shape(key: str) -> None:
    assert redact(f"sent {key}, and more") == f"sent {MASK}, and more"


@pytest.mark.parametrize("line_break", ["\n", "\\n", "\\\\n"])
@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "ENCRYPTED "])
def test_private_keys(kind: str, line_break: str) -> None:
    lines = [f"-----BEGIN {kind}PRIVATE KEY-----", KEY, KEY, f"-----END {kind}PRIVATE KEY-----"]
    assert redact(f"read {line_break.join(lines)} from") == f"read {MASK} from"
    # One that was cut off, too.
    assert redact(f"read {line_break.join(lines[:3])}") == f"read {MASK}"


@pytest.mark.parametrize(
    "text",
    [
        "Starting new HTTPS connection (1): api.openai.com:443",
        "upload: The provider local did not answer in time; try again later.",
        "GET /v1/files/file-abc123/content?limit=20&after=file-1 HTTP/1.1",
        "a config of 3 targets; the task-force met at 12:30",
    ],
)
def test_nothing_else_is_touched(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a",
            "key-",
            "sk-a.",
            "a://",
            "?key",
            "=\"'",
            "Bearer ",
            "eyJaaaaaa-",
            "eyJaaaaaa.a-",
        ),
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_time_grows_with_the_length_only(text: str) -> None:
    """A line of a log may be a client's to write: none takes for ever."""

    def seconds(count: int) -> float:
        started = time.process_time()
        redact(text * (count // len(text)))
        return time.process_time() - started

    seconds(1000)
    # A hundred times as much; by the square it would be ten thousand times.
    assert seconds(200_000) < max(2000 * seconds(2000), 2)


class TestFilter:
    def logged(
        self, *secrets: str, level: int = logging.DEBUG
    ) -> tuple[logging.Logger, io.StringIO]:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(message)s"))
        handler.addFilter(SecretsFilter(secrets))
        logger = logging.Logger("any", level)
        logger.addHandler(handler)
        return logger, stream

    def test_messages(self) -> None:
        logger, stream = self.logged()
        logger.debug("header %s: %s", "Authorization", f"Bearer {KEY}")
        logger.debug("nothing %d", 5)
        assert stream.getvalue() == f"header Authorization: {MASK}\nnothing 5\n"

    def test_tracebacks(self) -> None:
        logger, stream = self.logged()
        try:
            raise ValueError(f"Authorization: Bearer {KEY}")
        except ValueError:
            logger.exception("failed")
        assert KEY not in stream.getvalue()
        assert f"ValueError: Authorization: {MASK}" in stream.getvalue()

    def test_tracebacks_that_a_formatter_makes_itself(self) -> None:
        """As those that write JSON do, which do not look at ``exc_text``."""
        for text, kept in ((f"Bearer {KEY}", False), ("nothing to hide", True)):
            try:
                raise ValueError(text)
            except ValueError:
                info = sys.exc_info()
            record = logging.makeLogRecord({"msg": "failed", "exc_info": info})
            assert SecretsFilter().filter(record)
            assert (record.exc_info is not None) is kept
            assert "ValueError" in logging.Formatter().format(record)

    def test_extra_fields(self) -> None:
        record = logging.makeLogRecord({"api_key": KEY, "url": f"http://x/?key={KEY}", "n": 1})
        assert SecretsFilter().filter(record)
        assert (record.__dict__["api_key"], record.__dict__["n"]) == (MASK, 1)
        assert record.__dict__["url"] == f"http://x/?key={MASK}"

    def test_extra_fields_with_more_in_them(self) -> None:
        headers: dict[str, Any] = {
            "Authorization": f"Bearer {KEY}",
            "Host": "x",
            "Cookie": None,
            "tokens": 1,
        }
        headers["itself"] = headers
        extra: dict[str, Any] = {"headers": headers}
        extra["lines"] = [f"api_key={KEY}", ("a", b"token=" + KEY.encode())]
        record = logging.makeLogRecord(extra)
        assert SecretsFilter().filter(record)
        told = vars(record)["headers"]
        assert told.pop("itself")["Authorization"] == MASK
        assert told == {"Authorization": MASK, "Host": "x", "Cookie": None, "tokens": 1}
        assert vars(record)["lines"] == [f"api_key={MASK}", ("a", f"token={MASK}".encode())]
        # What the caller has is the caller's.
        assert headers["Authorization"] == f"Bearer {KEY}"

    def test_what_it_is_told(self) -> None:
        logger, stream = self.logged("plain words", "")
        logger.info("these are plain words, unnamed")
        assert stream.getvalue() == f"these are {MASK}, unnamed\n"

    def test_arguments_that_do_not_fit(self, capsys: pytest.CaptureFixture[str]) -> None:
        logger, stream = self.logged()
        text = "one %s two %s"
        logger.info(text, f"Bearer {KEY}")
        assert KEY not in stream.getvalue() + capsys.readouterr().err
        assert "one %s two %s" in stream.getvalue()


def test_secrets_do_not_show_themselves() -> None:
    secret, data = Secret(KEY), SecretBytes(KEY.encode())
    assert KEY not in repr([secret, data, {"key": secret}])
    # In all else they are what they are.
    assert (secret, data, f"{secret}", hash(secret)) == (KEY, KEY.encode(), KEY, hash(KEY))


def test_headers_show_their_names() -> None:
    headers = ClientHeaders({"HTTP_AUTHORIZATION": f"Bearer {KEY}", "HTTP_HOST": "x"})
    assert repr(headers) == "ClientHeaders(['Authorization', 'Host'])"
    assert headers.get("authorization") == f"Bearer {KEY}"
