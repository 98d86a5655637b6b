"""Reads a table, CSV or Parquet, one file or a folder of parts, into numbers, or says in one line why not."""

import difflib
import hashlib
import math
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from passfail.manifest import Feature, Target
from train import distributed
from train.errors import DataError
from train.table.imputation import impute
from train.table.out_of_core import TemporaryArray, in_order, ones, pieces
from train.table.readers import open_parts

# The value that means yes, where a target's two values don't say it by being 0 and 1.
POSITIVE_WORDS = frozenset(["yes", "y", "true", "t", "pass", "passed", "survived", "success", "positive", "admitted"])
MAX_LEVELS = 100
FORMATTED = re.compile(r"(?=.*\d)(?=.*[,%€$£])[-+\d.,%€$£ ']+")  # 12,5 and 1,234.50 and 5 %: numbers to a reader only
MAX_ASKED = 1000  # where --categorical says that they are groups
MOST_TEXTS = 100_000  # different ones of a column; it is refused at once, since it can't end well
PROGRESS = 2.0  # seconds between two lines that say how far the reading is


@dataclass(frozen=True)
class Table:
    """A table ready to train on.

    x float64 (n, d): raw values, a category as the index of its level, NaN for missing. y float64 (n,): 1 where the
    target has its positive value. features: d of them, in the order of x's columns. weight float64 (n,), >= 0: how many
    rows each row counts for, 1 each without --weights. They lie in a temporary file (out_of_core.py). rows, positives:
    of the whole table, of which x, y and weight are this process's share. sha256: the file's, or, for a folder, that of
    what `sha256sum *` prints for its parts.
    """

    source: str
    sha256: str
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    features: tuple[Feature, ...]
    target: Target
    rows: int
    positives: int


def read_table(
    path, target=None, categorical=(), drop=(), positive=None, labels=None, weights=None, missing=None, log=None
):
    """Read a table into a Table: CSV (gzip or not; UTF-8; commas; a header line) or Parquet, a file or a folder.

    target: the yes/no column, by default the last one. categorical: columns whose numbers are names of groups.
    drop: columns to leave out. positive: the target's value that counts as yes, where its words don't tell.
    labels: what answers call the two outcomes, (negative, positive). weights: the column of the rows' weights.
    missing: {column, or "" for all others: what a missing cell becomes, see passfail.manifest.Feature}; by default the
    mean or the most frequent level, where a cell is missing. log takes a line of progress now and then.
    Raises DataError naming the file, the line and the column.
    """
    parts = open_parts(path)
    if len(parts) < distributed.ranks():
        raise DataError(
            f"{path}: {distributed.ranks()} processes share {len(parts)} parts; give a folder of more, or start fewer"
        )
    header = parts[0].header()
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

    def describe(name, column):
        if name == target:
            return _target(share.fault, name, column, positive, labels)
        if name == weights:
            return _check_weights(share.fault, name, column)
        way = missing.get(name, missing.get(""))
        return _feature(share.fault, name, column, name in categorical, way, name in missing)

    others = [target, weights] if weights else [target]
    share = _Share(parts, header, names, others, describe, log or (lambda line: None))
    columns, sha256 = share.read({target, *categorical})
    outcome = describe(target, columns[target])
    if weights:
        describe(weights, columns[weights])
    features = tuple(describe(name, columns[name]) for name in names)
    levels = {target: outcome.values, **{feature.name: feature.levels for feature in features}}
    x, y, *given = share.arrays(levels)
    weight = given[0] if given else ones(len(y))
    rows, positives = columns[target].count, columns[target].levels[outcome.values[1]][0]
    if weights and (of := _alone(y, weight)) is not None:
        found = f"every row of a weight above 0 has the {target} {outcome.values[of]!r}"
        raise share.fault(None, weights, found, "a target needs rows of both outcomes")
    features = impute(features, x, weight)
    return Table(Path(path).name, sha256, x, y, weight, features, outcome, rows, positives)


