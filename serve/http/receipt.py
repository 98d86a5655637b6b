"""Receipts: response headers that name the model and the request.

`python -m serve replay` (serve/replay.py) repeats the decision that a receipt names.
"""

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from passfail.errors import NonFiniteLogit
from passfail.manifest import Manifest
from serve.http.messages import Answer, Pending, Request, Shape, refusal

if TYPE_CHECKING:
    from passfail.arrays import Row
    from serve.registry import RowAnswer, Served

REQUEST_ID = re.compile(rb"[ -~]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(b"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def digest(request: Request) -> str:
    """The SHA-256 of a request's body as sent, in hex; "" for a body that was not read."""
    return hashlib.sha256(request.sent).hexdigest() if isinstance(request.sent, bytes) else ""


def stamped(answer: Answer, manifest: Manifest, request: Request) -> Answer:
    """The answer with its receipt. No proxy and no browser may keep a prediction."""
    ids, sent = _ids(request.headers), digest(request)
    headers = f"{answer.headers}{ids}Cache-Control: no-store\r\nX-Model-Digest: {manifest.digest}\r\n"
    if sent:
        headers += f"X-Request-Digest: {sent}\r\n"
    return Answer(answer.status, headers, answer.body, answer.rows, manifest.name, manifest.version, answer.error)


def pending(
    served: "Served",
    row: "Row",
    request: Request,
    shape: Shape,
    write: "Callable[[Served, RowAnswer], Answer]",
    place: Callable[[int], str] = "row {}".format,
) -> Pending:
    """The Pending of a request for one row; its Answer has the receipt.

    Parameters
    ----------
    shape : the protocol's error format.
    write : makes the Answer from the model's answer, if there is one.
    place : names the row, by its index 0, in an error.
    """

    def finish(found: "RowAnswer | NonFiniteLogit") -> Answer:
        answer = refusal(found.at(place), shape) if isinstance(found, NonFiniteLogit) else write(served, found)
        return stamped(answer, served.model.manifest, request)

    return Pending(served, row, finish)


def identified(answer: Answer, headers: Mapping[bytes, bytes]) -> Answer:
    """The answer with the id and the traceparent that belong to a request with these headers."""
    return replace(answer, headers=answer.headers + _ids(headers))


def _ids(headers: Mapping[bytes, bytes]) -> str:
    """The response headers with a request's id and its traceparent (W3C).

    The caller's id is kept if it has 1 to 128 printable ASCII characters; else the service makes one.
    """
    sent = headers.get(b"x-request-id")
    # Not a secret; Python seeds `random` again after a fork.
    request_id = sent.decode() if sent and REQUEST_ID.fullmatch(sent) else random.randbytes(16).hex()
    parent = traceparent(headers)
    return f"X-Request-Id: {request_id}\r\n" + (f"traceparent: {parent.decode()}\r\n" if parent else "")


def traceparent(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The caller's traceparent, from a request's headers; None if it is absent or malformed."""
    found = headers.get(b"traceparent")
    return found if found is not None and TRACEPARENT.fullmatch(found) else None
