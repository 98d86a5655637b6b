"""The Open Inference Protocol: tensors in every form."""

import json
import math
import struct

import numpy as np
import pytest

from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support.protocols import GOOD, LEVELS, predictions, tensors, v2
from train.__main__ import main


def infer(ask, inputs, buffers=(), **more):
    head = json.dumps({"inputs": inputs, **more}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if buffers else {}
    return ask("/v2/models/admissions/infer", head + b"".join(buffers), "application/octet-stream", **headers)


def whole(rows):
    return np.array([[row["gre"], row["gpa"], LEVELS.index(row["rank"])] for row in rows], dtype="<f8")


@pytest.mark.parametrize("form", ["nested", "flat", "binary", "columns in binary"])
def test_x_in_every_form(ask, form):
    x = whole(GOOD)
    one = {"name": "x", "shape": list(x.shape), "datatype": "FP64"}
    if form == "columns in binary":
        texts = b"".join(struct.pack("<I", len(row["rank"])) + row["rank"].encode() for row in GOOD)
        buffers = [x[:, 0].tobytes(), x[:, 1].tobytes(), texts]
        inputs = [
            {"name": name, "shape": [5, 1], "datatype": kind, "parameters": {"binary_data_size": len(buffer)}}
            for name, kind, buffer in zip(("gre", "gpa", "rank"), ("FP64", "FP64", "BYTES"), buffers, strict=True)
        ]
        response = infer(ask, inputs, buffers)
    elif form == "binary":
        response = infer(ask, [{**one, "parameters": {"binary_data_size": x.nbytes}}], [x.tobytes()])
    else:
        response = infer(ask, [{**one, "data": x.tolist() if form == "nested" else x.ravel().tolist()}])

    assert v2(response) == predictions(ask("/predict", GOOD))


@pytest.mark.parametrize("rows", [1, 5])
def test_outputs_come_in_the_order_of_the_request(ask, rows):
    x, names = whole(GOOD[:rows]), ["stable", "label", "verdict", "logit", "probability"]
    one = {"name": "x", "shape": [rows, 3], "datatype": "FP64", "data": x.tolist()}

    outputs = infer(ask, [one], outputs=[{"name": name} for name in names]).json["outputs"]

    assert [output["name"] for output in outputs] == names


def test_binary_outputs_as_asked_and_the_id_comes_back(ask):
    x = whole(GOOD)
    asked = [{"name": "probability", "parameters": {"binary_data": True}}, {"name": "label"}]
    response = infer(
        ask, [{"name": "x", "shape": [5, 3], "datatype": "FP64", "data": x.tolist()}], outputs=asked, id="mine"
    )

    size = int(response.headers["Inference-Header-Content-Length"])
    head = json.loads(response.data[:size])
    rows = predictions(ask("/predict", GOOD))
    assert (head["id"], head["model_name"], head["model_version"]) == ("mine", "admissions", "1")
    assert [output["name"] for output in head["outputs"]] == ["probability", "label"]
    assert np.frombuffer(response.data[size:], "<f8").tolist() == [row[1] for row in rows]
    assert head["outputs"][1]["data"] == [row[2] for row in rows]


@pytest.mark.parametrize("kind", ["FP32", "FP16", "INT8", "INT64", "UINT16"])
def test_narrower_numbers_are_widened_exactly(ask, kind):
    rows = [{"gre": 96, "gpa": 3, "rank": "2"}]
    x = whole(rows)
    dtype = {"FP32": "<f4", "FP16": "<f2", "INT8": "<i1", "INT64": "<i8", "UINT16": "<u2"}[kind]
    buffer = x.astype(dtype).tobytes()
    one = {"name": "x", "shape": [1, 3], "datatype": kind}

    binary = infer(ask, [{**one, "parameters": {"binary_data_size": len(buffer)}}], [buffer])
    text = infer(ask, [{**one, "data": x.astype(dtype).tolist()}])

    assert v2(binary) == v2(text) == predictions(ask("/predict", rows))


X = {"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 0]}
FAULTY = {
    "no inputs": [],
    "an output for an input": [{**X, "name": "probability"}],
    "a feature too few": tensors(GOOD)[:2],
    "twice": [X, X],
    "a frozen shape": [{**X, "shape": [3]}],
    "three dimensions": [{**X, "shape": [1, 1, 3]}],
    "a dimension that no array has": [{**X, "shape": [0, 2**70], "data": []}],
    "such a dimension in binary": [{**X, "shape": [0, 2**70], "data": None, "parameters": {"binary_data_size": 0}}],
    "a negative shape": [{**X, "shape": [-1, 3]}],
    "a shape that lies": [{**X, "shape": [2, 3]}],
    "a shape that lies grossly": [{**X, "shape": [10**18, 3]}],
    "nested otherwise": [{**X, "data": [[1, 2], [0]]}],
    "mixed nesting": [{**X, "data": [1, [2, 0]]}],
    "a boolean": [{**X, "data": [1, True, 0]}],
    "BOOL": [{**X, "datatype": "BOOL", "data": [True, True, False]}],
    "no datatype": [{**X, "datatype": "FP128"}],
    "texts": [{**X, "data": ["1", "2", "0"]}],
    "BYTES for x": [{**X, "datatype": "BYTES", "data": ["1", "2", "0"]}],
    "no data": [{key: value for key, value in X.items() if key != "data"}],
    "a level out of range": [{**X, "data": [1, 2, 4]}],
    "half a level": [{**X, "data": [1, 2, 0.5]}],
    "a fraction as INT64": [{**X, "datatype": "INT64", "data": [1.5, 2, 0]}],
    "INT8 that is more": [{**X, "datatype": "INT8", "data": [300, 2, 0]}],
    "beyond 2^53": [{**X, "datatype": "INT64", "data": [2**53 + 1, 2, 0]}],
    "beyond FP32": [{**X, "datatype": "FP32", "data": [1e39, 2, 0]}],
    "a misspelt field": [{**X, "dtype": "FP64"}],
    "differing rows": [*tensors(GOOD)[:2], *tensors(GOOD[:2])[2:]],
    "a buffer that isn't there": [{**X, "data": None, "parameters": {"binary_data_size": 24}}],
    "a size that is no number": [{**X, "data": None, "parameters": {"binary_data_size": "24"}}],
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_faulty_tensor_is_refused(ask, fault):
    response = infer(ask, FAULTY[fault])

    assert response.status_code in (400, 413, 422)
    assert response.content_type == "application/json"
    assert list(response.json) == ["error"]


@pytest.mark.parametrize("name", ["inputs", "data", "binary_data", "outputs", "id"])
def test_a_field_given_twice_is_refused(ask, name):
    """JSON's readers would take the last."""
    more = {"id": 'a "b"', "outputs": [{"name": "logit", "parameters": {"binary_data": False}}], "parameters": {}}
    text = json.dumps({"inputs": [X], **more}).encode()
    path = "/v2/models/admissions/infer"
    assert (answer := ask(path, text, "application/json")).status_code == 200
    assert answer.json["id"] == 'a "b"'

    twice = text.replace(b'"%b":' % name.encode(), b'"%b": null, "%b":' % (name.encode(), name.encode()), 1)
    response = ask(path, twice, "application/json")
    assert (response.status_code, list(response.json)) == (400, ["error"])


def test_a_body_may_repeat_the_models_name_but_name_no_other(ask):
    """KServe's client always does."""
    assert infer(ask, [X], model_name="admissions").status_code == 200

    response = infer(ask, [X], model_name="hours")
    assert (response.status_code, response.json) == (
        422,
        {"error": "1 place is wrong: $.model_name: not the model that the path names"},
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["logit", "label", "logit"], "$.outputs[2].name: given more than once"),
        (["label", "odds"], "$.outputs[1].name: there are probability, logit, verdict, label, stable"),
    ],
)
def test_each_output_is_one_of_the_models_and_named_once(ask, names, said):
    """50 KB of 5000 rows that named one 2000 times were answered with 200 MB."""
    response = infer(ask, [X], outputs=[{"name": name} for name in names])

    assert (response.status_code, response.json) == (422, {"error": f"1 place is wrong: {said}"})


@pytest.mark.parametrize("code", [4, 0.5, -1])
def test_what_is_no_levels_index_is_said_to_be_none(ask, code):
    response = infer(ask, [{**X, "data": [1, 2, code]}])

    assert response.status_code == 422
    assert "$.inputs[0], rank, row 0: not the index of one of its 4 levels" in response.json["error"]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1.5, 1e300, math.nan])
