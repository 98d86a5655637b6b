"""A request and its answer as every road to the model sees them: plain values, no framework."""

import json
from collections.abc import Mapping
from typing import NamedTuple

PROBLEM = "application/problem+json"


class Request(NamedTuple):
    """What an endpoint reads. headers: their names in lower case. query: as sent, without the question mark."""

    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self):
        """The Content-Type without its parameters, in lower case; empty where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Answer(NamedTuple):
    """What an endpoint answers; Content-Length is the server's to add."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refusal(error):
    """The Answer to a RequestError, on our own endpoints: an RFC 9457 problem document."""
    return problem(error.status, error.title, str(error), error.problems)


def problem(status, title, detail, problems=(), headers=()):
    """An RFC 9457 problem document as an Answer, with `errors` as its extension member."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if problems:
        document["errors"] = [{"pointer": found.pointer, "detail": found.detail} for found in problems]
    return Answer(status, (("Content-Type", PROBLEM), *headers), json.dumps(document).encode())
