"""Answers as plain values."""

import gc
import gzip
import weakref

import pytest
from msgspec.structs import replace

from passfail.errors import MalformedBody
from serve.http.messages import LEAST_COMPRESSED, Answer, compressed, refusal


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


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [(b"gzip", True), (b"gzip, deflate, br", True), (b"*", True), (b"", False), (b"br", False), (b"gzip;q=0", False)],
)
def test_a_large_answer_is_compressed_where_gzip_is_accepted(accepted, expected):
    body = b"x" * LEAST_COMPRESSED
    answer, headers = Answer(200, "", body), {b"accept-encoding": accepted}
    found = compressed(answer, headers)

    assert (found is not answer) == expected
    assert found is answer or gzip.decompress(found.body) == body
    assert compressed(replace(answer, body=body[1:]), headers).headers == ""
