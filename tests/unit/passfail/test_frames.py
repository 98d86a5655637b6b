"""`Model.predict` gives the service's bits, whatever holds the rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from passfail import InvalidInstance, Model, load
from passfail.explain import explain

ROWS = [{"gre": 700, "gpa": 3.5, "rank": "2"}, {"gre": 400.0, "gpa": 2, "rank": 4}]
COLUMNS = {"rank": ["2", "4"], "gre": [700.0, 400.0], "gpa": [3.5, 2.0]}
KINDS = {
    "list of dicts": ROWS,
    "dict of lists": COLUMNS,
    "dict of arrays": {name: np.array(values) for name, values in COLUMNS.items()},
    "Arrow table": pa.table(COLUMNS),
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
            "may not be null: no training row lacked it; train with --missing gre=mean to allow it",
        ),
        ([{**ROWS[0], "rank": "9"}], "rows, rank, row 0", "not one of the levels: 1, 2, 3, 4"),
        ([ROWS[0], {"gre": 1}], "row 1", "expected the fields of row 0"),
        ({"gre": [1], "gpa": [1]}, "columns, rank", "missing"),
        (np.array([[700, 3.5, 7]]), "x, rank, row 0", "not the index of one of its 4 levels"),
    ],
    ids=["text", "missing", "level", "fields", "column", "index"],
)
def test_what_is_wrong_is_named_by_row_and_column(model: Model, rows: object, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidInstance) as raised:
        model.predict(rows)

    assert [(found.pointer, found.detail) for found in raised.value.problems] == [(pointer, detail)]
