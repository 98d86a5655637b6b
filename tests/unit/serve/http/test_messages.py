"""Answers as plain values."""

import gc
import weakref

from passfail.errors import MalformedBody
from serve.http.messages import refusal


class Body(bytearray):
    """A body that a weak reference can watch."""


def test_a_refusal_keeps_nothing_of_the_body():
    """The error's traceback held the frames with the body, until the next full collection."""

    def decode(body):
        try:
            raise ValueError("not JSON")
        except ValueError as error:
            failed = MalformedBody("not JSON")
            raise failed from error

    def answered():
        body = Body(b"{")
        try:
            decode(body)
        except MalformedBody as error:
            return refusal(error), weakref.ref(body)

    gc.disable()
    try:
        answer, body = answered()
        assert answer.status == 400
        assert body() is None
    finally:
        gc.enable()
