"""One row in one tensor, as most clients write it, decoded without NumPy.

It has the same numbers and the same rules.
"""

import json

import pytest

from passfail.codecs import codecs
from tests.support.models import opened

X = {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [7.5]}


@pytest.fixture(scope="module")
def tensors(models):
    """{model: its decoder}: hours has one numeric feature, admissions a category."""
    return {name: codecs(opened(models, name).manifest, 10).tensors for name in ("hours", "admissions")}


@pytest.mark.parametrize("number", [7.5, 7, -0.0, 5e-324, 1.7976931348623157e308])
def test_a_plain_row_is_the_row_that_the_full_decoder_reads(tensors, number):
    inputs = tensors["hours"].decode(json.dumps({"inputs": [X | {"data": [number]}]}).encode()).inputs

    row = tensors["hours"].row(inputs)

    assert row is not None
    assert list(map(float.hex, map(float, row))) == [value.hex() for value in tensors["hours"].read(inputs)[0].tolist()]


@pytest.mark.parametrize("changed", [
    {"name": "hours"}, {"datatype": "FP32"}, {"shape": [1]}, {"shape": [2, 1], "data": [1, 2]}, {"data": [[7.5]]},
    {"data": [None]}, {"data": ["7.5"]}, {"data": [True]}, {"data": []}, {"data": [1, 2]}, {"data": None},
    {"data": [10**400]}, {"parameters": {}},
], ids=str)  # fmt: skip
def test_any_other_request_is_left_to_the_full_decoder(tensors, changed):
    inputs = tensors["hours"].decode(json.dumps({"inputs": [X | changed]}).encode()).inputs

    assert tensors["hours"].row(inputs) is None


def test_so_are_two_tensors_and_a_model_with_categories(tensors):
    two = tensors["hours"].decode(json.dumps({"inputs": [X, X]}).encode()).inputs
    category = json.dumps({"inputs": [X | {"shape": [1, 3], "data": [700, 3.5, 0]}]}).encode()

    assert tensors["hours"].row(two) is None
    assert tensors["admissions"].row(tensors["admissions"].decode(category).inputs) is None
