"""DataFrames of pandas and polars, whatever their types, give the bits of other rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from passfail import InvalidInstance, Model, load

pytestmark = pytest.mark.engines
pandas = pytest.importorskip("pandas", reason="pandas is not installed: its DataFrames are NOT tested")
polars = pytest.importorskip("polars", reason="polars is not installed: its DataFrames are NOT tested")

COLUMNS: dict[str, list[Any]] = {"rank": ["2", "4"], "gre": [700.0, 400.0], "gpa": [3.5, 2.0]}
KINDS: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pandas.DataFrame,
    "pandas, nullable": lambda columns: pandas.DataFrame(columns).convert_dtypes(),
    "pandas, Arrow": lambda columns: pandas.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow"),
    "pandas, category": lambda columns: pandas.DataFrame(columns).astype({"rank": "category"}),
    "polars": polars.DataFrame,
    "polars, lazy": polars.LazyFrame,
    "polars, categorical": lambda columns: polars.DataFrame(columns, schema_overrides={"rank": polars.Categorical}),
    "polars, narrow": lambda columns: polars.DataFrame(columns, schema_overrides={"gre": polars.Float32}),
    "polars, decimal": lambda columns: polars.DataFrame(columns, schema_overrides={"gpa": polars.Decimal(9, 2)}),
    "Arrow table": pa.table,
    "dict": dict,
    "list of dicts": lambda columns: [
        dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ],
}


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return load(models / "admissions")


@pytest.mark.parametrize("levels", [["2", "4"], [2, 4]], ids=["texts", "numbers"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_rows_gives_the_same_bits(model: Model, kind: str, levels: list[Any]) -> None:
    if kind == "polars, categorical" and levels == [2, 4]:
        pytest.skip("a Categorical of polars holds texts")
    rows = KINDS[kind]({**COLUMNS, "rank": levels})

    found, expected = model.predict(rows), model.predict(np.array([[700, 3.5, 1], [400, 2, 3]]))

    assert found.logit.tobytes() == expected.logit.tobytes()
    assert found.probability.tobytes() == expected.probability.tobytes()
    assert found.label == expected.label
    assert model.explain(rows) == model.explain(COLUMNS)


@pytest.mark.parametrize(
    ("column", "value", "pointer", "detail"),
    [
        ("gre", None, "row 1, gre", "may not be null"),
        ("rank", None, "row 1, rank", "may not be null"),
        ("rank", "9", "row 1, rank", "not one of the levels: 1, 2, 3, 4"),
        ("gre", float("inf"), "row 1, gre", "not a finite number"),
    ],
    ids=["no number", "no level", "level", "infinite"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_is_named_by_row_and_column(
    model: Model, kind: str, column: str, value: object, pointer: str, detail: str
) -> None:
    rows = KINDS[kind]({**COLUMNS, column: [COLUMNS[column][0], value]})

    with pytest.raises(InvalidInstance) as raised:
        model.predict(rows)

    (found,) = raised.value.problems
    assert (found.pointer, found.detail.partition(": no training row")[0]) == (pointer, detail)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_column_is_named(model: Model, kind: str) -> None:
    rows = KINDS[kind]({"rank": ["2"], "gre": [700.0], "gap": [3.5]})

    with pytest.raises(InvalidInstance, match=r"columns, gpa: missing"):
        model.predict(rows)
