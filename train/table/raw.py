"""Rows as text from the file, for the proof that their numbers are right."""

from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from passfail.columns import Column, InvalidValue
from passfail.manifest import MISSING
from passfail.spelling import NUMBER
from train.table.readers import open_parts
from train.table.reading import Reading
from train.table.table import Table

ROWS = 200  # of the first block of the first part, at most


class RawRow(NamedTuple):
    """A row's cells as text (None: missing), the target's cell, and the row's index."""

    cells: dict[str, str | None]
    outcome: str
    row: int


def raw_rows(path: Path, reading: Reading, table: Table) -> list[RawRow]:
    """The first rows of a table whose cells the service reads as the same numbers.

    It leaves out rows with units, commas or brackets in numbers or with other spellings of a level, and rows after one
    that the table left out.
    """
    columns = []
    for feature in table.features:
        source = table.sources.get(feature.name, "")
        columns.append(Column(feature, source=source, order=table.dates[source].order if source else ""))
    names = list(dict.fromkeys(column.source or column.name for column in columns))
    part = open_parts(path, reading)[0]
    part.header()
    read = [*names, table.target.name]
    for job in islice(part.blocks(read, frozenset(read)), 1):
        block = job()
    if not block:
        return []
    found = []
    for row in range(min(ROWS, len(table.x), len(block[read[0]].numbers))):
        cells = {name: _text(block[name].texts, block[name].numbers[row]) for name in read}
        outcome = cells.pop(table.target.name)
        texts = [(cells[column.source or column.name] or "").strip() for column in columns]
        try:
            numbers = [column.cell(text) for column, text in zip(columns, texts, strict=True)]
        except InvalidValue:
            continue
        numeric = (text for one, text in zip(columns, texts, strict=True) if one.codes is None and not one.part)
        if any(text not in MISSING and not NUMBER.fullmatch(text) for text in numeric):
            continue
        known = outcome == table.target.values[int(table.y[row])]
        if outcome is not None and known and np.array_equal(numbers, table.x[row], equal_nan=True):
            found.append(RawRow(cells, outcome, row))
    return found


def _text(texts: tuple[str, ...], code: float) -> str | None:
    return None if np.isnan(code) else texts[int(code)]
