"""Receipts: headers that say which model answered which request, so that the answer can be repeated (replay.py)."""

import hashlib
import random
import re

from serve.http.messages import Answer

REQUEST_ID = re.compile(rb"[ -~]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(b"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def digest(body):
    """The SHA-256 of a request's body as it was sent, in hex: what `sha256sum request.json` prints."""
    return hashlib.sha256(body).hexdigest()


def stamped(answer, manifest, request, request_digest):
    """The answer with its receipt. The request's id is the caller's, if it is up to 128 printable ASCII characters.

    A trace's traceparent (W3C Trace Context) goes back as it came. request_digest: empty for a body that was not read
    to its end.
    """
    request_id = request.headers.get(b"x-request-id")
    if request_id is None or not REQUEST_ID.fullmatch(request_id):
        request_id = b"%032x" % random.getrandbits(128)  # a name, no secret; Python seeds it anew in each worker
    receipt = [*answer.headers, (b"X-Model-Digest", manifest.digest.encode()), (b"X-Request-Id", request_id)]
    if request_digest:
        receipt.append((b"X-Request-Digest", request_digest.encode()))
    if found := traceparent(request.headers):
        receipt.append((b"traceparent", found))
    status, _, body, rows, _, _, error = answer
    return Answer(status, receipt, body, rows, manifest.name, manifest.version, error)


def traceparent(headers):
    """The caller's traceparent, from a request's headers; None where there is none that is well formed."""
    found = headers.get(b"traceparent")
    return found if found is not None and TRACEPARENT.fullmatch(found) else None
