"""Reads a table, one file or a folder of parts, into numbers, or names each fault's place."""

import difflib
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from msgspec import structs

from passfail.arrays import Bools, Floats
from passfail.manifest import PLAIN, Dates, Dialect, Feature, Target
from train import distributed
from train.errors import DataError
from train.table import schema
from train.table.groups import Groups, groups
from train.table.imputation import impute
from train.table.out_of_core import TemporaryArray, in_order, ones, pieces
from train.table.readers import MOST_FAULTS, Block, Csv, Part, UndecodableError, open_parts
from train.table.schema import Fault, LeftOut, Level, Place, Reading, Summary

PROGRESS = 2.0  # seconds between two lines of progress

Log = Callable[[str], object]


@dataclass(frozen=True)
class Table:
    """A table ready to train on.

    The arrays are in a temporary file (out_of_core.py).

    Attributes
    ----------
    source : the name of the file or folder.
    sha256 : the file's; for a folder, that of the output of `sha256sum *` for its parts.
    x : float64 (n, d), raw values; the level's index for a category, NaN for missing.
    y : float64 (n,), 1 for the target's positive value, else 0.
    weight : float64 (n,), >= 0, the number of rows for which each row counts; 1 without --weights.
    features : the d features, in the order of x's columns.
    rows, positives : the numbers in the whole table; x, y and weight are this process's share.
    missing : {feature: the number of its missing cells}.
    units : {feature: the unit in its cells}.
    cluster : float64 (n,), the number of each row's group; None without --cluster.
    dialect : the first part's.
    dates : {column: the parts of its dates that are features}.
    pooled : {feature: the level that pools rare levels}.
    group, time : float64 (n,), see Reading.
    by : {column: the groups of its rows}.
    parts : (number, rows) of each part in this share.
    notes : the unusual properties of the files.
    warnings : the columns that are left out.
    """

    source: str
    sha256: str
    x: Floats
    y: Floats
    weight: Floats
    features: tuple[Feature, ...]
    target: Target
    rows: int
    positives: int
    missing: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    cluster: Floats | None = None
    dialect: Dialect = PLAIN
    dates: Mapping[str, Dates] = field(default_factory=dict)
    pooled: Mapping[str, str] = field(default_factory=dict)
    group: Floats | None = None
    time: Floats | None = None
    by: Mapping[str, Groups] = field(default_factory=dict)
    parts: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def sources(self) -> dict[str, str]:
        """{feature: the column of dates that it is a part of}."""
        return {f"{name}.{part}": name for name, dates in self.dates.items() for part in dates.parts}


class Rows(NamedTuple):
    """The rows of another table, in Table's format."""

    x: Floats
    y: Floats
    weight: Floats
    by: Mapping[str, Groups]


def read_table(path: Path, reading: Reading | None = None, log: Log = lambda line: None) -> Table:
    """Read a table: CSV (gzip or not), Parquet or Excel, a file or a folder of parts.

    log takes a line of progress now and then. Raises DataError: each fault has the file, the line and the column.
    """
    path = Path(path)
    parts = open_parts(path, reading or Reading())
    if len(parts) < distributed.ranks():
        raise DataError(
            f"{path}: {distributed.ranks()} processes share {len(parts)} parts; give a folder of more, or start fewer"
        )
    header = parts[0].header()
    reading = _resolved(reading or Reading(), header, f"{path}: line 1")
    names = _feature_names(reading, header, path)
    share = _Share(parts, header, names, reading, log)
    columns, sha256 = share.read()
    found = _infer(reading, share, columns)
    if not found.features:
        none_left = f"{path}: no column is left to predict '{reading.target}' from; use one of these"
        raise DataError("\n".join([none_left, *found.warnings]))
    x, y, weight = share.arrays(found)
    y_of = found.codes[share.target]
    thousands = set().union(*(columns[found.source(f.name)].thousands for f in found.features))
    notes = [f"{part.path}: {part.note}" for part in parts if part.note]
    if share.dropped:
        notes.append(f"{path}: {share.dropped} rows left out: {share.why_dropped}")
    return Table(
        source=path.name,
        sha256=sha256,
        x=x,
        y=y,
        weight=weight,
        features=impute(found.features, x, weight),
        target=found.target,
        rows=columns[share.target].count,
        positives=sum(level.rows for text, level in columns[share.target].levels.items() if y_of[text]),
        cluster=share.other(reading.cluster),
        missing={f.name: columns[found.source(f.name)].missing for f in found.features},
        units={f.name: unit for f in found.features for unit in columns[found.source(f.name)].units if unit},
        dialect=structs.replace(parts[0].dialect, thousands="".join(sorted(thousands))),
        dates=found.dates,
        pooled=found.pooled,
        group=share.other(reading.group),
        time=share.other(reading.time),
        by=share.groups(found, x),
        parts=tuple(share.lengths),
        notes=tuple(notes),
        warnings=(*(sentence for part in parts for sentence in part.warnings), *found.warnings),
    )


