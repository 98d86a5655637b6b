"""Reads a CSV file into a table of numbers, or says in one line why not."""

import csv
import difflib
import gzip
import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from serve.manifest import MISSING, Feature, Target
from train.errors import DataError

# The value that means yes, where a target's two values don't say it by being 0 and 1.
POSITIVE_WORDS = frozenset(["yes", "y", "true", "t", "pass", "passed", "survived", "success", "positive", "admitted"])
MAX_LEVELS = 100


@dataclass(frozen=True)
class Table:
    """A table ready to train on.

    x float64 (n, d): raw values, a category as the index of its level, NaN for missing. y float64 (n,): 1 where the
    target has its positive value. features: d of them, in the order of x's columns. weight float64 (n,), >= 0: how many
    rows each row counts for; None: one each.
    """

    source: str
    sha256: str
    x: np.ndarray
    y: np.ndarray
    features: tuple[Feature, ...]
    target: Target
    weight: np.ndarray | None = None


def read_table(path, target=None, categorical=(), drop=(), positive=None, labels=None, weights=None, missing=None):
    """Read a CSV file (gzip or not; UTF-8; commas; a header line) into a Table.

    target: the yes/no column, by default the last one. categorical: columns whose numbers are names of groups.
    drop: columns to leave out. positive: the target's value that counts as yes, where its words don't tell.
    labels: what answers call the two outcomes, (negative, positive). weights: the column of the rows' weights.
    missing: {column, or "" for all others: what a missing cell becomes, see serve.manifest.Feature}; by default the
    mean or the most frequent level, where a cell is missing.
    Raises DataError naming the file, the line and the column.
    """
    file = _File(path)
    header = file.header()
    target = header[-1] if target is None else target
    missing = missing or {}
    for name in [target, *categorical, *drop, *([weights] if weights else []), *(name for name in missing if name)]:
        if name not in header:
            near = difflib.get_close_matches(name, header, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"the columns are: {', '.join(header)}"
            raise DataError(f"{path}: line 1: there is no column '{name}'; {hint}")
    if target in drop or target in categorical:
        raise DataError(f"{path}: column '{target}' is the target; take it out of --drop and --categorical")
    if weights in {target, *categorical, *drop}:
        raise DataError(f"{path}: column '{weights}' holds the weights; it can't be the target, a group or dropped too")
    names = [name for name in header if name not in {target, weights, *drop}]
    for name in missing:
        if name and name not in names:
            raise DataError(f"{path}: column '{name}' is not one to predict from; take it out of --missing")
    if not names:
        raise DataError(f"{path}: no column is left to predict '{target}' from; drop fewer")
    as_text = {target, *categorical}
    cells = file.cells(header, as_text, drop)
    outcome, y = _target(file, target, cells[target], positive, labels)
    weight = _weight(file, weights, cells[weights]) if weights else None
    columns = [
        _feature(file, name, cells[name], name in categorical, missing.get(name, missing.get("")), name in missing)
        for name in names
    ]
    features, values = zip(*columns, strict=True)
    return Table(Path(path).name, file.sha256, np.column_stack(values), y, features, outcome, weight)


def _target(file, name, cells, positive, labels):
    missing = cells.is_null()
    if pc.any(missing).as_py():
        row = pc.index(missing, True).as_py()
        raise file.fault(row, name, "the target is missing", "fill the cell or take the row out")
    values = sorted(cells.unique().to_pylist())
    if len(values) == 1:
        raise file.fault(0, name, f"every row says {values[0]!r}", "a target needs rows of both outcomes")
    if len(values) > 2:
        third = cells.unique()[2].as_py()
        row = pc.index(cells, third).as_py()
        found = f"{len(values)} different values, the third is {third!r}"
        raise file.fault(row, name, found, "a target has two; choose another with --target")
    numbers = [_number(value) for value in values]
    if positive is None:
        likely = [v for v, k in zip(values, numbers, strict=True) if v.lower() in POSITIVE_WORDS or k == 1]
        if len(likely) != 1 or (numbers[0] is not None and set(numbers) != {0, 1}):
            first, second = values
            remedy = f"say --positive {first!r} or --positive {second!r}"
            raise file.fault(-1, name, f"is {first!r} or {second!r} the yes?", remedy)
        positive = likely[0]
    elif positive not in values:
        raise file.fault(-1, name, f"no row says {positive!r}", f"--positive takes {values[0]!r} or {values[1]!r}")
    negative = values[1 - values.index(positive)]
    if labels is None:
        labels = ("fail", "pass") if set(numbers) == {0, 1} else (negative, positive)
    y = np.array(pc.equal(cells, positive), dtype=np.float64)
    return Target(name=name, values=(negative, positive), labels=tuple(labels)), y


def _weight(file, name, cells):
    wrong, remedy = None, "a weight is a number from 0 up, how many rows the row counts for"
    if pa.types.is_string(cells.type):
        wrong = next((i for i, text in enumerate(cells.to_pylist()) if text is None or _number(text) is None), 0)
    else:
        weight = np.array(cells.cast(pa.float64()).fill_null(math.nan))
        bad = ~(np.isfinite(weight) & (weight >= 0))
        wrong = int(bad.argmax()) if bad.any() else None
    if wrong is not None:
        raise file.fault(wrong, name, "not a weight", remedy)
    if not weight.any():
        raise file.fault(-1, name, "every weight is 0", "leave --weights out, or correct the column")
    return weight


def _feature(file, name, cells, categorical, missing, asked):
    """missing: what was chosen for the column, or for all; asked: whether it was for this column by name."""
    present = cells.drop_null()
    if missing == "error" and len(present) < len(cells):
        row = pc.index(cells.is_null(), True).as_py()
        raise file.fault(row, name, "missing", "fill the cell, or choose another --missing")
    if len(present) == 0:
        raise file.fault(-1, name, "no row has a value", f"leave it out with --drop '{name}'")
    # Asked for by name, it holds for tomorrow's rows, even where none of these lacks the value.
    nullable = missing != "error" and (len(present) < len(cells) or asked)
    if not categorical and not pa.types.is_string(cells.type):
        values = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
        infinite = np.isinf(values)
        if infinite.any():
            raise file.fault(int(infinite.argmax()), name, "not a finite number", "correct the cell or empty it")
        known = values[~np.isnan(values)]
        strategy = (missing or "mean") if nullable else "error"
        if strategy == "most-frequent":
            found, often = np.unique(known, return_counts=True)
            fill = float(found[often.argmax()])
        else:
            fill = {"error": None, "median": float(np.median(known))}.get(strategy, float(known.mean()))
        return Feature(name, "numeric", (), float(known.min()), float(known.max()), fill, strategy), values

    counts = {item["values"]: item["counts"] for item in present.value_counts().to_pylist()}
    numeric = {level for level in counts if _number(level) is not None}
    if not categorical and sum(counts[level] for level in numeric) > len(present) / 2:
        stray = next(level for level in counts if level not in numeric)
        row = pc.index(cells, stray).as_py()
        raise file.fault(
            row, name, f"{stray!r} is not a number, most cells are", f"correct it, or say --categorical '{name}'"
        )
    if len(counts) > MAX_LEVELS or (len(counts) > 20 and len(counts) > len(cells) / 2):
        found = f"{len(counts)} different texts in {len(cells)} rows are too many for groups"
        raise file.fault(-1, name, found, f"leave it out with --drop '{name}'")
    if len(counts) == 1:
        raise file.fault(-1, name, f"every row says {next(iter(counts))!r}", f"leave it out with --drop '{name}'")
    # 1, 2, 10 in the order of the numbers where all levels are numbers, else in the order of the alphabet.
    levels = sorted(counts, key=(lambda level: (_number(level), level)) if len(numeric) == len(counts) else None)
    fill = float(levels.index(max(levels, key=counts.get))) if nullable else None
    index = pc.index_in(cells, pa.array(levels)).cast(pa.float64()).to_numpy(zero_copy_only=False)
    if asked and missing in ("mean", "median"):
        raise file.fault(-1, name, f"groups have no {missing}", f"say --missing '{name}=most-frequent' or indicator")
    strategy = "error" if not nullable else "indicator" if missing == "indicator" else "most-frequent"
    return Feature(name, "categorical", tuple(levels), None, None, fill, strategy), index


def _number(text):
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class _File:
    """One CSV file: its header, its cells, and the line that a fault stands on."""

    def __init__(self, path):
        self.path = path
        try:
            self.raw = Path(path).read_bytes()
            self.sha256 = hashlib.sha256(self.raw).hexdigest()
            if self.raw[:2] == b"\x1f\x8b":
                self.raw = gzip.decompress(self.raw)
        except FileNotFoundError as error:
            raise DataError(f"{path}: there is no such file; give one with --data (make: DATA=...)") from error
        except (OSError, EOFError) as error:
            why = getattr(error, "strerror", None) or "its gzip compression is damaged"
            raise DataError(f"{path}: can't be read: {why}") from error
        try:
            text = self.raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = self.raw.count(b"\n", 0, error.start) + 1
            raise DataError(f"{path}: line {line}: not UTF-8 text; save the table as CSV UTF-8") from error
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise DataError(f"{path}: line {line}: holds a NUL character; save the table as CSV UTF-8")

    def header(self):
        """The names of the columns. Raises DataError where line 1 is no header or a row is not as long as it."""
        names = None
        for _, row in self._rows():
            if names is None:
                names = [name.strip() for name in row]
                self._check(names)
                continue
            return names
        if names is None:
            raise DataError(f"{self.path}: line 1: the file is empty; it needs a header line and rows")
        raise DataError(f"{self.path}: line 2: there is a header but no row below it")

    def cells(self, header, as_text, drop):
        """Every column but the dropped ones: {name: array}, numbers where every cell is one, else text."""
        names = [name for name in header if name not in drop]
        convert = arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in as_text},
            include_columns=names,
            null_values=sorted(MISSING),
            strings_can_be_null=True,
            true_values=["\0"],  # no cell says so: true and false stay the words they are
            false_values=["\0"],
        )
        read = arrow_csv.ReadOptions(column_names=header, skip_rows_after_names=1)
        parse = arrow_csv.ParseOptions(newlines_in_values=True)
        try:
            table = arrow_csv.read_csv(io.BytesIO(self.raw), read, parse, convert)
        except pa.ArrowInvalid as error:
            for line, row in self._rows():
                if len(row) != len(header):
                    raise DataError(
                        f"{self.path}: line {line}: {len(row)} cells where the header has {len(header)}; "
                        "correct the row (a comma inside a cell needs quotes)"
                    ) from error
            raise DataError(f"{self.path}: not a CSV table: {str(error).splitlines()[0]}") from error
        return {name: _plain(table[name].combine_chunks()) for name in names}

    def fault(self, row, column, found, remedy):
        """A DataError for the cell in `row` of `column`; row 0 is the first below the header, -1 the header."""
        lines = (line for line, _ in self._rows())
        line = next(line for index, line in enumerate(lines) if index == row + 1)
        return DataError(f"{self.path}: line {line}: column '{column}': {found}; {remedy}")

    def _rows(self):
        """(line where the row starts, its cells), header included, blank lines left out, as Arrow does."""
        csv.field_size_limit(2**31 - 1)
        reader = csv.reader(io.StringIO(self.raw.decode("utf-8-sig"), newline=""))
        line = 1
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1

    def _check(self, names):
        where = f"{self.path}: line 1"
        if len(names) == 1:
            raise DataError(f"{where}: only one column, '{names[0]}'; the table needs commas between its columns")
        for index, name in enumerate(names):
            if name == "":
                raise DataError(f"{where}: column {index + 1} has no name; give it one")
            if name in names[:index]:
                raise DataError(f"{where}: two columns are called '{name}'; rename one")
            if not name.isprintable() or set(name) & set('"\\'):
                raise DataError(
                    f"{where}: the name of column {index + 1} holds a quote, a backslash or a control "
                    "character; rename it"
                )


def _plain(array):
    """Text without the blanks around it, or numbers; whatever else Arrow recognised (dates, times) as its text."""
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return array
    if pa.types.is_null(array.type):
        return array.cast(pa.float64())
    text = pc.utf8_trim_whitespace(array.cast(pa.string()))
    return pc.if_else(pc.is_in(text, pa.array(sorted(MISSING))), None, text)
