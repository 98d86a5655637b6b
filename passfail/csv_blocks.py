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
from passfail.batches import TEXT, Answered, Scorer, array, arrow, is_plain
from passfail.codecs.csv_rows import WORDS, csv_line
from passfail.codecs.layouts import LONGEST_HEAD, Layout, column_names, encoding_of, is_note, layout_of, widened
from passfail.columns import Columns, InvalidValue
from passfail.errors import MalformedBody
from passfail.manifest import MISSING, Dialect

BLOCK = 2**18  # bytes answered at a time: their rows stay in the CPU's cache, and each core has some
ENCODER = msgspec.json.Encoder()
LONGEST_RECORD = 2**26  # bytes of a record: an unclosed quote must not fill the memory


class CsvOptions(NamedTuple):
    """The caller's options on the layout of a CSV; None: detect it."""

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None


DETECTED = CsvOptions()


class Scored(NamedTuple):
    """A block of n rows with its answers.

    Attributes
    ----------
    data : the output: an Arrow table, or CSV in which each row follows a line's end.
    outcome : the target (n,), 1 or 0, NaN if it is neither; None if the table has no target.
    """

    answered: Answered
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
        self, scorer: Scorer, outcome: Callable[[pa.Array], Floats], layout: Layout, header: list[str], parquet: bool
    ) -> None:
        self._scorer, self._outcome_of, self._parquet = scorer, outcome, parquet
        self._mark, self._decimal, self._names = layout.separator, layout.decimal, header
        self._written_decimal = layout.decimal if self._mark != "," else "."
        hint = f" (the header holds no {self._mark!r}: give --separator)" if len(header) == 1 else ""
        scorer.check(header, f"line {layout.skipped + 1}", hint)
        self._order = scorer.columns.order(header)
        manifest = scorer.model.manifest
        target = manifest.target.name
        self._outcome = header.index(target) if header.count(target) == 1 else None
        needed = {*self._order, *([] if self._outcome is None else [self._outcome])}
        self._needed = range(len(header)) if parquet else sorted(needed)
        found = zip(self._order, scorer.columns, strict=True)
        self._numeric = {at: column for at, column in found if column.codes is None and header[at] == column.name}
        self._missing = sorted(MISSING.union(scorer.columns.dialect.missing))
        identity = [manifest.name, str(manifest.version)]
        self._verdicts = [self._text([WORDS[flag], manifest.target.labels[flag]]) for flag in (True, False)]
        self._stables = {flag: self._text([WORDS[flag], *identity]) for flag in WORDS}

    def _text(self, cells: Sequence[str]) -> pa.Scalar:
        """Cells of one row, each after a separator, as Arrow takes them."""
        return _bytes([csv_line(["", *cells], self._mark)])[0]

    def __call__(self, block: bytes) -> Scored:
        plain = None if self._scorer.columns.dialect.notes else self._plain(block)
        lines, cells, ragged = plain or self._careful(block)
        answered = self._scorer.answer([cells[at] for at in self._order], ragged, self._decimal)
        outcome = None if self._outcome is None else self._outcome_of(cells[self._outcome])
        if not self._parquet:
            return Scored(answered, self._written(lines, answered), outcome)
        for at, x in zip(self._order, answered.x.T, strict=True):
            if at in self._numeric:
                cells[at] = pc.if_else(arrow(np.isnan(x)), pa.NULL, arrow(x))
        table = pa.table([cells[at] for at in range(len(self._names))], names=self._names)
        return Scored(answered, self._scorer.extended(table, answered), outcome)

    def _plain(self, block: bytes) -> tuple[pa.Array, dict[int, pa.Array], dict[int, InvalidValue]] | None:
        """Split a block without quotes: (lines, {index of a column: cells}, {}); else None.

        Each line begins with the previous line's end.
        """
        block = block.replace(b"\r\n", b"\n") if b"\r" in block else block
        data = b"\n" + block
        starts = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        if any(mark in block for mark in (b'"', b"\r", b"\0")) or (np.diff(starts, append=len(data)) == 1).any():
            return None
        cells = self._parsed(block, dict.fromkeys(self._numeric, pa.float64())) or self._parsed(block, {})
        return (_binary(data, starts), cells, {}) if cells and len(cells[self._order[0]]) == len(starts) else None

    def _parsed(self, block: bytes, kinds: Mapping[int, pa.DataType]) -> dict[int, pa.Array] | None:
        """Parse the needed cells, as `kinds` says or as texts; None if a row or number is not plain."""
        names = [str(at) for at in range(len(self._names))]
        text = TEXT if self._parquet else pa.dictionary(pa.int32(), TEXT)
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(block),
                pa.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
                pa.csv.ParseOptions(delimiter=self._mark, quote_char=False, ignore_empty_lines=False),
                pa.csv.ConvertOptions(
                    column_types={names[at]: kinds.get(at, text) for at in self._needed},
                    include_columns=[names[at] for at in self._needed],
                    null_values=self._missing,
                    decimal_point=self._decimal,
                ),
            )
        except pa.ArrowInvalid:
            return None
        cells = {at: array(table[names[at]]) for at in self._needed}
        plain = all(is_plain(self._numeric[at], cells[at]) for at in kinds)
        return cells if plain else None

    def _careful(self, block: bytes) -> tuple[pa.Array, dict[int, pa.Array], dict[int, InvalidValue]]:
        """Split a block with Python's csv module; rows with a wrong number of cells are refused."""
        d, dialect = len(self._names), self._scorer.columns.dialect
        rows = [row for row in _split(block, self._mark, dialect.spaced) if row]
        if dialect.notes:
            rows = [row for row in rows if not is_note(row, d)]
        if dialect.padded:
            rows = [row + [""] * (d - len(row)) for row in rows]
        ragged = {at: InvalidValue(f"{len(row)} cells where the header has {d}")
                  for at, row in enumerate(rows) if len(row) != d}  # fmt: skip
        for at in ragged:
            rows[at] = (rows[at] + [""] * d)[:d]
        lines = _bytes([f"\n{csv_line(row, self._mark)}" for row in rows])
        return lines, {at: arrow([row[at] for row in rows]) for at in self._needed}, ragged

    def _written(self, lines: pa.Array, answered: Answered) -> memoryview:
        """The lines with the answer's cells, joined by Arrow without a Python object for each row."""
        n, answers, errors = len(lines), answered.answers, answered.errors()
        if not n:
            return memoryview(b"")
        more, mark, ends = list(answered.more.values()), self._mark, self._stables
        outside = {row: ", ".join(names) for row, names in enumerate(answers.outside or []) if names}
        found = [
            pc.if_else(arrow(answers.verdict), *self._verdicts),
            self._numbers([answers.probability, answers.logit]),
            ends[None] if answers.stable is None else pc.if_else(arrow(answers.stable), ends[True], ends[False]),
            self._cells(outside, n),
            *([self._numbers(more)] if more else []),
        ]
        if errors:
            bad = np.zeros(n, dtype=bool)
            bad[list(errors)] = True
            empty = _bytes([mark * cells for cells in (2, 2, 3, 1, len(more))])
            found = [pc.if_else(arrow(bad), none, cells) for none, cells in zip(empty, found, strict=False)]
        if not self._scorer.strict:
            found.append(self._cells(errors, n))
        joined = pc.binary_join_element_wise(lines, *found, _bytes([""])[0])
        return memoryview(joined.buffers()[2])[: int(np.frombuffer(joined.buffers()[1], np.int32)[n])]

    def _numbers(self, columns: Sequence[Floats]) -> pa.Array:
        """Write numbers (n,), n > 0, of several columns as the service does, each after a separator."""
        text = bytearray()
        ENCODER.encode_into(np.column_stack(columns).ravel().tolist(), text)
        text[0] = ord(",")  # it was a list's bracket
        del text[-1]
        starts = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(","))[:: len(columns)]
        if (self._mark, self._written_decimal) != (",", "."):
            text = text.replace(b",", self._mark.encode()).replace(b".", self._written_decimal.encode())
        return _binary(text, starts)

    def _cells(self, texts: Mapping[int, str], n: int) -> pa.Array | pa.Scalar:
        """Write {row: text} as n cells, each after a separator."""
        if not texts:
            return self._text([""])
        written = {text: csv_line(["", text], self._mark) for text in {"", *texts.values()}}
        return _bytes([written[texts.get(row, "")] for row in range(n)])


