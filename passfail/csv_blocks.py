"""Answers CSV of any length, a block of whole records at a time."""

import csv
import io
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from passfail.arrays import Floats
from passfail.batches import Answers, Scorer, array, arrow
from passfail.codecs.csv_rows import WORDS, csv_line
from passfail.codecs.layouts import LONGEST_HEAD, Layout, encoding_of, layout_of, widened
from passfail.columns import Columns, InvalidValue
from passfail.errors import MalformedBody
from passfail.manifest import Dialect

BLOCK = 2**20  # bytes answered at a time
LONGEST = 2**26  # bytes of a record: an unclosed quote must not fill the memory


class Given(NamedTuple):
    """The layout of a CSV that the caller gives; None: it is found."""

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None


FOUND = Given()


class Scored(NamedTuple):
    """A block of n rows with its answers.

    Attributes
    ----------
    data : the output: an Arrow table, or CSV in which each row follows a line's end.
    outcome : the target (n,), 1 or 0, NaN if it is neither; None if the table has no target.
    """

    answers: Answers
    data: Any
    outcome: Floats | None


class CsvBlocks:
    """Answers blocks of CSV.

    Parameters
    ----------
    outcome : turns the target's column into 1, 0 or NaN.
    layout, header : of the file, as `records` returns them.
    parquet : make Arrow tables, not CSV.
    """

    def __init__(
        self,
        scorer: Scorer,
        outcome: Callable[[pa.Array], Floats],
        target: str,
        layout: Layout,
        header: list[str],
        parquet: bool,
    ) -> None:
        self._scorer, self._outcome_of, self._parquet = scorer, outcome, parquet
        self._mark, self._decimal, self._names = layout.separator, layout.decimal, header
        self._written_decimal = layout.decimal if self._mark != "," else "."
        scorer.check(header, f"line {layout.skipped + 1}")
        self._order = scorer.columns.order(header)
        self._outcome = header.index(target) if header.count(target) == 1 else None
        needed = [*self._order, *([] if self._outcome is None else [self._outcome])]
        self._needed = range(len(header)) if parquet else sorted(set(needed))
        manifest = scorer.model.manifest
        identity = [manifest.name, str(manifest.version)]
        self._verdicts = [self._line([WORDS[flag], manifest.target.labels[flag]]) for flag in (True, False)]
        self._stables = {flag: self._line([WORDS[flag], *identity]) for flag in WORDS}

    def _line(self, cells: Sequence[str]) -> pa.Scalar:
        """Cells of one row, as Arrow takes them."""
        return _bytes([csv_line(cells, self._mark)])[0]

    def __call__(self, block: bytes) -> Scored:
        lines, cells, ragged = self._plain(block) or self._careful(block)
        answers = self._scorer.answer([cells[at] for at in self._order], ragged, self._decimal)
        outcome = None if self._outcome is None else self._outcome_of(pc.utf8_trim_whitespace(cells[self._outcome]))
        if not self._parquet:
            return Scored(answers, self._written(lines, answers), outcome)
        for at, column, x in zip(self._order, self._scorer.columns, answers.x.T, strict=True):
            if column.codes is None and self._names[at] == column.name:
                cells[at] = arrow(x) if np.isfinite(x).all() else pc.if_else(arrow(np.isnan(x)), pa.NULL, arrow(x))
        table = pa.table([cells[at] for at in range(len(self._names))], names=self._names)
        return Scored(answers, self._scorer.extended(table, answers), outcome)

    def _plain(self, block: bytes) -> tuple[pa.Array, dict[int, pa.Array], dict[int, InvalidValue]] | None:
        """Split a block without quotes: (lines, {index of a column: cells}, {}); else None.

        Each line begins with the previous line's end.
        """
        d, block = len(self._names), block.replace(b"\r\n", b"\n")
        if any(mark in block for mark in (b'"', b"\r", b"\0")) or b"\n\n" in b"\n%b\n" % block:
            return None
        data = b"\n" + block
        starts = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        names = [str(at) for at in range(d)]
        needed = [names[at] for at in self._needed]
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(block),
                pa.csv.ReadOptions(use_threads=False, block_size=len(data), column_names=names),
                pa.csv.ParseOptions(delimiter=self._mark, quote_char=False, ignore_empty_lines=False),
                pa.csv.ConvertOptions(column_types=dict.fromkeys(needed, pa.string()), include_columns=needed),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != len(starts):
            return None
        return _binary(data, starts), {at: array(table[names[at]]) for at in self._needed}, {}

    def _careful(self, block: bytes) -> tuple[pa.Array, dict[int, pa.Array], dict[int, InvalidValue]]:
        """Split a block with Python's csv module; rows with a wrong number of cells are refused."""
        d, rows = len(self._names), [row for row in _split(block, self._mark) if row]
        ragged = {at: InvalidValue(f"{len(row)} cells where the header has {d}")
                  for at, row in enumerate(rows) if len(row) != d}  # fmt: skip
        for at in ragged:
            rows[at] = (rows[at] + [""] * d)[:d]
        lines = _bytes([f"\n{csv_line(row, self._mark)}" for row in rows])
        return lines, {at: arrow([row[at] for row in rows]) for at in self._needed}, ragged

    def _written(self, lines: pa.Array, answers: Answers) -> memoryview:
        """The lines with the answer's cells, joined by Arrow without a Python object for each row."""
        n, errors = len(lines), answers.errors()
        mark, nothing, twice, thrice = _bytes([self._mark, "", self._mark, 2 * self._mark])
        stables = pa.repeat(self._stables[None], n)
        if answers.stable is not None:
            stables = pc.if_else(arrow(answers.stable), self._stables[True], self._stables[False])
        outside = nothing
        if answers.outside is not None:
            outside = self._cells({at: ", ".join(names) for at, names in enumerate(answers.outside) if names}, n)
        verdicts, more = pc.if_else(arrow(answers.verdict), *self._verdicts), map(self._numbers, answers.more.values())
        found = [verdicts, self._numbers(answers.probability), self._numbers(answers.logit), stables, outside, *more]
        if errors:
            bad = np.zeros(n, dtype=bool)
            bad[list(errors)] = True
            empty = [twice, nothing, nothing, thrice, nothing, *([nothing] * len(answers.more))]
            found = [pc.if_else(arrow(bad), none, column) for none, column in zip(empty, found, strict=True)]
        if not self._scorer.strict:
            found.append(self._cells(errors, n) if errors else nothing)
        joined = pc.binary_join_element_wise(lines, *found, mark)
        length = int(np.frombuffer(joined.buffers()[1], np.int32)[n]) if n else 0
        return memoryview(joined.buffers()[2])[:length] if n else memoryview(b"")

    def _numbers(self, values: Floats) -> pa.Array:
        """Write numbers (n,) in JSON's shortest exact form.

        Arrow writes the same texts, except for whole numbers and extremes.
        """
        texts, size = arrow(values).cast(pa.string()), np.abs(values)
        odd = ~((size >= 1e-5) & (size < 1e15)) | (values == np.trunc(values))
        if odd.any():
            some = [msgspec.json.encode(value).decode() for value in values[odd].tolist()]
            texts = pc.replace_with_mask(texts, arrow(odd), arrow(some))
        if self._written_decimal != ".":
            texts = pc.replace_substring(texts, ".", self._written_decimal)
        return texts.cast(pa.binary())

    def _cells(self, texts: Mapping[int, str], n: int) -> pa.Array:
        """Write {row: text} as n cells."""
        return _bytes([csv_line([texts[row]], self._mark) if row in texts else "" for row in range(n)])


