"""The role of each column of a table: target, weights, feature or left out."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from msgspec import structs

from passfail import spelling
from passfail.codecs.csv_rows import csv_line
from passfail.commandline import option
from passfail.manifest import Dates, Feature, Target
from train.table import values
from train.table.reading import Reading
from train.table.summary import MOST_TEXTS, Fault, LeftOut, Summary

Codes = dict[str, float]  # {text: its number}

# The positive value of a target whose two values are not 0 and 1, or -1 and 1.
POSITIVE_WORDS = frozenset([
    "yes", "y", "true", "t", "pass", "passed", "survived", "success", "positive", "admitted", "ja", "oui", "sí", "si",
    "sì", "sim", "tak", "da", "evet",
])  # fmt: skip
# The outcome of blank cells beside the only value of a target; for another value it is no.
OTHER_OUTCOMES = {"0": "1", "1": "0", "n": "y", "no": "yes", "f": "t", "false": "true", "fail": "pass"}
MAX_LEVELS = 100
MAX_ASKED = 1000  # levels of a column that --categorical names
FEW = 20  # levels that are never too many, however few the rows
MANY = 5  # values that an error lists
# Columns that R and pandas write beside the table's own, and names of a column that counts the rows.
ROW_NAMES, IDENTIFIER = (re.compile(text, re.IGNORECASE) for text in (r"row[._ ]?names?|unnamed: 0", "id|index"))
INFINITE = re.compile("[+-]?inf(inity)?", re.IGNORECASE)
OTHER = "other"  # the level of all rare ones


def may_be_target(column: Summary) -> bool:
    """Whether a column seems to have two values."""
    return len(column.levels) == 2 or (column.kinds == {"number"} and (column.minimum, column.maximum) == (0, 1))


def target(reading: Reading, name: str, column: Summary, others: Sequence[str], blank: int) -> tuple[Target, Codes]:
    """The Target of a column, and the y, 0 or 1, of each of its texts. Raises Fault.

    others : the columns that could be the target instead. blank : the rows without a value.
    """
    column.check_number("values", "a target has two; choose another with --target")
    groups = _alike(column)
    labels = sorted(groups)
    if not labels:
        raise Fault(None, "no row has a value", "choose another column with --target")
    if len(labels) == 1:
        way = option("--blank", OTHER_OUTCOMES.get(labels[0].casefold(), "no")) if blank else ""
        remedy = f"a target needs rows of both outcomes{f'; {way} makes {blank} blank cells the other' * bool(blank)}"
        raise Fault((0, 0), f"every row has {labels[0]!r}", remedy, way)
    if len(labels) > 2:
        rows = {label: sum(column.levels[text].rows for text in texts) for label, texts in groups.items()}
        rest = sorted(rows, key=lambda label: -rows[label])[2:]
        found, remedy = f"{len(labels)} different values, the third is {rest[0]!r}", "choose another with --target"
        remedy = f"choose another with {option('--target', others[0])}" if others else remedy
        few = sum(rows[label] for label in rest) < column.count / 2
        past = [option("--na", text) for label in rest for text in groups[label]] if few else []
        remedy += f", or leave rows out with {' '.join(past)}" if past else ""
        past = past or [option("--target", one) for one in others[:1]]
        raise Fault(column.earliest(groups[rest[0]])[1], found, f"a target has two; {remedy}", " ".join(past))
    positive = _positive(reading, labels)
    negative = labels[1 - labels.index(positive)]
    shown = reading.labels or (negative, positive)
    if not reading.labels and {spelling.plain_number(label) for label in labels} == {0, 1}:
        shown = ("fail", "pass") if name.casefold() in ("pass", "passed") else ("no", "yes")
    y = {text: float(label == positive) for label in labels for text in groups[label]}
    return Target(name=name, values=(negative, positive), labels=shown), y


def known_target(known: Target, column: Summary) -> Codes:
    """The y of each text in another table's target column.

    Raises Fault for a text that is neither of the Target's values.
    """
    y = {}
    for text, level in column.levels.items():
        if (found := spelling.outcome(text, known.values)) is None:
            raise Fault(level.first, f"{text!r} is not a value of the target", f"it has {' and '.join(known.values)}")
        y[text] = found
    return y


def known_feature(known: Feature, column: Summary, fold_case: bool, other: str | None) -> Codes:
    """The level index of each text in another table's column, for a known Feature.

    other : the level for unseen texts, or None. Raises Fault.
    """
    if column.missing and not known.nullable:
        way = option("--missing", f"{known.name}={'mean' if known.kind == 'numeric' else 'most-frequent'}")
        found = "missing, but every training row has a value"
        raise Fault(column.first["missing"], found, f"fill the cell, or use {way}", way)
    if known.kind == "numeric":
        if column.kinds - {"number"}:
            wrong = [text for text in column.levels if spelling.plain_number(text) is None]
            text, place = column.earliest(wrong or column.levels)
            raise Fault(place, f"{text!r} is not a finite number", "correct the cell")
        return {}
    codes = {}
    for text, level in column.levels.items():
        value = text.casefold() if fold_case else text if text in known.levels else spelling.canonical(text)
        value = other if other and value not in known.levels else value
        if value not in known.levels:
            found = f"{text!r} is not a level of the training rows"
            raise Fault(level.first, found, f"leave its rows out; the levels are {', '.join(known.levels[:MANY])}")
        codes[text] = float(known.levels.index(value))
    return codes


def _grouped(texts: Iterable[str], spell: Callable[[str], str]) -> dict[str, list[str]]:
    """The texts by their spelling: {spelling: its texts}."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(spell(text), []).append(text)
    return groups


