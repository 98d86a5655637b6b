"""`Model.predict` gives the service's bits, whatever holds the rows."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from passfail import InvalidInstance, Model, NonFiniteLogit, load
from passfail.columns import Column
from passfail.explain import explain
from passfail.frames import number
from passfail.manifest import Feature

ROWS = [{"gre": 700, "gpa": 3.5, "rank": "2"}, {"gre": 400.0, "gpa": 2, "rank": 4}]
COLUMNS = {"rank": ["2", "4"], "gre": [700.0, 400.0], "gpa": [3.5, 2.0]}
KINDS = {
    "list of dicts": ROWS,
    "dict of lists": COLUMNS,
    "dict of arrays": {name: np.array(values) for name, values in COLUMNS.items()},
    "dicts of NumPy's numbers": [{name: np.float32(value) for name, value in row.items()} for row in ROWS],
    "decimals and levels as floats": {**COLUMNS, "gpa": [Decimal("3.5"), Decimal(2)], "rank": [2.0, 4.0]},
    "Arrow table": pa.table(COLUMNS),
    "Arrow batch with a dictionary": pa.record_batch({**COLUMNS, "rank": pa.array(["2", "4"]).dictionary_encode()}),
    "x": np.array([[700, 3.5, 1], [400, 2, 3]]),
}


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return load(models / "admissions")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_rows_gives_the_same_bits(model: Model, kind: str) -> None:
    found = model.predict(KINDS[kind])
    logit, probability = model.score(np.array([[700, 3.5, 1], [400, 2, 3]]))

    assert found.logit.tobytes() == logit.tobytes()
    assert found.probability.tobytes() == probability.tobytes()
    assert found.label == [model.manifest.target.labels[z > model.manifest.logit_threshold] for z in logit.tolist()]
    assert found.stable is not None
    assert found.stable.all()


def test_explain_gives_the_numbers_of_the_service(model: Model) -> None:
    x = np.array([[700, 3.5, 1], [400, 2, 3]])

    assert model.explain(ROWS) == explain(model, x, model.score(x)[0])
    assert len(model.explain(np.tile(x, (600, 1)))) == 1200  # the limit of a request is the service's


def test_explain_names_the_row_and_column_that_is_wrong(model: Model) -> None:
    with pytest.raises(InvalidInstance) as raised:
        model.explain([ROWS[0], {**ROWS[1], "gpa": "x"}])

    assert raised.value.problems[0].pointer == "row 1, gpa"


@pytest.mark.parametrize(
    ("rows", "pointer", "detail"),
    [
        ([{**ROWS[0], "gre": "x"}], "row 0, gre", "expected a number, got a string"),
        (
            [ROWS[0], {**ROWS[1], "gre": float("nan")}],
            "row 1, gre",
            "may not be null",
        ),
        ([{**ROWS[0], "rank": "9"}], "row 0, rank", "not one of the levels: 1, 2, 3, 4"),
        ({**COLUMNS, "gre": np.array([True, False])}, "row 0, gre", "expected a number, got a boolean"),
        (
            {**COLUMNS, "gre": np.array(["2024-05-31"] * 2, "datetime64[D]")},
            "row 0, gre",
            "expected a number, got an object",
        ),
        ({**COLUMNS, "gre": np.array([1, 2], "datetime64[ns]")}, "row 0, gre", "expected a number, got an object"),
        ({**COLUMNS, "gre": np.array([1, 2], "timedelta64[ns]")}, "row 0, gre", "expected a number, got an object"),
        ([ROWS[0], {"gre": 1}], "row 1", "expected the fields of row 0"),
        ({"gre": [1], "gpa": [1]}, "columns, rank", "missing"),
        ({**COLUMNS, 1: [1, 2]}, "columns", "1 unknown name(s); the features are: gre, gpa, rank"),
        (pa.table([[1], [2], [3], [4]], ["gre", "gpa", "rank", "gre"]), "columns, gre", "given more than once"),
        (ROWS[0], "columns, gre", "one value, not a column of values; put a single row into a list"),
        (np.array([[700, 3.5, 7]]), "x, rank, row 0", "not the index of one of its 4 levels"),
        (np.ma.masked_array([[700, 3.5, 0]], [[0, 1, 0]]), "x, gpa, row 0", "may not be missing (NaN)"),
    ],
    ids=[
        "text",
        "missing",
        "level",
        "booleans",
        "dates",
        "nanoseconds",
        "durations",
        "fields",
        "column",
        "column too many",
        "column twice",
        "one row",
        "index",
        "masked",
    ],
)
def test_what_is_wrong_is_named_by_row_and_column(model: Model, rows: object, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidInstance) as raised:
        model.predict(rows)

    first = raised.value.problems[0]
    assert (first.pointer, first.detail.partition(": no training row")[0]) == (pointer, detail)
    assert f"{first.pointer}: {first.detail}" in raised.value.__notes__


@pytest.mark.parametrize(
    "rows",
    [None, 7, "700", [700, 3.5, 2], [[700, 3.5, 2]], pa.array([1, 2])],
    ids=["None", "number", "text", "row", "list of rows", "Arrow array"],
)
def test_what_is_no_table_is_refused_with_what_is_one(model: Model, rows: object) -> None:
    with pytest.raises(InvalidInstance, match=r"expected a DataFrame.* an array of numbers; got"):
        model.predict(rows)


def test_a_logit_beyond_float64_is_named_by_its_row(model: Model) -> None:
    with pytest.raises(NonFiniteLogit) as raised:
        model.predict([ROWS[0], {**ROWS[1], "gre": 1e308, "gpa": 1e308}])

    assert raised.value.__notes__ == ["rows 1"]


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_a_date_of_numpy_is_a_date_in_every_unit(unit: str) -> None:
    year = Column(Feature("since.year", "numeric", (), 2000, 2030, None), "since")

    assert number(year, np.datetime64("2024-05-31", unit)) == 2024
