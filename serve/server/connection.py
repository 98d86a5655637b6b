"""One connection of gunicorn's ASGI worker, and what gunicorn's own lacks: admission, time limits on slow clients, and
the quick way to an answer (serve/server/quick.py)."""

from gunicorn.asgi.protocol import (
    _CACHED_SERVER_HEADER,
    _CHUNK_PREFIXES,
    ASGIProtocol,
    _get_cached_date_header,
    _get_cached_status_line,
)

# gunicorn notes on the class that asks whether its parser in C is there, and looks at its own class for what it noted.
ASGIProtocol._check_h1c_protocol_available()
# It keeps the heads of all chunks up to 16 KiB, 2 MiB of memory, and makes those that aren't there; no answer of ours
# is chunked.
_CHUNK_PREFIXES.clear()

HEAD_SECONDS = 10  # for a connection's first request to come, all of its head
BODY_SECONDS = 30  # for the rest of a body that goes the quick way (serve/server/quick.py); the front has its own
READ_SECONDS = 30  # for a client to read an answer that is larger than what the kernel holds for it
HELD = 65_536  # bytes that gunicorn's parser in C keeps behind a request; where there are more, gunicorn hangs up


class Protocol(ASGIProtocol):
    """One connection. A request holds one of the front's slots from when it is whole until it is answered.

    admitted: whether a slot was free for the request that is there; else it is refused.
    """

    def __init__(self, worker):
        super().__init__(worker)
        self.admitted = self._answering = False
        self._call = None  # a request that goes the quick way; gunicorn knows of none meanwhile
        self._early = b""  # what came behind the request that is there
        self._body_timer = self._read_timer = self._close_timer = None

    def connection_made(self, transport):
        self._port = transport.get_extra_info("sockname")[1]
        super().connection_made(transport)
        self.worker.connections.add(self)
        # gunicorn waits for a first request for ever. It takes back a timer of this name once a request is there.
        self._keepalive_handle = self.worker.loop.call_later(HEAD_SECONDS, self._late)

    def connection_lost(self, exc):
        self.worker.connections.discard(self)
        if not self._answering:
            self._release()
        for timer in (self._body_timer, self._read_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        super().resume_writing()  # who waits to send need not any more
        if self._awaiting_request and not self._finishing_calls:
            # gunicorn would have it wait for 3 s more, and leave it to the collector: 11 KiB of each connection.
            self._task.cancel()
            self._task = self._callback_parser = None
        super().connection_lost(exc)

    @property
    def alone(self):
        """Whether it is its worker's only connection."""
        return self.worker.nr_conns == 1

    def close_if_idle(self):
        """Close the connection unless a request is being answered; for a worker that stops."""
        if self._awaiting_request and self._current_request is None and self._call is None:
            self._keepalive_timeout()

    def _late(self):
        self._send_error_response(408, "no request came in time")
        self._keepalive_timeout()

    def _on_message_complete(self):
        # Not before: who sends slowly must not hold a slot.
        front, worker = self.app, self.worker
        self.admitted = front.in_flight < front.most_in_flight and worker.nr_conns <= worker.worker_connections
        front.in_flight += self.admitted
        if self._call is None:
            super()._on_message_complete()
        else:
            front.quick.hear(self._call, self)

    async def _handle_http_request(self, *arguments):
        self._answering = True
        try:
            return await super()._handle_http_request(*arguments)
        finally:
            self._answering = False
            self._release()

    def _release(self):
        self.app.in_flight -= self.admitted
        self.admitted = False

    # What comes before the request that is there is answered waits here, unread.

    def data_received(self, data):
        self._early += data
        self._take_early()

    def _take_early(self):
        parser = self._callback_parser
        while self._early and not self._closed and (parser is None or not parser.is_complete):
            data, self._early = self._early[:HELD], self._early[HELD:]
            super().data_received(data)
        if self._early:
            self._pause_reading()

    def _resume_reading(self):
        super()._resume_reading()
        if self._early:
            self.worker.loop.call_soon(self._take_early)

    # The quick way, from the head of a request to its answer. gunicorn's task of this connection waits for a request.

    def _on_headers_complete(self):
        self._call = self.app.quick.call(self._callback_parser, self._port)
        if self._call is None:
            return super()._on_headers_complete()
        self._cancel_keepalive_timer()
        return False

    def _on_body(self, chunk):
        if self._call is None:
            super()._on_body(chunk)
        else:
            self._call.chunks.append(chunk)

    def _feed_callback_parser(self, data):
        goes_on = super()._feed_callback_parser(data)
        if self._call is not None and self._body_timer is None and not self._callback_parser.is_complete:
            self._body_timer = self.worker.loop.call_later(BODY_SECONDS, self._body_late)
        return goes_on

    def _body_late(self):
        self._send(self.app.quick.late(self._call), close=True)

    def answer(self, answer):
        """Send the call's answer, unless the client has left."""
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        if not self._closed:
            self._send(answer, close=self._call.last or not self.worker.alive)
        if not self._flow_control.write_paused:
            self._release()  # before the answer is on its way: who has it may ask anew at once

    def _send(self, answer, close):
        # What gunicorn's _send_response_start makes of it, which looks at each header three times.
        headers = [b"%b: %b\r\n" % header for header in answer.headers]
        headers.append(b"Content-Length: %d\r\n" % len(answer.body))
        status, date = _get_cached_status_line((1, 1), answer.status), _get_cached_date_header()
        last = b"Connection: close\r\n\r\n" if close else b"\r\n"
        self._response_buffer = b"".join([status, *headers, _CACHED_SERVER_HEADER, date, last])
        self._send_body(answer.body)
        if close:
            self._keepalive_timeout()

    def go_on(self):
        """The call is done with: read the next request, once the client has room for its answer."""
        self._call.done = True
        if self._closed or self._flow_control.write_paused:
            return
        self._release()
        self._call = None
        behind = self._callback_parser.remaining()
        self._callback_parser.reset()
        self._arm_keepalive_timer()
        if behind:
            self._feed_callback_parser(behind)
        self._resume_reading()

    # A client that reads more slowly than it is answered.

    def pause_writing(self):
        super().pause_writing()
        self._read_timer = self.worker.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self):
        self._read_timer.cancel()
        super().resume_writing()
        if self._call is not None and self._call.done:
            self.go_on()

    def _close_transport(self):
        # It waits until all is sent; and of less than 64 KiB that nobody reads there is no pause_writing.
        if not self._closed and self.transport.get_write_buffer_size():
            self._close_timer = self.worker.loop.call_later(READ_SECONDS, self.transport.abort)
        super()._close_transport()