def read_rows(path: Path, table: Table, reading: Reading, log: Log = lambda line: None) -> Rows:
    """Read another table's rows as rows of `table`, with its features and levels.

    Raises DataError for a column or a level that is not one of the table's.
    """
    names = list(dict.fromkeys(table.sources.get(feature.name, feature.name) for feature in table.features))
    parts = open_parts(path, reading)
    header = parts[0].header()
    wanted = [*names, table.target.name, *([reading.weights] if reading.weights else []), *table.by]
    if lacking := [name for name in wanted if name not in header]:
        raise DataError(f"{path}: line 1: there is no column '{lacking[0]}'; the model was fitted with it")
    categorical = tuple(feature.name for feature in table.features if feature.kind == "categorical")
    known = {"target": table.target.name, "categorical": categorical, "order": {}, "dates": table.dates}
    unused = {"cluster": None, "group": None, "time": None}
    reading = replace(reading, **known, **unused, by=tuple(table.by))  # type: ignore[arg-type]
    share = _Share(parts, header, names, reading, log)
    columns, _ = share.read()
    found = _match(table, share, columns)
    x, y, weight = share.arrays(found)
    if len(set(y.tolist())) < 2:
        raise DataError(f"{path}: every row has the same {table.target.name}; add rows of the other outcome")
    return Rows(x, y, weight, share.groups(found, x))


