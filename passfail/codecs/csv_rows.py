"""The codec of rows in CSV: a table to x, strictly, and back with the answer's columns.

Nearly every table has plain cells only: methods of `bytes` split it, and msgspec reads the numbers as JSON. If that
fails, because of a quoted cell, another notation or a fault, the csv module reads the table cell by cell and names the
faults. Both ways give the same x and the same answer. A table may also have the training file's dialect.
"""

import csv
import io
from array import array
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import islice
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from passfail.arrays import Floats
from passfail.codecs.answers import Answers, added, chosen, names
from passfail.codecs.layouts import LONGEST_HEAD, PIECE, UTF8, column_names, encoding_of, is_note, layout_of, widened
from passfail.columns import Columns, InvalidValue, floats, invalid
from passfail.errors import InvalidInstance, MalformedBody, Problem, of_a_row
from passfail.manifest import Manifest

T = TypeVar("T")
Texts = dict[bool | None, bytes]
WORDS = {True: "true", False: "false", None: ""}
SLICE = 2**15  # bytes decoded at a time: the values of about a thousand rows stay in the CPU's cache
CELLS = bytes(set(range(256)) - set(b",\n"))  # all bytes except those that end a cell or a line
NUMBERS, NULLABLE_NUMBERS = msgspec.json.Decoder(list[float]), msgspec.json.Decoder(list[float | None])


class CsvTable(NamedTuple):
    """A table as the client sent it.

    Attributes
    ----------
    header : the columns' names.
    slices : makes an iterator over the rows as lines of UTF-8, in non-empty lists.
    separator, decimal : the answer's separator and decimal mark.
    unseen : the features with an unseen level of each valid row, as `Columns.unseen`.
    """

    header: list[str]
    slices: Callable[[], Iterable[list[bytes]]]
    separator: str = ","
    decimal: str = "."
    unseen: Sequence[Sequence[str]] | None = None


