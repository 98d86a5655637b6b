"""Every protocol names the values outside the training range, and adds nothing otherwise."""

import csv
import io
import json

import numpy as np
import pytest

from tests.support.models import opened

INSIDE, YOUNG = {"gre": 600, "gpa": 3.5, "rank": "2"}, {"gre": -500, "gpa": 3.5, "rank": "2"}
FAR = {"gre": 1e6, "gpa": 5, "rank": "2"}
ROWS = [INSIDE, YOUNG, FAR]
NAMES = [[], ["gre"], ["gre", "gpa"]]
JSON, CSV, LINES = "application/json", "text/csv", "application/jsonlines"


def table(rows):
    return "gre,gpa,rank\n" + "".join(f"{row['gre']},{row['gpa']},{row['rank']}\n" for row in rows)


@pytest.mark.parametrize("path", ["/predict", "/predict?explain=true", "/explain"])
def test_json_names_them_row_by_row(ask, path):
    answers = ask(path, ROWS).json

    assert [answer.get("outside", []) for answer in answers] == NAMES
    assert "outside" not in answers[0]
    assert [ask(path, row).json for row in ROWS] == answers


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/invocations", {"dataframe_records": ROWS}),
        ("/invocations", {"instances": ROWS}),
        ("/vertex", {"instances": ROWS}),
    ],
)
def test_predictions_name_them(ask, path, body):
    assert [answer.get("outside", []) for answer in ask(path, body).json["predictions"]] == NAMES


def test_json_lines_name_them(ask):
    lines = ask("/predict", "\n".join(map(json.dumps, ROWS)).encode(), LINES).text.splitlines()

    assert [json.loads(line).get("outside", []) for line in lines] == NAMES


@pytest.mark.parametrize(("path", "kind"), [("/predict", JSON), ("/predict", CSV), ("/invocations", CSV)])
def test_csv_has_a_column_of_them_where_some_row_has_any(ask, path, kind):
    def asked(rows):
        body = json.dumps(rows) if kind == JSON else table(rows)
        return list(csv.DictReader(io.StringIO(ask(path, body.encode(), kind, Accept=CSV).text)))

    assert [row["outside"] for row in asked(ROWS)] == ["", "gre", "gre, gpa"]
    assert "outside" not in asked([INSIDE])[0]


def test_csv_whose_cells_are_quoted_has_the_column_too(ask):
    quoted = table(ROWS).replace(",2\n", ',"2"\n')

    assert [row["outside"] for row in csv.DictReader(io.StringIO(ask("/predict", quoted.encode(), CSV).text))] == [
        "", "gre", "gre, gpa",
    ]  # fmt: skip


def test_csv_without_a_header_keeps_its_columns(ask):
    inside, far = (
        ask("/invocations", table([row]).partition("\n")[2].encode(), CSV, Accept=CSV).text for row in (INSIDE, FAR)
    )

    assert inside.count(",") == far.count(",") == 6


def test_tensors_name_them_in_a_parameter(ask):
    inputs = [{"name": "x", "shape": [3, 3], "datatype": "FP64", "data": [600, 3.5, 1, -500, 3.5, 1, 1e6, 5, 1]}]
    answer = ask("/v2/models/admissions/infer", {"inputs": inputs}).json

    assert answer["parameters"] == {"outside": "row 1: gre; row 2: gre, gpa"}
    inputs = [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [600, 3.5, 1]}]
    assert "parameters" not in ask("/v2/models/admissions/infer", {"inputs": inputs}).json


def test_python_names_them(models):
    model = opened(models, "admissions")

    assert model.predict(ROWS).outside == [tuple(names) for names in NAMES]
    assert model.predict([INSIDE]).outside == [()]
    assert model.outside(np.array([[600.0, 3.5, 0.0]])) is None


def test_the_limits_of_the_range_are_inside(models):
    model = opened(models, "admissions")
    gre, gpa, _ = model.manifest.features
    edges = np.array([[gre.minimum, gpa.maximum, 0.0], [gre.maximum, gpa.minimum, 3.0]])

    assert model.outside(edges) is None
    assert model.outside(np.nextafter(edges, np.inf)) == [("gpa",), ("gre",)]


@pytest.mark.parametrize("order", ["C", "F"], ids=["by rows", "by columns"])
def test_the_order_of_an_array_in_memory_changes_nothing(models, order):
    x = np.array([[600, 3.5, 1], [-500, 3.5, 1], [1e6, 5, 1]], order=order)

    assert opened(models, "admissions").outside(x) == [(), ("gre",), ("gre", "gpa")]


def test_many_rows_name_them_as_each_alone(models):
    model = opened(models, "admissions")
    x = np.tile([[600, 3.5, 1], [-500, 3.5, 1], [600, np.nan, 1]], (1000, 1))  # more than are compared at a time
    x[-1] = 1e6, 5, 1

    assert model.outside(x) == [*([(), ("gre",), ()] * 1000)[:-1], ("gre", "gpa")]
