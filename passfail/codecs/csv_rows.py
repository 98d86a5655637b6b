"""CSV to x, strictly, and the table back with the answer's columns. Knows no Flask.

A table of plain cells, which is nearly every table, is cut up by the bytes' own methods and read as JSON; where that
fails, be it a quoted cell, a number written otherwise or a mistake, the csv module reads it cell by cell and says what
is wrong. Both give the same x and the same answer.
"""

import csv
import io
import math
import re
import struct
from codecs import BOM_UTF8
from itertools import islice
from types import SimpleNamespace

import msgspec
import numpy as np

from passfail.errors import InvalidInstance, MalformedBody, Problem
from passfail.manifest import MISSING

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WORDS = {True: "true", False: "false", None: ""}
SLICE = 2**15  # bytes taken at a time: about a thousand rows, so that what is made of them stays in the CPU's cache
CELLS = bytes(set(range(256)) - set(b",\n"))  # what is no mark between cells or lines
NUMBERS, MISSING_TOO = msgspec.json.Decoder(list[float]), msgspec.json.Decoder(list[float | None])


class Sheet:
    """A table as it was sent: its header, and its rows as lines of UTF-8, in slices."""

    def __init__(self, header, slices):
        """header: the names. slices: a function that gives an iterator of lists of lines, none of them empty."""
        self.header, self.slices = header, slices


class Tables:
    """Reads and writes the CSV of one model's rows. payload: passfail/codecs/json_rows.py's, whose rules these are."""

    def __init__(self, payload):
        self._payload = payload
        self._features, self._codes = payload.features, payload.codes
        self._verdicts = {said: f",{_line([WORDS[said], payload.labels[said]])},".encode() for said in (False, True)}
        self._tails = {sure: f",{_line([WORDS[sure], *payload.identity])}\n".encode() for sure in WORDS}

    def read(self, body):
        """bytes, with a header line that names the features in any order -> (x float64 (n, d), the Sheet).

        Raises MalformedBody, BodyTooLarge or InvalidInstance, the last naming the places that are wrong.
        """
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise MalformedBody("not CSV in UTF-8: not UTF-8") from error
        found = None if b'"' in body else self._plain(body.removeprefix(BOM_UTF8))
        return found or self._careful(text)

    def write(self, verdict, logit, probability, stable, sheet):
        """The table as sent with the answer's columns added: bytes.

        verdict bool, logit and probability float64 (n,); stable: bool (n,), or None where it is not known.
        """
        names = list(sheet.header)
        for name in self._payload.answer_names:
            while name in names:
                name = f"predicted_{name}"
            names.append(name)
        parts, at = [_line(names).encode(), b"\n"], 0
        for lines in sheet.slices():
            n, rows = len(lines), slice(at, at + len(lines))
            pieces = [b""] * (4 * n)
            pieces[0::4] = lines
            pieces[1::4] = chosen(self._verdicts, verdict[rows], n)
            pieces[2::4] = _pairs(probability[rows], logit[rows])
            pieces[3::4] = chosen(self._tails, None if stable is None else stable[rows], n)
            parts.append(b"".join(pieces))
            at += n
        return b"".join(parts)

    def _plain(self, body):
        """What `read` returns, or None where the table is not plain."""
        body = body.replace(b"\r\n", b"\n")
        if b"\r" in body or b"\0" in body:
            return None
        first, _, rest = body.partition(b"\n")
        header = [name.strip() for name in first.decode().split(",")]
        if sorted(header) != sorted(feature.name for feature in self._features):
            return None
        if rest.count(b"\n") > self._payload.max_rows:
            return None
        rest = rest.removesuffix(b"\n")
        order = [header.index(feature.name) for feature in self._features]
        parts = [np.empty((0, len(header)))]
        for lines in _slices(rest):
            try:
                parts.append(self._numbers(lines, order))
            except (msgspec.MsgspecError, KeyError):
                return None
        x = np.concatenate(parts)
        self._payload.check_rows(len(x))
        return x, Sheet(header, lambda: (lines.split(b"\n") for lines in _slices(rest)))

    def _numbers(self, lines, order):
        """Lines, of the features in that order -> float64 (n, d).

        Raises MsgspecError or KeyError where a cell is not plainly right, or a line has another number of them.
        """
        d, marks = len(order), lines.translate(None, CELLS) + b"\n"
        n = len(marks) // d
        if marks != (b"," * (d - 1) + b"\n") * n:
            raise KeyError
        text = lines.replace(b"\n", b",")
        if not any(feature.nullable or codes for feature, codes in zip(self._features, self._codes, strict=True)):
            return floats(_decoded(NUMBERS, text, d * n)).reshape(n, d).take(order, axis=1)
        x, cells = np.empty((n, d)), text.decode().split(",")
        if d == 1 and "" in cells:  # an empty line, which is no row
            raise KeyError
        for j, (at, feature, codes) in enumerate(zip(order, self._features, self._codes, strict=True)):
            column = cells[at::d]
            if codes is not None:
                x[:, j] = [codes[cell] for cell in column]
            elif feature.nullable:
                x[:, j] = _decoded(MISSING_TOO, ",".join([cell or "null" for cell in column]).encode(), n)
            else:
                x[:, j] = _decoded(NUMBERS, ",".join(column).encode(), n)
        return x

    def _careful(self, text):
        most = self._payload.max_rows + 2  # the header, and one row too many
        try:
            reader = csv.reader(io.StringIO(text, newline=""), strict=True)
            table = list(islice(((reader.line_num, row) for row in reader if row), most))
        except csv.Error as error:
            raise MalformedBody(f"not CSV in UTF-8: {error}") from error
        if not table:
            raise MalformedBody("an empty body; CSV needs a header line")
        header = [name.strip() for name in table[0][1]]
        rows = table[1:]
        self._payload.check_rows(len(rows))
        self._payload.check_names(header, "line 1", "the header doesn't name the model's features")
        order = [header.index(feature.name) for feature in self._features]
        values, problems = [], []
        for line, row in rows:
            if len(problems) > InvalidInstance.LIMIT:  # no more are named
                break
            if len(row) != len(header):
                problems.append(Problem(f"line {line}", f"{len(row)} cells where the header has {len(header)}"))
                continue
            values.append([self._cell(i, row[at].strip(), line, problems) for i, at in enumerate(order)])
        if error := self._payload.invalid(problems):
            raise error
        x = np.array(values, dtype=np.float64).reshape(len(values), len(self._features))
        return x, Sheet(header, lambda: [[_line(row).encode() for _, row in rows]] if rows else [])

    def _cell(self, index, text, line, problems):
        feature, codes = self._features[index], self._codes[index]
        place, detail = f"line {line}, {feature.name}", None
        if codes is not None and text in codes:
            return codes[text]
        if text in MISSING:
            detail = None if feature.nullable else "may not be empty"
        elif codes is not None:
            problems.append(Problem.unseen_level(place, feature))
        elif not NUMBER.fullmatch(text):
            detail = "expected a number"
        elif math.isfinite(value := float(text)):
            return value
        else:
            detail = "not a finite number"
        if detail:
            problems.append(Problem(place, detail))
        return math.nan


