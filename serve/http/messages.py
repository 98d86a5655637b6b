"""A request and its response as plain values, independent of server and framework."""

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from passfail.errors import BodyTooLarge, NonFiniteLogit, Problem, RequestError
from serve.http import content
from serve.http.errors import HEADERS, MEANINGS

if TYPE_CHECKING:
    from passfail.arrays import Row
    from serve.registry import RowAnswer, Served

JSON, CSV, PROBLEM = "application/json", "text/csv", "application/problem+json"
JSON_LINES = "application/jsonlines"
AS_JSON = "Content-Type: application/json\r\n"
LEAST_COMPRESSED = 32 * 1024  # bytes: compressing a smaller response takes longer than sending it
LEVEL = 1  # gzip's fastest level, which gives most of the reduction
CLIENT_GONE = 499  # nginx's status for a client that left before its response; it is recorded, never sent


class Request(msgspec.Struct, frozen=True):
    """A request, as an endpoint reads it.

    Attributes
    ----------
    query : as sent, without the question mark.
    headers : as sent; names in lower case.
    sent : the body, or the error that the server met; the endpoint reports it in its protocol's format.
    limit : the most bytes that a compressed body may decode to.
    """

    path: str
    query: str
    headers: Mapping[bytes, bytes]
    sent: bytes | RequestError
    limit: int = 16 * 1024 * 1024

    @property
    def body(self) -> bytes:
        """The body, without its Content-Encoding.

        Raises BodyTooLarge, MalformedBody or UnsupportedEncoding if the body can't be read.
        """
        if isinstance(self.sent, RequestError):
            raise self.sent
        encoding = self.headers.get(b"content-encoding")
        return self.sent if encoding is None else content.decoded(self.sent, encoding, self.limit)

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case; "" if it is absent."""
        return media_type(self.headers.get(b"content-type", b""))


@lru_cache(64)  # nearly all requests send one of a few types
def media_type(text: bytes) -> str:
    return text.partition(b";")[0].strip().lower().decode("latin-1")


class Answer(msgspec.Struct, frozen=True):
    """An endpoint's response.

    Attributes
    ----------
    headers : the header lines, each with its CRLF; the server adds Content-Length.
    rows, model, version : for the telemetry, how many rows were answered, and by which model.
    error : for the telemetry, why no row was answered.
    """

    status: int
    headers: str
    body: bytes
    rows: int = 0
    model: str | None = None
    version: int | None = None
    error: RequestError | None = None

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The headers as (name, value)."""
        lines = [line.partition(": ") for line in self.headers.split("\r\n")[:-1]]
        return [(name, value) for name, _, value in lines]


class Pending(msgspec.Struct, frozen=True):
    """A request for one row that waits for the model, so that several can share one run.

    Attributes
    ----------
    finish : makes the Answer from the model's answer, or from the row's NonFiniteLogit.
    """

    served: "Served"
    row: "Row"
    finish: "Callable[[RowAnswer | NonFiniteLogit], Answer]"


# (service, request, **names in the path)
Endpoint = Callable[..., Answer | Pending]


@dataclass(frozen=True)
class Shape:
    """The error format of one protocol.

    Attributes
    ----------
    protocol : its name.
    document : makes the JSON document from the status, its title, the detail and the places.
    schema : the type that `document` returns, which OpenAPI describes.
    """

    protocol: str
    schema: type[msgspec.Struct]
    document: Callable[[int, str, str, Sequence[Problem]], msgspec.Struct]
    media_type: str = JSON

    def __call__(self, status: int, title: str, detail: str, problems: Sequence[Problem] = ()) -> Answer:
        body = msgspec.json.encode(self.document(status, title, detail, problems))
        return Answer(status, header_line("Content-Type", self.media_type), body)


class ProblemPlace(msgspec.Struct):
    """One wrong place in a request, such as `$[3].hours`, and its fault."""

    pointer: str
    detail: str


class ProblemDocument(msgspec.Struct):
    """An RFC 9457 problem document, with `errors` as its extension member."""

    type: Annotated[str, msgspec.Meta(description="always about:blank: status and title name the kind of problem")]
    title: str
    status: int
    detail: str
    errors: list[ProblemPlace] | UnsetType = UNSET


def _document(status: int, title: str, detail: str, problems: Sequence[Problem]) -> ProblemDocument:
    errors = [ProblemPlace(found.pointer, found.detail) for found in problems]
    return ProblemDocument("about:blank", title, status, detail, errors or UNSET)


problem = Shape("passfail", ProblemDocument, _document, PROBLEM)


def header_line(name: str, value: str) -> str:
    """A header line of an Answer."""
    return f"{name}: {value}\r\n"


def completed(answer: Answer | Pending) -> Answer:
    """The Answer of an endpoint; the model runs a pending row alone."""
    if isinstance(answer, Answer):
        return answer
    (found,), observe = answer.served.answer_rows([answer.row])
    observe()
    return answer.finish(found)


def json_answer(document: object, status: int = 200, rows: int = 0) -> Answer:
    """An Answer in JSON. `document` is what msgspec encodes, or the JSON itself as bytes."""
    return Answer(status, AS_JSON, document if isinstance(document, bytes) else msgspec.json.encode(document), rows)


def compressed(answer: Answer, request_headers: Mapping[bytes, bytes]) -> Answer:
    """The answer, compressed with gzip if the client accepts it and the body is large."""
    if (
        len(answer.body) < LEAST_COMPRESSED
        or content.quality(request_headers.get(b"accept-encoding", b""), "gzip") == 0
    ):
        return answer
    encoded = header_line("Content-Encoding", "gzip") + header_line("Vary", "Accept-Encoding")
    return replace(answer, headers=answer.headers + encoded, body=gzip.compress(answer.body, LEVEL, mtime=0))


def refusal(error: RequestError, shape: Shape = problem) -> Answer:
    """The Answer to a RequestError."""
    answer = shape(*MEANINGS[type(error)], str(error), error.problems)
    # The traceback and the frames that hold the body refer to each other: the body would wait for a full collection.
    error.__traceback__ = error.__cause__ = error.__context__ = None
    more = [header_line(name, value) for name, value in HEADERS.get(type(error), ())]
    return replace(answer, headers="".join([answer.headers, *more]), error=error)


def too_large(limit: int) -> BodyTooLarge:
    """The error for a body that has more than `limit` bytes."""
    return BodyTooLarge(f"the body has more than {limit} bytes: send several smaller requests")
