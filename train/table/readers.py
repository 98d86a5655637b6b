"""Opens the files of a table: CSV, Parquet or Excel, recognised by their first bytes."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile, is_zipfile

from train import distributed
from train.errors import DataError
from train.table.csv_files import Csv
from train.table.parquet import Parquet
from train.table.parts import Part
from train.table.reading import Reading, check_exists

OTHERS = re.compile(rb"\s*(?:(<[!?a-zA-Z])|[\[{]\s*[\"{\[])")  # the start of HTML or XML, or of JSON


class Excel(Csv):
    """A sheet of an Excel workbook (.xlsx), read as if it were saved as CSV."""

    @cached_property
    def _sheet(self) -> bytes:
        from openpyxl import load_workbook  # slow to import, and few tables need it

        try:
            book = load_workbook(io.BytesIO(self.path.read_bytes()), read_only=True, data_only=True)
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
        yield io.BufferedReader(io.BytesIO(self._sheet))


def open_parts(path: Path, reading: Reading) -> list[Part]:
    """Open the parts of a table in the order of their names: a file, or each file in a folder.

    As in Spark and Arrow, files whose names begin with . or _ are not parts. Raises DataError.
    """
    check_exists(path)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] not in "._")
        if not files:
            raise DataError(f"{path}: the folder has no part; put CSV or Parquet files into it")
    if len(files) < (ranks := distributed.ranks()):
        raise DataError(f"{path}: {ranks} processes share {len(files)} parts; give a folder of more, or start fewer")
    return [_open(file, reading) for file in files]


def _open(path: Path, reading: Reading) -> Part:
    try:
        with open(path, "rb") as file:
            magic, start = file.read(4), file.read(100)
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error
    if magic == b"\xd0\xcf\x11\xe0":
        raise DataError(f"{path}: an Excel workbook in the old format; save it as .xlsx or CSV")
    if other := OTHERS.match(magic + start):
        what = "HTML or XML" if other[1] else "JSON"
        raise DataError(f"{path}: it holds {what}, not a table; save it as CSV or Parquet")
    kinds: dict[bytes, type[Part]] = {b"PAR1": Parquet, b"PK\3\4": Csv if _is_archive(path) else Excel}
    return kinds.get(magic, Csv)(path, reading)


def _is_archive(path: Path) -> bool:
    """Whether a file is a zip archive of one table. Raises DataError if it has several."""
    if not is_zipfile(path) or "[Content_Types].xml" in (names := ZipFile(path).namelist()):
        return False
    if len(names) != 1:
        raise DataError(f"{path}: a zip archive of {len(names)} files; unpack it, and give the folder or one file")
    return True
