"""The log, a line of JSON for each event (stderr) and, where ACCESS_LOG is on, for each request (stdout).

No line holds a feature's value, nor a query: the page's form has values there.
"""

import contextlib
import json
import logging
import logging.config
import os
import time

import msgspec
from gunicorn.glogging import Logger


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


def access(**fields):
    """Write a Line's fields to stdout. A full disk or a reader that has gone away costs the line, not the answer."""
    line = Line(time=moment(time.time()), process=os.getpid(), **fields)
    with contextlib.suppress(OSError):
        os.write(1, msgspec.json.encode(line) + b"\n")


def moment(seconds):
    """Seconds since 1970 as 2026-01-31T12:00:00.123Z."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1000):03}Z"


class Events(logging.Formatter):
    """Formats an event as one line of JSON, its traceback with it."""

    def format(self, record):
        event = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event)


class EventLogger(Logger):
    """gunicorn's logger, and everybody else's in its workers, as Events.

    Not by gunicorn's own setting logconfig_dict: with that it makes up a line of its own for each request.
    """

    def setup(self, cfg):
        super().setup(cfg)
        logging.config.dictConfig(LOGGING)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"events": {"()": Events}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "events"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    # gunicorn's own don't propagate.
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["stderr"]}},
}
