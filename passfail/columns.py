"""The rule of each column, for every decoder: the accepted values, and their numbers in x."""

import difflib
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Literal

import numpy as np

from passfail.arrays import Bools, Floats, Row
from passfail.commandline import option
from passfail.errors import BodyTooLarge, InvalidInstance, Problem
from passfail.manifest import MISSING, PLAIN, Feature, Manifest
from passfail.spelling import BOOLEANS, COMPACT, NUMBER, date_number, written

Codes = dict[str | float | None, float]
Value = float | str | None  # a number, a level's text, or None: missing

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
LIKE = 0.8  # difflib's similarity above which an unknown name counts as a misspelt feature
MOST_ADDED = 2  # more or fewer characters in a misspelt name: a longer one could carry a value
MOST_NAMES, MOST_COMPARED, LONGEST_NAME = 3, 100, 64  # names, features and characters: comparing is slow
KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", type(None): "null"}


class InvalidValue(ValueError):
    """A value that its column does not accept; the message never repeats the value.

    Attributes
    ----------
    unseen : whether it is a level that the training rows did not have.
    """

    def __init__(self, detail: str, unseen: bool = False) -> None:
        super().__init__(detail)
        self.unseen = unseen


class OpenCodes(dict[Any, float]):
    """The numbers of a feature's values, of which some may be texts that are no level.

    Parameters
    ----------
    codes : {value: its number}.
    fold_case : whether the case of a text is ignored.
    unseen : the number of a text that is no level; None: there is none.
    missing : the texts that mean a missing value, which are never unseen levels.
    """

    def __init__(self, codes: Mapping[Any, float], fold_case: bool, unseen: float | None, missing: Set[str]) -> None:
        super().__init__(codes)
        self._fold_case, self._unseen, self._missing = fold_case, unseen, missing

    def __missing__(self, value: object) -> float:
        if not isinstance(value, (str, int)) or isinstance(value, bool) or value in self._missing:
            raise KeyError(value)
        if self._fold_case and (folded := str(value).casefold()) != value and folded in self:
            return self[folded]
        if self._unseen is None:
            raise KeyError(value)
        return self._unseen

    def get(self, value: object, default: Any = None) -> Any:
        """Like dict.get, but with __missing__."""
        try:
            return self[value]
        except KeyError:
            return default


