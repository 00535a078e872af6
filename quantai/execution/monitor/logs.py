"""Logs as JSON lines: one line an event, with the run and the venue it belongs to, and never a secret.

A line has `ts` (ISO 8601, UTC), `level`, `event`, `message`, `logger`, `run`, `mode`, `venue`, and what the event says
besides. Names of events do not change; `message` is for people and may. What a line says more goes into `extra` of the
standard library's logging:

    _log.warning("it is late", extra={"event": "feed_state", "venue": "OKX", "state": "silent"})
"""

import json
import logging
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from quantai.core.errors import QuantaiError, StorageError
from quantai.core.plain import plain
from quantai.ops.secrets import LEAST_LETTERS, given_out

_RUN: ContextVar[dict[str, str] | None] = ContextVar("quantai_run", default=None)
_USUAL = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET = re.compile(r"KEYS?$|SECRET$|PASSWORD$|PASSPHRASE$|TOKEN$")
_IN_TEXT = re.compile(
    r"(?i)\b((?:signature|api-?key|listen-?key|token|secret|password)[\"']?\s*[=:]\s*[\"']?)[^\s&\"',}]+"
)
_HIDDEN = "***"


class Event(StrEnum):
    """Names of lines."""

    MESSAGE = "message"  # anything else
    RUN_STARTED = "run_started"  # a run begins to trade
    RUN_ENDED = "run_ended"  # it trades no more
    RUN_FAILED = "run_failed"  # it could not begin, or something ended it
    PROCESS_STATE = "process_state"  # of a service: its process is checking, waiting, starting, trading, refused …
    METRICS_SERVED = "metrics_served"  # where its metrics are
    RECONCILED = "reconciled"  # our books agree with the venues': orders may go out
    ALARM_RAISED = "alarm_raised"  # something is wrong; `alarm` names it
    ALARM_CLEARED = "alarm_cleared"  # it is over
    FEED_STATE = "feed_state"  # a feed is connecting, up, silent or down now
    RECORDING_STARTED = "recording_started"  # a recording begins to take rows
    RECORDING_ENDED = "recording_ended"  # it takes no more: what it came to
    CONNECTION = "connection"  # of a recording: one is connected, disconnected, stale or resumed
    GAP = "gap"  # rows of an instrument may be missing from a recording; `detail` says why
    MESSAGE_QUARANTINED = "message_quarantined"  # a venue sent what cannot be read
    REPORT_LEFT_OUT = "report_left_out"  # a venue said of an order what cannot be
    FEE_LEFT_OUT = "fee_left_out"  # a fee in a currency that the run does not know
    LIMIT_LOOSENED = "limit_loosened"  # a run goes on with a limit that is looser than before
    LAST_CANCELS = "last_cancels"  # an error ends the run: its orders are being canceled
    TOLD = "told"  # a person or a program gave the run a decision
    REFUSED = "refused"  # one that cannot be obeyed
    NOT_SENT = "not_sent"  # a request may not have arrived: the venue is asked what became of it


def about(**said: str) -> dict[str, str]:
    """Let all lines of this task, and of those it starts, say this; returns what they say, to be added to.

    >>> about(mode="paper")["run"] = "demo_1"
    >>> json.loads(JsonLines().format(logging.makeLogRecord({"msg": "hello"})))["run"]
    'demo_1'
    """
    now = dict(said)
    _RUN.set(now)
    return now


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets = _secrets()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        said: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(), "event": Event.MESSAGE, "message": record.getMessage(),
            "logger": record.name, "run": "", "mode": "", "venue": "",
        }  # fmt: skip
        said |= _RUN.get() or {}
        said |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(self._hidden(_plain(said)), ensure_ascii=False, allow_nan=False)

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in sorted(self._secrets | given_out(), key=len, reverse=True):
                value = value.replace(secret, _HIDDEN)
            return _IN_TEXT.sub(rf"\1{_HIDDEN}", value)
        if isinstance(value, dict):
            return {name: _HIDDEN if _SECRET.search(name.upper()) else self._hidden(v) for name, v in value.items()}
        return [self._hidden(item) for item in value] if isinstance(value, list) else value


@contextmanager
def json_lines(to: str) -> Generator[None]:
    """Log everything of ours as JSON lines to a file, which grows, or with "-" to stderr; "" is nowhere.

    Raises StorageError for a file that cannot be opened.
    """
    if not to:
        yield
        return
    stream = _opened(to)
    handler, logger = logging.StreamHandler(stream), logging.getLogger("quantai")
    handler.setFormatter(JsonLines())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except QuantaiError as error:
        logger.error("%s", error, extra={"event": Event.RUN_FAILED})
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        if stream is not sys.stderr:
            stream.close()


def _opened(to: str) -> TextIO:
    if to == "-":
        return sys.stderr
    try:
        return os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"log {to} cannot be written: {error.strerror}") from None


def _secrets() -> frozenset[str]:
    """Return the values of the environment that are secrets by their names: no line may say them."""
    found = [word for name, value in os.environ.items() if _SECRET.search(name.upper()) for word in value.split()]
    parts = [word.partition(":")[2] for word in found]  # role:key
    return frozenset(word for word in (*found, *parts) if len(word) >= LEAST_LETTERS)


def _plain(value: Any) -> Any:
    try:
        return plain(value)
    except TypeError:
        return {name: value if isinstance(value, str) else repr(value) for name, value in value.items()}
