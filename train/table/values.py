"""The meaning of a cell's text: a number (with its unit), a boolean, a date, or a text."""

import re
from collections.abc import Collection, Iterable

from passfail.spelling import plain_number, written

HEXADECIMAL = re.compile(r"[+-]?0[xX][0-9a-fA-F]+")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[ap]m)?"
DATE = re.compile(
    rf"(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.](?:\d{{4}}|\d{{2}})|\d{{4}}-\d{{2}}"
    rf"|\d{{1,2}}[ -]{_MONTH}[ -]\d{{2,4}}|{_MONTH} \d{{1,2}},? \d{{4}})(?:[T ]{_CLOCK})?"
    rf"(?:z| ?(?:gmt|utc)?[+-]\d{{1,2}}:?(?:\d\d)?)?"
    rf"|{_CLOCK}",
    re.IGNORECASE,
)


def number(text: str, decimal: str) -> tuple[float, str, str] | None:
    """Parse `62.9 kg`, `$5` or `1,234.50` as (number, its unit, its marks of thousands)."""
    found = written(text, decimal)
    value = plain_number(found.number) if found else None
    return None if found is None or value is None else (value, found.unit, found.thousands)


def numbers(texts: Iterable[str], decimal: str) -> tuple[list[float], str, str] | None:
    """Parse texts as numbers with one unit.

    Returns
    -------
    (numbers, unit or "", marks between thousands); None if a text is not a number, units differ, or there is no text.
    """
    found: list[float] = []
    units: set[str] = set()
    marks: set[str] = set()
    for text in texts:
        if (one := number(text, decimal)) is None:
            return None
        found.append(one[0])
        units.add(one[1])
        marks.update(one[2])
    return (found, units.pop(), "".join(sorted(marks))) if len(units) == 1 else None


def is_date(texts: Collection[str]) -> bool:
    """Whether there are texts and all of them are dates or times."""
    return bool(texts) and all(map(DATE.fullmatch, texts))
