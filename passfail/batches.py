"""Answers to Arrow record batches, for files, Spark, Ray and Dask.

A column of numbers, levels or booleans follows the rule of JSON; a column of texts follows the rule of CSV cells. A row
that the service would refuse gets its error in the column `error`; the other rows are answered.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from passfail.arrays import Bools, Floats, Ints
from passfail.codecs.answers import TYPES, Answers, added, names
from passfail.columns import Column, Columns, InvalidValue, invalid
from passfail.errors import ConfigError, NonFiniteLogit, Problem, of_a_row
from passfail.explain import NO_SUM, contributions
from passfail.frames import number
from passfail.model import Model

ERROR = "error"  # the column with the reason why a row was refused
TEXT = pa.string()
Refused = dict[int, list[Problem]]  # {row: its faults}; `problems` fills in their places


class Answered(NamedTuple):
    """The answers to n rows; the values in refused rows have no meaning.

    Attributes
    ----------
    x : float64 (n, d); NaN if missing or invalid.
    answers : their `outside` also names the features with an unseen level.
    more : {name: float64 (n,)} of the explanation, if it was requested.
    refused : the rows without an answer, and their faults.
    """

    x: Floats
    answers: Answers
    more: dict[str, Floats]
    refused: Refused

    def errors(self) -> dict[int, str]:
        """{row: its error as text} of the refused rows."""
        return {row: of_a_row(found) for row, found in self.refused.items()}


class Scorer:
    """Answers batches of one model's rows.

    Parameters
    ----------
    strict : raise InvalidInstance for a batch with an invalid row, and add no column `error`.
    explained : add each feature's contribution to the logit.
    """

    def __init__(self, model: Model, strict: bool = False, explained: bool = False) -> None:
        self.model, self.strict = model, strict
        manifest = model.manifest
        if explained and manifest.parameters.hidden:
            raise ConfigError(f"no contributions: {NO_SUM}")
        self.columns = Columns(manifest, 2**63)
        parts = ["baseline", *(f"contribution_{feature.name}" for feature in manifest.features)]
        self.parts = parts if explained else []
        self.names = [*names(manifest), "outside", *self.parts, *([] if strict else [ERROR])]

    def __call__(self, batch: pa.RecordBatch | pa.Table) -> pa.Table:
        """Add the answer's columns to a batch."""
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        answered = self.answer_table(table)
        if self.strict and (fault := invalid(problems(answered.refused))):
            raise fault
        return self.extended(table, answered)

    def check(self, names: Sequence[str], place: str, hint: str = "") -> None:
        """Raise InvalidInstance unless a table's columns include each feature exactly once."""
        features = [name for name in names if name in self.columns.by_name or name in self.columns.parts]
        self.columns.check_names(features, place, f"the columns don't include the model's features{hint}")

    def answer_table(self, table: pa.Table) -> Answered:
        """Answer the rows of a table."""
        self.check(table.column_names, "columns")
        return self.answer([array(table.column(at)) for at in self.columns.order(table.column_names)], {})

    def answer(self, cells: Sequence[pa.Array], faults: Mapping[int, InvalidValue], decimal: str = ".") -> Answered:
        """Answer rows, given n cells for each feature, and the faults of rows that are refused.

        decimal : the decimal mark of numbers that are texts.
        """
        wrong: Refused = {row: [Problem("", str(why))] for row, why in faults.items()}
        x = np.empty((len(cells[0]), len(cells)))
        for index, (column, some) in enumerate(zip(self.columns, cells, strict=True)):
            x[:, index], found = numbers(column, some, decimal)
            for row, why in found.items():
                if row not in faults:
                    wrong.setdefault(row, []).append(column.problem("", why))
        unseen, x = self.columns.unseen(x), self.columns.pooled(x)
        asked = x.copy() if wrong else x
        asked[list(wrong)] = 0.0
        logit, probability = self.model.runtime(asked)
        over = NonFiniteLogit(np.flatnonzero(~np.isfinite(logit)).tolist())
        wrong |= {row: [Problem("", str(over))] for row in over.rows}
        stable, outside = self.model.stable(asked, logit), self.model.outside(asked)
        more: dict[str, Floats] = {}
        if self.parts:
            with np.errstate(all="ignore"):
                baseline, parts = contributions(self.model.manifest, asked)
            more = dict(zip(self.parts, [np.full(len(x), baseline), *parts.T], strict=True))
        if unseen is not None:
            outside = [(*some, *names) for some, names in zip(outside or [()] * len(x), unseen, strict=True)]
        answers = Answers(self.model.verdict(logit), logit, probability, stable, outside)
        return Answered(x, answers, more, wrong)

    def extended(self, table: pa.Table, answered: Answered) -> pa.Table:
        """The table with the answer's columns; they are null in a refused row."""
        answers, errors = answered.answers, answered.errors()
        n = len(answers.logit)
        bad = np.zeros(n, dtype=bool)
        bad[list(errors)] = True
        manifest = self.model.manifest
        negative, positive, name, nothing = arrow([*manifest.target.labels, manifest.name, ""])
        known = arrow(answers.verdict)
        found = [
            known,
            pc.if_else(known, positive, negative),
            arrow(answers.probability),
            arrow(answers.logit),
            pa.nulls(n, pa.bool_()) if answers.stable is None else arrow(answers.stable),
            pa.repeat(name, n),
            arrow(np.full(n, manifest.version)),
            pa.repeat(nothing, n) if answers.outside is None else arrow(list(map(", ".join, answers.outside))),
            *map(arrow, answered.more.values()),
        ]
        if errors:
            found = [pc.if_else(arrow(bad), pa.NULL, column) for column in found]
        if not self.strict:
            found.append(pa.array([errors.get(row) for row in range(n)], pa.string()) if errors else pa.nulls(n, TEXT))
        for name, column in zip(added(table.column_names, self.names), found, strict=True):
            table = table.append_column(name, [column])
        return table

    def types(self, taken: Sequence[str]) -> dict[str, str]:
        """The answer's columns as {name: Spark's type}, for a table with the columns `taken`."""
        kinds = [*TYPES, "string", *["double"] * len(self.parts), *["string"] * (not self.strict)]
        return dict(zip(added(taken, self.names), kinds, strict=True))


