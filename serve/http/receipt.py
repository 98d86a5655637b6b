"""Receipts: response headers that name the model and the request.

`python -m serve replay` (serve/replay.py) repeats the decision that a receipt names.
"""

import hashlib
import random
import re
from collections.abc import Mapping

from msgspec.structs import replace

from passfail.manifest import Manifest
from serve.http.messages import Answer, Request

NO_STORE = (b"Cache-Control", b"no-store")  # no proxy and no browser may keep a prediction
REQUEST_ID = re.compile(rb"[ -~]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(b"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def digest(request: Request) -> str:
    """The SHA-256 of a request's body as sent, in hex; "" for a body that was not read."""
    return hashlib.sha256(request.sent).hexdigest() if isinstance(request.sent, bytes) else ""


def stamped(answer: Answer, manifest: Manifest, request: Request, request_digest: str) -> Answer:
    """The answer with its receipt."""
    headers = [*answer.headers, *_ids(request.headers), NO_STORE, (b"X-Model-Digest", manifest.digest.encode())]
    if request_digest:
        headers.append((b"X-Request-Digest", request_digest.encode()))
    return Answer(answer.status, headers, answer.body, answer.rows, manifest.name, manifest.version, answer.error)


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
