"""The log, a line of JSON for each event (stderr) and, where ACCESS_LOG is on, for each request (stdout).

No line holds a feature's value, nor a query: the page's form has values there.
"""

import contextlib
import json
import logging
import os
import re
import select
import time
from functools import lru_cache

import msgspec


class Line(msgspec.Struct):
    """One request. time: UTC, when it was answered; milliseconds: what answering took; rows: how many were answered."""

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


def access(method, path, seconds, answer, traceparent):
    """The Line of a request, as `write` takes it. seconds: what answering took; traceparent: bytes, or None."""
    status, headers, _, rows, model, version, _ = answer
    request_id, trace = _text(dict(headers).get(b"X-Request-Id")), _text(traceparent)
    now, milliseconds = moment(time.time()), int(1e6 * seconds + 0.5) / 1000
    line = Line(now, method, path[:200], status, milliseconds, rows, model, version, request_id, trace, os.getpid())
    text = msgspec.json.encode(line)
    if not text.isascii():  # some of Unicode is a terminal's control character, or a line's end to who reads lines
        text = json.dumps(json.loads(text)).encode()
    return text + b"\n"


def write(lines):
    """Lines to stdout. A full disk or a reader that has gone away costs the lines, not the answers.

    As many at once as a pipe keeps together, which all workers write to.
    """
    together = b""
    for line in lines:
        if together and len(together) + len(line) > select.PIPE_BUF:
            _write(together)
            together = b""
        together += line
    _write(together)


def _write(text):
    with contextlib.suppress(OSError):
        os.write(1, text)


def _text(value):
    return None if value is None else value.decode("latin-1")


def moment(seconds):
    """Seconds since 1970 as 2026-01-31T12:00:00.123Z."""
    return _millisecond(int(seconds * 1000))


@lru_cache(2)  # dozens of lines say the same one, and thousands the same second
def _millisecond(whole):
    return f"{_second(whole // 1000)}.{whole % 1000:03}Z"


@lru_cache(2)
def _second(whole):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


# What gunicorn says of a request that is none, up to where it repeats what was sent.
INVALID = re.compile(r"^(Invalid request from ip=\S+ [^:]*): .*", re.DOTALL)


class Events(logging.Formatter):
    """Formats an event as one line of JSON, its traceback with it."""

    def format(self, record):
        event = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": INVALID.sub(r"\1", record.getMessage()),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"events": {"()": Events}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "events"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    # gunicorn's own don't propagate.
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["stderr"]}},
}
