"""One client connection: HTTP/1.0 and HTTP/1.1 requests in, responses out, parsed by httptools (llhttp).

The parser is fed no more than one request at a time, so that what comes behind a request waits, unparsed, until the
request is answered. A connection is closed by time limits on its client: see `Connection.time_out`.

llhttp and gunicorn's parser differ; the stricter of the two holds here:

- gunicorn's rules, which llhttp doesn't have: one space between the parts of the request line; HTTP/1.0 or HTTP/1.1
  only; a target of printable ASCII; one Host and one Content-Type; no transfer coding but chunked, none in HTTP/1.0; an
  Expect that is 100-continue; no trailer that changes routing, framing or authentication; limits on the request
  line, on a field and on the number of fields. Header names with an underscore don't reach Flask.
- llhttp's rules, which gunicorn doesn't have: only methods that are registered (others: 501), and so no CONNECT; no
  Transfer-Encoding beside a Content-Length even where they agree; chunk extensions and sizes as RFC 9112 has them.
- 64 KiB for a whole head, or for a trailer section.

An Upgrade (h2c, WebSocket) is ignored, as RFC 9110 (7.8) lets a server do: the request is answered over HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import sys
import termios
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools

from serve.http.messages import Answer, problem
from serve.server.dispatch import Call

if TYPE_CHECKING:
    from serve.server.worker import Worker

HEAD_SECONDS = 10  # for a request's head to arrive, from its first byte; and for a connection's first request
BODY_SECONDS = 30  # for the rest of a request's body
READ_SECONDS = 30  # for a client to read a response that is larger than what the kernel holds for it
REST_SECONDS = 5  # for which the rest of a refused request is read and dropped: its sender may read only then
LEAVE_SECONDS = 2  # for the first request of a connection that was accepted by a worker that stops

LINE = re.compile(rb"([A-Z-]+) ([!-~]+) HTTP/(1\.[01])\r\n")
END = b"\r\n\r\n"  # of a head, and of a chunked body
LINE_MOST, FIELD_MOST, FIELDS_MOST, HEAD_MOST = 4094, 8190, 100, 65_536
SHORT = 400  # bytes of a head that is within each limit: of 100 fields, each has four
SINGLE = {b"host", b"content-type"}  # fields that have one value (RFC 9110, 5.3)
NO_TRAILERS = {b"host", b"trailer", b"authorization", b"te"}  # RFC 9110, 6.5.1; llhttp refuses those of framing
UPGRADE = re.compile(rb"\r\nupgrade:[^\r]*", re.IGNORECASE)
HELD = 65_536  # bytes behind a request from which on no more is read
NEVER = float("inf")


class Refused(Exception):
    """What was sent is no request that can be answered; the connection ends. Arguments: the status, and why."""


@lru_cache
def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())


class Connection(asyncio.Protocol):
    """One connection of a worker.

    Attributes
    ----------
    server, client : the address and port that the client has connected to, and the client's address.
    deadline : when, by the loop's clock, the client's time is up.
    gone : whether the connection is lost.
    """

    transport: asyncio.Transport
    server: tuple[str, int | None]
    _parsed: Call  # `_call`, while it is parsed

    def __init__(self, worker: Worker) -> None:
        self._worker, self._dispatcher, self._now = worker, worker.dispatcher, worker.loop.time
        self.routes = self._dispatcher.routes
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._call: Call | None = None  # from its head to the last of its body and of its response
        self._unread, self._at = b"", 0  # what has arrived, and how much of it is parsed
        self._missing = 0  # bytes of a body of known length
        self._unframed = 0  # bytes since the last that was a chunk's
        self._upgrade = self._begun = False  # whether the head asks for another protocol; whether a head has begun
        self._answers = 0
        self._beyond = self._ended = self._closing = self._choked = False
        self.gone = False

    # asyncio's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        address, peer = (transport.get_extra_info(name) for name in ("sockname", "peername"))
        self.server = (address[0], address[1]) if isinstance(address, tuple) else (str(address), None)
        self.client: str = peer[0] if isinstance(peer, tuple) else ""
        self._beyond = not self._worker.make_room()
        self._worker.connections.add(self)
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = self._closing = True
        self._worker.forget(self)
        self._parser = None  # it refers to this object
        if call := self._call:
            self._dispatcher.release(call)
            if call.future is not None:
                call.future.cancel()
        self._forget_call()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._unread:
            data = self._unread[self._at :] + data
        self._unread, self._at = data, 0
        self._parse()
        if len(self._unread) - self._at > HELD:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Answer what is whole: a client that sends no more may still read."""
        self._ended = True
        if self._call is None or not self._call.whole:
            self._close()
        return not self._closing

    def pause_writing(self) -> None:
        self._choked = True
        self.deadline = self._now() + READ_SECONDS

    def resume_writing(self) -> None:
        self._choked = False
        self.deadline = NEVER
        self.next()

    # llhttp's callbacks.

    def on_header(self, name: bytes, value: bytes) -> None:
        call, name, value = self._parsed, name.lower(), value.rstrip()
        if call.headed:
            if name in NO_TRAILERS:
                raise Refused(400, "a trailer has a field that must be in the head")
        elif name not in call.headers:
            call.headers[name] = value
        elif name in SINGLE:
            raise Refused(400, "a field that has one value is given twice")
        else:
            call.headers[name] += b"," + value

    def on_headers_complete(self) -> None:
        call, parser = self._parsed, self._parser
        assert parser is not None
        coding = call.headers.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked":
                raise Refused(501, "the only transfer coding is chunked")
            if call.version == b"1.0":
                raise Refused(400, "HTTP/1.0 has no transfer codings")
            call.size = None
        elif length := call.headers.get(b"content-length"):
            call.size = int(length)
        call.keep_alive = parser.should_keep_alive()
        call.headed, self._upgrade = True, parser.should_upgrade()

    def on_body(self, data: bytes) -> None:
        call = self._parsed
        self._unframed = 0
        call.length += len(data)
        if not call.asked:
            call.chunks.append(data)

    def on_message_complete(self) -> None:
        self._parsed.whole = not self._upgrade

    # From bytes to a request.

    def _parse(self) -> None:
        """Parse what has arrived, up to the end of a request that is to be answered first."""
        try:
            while not self._closing and self._at < len(self._unread):
                call = self._call
                if call is not None and (call.whole or call.waiting):
                    return
                if not (self._parse_head() if call is None else self._parse_body(call)):
                    return
            self._unread, self._at = b"", 0
        except Refused as error:
            self._refuse(*error.args)

    def _parse_head(self) -> bool:
        """Parse a head, once all of it is there; whether it is."""
        data, at = self._unread, self._at
        while data.startswith(b"\r\n", at):
            at += 2
        self._at = at
        end = data.find(END, at) + len(END)
        line = LINE.match(data, at)
        if line is None or not len(END) <= end <= at + SHORT:
            self._check_sizes(end - at if end >= len(END) else 0, line)
        if end < len(END):
            if not self._begun and at < len(data):
                self._begun = True
                if self._answers:  # the first request of a connection has HEAD_SECONDS from the start
                    self._wait(HEAD_SECONDS)
            return False
        assert line is not None
        self._at = end
        head = data[at:end]
        self._call = self._parsed = call = Call(self, line)
        self._execute(head)
        if self._upgrade:
            self._parser, call = httptools.HttpRequestParser(self), Call(self, line)
            self._call = self._parsed = call
            self._execute(UPGRADE.sub(b"", head))
            if self._upgrade:
                raise Refused(501, "the method is not implemented")
        self._begin(call)
        return True

    def _check_sizes(self, size: int, line: re.Match[bytes] | None) -> None:
        """Raise Refused for a head beyond the limits, or one that can't become a request.

        Parameters
        ----------
        size : bytes of the head; 0 where it is not complete.
        line : the request line; None where it isn't complete, or wrong.
        """
        data, at = self._unread, self._at
        arrived = size or len(data) - at
        ends = line.end() if line else data.find(b"\n", at, at + LINE_MOST + 2)
        if (ends if line else ends + 1 or arrived + at) - at > LINE_MOST + 2:
            raise Refused(414, "the request line is too long")
        if line is None and (ends >= 0 or (arrived and not data[at : at + 1].isupper() and data[at : at + 1] != b"\r")):
            raise Refused(400, "the request line is not of HTTP/1.1")
        if arrived > HEAD_MOST or (size and data.count(b"\r\n", at, at + size) - 2 > FIELDS_MOST):
            raise Refused(431, "the head is too long")
        if size > FIELD_MOST and max(map(len, data[at : at + size].split(b"\r\n")[1:])) > FIELD_MOST - 2:
            raise Refused(431, "a field is too long")

    def _execute(self, data: bytes | memoryview) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserInvalidMethodError as error:
            raise Refused(501, "the method is not implemented") from error
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            raise Refused(400, str(error)) from error

    def _begin(self, call: Call) -> None:
        """A head is complete."""
        self._begun = False
        self._worker.idle.pop(self, None)
        expected = call.headers.get(b"expect")
        if expected is not None and expected.lower() != b"100-continue":
            raise Refused(417, "the only expectation is 100-continue")
        self.deadline = NEVER
        self._missing = call.size or 0
        self._dispatcher.begin(call, self.server[1])
        if call.whole and not call.asked:
            self._dispatcher.answer(call)
        elif not call.asked and not call.waiting:
            self._ask_for_body(call)

    def _ask_for_body(self, call: Call) -> None:
        self.deadline = self._now() + BODY_SECONDS
        if b"expect" in call.headers and call.version != b"1.0" and self._at == len(self._unread):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def read_body(self) -> None:
        """Read the body that has waited for its turn."""
        if self._call is not None and not self._closing:
            self._ask_for_body(self._call)
            self._parse()
            self._read_on()

    def _parse_body(self, call: Call) -> bool:
        """Parse what is there of a body; whether there was any."""
        data, at = self._unread, self._at
        if call.size is None:
            found = data.find(END, at)
            # Without the last three bytes, in which an END may begin: no request is parsed behind this one.
            end = found + len(END) if found >= 0 else len(data) - 3
            self._unframed += end - at
        else:
            end = min(len(data), at + self._missing)
            self._missing -= end - at
        if end <= at:
            return False
        self._at = end
        self._execute(memoryview(data)[at:end])
        if self._unframed > HEAD_MOST:
            raise Refused(431, "the trailers are too long")
        if call.asked:
            if call.answered and call.whole:
                self._finish(call)
        elif call.whole or self._dispatcher.too_large(call):
            self.deadline = NEVER
            self._dispatcher.answer(call)
        return True

    # From an answer to bytes.

    def send(self, answer: Answer) -> None:
        """Send the answer to the call, unless the client has gone."""
        call = self._call
        if call is None or self._closing:
            return
        call.answered = True
        # A client that expects to be asked for its body may send it or not: nobody knows where its next request begins.
        call.keep_alive &= self._worker.alive and (call.whole or b"expect" not in call.headers)
        self._write(answer, call)
        if not self._choked:
            self._dispatcher.release(call)  # before the response is on its way: its reader may ask anew at once
            if not call.whole:
                self.deadline = self._now() + REST_SECONDS

    def _write(self, answer: Answer, call: Call | None) -> None:
        parts = [_status_line(answer.status), self._worker.date]
        parts += [b"%b: %b\r\n" % header for header in answer.headers]
        head = call is not None and call.method == "HEAD"
        if not head and answer.status != HTTPStatus.NOT_MODIFIED:
            parts.append(b"Content-Length: %d\r\n" % len(answer.body))
        if call is None or not call.keep_alive:
            parts.append(b"Connection: close\r\n")
        elif call.version == b"1.0":
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        if not head:
            parts.append(answer.body)
        self._answers += 1
        self._worker.nr += 1
        self.transport.write(b"".join(parts))

    def next(self) -> None:
        """Go on to the next request, once the present one is answered and its client has room for more."""
        call = self._call
        if call is not None and call.answered and call.whole and not self._choked and not self._closing:
            self._finish(call)
            self._parse()
            self._read_on()

    def _finish(self, call: Call) -> None:
        if call.admitted or call.large:
            self._dispatcher.release(call)
        self._forget_call()
        if not call.keep_alive or (self._ended and self._at == len(self._unread)):
            self._close()
        else:
            self._wait(self._worker.cfg.keepalive)

    def _forget_call(self) -> None:
        """Hold no request, and its body, for longer than it takes: it refers to this object, so it would stay."""
        self._call, self._parsed = None, cast(Call, None)

    def _wait(self, seconds: float) -> None:
        """Let the connection be idle, the last of all to give way to others."""
        self.deadline = self._now() + seconds
        self._worker.idle.pop(self, None)
        self._worker.idle[self] = None

    def _read_on(self) -> None:
        if not self._closing and len(self._unread) - self._at <= HELD:
            self.transport.resume_reading()

    # The end of a connection.

    def _refuse(self, status: int, why: str) -> None:
        call = self._call
        if call is None or not call.asked:
            self._end(problem(status, HTTPStatus(status).phrase, why))
        elif call.answered:
            self._close()
        else:  # whose answer is being made: it is the last one
            call.whole, call.keep_alive, self._unread, self._at = True, False, b"", 0

    def _end(self, answer: Answer) -> None:
        """Send the last answer, and read on and drop it: closing at once could make the client lose the answer."""
        if self._call is not None:
            self._dispatcher.release(self._call)
            self._call.keep_alive = False
        self._write(answer, self._call)
        if self._ended or not self.transport.can_write_eof():
            self._close()
        else:
            self._closing = True
            self._worker.idle.pop(self, None)
            self.transport.write_eof()
            self.deadline = self._now() + REST_SECONDS

    def _close(self) -> None:
        self._closing = True
        self._worker.idle.pop(self, None)
        self.deadline = self._now() + READ_SECONDS  # for what is not sent yet
        self.transport.close()

    def time_out(self) -> None:
        """The client's time is up."""
        call = self._call
        if self._closing or self._choked:
            self.transport.abort()
        elif call is None and self._arrived():
            pass  # it is read in the loop's next turn
        elif call is None and (self._begun or not self._answers) and self._worker.alive:
            self._refuse(408, "no request came in time")
        elif call is None or call.answered:
            self._close()
        else:
            self._end(self._dispatcher.time_out(call))

    def leave(self) -> None:
        """The worker stops, and takes no more connections: answer what has begun, and close what is idle."""
        if self._call is None and not self._closing:
            served = self._answers and not self._begun
            self.deadline = min(self.deadline, self._now() + (0 if served else LEAVE_SECONDS))
            if self.deadline <= self._now():
                self.time_out()

    def give_way(self) -> bool:
        """Close an idle connection, unless a request has arrived meanwhile; whether it is closed."""
        if self._arrived():
            return False
        self._closing = True
        self.transport.abort()
        return True

    def beyond_limit(self) -> bool:
        """Whether the worker has more connections than it may, and had when this one came."""
        return self._beyond and self._worker.full()

    def _arrived(self) -> bool:
        """Whether the kernel holds bytes of the client that are not read yet."""
        size = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(size, sys.byteorder) > 0
