"""The files a table lies in, CSV or Parquet: their columns' names, their cells a block at a time, and their lines."""

import csv
import gzip
import hashlib
import io
import re
import zlib
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from passfail.manifest import MISSING
from train.errors import DataError

CHUNK = 4 << 20  # bytes of CSV parsed at a time; its columns stay in the processor's cache
BATCH = 1 << 15  # rows of Parquet decoded at a time, or fewer: no more than so many cells
CELLS = 1 << 20


def open_parts(path):
    """The parts of a table, in the order of their names: one for a file, one for each file in a folder.

    Files whose names begin with . or _ are not parts, as Spark and Arrow have it. Raises DataError.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file; give one with --data (make: DATA=...)")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] not in "._")
        if not files:
            raise DataError(f"{path}: the folder holds no part; put CSV or Parquet files into it")
    return [_open(file) for file in files]


def _open(path):
    try:
        with open(path, "rb") as file:
            return (Parquet if file.read(4) == b"PAR1" else Csv)(path)
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error


class Part:
    """One file. `blocks` yields jobs, functions without argument that may run in any thread, in the order of rows.

    A job returns {name: (kind, cells)}: ("number", float64 array, NaN for missing), ("text", DictionaryArray of
    trimmed texts, null for missing), or (None, NaN array) where it saw no value. ("other", texts) is a text of a CSV
    file that may differ from what the file says, like a date; asked for by `as_text`, it comes as it stands there.
    """

    def __init__(self, path):
        self.path = path

    def sha256(self):
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def fault(self, row, column, found, remedy):
        """A DataError for the cell in `row` of `column`; row 0 is the part's first, None stands for the header."""
        return DataError(f"{self.path}:{self._line(row)} column '{column}': {found}; {remedy}")


