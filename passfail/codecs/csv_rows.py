"""CSV to x, strictly, and the table back with the answer's columns.

A table of plain cells, which is nearly every table, is split by the bytes' own methods and read as JSON; where that
fails, be it a quoted cell, a number written otherwise or a mistake, the csv module reads it cell by cell and says what
is wrong. Both give the same x and the same answer.
"""

import csv
import io
import math
from array import array
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from passfail.arrays import Bools, Floats
from passfail.codecs.answers import added, chosen, names
from passfail.columns import Columns, InvalidValue, floats, invalid
from passfail.errors import InvalidInstance, MalformedBody, Problem
from passfail.manifest import Manifest

T = TypeVar("T")
WORDS = {True: "true", False: "false", None: ""}
SLICE = 2**15  # bytes taken at a time: about a thousand rows, so that what is made of them stays in the CPU's cache
CELLS = bytes(set(range(256)) - set(b",\n"))  # all bytes that end no cell and no line
NUMBERS, NULLABLE_NUMBERS = msgspec.json.Decoder(list[float]), msgspec.json.Decoder(list[float | None])


class CsvTable(NamedTuple):
    """A table as it was sent.

    Attributes
    ----------
    header : the columns' names.
    slices : makes an iterator over the rows as lines of UTF-8, in lists, none of them empty.
    """

    header: list[str]
    slices: Callable[[], Iterable[list[bytes]]]


