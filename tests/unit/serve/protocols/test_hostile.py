"""Allowed bodies made to take long: no call holds the interpreter's lock for long.

They are in every place of every protocol.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from serve.http.messages import CSV, JSON, JSON_LINES, Request, completed
from serve.protocols import mlflow, vertex
from serve.protocols import open_inference as v2
from serve.protocols.predict import predict
from serve.protocols.table_formats import MOST_WITH_EXTRAS
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support.holds import least_hold

SIZE = 16 * 1024 * 1024
HOLD = 0.05  # seconds of processor time; 0.8 to 2.4 where such a place is decoded at once
SHAPES = {
    "empty objects": lambda: b"[" + b"{}," * (SIZE // 3) + b"{}]",
    "objects of an empty name": lambda: b"[" + b'{"":{}},' * (SIZE // 8) + b'{"":{}}]',
    "empty arrays": lambda: b"[" + b"[]," * (SIZE // 3) + b"[]]",
    "numbers": lambda: b"[" + b"1," * (SIZE // 2) + b"1]",
    "texts": lambda: b"[" + b'"a",' * (SIZE // 4) + b'"a"]',
    "distinct names": lambda: b"{" + b",".join(b'"%x":1' % i for i in range(SIZE // 11)) + b"}",
    "one column": lambda: b"{" + b'"gre":[],' * (SIZE // 9) + b'"gre":[]}',
    "escaped quotes": lambda: b'["' + b"\\u0022" * (SIZE // 6) + b'",' + b"1," * (SIZE // 4) + b"1]",
    "deep arrays": lambda: b"[" * SIZE,
    "a long name": lambda: b'{"' + b"k" * SIZE + b'":1}',
    "lines": lambda: b"[]\n" * (SIZE // 3),
}
X = b'{"inputs":[{"name":"x","shape":%b,"datatype":"%b","data":%b}]}'
PLACES = {
    "/predict": (predict, JSON, b"%b"),
    "/predict, lines": (predict, JSON_LINES, b"%b"),
    "/predict, CSV": (predict, CSV, b"%b"),
    "/invocations": (mlflow.invocations, JSON, b"%b"),
    "instances": (mlflow.invocations, JSON, b'{"instances":%b}'),
    "inputs": (mlflow.invocations, JSON, b'{"inputs":%b}'),
    "data": (mlflow.invocations, JSON, b'{"dataframe_split":{"columns":["gre","gpa","rank"],"data":%b}}'),
    "columns": (mlflow.invocations, JSON, b'{"dataframe_split":{"columns":%b,"data":[]}}'),
    "index": (mlflow.invocations, JSON, b'{"dataframe_split":{"columns":[],"data":[],"index":%b}}'),
    "params": (mlflow.invocations, JSON, b'{"instances":[[1,1,"1"]],"params":%b}'),
    "parameters of Vertex AI": (vertex.predict, JSON, b'{"instances":[[1,1,"1"]],"parameters":%b}'),
    "V2 inputs": (v2.infer, JSON, b'{"inputs":%b}'),
    "V2 outputs": (v2.infer, JSON, b'{"inputs":[],"outputs":%b}'),
    "V2 parameters": (v2.infer, JSON, b'{"inputs":[],"parameters":%b}'),
    "V2 shape": (v2.infer, JSON, X.replace(b"%b", b"FP64").replace(b"FP64", b"%b", 1).replace(b":FP64}", b":[]}")),
    "V2 data": (v2.infer, JSON, X % (b"[1000,3]", b"FP64", b"%b")),
    "V2 data of whole numbers": (v2.infer, JSON, X % (b"[1000,3]", b"INT64", b"%b")),
    "V2 data of texts": (v2.infer, JSON, X % (b"[1000]", b"BYTES", b"%b")),
}


@pytest.fixture(scope="module")
def answered(models):
    service = create_app(Config(models=models, model_name="admissions")).service

    def answered(endpoint, kind, body):
        names = {"name": "admissions"} if endpoint is v2.infer else {}
        return completed(endpoint(service, Request("/", "", {b"content-type": kind.encode()}, body), **names))

    return answered


@given(st.sampled_from(sorted(PLACES)), st.sampled_from(sorted(SHAPES)))
@settings(max_examples=10)  # each body has 16 MB; the heavy test below has every pair
def test_no_place_of_a_body_holds_the_lock_for_long(answered, place, shape):
    check(answered, place, shape)


@pytest.mark.heavy
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", PLACES)
def test_every_shape_in_every_place(answered, place, shape):
    check(answered, place, shape)


# An array of many elements is read as "numbers" is, which has the most of them.
ARRAYS = {"empty objects", "objects of an empty name", "empty arrays", "texts"}


@pytest.mark.parametrize(
    "shape", [pytest.param(shape, marks=pytest.mark.heavy) if shape in ARRAYS else shape for shape in SHAPES]
)
def test_other_fields_are_taken_from_short_bodies_only(answered, shape):
    def keep(service, request):
        return predict(service, replace(request, query="extra=keep"))

    body, kind = SHAPES[shape](), JSON_LINES if shape == "lines" else JSON
    assert answered(keep, kind, body).status == 413
    short = body[: MOST_WITH_EXTRAS - 1] + body[-1:]
    assert least_hold(answered, keep, kind, short)[0] < HOLD


def check(answered, place, shape):
    endpoint, kind, template = PLACES[place]

    hold, _ = least_hold(answered, endpoint, kind, template.replace(b"%b", SHAPES[shape]()))

    assert hold < HOLD, (place, shape)
