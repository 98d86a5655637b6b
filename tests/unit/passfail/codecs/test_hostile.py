"""Allowed bodies made to take long: each is refused before it holds up whoever else asks.

No call holds the interpreter's lock for more than some 50 ms of processor time; HOLD is what a slow machine may take.
"""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passfail.codecs import codecs
from passfail.errors import RequestError
from passfail.manifest import decode
from tests.support.holds import longest_hold

SIZE = 16 * 1024 * 1024
HOLD, SECONDS = 0.15, 2.0  # of processor time, being watched; these took 2.4 to 7.8 s, most of it in one call
HOSTILE = {
    "empty objects": b"[" + b"{}," * (SIZE // 3) + b"{}]",
    "objects of an empty name": b"[" + b'{"":{}},' * (SIZE // 8) + b'{"":{}}]',
    "empty arrays": b"[" + b"[]," * (SIZE // 3) + b"[]]",
    "numbers": b"[" + b"1," * (SIZE // 2) + b"1]",
    "distinct names": b"{" + b",".join(b'"%x":1' % i for i in range(SIZE // 11)) + b"}",
    "distinct names in an array": b"[{" + b",".join(b'"%x":1' % i for i in range(SIZE // 11)) + b"}]",
    "an unknown name": b"[" + b'{"a":1},' * (SIZE // 8) + b'{"a":1}]',
    "right rows": b"[" + b'{"hours":1},' * (SIZE // 12) + b'{"hours":1}]',
    "deep arrays": b"[" * SIZE,
    "deep objects": b'{"hours":' * (SIZE // 9),
    "one text": b'{"hours": "' + b"x" * SIZE + b'"}',
    "one number": b'{"hours": ' + b"1" * SIZE + b"}",
    "white space": b" " * SIZE,
    "white space in an array": b"[" + b" " * SIZE + b"]",
    "white space between rows": b'[{"hours":1}' + b" " * SIZE + b',{"hours":1}]',
    "ends of rows in a text": b'[{"hours":"' + b"},{" * (SIZE // 3) + b'"}]',
    "one field again and again": b"{" + b'"hours":1,' * (SIZE // 10) + b'"hours":1}',
}
TABLES = {
    "a header of commas": b"," * SIZE + b"\n1\n",
    "a row of commas": b"hours\n" + b"," * SIZE,
    "empty lines": b"hours\n" + b"\n" * SIZE,
    "one cell": b"hours\n" + b"1" * SIZE,
    "carriage returns": b"hours\n" + b"\r" * SIZE,
    "quotes": b'hours\n"' + b'""' * (SIZE // 2),
    "more rows than may be": b"hours\n" + b"1\n" * (SIZE // 2),
    "as many lines as may be, twice": b"hours\n" + b"1\n" * 199_999,
}


@pytest.fixture(scope="module")
def decoders(models):
    return codecs(decode((models / "hours" / "1" / "manifest.json").read_bytes()), 100_000)


def refuse(read, body):
    with pytest.raises(RequestError):
        read(body)


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_no_json_takes_long_to_refuse(decoders, body):
    hold, seconds = longest_hold(refuse, decoders.json.read, body)
    assert (hold < HOLD, seconds < SECONDS) == (True, True), (hold, seconds)


@pytest.mark.parametrize("body", TABLES.values(), ids=TABLES)
def test_no_table_takes_long_to_refuse(decoders, body):
    csv.field_size_limit(131_072)  # Python's own, as in the service; the trainer's reading raises it
    hold, seconds = longest_hold(refuse, decoders.csv.read, body)
    assert (hold < HOLD, seconds < SECONDS) == (True, True), (hold, seconds)


PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b'"hours":1', b'"a":1', b"1", b"null", b"\\u0031", b" "]
)


@given(st.lists(PIECES, min_size=1, max_size=8), st.sampled_from([b"[", b"{", b""]))
@settings(max_examples=30, deadline=None)
def test_nothing_repeated_takes_long(decoders, pieces, start):
    piece = b"".join(pieces)
    hold, seconds = longest_hold(decoders.json.read, start + piece * (SIZE // 4 // len(piece)), suppress=RequestError)
    assert (hold < HOLD, seconds < SECONDS) == (True, True), (hold, seconds)