class Column:
    """The rule of one feature.

    A numeric feature accepts finite numbers. A categorical feature accepts its levels as text. A level that is an
    integer may also be sent as a number, and the levels true and false as booleans; x has the level's index. A nullable
    feature may be missing; x has NaN. A part of a date is a number, or is computed from the date's text.

    Attributes
    ----------
    unseen : the number of an unseen level, if the feature pools them; else None. Columns.pooled replaces it.
    codes : {value in JSON: its number} of a categorical feature; None for a numeric feature.
    cells : {CSV cell that is a level or a missing value: its number}.
    texts : {element of a tensor of texts: its number} of a categorical feature.
    open : whether a categorical feature accepts other texts than its levels.
    """

    def __init__(self, feature: Feature, source: str = "", order: str = "", manifest: Manifest | None = None) -> None:
        """Make the rule.

        source, order : of the dates to which the feature belongs.
        manifest : the model's, for the table's dialect and units, and for unseen levels; None: there are none.
        """
        self.feature, self.name, self.nullable = feature, feature.name, feature.nullable
        dialect, self.unit, fold_case, pooled = PLAIN, "", False, False
        if manifest is not None:
            dialect, self.unit = manifest.dialect, manifest.units.get(feature.name, "")
            fold_case, pooled = manifest.fold_case, feature.name in manifest.pooled
        self.missing, self.thousands = MISSING.union(dialect.missing), set(dialect.thousands)
        self.source, self.part = source, feature.name.removeprefix(f"{source}.") if source else ""
        self._order = order
        self.unseen = float(len(feature.levels)) if pooled else None
        levels: Codes = {level: float(index) for index, level in enumerate(feature.levels)}
        codes = levels | {int(text): levels[text] for text in feature.levels if WHOLE.fullmatch(text)}
        cells = levels
        self.boolean = feature.kind == "categorical" and BOOLEANS.issuperset(feature.levels)
        if self.boolean:
            codes = codes | {level == "true": levels[level] for level in feature.levels}
            cells = {text: levels[a] for a in feature.levels for text in (a, a.upper(), a.title())}
        self.cells, self.texts = cells, codes
        if self.nullable:
            codes = codes | {None: math.nan}
            missing: Codes = dict.fromkeys(self.missing, math.nan)
            self.cells, self.texts = missing | cells, codes | {"": math.nan}
        self.open = feature.kind == "categorical" and (fold_case or pooled)
        if self.open:
            codes = OpenCodes(codes, fold_case, self.unseen, frozenset())
            self.texts = OpenCodes(self.texts, fold_case, self.unseen, frozenset([""]))
            self.cells = OpenCodes(self.cells, fold_case, self.unseen, self.missing)
        self.codes = None if feature.kind == "numeric" else codes

    @property
    def json_type(self) -> object:
        """The type of the column's values in JSON, for msgspec."""
        if self.open:
            return str | int | None if self.nullable else str | int
        if self.codes is not None:
            values: object = Literal[tuple(code for code in self.codes if not isinstance(code, bool))]
            return values | bool if self.boolean else values
        return float | None if self.nullable else float

    def number(self, value: object) -> float:
        """The number in x of a JSON or Python value. Raises InvalidValue."""
        if value is None:
            return self._missing("null")
        if self.codes is None:
            if self.part and (isinstance(value, str) or hasattr(value, "isoformat") or COMPACT.fullmatch(str(value))):
                return self._of_date(str(value))
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidValue(f"expected a number, got {kind(value)}")
            return _finite(value)
        if (isinstance(value, bool) and not self.boolean) or not isinstance(value, (str, int)):
            levels = self.feature.some_levels
            raise InvalidValue(f"expected one of the levels, as a string: {levels}; got {kind(value)}")
        if self.boolean and type(value) is int:  # 0 == False as a key of a dict
            raise self._unseen()
        return self._known(self.codes, value)

    def cell(self, text: str, decimal: str = ".") -> float:
        """The number in x of a CSV cell without white space around it. Raises InvalidValue.

        A number may have the column's unit, and marks between thousands if the training file had them.
        """
        if text in self.cells:
            return self.cells[text]
        if text in self.missing:
            return self._missing("empty")
        if self.codes is not None:
            return self._known(self.cells, text)
        if self.part and (COMPACT.fullmatch(text) or not NUMBER.fullmatch(text)):
            return self._of_date(text)
        if decimal == "." and NUMBER.fullmatch(text):
            return _finite(float(text))
        found = written(text, decimal)
        if found is None or found.unit not in ("", self.unit) or not self.thousands.issuperset(found.thousands):
            other = written(text, "," if decimal == "." else ".")
            marked = other and other.unit in ("", self.unit) and (found is None or found.number != other.number)
            mark = f" with a decimal {'point' if decimal == '.' else 'comma'}" if marked else ""
            raise InvalidValue(f"expected a number{mark}")
        return _finite(float(found.number))

    def levels(self, values: Sequence[str | float | None], place: str) -> Floats:
        """The indices (n,) of levels given as texts or integers (n,). Raises InvalidInstance."""
        numbers = [self.texts.get(None if value != value else value) for value in values]  # NaN: missing
        if None in numbers:
            self._refuse([number is None for number in numbers], place, self._unseen())
        return np.array(numbers, dtype=np.float64)

    def check(self, numbers: Floats, place: str) -> None:
        """Raise InvalidInstance if a number of x (n,) is not valid in this column."""
        if self.codes is None and np.isfinite(numbers).all():  # true for nearly all
            return
        self._refuse(np.isinf(numbers), place, InvalidValue("not a finite number"))
        if not self.nullable:
            self._refuse(np.isnan(numbers), place, self._lacking("missing (NaN)"))
        if self.codes is not None:
            count = len(self.feature.levels)
            known = np.isnan(numbers) | np.isin(numbers, np.arange(count))
            self._refuse(~known, place, InvalidValue(f"not the index of one of its {count} levels"))

    def value(self, number: float) -> Value:
        """The value of this number in x: the inverse of `number`."""
        if math.isnan(number):
            return None
        return number if self.codes is None else self.feature.levels[int(number)]

    def problem(self, place: str, error: InvalidValue) -> Problem:
        return Problem(place, str(error), self.name, error.unseen)

    def _known(self, codes: Codes, value: Any) -> float:
        try:
            return codes[value]
        except KeyError:
            raise self._unseen() from None

    def _of_date(self, text: str) -> float:
        try:
            return date_number(text, self.part, self._order)
        except ValueError:
            also = {"day-first": " or 31/05/2024", "month-first": " or 05/31/2024"}.get(self._order, "")
            raise InvalidValue(f"expected a date in ISO 8601, such as 2024-05-31{also}") from None

    def _missing(self, name: str) -> float:
        if not self.nullable:
            raise self._lacking(name)
        return math.nan

    def _lacking(self, name: str) -> InvalidValue:
        way = option("--missing", f"{self.name}={'mean' if self.codes is None else 'most-frequent'}")
        return InvalidValue(f"may not be {name}: no training row lacked it; train with {way} to allow it")

    def _unseen(self) -> InvalidValue:
        return InvalidValue(f"not one of the levels: {self.feature.some_levels}", unseen=True)

    def _refuse(self, wrong: Bools | list[bool], place: str, error: InvalidValue) -> None:
        rows = np.flatnonzero(wrong).tolist()
        if rows:
            places = [f"{place}, {self.name}, row {row}" for row in rows[: InvalidInstance.LIMIT]]
            raise InvalidInstance(f"{len(rows)} value(s) are wrong", [self.problem(at, error) for at in places])