def _alike(column: Summary) -> dict[str, list[str]]:
    """The target's values {value: its spellings}; case is ignored if that leaves two."""
    tried = (_grouped(column.levels, spell) for spell in spelling.SPELLINGS)
    return next((found for found in tried if len(found) == 2), None) or _grouped(column.levels, str)


def _positive(reading: Reading, labels: list[str]) -> str:
    (first, second), given = labels, reading.positive
    if given is not None:
        for spell in spelling.SPELLINGS:
            if alike := [label for label in labels if spell(label) == spell(given)]:
                return alike[0]
        raise Fault(None, f"no row has {given!r}", f"--positive takes {first!r} or {second!r}")
    beside = {0, -1}.intersection(map(spelling.plain_number, labels))
    likely = [v for v in labels if v.casefold() in POSITIVE_WORDS or (beside and spelling.plain_number(v) == 1)]
    if len(likely) != 1:
        found = f"it is unknown which of {first!r} and {second!r} is positive"
        ways = [option("--positive", label) for label in labels]
        raise Fault(None, found, f"use {' or '.join(ways)}", ways[second != reading.blank])
    return likely[0]


def check_weights(column: Summary) -> None:
    """Raise Fault unless a column holds weights: numbers >= 0, at least one of them above 0."""
    numbers = {text: spelling.plain_number(text) for text in column.levels}
    texts = [column.levels[text].first for text, number in numbers.items() if number is None or number < 0]
    if (place := min([*column.first.values(), *texts], default=None)) or column.kinds != {"number"}:
        raise Fault(place, "not a weight", "a weight is a number from 0 up: how many rows the row counts for")
    if column.maximum <= 0:
        raise Fault(None, "every weight is 0", "leave --weights out, or correct the column", "")


def groups(column: Summary, way: str) -> Codes:
    """The number of each text in a column of groups or times; a number stands for itself.

    Raises Fault. way : --cluster, --group, --time or --by, the option that names the column.
    """
    if column.missing and way != "--by":
        what = "time" if way == "--time" else "group"
        raise Fault(column.first["missing"], "missing", f"fill the cell: {way} needs the {what} of each row")
    few = "--by takes a column of few groups; choose another"
    column.check_number("texts", few if way == "--by" else f"replace them with numbers for {way}")
    if way == "--cluster" and (len(column.levels) == 1 or (not column.levels and column.minimum == column.maximum)):
        raise Fault(None, "every row has the same group", "choose another column with --cluster, or leave it out")
    if way == "--time" and column.levels:
        orders = [order for order in ("", *spelling.ORDERS) if not _not_dates(column, order)]
        if not orders or orders == list(spelling.ORDERS):  # or it is unknown which
            remedy = "--time takes numbers, and dates as 2024-05-31 or 31.05.2024"
            raise Fault(column.earliest(column.levels)[1], "not a time", remedy)
        whens = {text: spelling.parsed_date(text, orders[0]).replace(tzinfo=None) for text in column.levels}
        return {text: (when - datetime(1970, 1, 1)).total_seconds() for text, when in whens.items()}
    return {text: float(index) for index, text in enumerate(sorted(column.levels))}


