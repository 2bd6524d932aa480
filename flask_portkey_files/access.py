"""A line for each call, as JSON."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

from flask import Flask
from flask.logging import has_level_handler

from .call import FilesCall
from .signals import Outcome, call_finished

#: Where the lines go.
logger = logging.getLogger("flask_portkey_files.access")

#: The most characters of what a client may write as it likes.
MAX_TEXT = 256


def log_calls(app: Flask) -> None:
    """Have a line logged for each call of an application's blueprints when it is over.

    The setting ``PORTKEY_FILES_ACCESS_LOG`` does this. The line is a JSON object, in ASCII and
    without a line break whatever a client sent, and the log record has the same as the
    dictionary ``files_call``. It goes to the logger ``flask_portkey_files.access`` with the
    level ``INFO``. Where no handler is set up for that, this sets one up that writes to
    standard error.
    """
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not has_level_handler(logger):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    call_finished.connect(_log, app)


def _log(sender: Flask, call: FilesCall, outcome: Outcome) -> None:  # noqa: ARG001 - the signal's
    if logger.isEnabledFor(logging.INFO):
        told = fields(call, outcome)
        logger.info("%s", json.dumps(told), extra={"files_call": told})


def fields(call: FilesCall, outcome: Outcome) -> dict[str, Any]:
    """Return what a line says of a call that is over now.

    No credential is among it: of the client's headers only the trace id, and no query.
    """
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "operation": call.operation.value,
        "method": call.method,
        "provider": _short(outcome.provider),
        "option": outcome.option,
        "status": outcome.status,
        "error": outcome.error,
        "bytes_in": outcome.bytes_in,
        "bytes_out": outcome.bytes_out,
        "file_bytes": outcome.file_bytes,
        "first_byte": _seconds(outcome.time_to_first_byte),
        "provider_first_byte": _seconds(outcome.provider_time_to_first_byte),
        "duration": _seconds(outcome.duration),
        "attempts": outcome.attempts,
        "retries": outcome.retries,
        "replayed": outcome.replayed,
        "trace_id": _short(call.trace_id),
        "file_id": _short(call.file_id),
        "sha256": outcome.sha256,
    }


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
