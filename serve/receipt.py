"""Receipts: headers that say which model answered which request, so that the answer can be repeated (replay.py)."""

import hashlib
import os
import re

from serve.exchange import Answer

REQUEST_ID = re.compile(r"[ -~]{1,128}")


def digest(body):
    """The SHA-256 of a request's body as it was sent, in hex: what `sha256sum request.json` prints."""
    return hashlib.sha256(body).hexdigest()


def stamped(answer, manifest, request, request_digest):
    """The answer with its receipt. The request's id is the caller's, if it is up to 128 printable ASCII characters.

    request_digest: empty for a body that was not read to its end.
    """
    request_id = request.headers.get("x-request-id", "")
    if not REQUEST_ID.fullmatch(request_id):
        request_id = os.urandom(16).hex()
    receipt = [("X-Model-Digest", manifest.digest), ("X-Request-Id", request_id)]
    if request_digest:
        receipt.append(("X-Request-Digest", request_digest))
    return Answer(answer.status, (*answer.headers, *receipt), answer.body)