def test_a_number_that_is_no_level_is_refused(ask, value):
    buffers = [struct.pack("<d", one) for one in (1, 2, value)]
    inputs = [
        {"name": name, "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}
        for name in ("gre", "gpa", "rank")
    ]
    response = infer(ask, inputs, buffers)

    assert response.status_code == 422
    assert "rank, row 0: not one of the levels: 1, 2, 3, 4" in response.json["error"]


def test_bytes_behind_the_last_tensor_are_refused(ask):
    one = {**X, "data": None, "parameters": {"binary_data_size": 24}}

    assert infer(ask, [one], [bytes(24)]).status_code == 200
    assert infer(ask, [one], [bytes(32)]).status_code == 400


@pytest.mark.parametrize("length", ["0", "-1", "99999", "1e3", "", "٣", "9" * 5000])
def test_a_header_that_lies_about_the_json_is_refused(ask, length):
    body = json.dumps({"inputs": [{**X, "data": None, "parameters": {"binary_data_size": 24}}]}).encode()
    try:
        response = ask("/v2/models/admissions/infer", body + bytes(24), **{"Inference-Header-Content-Length": length})
    except UnicodeEncodeError:
        return  # no client can send it

    assert response.status_code == 400
    assert list(response.json) == ["error"]


@pytest.mark.parametrize(
    "texts", [b"", b"\x01\0\0\0", b"\xff\xff\xff\xff1", b"\x01\0\0\0\xff", b"\x01\0\0\x001\x01\0\0\x001"]
)
def test_bytes_that_are_not_one_text_are_refused(ask, texts):
    buffers = [struct.pack("<d", 1), struct.pack("<d", 2), texts]
    inputs = [
        {"name": name, "shape": [1], "datatype": kind, "parameters": {"binary_data_size": len(buffer)}}
        for name, kind, buffer in zip(("gre", "gpa", "rank"), ("FP64", "FP64", "BYTES"), buffers, strict=True)
    ]

    assert infer(ask, inputs, buffers).status_code == 422


def test_missing_values_are_nan_null_or_empty_where_the_model_allows_them(tmp_path):
    table = "".join(f"{x},{level},{y}\n" for x, level, y in [
        (1, "a", 0), (2, "b", 0), ("", "a", 1), (4, "", 1), (5, "b", 1), (3, "a", 0), (2.5, "b", 1), (1.5, "a", 1),
    ])  # fmt: skip
    (tmp_path / "gaps.csv").write_text("u,v,y\n" + table)
    for command in (["fit", "--folds", "2"], ["export", "--models", str(tmp_path / "models")]):
        assert (
            main([command[0], "--data", str(tmp_path / "gaps.csv"), "--checkpoints", str(tmp_path), *command[1:]]) == 0
        )
    client = create_app(Config(models=tmp_path / "models")).test_client()
    wanted = client.post("/predict", json=[{"u": None, "v": None}]).json[0]["logit"]

    def logit(inputs, buffers=()):
        head = json.dumps({"inputs": inputs, "outputs": [{"name": "logit"}]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        return client.post("/v2/models/gaps/infer", data=head + b"".join(buffers), headers=headers).json["outputs"][0][
            "data"
        ][0]

    u = {"name": "u", "shape": [1], "datatype": "FP64", "data": [None]}
    v = {"name": "v", "shape": [1], "datatype": "BYTES", "data": [""]}
    binary = {"name": "x", "shape": [1, 2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
    assert logit([u, v]) == logit([u, {**v, "data": [None]}]) == wanted
    assert logit([binary], [struct.pack("<dd", math.nan, math.nan)]) == wanted


def test_no_rows_get_no_answers(ask):
    outputs = infer(ask, [{**X, "shape": [0, 3], "data": []}]).json["outputs"]

    assert [output["data"] for output in outputs] == [[]] * 5


def test_a_wrong_method_is_refused_in_its_shape(ask):
    for response in (ask("/v2", {}), ask.get("/v2/models/admissions/infer")):
        assert (response.status_code, list(response.json)) == (405, ["error"])


def test_metadata_names_what_is_served(ask):
    about = ask.get("/v2/models/admissions").json

    assert (about["name"], about["versions"], about["platform"]) == ("admissions", ["1"], "onnx_onnxv1")
    assert [(i["name"], i["datatype"], i["shape"]) for i in about["inputs"]] == [
        ("gre", "FP64", [-1]), ("gpa", "FP64", [-1]), ("rank", "BYTES", [-1])
    ]  # fmt: skip
    assert about["parameters"]["x"]["shape"] == [-1, 3]
    assert ask.get("/v2/models/admissions/versions/1").json == about
    assert "binary_tensor_data" in ask.get("/v2").json["extensions"]
    assert ask.get("/v2/models/admissions/versions/1/ready").json["ready"] is True
    assert ask("/v2/repository/index", {}).json == [
        {"name": "admissions", "version": "1", "state": "READY", "reason": ""}
    ]
    assert ask("/v2/repository/models/admissions/unload", {}).status_code == 409
    assert (ask.get("/ping").status_code, ask.get("/healthy").status_code) == (200, 200)
    assert ask.get("/version").data == b"3.0.0"


@pytest.mark.parametrize(
    "path",
    ["/v2/models/nosuch", "/v2/models/admissions/versions/9", "/v2/models/admissions/versions/0x1", "/v2/nothing",
     "/v2/models/..%2fadmissions/ready", "/v2/models/admissions/infer/more",
     f"/v2/models/admissions/versions/{'1' * 5000}"],
)  # fmt: skip
def test_an_unknown_name_or_version_is_not_found(ask, path):
    response = ask.get(path)

    assert (response.status_code, list(response.json)) == (404, ["error"])
