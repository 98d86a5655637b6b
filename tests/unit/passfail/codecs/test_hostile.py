"""Allowed bodies made to take long: each is refused before it delays another request.

No call holds the interpreter's lock for more than 50 ms of processor time.
"""

import csv
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from passfail.codecs import Codecs
from passfail.errors import RequestError
from passfail.manifest import decode
from tests.support.holds import least_hold

SIZE = 16 * 1024 * 1024
HOLD, SECONDS = 0.05, 3.0  # of processor time, all of it being watched; these took 2.4 to 7.8 s, most in one call
HOSTILE = {
    "empty objects": lambda: b"[" + b"{}," * (SIZE // 3) + b"{}]",
    "objects of an empty name": lambda: b"[" + b'{"":{}},' * (SIZE // 8) + b'{"":{}}]',
    "empty arrays": lambda: b"[" + b"[]," * (SIZE // 3) + b"[]]",
    "numbers": lambda: b"[" + b"1," * (SIZE // 2) + b"1]",
    "distinct names": lambda: b"{" + b",".join(b'"%x":1' % i for i in range(SIZE // 11)) + b"}",
    "distinct names in an array": lambda: b"[{" + b",".join(b'"%x":1' % i for i in range(SIZE // 11)) + b"}]",
    "an unknown name": lambda: b"[" + b'{"a":1},' * (SIZE // 8) + b'{"a":1}]',
    "right rows": lambda: b"[" + b'{"hours":1},' * (SIZE // 12) + b'{"hours":1}]',
    "deep arrays": lambda: b"[" * SIZE,
    "deep objects": lambda: b'{"hours":' * (SIZE // 9),
    "one text": lambda: b'{"hours": "' + b"x" * SIZE + b'"}',
    "one number": lambda: b'{"hours": ' + b"1" * SIZE + b"}",
    "white space": lambda: b" " * SIZE,
    "white space in an array": lambda: b"[" + b" " * SIZE + b"]",
    "white space between rows": lambda: b'[{"hours":1}' + b" " * SIZE + b',{"hours":1}]',
    "ends of rows in a text": lambda: b'[{"hours":"' + b"},{" * (SIZE // 3) + b'"}]',
    "text of four bytes a character": lambda: '[{"hours":"\U0001f600'.encode() + b"x" * SIZE + b'"}]',
    "one field again and again": lambda: b"{" + b'"hours":1,' * (SIZE // 10) + b'"hours":1}',
}
TABLES = {
    "a header of commas": lambda: b"," * SIZE + b"\n1\n",
    "a row of commas": lambda: b"hours\n" + b"," * SIZE,
    "empty lines": lambda: b"hours\n" + b"\n" * SIZE,
    "one cell": lambda: b"hours\n" + b"1" * SIZE,
    "carriage returns": lambda: b"hours\n" + b"\r" * SIZE,
    "carriage returns and newlines": lambda: b"hours\n" + b"\r\n" * (SIZE // 2),
    "one cell of four bytes a character": lambda: "hours\n\U0001f600".encode() + b"x" * SIZE,
    "quotes": lambda: b'hours\n"' + b'""' * (SIZE // 2),
    "more rows than may be": lambda: b"hours\n" + b"1\n" * (SIZE // 2),
    "as many lines as may be, twice": lambda: b"hours\n" + b"1\n" * 199_999,
}


@pytest.fixture(scope="module")
def decoders(models):
    return Codecs(decode((models / "hours" / "1" / "manifest.json").read_bytes()), 100_000)


def refuse(read, body):
    with pytest.raises(RequestError):
        read(body)


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_no_json_takes_long_to_refuse(decoders, body):
    hold, seconds = least_hold(refuse, decoders.json.read, body())
    assert (hold < HOLD, seconds < SECONDS) == (True, True), (hold, seconds)


@pytest.mark.parametrize("body", TABLES.values(), ids=TABLES)
def test_no_table_takes_long_to_refuse(decoders, body):
    csv.field_size_limit(131_072)  # Python's own, as in the service; the trainer's reading raises it
    hold, seconds = least_hold(refuse, decoders.csv.read, body())
    assert (hold < HOLD, seconds < SECONDS) == (True, True), (hold, seconds)


VALUES = b",".join([b"1"] * 50)
LENGTH = SIZE // 100  # values of a column, which take two bytes each


def columns(*lengths):
    return b"{%b}" % b",".join(b'"x%d":[%b]' % (i, b",".join([b"1"] * n)) for i, n in enumerate(lengths))


def texts(n):
    head = b'{"inputs":[{"name":"x","shape":[%d,50],"datatype":"BYTES","data":[' % n
    return head + b",".join([b'"a"'] * (50 * n)) + b"]}]}"


WIDE = {
    "arrays": lambda of: partial(of.json.read_arrays, b"[" + b"[%b]," % VALUES * (SIZE // 103) + b"[1]]", NAMES, "$"),
    "columns": lambda of: partial(of.json.read_columns, columns(*[min(LENGTH, 100_000)] * 50), "$"),
    "a column too long": lambda of: partial(of.json.read_columns, columns(*[LENGTH // 2] * 49, LENGTH // 2 + 1), "$"),
    "a column that is none": lambda of: partial(of.json.read_columns, columns(*[LENGTH // 2] * 50)[:-3] + b"x]}", "$"),
    "texts for x": lambda of: partial(of.tensors.read, of.tensors.decode(texts(SIZE // 200)).inputs),
}
NAMES = [f"x{i}" for i in range(50)]


@pytest.mark.parametrize("reader", WIDE.values(), ids=WIDE)
def test_no_body_of_a_wide_model_holds_the_lock_for_long(models, reader):
    """Fifty columns of a body have some three million cells; freeing them takes long, too."""
    manifest = decode((models / "hours" / "1" / "manifest.json").read_bytes())
    features = tuple(replace(manifest.features[0], name=name) for name in NAMES)
    read = reader(Codecs(replace(manifest, features=features), 100_000))

    hold, _ = least_hold(read)

    assert hold < HOLD, hold


PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b'"hours":1', b'"a":1', b"1", b"null", b"\\u0031", b" "]
)


@given(st.lists(PIECES, min_size=1, max_size=8), st.sampled_from([b"[", b"{", b""]))
@settings(max_examples=30)
def test_nothing_repeated_takes_long(decoders, pieces, start):
    piece = b"".join(pieces)
    body = start + piece * (SIZE // 4 // len(piece))
    hold, seconds = least_hold(decoders.json.read, body, suppress=RequestError)
    assert (hold < HOLD, seconds < SECONDS) == (True, True), (hold, seconds)
