"""CSV files, read a block at a time, with the cells that Arrow would change."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from zipfile import BadZipFile, ZipFile

import numpy as np
import pyarrow as pa
from msgspec import structs
from pyarrow import csv as arrow_csv

from passfail.codecs.csv_rows import csv_line
from passfail.codecs.layouts import column_names, is_note
from passfail.commandline import option
from passfail.manifest import MISSING, Dialect
from passfail.spelling import EXACT, PADDED, is_exact
from train.errors import DataError
from train.table import values
from train.table.dialects import FALLBACK, HEAD, UTF8, describe, encoding_of, sniff
from train.table.parts import Block, Job, Part, largest, usable
from train.table.reading import Reading

CHUNK = 4 << 20  # bytes of CSV parsed at a time; their columns stay in the CPU's cache
PIECE = 1 << 17  # of those that are compared at a time
# The fates of a row whose number of cells is not the header's.
NOTE, LEFT_OUT, FILLED = (
    "lines of notes left out", "rows left out for their number of cells", "rows filled up with missing cells"
)  # fmt: skip


class Csv(Part):
    """Text with one separator, a header line, and quotes after RFC 4180; gzip or not."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path, reading)
        self.ends: str | None = ""  # None: a carriage return alone ends a line
        self.uneven: dict[tuple[int, int], str] = {}  # {(start of the chunk, number of the row): its fate}
        self.dialect = self._found()
        self.missing = sorted({*MISSING, *self.dialect.missing})

    @property
    def note(self) -> str:
        counts = Counter(self.uneven.values())
        return ", ".join(filter(None, [describe(self.dialect), *(f"{what}: {n}" for what, n in counts.items())]))

    def _found(self) -> Dialect:
        with self._bytes() as file:
            head = file.read(HEAD)
            whole = not file.read(1)
        try:
            encoding = self.reading.encoding or encoding_of(head, whole)
            encoding = UTF8 if codecs.lookup(encoding).name == "utf-8" else encoding
            padded = self.reading.ragged == "pad"
            known = Dialect(encoding=encoding, header=self.reading.header, missing=self.reading.na, padded=padded)
            text = head.decode(known.encoding, "replace")
            self.ends = None if "\r" in text and "\n" not in text else ""
            lines = text.splitlines(keepends=True)
        except LookupError as error:
            raise DataError(f"{self.path}: unknown encoding '{self.reading.encoding}'; correct --encoding") from error
        found = sniff(lines if whole else lines[:-1], known, self.reading.separator, self.reading.decimal)
        mark = re.escape(found.separator)
        spaced = found.separator != " " and re.search(rf'^[^"\n]*{mark} +"', text, re.MULTILINE) is not None
        return structs.replace(found, spaced=spaced)

    @cached_property
    def columns(self) -> list[str]:
        """The names of all columns in the file's order; "" for a column without a name."""
        for chunk in islice(self._chunks(), 1):
            self._check_text(chunk, 0)
        rows = list(islice(self._rows(), 2))
        where = f"{self.path}: line {rows[0][0] if rows else 1}"
        if not rows:
            raise DataError(f"{where}: the file is empty; it needs a header line and rows")
        if not self.dialect.header:
            return [f"column{index}" for index in range(1, len(rows[0][1]) + 1)]
        if len(rows) == 1:
            line = rows[0][0] + 1
            raise DataError(f"{self.path}: line {line}: there is a header but no row below it; add rows")
        names = column_names(rows[0][1])
        return {"first": ["", *names], "last": [*names, ""], "": names}[self.dialect.extra]

    def header(self) -> list[str]:
        names = [name for name in self.columns if name or not self.dialect.extra]
        where = f"{self.path}: line {self.dialect.skipped + 1}"
        names, self.warnings, self.unnamed = usable(names, where)
        return names

    def blocks(self, names: Sequence[str], as_text: Set[str]) -> Iterator[Job]:
        start = 0
        for chunk in self._chunks():
            yield partial(self._parse, chunk, start, list(names), as_text)
            start += len(chunk)

    def _parse(self, chunk: bytes, start: int, names: list[str], as_text: Set[str]) -> Block:
        self._check_text(chunk, start)
        if chunk[0] in b"\r\n" and not chunk.strip(b"\r\n"):  # strip copies the chunk
            return {}
        table = self._read(chunk, start, names, as_text)
        if not table.num_rows:
            return {}
        # Each column has one chunk, because the text is one block; combine_chunks would copy it.
        arrays = {name: table[name].chunk(0) for name in table.column_names}
        self.blank |= all(array.null_count for array in arrays.values()) and self._has_blank(chunk)
        found = {name: self.cells(array, name in as_text, self.dialect.decimal) for name, array in arrays.items()}
        for name, array in arrays.items():  # Arrow reads any NaN, such as nan(ind)
            if pa.types.is_floating(array.type) and np.count_nonzero(np.isnan(found[name].numbers)) > array.null_count:
                found[name] = replace(found[name], kind="other")
        doubtful = self._doubtful(chunk, {name: found[name] for name in found if name not in as_text}, arrays)
        if doubtful:
            texts = self._read(chunk, start, doubtful, set(doubtful))
            for name in doubtful:
                if not all(_faithful(text) for text in texts[name].chunk(0).unique().to_pylist() if text is not None):
                    found[name] = replace(found[name], kind="other")
        return found

    def _has_blank(self, chunk: bytes) -> bool:
        """Whether a row of the chunk has separators alone."""
        empty = b"\n" + self.dialect.separator.encode() * (len(self.columns) - 1)
        return chunk.endswith(empty) or any(empty + end in chunk for end in (b"\r", b"\n"))

    def _doubtful(self, chunk: bytes, found: Block, arrays: dict[str, pa.Array]) -> list[str]:
        """The columns of numbers that may be codes with leading zeros, hexadecimal, or too large."""
        integers = any(pa.types.is_integer(arrays[name].type) for name in found)
        padded = integers and _has_padded(chunk, self.dialect.separator)
        return [
            name
            for name, cells in found.items()
            if cells.kind in ("number", "other")
            and (
                (padded and pa.types.is_integer(arrays[name].type))
                or (not pa.types.is_string(arrays[name].type) and largest(cells.numbers) >= EXACT)
            )
        ]

    def _read(self, chunk: bytes, start: int, names: list[str], as_text: Set[str]) -> pa.Table:
        read = arrow_csv.ReadOptions(
            use_threads=False,
            block_size=len(chunk) + 1,
            column_names=self.columns,
            skip_rows_after_names=int(start == 0 and self.dialect.header),
        )

        def uneven(row: arrow_csv.InvalidRow) -> str:
            if (became := self._fate(row.actual_columns, row.text)) == FILLED:
                return "error"
            self.uneven[start, row.number] = became
            return "skip"

        mark = self.dialect.separator
        parse = arrow_csv.ParseOptions(delimiter=mark, newlines_in_values=True, invalid_row_handler=uneven)
        convert = arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in as_text},
            include_columns=names,
            null_values=self.missing,
            strings_can_be_null=True,
            true_values=["\0"],  # no cell has this value, so true and false stay texts
            false_values=["\0"],
            decimal_point=self.dialect.decimal,
        )
        try:
            return arrow_csv.read_csv(pa.BufferReader(chunk), read, parse, convert)
        except pa.ArrowInvalid as error:
            if self.reading.ragged != "pad" or (padded := self._padded(chunk, start)) == chunk:
                raise DataError(f"{self.path}: not a CSV table: {str(error).splitlines()[0]}") from error
            return self._read(padded, start, names, as_text)

    def _padded(self, chunk: bytes, start: int) -> bytes:
        """The rows of a chunk, the short ones filled up with empty cells."""
        lines, text = [], io.StringIO(chunk.decode(), newline="")
        for number, row in enumerate(csv.reader(text, delimiter=self.dialect.separator)):
            if row and len(row) < len(self.columns) and self._fate(len(row), row[0]) == FILLED:
                row += [""] * (len(self.columns) - len(row))
                self.uneven[start, -number] = FILLED
            lines.append(csv_line(row, self.dialect.separator) + "\n")
        return "".join(lines).encode()

    def _fate(self, cells: int, text: str) -> str:
        """The fate of a row with a number of cells that is not the header's."""
        padded = self.reading.ragged == "pad" and cells < len(self.columns)
        return NOTE if self._is_note(cells, text) else FILLED if padded else LEFT_OUT

    def _is_note(self, cells: int, text: str) -> bool:
        """Whether a row is a note in the table, such as `(40 rows)`: one text; --strict refuses it."""
        return cells == 1 and not self.reading.strict and is_note([text], len(self.columns))

    def _stays(self, row: Sequence[str]) -> bool:
        return len(row) == len(self.columns) or self._fate(len(row), row[0]) == FILLED

    def faults(self) -> list[tuple[str, str]]:
        if self.reading.ragged or LEFT_OUT not in self.uneven.values():
            return []
        expected = len(self.columns)
        rows = islice(self._rows(), int(self.dialect.header), None)
        wrong = [(line, row) for line, row in rows if len(row) != expected and not self._is_note(len(row), row[0])]
        way = option("--ragged", "drop" if any(len(row) > expected for _, row in wrong) else "pad")
        remedy = f"correct the row, or fill it up with missing cells by {way}"
        if self.dialect.separator == " ":
            way, remedy = "", "cells that are aligned by several spaces can't be read: save the table as CSV"
        elif "\n" in "".join(wrong[0][1]):
            way, remedy = "", "correct the row: a quote opens in it and is closed lines below"
        elif way.endswith("drop"):
            remedy = f"correct the row (a separator inside a cell needs quotes), or leave it out by {way}"
        header = expected - (self.dialect.extra != "")
        found = ((line, f"{len(row)} cells where the header has {header}") for line, row in wrong)
        return [(f"{self.path}: line {line}: {cells}; {remedy}", way) for line, cells in found]

    def _check_text(self, chunk: bytes, start: int) -> None:
        if np.frombuffer(chunk, dtype=np.int8).min() > 0:  # ASCII without NUL, in one call
            return
        try:
            chunk.decode()
        except UnicodeDecodeError as error:
            if self.reading.encoding is None:
                raise UndecodableError from error
            raise self._undecodable(f" line {self._line_at(start + error.start)}:") from error
        if b"\0" in chunk:
            line = self._line_at(start + chunk.index(b"\0"))
            raise DataError(f"{self.path}: line {line}: holds a NUL character; save the table as CSV UTF-8")

    def _undecodable(self, line: str = "") -> DataError:
        encoding = self.dialect.encoding.removesuffix("-sig")
        remedy = "name its encoding with --encoding, or save the table as CSV UTF-8"
        return DataError(f"{self.path}:{line} not text in the encoding {encoding}; {remedy}")

    def fall_back(self) -> None:
        """Read the file as Windows-1252 from now on."""
        self.dialect = structs.replace(self.dialect, encoding=FALLBACK)

    def _chunks(self) -> Iterator[bytes]:
        """Yield the text as UTF-8, cut after rows; a line's end after an open quote is in a cell."""
        with self._text() as file:
            while line := file.read(CHUNK):
                lines, inside = [line], b'"' in line and line.count(b'"') % 2
                while line and (inside or not line.endswith(b"\n")):
                    line = file.readline()
                    lines.append(line)
                    inside ^= line.count(b'"') % 2
                chunk = b"".join(lines)
                yield self._without_spaces(chunk) if self.dialect.spaced else chunk

    def _without_spaces(self, chunk: bytes) -> bytes:
        """The text without the spaces before an opening quote: Arrow reads them as the cell."""
        mark = re.escape(self.dialect.separator.encode())
        return re.sub(rb'("[^"]*")|(?:^|(?<=%b)) +(?=")' % mark, rb"\1", chunk, flags=re.MULTILINE)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (first line, cells) of each row with the header, without blank lines, as Arrow does."""
        csv.field_size_limit(2**31 - 1)
        with self._text() as file:
            text = io.TextIOWrapper(file, "utf-8", "replace", newline="")
            reader = csv.reader(text, delimiter=self.dialect.separator, skipinitialspace=self.dialect.spaced)
            line = 1
            for row in reader:
                if row:
                    yield line + self.dialect.skipped, row
                line = reader.line_num + 1

    def line(self, row: int | None) -> str:
        number = (row or 0) + int(self.dialect.header and row is not None)
        rows = (one for at, one in enumerate(self._rows()) if at == 0 or self._stays(one[1]))
        return f" line {next(islice(rows, number, None))[0]}:"

    def _line_at(self, offset: int) -> int:
        with self._text() as file:
            return file.read(offset).count(b"\n") + 1 + self.dialect.skipped

    @contextmanager
    def _text(self) -> Iterator[BinaryIO]:
        """The file's text as UTF-8, from the header on."""
        with self._bytes() as file:
            text: BinaryIO = file
            if self.dialect.encoding != UTF8 or self.ends is None:
                text = cast(BinaryIO, _Recoded(file, self.dialect.encoding, self.ends))
            elif cast(io.BufferedReader, file).peek(3)[:3] == b"\xef\xbb\xbf":
                file.read(3)
            try:
                for _ in range(self.dialect.skipped):
                    text.readline()
                yield text
            except UnicodeError as error:
                raise self._undecodable() from error

    @contextmanager
    def _bytes(self) -> Iterator[BinaryIO]:
        """The file's bytes, decompressed. Raises DataError if they can't be read."""
        try:
            with open(self.path, "rb") as file:
                magic = file.read(4)
                file.seek(0)
                unpacked = next((opened(file) for start, opened in OPENERS.items() if magic.startswith(start)), file)
                yield cast(BinaryIO, unpacked)
        except (OSError, EOFError, zlib.error, BadZipFile) as error:
            why = getattr(error, "strerror", None) or "its compression is damaged"
            raise DataError(f"{self.path}: can't be read: {why}") from error


