"""Admission and dispatch: which requests a worker takes, where each is answered, and what is recorded of it.

A request is answered in one of two ways:

- A hot endpoint (serve/protocols/routes.py) answers it. A small body is answered in the event loop: all requests that
  one turn of the loop has read are answered together, single rows by one run of the model (serve/server/microbatch.py).
  A large body, or one whose query asks for more than an answer, is answered in the batch thread.
- Flask answers every other request, by WSGI in a thread (serve/server/wsgi.py).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from passfail.errors import RequestError
from serve.http.messages import (
    CLIENT_GONE,
    Answer,
    Pending,
    Request,
    completed,
    compressed,
    failure,
    problem,
    too_large,
)
from serve.http.receipt import identified
from serve.protocols.routes import Routes
from serve.server import wsgi
from serve.server.microbatch import answer_together
from serve.telemetry.logs import write

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from serve.http.auth import Auth
    from serve.registry import RowAnswer, Service
    from serve.server.connection import Connection
    from serve.telemetry.recorder import Recorder

LOG = logging.getLogger(__name__)
# Bytes of a body that the event loop decodes and answers: a millisecond or two.
SMALL = 128 * 1024
# Larger bodies that are held in memory at the same time; the others wait unread, on their connections.
LARGE_AT_ONCE = 4
# What is recorded of a request whose client has gone before its answer.
GONE = Answer(CLIENT_GONE, (), b"")


class Target(NamedTuple):
    """A request target, taken apart.

    Attributes
    ----------
    path : decoded, as Flask has it.
    path_info : decoded, as WSGI has it (PEP 3333): each byte a character.
    query : as sent, without the question mark.
    found : the rule, the endpoint and the names in the path of the hot endpoint there, or None.
    """

    path: str
    path_info: str
    query: str
    found: tuple[str, Callable[..., Answer | Pending], Mapping[str, str]] | None


@lru_cache(256)
def target(routes: Routes, sent: bytes) -> Target:
    """Take a target apart; of one in absolute form (RFC 9112, 3.2.2) the scheme and the authority are dropped."""
    text = sent.decode("latin-1").partition("#")[0]
    if not text.startswith("/") and "://" in text:
        text = "/" + text.partition("://")[2].partition("/")[2]
    raw, _, query = text.partition("?")
    decoded = unquote_to_bytes(raw)
    path = "/" + decoded.decode("utf-8", "replace").lstrip("/")
    return Target(path, decoded.decode("latin-1"), query, routes.hot(path))


class Call:
    """A request on its way, from the first byte of its head to the last of its response.

    Attributes
    ----------
    method, target, version : of the request line; version: b"1.0" or b"1.1".
    headers : names in lower case -> values; the values of a repeated name are joined by commas, as WSGI joins them.
    size : the body's Content-Length; None for a chunked body.
    keep_alive : whether the connection outlives the response.
    chunks, length : what of the body has arrived, and how many bytes that is.
    headed, whole : whether the head is complete, and whether the body is.
    locked : whether its sender has brought no key.
    waiting : whether the body waits, unread, because LARGE_AT_ONCE others are held.
    large, admitted : whether the call holds one of LARGE_AT_ONCE, and one of MAX_IN_FLIGHT.
    asked, answered : whether its answer is being made, and whether it is sent.
    """

    __slots__ = (
        "admitted", "answer", "answered", "asked", "began", "chunks", "connection", "future", "headed", "headers",
        "keep_alive", "large", "length", "locked", "method", "size", "target", "version", "waiting", "whole",
    )  # fmt: skip

    answer: Answer

    def __init__(self, connection: Connection, line: re.Match[bytes]) -> None:
        self.connection = connection
        method, sent, self.version = line.groups()
        self.method, self.target = method.decode(), target(connection.routes, sent)
        self.headers: dict[bytes, bytes] = {}
        self.size: int | None = 0
        self.chunks: list[bytes] = []
        self.length = 0
        self.began = 0.0
        self.future: asyncio.Future[Answer] | None = None
        self.keep_alive = self.headed = self.whole = self.asked = self.answered = False
        self.admitted = self.large = self.locked = self.waiting = False


class Dispatcher:
    """Of one worker's event loop."""

    def __init__(
        self,
        app: WSGIApplication,
        service: Service,
        recorder: Recorder,
        auth: Auth,
        routes: Routes,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._app, self._service, self._recorder, self._auth, self._loop = app, service, recorder, auth, loop
        self.routes = routes
        self._config = service.config
        self._open = not (service.config.api_keys or service.config.metrics_port)  # every path, to all
        self.limit: int = self._config.max_body_bytes
        self._in_flight = 0
        self._large = 0
        self._waiting: dict[Call, None] = {}
        self._turn: list[Call] = []
        self._probes, self._batches, self._pages = (
            ThreadPoolExecutor(threads, name) for threads, name in ((1, "probe"), (1, "batch"), (2, "page"))
        )

    def leave(self) -> None:
        """Report from now on that the service is not ready."""
        self._service.leaving = True

    # From the head to the whole body.

    def begin(self, call: Call, port: int | None) -> None:
        """Decide, on a complete head, whether the body is read (at once or in its turn) or the call answered without.

        Parameters
        ----------
        call : the request; afterwards `waiting`, `asked` or neither.
        port : the one that the request came to.
        """
        path = call.target.path
        if not (self._open or (self._auth.serves(path, port) and self._auth.admits(path, call.headers))):
            call.locked = True
            self.answer(call)
        elif self.too_large(call):
            self.answer(call)
        elif call.size is None or call.size > SMALL:
            if self._large < LARGE_AT_ONCE:
                self._large += 1
                call.large = True
            elif len(self._waiting) < self._config.max_in_flight:
                call.waiting = True
                self._waiting[call] = None
            else:
                self._refuse(call)

    def too_large(self, call: Call) -> bool:
        """Whether the body is beyond MAX_BODY_BYTES, by its Content-Length or by what has arrived."""
        return call.length > self.limit or (call.size or 0) > self.limit

    def release(self, call: Call) -> None:
        """Take back what the call holds: it is answered, or its client has gone."""
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
        """Answer a call that is whole, or that is refused before it is."""
        call.asked = True
        path = call.target.path
        if self._in_flight < self._config.max_in_flight and not call.connection.beyond_limit():
            self._in_flight += 1
            call.admitted = True
        elif not self.routes.is_probe(path):
            return self._refuse(call)
        found = call.target.found
        if found is None or call.method != "POST" or call.locked:
            threads = self._probes if self.routes.is_probe(path) else self._pages
            if call.large or b"content-encoding" in call.headers:  # the memory has room for one of these at a time
                threads = self._batches
            self._later(threads, call, self._flask, call.connection.send)
            return None
        call.began = self._recorder.begin()
        if call.length <= SMALL and not call.target.query and b"content-encoding" not in call.headers:
            self._add(call)
        else:
            self._later(self._batches, call, self._endpoint, partial(self._recorded, call))
        return None

    def time_out(self, call: Call) -> Answer:
        """The Answer to a call whose body does not come."""
        call.asked = True
        answer = identified(problem(408, "Request timeout", "the body did not come in time"), call.headers)
        self._record(self._recorder.begin(), call, None, answer)
        return answer

    def _refuse(self, call: Call) -> None:
        call.asked = True
        call.began = self._recorder.begin()
        call.answer = identified(self.routes.overloaded(call.target.path), call.headers)
        self._add(call)

    def _add(self, call: Call) -> None:
        self._turn.append(call)
        if len(self._turn) == 1:
            self._loop.call_soon(self._answer_turn)

    def _answer_turn(self) -> None:
        turn, self._turn = self._turn, []
        pending: list[tuple[Call, Pending]] = []
        for call in turn:
            if call.admitted:
                begun = self._begun(call)
                if isinstance(begun, Pending):
                    pending.append((call, begun))
                else:
                    call.answer = begun
        found, observe = answer_together([row for _, row in pending])
        for (call, row), answered in zip(pending, found, strict=True):
            call.answer = self._finished(call, row, answered)
        for call in turn:
            call.connection.send(call.answer)
        # The loop sends the responses first; what is recorded is recorded before anything else is read.
        self._loop.call_soon(self._record_turn, turn, observe)

    def _record_turn(self, turn: list[Call], observe: Callable[[], None]) -> None:
        observe()
        lines: list[bytes] = []
        for call in turn:
            found = call.target.found if call.method == "POST" else None
            self._record(call.began, call, found and found[0], call.answer, lines)
            call.connection.next()
        if lines:
            write(lines)

    def _record(
        self, began: float, call: Call, rule: str | None, answer: Answer, lines: list[bytes] | None = None
    ) -> None:
        self._recorder.end(began, call.method, call.target.path, rule, call.headers, answer, lines)

    def _request(self, call: Call) -> Request:
        """The Request that an endpoint reads."""
        sent = too_large(self.limit) if self.too_large(call) else b"".join(call.chunks)
        return Request(call.target.path, call.target.query, call.headers, sent, self.limit)

    def _begun(self, call: Call) -> Answer | Pending:
        _, endpoint, names = call.target.found  # type: ignore[misc]
        try:
            found = endpoint(self._service, self._request(call), **names)
        except Exception:
            return self._failed(call)
        return found if isinstance(found, Pending) or found.model else identified(found, call.headers)

    def _finished(self, call: Call, row: Pending, answered: RowAnswer | Exception) -> Answer:
        """The Answer of a call whose row the model has answered, or failed to."""
        try:
            if isinstance(answered, Exception) and not isinstance(answered, RequestError):
                raise answered
            return row.finish(answered)
        except Exception:
            return self._failed(call)

    def _failed(self, call: Call) -> Answer:
        return identified(failure(LOG, "POST", call.target.path), call.headers)

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
        found = self._begun(call)
        try:
            return compressed(completed(found), call.headers)
        except Exception:
            return self._failed(call)

    def _recorded(self, call: Call, answer: Answer) -> None:
        answer = GONE if call.connection.gone else answer
        self._record(call.began, call, call.target.found and call.target.found[0], answer)
        call.connection.send(answer)

    def _flask(self, call: Call) -> Answer:
        try:
            return wsgi.respond(self._app, call, self.limit + 2 if self.too_large(call) else None)
        except Exception:
            return failure(LOG, call.method, call.target.path)
