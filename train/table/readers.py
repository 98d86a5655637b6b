"""The readers of CSV, Parquet and Excel files: column names, blocks of cells, line numbers."""

import codecs
import csv
import gzip
import hashlib
import io
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal, cast
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import structs
from openpyxl import load_workbook
from pyarrow import csv as arrow_csv

from passfail.arrays import Floats
from passfail.manifest import MISSING, Dialect
from train.errors import DataError
from train.table import values
from train.table.dialects import FALLBACK, HEAD, UTF8, describe, encoding_of, sniff
from train.table.schema import Reading

CHUNK = 4 << 20  # bytes of CSV parsed at a time; their columns stay in the CPU's cache
PIECE = 1 << 17  # of those that are compared at a time
BATCH = 1 << 15  # rows of Parquet decoded at a time, or fewer: at most CELLS cells
CELLS = 1 << 20
MOST_FAULTS = 20  # lines that one error names


@dataclass(frozen=True)
class Cells:
    """The cells of one column in a block of m rows.

    Attributes
    ----------
    kind : "number"; "text"; "date" (a date or a time); "other" for cells that must be read again as text, because a
        number would change them; None if every cell is missing.
    numbers : float64 (m,), the number, the index of the text in `texts`, the microseconds since 1970 of a date, or 0
        for a time of day; NaN for missing.
    unit : the unit of all numbers, "" for none.
    thousands : the marks between thousands that some numbers have.
    """

    kind: Literal["number", "text", "date", "other"] | None
    numbers: Floats
    texts: tuple[str, ...] = ()
    unit: str = ""
    thousands: str = ""


Block = dict[str, Cells]
Job = Callable[[], Block]