class Csv(Part):
    """UTF-8 text with commas, a header line, and quotes as RFC 4180 has them; gzip or not."""

    def header(self):
        """The names of the columns; they are followed by a row. Raises DataError where line 1 is no header."""
        for chunk in islice(self._chunks(), 1):
            self._check_text(chunk, 0)
        rows = [row for _, row in islice(self._rows(), 2)]
        if not rows:
            raise DataError(f"{self.path}: line 1: the file is empty; it needs a header line and rows")
        names = [name.strip() for name in rows[0]]
        _check(names, f"{self.path}: line 1")
        if len(rows) == 1:
            raise DataError(f"{self.path}: line 2: there is a header but no row below it")
        return names

    def blocks(self, header, names, as_text):
        convert = arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in as_text},
            include_columns=names,
            null_values=sorted(MISSING),
            strings_can_be_null=True,
            true_values=["\0"],  # no cell says so: true and false stay the words they are
            false_values=["\0"],
        )
        start = 0
        for chunk in self._chunks():
            yield partial(self._parse, chunk, start, header, convert)
            start += len(chunk)

    def _parse(self, chunk, start, header, convert):
        self._check_text(chunk, start)
        if chunk[0] in b"\r\n" and not chunk.strip(b"\r\n"):  # strip copies the chunk
            return {}
        read = arrow_csv.ReadOptions(
            use_threads=False, block_size=len(chunk) + 1, column_names=header, skip_rows_after_names=int(start == 0)
        )
        parse = arrow_csv.ParseOptions(newlines_in_values=True)
        try:
            table = arrow_csv.read_csv(pa.BufferReader(chunk), read, parse, convert)
        except pa.ArrowInvalid as error:
            for line, row in self._rows():
                if len(row) != len(header):
                    raise DataError(
                        f"{self.path}: line {line}: {len(row)} cells where the header has {len(header)}; "
                        "correct the row (a comma inside a cell needs quotes)"
                    ) from error
            raise DataError(f"{self.path}: not a CSV table: {str(error).splitlines()[0]}") from error
        # Of one piece each, since the text is one block; combine_chunks would copy it.
        return {name: _plain(table[name].chunk(0), False, "other") for name in table.column_names}

    def _check_text(self, chunk, start):
        if np.frombuffer(chunk, dtype=np.int8).min() > 0:  # ASCII without NUL, seen in one go and without Python's lock
            return
        try:
            chunk.decode()
        except UnicodeDecodeError as error:
            line = self._line_at(start + error.start)
            raise DataError(f"{self.path}: line {line}: not UTF-8 text; save the table as CSV UTF-8") from error
        if b"\0" in chunk:
            line = self._line_at(start + chunk.index(b"\0"))
            raise DataError(f"{self.path}: line {line}: holds a NUL character; save the table as CSV UTF-8")

    def _chunks(self):
        """The text, cut after rows: a line's end with a quote open before it lies inside a cell."""
        with self._open() as file:
            while line := file.read(CHUNK):
                lines, inside = [line], b'"' in line and line.count(b'"') % 2
                while line and (inside or not line.endswith(b"\n")):
                    line = file.readline()
                    lines.append(line)
                    inside ^= line.count(b'"') % 2
                yield b"".join(lines)

    def _rows(self):
        """(line where the row starts, its cells), header included, blank lines left out, as Arrow does."""
        csv.field_size_limit(2**31 - 1)
        with self._open() as file:
            reader = csv.reader(io.TextIOWrapper(file, "utf-8", "replace", newline=""))
            line = 1
            for row in reader:
                if row:
                    yield line, row
                line = reader.line_num + 1

    def _line(self, row):
        number = 0 if row is None else row + 1
        return f" line {next(islice(self._rows(), number, None))[0]}:"

    def _line_at(self, offset):
        with self._open() as file:
            return file.read(offset).count(b"\n") + 1

    @contextmanager
    def _open(self):
        """The text's bytes: decompressed, without a byte order mark. Raises DataError where they can't be read."""
        try:
            with open(self.path, "rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
            with (gzip.open if packed else open)(self.path, "rb") as file:
                if file.read(3) != b"\xef\xbb\xbf":
                    file.seek(0)
                yield file
        except (OSError, EOFError, zlib.error) as error:
            why = getattr(error, "strerror", None) or "its gzip compression is damaged"
            raise DataError(f"{self.path}: can't be read: {why}") from error


class Parquet(Part):
    """A Parquet file; text is trimmed and may say missing as a CSV cell may."""

    def __init__(self, path):
        super().__init__(path)
        with self._damage():
            self.schema = pq.read_schema(path)

    def header(self):
        """The names of the columns but for pandas' nameless index, the numbers of the rows it kept."""
        names = [name for name in self.schema.names if not re.fullmatch(r"__index_level_\d+__", name)]
        _check(names, self.path)
        return names

    def blocks(self, header, names, as_text):
        for name in names:
            if pa.types.is_nested(self.schema.field(name).type):
                kind = self.schema.field(name).type
                raise self.fault(None, name, f"holds {kind}, not one value a row", f"leave it out with --drop '{name}'")
        # Streamed: Arrow would else hold each row group whole, and read the next ones ahead.
        with self._damage(), pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(max(1, min(BATCH, CELLS // len(names))), columns=names):
                yield partial(self._columns, batch, as_text)

    def _columns(self, batch, as_text):
        return {name: self._column(name, batch[name], name in as_text) for name in batch.schema.names}

    def _column(self, name, cells, as_text):
        try:
            return _plain(cells, as_text, "text")
        except pa.ArrowException as error:  # bytes that are no UTF-8, a UUID
            found = f"its {cells.type} can be read neither as numbers nor as text"
            raise self.fault(None, name, found, f"leave it out with --drop '{name}'") from error

    def _line(self, row):
        return "" if row is None else f" row {row + 1}:"

    @contextmanager
    def _damage(self):
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: not a Parquet file: {str(error).splitlines()[0]}; write it again") from error


def _plain(array, as_text, other):
    """(kind, cells) of an Arrow array, see Part.blocks; `other` is the kind of what is neither number nor text."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_null(kind):
        return None, np.full(len(array), np.nan)
    if not as_text and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return "number", array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or as_text:
        other = "text"
    # Of the cells that differ, since there are few of them to a great many rows; NaN becomes "nan", which is missing.
    cells = array.dictionary_encode()
    text = pc.utf8_trim_whitespace(cells.dictionary.cast(pa.string()))
    text = pc.if_else(pc.is_in(text, pa.array(sorted(MISSING))), None, text).dictionary_encode()
    return other, pa.DictionaryArray.from_arrays(text.indices.take(cells.indices), text.dictionary)


def _check(names, where):
    if len(names) == 1:
        raise DataError(f"{where}: only one column, '{names[0]}'; the table needs commas between its columns")
    for index, name in enumerate(names):
        if name == "":
            raise DataError(f"{where}: column {index + 1} has no name; give it one")
        if name in names[:index]:
            raise DataError(f"{where}: two columns are called '{name}'; rename one")
        if not name.isprintable() or set(name) & set('"\\'):
            raise DataError(
                f"{where}: the name of column {index + 1} holds a quote, a backslash or a control character; rename it"
            )
