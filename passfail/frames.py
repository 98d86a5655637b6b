"""Rows in Python to x: pandas, polars or Arrow tables, dicts of columns, or lists of dicts.

Each column follows the same rule as in a request. This module imports none of these packages.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from passfail.arrays import Floats
from passfail.columns import Column, Columns, InvalidValue, invalid
from passfail.errors import InvalidInstance, Problem


def matrix(columns: Columns, data: Any) -> Floats:
    """Decode rows to x, float64 (n, d); `Columns.pooled` must then replace unseen levels.

    Raises InvalidInstance, which names the wrong rows and columns, or BodyTooLarge.
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
    """The columns {name: values} of any kind of table."""
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
    """A column's values as Python objects; NumPy, pandas, polars and Arrow name the method."""
    for way in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, way):
            return list(getattr(column, way)())
    return list(column)


def _numbers(column: Column, values: Sequence[Any]) -> Floats:
    """Convert one column's values to float64 (n,)."""
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