def _resolved(reading: Reading, header: Sequence[str], where: str) -> Reading:
    """The options with the header's spelling of each name. Raises DataError for unknown names."""
    wrong: list[str] = []

    def one(name: str) -> str:
        if name in header:
            return name
        if len(alike := [other for other in header if other.casefold() == name.casefold()]) == 1:
            return alike[0]
        near = difflib.get_close_matches(name, header, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"the columns are: {', '.join(header)}"
        wrong.append(f"{where}: there is no column '{name}'; {hint}")
        return name

    def some(names: Iterable[str]) -> tuple[str, ...]:
        split = (part for name in names for part in ([name] if name in header else name.split(",")))
        return tuple(one(name.strip()) for name in split)

    resolved = replace(
        reading,
        target=header[-1] if reading.target is None else one(reading.target),
        categorical=some(reading.categorical),
        drop=some(reading.drop),
        weights=reading.weights and one(reading.weights),
        cluster=reading.cluster and one(reading.cluster),
        missing={name and one(name): way for name, way in reading.missing.items()},
        reference={one(name): level for name, level in reading.reference.items()},
        order={one(name): levels for name, levels in reading.order.items()},
        dates={one(name): parts for name, parts in reading.dates.items()},
        group=reading.group and one(reading.group),
        time=reading.time and one(reading.time),
        by=some(reading.by),
    )
    if wrong:
        raise DataError("\n".join(wrong))
    return resolved


def _feature_names(reading: Reading, header: Sequence[str], path: Path) -> list[str]:
    """The columns to predict from. Raises DataError if the options contradict one another."""
    target, weights, drop = reading.target, reading.weights, reading.drop
    if target in drop or target in reading.categorical:
        raise DataError(f"{path}: column '{target}' is the target; take it out of --drop and --categorical")
    if weights in {target, *reading.categorical, *drop}:
        raise DataError(f"{path}: column '{weights}' has the weights; it can't be the target, categorical or dropped")
    if reading.cluster and reading.cluster in {target, weights}:
        raise DataError(f"{path}: column '{reading.cluster}' has the groups; it can't be the target or the weights")
    others = [name for name in (reading.group, reading.time) if name]
    if len(others) > 1 or {target, weights, *drop}.intersection(others):
        raise DataError(f"{path}: --group or --time needs a column of its own; choose one of the two")
    if {target, weights}.intersection(reading.by):
        raise DataError(f"{path}: --by names the target or the weights; choose another column")
    names = [name for name in header if name not in {target, weights, reading.cluster, *others, *drop}]
    for option, given in (
        ("--missing", reading.missing),
        ("--reference", reading.reference),
        ("--order", reading.order),
        ("--date", reading.dates),
    ):
        if strange := [name for name in given if name and name not in names]:
            raise DataError(f"{path}: column '{strange[0]}' is not one to predict from; take it out of {option}")
    if not names:
        raise DataError(f"{path}: no column is left to predict '{target}' from; drop fewer")
    return names


@dataclass
class _Found:
    """The inferred roles of the columns.

    Attributes
    ----------
    codes : {column: {text: its number}}.
    sources : {feature: its column}, for parts of dates.
    dates, pooled : as in Table.
    """

    target: Target
    features: list[Feature] = field(default_factory=list)
    codes: dict[str, dict[str, float]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    dates: dict[str, Dates] = field(default_factory=dict)
    pooled: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def source(self, feature: str) -> str:
        """The column of a feature."""
        return self.sources.get(feature, feature)


def _infer(reading: Reading, share: "_Share", columns: Mapping[str, Summary]) -> _Found:
    """Infer the roles of the columns. Raises DataError with all their faults."""
    faults: list[tuple[str, Fault]] = []
    found = _Found(Target("", ("", ""), ("", "")))
    with _noted(faults, share.target):
        found.target, found.codes[share.target] = schema.target(reading, share.target, columns[share.target])
    if reading.weights:
        with _noted(faults, reading.weights):
            schema.check_weights(columns[reading.weights])
    if reading.cluster:
        with _noted(faults, reading.cluster):
            found.codes[reading.cluster] = schema.groups(columns[reading.cluster])
    for name in filter(None, (reading.group, reading.time)):
        with _noted(faults, name):
            found.codes[name] = schema.check_order(columns[name], name == reading.time)
    _infer_groups(share, columns, found, faults)
    for name in share.features:
        with _noted(faults, name):
            try:
                if name in reading.dates:
                    found.dates[name] = schema.dates(reading.dates[name], name, columns[name])
                    for part, codes in schema.date_features(reading, found.dates[name], name, columns[name]):
                        found.features.append(part)
                        found.codes[part.name], found.sources[part.name] = codes, name
                    continue
                feature, found.codes[name], pooled = schema.feature(reading, name, columns[name])
                found.features.append(feature)
                found.pooled |= {name: pooled} if pooled else {}
            except LeftOut as why:
                if reading.strict:
                    option = f"--drop '{name}'"
                    raise Fault(None, str(why), f"leave it out with {option}", option) from why
                found.warnings.append(f"{name} is left out: {why}")
    if faults:
        raise share.error(faults)
    return found


def _match(table: Table, share: "_Share", columns: Mapping[str, Summary]) -> _Found:
    """Match the columns of another table's rows to `table`. Raises DataError with all faults."""
    faults: list[tuple[str, Fault]] = []
    found = _Found(table.target, list(table.features))
    with _noted(faults, share.target):
        found.codes[share.target] = schema.known_target(table.target, columns[share.target])
    found.sources = table.sources
    for feature in table.features:
        column = columns[found.source(feature.name)]
        with _noted(faults, feature.name):
            if feature.name in found.sources:
                name = found.sources[feature.name]
                codes = schema.date_numbers(column, feature.name.removeprefix(f"{name}."), table.dates[name].order)
            else:
                other = table.pooled.get(feature.name)
                codes = schema.known_feature(feature, column, share.reading.fold_case, other)
            found.codes[feature.name] = codes
    _infer_groups(share, columns, found, faults)
    if faults:
        raise share.error(faults)
    return found


def _infer_groups(
    share: "_Share", columns: Mapping[str, Summary], found: _Found, faults: list[tuple[str, Fault]]
) -> None:
    """Number the texts of the columns of --by that are nothing else."""
    for name in set(share.reading.by) - {*share.features, *found.codes}:
        with _noted(faults, name):
            found.codes[name] = schema.check_groups(columns[name])


@contextmanager
def _noted(faults: list[tuple[str, Fault]], name: str) -> Iterator[None]:
    """Append a column's Fault to the list."""
    try:
        yield
    except Fault as fault:
        faults.append((name, fault))


class _Share:
    """The parts of the table that this process reads: cells in temporary files, texts as codes."""

    def __init__(
        self, parts: Sequence[Part], header: Sequence[str], features: Sequence[str], reading: Reading, log: Log
    ) -> None:
        assert reading.target is not None
        self.parts, self.header, self.reading, self.log = parts, header, reading, log
        self.features, self.target = features, reading.target
        others = filter(None, (reading.target, reading.weights, reading.cluster, reading.group, reading.time))
        self.names = [*features, *dict.fromkeys([*others, *(name for name in reading.by if name not in features)])]
        dropping = [n for n in features if reading.missing.get(n, reading.missing.get("")) == "drop"]
        self.required = [reading.target, *dropping]  # a row without one of these is left out
        self.dropped = 0
        self.why_dropped = "they have no target" if not dropping else "they have no target or a missing cell"

    def read(self) -> tuple[dict[str, Summary], str]:
        """Read the parts; read again if cells that looked like numbers are texts further down.

        Returns
        -------
        ({name: its Summary over all processes}, the SHA-256 of the table).
        """
        as_text = {self.target, *self.reading.categorical, *self.reading.order, *self.reading.dates}
        while True:
            try:
                fault, mine = None, self._pass(as_text)
            except DataError as error:
                fault, mine = str(error), None
            shares = distributed.gathered((fault, mine))
            for fault, _ in shares:
                if fault:
                    raise DataError(fault)
            columns = {name: Summary() for name in self.names}
            passes = [found for _, found in shares if found is not None]
            for share, _, _ in passes:
                for name, column in share.items():
                    columns[name].add(column)
            mixed = {name for name, column in columns.items() if name not in as_text and column.mixed}
            if not mixed:
                break
            as_text = as_text | mixed
        if any(share[self.target].count == 0 for share, _, _ in passes):
            self._no_rows()
        self.dropped = sum(dropped for _, dropped, _ in passes)
        digests = sorted(digest for _, _, digests in passes for digest in digests)
        if len(digests) == 1:
            return columns, digests[0][1]
        # The output of `sha256sum * | sha256sum` in the folder.
        lines = "".join(f"{digest}  {name}\n" for name, digest in digests)
        return columns, hashlib.sha256(lines.encode()).hexdigest()

    def _no_rows(self) -> None:
        where = self.parts[0].path
        if distributed.ranks() > 1:
            raise DataError(f"{where}: the parts that a process reads have no row; start fewer processes")
        raise DataError(f"{where}: there is no row in it; the table needs rows with a target")

    def _pass(self, as_text: Set[str]) -> tuple[dict[str, Summary], int, list[tuple[str, str]]]:
        """Read this process's parts once; return summaries, rows left out, and (name, SHA-256)."""
        mine = range(distributed.rank(), len(self.parts), distributed.ranks())
        digests: list[tuple[str, str]] = []
        hashing = threading.Thread(
            target=lambda: digests.extend((self.parts[i].path.name, self.parts[i].sha256()) for i in mine), daemon=True
        )
        hashing.start()
        while True:
            self.x, self.rows, self.dropped = TemporaryArray(), 0, 0
            self.others = [TemporaryArray() for _ in self.names[len(self.features) :]]
            self.columns = {name: Summary() for name in self.names}
            self.lengths: list[tuple[int, int]] = []
            try:
                for index in mine:
                    self._read_part(index, as_text)
                break
            except UndecodableError:
                part = self.parts[index]
                assert isinstance(part, Csv)
                part.fall_back()
        hashing.join()
        return self.columns, self.dropped, digests

    def _read_part(self, index: int, as_text: Set[str]) -> None:
        part, row, heard, before = self.parts[index], 0, time.monotonic(), self.rows
        for block in in_order(self._jobs(part, as_text), pa.cpu_count()):
            self._take(block, index, row)
            row += block.rows
            if time.monotonic() - heard >= PROGRESS:
                heard = time.monotonic()
                self.log(f"{part.path}: {self.rows} rows read")
        self.lengths.append((index, self.rows - before))

    def _jobs(self, part: Part, as_text: Set[str]) -> Iterator[Callable[[], "_Summarized"]]:
        if part.header() != self.header:
            raise DataError(f"{part.path}: its columns are not those of {self.parts[0].path}; make them the same")
        for job in part.blocks(self.names, as_text):
            yield lambda job=job: _Summarized(self.names, job(), self.required)  # type: ignore[misc]

    def _take(self, block: "_Summarized", part: int, row: int) -> None:
        """Append a block, which begins at `row` of its part, and merge its summaries."""
        for index, (name, new) in enumerate(zip(self.names, block.columns, strict=True)):
            known = self.columns[name]
            texts = list(new.levels)
            known.add(_moved(new, part, row))
            if known.too_many:
                known.levels = {}
                block.values[index] = 0.0
            elif texts:
                codes = {text: code for code, text in enumerate(known.levels)}
                block.values[index] = _renumbered(block.values[index], [codes[text] for text in texts])
        self.x.append(block.values[: len(self.features)].T)
        for array, column in zip(self.others, block.values[len(self.features) :], strict=True):
            array.append(column)
        self.rows += block.values.shape[1]
        self.dropped += block.rows - block.values.shape[1]

    def arrays(self, found: _Found) -> tuple[Floats, Floats, Floats]:
        """The arrays x, y and weight for the inferred features."""
        x, others = self.x.array(self.rows, len(self.features)), [other.array(self.rows) for other in self.others]
        orders = {
            name: [codes[text] for text in self.columns[name].levels]
            for name, codes in found.codes.items()
            if name in self.columns and self.columns[name].levels
        }
        origin = [found.source(feature.name) for feature in found.features]
        kept = [self.features.index(name) for name in origin]
        dated = [(at, f.name) for at, f in enumerate(found.features) if f.name in found.sources]
        for at, name in dated:
            orders[name] = [found.codes[name][text] for text in self.columns[origin[at]].levels]
        narrow = TemporaryArray() if dated or len(kept) < len(self.features) else None
        for part in pieces(self.rows, 1 << 16, x, *others):
            for column, name in zip([*x[part].T, *(other[part] for other in others)], self.names, strict=True):
                if name in orders:
                    column[:] = _renumbered(column, orders[name])
            if narrow:
                block = x[part][:, kept]
                for at, name in dated:
                    block[:, at] = _renumbered(block[:, at], orders[name])
                narrow.append(block)
        x, y = narrow.array(self.rows, len(kept)) if narrow else x, others[0]
        self._other = dict(zip(self.names[len(self.features) :], others, strict=True))
        weight = self.other(self.reading.weights)
        weight = ones(self.rows) if weight is None else weight
        self._check_outcomes(y, weight, found.target)
        return x, y, weight

    def other(self, name: str | None) -> Floats | None:
        """The values (n,) of a column that is not a feature; None without a name."""
        return self._other[name] if name else None

    def groups(self, found: _Found, x: Floats) -> dict[str, Groups]:
        """The groups of rows of each column of --by: a feature's, or another column's."""
        by: dict[str, Groups] = {}
        faults: list[tuple[str, Fault]] = []
        features = {feature.name: (x[:, at], feature.levels) for at, feature in enumerate(found.features)}
        for name in self.reading.by:
            with _noted(faults, name):
                if name in self.features and name not in features:
                    raise Fault(None, "it is no feature", f"--drop '{name}' lets --by use it", f"--drop '{name}'")
                by[name] = groups(*(features.get(name) or (self._other[name], tuple(found.codes.get(name, ())))))
        if faults:
            raise self.error(faults)
        return by

    def _check_outcomes(self, y: Floats, weight: Floats, target: Target) -> None:
        """Raise DataError if all rows with a weight above 0, in all processes, have one outcome."""
        seen = set().union(*distributed.gathered(set(np.unique(y[weight > 0]).tolist())))
        if len(seen) == 1 and self.reading.weights:
            value = target.values[int(seen.pop())]
            found = f"every row of a weight above 0 has the {target.name} {value!r}"
            raise self.error([(self.reading.weights, Fault(None, found, "a target needs rows of both outcomes"))])

    def error(self, faults: Sequence[tuple[str, Fault]]) -> DataError:
        """One DataError for all (column, Fault), with places and with the options that allow them."""
        lines = [f"{self._place(fault.place)} column '{name}': {fault}" for name, fault in faults[:MOST_FAULTS]]
        options = [fault.option for _, fault in faults]
        if len(faults) > 1 and all(options):
            lines.append(f"to get past all of them, add: {' '.join(options)}")
        return DataError("\n".join(lines))

    def _place(self, place: Place | None) -> str:
        part, row = (0, None) if place is None else place
        return f"{self.parts[part].path}:{self.parts[part].line(row)}"


class _Summarized:
    """A block of cells, summarised.

    Attributes
    ----------
    rows : the number of rows in the block.
    values : float64 (columns, m), of the m rows kept; a text is its index in its Summary's levels.
    columns : the Summary of each column, whose places are rows of the block.
    """

    def __init__(self, names: Sequence[str], block: Block, required: Sequence[str]) -> None:
        self.rows = len(block[names[0]].numbers) if block else 0
        self.columns = [Summary() for _ in names]
        kept: Bools = np.ones(self.rows, dtype=bool)
        for name in required if self.rows else ():
            kept &= ~np.isnan(block[name].numbers)
        rows = np.flatnonzero(kept)
        self.values = np.empty((len(names), len(rows)))
        for index, name in enumerate(names if self.rows else ()):
            cells = block[name]
            numbers = cells.numbers if len(rows) == self.rows else cells.numbers[rows]
            self.values[index] = numbers
            known = ~np.isnan(numbers)
            count = int(np.count_nonzero(known))
            summary = self.columns[index] = Summary(count=count, missing=len(numbers) - count)
            summary.kinds = {cells.kind} - {None} if count else set()  # type: ignore[assignment]
            if summary.missing:
                summary.first_missing = (0, int(rows[(~known).argmax()]))
            if cells.kind == "text":
                summary.levels = _levels(cells.texts, numbers, known, rows)
                self.values[index] = _renumbered(numbers, _positions(cells.texts, summary.levels))
            elif count:
                summary.units, summary.thousands = {cells.unit}, set(cells.thousands)
                present = numbers if count == len(numbers) else numbers[known]
                summary.minimum, summary.maximum = float(present.min()), float(present.max())
                if summary.minimum < 0:
                    summary.negative = (0, int(rows[(numbers < 0).argmax()]))
                if np.isinf([summary.minimum, summary.maximum]).any():
                    summary.infinite = (0, int(rows[np.isinf(numbers).argmax()]))


def _levels(texts: Sequence[str], numbers: Floats, known: Bools, rows: np.ndarray) -> dict[str, Level]:
    """The texts that occur in codes (m,), as {text: its Level}.

    known : bool (m,), whether the code is not NaN. rows : (m,), the places.
    """
    there = np.flatnonzero(known)
    codes = numbers[there].astype(np.intp)
    first = np.zeros(len(texts), dtype=np.intp)
    first[codes[::-1]] = rows[there[::-1]]
    counts = np.bincount(codes, minlength=len(texts)).tolist()
    return {t: Level(n, (0, at)) for t, n, at in zip(texts, counts, first.tolist(), strict=True) if n}


def _positions(texts: Sequence[str], levels: Mapping[str, Level]) -> list[float]:
    positions = {text: float(index) for index, text in enumerate(levels)}
    return [positions.get(text, np.nan) for text in texts]


def _moved(summary: Summary, part: int, row: int) -> Summary:
    """A block's Summary, with its places converted to (part, row in the part)."""

    def moved(place: Place | None) -> Place | None:
        return place and (part, row + place[1])

    return replace(
        summary,
        first_missing=moved(summary.first_missing),
        infinite=moved(summary.infinite),
        negative=moved(summary.negative),
        levels={text: Level(count, (part, row + place[1])) for text, (count, place) in summary.levels.items()},
    )


def _renumbered(codes: Floats, new: Sequence[float]) -> Floats:
    """Map codes (m,), indices or NaN, to new[code]; NaN stays."""
    return np.array([*new, np.nan])[np.where(np.isnan(codes), len(new), codes).astype(np.intp)]