def numbers(column: Column, values: pa.Array, decimal: str = ".") -> tuple[Floats, dict[int, InvalidValue]]:
    """Convert an Arrow column to float64 (n,), NaN if missing, and {row: its fault}."""
    if column.codes is None and not column.part:
        values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        if (plain := _plain(column, values, decimal)) is not None:
            return plain, {}
    encoded = coded(values)
    found, wrong = [], {}
    for code, value in enumerate(encoded.dictionary.to_pylist()):
        try:
            # The training file may have `inf` for missing; Arrow reads that as a number.
            text = isinstance(value, str) or (column.nullable and str(value) in column.missing)
            found.append(column.cell(str(value).strip(), decimal) if text else number(column, value))
        except InvalidValue as error:
            found.append(np.nan)
            wrong[code] = error
    codes = np.from_dlpack(encoded.indices)
    rows = np.flatnonzero(np.isin(codes, list(wrong))).tolist() if wrong else []
    return np.array(found)[codes], {row: wrong[codes[row]] for row in rows}


def coded(values: pa.Array) -> pa.DictionaryArray:
    """The indices of values in a dictionary, which has null if a value is null."""
    if pa.types.is_nested(values.type):  # Arrow has no dictionary of lists; no column accepts their texts
        values = arrow(list(map(str, values.to_pylist())))
    if not pa.types.is_dictionary(values.type):
        return values.dictionary_encode(null_encoding="encode")
    return coded(values.dictionary_decode()) if values.null_count else values


def _plain(column: Column, values: pa.Array, decimal: str) -> Floats | None:
    """The numbers of a numeric column if each value is valid and plain; else None."""
    text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if text:
        words = arrow(sorted(column.missing)).cast(values.type)
        values = pc.if_else(pc.is_in(values, value_set=words), pa.NULL, values)
        if decimal == ",":
            if pc.any(pc.match_substring(values, ".")).as_py():  # between thousands, perhaps
                return None
            values = pc.replace_substring(values, ",", ".")
        try:  # the cast takes a subset of column.cell's texts, and reads the same numbers
            values = values.cast(pa.float64())
        except pa.ArrowInvalid:
            return None
    elif not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        return None
    x = _numpy(values.cast(pa.float64(), safe=False))
    if np.isfinite(x).all():
        return x
    strange = np.isinf(x).any() or not column.nullable or (text and np.isnan(x).sum() != values.null_count)
    return None if strange else x


def is_plain(column: Column, values: pa.Array) -> bool:
    """Whether numbers that Arrow read are finite, and null only if the column may lack them."""
    total = pc.sum(values, min_count=0).as_py()
    return math.isfinite(total) and (column.nullable or not values.null_count)


def _numpy(values: pa.Array) -> Floats:
    """Convert an Arrow array of float64 to (n,), NaN for null."""
    filled: Any = pc.fill_null(values, np.nan) if values.null_count else values
    return np.asarray(np.from_dlpack(filled), dtype=np.float64)


def arrow(values: Bools | Floats | Ints | Sequence[str]) -> pa.Array:
    """Convert flags, numbers (n,) or texts to an Arrow array.

    pa.array, pa.scalar and to_numpy import pandas if it is installed, which takes 0.3 seconds.
    """
    if isinstance(values, np.ndarray):
        flags = values.dtype == np.bool_
        data: Any = np.packbits(values.astype(np.uint8), bitorder="little") if flags else np.ascontiguousarray(values)
        return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(data)])
    texts = [text.encode() for text in values]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(texts), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))])


def problems(refused: Refused, before: int = 0) -> list[Problem]:
    """The wrong places, after `before` earlier rows; the first row of all is row 1."""
    return [
        replace(fault, pointer=", ".join(filter(None, [f"row {before + row + 1}", fault.column])))
        for row, found in sorted(refused.items())
        for fault in found
    ]


def array(column: pa.ChunkedArray) -> pa.Array:
    """A table's column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
