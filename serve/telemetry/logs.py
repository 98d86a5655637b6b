"""The log: events on stderr and, with ACCESS_LOG on, requests on stdout; one line each.

The lines are plain text on a terminal and JSON elsewhere. No line holds a feature's value or a query string, because
the page's form puts values there. Each worker writes its lines in a thread: a stuck reader or a full disk loses lines,
but delays no response. gunicorn's parent forks, so it has no such thread: it writes what the stream takes at once.
"""

import atexit
import json
import logging
import os
import re
import select
import threading
import time
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from serve.http.receipt import traceparent
from serve.telemetry.shared_counters import DROPPED_LINES, shared

if TYPE_CHECKING:
    from serve.telemetry.recorder import Ended

STDOUT, STDERR = 1, 2
BUFFER = 2**20  # bytes that wait for the reader of one stream; further lines are dropped
GATHER = 0.01  # seconds in which the access log's lines come together, before they are written
REQUEST_ID = re.compile(r"X-Request-Id: ([^\r]*)")
EXIT = 1.0  # seconds that the end of the process waits for the reader


class Line(msgspec.Struct):
    """One request in the access log.

    Attributes
    ----------
    time : of the response, in UTC.
    milliseconds : the request's duration.
    rows : the rows answered.
    """

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


ENCODER = msgspec.json.Encoder()


def access(requests: "Iterable[Ended]") -> bytes:
    """Make the access log's lines of requests that were answered together."""
    now, process = moment(time.time()), os.getpid()
    lines = [
        Line(
            now, asked.method, asked.path[:200], answer.status, int(1e6 * seconds + 0.5) / 1000, answer.rows,
            answer.model, answer.version, (sent := REQUEST_ID.search(answer.headers)) and sent[1],
            parent.decode() if (parent := traceparent(asked.headers)) else None, process,
        )
        for seconds, asked, answer in requests
    ]  # fmt: skip
    if on_terminal(STDOUT):
        return "".join(map(_plain, lines)).encode()
    text = ENCODER.encode_lines(lines)
    if not text.isascii():  # some characters of Unicode control a terminal, or end a line for some readers
        text = "".join(f"{json.dumps(msgspec.to_builtins(line))}\n" for line in lines).encode()
    return text


def _plain(line: Line) -> str:
    model = "" if line.version is None else f", {line.rows} rows by {line.model} {line.version}"
    return f"{line.time} {line.method} {json.dumps(line.path)} {line.status}, {line.milliseconds} ms{model}\n"


class Writer:
    """Writes lines to a stream that processes may share: at once or, after `start`, in a thread.

    Parameters
    ----------
    stream : the file descriptor.
    gather : seconds to wait for further lines before the thread writes them.
    """

    def __init__(self, stream: int, gather: float = 0.0) -> None:
        self._stream, self._gather = stream, gather
        self._lock, self._some = threading.RLock(), threading.Event()
        self._texts: deque[bytes] = deque()
        self._queued = self._written = self._dropped = 0  # bytes, bytes, lines
        self._started = False

    def start(self) -> None:
        """Start a thread that writes from now on.

        Call it in a process that does not fork again: no thread survives a fork.
        """
        self._started = True
        threading.Thread(target=self._run, name=f"log {self._stream}", daemon=True).start()
        atexit.register(self.flush)

    def write(self, lines: bytes) -> None:
        """Write or queue lines without waiting; drop them if the reader is too far behind."""
        with self._lock:
            if self._queued - self._written + len(lines) <= BUFFER:
                self._queued += len(lines)
                self._texts.append(lines)
            else:
                self._drop(lines)
            if not self._started:
                self._write_all()
        if not self._some.is_set():
            self._some.set()

    def flush(self, seconds: float = EXIT) -> None:
        """Wait until all lines are written, at most so many seconds."""
        deadline = time.monotonic() + seconds
        while self._written < self._queued and time.monotonic() < deadline:
            time.sleep(0.001)

    def _drop(self, lines: bytes) -> None:
        self._dropped += lines.count(b"\n")
        shared().mine[DROPPED_LINES] += lines.count(b"\n")

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            if self._gather:
                time.sleep(self._gather)
            self._write_all()

    def _write_all(self) -> None:
        while self._texts:
            text, at = b"".join([self._texts.popleft() for _ in range(len(self._texts))]), 0
            while at < len(text):  # as many lines as a pipe keeps together, or one longer line
                end = text.rfind(b"\n", at, at + select.PIPE_BUF) + 1 or text.index(b"\n", at) + 1
                self._write_some(text[at:end])
                at = end

    def _write_some(self, lines: bytes) -> None:
        """Write lines, then report the dropped ones."""
        try:
            self._write(lines)
            with self._lock:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                why = "its reader is stuck or gone, or the disk is full"
                self._write(notice(f"{dropped} lines of the log were dropped: {why}"))
        except OSError:  # disk full, reader gone or, without a thread that may wait, reader stuck
            with self._lock:
                self._drop(lines)
        self._written += len(lines)

    def _write(self, text: bytes) -> None:
        while text:
            if not self._started and not select.select([], [self._stream], [], 0)[1]:
                raise BlockingIOError
            # A stream that is ready takes PIPE_BUF bytes at once; a thread may wait for it to take more.
            text = text[os.write(self._stream, text if self._started else text[: select.PIPE_BUF]) :]


@lru_cache
def on_terminal(stream: int) -> bool:
    """Return whether that file descriptor is a terminal."""
    return os.isatty(stream)


def moment(seconds: float) -> str:
    """Write seconds since 1970 as 2026-01-31T12:00:00.123Z."""
    return _moment(int(seconds * 1000))


@lru_cache(2)  # the requests of several loop iterations share a millisecond
def _moment(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(2)  # thousands of lines share a second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


# gunicorn's event for an invalid request; the last part repeats the client's bytes.
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


class EventHandler(logging.Handler):
    """Hands each event to the writer of stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            EVENTS.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except Exception:
            self.handleError(record)


def notice(message: str) -> bytes:
    """The line of an event about the log itself."""
    record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
    return f"{Events().format(record)}\n".encode()


ACCESS, EVENTS = Writer(STDOUT, GATHER), Writer(STDERR)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"events": {"()": Events}},
    "handlers": {"stderr": {"()": EventHandler, "formatter": "events"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    # gunicorn's own loggers don't propagate.
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["stderr"]}},
}
