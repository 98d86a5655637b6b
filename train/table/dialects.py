"""The dialect of a CSV file, found at its start: encoding, separator, decimal mark, header."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from msgspec.structs import replace

from passfail.codecs.layouts import RULE
from passfail.manifest import MISSING, Dialect
from passfail.spelling import FORMATTED, plain_number

HEAD = 1 << 16  # bytes of a file from which its dialect is found
SEPARATORS = (",", ";", "\t", "|")
NAMES = {"\t": "tab", " ": "space"}
UTF8 = "utf-8-sig"  # UTF-8 with a byte order mark or without
ENCODINGS = {codecs.BOM_UTF8: UTF8, codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
FALLBACK = "windows-1252"  # for text that is not UTF-8, as spreadsheets on Windows write it
SEPARATOR_LINE = re.compile(r"sep=(.)$")  # Excel's line above the header


def describe(dialect: Dialect) -> str:
    """A dialect's differences from UTF-8 with commas and a header, in words; "" if it has none."""
    skipped = dialect.skipped
    found = [
        f"separator {NAMES.get(dialect.separator, repr(dialect.separator))}" if dialect.separator != "," else "",
        "decimal comma" if dialect.decimal != "." else "",
        f"encoding {dialect.encoding}" if dialect.encoding != UTF8 else "",
        f"{skipped} line{'s' * (skipped > 1)} above the header skipped" if skipped else "",
        "no header" if not dialect.header else "",
        {"first": "row names in the first column", "last": "each row ends with a separator"}.get(dialect.extra, ""),
    ]
    return ", ".join(filter(None, found))


def encoding_of(head: bytes, whole: bool) -> str:
    """The encoding of a file with this start.

    The byte order mark decides; without one, the encoding is UTF-8 or Windows-1252.
    """
    for mark, encoding in ENCODINGS.items():
        if head.startswith(mark):
            return encoding
    if head[1::2].count(0) > len(head) / 4:
        return "utf-16-le"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, whole)
    except UnicodeDecodeError:
        return FALLBACK
    return UTF8


def sniff(lines: Sequence[str], known: Dialect, separator: str | None, decimal: Literal[".", ","] | None) -> Dialect:
    """Find the dialect from a file's first lines, with their line ends.

    separator, decimal : as the user gave them, or None.
    """
    above = 0
    if lines and (given := SEPARATOR_LINE.match(lines[0].rstrip("\r\n"))):
        above, separator = 1, separator or given[1]
    tries = [_try(lines[above:], one) for one in ([separator] if separator else SEPARATORS)]
    best = max(tries, key=lambda found: found.score)
    if best.width < 2 and not separator:
        best = max(_try(lines[above:], " "), best, key=lambda found: found.score)
    rows = best.rows
    start, extra = (0, "") if not known.header else _header(rows, best.width)
    skipped = above + (rows[start][0] if rows else 0)
    named = rows and start == 0 and len(best.comment[1]) == best.width and any(map(_is_value, rows[0][1]))
    if known.header and named and not any(map(_is_value, best.comment[1])):  # a header such as #id,x,y
        skipped = above + best.comment[0]
    below = {cell.strip() for _, row in rows[start + 1 : start + 2] for cell in row}
    if known.header and all(map(RULE.fullmatch, below)):  # the line below a header in Markdown is no row
        known = replace(known, missing=(*known.missing, *sorted(below - MISSING)), notes=bool(below - MISSING))
    cells = [cell.strip() for _, row in rows[start + known.header :] for cell in row]
    if decimal is None:  # some cell is a number only with a decimal comma, and no cell only with a point
        only = [any(ours.fullmatch(cell) and not other.fullmatch(cell) for cell in cells)
                for ours, other in permutations((FORMATTED[","], FORMATTED["."]))]  # fmt: skip
        decimal = "," if only == [True, False] else "."
    return replace(known, separator=best.separator, decimal=decimal, skipped=skipped, extra=extra)


@dataclass(frozen=True)
class _Try:
    """The rows that a separator makes.

    Attributes
    ----------
    rows : (number of lines above, cells) of each row.
    comment : the last comment above the rows, as a row.
    width : the most frequent number of cells in a row.
    score : the rank among other separators.
    """

    separator: str
    rows: list[tuple[int, list[str]]]
    comment: tuple[int, list[str]]
    width: int
    score: tuple[bool, float, int]


def _try(lines: Sequence[str], separator: str) -> _Try:
    reader = csv.reader(iter(lines), delimiter=separator, skipinitialspace=separator != " ")
    rows, above, comment = [], 0, (0, list[str]())
    try:
        for row in reader:
            if row and not row[0].startswith("#"):
                rows.append((above, row))
            elif row and not rows:
                comment = above, row
            above = reader.line_num
    except csv.Error:  # a separator that leaves a quote open
        pass
    counts = Counter(len(row) for _, row in rows)
    width = counts.most_common(1)[0][0] if counts else 0
    return _Try(separator, rows, comment, width, (width > 1, counts[width] / max(1, len(rows)), width))


def _header(rows: Sequence[tuple[int, list[str]]], width: int) -> tuple[int, Literal["", "first", "last"]]:
    """The index of the header row, and the extra column of the rows below it.

    width : the most frequent number of cells in a row.
    """
    for index, (_, row) in enumerate(rows):
        if len(row) == width and sum(map(bool, row)) > 1:  # else it is a title, saved with empty cells beside it
            return index, ""
        if len(row) == width - 1 > 0 and index + 1 < len(rows):
            below = [cells for _, cells in rows[index + 1 :] if len(cells) == width]
            if len(rows[index + 1][1]) == width and any(map(_is_value, below[0])):
                return index, "last" if all(cells[-1].strip() == "" for cells in below) else "first"
    return 0, ""


def _is_value(cell: str) -> bool:
    """Whether a cell is a number or missing; a column's name is neither."""
    return cell.strip() in MISSING or plain_number(cell.strip()) is not None