def _target(fault, name, column, positive, labels):
    if column.missing:
        raise fault(column.first_missing, name, "the target is missing", "fill the cell or take the row out")
    values = sorted(column.levels)
    if len(values) == 1:
        raise fault((0, 0), name, f"every row says {values[0]!r}", "a target needs rows of both outcomes")
    if len(values) > 2:
        third = sorted(column.levels, key=lambda level: column.levels[level][1])[2]
        found = f"{len(values)} different values, the third is {third!r}"
        raise fault(column.levels[third][1], name, found, "a target has two; choose another with --target")
    numbers = [_number(value) for value in values]
    if positive is None:
        likely = [v for v, k in zip(values, numbers, strict=True) if v.lower() in POSITIVE_WORDS or k == 1]
        if len(likely) != 1 or (numbers[0] is not None and set(numbers) != {0, 1}):
            first, second = values
            remedy = f"say --positive {first!r} or --positive {second!r}"
            raise fault(None, name, f"is {first!r} or {second!r} the yes?", remedy)
        positive = likely[0]
    elif positive not in values:
        raise fault(None, name, f"no row says {positive!r}", f"--positive takes {values[0]!r} or {values[1]!r}")
    negative = values[1 - values.index(positive)]
    if labels is None:
        labels = ("fail", "pass") if set(numbers) == {0, 1} else (negative, positive)
    return Target(name=name, values=(negative, positive), labels=tuple(labels))


def _check_weights(fault, name, column):
    texts = {place: _number(level) for level, (_, place) in column.levels.items()}
    strays = [place for place, number in texts.items() if number is None or number < 0] or list(texts)
    wrong = min(filter(None, [column.first_missing, column.infinite, column.negative, *strays]), default=None)
    if wrong:
        raise fault(wrong, name, "not a weight", "a weight is a number from 0 up, how many rows the row counts for")
    if column.maximum <= 0:
        raise fault(None, name, "every weight is 0", "leave --weights out, or correct the column")


def _alone(y, weight):
    """The outcome, 0 or 1, that all rows of a weight above 0 have, in every process; None where they have both."""
    seen = set().union(*distributed.gathered(set(np.unique(y[weight > 0]).tolist())))
    return int(seen.pop()) if len(seen) == 1 else None


def _feature(fault, name, column, categorical, missing, asked):
    """The Feature of a column. Where cells may be missing they become 0 here, until imputation.py knows better.

    missing: what was chosen for the column, or for all; asked: whether it was for this column by name.
    """
    if missing == "error" and column.missing:
        raise fault(column.first_missing, name, "missing", "fill the cell, or choose another --missing")
    if column.count == 0:
        raise fault(None, name, "no row has a value", f"leave it out with --drop '{name}'")
    # Asked for by name, it holds for tomorrow's rows, even where none of these lacks the value.
    nullable = missing != "error" and (column.missing > 0 or asked)
    if not column.levels:
        if column.infinite:
            raise fault(column.infinite, name, "not a finite number", "correct the cell or empty it")
        strategy = (missing or "mean") if nullable else "error"
        return Feature(name, "numeric", (), column.minimum, column.maximum, 0.0 if nullable else None, strategy)

    counts = {level: count for level, (count, _) in column.levels.items()}
    numeric = {level for level in counts if _number(level) is not None}
    if not categorical and sum(counts[level] for level in numeric) > column.count / 2:
        stray = min(counts.keys() - numeric, key=lambda level: column.levels[level][1], default=None)
        if stray is None:
            raise fault(None, name, "its numbers are texts", f"store them as numbers, or say --categorical '{name}'")
        found, remedy = f"{stray!r} is not a number, most cells are", f"correct it, or say --categorical '{name}'"
        raise fault(column.levels[stray][1], name, found, remedy)
    if not categorical and all(FORMATTED.fullmatch(level) for level in counts):
        first = min(counts, key=lambda level: column.levels[level][1])
        remedy = f"write it like 1234.5, without comma, % or currency, or say --categorical '{name}'"
        raise fault(column.levels[first][1], name, f"{first!r} is not a number", remedy)
    rows = column.count + column.missing
    if len(counts) > (MAX_ASKED if categorical else MAX_LEVELS) or (len(counts) > 20 and len(counts) > rows / 2):
        found = f"{len(counts)} different texts in {rows} rows are too many for groups"
        groups = f", or say --categorical '{name}'" if MAX_LEVELS < len(counts) <= min(MAX_ASKED, rows / 2) else ""
        raise fault(None, name, found, f"leave it out with --drop '{name}'{'' if categorical else groups}")
    if len(counts) == 1:
        raise fault(None, name, f"every row says {next(iter(counts))!r}", f"leave it out with --drop '{name}'")
    # 1, 2, 10 in the order of the numbers where all levels are numbers, else in the order of the alphabet.
    levels = sorted(counts, key=(lambda level: (_number(level), level)) if len(numeric) == len(counts) else None)
    if asked and missing in ("mean", "median"):
        raise fault(None, name, f"groups have no {missing}", f"say --missing '{name}=most-frequent' or indicator")
    strategy = "error" if not nullable else "indicator" if missing == "indicator" else "most-frequent"
    return Feature(name, "categorical", tuple(levels), None, None, 0.0 if nullable else None, strategy)


