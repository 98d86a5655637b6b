"""Receipts: headers that say which model answered which request, so that the answer can be repeated (replay.py)."""

import hashlib
import os
import re

REQUEST_ID = re.compile(r"[ -~]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def digest(body):
    """The SHA-256 of a request's body as it was sent, in hex: what `sha256sum request.json` prints."""
    return hashlib.sha256(body).hexdigest()


def stamped(answer, manifest, request, request_digest):
    """The answer with its receipt. The request's id is the caller's, if it is up to 128 printable ASCII characters.

    A trace's traceparent (W3C Trace Context) goes back as it came. request_digest: empty for a body that was not read
    to its end.
    """
    request_id = request.headers.get("x-request-id", "")
    if not REQUEST_ID.fullmatch(request_id):
        request_id = os.urandom(16).hex()
    receipt = [("X-Model-Digest", manifest.digest), ("X-Request-Id", request_id)]
    if request_digest:
        receipt.append(("X-Request-Digest", request_digest))
    if found := traceparent(request.headers):
        receipt.append(("traceparent", found))
    return answer._replace(headers=(*answer.headers, *receipt), model=manifest.name, version=manifest.version)


def traceparent(headers):
    """The caller's traceparent, from a request's headers; None where there is none that is well formed."""
    found = headers.get("traceparent")
    return found if found is not None and TRACEPARENT.fullmatch(found) else None
