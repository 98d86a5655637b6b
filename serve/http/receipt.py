"""Receipts: response headers that name the model and the request.

`python -m serve replay` (serve/replay.py) repeats the decision that a receipt names.
"""

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from passfail.errors import RequestError
from passfail.manifest import Manifest
from serve.http.messages import Answer, Pending, Request, Shape, refusal

if TYPE_CHECKING:
    from passfail.arrays import Row
    from serve.registry import RowAnswer, Served

NO_STORE = (b"Cache-Control", b"no-store")  # no proxy and no browser may keep a prediction
REQUEST_ID = re.compile(rb"[ -~]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(b"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def digest(request: Request) -> str:
    """The SHA-256 of a request's body as sent, in hex; "" for a body that was not read."""
    return hashlib.sha256(request.sent).hexdigest() if isinstance(request.sent, bytes) else ""


def stamped(answer: Answer, manifest: Manifest, request: Request) -> Answer:
    """The answer with its receipt."""
    sent = digest(request)
    headers = [*answer.headers, *_ids(request.headers), NO_STORE, (b"X-Model-Digest", manifest.digest.encode())]
    if sent:
        headers.append((b"X-Request-Digest", sent.encode()))
    return Answer(answer.status, headers, answer.body, answer.rows, manifest.name, manifest.version, answer.error)


def pending(
    served: "Served", row: "Row", request: Request, shape: Shape, write: "Callable[[RowAnswer], Answer]"
) -> Pending:
    """The Pending of a request for one row; its Answer has the receipt.

    Parameters
    ----------
    shape : the protocol's error format.
    write : makes the Answer from the model's answer, if there is one.
    """

    def finish(found: "RowAnswer | RequestError") -> Answer:
        answer = refusal(found, shape) if isinstance(found, RequestError) else write(found)
        return stamped(answer, served.model.manifest, request)

    return Pending(served, row, finish)


def identified(answer: Answer, headers: Mapping[bytes, bytes]) -> Answer:
    """The answer with the id and the traceparent that belong to a request with these headers."""
    return replace(answer, headers=[*answer.headers, *_ids(headers)])


def _ids(headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The response headers with a request's id and its traceparent (W3C).

    The caller's id is kept if it has 1 to 128 printable ASCII characters; else the service makes one.
    """
    request_id = headers.get(b"x-request-id")
    if request_id is None or not REQUEST_ID.fullmatch(request_id):
        request_id = b"%032x" % random.getrandbits(128)  # not a secret; Python seeds `random` again after a fork
    found, parent = [(b"X-Request-Id", request_id)], traceparent(headers)
    return found if parent is None else [*found, (b"traceparent", parent)]


def traceparent(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The caller's traceparent, from a request's headers; None if it is absent or malformed."""
    found = headers.get(b"traceparent")
    return found if found is not None and TRACEPARENT.fullmatch(found) else None