class CsvRows:
    """The decoder and encoder of one model's rows in CSV."""

    def __init__(self, manifest: Manifest, columns: Columns) -> None:
        self._columns, self._answer_names = columns, names(manifest)
        labels, identity = manifest.target.labels, [manifest.name, str(manifest.version)]
        self._verdicts: dict[bool | None, bytes] = {
            flag: f",{csv_line([WORDS[flag], labels[flag]])},".encode() for flag in (False, True)
        }
        self._stables = {flag: f",{csv_line([WORDS[flag], *identity])}\n".encode() for flag in WORDS}

    def read(self, body: bytes) -> tuple[Floats, CsvTable]:
        """Decode a table whose header line names the features in any order.

        Returns
        -------
        x, float64 (n, d), and the table.

        Raises
        ------
        MalformedBody, BodyTooLarge, InvalidInstance : the last names the places that are wrong.
        """
        body = body.removeprefix(BOM_UTF8)
        found = None if b'"' in body else self._plain(body)
        return found or self._careful(body)

    def write(
        self,
        verdict: Bools,
        logit: Floats,
        probability: Floats,
        stable: Bools | None,
        table: CsvTable,
        outside: Sequence[Sequence[str]] | None = None,
    ) -> bytes:
        """Encode the table as it was sent, with the answer's columns added; (n,) each, as `JsonRows.write`.

        The column `outside` is there where some row has such features.
        """
        given = self._answer_names if outside is None else [*self._answer_names, "outside"]
        header = [*table.header, *added(table.header, given)]
        parts, at = [csv_line(header).encode(), b"\n"], 0
        for lines in table.slices():
            n, rows = len(lines), slice(at, at + len(lines))
            pieces = [b""] * (4 * n)
            pieces[0::4] = lines
            pieces[1::4] = chosen(self._verdicts, verdict[rows], n)
            pieces[2::4] = _pairs(probability[rows], logit[rows])
            ends = chosen(self._stables, None if stable is None else stable[rows], n)
            pieces[3::4] = ends if outside is None else list(map(_with_outside, outside[rows], ends))
            parts.append(b"".join(pieces))
            at += n
        return b"".join(parts)

    def _plain(self, body: bytes) -> tuple[Floats, CsvTable] | None:
        """What `read` returns, or None where the table is not plain."""
        body = body.replace(b"\r\n", b"\n")
        if b"\r" in body or b"\0" in body:
            return None
        first, _, rest = body.partition(b"\n")
        if first.count(b",") != len(self._columns) - 1:
            return None
        header = [name.strip() for name in first.decode(errors="replace").split(",")]
        ends = rest.count(b"\n")
        self._columns.check_rows(ends // 2)  # as many lines may be empty
        if ends > self._columns.max_rows:
            self._columns.check_rows(sum(1 for lines in _slices(rest) for line in lines.split(b"\n") if line))
        if sorted(header) != sorted(self._columns.by_name):
            return None
        rest = rest.removesuffix(b"\n")
        order = self._columns.order(header)
        parts = [np.empty((0, len(header)))]
        for lines in _slices(rest):
            try:
                parts.append(self._numbers(lines, order))
            except (msgspec.MsgspecError, KeyError, UnicodeDecodeError):
                return None
        x = np.concatenate(parts)
        self._columns.check_rows(len(x))
        return x, CsvTable(header, lambda: (lines.split(b"\n") for lines in _slices(rest)))

    def _numbers(self, lines: bytes, order: Sequence[int]) -> Floats:
        """Lines, of the features in that order -> float64 (n, d).

        Raises MsgspecError or KeyError where a cell is not plainly right, or a line has another number of them.
        """
        d, marks = len(order), lines.translate(None, CELLS) + b"\n"
        n = len(marks) // d
        if marks != (b"," * (d - 1) + b"\n") * n:
            raise KeyError
        text = lines.replace(b"\n", b",")
        if not (self._columns.nullable or self._columns.categorical):
            return floats(_decoded(NUMBERS, text, d * n)).reshape(n, d).take(order, axis=1)
        x, cells = np.empty((n, d)), text.decode().split(",")
        if d == 1 and "" in cells:  # an empty line, which is no row
            raise KeyError
        for j, (at, column) in enumerate(zip(order, self._columns, strict=True)):
            some = cells[at::d]
            if column.codes is not None:
                x[:, j] = [column.cells[cell] for cell in some]
            elif column.nullable:
                x[:, j] = _decoded(NULLABLE_NUMBERS, ",".join([cell or "null" for cell in some]).encode(), n)
            else:
                x[:, j] = _decoded(NUMBERS, ",".join(some).encode(), n)
        return x

    def _careful(self, body: bytes) -> tuple[Floats, CsvTable]:
        header: list[str] = []
        lines: list[bytes] = []
        values, problems = array("d"), list[Problem]()
        try:
            reader = csv.reader(self._lines(body), strict=True)
            for row in filter(None, reader):
                if not header:
                    header = [name.strip() for name in row]
                    order = self._order(header)
                    continue
                self._columns.check_rows(len(lines) + 1)
                lines.append(csv_line(row).encode())
                if len(row) != len(header):
                    detail = f"{len(row)} cells where the header has {len(header)}"
                    problems.append(Problem(f"line {reader.line_num}", detail))
                else:
                    values.extend(self._row(reader.line_num, [row[at].strip() for at in order], problems))
                if len(problems) > InvalidInstance.LIMIT:  # no more are named
                    break
        except UnicodeDecodeError as error:
            raise MalformedBody("not CSV in UTF-8: not UTF-8") from error
        except csv.Error as error:
            raise MalformedBody(f"not CSV in UTF-8: {error}") from error
        if not header:
            raise MalformedBody("an empty body; CSV needs a header line")
        if fault := invalid(problems):
            raise fault
        x = np.frombuffer(values).reshape(len(lines), len(self._columns))
        return x, CsvTable(header, lambda: [lines] if lines else [])

    def _order(self, header: Sequence[str]) -> list[int]:
        """Where in a header each feature stands. Raises InvalidInstance."""
        if any(header.count(name) != 1 for name in self._columns.by_name):  # other columns go back as they came
            self._columns.check_names(header, "line 1", "the header doesn't name the model's features")
        return self._columns.order(header)

    def _lines(self, body: bytes) -> Iterator[str]:
        """The lines. Raises MalformedBody or BodyTooLarge where reading them would take long, for nothing."""
        most, empty = 10_000 + 20 * len(self._columns), 0
        for number, line in enumerate(io.TextIOWrapper(io.BytesIO(body), "utf-8", newline=""), 1):
            empty += line in ("\n", "\r", "\r\n")
            self._columns.check_rows(empty)
            if line.count(",") > most:
                raise MalformedBody(f"line {number} has more than {most} cells; the model has {len(self._columns)}")
            yield line

    def _row(self, line: int, cells: Sequence[str], problems: list[Problem]) -> list[float]:
        """One line's cells, in the features' order, as numbers; the problems are appended."""
        numbers = []
        for column, cell in zip(self._columns, cells, strict=True):
            try:
                numbers.append(column.cell(cell))
            except InvalidValue as error:
                numbers.append(math.nan)
                problems.append(column.problem(f"line {line}, {column.name}", error))
        return numbers


def _decoded(decoder: msgspec.json.Decoder[list[T]], text: bytes, n: int) -> list[T]:
    values = decoder.decode(b"[%b]" % text)
    if len(values) != n:  # a single cell of white space is an array of none
        raise KeyError
    return values


def _slices(body: bytes) -> Iterator[bytes]:
    """Lines, in pieces of about SLICE bytes each, without the last line's end."""
    at = 0
    while at < len(body):
        end = body.find(b"\n", at + SLICE)
        end = len(body) if end < 0 else end
        yield body[at:end]
        at = end + 1


def csv_line(cells: Sequence[str]) -> str:
    """Cells as one line of CSV, without its end."""
    text = io.StringIO()
    # Python before 3.13 quotes a cell with a line's end in it only where its own lines end so: \r\n, cut off here.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue()[:-2]


def _with_outside(outside: Sequence[str], end: bytes) -> bytes:
    """The end of a line, with the features outside the training range in a cell of their own."""
    return b"%b,%b\n" % (end[:-1], csv_line([", ".join(outside)]).encode() if outside else b"")


def _pairs(first: Floats, second: Floats) -> list[bytes]:
    """Two float64 (n,) -> n times both as text, a comma between: the shortest that reads back as the same number."""
    numbers: list[float | None] = [None] * (3 * len(first))  # and a null behind each pair, to cut at
    numbers[0::3] = first.tolist()
    numbers[1::3] = second.tolist()
    return msgspec.json.encode(numbers)[1:-6].split(b",null,")