def feature(reading: Reading, name: str, column: Summary) -> tuple[Feature, Codes, str]:
    """Make the Feature of a column.

    The fill of missing cells is 0 here, until train.table.data replaces it.

    Returns
    -------
    (Feature, {text: the index of its level}, the level that pools rare ones or "").

    Raises
    ------
    Fault, LeftOut
    """
    way, drop = reading.missing.get(name, reading.missing.get("")), option("--drop", name)
    if way == "error" and column.missing:
        raise Fault(column.first["missing"], "missing", "fill the cell, or choose another --missing")
    if column.count == 0:
        raise LeftOut(f"no row has a value; it predicts nothing; {drop} silences this")
    # A rule that names this column also applies to later rows, even if no row of the table lacks the value.
    nullable = way not in ("error", "drop") and (column.missing > 0 or name in reading.missing)
    imputed = 0.0 if nullable else None
    asked = name in reading.categorical or name in reading.order
    if column.kinds == {"number"}:
        counts = column.minimum in (0, 1) and column.maximum == column.minimum + column.count - 1
        if ROW_NAMES.fullmatch(name) or (counts and IDENTIFIER.fullmatch(name)):
            found = "its numbers name the rows; the model would learn their order; rename it to use it"
            raise LeftOut(f"{found}; {drop} silences this")
        strategy = way if nullable and way and way != "drop" else "mean" if nullable else "error"
        return Feature(name, "numeric", (), column.minimum, column.maximum, imputed, strategy), {}, ""
    whole = not asked and not column.too_many  # else some texts were in rows that are left out
    if whole and (read := values.numbers(column.levels, reading.decimal or ".")):
        codes = dict(zip(column.levels, read[0], strict=True))
        column.units, column.thousands = {read[1]}, set(read[2])
        numbers = replace(column, kinds={"number"}, levels={}, minimum=min(read[0]), maximum=max(read[0]))
        return feature(reading, name, numbers)[0], codes, ""
    # A boolean has one level for all spellings.
    folded = reading.fold_case or {text.casefold() for text in column.levels} <= spelling.BOOLEANS
    groups = _grouped(column.levels, str.casefold if folded else str)
    pooled = _pool_rare(reading.rare, column, groups)
    _check_texts(name, column, len(groups), asked, reading.decimal or ".")
    if len(groups) == 1:
        found = f"every level has fewer than {reading.rare} rows" if pooled else f"every row has {next(iter(groups))!r}"
        raise LeftOut(f"{found}; it predicts nothing; {drop} silences this")
    levels = _ordered(reading, name, list(groups))
    if name in reading.missing and way in ("mean", "median"):
        other = option("--missing", f"{name}=most-frequent")
        raise Fault(None, f"levels have no {way}", f"use {other} or indicator", other)
    strategy = "error" if not nullable else "indicator" if way == "indicator" else "most-frequent"
    codes = {text: float(levels.index(level)) for level, texts in groups.items() for text in texts}
    return Feature(name, "categorical", tuple(levels), None, None, imputed, strategy), codes, pooled


def dates(given: Sequence[str], name: str, column: Summary) -> Dates:
    """The parts that --date names, and the order of day and month. Raises Fault."""
    column.check_number("dates", "leave its time of day out, or drop the column")
    parts = tuple(part for part in given if part not in spelling.ORDERS)
    tried: list[spelling.Order] = [order for order in spelling.ORDERS if order in given] or ["", *spelling.ORDERS]
    wrong = {order: _not_dates(column, order) for order in tried}
    fitting = [order for order, texts in wrong.items() if not texts]
    if not fitting:
        strays = min(wrong.values(), key=len)
        stray, place = column.earliest(strays)
        remedy = "write it as 2024-05-31, or all as 31.05.2024 or as 05/31/2024"
        raise Fault(place, f"{stray!r} is not a date like the others", remedy)
    if fitting == list(spelling.ORDERS):
        options = [option("--date", f"{name}={','.join([order, *parts])}") for order in spelling.ORDERS]
        first, place = column.earliest(column.levels)
        found = f"the order of day and month is unclear in {first!r} and in every other cell"
        raise Fault(place, found, f"use {' or '.join(options)}", options[0])
    return Dates(parts, fitting[0])


def _not_dates(column: Summary, order: str) -> list[str]:
    """The texts of a column that are not dates in that order."""
    wrong = []
    for text in column.levels:
        try:
            spelling.parsed_date(text, order)
        except ValueError:
            wrong.append(text)
    return wrong


def date_features(reading: Reading, dates: Dates, name: str, column: Summary) -> Iterator[tuple[Feature, Codes]]:
    """Yield the Feature of each part of a column's dates, with {text: its number}.

    Raises Fault or LeftOut.
    """
    for part in dates.parts:
        codes = date_numbers(column, part, dates.order)
        low, high = min(codes.values(), default=0.0), max(codes.values(), default=0.0)
        numbers = replace(column, kinds={"number"}, levels={}, minimum=low, maximum=high)
        yield structs.replace(feature(reading, name, numbers)[0], name=f"{name}.{part}"), codes


def date_numbers(column: Summary, part: str, order: str) -> Codes:
    """The number of each text in a column of dates. Raises Fault."""
    codes = {}
    for text, level in column.levels.items():
        try:
            codes[text] = spelling.date_number(text, part, order)
        except ValueError as error:
            raise Fault(level.first, f"{text!r} is not a date in training's order", "write it as 2024-05-31") from error
    return codes