class Columns:
    """The columns of one model's rows, in feature order; at most max_rows rows at a time."""

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        self.max_rows, self.dialect = max_rows, manifest.dialect
        self.parts = {name: [f"{name}.{part}" for part in dates.parts] for name, dates in manifest.dates.items()}
        dated = {part: (name, manifest.dates[name].order) for name, parts in self.parts.items() for part in parts}
        self._columns = [Column(f, *dated.get(f.name, ("", "")), manifest) for f in manifest.features]
        self.pools = [
            (index, column.name, column.unseen, float(column.feature.levels.index(manifest.pooled[column.name])))
            for index, column in enumerate(self._columns)
            if column.unseen is not None
        ]
        self.by_name = {column.name: column for column in self._columns}
        self._names = list(self.by_name)
        self.nullable = any(column.nullable for column in self._columns)
        self.categorical = any(column.codes for column in self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self._columns)

    def order(self, names: Sequence[str]) -> list[int]:
        """The index in `names` of each feature; `names` must have each feature once."""
        return [names.index(c.name if c.name in names else c.source) for c in self._columns]

    def expanded(self, names: Iterable[str]) -> list[str]:
        """The names, with each column of dates replaced by its features."""
        return [feature for name in names for feature in self.parts.get(name, [name])]

    def unseen(self, rows: Sequence[Row] | Floats) -> list[list[str]] | None:
        """The features of each row (n, d) with an unseen level; None if the model pools no levels."""
        if not self.pools:
            return None
        return [[name for index, name, unseen, _ in self.pools if row[index] == unseen] for row in rows]

    def pooled(self, x: Floats) -> Floats:
        """Replace each unseen level in x (n, d), in place, with the level that pools them."""
        for index, _, unseen, level in self.pools:
            x[x[:, index] == unseen, index] = level
        return x

    def matrix(self, rows: Sequence[Row]) -> Floats:
        """Convert rows of numbers, None for missing, to x, float64 (n, d)."""
        return self.shaped(list(chain.from_iterable(rows)))

    def shaped(self, numbers: list[Any]) -> Floats:
        """Convert n rows' numbers, one row after the other, None for missing, to x, float64 (n, d)."""
        x = np.array(numbers, dtype=np.float64) if self.nullable else floats(numbers)
        return self.pooled(x.reshape(-1, len(self._columns)))

    def check_rows(self, n: int) -> None:
        """Raise BodyTooLarge if a request has more than max_rows rows."""
        if n > self.max_rows:
            raise BodyTooLarge(f"more than {self.max_rows} rows; send them in several requests")

    def check_names(self, names: Sequence[str], place: str, message: str) -> None:
        """Raise InvalidInstance with this message unless the column names are the features'."""
        if list(names) != self._names and (problems := list(self.name_problems(names, place))):
            raise InvalidInstance(message, problems)

    def name_problems(self, names: Iterable[str], place: str) -> Iterator[Problem]:
        given = Counter(self.expanded(names))
        unknown = [name for name in given if name not in self.by_name]
        if unknown:
            count, features = sum(given[name] for name in unknown), ", ".join(self.by_name)
            yield Problem(place, f"{count} unknown name(s){self._meant(unknown)}; the features are: {features}")
        for name in self.by_name:
            if given[name] != 1:
                detail = "given more than once" if given[name] else "missing"
                yield Problem(f"{place}.{name}" if place[0] == "$" else f"{place}, {name}", detail, name)

    def _meant(self, unknown: Sequence[str]) -> str:
        """The unknown names that resemble a feature's; others could be values, and are left out."""
        if len(self) > MOST_COMPARED:
            return ""
        pairs = [(name, _alike(name, tuple(self.by_name))) for name in unknown[:MOST_NAMES]]
        found = [f"{name}, did you mean {feature}?" for name, feature in pairs if feature]
        return f": {' '.join(found)}" if found else ""