def _number(text):
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass
class _Column:
    """What is known of a column: of a share's rows, or of all. A place is (part, row in it)."""

    kinds: set = field(default_factory=set)
    count: int = 0
    missing: int = 0
    first_missing: tuple | None = None
    minimum: float = math.inf
    maximum: float = -math.inf
    infinite: tuple | None = None
    negative: tuple | None = None
    levels: dict = field(default_factory=dict)  # text: [rows, first place], in the order of this share's codes

    def add(self, other):
        """Take in what is known of other rows."""
        self.kinds |= other.kinds
        self.count += other.count
        self.missing += other.missing
        self.first_missing = _first(self.first_missing, other.first_missing)
        if other.count and not other.levels:
            self.minimum = min(self.minimum, other.minimum)
            self.maximum = max(self.maximum, other.maximum)
            self.infinite = _first(self.infinite, other.infinite)
            self.negative = _first(self.negative, other.negative)
        for text, (count, place) in other.levels.items():
            level = self.levels.setdefault(text, [0, place])
            level[0] += count
            level[1] = min(level[1], place)


def _first(a, b):
    return b if a is None else a if b is None else min(a, b)


class _Share:
    """The parts of the table that this process reads, spooled to a temporary file, categories as codes."""

    def __init__(self, parts, header, features, others, refuse, log):
        self.parts, self.header, self.refuse, self.log = parts, header, refuse, log
        self.features, self.names = features, [*features, *others]

    def read(self, as_text):
        """Read once, or once more where a column of numbers turns out to hold text further down.

        Returns ({name: _Column} over all processes, the SHA-256 of the table).
        """
        while True:
            try:
                fault, mine = None, self._pass(as_text)
            except DataError as error:
                fault, mine = str(error), None
            shares = distributed.gathered((fault, mine))
            for fault, _ in shares:
                if fault:
                    raise DataError(fault)
            columns = {name: _Column() for name in self.names}
            for _, (share, _) in shares:
                for name, column in share.items():
                    columns[name].add(column)
            mixed = {n for n, c in columns.items() if n not in as_text and ("other" in c.kinds or len(c.kinds) > 1)}
            if not mixed:
                break
            as_text = as_text | mixed
        target = self.names[len(self.features)]
        if any(share[target].count + share[target].missing == 0 for _, (share, _) in shares):
            if distributed.ranks() == 1:
                raise DataError(f"{self.parts[0].path}: there is no row in it; the table needs rows")
            raise DataError(f"{self.parts[0].path}: the parts that a process reads hold no row; start fewer processes")
        digests = sorted(digest for _, (_, share) in shares for digest in share)
        if len(digests) == 1:
            return columns, digests[0][1]
        # What `sha256sum * | sha256sum` prints in the folder.
        lines = "".join(f"{digest}  {name}\n" for name, digest in digests)
        return columns, hashlib.sha256(lines.encode()).hexdigest()

    def _pass(self, as_text):
        self.x, self.rows = TemporaryArray(), 0
        self.others = [TemporaryArray() for _ in self.names[len(self.features) :]]
        self.columns = {name: _Column() for name in self.names}
        mine = range(distributed.rank(), len(self.parts), distributed.ranks())
        digests = []
        hashing = threading.Thread(
            target=lambda: digests.extend((self.parts[i].path.name, self.parts[i].sha256()) for i in mine), daemon=True
        )
        hashing.start()
        heard = time.monotonic()
        for index in mine:
            place = 0
            for values, columns in in_order(self._jobs(index, as_text), pa.cpu_count()):
                self._take(values, columns, index, place)
                place += values.shape[1]
                if time.monotonic() - heard >= PROGRESS:
                    heard = time.monotonic()
                    self.log(f"{self.parts[index].path}: {self.rows} rows read")
        hashing.join()
        return self.columns, digests

    def _jobs(self, index, as_text):
        part = self.parts[index]
        header = part.header()
        if header != self.header:
            raise DataError(f"{part.path}: its columns are not those of {self.parts[0].path}; make them the same")
        for job in part.blocks(header, self.names, as_text):
            yield lambda job=job: _summary(self.names, job())

    def _take(self, values, columns, part, row):
        """Add a block, the `row`th of its part and on, to the spool, and what is known of it to the columns."""
        for index, (name, new) in enumerate(zip(self.names, columns, strict=True)):
            known = self.columns[name]
            if new.first_missing is not None:
                new.first_missing = (part, row + new.first_missing)
            if new.infinite is not None:
                new.infinite = (part, row + new.infinite)
            if new.negative is not None:
                new.negative = (part, row + new.negative)
            texts = list(new.levels)
            new.levels = {text: [count, (part, row + first)] for text, (count, first) in new.levels.items()}
            known.add(new)
            if texts:
                codes = {text: code for code, text in enumerate(known.levels)}
                values[index] = _renamed(values[index], [codes[text] for text in texts], -1)
            if len(known.levels) > MOST_TEXTS:
                self.refuse(name, known)
        self.x.append(values[: len(self.features)].T)
        for spool, column in zip(self.others, values[len(self.features) :], strict=True):
            spool.append(column)
        self.rows += values.shape[1]

    def arrays(self, levels):
        """[x, y, weight if there is one], the codes of texts turned into indices of {name: its levels}."""
        x, others = self.x.array(self.rows, len(self.features)), [spool.array(self.rows) for spool in self.others]
        orders = {
            name: [levels[name].index(text) for text in self.columns[name].levels]
            for name in levels
            if self.columns[name].levels
        }
        for part in pieces(self.rows, 1 << 16, x, *others):
            for column, name in zip([*x[part].T, *(other[part] for other in others)], self.names, strict=True):
                if name in orders:
                    column[:] = _renamed(column, orders[name], np.nan)
        return [x, *others]

    def fault(self, place, *words):
        """A DataError for a place, None for the header."""
        part, row = (0, None) if place is None else place
        return self.parts[part].fault(row, *words)


