"""A body decoded in slices gives the same rows, errors and places as one decoded at once."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from passfail.codecs import Codecs, strict_json
from passfail.errors import RequestError
from passfail.manifest import decode

TEXTS = st.text(st.sampled_from('ab"\\\\,]}[{ \t\né\U0001f600'), max_size=6)
ELEMENTS = st.dictionaries(TEXTS, TEXTS | st.integers(), max_size=3) | st.lists(TEXTS | st.floats(-9, 9), max_size=3)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(strict_json, "SLICE", 12)


@given(st.lists(ELEMENTS, max_size=8), st.sampled_from([",", ", ", " ,\n"]), st.booleans())
@example([{"},": '"'}, {'\\\\"},{': "\\\\"}], ",", False)
@settings(max_examples=150)
def test_the_pieces_of_an_array_are_its_elements(elements, separator, ascii_only):
    """Whatever stands in their texts."""
    body = json.dumps(elements, ensure_ascii=ascii_only, separators=(separator, ":")).encode()

    pieces = list(strict_json.pieces(body, 200))

    assert [element for _, piece in pieces for element in json.loads(piece)] == elements
    assert all(body[at:].startswith(piece[1:-1]) for at, piece in pieces)


@pytest.mark.parametrize("body", [b"[{},", b"[{}", b"[{}] 1", b"[{}]]x", b"[" + b"1," * 500 + b"1]"])
def test_what_is_no_array_of_rows_is_refused(body):
    with pytest.raises((ValueError, msgspec.DecodeError)):
        _ = [msgspec.json.decode(piece) for _, piece in strict_json.pieces(body, 200)]


ROW = {"gre": 700, "gpa": 3.5, "rank": "1"}
BODIES = {
    "rows": [ROW] * 9,
    "one wrong": [*[ROW] * 5, {**ROW, "gre": "x"}, *[ROW] * 3],
    "many wrong": [*[ROW] * 3, *[{**ROW, "rank": "9", "gre": None}] * 12],
    "a field twice": b"[%b,%b]" % (b",".join([json.dumps(ROW).encode()] * 6), b'{"gre":1,"gre":1,"gpa":1,"rank":"1"}'),
    "an escaped quote": b"[%b]" % b",".join([json.dumps(ROW).encode().replace(b"rank", b"\\u0072ank")] * 6),
    "a comma too many": b"[%b,]" % b",".join([json.dumps(ROW).encode()] * 6),
    "no comma": b"[%b 1]" % b",".join([json.dumps(ROW).encode()] * 6),
    "no end": b"[%b" % b",".join([json.dumps(ROW).encode()] * 6),
    "no JSON": b"[%b,{]" % b",".join([json.dumps(ROW).encode()] * 6),
    "too many": [ROW] * 20,
    "too many, the last ones wrong": [*[ROW] * 10, *[{}] * 10],
    "none": [],
    "a number": [ROW, 1],
}


@pytest.fixture(scope="module")
def decoders(models):
    return Codecs(decode((models / "admissions" / "1" / "manifest.json").read_bytes()), 15)


def outcome(read, *arguments):
    try:
        return np.asarray(read(*arguments)).tolist()
    except RequestError as error:
        return type(error), error.text


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("arrays", [False, True], ids=["objects", "arrays"])
def test_rows_and_errors_are_the_same(decoders, monkeypatch, name, arrays):
    body = BODIES[name]
    if not isinstance(body, bytes):
        body = json.dumps([list(row.values()) if arrays and isinstance(row, dict) else row for row in body]).encode()
    read = decoders.json.read_objects
    order = ["gre", "gpa", "rank"]
    if arrays:
        read = lambda body: decoders.json.read_arrays(body, order, "$.instances")  # noqa: E731

    sliced = outcome(read, body)
    monkeypatch.setattr(strict_json, "SLICE", 2**17)

    assert sliced == outcome(read, body)
    assert isinstance(sliced, list) == (name in ("rows", "none") or (name == "an escaped quote" and not arrays))


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("datatype", ["FP64", "FP32", "INT64"])
def test_numbers_of_a_tensor_are_the_same(decoders, monkeypatch, nested, datatype):
    x = [[700, 3, i % 4] for i in range(15)]
    data = x if nested else [value for row in x for value in row]
    one = {"name": "x", "shape": [15, 3], "datatype": datatype, "data": data}
    asked = decoders.tensors.decode(json.dumps({"inputs": [one]}).encode())

    assert decoders.tensors.read(asked.inputs).tolist() == x
    monkeypatch.setattr(strict_json, "SLICE", 2**17)
    assert decoders.tensors.read(asked.inputs).tolist() == x
