"""Arrow batches follow the column rules, and an export travels as bytes."""

import pickle
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from passfail.batches import Scorer, numbers
from passfail.columns import Column
from passfail.errors import IntegrityError, InvalidInstance
from passfail.loading import load
from passfail.manifest import Feature
from passfail.model import Model

COLUMNS = {"gre": [700.0, 400.0], "gpa": [3.5, 2.0], "rank": ["2", "4"]}
KINDS = {
    "numbers and texts": COLUMNS,
    "whole numbers": {**COLUMNS, "gre": pa.array([700, 400], pa.int32()), "rank": [2, 4]},
    "whole numbers as floats": {**COLUMNS, "rank": [2.0, 4.0]},
    "dictionary": {**COLUMNS, "rank": pa.array(["2", "4"]).dictionary_encode()},
    "decimals": {**COLUMNS, "gpa": [Decimal("3.5"), Decimal("2.0")]},
    "texts": {"gre": [" 700", "4e2"], "gpa": ["+3.5", "2."], "rank": ["2 ", "4"]},
    "large texts": {**COLUMNS, "rank": pa.array(["2", "4"], pa.large_string())},
}

LACKED = ": no training row lacked it; train with --missing gre=mean to allow it"


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return load(models / "admissions")


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_of_a_column_gives_the_same_bits(model: Model, kind: str) -> None:
    found = Scorer(model)(pa.table({"id": [1, 2], **KINDS[kind]}))

    expected = model.predict(COLUMNS)
    assert found["logit"].to_pylist() == expected.logit.tolist()
    assert found["label"].to_pylist() == expected.label
    assert found["id"].to_pylist() == [1, 2]
    assert found["error"].null_count == 2


@pytest.mark.parametrize(
    ("column", "values", "error"),
    [
        ("gre", [None, 400.0], f"gre: may not be null{LACKED}"),
        ("gre", [float("nan"), 400.0], f"gre: may not be null{LACKED}"),
        ("gre", [float("inf"), 400.0], "gre: not a finite number"),
        ("gre", [True, False], "gre: expected a number, got a boolean"),
        ("gre", ["inf", "400"], "gre: expected a number"),
        ("gre", [[700.0], [400.0]], "gre: expected a number"),
        ("rank", ["9", "4"], "rank: not one of the levels: 1, 2, 3, 4"),
        ("gre", [1.7e308, 400.0], "the logit overflows float64"),
    ],
    ids=["null", "nan", "infinite", "boolean", "text", "list", "level", "overflow"],
)
def test_a_bad_row_carries_its_error_and_strict_names_it(
    model: Model, column: str, values: list[object], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "overflows" in error:
        run = model.runtime
        beyond = lambda x: (np.where(x[:, 0] > 1e300, np.inf, run(x)[0]), run(x)[1])  # noqa: E731
        model = Model(model.manifest, beyond)
    table = pa.table({**COLUMNS, column: values})
    found = Scorer(model)(table)

    assert found["error"][0].as_py() == error
    assert found["logit"][0].as_py() is None
    with pytest.raises(InvalidInstance) as raised:
        Scorer(model, strict=True)(table)
    assert raised.value.problems[0].pointer == ("row 1" if "overflows" in error else f"row 1, {column}")


def test_a_number_is_not_the_level_with_its_text() -> None:
    """JSON refuses it, too."""
    column = Column(Feature("size", "categorical", ("2.5", "large"), None, None, None))

    assert list(numbers(column, pa.array([2.5]))[1]) == [0]


def test_a_model_travels_as_bytes_and_is_opened_once(model: Model) -> None:
    arrived = pickle.loads(pickle.dumps(model))

    assert arrived is pickle.loads(pickle.dumps(arrived))
    assert arrived.manifest == model.manifest
    assert arrived.predict(COLUMNS).logit.tobytes() == model.predict(COLUMNS).logit.tobytes()


def test_a_model_that_was_altered_on_the_way_is_refused(model: Model) -> None:
    assert model.source
    name, data = model.source
    with pytest.raises(IntegrityError, match="admissions: not the file that was exported"):
        pickle.loads(pickle.dumps(replace(model, source=(name, data[:-1] + b"?"))))