def open_parts(path: Path, reading: Reading) -> list["Part"]:
    """Open the parts of a table in the order of their names: a file, or each file in a folder.

    As in Spark and Arrow, files whose names begin with . or _ are not parts. Raises DataError.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file; give one with --data (make: DATA=...)")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] not in "._")
        if not files:
            raise DataError(f"{path}: the folder has no part; put CSV or Parquet files into it")
    return [_open(file, reading) for file in files]


def _open(path: Path, reading: Reading) -> "Part":
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error
    kinds: dict[bytes, type[Part]] = {b"PAR1": Parquet, b"PK\3\4": Excel}
    return kinds.get(magic, Csv)(path, reading)


class Part(ABC):
    """One file of a table; `note` and `warnings` are sentences about its layout and its columns."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading
        self.missing = sorted({*MISSING, *reading.na})
        self.dialect = Dialect(missing=reading.na)
        self.warnings: list[str] = []

    @property
    def note(self) -> str:
        """The unusual properties of the file's layout, in words."""
        return ""

    @abstractmethod
    def header(self) -> list[str]:
        """The names of the columns. Raises DataError if they can't be used."""

    @abstractmethod
    def blocks(self, names: Sequence[str], as_text: Set[str]) -> Iterator[Job]:
        """Yield jobs in the order of rows; each returns a Block of `names`, in any thread.

        as_text : the columns whose cells stay texts, exactly as in the file.
        """

    @abstractmethod
    def line(self, row: int | None) -> str:
        """The place of a row (0: the first; None: the header), as a text to follow the file's name."""

    def sha256(self) -> str:
        """The SHA-256 of the file."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def cells(self, array: pa.Array, as_text: bool, decimal: str = ".") -> Cells:
        """Convert an Arrow array to Cells."""
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        kind = array.type
        if pa.types.is_null(kind):
            return Cells(None, np.full(len(array), np.nan))
        if not as_text and pa.types.is_temporal(kind):
            if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
                array = array.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
                return Cells("date", array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
            return Cells("date", np.where(array.is_valid().to_numpy(zero_copy_only=False), 0.0, np.nan))
        if not as_text and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            return self._numbers(array)
        # Only the distinct texts, because they are few; NaN becomes "nan", which is missing.
        coded = array.dictionary_encode()
        texts = pc.utf8_trim_whitespace(coded.dictionary.cast(pa.string()))
        texts = pc.if_else(pc.is_in(texts, pa.array(self.missing)), None, texts).dictionary_encode()
        codes = texts.indices.take(coded.indices).cast(pa.float64()).to_numpy(zero_copy_only=False)
        found = tuple(texts.dictionary.to_pylist())
        if not found:
            return Cells(None, np.full(len(array), np.nan))
        if not as_text and (read := values.numbers(found, decimal)):
            return Cells("number", _recoded(codes, read[0]), unit=read[1], thousands=read[2])
        return Cells("text", codes, found)

    def _numbers(self, array: pa.Array) -> Cells:
        numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if pa.types.is_integer(array.type) and len(array) > array.null_count:
            least, most = (value.as_py() for value in pc.min_max(array).values())
            if max(-least, most) > values.EXACT:
                integers = array.drop_null().to_numpy(zero_copy_only=False)
                if (integers.astype(np.float64).astype(object) != integers.astype(object)).any():
                    return Cells("other", numbers)
        return Cells("number", numbers)


class Csv(Part):
    """Text with one separator, a header line, and quotes after RFC 4180; gzip or not."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path, reading)
        self.dialect = self._found()

    @property
    def note(self) -> str:
        return describe(self.dialect)

    def _found(self) -> Dialect:
        with self._bytes() as file:
            head = file.read(HEAD)
            whole = not file.read(1)
        try:
            encoding = self.reading.encoding or encoding_of(head, whole)
            encoding = UTF8 if codecs.lookup(encoding).name == "utf-8" else encoding
            known = Dialect(encoding=encoding, header=self.reading.header, missing=self.reading.na)
            lines = head.decode(known.encoding, "replace").splitlines(keepends=True)
        except LookupError as error:
            raise DataError(f"{self.path}: unknown encoding '{self.reading.encoding}'; correct --encoding") from error
        return sniff(lines if whole else lines[:-1], known, self.reading.separator, self.reading.decimal)

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
        names = [name.strip() for name in rows[0][1]]
        return {"first": ["", *names], "last": [*names, ""], "": names}[self.dialect.extra]

    def header(self) -> list[str]:
        unnamed = [index for index, name in enumerate(self.columns, 1) if not name]
        if unnamed and not self.dialect.extra:
            places = ", ".join(map(str, unnamed))
            self.warnings = [
                f"{self.path}: column {places} has no name; it is left out, as an index is; name it to use it"
            ]
        names = [name for name in self.columns if name]
        _check(names, f"{self.path}: line {self.dialect.skipped + 1}")
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
        found = {name: self.cells(array, name in as_text, self.dialect.decimal) for name, array in arrays.items()}
        doubtful = self._doubtful(chunk, {name: found[name] for name in found if name not in as_text}, arrays)
        if doubtful:
            texts = self._read(chunk, start, doubtful, set(doubtful))
            for name in doubtful:
                if not all(_faithful(text) for text in texts[name].chunk(0).unique().to_pylist() if text is not None):
                    found[name] = replace(found[name], kind="other")
        return found

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
                or (not pa.types.is_string(arrays[name].type) and _largest(arrays[name]) > values.EXACT)
            )
        ]

    def _read(self, chunk: bytes, start: int, names: list[str], as_text: Set[str]) -> pa.Table:
        read = arrow_csv.ReadOptions(
            use_threads=False,
            block_size=len(chunk) + 1,
            column_names=self.columns,
            skip_rows_after_names=int(start == 0 and self.dialect.header),
        )
        parse = arrow_csv.ParseOptions(delimiter=self.dialect.separator, newlines_in_values=True)
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
            raise self._ragged() or DataError(f"{self.path}: not a CSV table: {str(error).splitlines()[0]}") from error

    def _ragged(self) -> DataError | None:
        """The error for rows whose number of cells differs from the header's, or None."""
        expected = len(self.columns)
        rows = self._rows()
        if self.dialect.header:
            next(rows)
        wrong = islice(((line, len(row)) for line, row in rows if len(row) != expected), MOST_FAULTS)
        header = expected - (self.dialect.extra != "")
        found = [f"{self.path}: line {line}: {cells} cells where the header has {header}" for line, cells in wrong]
        if not found:
            return None
        found[-1] += "; correct the row (a separator inside a cell needs quotes)"
        return DataError("\n".join(found))

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

    def fall_back(self) -> bool:
        """Read the file as Windows-1252 from now on; return whether that is a change."""
        was, self.dialect = self.dialect, structs.replace(self.dialect, encoding=FALLBACK)
        return was != self.dialect

    def _chunks(self) -> Iterator[bytes]:
        """Yield the text as UTF-8, cut after rows; a line's end after an open quote is in a cell."""
        with self._text() as file:
            while line := file.read(CHUNK):
                lines, inside = [line], b'"' in line and line.count(b'"') % 2
                while line and (inside or not line.endswith(b"\n")):
                    line = file.readline()
                    lines.append(line)
                    inside ^= line.count(b'"') % 2
                yield b"".join(lines)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (first line, cells) of each row with the header, without blank lines, as Arrow does."""
        csv.field_size_limit(2**31 - 1)
        with self._text() as file:
            text = io.TextIOWrapper(file, "utf-8", "replace", newline="")
            reader = csv.reader(text, delimiter=self.dialect.separator)
            line = 1
            for row in reader:
                if row:
                    yield line + self.dialect.skipped, row
                line = reader.line_num + 1

    def line(self, row: int | None) -> str:
        number = (row or 0) + int(self.dialect.header and row is not None)
        return f" line {next(islice(self._rows(), number, None))[0]}:"

    def _line_at(self, offset: int) -> int:
        with self._text() as file:
            return file.read(offset).count(b"\n") + 1 + self.dialect.skipped

    @contextmanager
    def _text(self) -> Iterator[BinaryIO]:
        """The file's text as UTF-8, from the header on."""
        with self._bytes() as file:
            text: BinaryIO = file
            if self.dialect.encoding != UTF8:
                text = cast(BinaryIO, _Recoded(file, self.dialect.encoding))
            elif file.read(3) != b"\xef\xbb\xbf":
                file.seek(0)
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
                packed = file.read(2) == b"\x1f\x8b"
            with cast(BinaryIO, gzip.open(self.path, "rb") if packed else open(self.path, "rb")) as text:
                yield text
        except (OSError, EOFError, zlib.error) as error:
            why = getattr(error, "strerror", None) or "its gzip compression is damaged"
            raise DataError(f"{self.path}: can't be read: {why}") from error


