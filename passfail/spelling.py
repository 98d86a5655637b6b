"""The meaning of a cell's text, in training and in the service: number, unit, boolean, date."""

import math
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal, NamedTuple

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
EXACT = 2**53  # float64 holds every integer up to here
PADDED = re.compile(r"[+-]?0\d+")  # a code with leading zeros: 01100
BOOLEANS = frozenset(["true", "false"])  # the levels of JSON's booleans and of every spelling in CSV
# A number formatted for people: a currency before it, groups of thousands, and a unit without digits behind it.
_BODY = (
    r"(?:[1-9][0-9]{{0,2}}(?:[{group}][0-9]{{3}})+{lakhs}|[0-9]+)(?:{point}[0-9]*)?"
    r"|[0-9]+(?:{point}[0-9]*)?[eE][+-]?[0-9]+|{point}[0-9]+"
)
_CURRENCY = r"(?:R|US|C|A)?\$|[€£¥₹₺₩]|CHF|EUR|USD|GBP"
_FORMATTED = (
    rf"(?P<sign>[+\u2212-]?)(?P<before>(?:{_CURRENCY})?)[ \u00a0\u202f]?(?P<body>{_BODY})[ \u00a0\u202f]?"
    r"(?P<after>[^\W\d_/²³]{{0,12}}(?:/[^\W\d_]{{1,6}})?[²³]?|[%‰°$€£¥])"
)
_SPACES = "'\u2019 \u00a0\u2009\u202f"
FORMATTED = {  # 12,34,567 is Indian
    ".": re.compile(_FORMATTED.format(group=f",{_SPACES}", point=r"\.", lakhs="|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}")),
    ",": re.compile(_FORMATTED.format(group=f".{_SPACES}", point=",", lakhs="")),
}
GROUPS = re.compile(r"[,.'\u2019 \u00a0\u2009\u202f]")
DATE_PARTS = ("year", "month", "day", "weekday", "hour")
SINCE = re.compile(r"days-since-(\d{4}-\d{2}-\d{2})")
# The orders of a date whose year is last: 31.05.2024, 31/05/24 or 31-05-2024; and 05/31/2024 or 05-31-24.
Order = Literal["", "day-first", "month-first"]  # "" for ISO 8601 alone
ORDERS: tuple[Order, ...] = ("day-first", "month-first")
COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:\.0)?", re.ASCII)  # 20240531, which a missing cell makes a float
DATED = re.compile(
    r"(\d{4}|\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{1,2})"
    r"(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(?: ?([ap])m)?(?: (?:GMT|UTC)(?:[+-]\d{1,2})?)?)?",
    re.ASCII | re.IGNORECASE,
)  # fmt: skip


class Written(NamedTuple):
    """A number formatted for people: its plain text, its unit, its marks between thousands."""

    number: str
    unit: str
    thousands: str


def written(text: str, decimal: str) -> Written | None:
    """Parse `62.9 kg`, `12 %`, `$5`, `(5)` or `1.234,50` (decimal ","); None: no number."""
    text = f"-{text[1:-1]}" if text[:1] + text[-1:] == "()" else text  # as accountants write it
    match = FORMATTED[decimal].fullmatch(text)
    if match is None or (match["before"] and match["after"]):
        return None
    whole, mark, fraction = match["body"].partition(decimal)
    number = match["sign"].replace("\u2212", "-") + GROUPS.sub("", whole) + ("." + fraction if mark else "")
    return Written(number, match["before"] or match["after"], "".join(GROUPS.findall(whole)))


def date_number(text: str, part: str, order: str = "") -> float:
    """A part of a date, weekday 1 for Monday.

    The date is in ISO 8601 (2024-05-31 or 20240531, with a time or without) or, if an order is given, in that order.
    Raises ValueError.
    """
    when = parsed_date(text, order)
    if since := SINCE.fullmatch(part):
        return float((when.date() - date.fromisoformat(since[1])).days)
    if part not in DATE_PARTS:
        raise ValueError
    return float(when.isoweekday() if part == "weekday" else getattr(when, part))


def parsed_date(text: str, order: str) -> datetime:
    """Parse a date that begins with the year, or one in that order. Raises ValueError."""
    if compact := COMPACT.fullmatch(text):
        return datetime(int(compact[1]), int(compact[2]), int(compact[3]))
    if not (found := DATED.fullmatch(text)):
        if text[4:5] == "-" and text[:4].isdecimal():
            return datetime.fromisoformat(text)
        raise ValueError
    first, mark, then, last, *clock, half = found.groups()
    year, month, day = first, then, last
    if len(first) < 4:
        day, month, year = (first, then, last) if order == "day-first" else (then, first, last)
        if not order or len(year) == 1 or (mark == "." and order == "month-first"):  # nobody writes months so
            raise ValueError
    hour, minute, second = (int(one or 0) for one in clock)
    if half in ("a", "A") and hour > 12:
        raise ValueError
    hour = hour % 12 + 12 * (half in "pP") if half else hour
    century = 0 if len(year) == 4 else 1900 if int(year) > 68 else 2000  # as POSIX and Python have it
    return datetime(century + int(year), int(month), int(day), hour, minute, second)


def plain_number(text: str) -> float | None:
    """Parse a finite number without padding and without digits that float64 would lose; or None."""
    if not NUMBER.fullmatch(text) or PADDED.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) and is_exact(text) else None


def whole(text: str) -> int | None:
    """Parse a whole number without a sign, of at most 15 digits; None: another text."""
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


def is_exact(text: str) -> bool:
    """Whether float64 holds the integer in a text exactly; true for other numbers."""
    digits = text.lstrip("+-")
    return len(digits) < 16 or not digits.isdecimal() or int(text) == int(float(text))


def canonical(text: str) -> str:
    """Normalise booleans and numbers: `TRUE` to `true`, `1.0` to `1`; other texts stay."""
    if text.casefold() in BOOLEANS:
        return text.casefold()
    value = plain_number(text)
    return text if value is None else str(int(value)) if value.is_integer() else repr(value)


# Two texts of a target are one value if these agree: first the spelling of numbers and booleans, then also the case.
SPELLINGS = (canonical, lambda text: canonical(text).casefold())


def outcome(text: str, known: Sequence[str]) -> float | None:
    """The index of the target's value that a text spells; None: of neither."""
    found = (i for spell in SPELLINGS for i, value in enumerate(known) if spell(text) == spell(value))
    return next(map(float, found), None)


def shown(number: float) -> str:
    """A number for people: an integer with all its digits, else six digits."""
    return f"{number:.15g}" if float(number).is_integer() and abs(number) < EXACT else f"{number:g}"