def _bytes(texts: Sequence[str]) -> pa.Array:
    return arrow(texts).cast(pa.binary())


def _binary(data: bytes, starts: Any) -> pa.Array:
    """Cut bytes at the starts (n,) into an Arrow array of n pieces."""
    offsets = np.append(starts, len(data)).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def records(stream: Any, columns: Columns, given: Given) -> tuple[Layout, list[str], Iterator[bytes]]:
    """The layout of a CSV, its header, and an iterator over blocks of whole records, in UTF-8.

    given : what the caller says of the layout.
    """
    pieces = _pieces(stream, given.encoding, columns.dialect)
    data = next(pieces, b"").lstrip(b"\r\n")
    head = data[:LONGEST_HEAD].decode(errors="replace")
    layout = layout_of(columns, head, given.separator, given.decimal)
    for _ in range(layout.skipped):
        data = data.partition(b"\n")[2]
    data = data.lstrip(b"\r\n")
    end = data.find(b"\n")
    while end >= 0 and data.count(b'"', 0, end) % 2:
        end = data.find(b"\n", end + 1)
    first, rest = (data, b"") if end < 0 else (data[:end], data[end + 1 :])
    header, *others = _split(first, layout.separator)
    if others or not header:
        raise MalformedBody("CSV needs a header line, and lines that end in \\n")
    header = [name.strip() for name in header]
    if not layout.header:
        header, rest = widened(columns.dialect, [], len(header)), data
    elif columns.dialect.extra and rest:
        header = widened(columns.dialect, header, len(_split(rest.partition(b"\n")[0], layout.separator)[0]))
    return layout, header, _blocks(pieces, rest)


def _split(text: bytes, mark: str) -> list[list[str]]:
    """The rows of a CSV text in UTF-8; a single empty row for no text. Raises MalformedBody."""
    try:
        return list(csv.reader(io.StringIO(text.decode(), newline=""), delimiter=mark, strict=True)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedBody(f"not CSV in UTF-8: {error}") from error


def _pieces(stream: Any, encoding: str | None, dialect: Dialect) -> Iterator[bytes]:
    """A stream as UTF-8, from the given encoding, else from UTF-8 or the training file's."""
    decoder, known = getincrementaldecoder(encoding)() if encoding else None, dialect.encoding
    undecided = encoding is None and known != "utf-8-sig"
    while data := stream.read(BLOCK):
        if undecided and not (data.isascii() and 0 not in data):
            decoder, undecided = getincrementaldecoder(encoding_of(data, known, whole=False))(), False
        try:
            yield (data if decoder is None else decoder.decode(data).encode()).removeprefix(BOM_UTF8)
        except UnicodeDecodeError as error:
            raise MalformedBody(f"not CSV in {encoding or known}: {error.reason}; name its encoding") from error


def _blocks(pieces: Iterator[bytes], data: bytes) -> Iterator[bytes]:
    more = True
    while more:
        read = next(pieces, b"")
        more, end = bool(read), len(data)
        if more:
            end = data.rfind(b"\n") + 1
            while data.count(b'"', 0, end) % 2:  # inside a quoted cell: go back to the line in which it begins
                end = data.rfind(b"\n", 0, data.rfind(b'"', 0, end)) + 1
        if end or not more:
            yield data[:end].removesuffix(b"\n").removesuffix(b"\r")
        data = data[end:] + read
        if len(data) > LONGEST:
            raise MalformedBody(f"not CSV: a row has more than {LONGEST} bytes; is a quote never closed?")
