"""The share of a table that one process reads: cells in temporary files, and summaries."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from passfail.arrays import Bools, Floats
from passfail.commandline import option
from passfail.manifest import Dates, Feature, Target
from passfail.threads import in_order
from train import distributed
from train.errors import DataError
from train.table.csv_files import Csv, UndecodableError
from train.table.out_of_core import TemporaryArray, ones, pieces, throttled
from train.table.parts import Block, Cells, Part, renumbered
from train.table.reading import Reading
from train.table.summary import Fault, Level, Place, Summary

PROGRESS = 2.0  # seconds between two lines of progress
MOST_FAULTS = 20  # that one error names
MOST_GROUPS = 50  # groups: nobody reads the figures of more
NO_VALUE = "(missing)"

Log = Callable[[str], object]
Names = Sequence[str]
_Pass = tuple[dict[str, Summary], int, list[tuple[str, str]], list[tuple[str, str]]]
# A fault's sentence, and the option that gets past it; "": unknown; None: no option needed.
Known = tuple[str, str | None]


@dataclass
class Schema:
    """The inferred roles of the columns.

    Attributes
    ----------
    features : the d features, in the order of x's columns.
    codes : {column: {text: its number}}.
    dates : {column: the parts of its dates that are features}.
    pooled : {feature: the level that pools rare levels}.
    warnings : the columns that are left out.
    """

    target: Target
    features: tuple[Feature, ...] = ()
    codes: dict[str, dict[str, float]] = field(default_factory=dict)
    dates: dict[str, Dates] = field(default_factory=dict)
    pooled: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def sources(self) -> dict[str, str]:
        """{feature: the column of dates that it is a part of}."""
        return {f"{name}.{part}": name for name, dates in self.dates.items() for part in dates.parts}

    def column_of(self, feature: str) -> str:
        """The column of a feature."""
        return self.sources.get(feature, feature)


class Groups(NamedTuple):
    """The names of a column's groups, the missing last, and the index (n,) of each row's group."""

    names: tuple[str, ...]
    place: npt.NDArray[np.intp]


class Share:
    """The parts of the table that this process reads: cells in temporary files, texts as codes."""

    def __init__(self, parts: Sequence[Part], header: Names, features: Names, reading: Reading, log: Log) -> None:
        assert reading.target is not None
        self.parts, self.header, self.reading, self.log = parts, header, reading, log
        self.features, self.target = features, reading.target
        others = filter(None, (reading.target, reading.weights, reading.cluster, reading.group, reading.time))
        self.names = [*features, *dict.fromkeys([*others, *(name for name in reading.by if name not in features)])]
        dropping = [n for n in features if reading.missing.get(n, reading.missing.get("")) == "drop"]
        self.required = [reading.target, *dropping]  # a row without one of these is left out
        self.column_faults: list[tuple[str, Fault]] = []
        self.faults: list[Known] = []
        self.instead: Mapping[str, str] = {}  # {misspelt name: the column's}
        self.why_dropped = "a missing target or cell" if dropping else "a missing target"

    def read(self) -> tuple[dict[str, Summary], str]:
        """Read the parts; read again if cells that looked like numbers or dates must be texts.

        Returns
        -------
        ({name: its Summary over all processes}, the SHA-256 of the table).
        """
        as_text = {self.target, *self.reading.categorical, *self.reading.order, *self.reading.dates}
        while True:
            try:
                mine: _Pass | DataError = self._pass(as_text)
            except DataError as error:
                mine = error
            passes = []
            for one in distributed.gathered(mine):
                if isinstance(one, DataError):
                    raise one
                passes.append(one)
            columns = {name: Summary() for name in self.names}
            for share, *_ in passes:
                for name, column in share.items():
                    columns[name].add(column)
            texts = {name for name, column in columns.items() if column.mixed}
            for name in self.names[len(self.features) :]:  # a date's number is no name, and a time of day has none
                column, by = columns[name], name in self.reading.by
                texts |= {name} if column.kinds == {"date"} and (by or column.minimum == column.maximum) else set()
            if texts <= as_text:
                break
            as_text = as_text | texts
        self.faults += [fault for *_, faults in passes for fault in faults]
        if any(share[self.target].count == 0 for share, *_ in passes):
            self.check()
            alone = distributed.ranks() == 1
            found = "it has no row with a target; add rows"
            fewer = "the parts that a process reads have no row; start fewer processes"
            raise DataError(f"{self.parts[0].path}: {found if alone else fewer}")
        self.dropped = sum(dropped for _, dropped, *_ in passes)
        digests = sorted(digest for _, _, digests, _ in passes for digest in digests)
        if len(digests) == 1:
            return columns, digests[0][1]
        # The output of `sha256sum * | sha256sum` in the folder.
        lines = "".join(f"{digest}  {name}\n" for name, digest in digests)
        return columns, hashlib.sha256(lines.encode()).hexdigest()

    def _pass(self, as_text: Set[str]) -> "_Pass":
        """Read this process's parts once.

        Returns
        -------
        the columns' summaries, the rows left out, (name, SHA-256) of each part, the faults of rows.
        """
        mine = range(distributed.rank(), len(self.parts), distributed.ranks())
        own, digests = [self.parts[index] for index in mine], list[tuple[str, str]]()
        hashing = threading.Thread(target=lambda: digests.extend((p.path.name, p.sha256()) for p in own), daemon=True)
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
        return self.columns, self.dropped, digests, [fault for part in own for fault in part.faults()]

    def _read_part(self, index: int, as_text: Set[str]) -> None:
        part, row, before, say = self.parts[index], 0, self.rows, throttled(self.log, PROGRESS)
        for block in in_order(self._jobs(part, as_text), pa.cpu_count()):
            self._take(block, index, row)
            row += block.rows
            say(f"{part.path}: {self.rows} rows read")
        self.lengths.append((index, self.rows - before))

    def _jobs(self, part: Part, as_text: Set[str]) -> Iterator[Callable[[], "_Summarized"]]:
        if part.header() != self.header:
            differing = ", ".join(sorted({*part.header()} ^ {*self.header})) or "their order"
            found = f"its columns are not those of {self.parts[0].path}: they differ in {differing}"
            raise DataError(f"{part.path}: {found}; make them the same")
        for job in part.blocks(self.names, as_text):
            yield lambda job=job: _Summarized(self.names, self._filled(job()), self.required)  # type: ignore[misc]

    def _filled(self, block: Block) -> Block:
        """The block, with the value of --blank in missing cells of the target."""
        if self.reading.blank is None or not block:
            return block
        codes, texts = block[self.target].numbers, tuple(dict.fromkeys([*block[self.target].texts, self.reading.blank]))
        codes = np.where(np.isnan(codes), texts.index(self.reading.blank), codes)
        return {**block, self.target: Cells("text", codes, texts)}

    def _take(self, block: "_Summarized", part: int, row: int) -> None:
        """Append a block, which begins at `row` of its part, and merge its summaries."""
        for index, (name, new) in enumerate(zip(self.names, block.columns, strict=True)):
            known = self.columns[name]
            texts = list(new.levels)
            known.add(new, part, row)
            if known.too_many:
                known.forget(self.reading.decimal or ".")
                block.values[index] = 0.0
            elif texts:
                codes = {text: code for code, text in enumerate(known.levels)}
                block.values[index] = renumbered(block.values[index], [codes[text] for text in texts])
        self.x.append(block.values[: len(self.features)].T)
        for array, column in zip(self.others, block.values[len(self.features) :], strict=True):
            array.append(column)
        self.rows += block.values.shape[1]
        self.dropped += block.rows - block.values.shape[1]

    def arrays(self, schema: Schema) -> tuple[Floats, Floats, Floats]:
        """The arrays x, y and weight for the inferred features."""
        x, others = self.x.array(self.rows, len(self.features)), [other.array(self.rows) for other in self.others]
        names, sources = [feature.name for feature in schema.features], schema.sources
        kept = [self.features.index(sources.get(name, name)) for name in names]
        narrow = TemporaryArray() if kept != [*range(len(self.features))] else None
        self._other = dict(zip(self.names[len(self.features) :], others, strict=True))
        for part in pieces(self.rows, 1 << 16, x, *others):
            block = x[part][:, kept] if narrow else x[part]
            own = zip([*names, *self._other], [*block.T, *(other[part] for other in others)], strict=True)
            for name, column in own:
                if (codes := schema.codes.get(name)) and (levels := self.columns[sources.get(name, name)].levels):
                    column[:] = renumbered(column, [codes[text] for text in levels])
            if narrow:
                narrow.append(block)
        weight = self._other[self.reading.weights] if self.reading.weights else ones(self.rows)
        self._check_outcomes(others[0], weight, schema.target)
        return narrow.array(self.rows, len(kept)) if narrow else x, others[0], weight

    def other(self, name: str | None) -> Floats | None:
        """The values (n,) of a column that is not a feature; None without a name."""
        return self._other[name] if name else None

    def groups(self, schema: Schema, x: Floats) -> dict[str, Groups]:
        """The groups of rows of each column of --by: a feature's, or another column's."""
        by: dict[str, Groups] = {}
        features = {f.name: (x[:, at], dict(enumerate(f.levels))) for at, f in enumerate(schema.features)}
        for name in self.reading.by:
            with self.noted(name):
                drop = option("--drop", name)
                if name in self.features and name not in features:
                    raise Fault(None, "a column that is left out needs --drop for --by", f"use {drop}", drop)
                texts = {code: text for text, code in schema.codes.get(name, {}).items()}
                by[name] = _groups(*(features.get(name) or (self._other[name], texts)))
        self.check()
        return by

    def _check_outcomes(self, y: Floats, weight: Floats, target: Target) -> None:
        """Raise DataError if all rows with a weight above 0, in all processes, have one outcome."""
        seen = set().union(*distributed.gathered(set(np.unique(y[weight > 0]).tolist())))
        if len(seen) == 1 and self.reading.weights:
            found = f"every row with a weight above 0 has {target.name} = {target.values[int(seen.pop())]!r}"
            fault = Fault(None, found, "a target needs rows of both outcomes")
            self.column_faults.append((self.reading.weights, fault))
            self.check()

    @contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """Note a column's Fault, for `check`."""
        try:
            yield
        except Fault as fault:
            self.column_faults.append((name, fault))

    def check(self) -> None:
        """Raise one DataError for all faults, if any, with places and remedies."""
        faults = self.column_faults
        shown = [f"{self._place(fault.place)} column '{name}': {fault}" for name, fault in faults[:MOST_FAULTS]]
        lines = [*shown, *(sentence for sentence, _ in self.faults)][:MOST_FAULTS]
        options = dict.fromkeys([*(fault.option for _, fault in faults), *(way for _, way in self.faults)])
        if more := len(faults) + len(self.faults) - len(lines):
            lines.append(f"and {more} more")
        if lines:
            raise DataError("\n".join(lines), None if "" in options else " ".join(filter(None, options)), self.instead)

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
            summary.kinds = {cells.kind} if count and cells.kind else set()
            if summary.missing:
                summary.first["missing"] = (0, int(rows[(~known).argmax()]))
            if cells.kind == "text":
                summary.levels = _levels(cells.texts, numbers, known, rows)
                new = np.cumsum([text in summary.levels for text in cells.texts]) - 1.0
                self.values[index] = renumbered(numbers, new)
            elif count:
                summary.units, summary.thousands = {cells.unit}, set(cells.thousands)
                present = numbers if count == len(numbers) else numbers[known]
                summary.minimum, summary.maximum = float(present.min()), float(present.max())
                if summary.minimum < 0:
                    summary.first["negative"] = (0, int(rows[(numbers < 0).argmax()]))


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


def _groups(values: Floats, names: Mapping[float, str]) -> Groups:
    """The Groups of a column's values (n,).

    names : of the values; a number without one names itself. Raises Fault.
    """
    distinct = np.unique(np.concatenate(distributed.gathered(np.unique(values))))
    if not 2 <= len(distinct) <= MOST_GROUPS:
        found = f"{len(distinct)} different values" if len(distinct) > 1 else "every row is in one group"
        raise Fault(None, found, f"--by takes a column of 2 to {MOST_GROUPS} groups")
    known = distinct[~np.isnan(distinct)].tolist()
    return Groups((*(names.get(one, f"{one:.15g}") for one in known), NO_VALUE), np.searchsorted(distinct, values))
