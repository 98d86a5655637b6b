"""Admission and dispatch: a worker admits a request, answers it, and records it.

A request is answered in one of two ways:

- A hot endpoint (serve/protocols/routes.py) answers it. The event loop answers small bodies: it answers all requests of
  one iteration together, and single rows by one run of the model (serve/server/microbatch.py). The batch thread answers
  a large or compressed body, and a request with a query.
- Flask answers every other request, by WSGI in a thread (serve/server/wsgi.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from passfail.errors import NonFiniteLogit, RequestError
from serve.http.errors import Overloaded, RequestTimeout
from serve.http.messages import (
    CLIENT_GONE,
    Answer,
    Pending,
    Request,
    completed,
    compressed,
    too_large,
)
from serve.http.receipt import identified
from serve.server import wsgi
from serve.server.head import Head, Heads
from serve.server.microbatch import answer_together

if TYPE_CHECKING:
    from serve.registry import RowAnswer
    from serve.server.application import Application
    from serve.server.connection import Connection

LOG = logging.getLogger(__name__)
# Bytes of the largest body that the event loop decodes and answers, in a millisecond or two.
SMALL = 128 * 1024
# Larger bodies in memory at a time; the others wait, unread, on their connections.
LARGE_AT_ONCE = 4
# AHEAD: requests in the batch thread that never count as too long a wait. WEIGHT: of one request in the mean duration.
AHEAD, WEIGHT = 2, 0.1
# The record of a request whose client has gone before its answer.
GONE = Answer(CLIENT_GONE, "", b"")


class Call:
    """A request in flight, from its head to the end of its response.

    Attributes
    ----------
    keep_alive : whether the connection stays open after the response.
    chunks, length : the parts of the body that have arrived, and their number of bytes.
    whole : whether the body is complete.
    waiting : whether the body waits, unread, because LARGE_AT_ONCE others are in memory.
    large, admitted : whether the call counts towards LARGE_AT_ONCE, and towards MAX_IN_FLIGHT after its iteration.
    queued : whether it is one of the small requests in the batch thread.
    asked, answered : whether its answer is being computed, and whether it was sent.
    answer : None until it is computed.
    """

    answer: Answer | None = None
    future: asyncio.Future[Answer] | None = None
    began = 0.0
    length = 0
    waiting = large = queued = admitted = asked = answered = False

    def __init__(self, connection: Connection, head: Head) -> None:
        self.connection, self.head = connection, head
        self.keep_alive, self.whole = head.keep_alive, head.size == 0
        self.chunks: list[bytes] = []


class Dispatcher:
    """Admits and answers the requests of one worker's event loop."""

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        self._app, self._service, self._recorder, self.routes, self._loop = (
            app, app.service, app.recorder, app.routes, loop,
        )  # fmt: skip
        config = app.service.config
        self._auth = app.auth if config.api_keys or config.metrics_port else None  # None: every path, to all
        self.heads = Heads(app.routes)
        self.limit, self._most = config.max_body_bytes, config.max_in_flight
        # The number of small requests in the batch thread, the mean seconds of one, and the most until one is answered.
        self._queued, self._pace, self._wait = 0, 0.0, config.max_wait_ms / 1000
        self._in_flight = 0
        self._large = 0
        self._waiting: dict[Call, None] = {}
        self._turn: list[Call] = []
        self._probes, self._batches, self._pages = (
            ThreadPoolExecutor(threads, name) for threads, name in ((1, "probe"), (1, "batch"), (2, "page"))
        )

    # From the head to the whole body.

    def begin(self, call: Call) -> None:
        """Decide, on a complete head, whether to read the body, queue the call, or answer at once.

        A queued call is `waiting` afterwards, an answered one is `asked`.
        """
        head = call.head
        if self._auth and (error := self._auth.refusal(head.path, call.connection.server[1], head.headers)):
            self._refuse(call, error)
        elif self.too_large(call):
            self.answer(call)
        elif head.size is None or head.size > SMALL:
            if self._large < LARGE_AT_ONCE:
                self._large += 1
                call.large = True
            elif len(self._waiting) < self._most:
                call.waiting = True
                self._waiting[call] = None
            else:
                self._refuse(call, Overloaded())

    def too_large(self, call: Call) -> bool:
        """Whether the body exceeds MAX_BODY_BYTES, by its Content-Length or by the bytes so far."""
        return (call.head.size or call.length) > self.limit

    def release(self, call: Call) -> None:
        """Release the call's share of the limits: it is answered, or its client has gone."""
        self._in_flight -= call.admitted
        call.admitted = False
        self._waiting.pop(call, None)
        if call.large:
            call.large = False
            if self._waiting:
                first = next(iter(self._waiting))
                del self._waiting[first]
                first.waiting, first.large = False, True
                self._loop.call_soon(first.connection.read_body)
            else:
                self._large -= 1

    # From the whole body to the answer.

    def answer(self, call: Call) -> None:
        """Answer a call that is complete, or whose body is too large."""
        head = call.head
        if head.plain and call.length <= SMALL:
            return self._add(call)
        is_probe, direct = self.routes.is_probe(head.path), head.target.found is not None
        small = direct and head.method == "POST" and not call.large
        too_late = small and self._queued > AHEAD and (self._queued + 1) * self._pace > self._wait
        if self._in_flight < self._most and not too_late and not call.connection.beyond_limit():
            self.hold(call)
        elif not is_probe:
            return self._refuse(call, Overloaded())
        call.asked = True
        # The memory limit allows one large or compressed body at a time.
        batch = small or call.large or b"content-encoding" in head.headers
        threads = self._batches if batch else self._probes if is_probe else self._pages
        if direct:
            call.began = self._recorder.begin()
            call.queued = small
            self._queued += small
            self._later(threads, call, self._endpoint, partial(self._recorded, call))
        else:
            self._later(threads, call, self._flask, call.connection.send)
        return None

    def hold(self, call: Call) -> None:
        """Count a call as in flight if its response is not sent within this loop iteration."""
        self._in_flight += 1
        call.admitted = True

    def time_out(self, call: Call) -> Answer:
        """The Answer to a call whose body did not arrive in time."""
        call.asked = True
        answer = self._refusal(call, RequestTimeout("the body did not come in time"))
        self._recorder.end([(self._recorder.begin(), call.head, answer)])
        return answer

    def _refuse(self, call: Call, error: RequestError) -> None:
        call.answer = self._refusal(call, error)
        self._add(call)

    def _refusal(self, call: Call, error: RequestError) -> Answer:
        return identified(self.routes.refusal(call.head.path, error), call.head.headers)

    def _add(self, call: Call) -> None:
        call.asked, call.began = True, perf_counter()
        if not self._turn:
            self._loop.call_soon(self._answer_turn)
        self._turn.append(call)

    def _answer_turn(self) -> None:
        """Answer the requests of one loop iteration."""
        turn, self._turn = self._turn, []
        self._recorder.begin(len(turn))
        room = self._most - self._in_flight
        answered: list[tuple[Call, Answer]] = []
        waiting: list[tuple[Call, Pending]] = []
        for call in turn:
            if call.answer is not None:
                begun: Answer | Pending = call.answer
            elif room <= 0 or call.connection.beyond_limit():
                begun = self._refusal(call, Overloaded())
            else:
                room -= 1
                begun = self._begun(call)
            if isinstance(begun, Pending):
                waiting.append((call, begun))
            else:
                answered.append((call, begun))
        found, observers = answer_together([row for _, row in waiting])
        for (call, row), outcome in zip(waiting, found, strict=True):
            answered.append((call, self._finished(call, row, outcome)))
        for call, answer in answered:
            call.connection.send(answer)
        for observe in observers:  # uvloop has sent the responses by now
            observe()
        self._recorder.end([(call.began, call.head, answer) for call, answer in answered])
        for call in turn:
            call.connection.next()

    def _begun(self, call: Call) -> Answer | Pending:
        target, headers = call.head.target, call.head.headers
        _, endpoint, names = target.found  # type: ignore[misc]
        sent = too_large(self.limit) if self.too_large(call) else b"".join(call.chunks)
        try:
            begun = endpoint(self._service, Request(target.path, target.query, headers, sent, self.limit), **names)
        except RequestError as error:
            begun = self.routes.refusal(target.path, error)
        except Exception:
            return self._failed(call)
        return begun if isinstance(begun, Pending) or begun.model else identified(begun, headers)

    def _finished(self, call: Call, row: Pending, answered: RowAnswer | Exception) -> Answer:
        """The Answer to a call for one row, from the model's answer or the exception."""
        try:
            if isinstance(answered, Exception) and not isinstance(answered, NonFiniteLogit):
                raise answered
            return row.finish(answered)
        except Exception:
            return self._failed(call)

    def _failed(self, call: Call) -> Answer:
        return identified(self.routes.failure(LOG, call.head.method, call.head.path), call.head.headers)

    # In threads.

    def _later(
        self, threads: ThreadPoolExecutor, call: Call, work: Callable[[Call], Answer], done: Callable[[Answer], None]
    ) -> None:
        call.future = self._loop.run_in_executor(threads, work, call)

        def finished(future: asyncio.Future[Answer]) -> None:
            done(GONE if future.cancelled() else future.result())
            call.connection.next()

        call.future.add_done_callback(finished)

    def _endpoint(self, call: Call) -> Answer:
        began, found = perf_counter(), self._begun(call)
        try:
            return compressed(completed(found), call.head.headers)
        except Exception:
            return self._failed(call)
        finally:
            if call.queued:
                self._pace += WEIGHT * (perf_counter() - began - self._pace)

    def _recorded(self, call: Call, answer: Answer) -> None:
        self._queued -= call.queued
        self._recorder.end([(call.began, call.head, answer)])
        call.connection.send(answer)

    def _flask(self, call: Call) -> Answer:
        try:
            return wsgi.respond(self._app, call, self.limit + 2 if self.too_large(call) else None)
        except Exception:
            return self._failed(call)