def _only_file(file: BinaryIO) -> IO[bytes]:
    archive = ZipFile(file)
    try:
        return archive.open(archive.namelist()[0])
    except RuntimeError as error:
        raise OSError(0, "the archive is encrypted, or its compression method is unknown; unpack it") from error


# {the first bytes of a compressed file: what unpacks it}
OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\x28\xb5\x2f\xfd": lambda file: io.BufferedReader(pa.CompressedInputStream(file, "zstd")),
    b"PK\3\4": _only_file,
}


class UndecodableError(Exception):
    """A CSV file that was read as UTF-8 is not UTF-8."""


class _Recoded(io.BufferedIOBase):
    """A file in some encoding, read as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str, ends: str | None) -> None:
        self.text = io.TextIOWrapper(file, encoding, newline=ends)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        return self.text.read(size).encode()

    read1 = read

    def readline(self, size: int | None = -1) -> bytes:
        return self.text.readline().encode()


def _has_padded(chunk: bytes, separator: str) -> bool:
    """Whether a cell may start with a 0 followed by a digit or an x."""
    data, marks = np.frombuffer(b"\n" + chunk, dtype=np.uint8), np.array([*f'{separator}\n" '.encode()], dtype=np.uint8)
    for start in range(0, len(data) - 2, PIECE):
        before, zero, after = (data[start + at : min(start + PIECE, len(data) - 2) + at] for at in range(3))
        found = (zero == ord("0")) & ((after - np.uint8(ord("0")) < 10) | (after | 32 == ord("x")))
        found &= (before - np.uint8(ord("0")) > 9) | (before == ord(separator))  # most zeros are behind a digit
        if np.isin(before[found], marks).any():
            return True
    return False


def _faithful(text: str) -> bool:
    """Whether Arrow's number for a text is the text's meaning."""
    text = text.strip()
    return not PADDED.fullmatch(text) and not values.HEXADECIMAL.fullmatch(text) and is_exact(text)