@lru_cache(256)
def _alike(name: str, features: tuple[str, ...]) -> str | None:
    """The feature whose name resembles an unknown name, ignoring case; or None."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        return None
    names = {feature.lower(): feature for feature in features if abs(len(feature) - len(name)) <= MOST_ADDED}
    found = difflib.get_close_matches(name.strip().lower(), names, 1, LIKE)
    return names[found[0]] if found else None


def row(features: Sequence[Feature], instance: Mapping[str, Value]) -> list[float]:
    """The row of x (d numbers, NaN for missing) for an `Example.instance`."""
    return [Column(feature).number(instance[feature.name]) for feature in features]


def instance(features: Sequence[Feature], row: Sequence[float]) -> dict[str, Value]:
    """The `Example.instance` for a row of x: the inverse of `row`."""
    return {feature.name: Column(feature).value(number) for feature, number in zip(features, row, strict=True)}


def invalid(problems: Iterable[Problem]) -> InvalidInstance | None:
    """The error for these places, or None; it reads at most one more than it names."""
    most = InvalidInstance.LIMIT
    found = list(islice(problems, most + 1))
    count = f"more than {most}" if len(found) > most else str(len(found))
    places = "place is" if len(found) == 1 else "places are"
    return InvalidInstance(f"{count} {places} wrong", found) if found else None


def wrong(place: str, detail: str) -> InvalidInstance:
    """The error for one wrong place."""
    return InvalidInstance("1 place is wrong", [Problem(place, detail)])


def floats(values: Sequence[float]) -> Floats:
    """Convert n numbers, none of them None, to float64 (n,), three times as fast as np.array."""
    x = np.empty(len(values))
    struct.pack_into(f"{len(values)}d", x.data, 0, *values)
    return x


def kind(value: object) -> str:
    """The name of a value's type in JSON."""
    return KINDS.get(type(value), "an object")


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidValue("not a finite number")
    return number