def _bytes(texts: Sequence[str]) -> pa.Array:
    return arrow(texts).cast(pa.binary())


def _binary(data: bytes | bytearray, starts: Any) -> pa.Array:
    """Cut bytes at the starts (n,) into an Arrow array of n pieces."""
    offsets = np.append(starts, len(data)).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def records(stream: Any, columns: Columns, options: CsvOptions) -> tuple[Layout, list[str], Iterator[bytes]]:
    """The layout of a CSV, its header, and an iterator over blocks of whole records, in UTF-8.

    options : the caller's, on the layout.
    """
    pieces = _pieces(stream, options.encoding, columns.dialect)
    data = next(pieces, b"").lstrip(b"\r\n")
    head = data[:LONGEST_HEAD].decode(errors="replace")
    layout = layout_of(columns, head, options.separator, options.decimal)
    for _ in range(layout.skipped):
        data = data.partition(b"\n")[2]
    data = data.lstrip(b"\r\n")
    end = data.find(b"\n")
    while end >= 0 and data.count(b'"', 0, end) % 2:
        end = data.find(b"\n", end + 1)
    first, rest = (data, b"") if end < 0 else (data[:end], data[end + 1 :])
    header, *others = _split(first, layout.separator, columns.dialect.spaced)
    if others or not header:
        raise MalformedBody("CSV needs a header line, and lines that end in \\n")
    header = column_names(header)
    if not layout.header:
        header, rest = widened(columns.dialect, [], len(header)), data
    elif columns.dialect.extra and rest:
        header = widened(columns.dialect, header, len(_split(rest.partition(b"\n")[0], layout.separator)[0]))
    return layout, header, _blocks(pieces, rest)