class CsvRows:
    """The decoder and encoder of one model's rows in CSV."""

    def __init__(self, manifest: Manifest, columns: Columns) -> None:
        self._columns, self._answer_names = columns, names(manifest)
        self._labels, self._identity = manifest.target.labels, [manifest.name, str(manifest.version)]
        self._texts = lru_cache(4)(self._answer_texts)
        dialect = columns.dialect  # if plain cells could mean something else, the csv module reads every table
        self._plainly = not (dialect.missing or columns.parts) and (dialect.separator, dialect.decimal) != (",", ",")

    def _answer_texts(self, mark: str) -> tuple[Texts, Texts]:
        """The texts before an answer's two numbers, by verdict, and after them, by stability."""
        before = {flag: [WORDS[flag], self._labels[flag]] for flag in (False, True)}
        behind = {flag: [WORDS[flag], *self._identity] for flag in WORDS}
        return (
            {flag: f"{mark}{csv_line(cells, mark)}{mark}".encode() for flag, cells in before.items()},
            {flag: f"{mark}{csv_line(cells, mark)}".encode() for flag, cells in behind.items()},
        )

    def read(self, body: bytes, faults: dict[int, str] | None = None) -> tuple[Floats, CsvTable]:
        """Decode a table whose header line names the features in any order.

        Parameters
        ----------
        faults : filled with {row: its fault}; these rows are left out of x. None: an invalid row is an error.

        Returns
        -------
        x, float64 (n, d), and the table of all rows.

        Raises
        ------
        MalformedBody, BodyTooLarge, InvalidInstance : the last names the wrong places.
        """
        body = body.removeprefix(BOM_UTF8)
        encoding = encoding_of(body, self._columns.dialect.encoding)
        plainly = self._plainly and encoding == UTF8 and b'"' not in body
        x, table = (self._plain(body) if plainly else None) or self._careful(body, encoding, faults)
        table = table._replace(unseen=self._columns.unseen(x))
        return self._columns.pooled(x), table

    def write(self, table: CsvTable, found: Answers, faults: Mapping[int, str] | None = None) -> bytes:
        """Encode the table as it was sent, with the answer's columns added.

        Parameters
        ----------
        found : the answers to m rows; the table gets no column `outside` if no row has any.
        faults : {row: its fault}, as from `read`. These rows have no answer, and a column `error` is added.
        """
        unseen = table.unseen and list(map(tuple, table.unseen))
        mark, lists = table.separator, {"outside": found.outside, "unseen": unseen}
        listed = {name: some for name, some in lists.items() if some is not None}
        given = [*self._answer_names, *listed, *(["error"] if faults is not None else [])]
        end = b"\n" if faults is None else f"{mark}\n".encode()
        before, behind = self._texts(mark)
        parts = [csv_line([*table.header, *added(table.header, given)], mark).encode(), b"\n"]
        # Many rows have the same names.
        cells = cache(lambda *names: csv_line(["", *map(", ".join, names)], mark).encode() + end)
        at = row = 0
        for lines in table.slices():
            wrong = {i: faults[i] for i in range(row, row + len(lines)) if i in faults} if faults else {}
            n = len(lines) - len(wrong)
            rows = slice(at, at + n)
            pieces = [end] * (5 * n)
            pieces[0::5] = [line for i, line in enumerate(lines, row) if i not in wrong] if wrong else lines
            pieces[1::5] = chosen(before, found.verdict[rows], n)
            pieces[2::5] = _pairs(found.probability[rows], found.logit[rows], mark, table.decimal)
            pieces[3::5] = chosen(behind, None if found.stable is None else found.stable[rows], n)
            if listed:
                pieces[4::5] = map(cells, *(some[rows] for some in listed.values()))
            if wrong:
                empty = mark * len(given)
                refused = {i: f"{empty}{csv_line([why], mark)}\n".encode() for i, why in wrong.items()}
                answered = (b"".join(pieces[i : i + 5]) for i in range(0, 5 * n, 5))
                pieces = [line + refused[i] if i in wrong else next(answered) for i, line in enumerate(lines, row)]
            parts.append(b"".join(pieces))
            at, row = at + n, row + len(lines)
        return b"".join(parts)

    def _plain(self, body: bytes) -> tuple[Floats, CsvTable] | None:
        """The result of `read`; None if the table is not plain."""
        body = _with_newlines(body) if b"\r" in body else body
        if b"\r" in body or b"\0" in body:
            return None
        first, _, rest = body.partition(b"\n")
        if first.count(b",") != len(self._columns) - 1:
            return None
        header = [name.strip() for name in first.decode(errors="replace").split(",")]
        ends = rest.count(b"\n")
        self._columns.check_rows(ends // 2)  # at most half of the lines are taken for empty
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
        """Decode lines, with the features in that order, as float64 (n, d).

        Raises MsgspecError or KeyError if a cell is not plain, or a line has another number of cells.
        """
        d, marks = len(order), lines.translate(None, CELLS) + b"\n"
        n = len(marks) // d
        if marks != (b"," * (d - 1) + b"\n") * n:
            raise KeyError
        text = lines.replace(b"\n", b",")
        if not (self._columns.nullable or self._columns.categorical):
            return floats(_decoded(NUMBERS, text, d * n)).reshape(n, d).take(order, axis=1)
        x, cells = np.empty((n, d)), text.decode().split(",")
        if d == 1 and "" in cells:  # an empty line is not a row
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

    def _careful(self, body: bytes, encoding: str, faults: dict[int, str] | None) -> tuple[Floats, CsvTable]:
        layout = layout_of(self._columns, body[:LONGEST_HEAD].decode(encoding, "replace"))
        header: list[str] = []
        lines: list[bytes] = []
        values, problems, mark = array("d"), list[Problem](), layout.separator
        try:
            given = islice(self._lines(body, encoding, mark), layout.skipped, None)
            reader = csv.reader(given, delimiter=mark, strict=True, skipinitialspace=self._columns.dialect.spaced)
            for row in filter(None, reader):
                if not header and layout.header:
                    header = column_names(row)
                    order = self._order(header, layout.skipped + 1)
                    continue
                if self._columns.dialect.notes and is_note(row, len(header)):
                    continue
                if not lines:
                    header = widened(self._columns.dialect, header, len(row))
                    order = self._order(header, layout.skipped + 1)
                if self._columns.dialect.padded:
                    row += [""] * (len(header) - len(row))
                self._columns.check_rows(len(lines) + 1)
                place = f"line {reader.line_num + layout.skipped}"
                numbers, found = self.row(place, row, len(header), order, layout.decimal)
                if not found:
                    values.extend(numbers)
                elif faults is None:
                    problems += found
                else:
                    faults[len(lines)] = of_a_row(found)
                    row = (row + [""] * len(header))[: len(header)]
                lines.append(csv_line(row, mark).encode())
                if len(problems) > InvalidInstance.LIMIT:  # the error names no more
                    break
        except UnicodeError as error:
            also = "" if encoding == UTF8 else f" or {encoding}, which the training file is in"
            raise MalformedBody(f"not CSV in UTF-8{also or ': not UTF-8'}") from error
        except csv.Error as error:
            raise MalformedBody(f"not CSV in UTF-8: {error}") from error
        if not header:
            raise MalformedBody("an empty body; CSV needs a header line")
        if fault := invalid(problems):
            raise fault
        x = np.frombuffer(values).reshape(-1, len(self._columns))
        decimal = layout.decimal if mark != "," else "."
        return x, CsvTable(header, lambda: [lines] if lines else [], mark, decimal)

    def _order(self, header: Sequence[str], line: int) -> list[int]:
        """The index of each feature in a header, which is in that line. Raises InvalidInstance."""
        names = self._columns.expanded(header)
        if any(names.count(name) != 1 for name in self._columns.by_name):  # other columns are copied to the answer
            self._columns.check_names(header, f"line {line}", "the header doesn't name the model's features")
        return self._columns.order(header)

    def _lines(self, body: bytes, encoding: str, mark: str) -> Iterator[str]:
        """The lines. Raises MalformedBody or BodyTooLarge before a long, useless read."""
        most, empty, at = 10_000 + 20 * len(self._columns), 0, 0
        while len(body) - at > PIECE:
            end = max(body.rfind(end, at, at + PIECE) for end in (b"\n", b"\r"))
            if end < 0:
                before = body.count(b"\n", 0, at)
                raise MalformedBody(f"line {before + 1} has more than {PIECE} bytes")
            at = end + 1
        for number, line in enumerate(io.TextIOWrapper(io.BytesIO(body), encoding, newline=""), 1):
            empty += line in ("\n", "\r", "\r\n")
            self._columns.check_rows(empty)
            if line.count(mark) > most:
                raise MalformedBody(f"line {number} has more than {most} cells; the model has {len(self._columns)}")
            yield line

    def row(
        self, place: str, cells: Sequence[str], width: int, order: Sequence[int], decimal: str = "."
    ) -> tuple[list[float], list[Problem]]:
        """The valid numbers of one line, in feature order, and its problems.

        width : the number of cells in the header. order : the index of each feature's cell.
        """
        if len(cells) != width:
            return [], [Problem(place, f"{len(cells)} cells where the header has {width}")]
        numbers, problems = [], []
        for column, at in zip(self._columns, order, strict=True):
            try:
                numbers.append(column.cell(cells[at].strip(), decimal))
            except InvalidValue as error:
                problems.append(column.problem(f"{place}, {column.name}", error))
        return numbers, problems


def _decoded(decoder: msgspec.json.Decoder[list[T]], text: bytes, n: int) -> list[T]:
    values = decoder.decode(b"[%b]" % text)
    if len(values) != n:  # a single cell of white space is an empty array
        raise KeyError
    return values


def _with_newlines(body: bytes) -> bytes:
    """Replace each carriage return and newline by a newline, a piece at a time."""
    parts, at = [], 0
    while at < len(body):
        end = at + PIECE
        end += body[end - 1 : end] == b"\r"
        parts.append(body[at:end].replace(b"\r\n", b"\n"))
        at = end
    return b"".join(parts)


def _slices(body: bytes) -> Iterator[bytes]:
    """Cut lines into pieces of about SLICE bytes, each without its last line's end."""
    at = 0
    while at < len(body):
        end = body.find(b"\n", at + SLICE)
        end = len(body) if end < 0 else end
        yield body[at:end]
        at = end + 1


def csv_line(cells: Iterable[object], mark: str = ",") -> str:
    """Write cells as one line of CSV, without its end."""
    text = io.StringIO()
    # Python before 3.13 quotes a cell with a line's end only if its own lines end alike: hence \r\n, cut off here.
    csv.writer(text, delimiter=mark, lineterminator="\r\n").writerow(cells)
    return text.getvalue()[:-2]


def _pairs(first: Floats, second: Floats, mark: str, decimal: str) -> list[bytes]:
    """Write n pairs of float64 as text, with a mark between, in the shortest exact form."""
    numbers: list[float | None] = [None] * (3 * len(first))  # with a null behind each pair, as the place to cut
    numbers[0::3] = first.tolist()
    numbers[1::3] = second.tolist()
    pairs = msgspec.json.encode(numbers)[1:-6].split(b",null,") if len(first) else []
    if (mark, decimal) == (",", "."):
        return pairs
    return [pair.replace(b",", mark.encode()).replace(b".", decimal.encode()) for pair in pairs]