def _pool_rare(least: int, column: Summary, groups: dict[str, list[str]]) -> str:
    """Pool the levels of fewer than `least` rows in {level: its texts}, in place.

    Returns the pooled level's name, or "".
    """
    rare = [level for level, texts in groups.items() if sum(column.levels[text].rows for text in texts) < least]
    if not rare:
        return ""
    texts = [text for level in rare for text in groups.pop(level)]
    name = OTHER if OTHER not in groups else f"({OTHER})"
    groups[name] = texts
    return name


def _check_texts(name: str, column: Summary, count: int, asked: bool, decimal: str) -> None:
    """Raise LeftOut or Fault unless a column of texts can be categorical.

    count: of its levels. asked: whether the user says that it is categorical.
    """
    drop, group = option("--drop", name), option("--categorical", name)
    if column.kinds == {"date"} or (not asked and not column.too_many and values.is_date(column.levels)):
        orders = [order for order in ("", *spelling.ORDERS) if not _not_dates(column, order)]
        remedy = f"{drop} silences this"
        if orders and not column.minimum == 0 == column.maximum:
            order = [orders[0]] if orders == list(spelling.ORDERS) else []
            remedy = f"{option('--date', f'{name}=' + ','.join([*order, 'year', 'month']))} makes numbers of dates"
            remedy += f" ({orders[1]} if the month comes first)" if order else ""
        raise LeftOut(f"its cells are dates or times; each would be a level of its own; {remedy}")
    levels, rows = column.levels, column.count + column.missing
    if not asked:
        numbers = {text: one for text in levels if (one := values.number(text, decimal))}
        rows_of = Counter[str]()
        for text, (_, unit, _) in numbers.items():
            rows_of[unit] += levels[text].rows
        most = max(rows_of, key=lambda unit: rows_of[unit], default="")  # strays have no unit, or are no numbers
        numeric = {text for text, (n, unit, _) in numbers.items() if unit == most and abs(n) <= spelling.EXACT}
        unique = count > FEW and count > rows / 2  # identifiers, which are left out
        codes = {text for text in levels if text.lstrip("+-").isdecimal() and (unique or spelling.is_exact(text))}
        strays = sorted(levels.keys() - numeric - (set() if most else codes), key=lambda text: levels[text].first)
        infinite = {text for text in strays if INFINITE.fullmatch(text) or spelling.NUMBER.fullmatch(text)} - {*numbers}
        mostly = column.numeric + sum(levels[text].rows for text in numeric | infinite) > column.count / 2
        if strays and mostly and len(rows_of.keys() - {""}) < 2:
            others = f" and {len(strays) - 1} more are" if len(strays) > 1 else " is"
            what = f"{'finite ' * (strays[0] in infinite)}number{f' of {most}' if most else ''}"
            found = f"{strays[0]!r}{others} not a {what}, but most cells are"
            if strays[0].lstrip("+-").isdecimal():
                found = f"{strays[0]!r} is an integer that float64 would round, but most cells are not"
            past = " ".join(option("--na", text) for text in strays) if len(strays) <= MANY else drop
            remedy = f"correct it, or use {past}{' if it is missing' if past != drop else ''}, or {group}"
            raise Fault(levels[strays[0]].first, found, remedy, past)
        if hexadecimal := [text for text in levels if values.HEXADECIMAL.fullmatch(text)]:
            first, place = column.earliest(hexadecimal)
            raise Fault(place, f"{first!r} is hexadecimal", f"write it in decimal digits, or use {group}", group)
    if column.too_many or count > (MAX_ASKED if asked else MAX_LEVELS) or (count > FEW and count > rows / 2):
        found = f"more than {MOST_TEXTS}" if column.too_many else str(len(levels))
        what = "identifiers" if not asked and all(text.isdecimal() for text in levels) and levels else "texts"
        use = MAX_LEVELS < len(levels) <= min(MAX_ASKED, rows / 2) and not column.too_many and not asked
        remedy = f"{group} uses it" if use else f"{drop} silences this"
        raise LeftOut(f"{found} different {what} in {rows} rows; too many for levels; {remedy}")


def _ordered(reading: Reading, name: str, levels: list[str]) -> list[str]:
    """Order the levels as --order says, else by number and then by the alphabet.

    The reference level comes first.
    """
    if given := reading.order.get(name):
        if set(given) != set(levels) or len(given) != len(levels):
            least, *others = sorted(levels)
            way = option("--order", csv_line([f"{name}={least}", *others]))
            raise Fault(None, "--order and the column have different levels", f"name each once: {way}", way)
        return list(given)
    numbers = {level: spelling.plain_number(level.lstrip("+0") or "0") for level in levels}
    levels = sorted(levels, key=lambda level: (numbers[level] is None, numbers[level] or 0.0, level))
    if (first := reading.reference.get(name)) is None:
        return levels
    if first not in levels:
        raise Fault(None, f"no row has the reference level {first!r}", f"the levels are {', '.join(levels[:MANY])}")
    return [first, *(level for level in levels if level != first)]