def _split(text: bytes, mark: str, spaced: bool = False) -> list[list[str]]:
    """The rows of a CSV text in UTF-8; a single empty row for no text. Raises MalformedBody."""
    try:
        lines = io.StringIO(text.decode(), newline="")
        return list(csv.reader(lines, delimiter=mark, strict=True, skipinitialspace=spaced)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedBody(f"not CSV in UTF-8: {error}") from error


def _pieces(stream: Any, encoding: str | None, dialect: Dialect) -> Iterator[bytes]:
    """A stream as UTF-8, from the given encoding, else from UTF-8 or the training file's."""
    decoder, known = getincrementaldecoder(encoding)() if encoding else None, dialect.encoding
    undecided, alone, first = encoding is None and known != "utf-8-sig", False, True
    while data := stream.read(BLOCK):
        if undecided and not (data.isascii() and 0 not in data):
            decoder, undecided = getincrementaldecoder(encoding_of(data, known, whole=False))(), False
        try:
            text = (data if decoder is None else decoder.decode(data).encode()).removeprefix(BOM_UTF8)
        except UnicodeError as error:
            raise MalformedBody(f"not CSV in {encoding or known}: {error}; name its encoding") from error
        alone, first = (b"\r" in text and b"\n" not in text) if first else alone, False
        yield text.replace(b"\r", b"\n") if alone else text  # a carriage return alone ends a line


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
        if len(data) > LONGEST_RECORD:
            raise MalformedBody(f"not CSV: a row has more than {LONGEST_RECORD} bytes; is a quote never closed?")
