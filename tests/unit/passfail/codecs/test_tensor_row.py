"""One row in V2 tensors, as most clients write it, decoded in one call.

It has the same numbers and the same rules as a row that the full decoder reads.
"""

import json
from itertools import product

import pytest
from msgspec import UNSET

from passfail.codecs import Codecs, tensors
from tests.support.models import opened

X = {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [7.5]}
HOURS = {"name": "hours", "datatype": "FP64", "shape": [1], "data": [7.5]}
GRE, GPA = HOURS | {"name": "gre", "data": [380]}, HOURS | {"name": "gpa", "data": [3.61]}
RANK = {"name": "rank", "datatype": "BYTES", "shape": [1, 1], "data": ["3"]}


@pytest.fixture(scope="module")
def of(models):
    """{model: its codecs}: hours has one numeric feature, admissions a category."""
    return {name: Codecs(opened(models, name).manifest, 10) for name in ("hours", "admissions")}


def written(inputs, **more):
    return json.dumps({"inputs": inputs, **more}).encode()


@pytest.mark.parametrize(("name", "inputs"), [
    *(("hours", [X | {"data": [number]}]) for number in (7.5, 7, -0.0, 5e-324, 1.7976931348623157e308)),
    ("hours", [HOURS]), ("hours", [HOURS | {"shape": [1, 1]}]),
    ("admissions", [GRE, GPA, RANK]), ("admissions", [GRE, GPA, RANK | {"data": [2]}]),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("more", [{}, {"id": "mine"}, {"model_version": ""}], ids=str)
def test_a_plain_row_is_the_row_that_the_full_decoder_reads(of, name, inputs, more):
    body = written(inputs, **more)

    row, request_id = of[name].tensor_row.read(body)

    asked = of[name].tensors.decode(body)
    assert request_id == asked.id
    full = of[name].tensors.read(asked.inputs)[0].tolist()
    assert list(map(float.hex, map(float, row))) == [value.hex() for value in full]


@pytest.mark.parametrize("changed", [
    {"name": "hour"}, {"datatype": "FP32"}, {"shape": [1]}, {"shape": []}, {"shape": [2, 1], "data": [1, 2]},
    {"data": [[7.5]]}, {"data": [None]}, {"data": ["7.5"]}, {"data": [True]}, {"data": []}, {"data": [1, 2]},
    {"data": None}, {"data": [10**400]}, {"parameters": {}},
], ids=str)  # fmt: skip
def test_any_other_tensor_is_left_to_the_full_decoder(of, changed):
    assert of["hours"].tensor_row.read(written([X | changed])) is None


@pytest.mark.parametrize("body", [
    written([X, X]), written([]), written([X], outputs=[]), written([X], parameters={}), written([X], id=None),
    written([X], model_name="other"), written([X], model_version="7"), written([X])[:-1], b"[]", b"",
    written([X])[:-1] + b',"id":"a","id":"a"}', written([X])[:-1] + rb',"id":"a","id":"\u0022\u0022\u0022\u0022"}',
], ids=str)  # fmt: skip
def test_so_is_any_other_request(of, body):
    assert of["hours"].tensor_row.read(body) is None


@pytest.mark.parametrize("inputs", [
    [GPA, GRE, RANK], [GRE, GPA], [GRE, GPA, RANK | {"data": ["9"]}], [X | {"shape": [1, 3], "data": [700, 3.5, 0]}],
], ids=["another order", "one is missing", "an unknown level", "the index of a level"])  # fmt: skip
def test_so_are_other_tensors_of_a_model_with_a_category(of, inputs):
    assert of["admissions"].tensor_row.read(written(inputs)) is None


@pytest.mark.parametrize(("verdict", "stable"), list(product([False, True], repeat=2)))
@pytest.mark.parametrize("request_id", [UNSET, None, "mine", '100 %b "\\'])
def test_the_answer_has_the_bytes_that_tensors_write(of, verdict, stable, request_id):
    head = {"model_name": "hours", "model_version": "1"} | ({"id": request_id} if isinstance(request_id, str) else {})

    found = of["hours"].tensor_row.write(request_id, verdict, 0.5, 0.25, stable)

    values = [0.25], [0.5], [verdict], [("fail", "pass")[verdict]], [stable]
    assert found == tensors.write(tensors.ALL, dict(zip(tensors.OUTPUTS, values, strict=True)), 1, head)[0]
