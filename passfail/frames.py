"""Rows of Python to x: a DataFrame of pandas or polars, an Arrow table, a dict of columns, a list of dicts, or x.

By the same rule for each column as a request's. None of these packages is imported here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from passfail.arrays import Floats
from passfail.columns import Column, Columns, InvalidValue, invalid
from passfail.errors import InvalidInstance, Problem


def matrix(columns: Columns, data: Any) -> Floats:
    """Decode rows to x, float64 (n, d); an unseen level has the number that Columns.pooled replaces.

    Raises InvalidInstance, which names the rows and columns that are wrong, or BodyTooLarge.
    """
    if isinstance(data, np.ndarray):
        if data.ndim != 2 or data.shape[1] != len(columns) or data.dtype.kind not in "iuf":
            raise InvalidInstance(f"expected numbers in the shape (n, {len(columns)})")
        x = np.ascontiguousarray(data, dtype=np.float64)
        for index, column in enumerate(columns):
            column.check(x[:, index], "x")
        return x
    found = {feature: values for name, values in _columns(data).items() for feature in columns.expanded([name])}
    columns.check_names(list(found), "columns", "the columns are not the model's features")
    if len({len(values) for values in found.values()}) > 1:
        raise InvalidInstance("the columns differ in their number of rows")
    return np.column_stack([_numbers(column, found[column.name]) for column in columns])


def _columns(data: Any) -> dict[str, Sequence[Any]]:
    """{name: values} of whatever holds a table."""
    if isinstance(data, Mapping):
        return {name: _values(values) for name, values in data.items()}
    names = getattr(data, "column_names", None) or getattr(data, "columns", None)
    if names is not None:
        return {str(name): _values(data[name]) for name in names}
    if not data:
        raise InvalidInstance("no rows")
    rows = list(data)
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping) or row.keys() != rows[0].keys():
            raise InvalidInstance("1 place is wrong", [Problem(f"row {index}", "expected the fields of row 0")])
    return {name: [row[name] for row in rows] for name in rows[0]}


def _values(column: Any) -> list[Any]:
    """A column's values as Python's own: NumPy, pandas, polars and Arrow each name the way."""
    for way in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, way):
            return list(getattr(column, way)())
    return list(column)


def _numbers(column: Column, values: Sequence[Any]) -> Floats:
    """One column's values -> float64 (n,)."""
    plain = [None if value is None or repr(value) in ("nan", "<NA>", "NaT") else value for value in values]
    if column.codes is not None:
        return column.levels(plain, "rows")
    numbers, problems = [], []
    for row, value in enumerate(plain):
        try:
            numbers.append(column.number(value))
        except InvalidValue as error:
            problems.append(column.problem(f"row {row}, {column.name}", error))
    if fault := invalid(problems):
        raise fault
    return np.array(numbers, dtype=np.float64)
