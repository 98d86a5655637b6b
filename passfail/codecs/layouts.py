"""The layout of a CSV: commas in UTF-8, or that of the training file."""

import csv
import io
import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from passfail.columns import Columns
from passfail.manifest import MISSING, Dialect
from passfail.spelling import plain_number

UTF8 = "utf-8"
# A quoted cell that begins as a number with a decimal comma does; between commas no other cell can have one.
DECIMAL_COMMA = re.compile(r'"[^\w",]*[\d.]*,\d')
RULE = re.compile("(:?-+:?)?")
LINE_END = re.compile(r"\s*[\r\n]\s*")
PIECE = 2**20  # bytes searched at a time: other threads run between two pieces
LONGEST_HEAD = 2**20  # characters that are searched for the header


class Layout(NamedTuple):
    """The layout of a table that was sent: see passfail.manifest.Dialect."""

    separator: str
    decimal: str
    skipped: int = 0
    header: bool = True


def is_note(row: Sequence[str], width: int) -> bool:
    """Whether a row is a note such as `(40 rows)`, the rule below Markdown's header, or blank."""
    text = row[0].strip(' "\r\n')
    alone = len(row) == 1 < width and "\n" not in text and plain_number(text) is None
    cells = {cell.strip() for cell in row}
    rule = not cells <= MISSING and all(map(RULE.fullmatch, cells))  # -,- is a row without values
    return alone or cells == {""} or rule


def column_names(cells: Iterable[str]) -> list[str]:
    """The names in a header, trimmed; a line's end in a name becomes a space."""
    return [LINE_END.sub(" ", cell.strip()) for cell in cells]


def encoding_of(body: bytes, known: str, whole: bool = True) -> str:
    """UTF-8, or else the training file's encoding; whole: whether no character is cut."""
    if known == "utf-8-sig":
        return UTF8
    decoder = getincrementaldecoder(UTF8)()
    try:
        for at in range(0, len(body), PIECE):
            decoder.decode(body[at : at + PIECE])
        decoder.decode(b"", whole)
    except UnicodeDecodeError:
        return known
    return known if b"\0" in body else UTF8  # valid UTF-16 is often valid UTF-8 with NUL characters


def layout_of(columns: Columns, head: str, separator: str | None = None, decimal: str | None = None) -> Layout:
    """Commas or the training file's layout, whichever finds more features in a table's head.

    separator, decimal : the known parts of the layout.
    """
    known = columns.dialect
    if separator is None and (known.separator, known.decimal, known.skipped, known.header) == (",", ".", 0, True):
        return Layout(",", decimal or ".")
    lines = list(islice(io.StringIO(head, newline=""), known.skipped + 1))
    marks = separator or known.separator
    point = marks == "," and not known.thousands and not DECIMAL_COMMA.search(head)  # with thousands 1.234 may be 1234
    own = "." if point else known.decimal
    comma = Layout(",", own if marks == "," else ".")
    ways = [comma] * (separator in (None, ",")) + [Layout(marks, own, n) for n in (0, known.skipped)]

    def named(way: Layout) -> int:
        cells = columns.expanded(_cells(lines[way.skipped :], way.separator))
        return len(columns.by_name.keys() & cells)

    best = max(ways, key=named)
    best = best if known.header or named(best) else ways[-1]._replace(header=False)
    return best._replace(decimal=decimal) if decimal else best


def widened(dialect: Dialect, header: list[str], width: int) -> list[str]:
    """The names of the columns in a table whose rows have `width` cells."""
    if not header:
        return [f"column{index}" for index in range(1, width + 1)]
    extra = dialect.extra if width == len(header) + 1 else ""
    return {"first": ["", *header], "last": [*header, ""], "": header}[extra]


def _cells(lines: Sequence[str], separator: str) -> set[str]:
    """The cells of the first line; empty if they can't be read."""
    try:
        return {*column_names(next(iter(csv.reader(lines[:1], delimiter=separator)), []))}
    except csv.Error:
        return set()