def floats(values):
    """A list of n numbers, none of them None -> float64 (n,): what np.array does, in a third of the time."""
    x = np.empty(len(values))
    struct.pack_into(f"{len(values)}d", x, 0, *values)
    return x


def chosen(texts, which, n):
    """n of the texts, a list: by bool (n,) the one of False or True; or, where it is None, that of None."""
    if which is None:
        return [texts[None]] * n
    return np.array([texts[False], texts[True]], dtype=object).take(which).tolist()


def _decoded(decoder, text, n):
    values = decoder.decode(b"[%b]" % text)
    if len(values) != n:  # a single cell of white space is an array of none
        raise KeyError
    return values


def _slices(body):
    """Lines, in pieces of about SLICE bytes each, without the last line's end."""
    at = 0
    while at < len(body):
        end = body.find(b"\n", at + SLICE)
        end = len(body) if end < 0 else end
        yield body[at:end]
        at = end + 1


def _line(cells):
    """Cells as one line of CSV, without its end."""
    lines = []
    # Python before 3.13 quotes a cell with a line's end in it only where its own lines end so: \r\n, cut off here.
    csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n").writerow(cells)
    return lines[0][:-2]


def _pairs(first, second):
    """Two float64 (n,) -> n times both as text, a comma between: the shortest that reads back as the same number."""
    numbers = [None] * (3 * len(first))  # and a null behind each pair, to cut at
    numbers[0::3] = first.tolist()
    numbers[1::3] = second.tolist()
    return msgspec.json.encode(numbers)[1:-6].split(b",null,")
