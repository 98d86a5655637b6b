"""The log: a line for each event on stderr and, with ACCESS_LOG on, a line for each request on stdout.

The lines are plain text on a terminal and JSON elsewhere. No line holds a feature's value or a query string: the page's
form has values there.
"""

import contextlib
import json
import logging
import os
import re
import select
import time
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from serve.http.messages import Answer

STDOUT, STDERR = 1, 2


class Line(msgspec.Struct):
    """One request. time: UTC, of the response; milliseconds: its duration; rows: the rows answered."""

    time: str
    method: str
    path: str
    status: int
    milliseconds: float
    rows: int
    model: str | None
    version: int | None
    request_id: str | None
    traceparent: str | None
    process: int
    level: str = "info"
    logger: str = "access"


def access(method: str, path: str, seconds: float, answer: Answer, traceparent: bytes | None) -> bytes:
    """Make the line of a request that took so many seconds, as `write` takes it."""
    now, milliseconds = moment(time.time()), int(1e6 * seconds + 0.5) / 1000
    if on_terminal(STDOUT):
        model = "" if answer.version is None else f", {answer.rows} rows by {answer.model} {answer.version}"
        return f"{now} {method} {json.dumps(path[:200])} {answer.status}, {milliseconds} ms{model}\n".encode()
    request_id = _text(dict(answer.headers).get(b"X-Request-Id"))
    line = Line(
        now, method, path[:200], answer.status, milliseconds, answer.rows, answer.model, answer.version, request_id,
        _text(traceparent), os.getpid(),
    )  # fmt: skip
    text = msgspec.json.encode(line)
    if not text.isascii():  # some characters of Unicode control a terminal, or end a line for some readers
        text = json.dumps(json.loads(text)).encode()
    return text + b"\n"


def write(lines: Iterable[bytes]) -> None:
    """Write lines to stdout; a full disk or a reader that has gone costs the lines, not the answers.

    Each write holds as many lines as the kernel keeps together in a pipe, which all workers share.
    """
    together = b""
    for line in lines:
        if together and len(together) + len(line) > select.PIPE_BUF:
            _write(together)
            together = b""
        together += line
    _write(together)


def _write(text: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(STDOUT, text)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


@lru_cache
def on_terminal(stream: int) -> bool:
    """Return whether that file descriptor is a terminal, so that a person reads the log there."""
    return os.isatty(stream)


def moment(seconds: float) -> str:
    """Write seconds since 1970 as 2026-01-31T12:00:00.123Z."""
    return _millisecond(int(seconds * 1000))


@lru_cache(2)  # dozens of lines share a millisecond, and thousands share a second
def _millisecond(milliseconds: int) -> str:
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


@lru_cache(2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


# gunicorn's event for an invalid request, up to where it repeats what was sent.
INVALID = re.compile(r"^(Invalid request from ip=\S+ [^:]*): .*", re.DOTALL)


class Events(logging.Formatter):
    """Formats an event, with its traceback, as one line of JSON, or as text for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": INVALID.sub(r"\1", record.getMessage()),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        if on_terminal(STDERR):
            line = f"{event['time']} {event['level']:<7} {event['message']}"
            return f"{line}\n{event['traceback']}" if record.exc_info else line
        return json.dumps(event)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"events": {"()": Events}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "events"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    # gunicorn's own loggers don't propagate.
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["stderr"]}},
}
