"""One client connection: HTTP/1.0 and HTTP/1.1 requests in, responses out.

The server reads one request at a time: further bytes wait, unread, until it has answered the request. Time limits on
the client close a connection: see `Connection.time_out`.
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

from serve.http.messages import Answer, problem
from serve.http.receipt import identified
from serve.server.dispatch import Call
from serve.server.head import ChunkedBody, Refused, check

if TYPE_CHECKING:
    from serve.server.worker import Worker

HEAD_SECONDS = 10  # for a request's head, from its first byte; and for a connection's first request
BODY_SECONDS = 30  # for the rest of a request's body
READ_SECONDS = 30  # for a client to read a response that is larger than the kernel's buffer
REST_SECONDS = 5  # for the rest of a refused request, which is read and dropped: its sender may read only then
LEAVE_SECONDS = 2  # for the first request of a connection that a stopping worker accepted

EMPTY_LINES = re.compile(rb"(?:\r\n)*")  # before a head
END = b"\r\n\r\n"  # of a head, and of a chunked body
HELD = 65_536  # bytes behind a request, above which the server stops reading
NEVER = float("inf")
NOT_MODIFIED = int(HTTPStatus.NOT_MODIFIED)  # a plain number: HTTPStatus looks its names up slowly


@lru_cache
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"


class Connection(asyncio.Protocol):
    """One connection of a worker.

    Attributes
    ----------
    server, client : the address and port to which the client connected, and the client's address.
    deadline : the end of the client's time limit, by the loop's clock.
    """

    transport: asyncio.Transport
    server: tuple[str, int | None]
    _chunked: ChunkedBody  # the body of `_call`, if it is chunked

    def __init__(self, worker: Worker) -> None:
        self._worker, self._dispatcher, self._now = worker, worker.dispatcher, worker.loop.time
        self._call: Call | None = None  # from its head until its body and its response are complete
        self._unread, self._at = b"", 0  # the bytes that have arrived, and the number of parsed ones
        self._begun = self._served = False  # whether a head has begun; whether a response was sent
        self._beyond = self._ended = self._closing = self._choked = False

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
        self._closing = True
        self._worker.forget(self)
        if call := self._call:
            self._dispatcher.release(call)
            if call.future is not None:
                call.future.cancel()
        self._call = None  # break the reference cycle with this object

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
        """Answer a complete request: a client that sends no more may still read."""
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

    # From bytes to a request.

    def _parse(self) -> None:
        """Parse the bytes that have arrived, up to the end of a request that must be answered first."""
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
        """Parse a head if it is complete; return whether it is."""
        data, at = self._unread, self._at
        self._at = at = EMPTY_LINES.match(data, at).end()  # type: ignore[union-attr]  # it matches no line, too
        end = data.find(END, at) + len(END)
        if end < len(END):
            check(data[at:])
            if not self._begun and at < len(data):
                self._begun = True
                if self._served:  # the first request of a connection has HEAD_SECONDS from the start
                    self._wait(HEAD_SECONDS)
            return False
        head = self._dispatcher.heads.read(data[at:end])
        self._at = end
        self._begun = False
        self._worker.idle.pop(self, None)
        self.deadline = NEVER
        call = self._call = Call(self, head)
        if head.size is None:
            self._chunked = ChunkedBody()
        self._dispatcher.begin(call)
        if call.asked or call.waiting:
            return True
        if call.whole:
            self._dispatcher.answer(call)
        elif end == len(data):
            self._ask_for_body(call)
        return True

    def _ask_for_body(self, call: Call) -> None:
        self.deadline = self._now() + BODY_SECONDS
        if b"expect" in call.head.headers and call.head.version != b"1.0" and self._at == len(self._unread):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def read_body(self) -> None:
        """Read a body that has waited in the queue for large bodies."""
        if self._call is not None and not self._closing:
            self._ask_for_body(self._call)
            self._parse()
            self._read_on()

    def _parse_body(self, call: Call) -> bool:
        """Parse the part of a body that has arrived; return whether there was any."""
        data, at, size = self._unread, self._at, call.head.size
        if size is None:
            found = data.find(END, at)
            # Leave out the last three bytes, in which an END may begin, so that no further request is parsed with the
            # body.
            end = found + len(END) if found >= 0 else len(data) - 3
            if end <= at:
                return False
            content, call.whole = self._chunked.read(memoryview(data)[at:end])
            self.transport.pause_reading()  # uvloop would read 8 MB before other connections, and each chunk takes time
            self._worker.loop.call_soon(self._read_on)
        else:
            end = min(len(data), at + size - call.length)
            content, call.whole = data[at:end], call.length + end - at == size
        self._at = end
        call.length += len(content)
        if call.asked:
            if call.answered and call.whole:
                self._finish(call)
            return True
        call.chunks.append(content)
        if call.whole or self._dispatcher.too_large(call):
            self.deadline = NEVER
            self._dispatcher.answer(call)
        elif self.deadline == NEVER:
            self.deadline = self._now() + BODY_SECONDS
        return True

    # From an answer to bytes.

    def send(self, answer: Answer) -> None:
        """Send the answer to the call, unless the client has gone."""
        call = self._call
        if call is None or self._closing:
            return
        call.answered = True
        # A client that waits for 100 Continue may send its body or not, so the start of its next request is unknown.
        call.keep_alive &= self._worker.alive and (call.whole or b"expect" not in call.head.headers)
        self._write(answer, call)
        if self._choked:
            if not call.admitted:
                self._dispatcher.hold(call)
            return
        if not call.whole:
            self._dispatcher.release(call)
            self.deadline = self._now() + REST_SECONDS

    def _write(self, answer: Answer, call: Call | None) -> None:
        bodiless = self._unread.startswith(b"HEAD ", self._at) if call is None else call.head.method == "HEAD"
        length, ends = "", ""
        if not bodiless and answer.status != NOT_MODIFIED:
            length = f"Content-Length: {len(answer.body)}\r\n"
        if call is None or not call.keep_alive:
            ends = "Connection: close\r\n"
        elif call.head.version == b"1.0":
            ends = "Connection: keep-alive\r\n"
        self._served = True
        self._worker.nr += 1
        head = f"{_status_line(answer.status)}{self._worker.date}{answer.headers}{length}{ends}\r\n".encode(
            "latin-1", "replace"
        )
        self.transport.write(head if bodiless else head + answer.body)

    def next(self) -> None:
        """Continue with the next request if the current one is answered and the client reads."""
        call = self._call
        if call is not None and call.answered and call.whole and not self._choked and not self._closing:
            self._finish(call)
            if self._unread:
                self._parse()
                self._read_on()

    def _finish(self, call: Call) -> None:
        self._dispatcher.release(call)
        self._call = None  # break the reference cycle with this object
        if not call.keep_alive and (self._at < len(self._unread) or self._arrived()):
            self._linger()
        elif not call.keep_alive or (self._ended and self._at == len(self._unread)):
            self._close()
        else:
            self._wait(self._worker.keepalive)

    def _wait(self, seconds: float) -> None:
        """Mark the connection as idle, as the last to be closed for new connections."""
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
            shape = self._dispatcher.routes.shape(call.head.path) if call is not None else problem
            answer = shape(status, HTTPStatus(status).phrase, why)
            self._end(identified(answer, call.head.headers if call is not None else {}))
        elif call.answered:
            self._close()
        else:  # its answer is being computed, and is the last one
            call.whole, call.keep_alive, self._unread, self._at = True, False, b"", 0

    def _end(self, answer: Answer) -> None:
        """Send the last answer, then read and drop the rest of the request."""
        if self._call is not None:
            self._dispatcher.release(self._call)
            self._call.keep_alive = False
        self._write(answer, self._call)
        self._linger()

    def _linger(self) -> None:
        """End the answers, and drop what the client still sends.

        If the server closed at once, the client could lose the answer (RFC 9112, 9.6).
        """
        if self._ended or not self.transport.can_write_eof():
            self._close()
            return
        self._closing = True
        self._worker.idle.pop(self, None)
        self.transport.write_eof()
        self.transport.resume_reading()
        self.deadline = self._now() + REST_SECONDS

    def _close(self) -> None:
        self._closing = True
        self._worker.idle.pop(self, None)
        self.deadline = self._now() + READ_SECONDS  # for unsent bytes
        self.transport.close()

    def time_out(self) -> None:
        """Act on an expired time limit: abort, close, or answer with 408."""
        call = self._call
        if self._closing or self._choked:
            self.transport.abort()
        elif call is None and self._arrived():
            pass  # the next iteration of the event loop reads it
        elif call is None and (self._begun or not self._served) and self._worker.alive:
            self._refuse(408, "no request came in time")
        elif call is None or call.answered:
            self._close()
        else:
            self._end(self._dispatcher.time_out(call))

    def leave(self) -> None:
        """Close the connection if it is idle, because the worker stops; else answer its request."""
        if self._call is None and not self._closing:
            served = self._served and not self._begun
            self.deadline = min(self.deadline, self._now() + (0 if served else LEAVE_SECONDS))
            if self.deadline <= self._now():
                self.time_out()

    def close_if_idle(self) -> bool:
        """Close an idle connection unless a request has arrived; return whether it is closed."""
        if self._arrived():
            return False
        self._closing = True
        self.transport.abort()
        return True

    def beyond_limit(self) -> bool:
        """Whether the worker is above its limit of connections, now and when this one opened."""
        return self._beyond and self._worker.full()

    def _arrived(self) -> bool:
        """Whether the kernel holds unread bytes of the client."""
        size = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(size, sys.byteorder) > 0
