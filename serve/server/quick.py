"""The quick way: requests for the hot endpoints, as nearly all of them come, answered in the event loop by turns.

gunicorn's ASGI protocol makes two tasks, a scope and four messages of each request; that takes longer than the answer.
So a POST with a small body of a known length, and nothing that needs more than an answer, is taken from the parser as
it is (connection.py). What one turn of the loop has read is answered together at its end, single rows by one run of
the model (serve/server/microbatch.py). All else goes gunicorn's way to the front (serve/server/asgi.py).
"""

import asyncio
import re
from functools import lru_cache

from passfail.errors import RequestError
from serve.http.messages import Pending, Request, failure, problem
from serve.protocols.routes import hot, overloaded
from serve.server.microbatch import answer_together
from serve.telemetry.logs import write

# Bytes of a body that are read and answered at once: a millisecond or two. A larger one takes its turn in a thread.
SMALL = 128 * 1024
# A path that says what it means: no query, nothing encoded.
PLAIN = re.compile(rb"[\w./-]+", re.ASCII)
# Headers that ask for more than an answer, or that gunicorn has rules for.
SPECIAL = {b"expect", b"transfer-encoding", b"upgrade", b"x-forwarded-protocol", b"x-forwarded-ssl"}


class Call:
    """A request on its way.

    headers: names in lower case -> values, bytes. last: whether its sender wants the connection closed. chunks: what of
    its body is there. done: whether nothing is left to do but for the client to read.
    """

    __slots__ = (
        "admitted", "answer", "began", "chunks", "connection", "done", "endpoint", "headers", "last", "names", "path",
        "rule",
    )  # fmt: skip

    def __init__(self, path, found, headers, last):
        self.path, self.headers, self.last = path, headers, last
        self.rule, self.endpoint, self.names = found
        self.chunks, self.answer, self.done = [], None, False


class Quick:
    """Of one worker's event loop. door: the app's, or None."""

    def __init__(self, app):
        self._service, self._recorder, self._door, self._logger = app.service, app.recorder, app.door, app.logger
        self._most = min(SMALL, app.service.config.max_body_bytes)
        self._heard = []

    def call(self, parser, port):
        """The Call that gunicorn's parser has read the head of; None where it is to go gunicorn's way.

        port: the one that the request came to.
        """
        if parser.method != b"POST" or parser.http_version != (1, 1):
            return None
        path, found = _hot(parser.path)
        if found is None:
            return None
        pairs = getattr(parser, "asgi_headers", None) or parser.headers  # of the parser in C, or in Python
        headers = dict(pairs)
        if b"content-length" not in headers or parser.content_length > self._most:
            return None
        if len(headers) < len(pairs) or not SPECIAL.isdisjoint(headers):
            return None
        if self._door and not (self._door.serves(path, port) and self._door.admits(path, headers)):
            return None
        return Call(path, found, headers, not parser.should_keep_alive)

    def hear(self, call, connection):
        """The call is whole: at the end of the turn its connection gets the answer, and once it is noted may go on.

        Where its connection is the only one there is nobody to wait for.
        """
        call.connection, call.admitted = connection, connection.admitted
        call.began = self._recorder.begin()
        self._heard.append(call)
        if connection.alone and not call.last:  # a connection isn't closed while its parser is at work
            self._answer()
        elif len(self._heard) == 1:
            asyncio.get_running_loop().call_soon(self._answer)

    def late(self, call):
        """The Answer to a call whose body does not come."""
        call.answer = problem(408, "Request timeout", "the body did not come in time")
        self._recorder.end(self._recorder.begin(), "POST", call.path, None, call.headers, call.answer)
        return call.answer

    def _answer(self):
        heard, self._heard = self._heard, []
        pending = []
        for call in heard:
            if not call.admitted:
                call.answer = overloaded(self._service.config, call.path)
                continue
            request = Request(call.path, "", call.headers, b"".join(call.chunks))
            try:
                call.answer = call.endpoint(self._service, request, **call.names)
            except Exception:
                call.answer = failure(self._logger, "POST", call.path)
            if isinstance(call.answer, Pending):
                pending.append(call)
        found, observe = answer_together([call.answer for call in pending])
        for call, answer in zip(pending, found, strict=True):
            call.answer = self._finished(call, answer)
        for call in heard:
            call.connection.answer(call.answer)
        # After that the answers are sent; and what is noted is noted before anything else is answered.
        asyncio.get_running_loop().call_soon(self._note, heard, observe)

    def _note(self, answered, observe):
        observe()
        lines = []
        for call in answered:
            self._recorder.end(call.began, "POST", call.path, call.rule, call.headers, call.answer, lines)
            call.connection.go_on()
        if lines:
            write(lines)

    def _finished(self, call, found):
        """The Answer of a call whose row the model has answered; found: what `answer_together` says of it."""
        try:
            if isinstance(found, Exception) and not isinstance(found, RequestError):
                raise found
            return call.answer.finish(found)
        except Exception:
            return failure(self._logger, "POST", call.path)


@lru_cache(256)
def _hot(raw):
    """(path, what `routes.hot` finds there) of a path as it was sent; (None, None) of one that isn't plain."""
    if not PLAIN.fullmatch(raw):
        return None, None
    path = raw.decode()
    return path, hot(path)
