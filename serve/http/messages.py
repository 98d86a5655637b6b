"""A request and its answer as every road to the model sees them: plain values, no framework."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from passfail.errors import BodyTooLarge, RequestError
from serve.http.errors import status, title

if TYPE_CHECKING:
    from passfail.model import Row
    from serve.registry import RowAnswer, Served

PROBLEM = b"application/problem+json"
CLIENT_GONE = 499  # nginx's status for a client that left before its response; it is recorded, never sent


class Request(NamedTuple):
    """What an endpoint reads. headers: as on the wire, names in lower case. query: as sent, without the question mark.

    sent: the body, or the error that it is: an endpoint that reads a body beyond the limit answers in its own shape.
    """

    path: str
    query: str
    headers: Mapping[bytes, bytes]
    sent: bytes | RequestError

    @property
    def body(self):
        """The body: bytes. Raises the RequestError that it is: BodyTooLarge, or MalformedBody."""
        if isinstance(self.sent, RequestError):
            raise self.sent
        return self.sent

    @property
    def media_type(self):
        """The Content-Type without its parameters, in lower case; empty where there is none."""
        return _media_type(self.headers.get(b"content-type", b""))


@lru_cache(64)  # nearly all requests say one of a few
def _media_type(text):
    return text.partition(b";")[0].strip().lower().decode("latin-1")


class Answer(NamedTuple):
    """What an endpoint answers. headers: as on the wire; Content-Length is the server's to add.

    The rest is for who watches (telemetry/recorder.py): how many rows were answered, by which model; or why none was.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    rows: int = 0
    model: str | None = None
    version: int | None = None
    error: RequestError | None = None


class Pending(NamedTuple):
    """A request whose single row the model has not answered yet, so that several can share one run of the model.

    finish: makes the Answer of what the model said of the row, or of why it can't answer it.
    """

    served: "Served"
    row: "Row"
    finish: "Callable[[RowAnswer | RequestError], Answer]"


def completed(answer: Answer | Pending) -> Answer:
    """The Answer of an endpoint whose row shares the model's run with no other."""
    if isinstance(answer, Answer):
        return answer
    (found,), observe = answer.served.answer_rows([answer.row])
    observe()
    return answer.finish(found)


def too_large(limit):
    """The error that a body of more than limit bytes is."""
    return BodyTooLarge(f"more than {limit} bytes; send several smaller requests")


def failure(logger, method, path):
    """The Answer to an error that is ours, to be asked for while it is handled: the log gets the traceback."""
    logger.exception("%s %s failed", method, path)
    return problem(500, "Internal server error", "the service failed; its log says why")


def refusal(error):
    """The Answer to a RequestError, on our own endpoints: an RFC 9457 problem document."""
    return problem(status(error), title(error), str(error), error.problems)._replace(error=error)


def problem(status, title, detail, problems=(), headers=()):
    """An RFC 9457 problem document as an Answer, with `errors` as its extension member."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if problems:
        document["errors"] = [{"pointer": found.pointer, "detail": found.detail} for found in problems]
    return Answer(status, ((b"Content-Type", PROBLEM), *headers), json.dumps(document).encode())