def _summary(names, block):
    """(values float64 (columns, m), a text as its code and -1 for missing; a _Column each, places as rows of it)."""
    rows = len(block[names[0]][1]) if block else 0
    values = np.empty((len(names), rows))
    columns = [_Column() for _ in names]
    for index, name in enumerate(names if rows else ()):
        column, (kind, cells) = columns[index], block[name]
        column.kinds = {kind} - {None}
        if kind in (None, "number"):
            values[index] = cells
            known = ~np.isnan(cells)
            column.count = int(np.count_nonzero(known))
            if column.count:
                present = cells if column.count == rows else cells[known]
                column.minimum, column.maximum = float(present.min()), float(present.max())
                if column.minimum < 0:
                    column.negative = int((cells < 0).argmax())
                if math.isinf(column.minimum) or math.isinf(column.maximum):
                    column.infinite = int(np.isinf(cells).argmax())
        else:
            codes = cells.indices.fill_null(-1).to_numpy()
            values[index] = codes
            known = codes >= 0
            there = np.flatnonzero(known)
            column.count = len(there)
            texts = cells.dictionary.to_pylist()
            first = np.empty(len(texts), dtype=np.intp)
            first[codes[there[::-1]]] = there[::-1]
            counts = np.bincount(codes[there], minlength=len(texts))
            column.levels = {t: [n, at] for t, n, at in zip(texts, counts.tolist(), first.tolist(), strict=True)}
        column.missing = rows - column.count
        if column.missing:
            column.first_missing = int((~known).argmax())
    return values, columns


def _renamed(codes, new, missing):
    """codes (m,), -1 for missing, as new[code]."""
    return np.array([*new, missing], dtype=np.float64)[codes.astype(np.intp)]
