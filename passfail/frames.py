"""Rows in Python to x: pandas, polars or Arrow tables, dicts of columns, or lists of dicts.

Each column follows the same rule as in a request. This module imports none of these packages.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from passfail.arrays import Floats
from passfail.columns import Column, Columns, InvalidValue, invalid, wrong
from passfail.errors import InvalidInstance, Problem

EXPECTED = "expected a DataFrame, an Arrow table, a dict of columns, a list of dicts, or an array of numbers"


def matrix(columns: Columns, data: Any) -> Floats:
    """Decode rows to x, float64 (n, d); `Columns.pooled` must then replace unseen levels.

    Raises InvalidInstance, which names the wrong rows and columns, or BodyTooLarge.
    """
    if isinstance(data, np.ndarray):
        if data.ndim != 2 or data.shape[1] != len(columns) or data.dtype.kind not in "iuf":
            raise InvalidInstance(f"expected numbers in the shape (n, {len(columns)})")
        x = np.ascontiguousarray(data, dtype=np.float64)
        if isinstance(data, np.ma.MaskedArray):
            x[np.ma.getmaskarray(data)] = np.nan
        for index, column in enumerate(columns):
            column.check(x[:, index], "x")
        return x
    found = _columns(columns, data)
    if len({len(values) for values in found.values()}) > 1:
        raise InvalidInstance("the columns differ in their number of rows")
    problems: list[Problem] = []
    x = np.column_stack([_numbers(column, found[column.name], problems) for column in columns])
    if fault := invalid(problems):
        raise fault
    return x


def number(column: Column, value: Any) -> float:
    """The number of x that a Python value of a table becomes. Raises InvalidValue."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        value = value.astype(f"{value.dtype.kind}8[us]")  # of nanoseconds, `item` makes an integer
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and column.codes is not None and value.is_integer():
        value = int(value)  # pandas converts integers to floats if some are missing
    missing = value != value if isinstance(value, float) else repr(value) in ("<NA>", "NaT")
    return column.number(None if missing else value)


def _columns(columns: Columns, data: Any) -> dict[str, Any]:
    """The values of each feature, in any kind of table."""
    data = data.collect() if hasattr(data, "collect") else data  # a LazyFrame of polars
    labels = getattr(data, "column_names", getattr(data, "columns", None))  # the first is Arrow's
    if isinstance(data, Mapping):
        labels = data
    elif labels is None:
        data = labels = _transposed(list(data) if isinstance(data, Iterable) else [data], type(data).__name__)
    columns.check_names(list(map(str, labels)), "columns", "the columns are not the model's features")
    found = {feature: data[label] for label in labels for feature in columns.expanded([str(label)])}
    single = [name for name, values in found.items() if isinstance(values, str) or not hasattr(values, "__len__")]
    if single:
        detail = "one value, not a column of values; put a single row into a list"
        raise InvalidInstance("a column has no rows", [Problem(f"columns, {name}", detail) for name in single])
    return found


def _transposed(rows: Sequence[Any], kind: str) -> dict[str, list[Any]]:
    """The columns of dicts with the same fields."""
    if not rows:
        raise InvalidInstance("expected at least one row, got an empty list")
    if not isinstance(rows[0], Mapping):
        raise InvalidInstance(f"{EXPECTED}; got {kind}")
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping) or row.keys() != rows[0].keys():
            raise wrong(f"row {index}", "expected the fields of row 0")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _numbers(column: Column, values: Any, problems: list[Problem]) -> Floats:
    """Convert one column's values to float64 (n,); wrong places are appended to `problems`."""
    if column.codes is None and not column.part and hasattr(values, "__array__"):
        x = np.asarray(values)
        if x.ndim == 1 and x.dtype.kind in "iuf" and np.isfinite(x).all():
            return x.astype(np.float64)
    found = []
    for row, value in enumerate(values.to_pylist() if hasattr(values, "to_pylist") else values):
        try:
            found.append(number(column, value))
        except InvalidValue as error:
            found.append(np.nan)
            problems.append(column.problem(f"row {row}, {column.name}", error))
    return np.array(found)