class UndecodableError(Exception):
    """A CSV file that was read as UTF-8 is not UTF-8."""


class _Recoded(io.BufferedIOBase):
    """A file in some encoding, read as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self.text = io.TextIOWrapper(file, encoding, newline="")

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        return self.text.read(size).encode()

    read1 = read

    def readline(self, size: int | None = -1) -> bytes:
        return self.text.readline().encode()


class Excel(Csv):
    """A sheet of an Excel workbook (.xlsx), read as if it were saved as CSV."""

    @cached_property
    def _sheet(self) -> bytes:
        try:
            book = load_workbook(self.path, read_only=True, data_only=True)
        except (BadZipFile, KeyError, ValueError, OSError) as error:
            raise DataError(f"{self.path}: not an Excel workbook: {error}; save it again, or as CSV") from error
        name = self.reading.sheet or book.sheetnames[0]
        if name not in book.sheetnames:
            raise DataError(f"{self.path}: there is no sheet '{name}'; the sheets are: {', '.join(book.sheetnames)}")
        text = io.StringIO(newline="")
        csv.writer(text).writerows(book[name].iter_rows(values_only=True))
        return text.getvalue().encode()

    @contextmanager
    def _bytes(self) -> Iterator[BinaryIO]:
        yield io.BytesIO(self._sheet)


class Parquet(Part):
    """A Parquet file; its texts are trimmed and may mean missing, like cells of CSV."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path, reading)
        with self._damage():
            self.schema = pq.read_schema(path)

    def header(self) -> list[str]:
        """The names of the columns, without the unnamed index that pandas adds."""
        names = [name for name in self.schema.names if not re.fullmatch(r"__index_level_\d+__", name)]
        _check(names, str(self.path))
        return names

    def blocks(self, names: Sequence[str], as_text: Set[str]) -> Iterator[Job]:
        for name in names:
            if pa.types.is_nested(kind := self.schema.field(name).type):
                found = f"holds {kind}, not one value a row"
                raise DataError(f"{self.path}: column '{name}': {found}; leave it out with --drop '{name}'")
        # Stream the file: otherwise Arrow would hold each whole row group, and read the next ones ahead.
        with self._damage(), pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(max(1, min(BATCH, CELLS // len(names))), columns=list(names)):
                yield partial(self._block, batch, as_text)

    def _block(self, batch: pa.RecordBatch, as_text: Set[str]) -> Block:
        return {name: self._column(name, batch[name], name in as_text) for name in batch.schema.names}

    def _column(self, name: str, array: pa.Array, as_text: bool) -> Cells:
        try:
            return self.cells(array, as_text)
        except pa.ArrowException as error:  # such as bytes that are not UTF-8, or a UUID
            found = f"its {array.type} can be read neither as numbers nor as text"
            raise DataError(f"{self.path}: column '{name}': {found}; leave it out with --drop '{name}'") from error

    def line(self, row: int | None) -> str:
        return "" if row is None else f" row {row + 1}:"

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: not a Parquet file: {str(error).splitlines()[0]}; write it again") from error


def _recoded(codes: Floats, numbers: Sequence[float]) -> Floats:
    """Map codes (m,), indices or NaN, to numbers[code]; NaN stays."""
    known = ~np.isnan(codes)
    found = np.full(len(codes), np.nan)
    found[known] = np.asarray(numbers, dtype=np.float64)[codes[known].astype(np.intp)]
    return found


def _has_padded(chunk: bytes, separator: str) -> bool:
    """Whether a cell may start with a 0 followed by a digit or an x."""
    data, marks = np.frombuffer(b"\n" + chunk, dtype=np.uint8), np.array([*f'{separator}\n" '.encode()], dtype=np.uint8)
    for start in range(0, len(data) - 2, PIECE):
        before, zero, after = (data[start + at : min(start + PIECE, len(data) - 2) + at] for at in range(3))
        found = (zero == ord("0")) & ((after - np.uint8(ord("0")) < 10) | (after | 32 == ord("x")))
        if np.isin(before[found], marks).any():
            return True
    return False


def _largest(numbers: pa.Array) -> float:
    """The largest absolute value of an Arrow array."""
    return max(abs(bound.as_py()) for bound in pc.min_max(numbers).values())


def _faithful(text: str) -> bool:
    """Whether Arrow's number for a text is the text's meaning."""
    text = text.strip()
    return not values.PADDED.fullmatch(text) and not values.HEXADECIMAL.fullmatch(text) and values.is_exact(text)


def _check(names: Sequence[str], where: str) -> None:
    if len(names) == 1:
        raise DataError(f"{where}: only one column, '{names[0]}'; name the separator of its columns with --separator")
    for index, name in enumerate(names):
        if name in names[:index]:
            raise DataError(f"{where}: two columns are called '{name}'; rename one")
        if not name.isprintable() or set(name) & set('"\\'):
            raise DataError(
                f"{where}: the name of column {index + 1} holds a quote, a backslash or a control character; rename it"
            )
