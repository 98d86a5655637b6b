"""The rule of each column: which values it takes, and which number of x each becomes. Every decoder uses it."""

import difflib
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Literal

import numpy as np

from passfail.arrays import Bools, Floats, Row
from passfail.errors import BodyTooLarge, InvalidInstance, Problem
from passfail.manifest import MISSING, Feature

Codes = dict[str | float | None, float]
Value = float | str | None  # a number, a level's text, or None: missing

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
BOOLEANS = frozenset(["true", "false"])  # levels that a boolean of JSON and every spelling of one in CSV mean
WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
LIKE = 0.8  # difflib's similarity from which on an unknown name counts as a feature's, misspelt
MOST_ADDED = 2  # characters that a misspelt name has more or fewer: what is longer could carry a value
MOST_NAMES, MOST_COMPARED, LONGEST_NAME = 3, 100, 64  # names, features and characters: comparing takes long
KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", type(None): "null"}


class InvalidValue(ValueError):
    """A value that its column does not take; the message says what is wrong, and never repeats the value.

    Attributes
    ----------
    unseen : whether it is a level that the training rows did not have.
    """

    def __init__(self, detail: str, unseen: bool = False) -> None:
        super().__init__(detail)
        self.unseen = unseen


class Column:
    """The rule of one feature.

    A numeric feature takes finite numbers. A categorical one takes its levels, as text or, where the level is a whole
    number, as that number, or, where the levels are true and false, as booleans; x has the level's index. A nullable
    feature may be missing; x has NaN.

    Attributes
    ----------
    codes : of a categorical feature, the number of each value in JSON; None for a numeric feature.
    cells : the number of each CSV cell that is a level or a missing value.
    texts : of a categorical feature, the number of each element of a tensor of texts.
    """

    def __init__(self, feature: Feature) -> None:
        self.feature, self.name, self.nullable = feature, feature.name, feature.nullable
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
            missing: Codes = dict.fromkeys(MISSING, math.nan)
            self.cells, self.texts = missing | cells, codes | {"": math.nan}
        self.codes = None if feature.kind == "numeric" else codes

    @property
    def json_type(self) -> object:
        """The type of the column's values in JSON, as msgspec takes it."""
        if self.codes is not None:
            values: object = Literal[tuple(code for code in self.codes if not isinstance(code, bool))]
            return values | bool if self.boolean else values
        return float | None if self.nullable else float

    def number(self, value: object) -> float:
        """The number of x that a value of JSON or Python becomes. Raises InvalidValue."""
        if value is None:
            return self._missing("null")
        if self.codes is None:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidValue(f"expected a number, got {kind(value)}")
            return _finite(value)
        if (isinstance(value, bool) and not self.boolean) or not isinstance(value, (str, int)):
            levels = ", ".join(self.feature.levels)
            raise InvalidValue(f"expected one of the levels, as a string: {levels}; got {kind(value)}")
        if value not in self.codes or (self.boolean and type(value) is int):  # to a dict 0 is False
            raise self._unseen()
        return self.codes[value]

    def cell(self, text: str) -> float:
        """The number of x that a CSV cell becomes, without white space around it. Raises InvalidValue."""
        if text in self.cells:
            return self.cells[text]
        if text in MISSING:
            return self._missing("empty")
        if self.codes is not None:
            raise self._unseen()
        if not NUMBER.fullmatch(text):
            raise InvalidValue("expected a number")
        return _finite(float(text))

    def levels(self, values: Sequence[str | float | None], place: str) -> Floats:
        """A tensor of levels, as text or as whole numbers (n,) -> the levels' indices (n,). Raises InvalidInstance."""
        numbers = [self.texts.get(None if value != value else value) for value in values]  # NaN: missing
        self._refuse([number is None for number in numbers], place, self._unseen())
        return np.array(numbers, dtype=np.float64)

    def check(self, numbers: Floats, place: str) -> None:
        """Raise InvalidInstance where numbers of x (n,) are no numbers of this column."""
        self._refuse(np.isinf(numbers), place, InvalidValue("not a finite number"))
        if not self.nullable:
            self._refuse(np.isnan(numbers), place, InvalidValue("may not be missing, and is not a number"))
        if self.codes is not None:
            count = len(self.feature.levels)
            known = np.isnan(numbers) | np.isin(numbers, np.arange(count))
            self._refuse(~known, place, InvalidValue(f"not the index of one of its {count} levels"))

    def value(self, number: float) -> Value:
        """The value that becomes this number of x: the reverse of `number`."""
        if math.isnan(number):
            return None
        return number if self.codes is None else self.feature.levels[int(number)]

    def problem(self, place: str, error: InvalidValue) -> Problem:
        return Problem(place, str(error), self.name if error.unseen else None)

    def _missing(self, name: str) -> float:
        if not self.nullable:
            raise InvalidValue(f"may not be {name}")
        return math.nan

    def _unseen(self) -> InvalidValue:
        return InvalidValue(f"not one of the levels: {', '.join(self.feature.levels)}", unseen=True)

    def _refuse(self, wrong: Bools | list[bool], place: str, error: InvalidValue) -> None:
        rows = np.flatnonzero(wrong).tolist()
        if rows:
            places = [f"{place}, {self.name}, row {row}" for row in rows[: InvalidInstance.LIMIT]]
            raise InvalidInstance(f"{len(rows)} value(s) are wrong", [self.problem(at, error) for at in places])


class Columns:
    """The columns of one model's rows, in the features' order; at most max_rows rows at a time."""

    def __init__(self, features: Sequence[Feature], max_rows: int) -> None:
        self.max_rows = max_rows
        self._columns = [Column(feature) for feature in features]
        self.by_name = {column.name: column for column in self._columns}
        self.nullable = any(column.nullable for column in self._columns)
        self.categorical = any(column.codes for column in self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self._columns)

    def order(self, names: Sequence[str]) -> list[int]:
        """Where in `names`, which hold each feature's once, each feature stands."""
        return [names.index(column.name) for column in self._columns]

    def matrix(self, rows: Sequence[Row]) -> Floats:
        """Rows of numbers, None where missing -> x float64 (n, d)."""
        flat: list[Any] = list(chain.from_iterable(rows))  # several times faster to convert than the tuples
        x = np.array(flat, dtype=np.float64) if self.nullable else floats(flat)
        return x.reshape(len(rows), len(self._columns))

    def check_rows(self, n: int) -> None:
        """Raise BodyTooLarge where there are more rows than one request may have."""
        if n > self.max_rows:
            raise BodyTooLarge(f"more than {self.max_rows} rows; send them in several requests")

    def check_names(self, names: Sequence[str], place: str, message: str) -> None:
        """Raise InvalidInstance with this message where a table's column names are not exactly the features'."""
        if problems := list(self.name_problems(names, place)):
            raise InvalidInstance(message, problems)

    def name_problems(self, names: Iterable[str], place: str) -> Iterator[Problem]:
        given = Counter(names)
        unknown = [name for name in given if name not in self.by_name]
        if unknown:
            count, features = sum(given[name] for name in unknown), ", ".join(self.by_name)
            yield Problem(place, f"{count} unknown name(s){self._meant(unknown)}; the features are: {features}")
        for name in self.by_name:
            if given[name] != 1:
                detail = "given more than once" if given[name] else "missing"
                yield Problem(f"{place}.{name}" if place[0] == "$" else f"{place}, {name}", detail)

    def _meant(self, unknown: Sequence[str]) -> str:
        """The unknown names that nearly are a feature's; any other could be a value, and is not repeated."""
        if len(self) > MOST_COMPARED:
            return ""
        pairs = [(name, _alike(name, tuple(self.by_name))) for name in unknown[:MOST_NAMES]]
        found = [f"{name}, did you mean {feature}?" for name, feature in pairs if feature]
        return f": {' '.join(found)}" if found else ""


@lru_cache(256)
def _alike(name: str, features: tuple[str, ...]) -> str | None:
    """The feature whose name an unknown name nearly is; the case of letters does not count."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        return None
    names = {feature.lower(): feature for feature in features if abs(len(feature) - len(name)) <= MOST_ADDED}
    found = difflib.get_close_matches(name.strip().lower(), names, 1, LIKE)
    return names[found[0]] if found else None


def row(features: Sequence[Feature], instance: Mapping[str, Value]) -> list[float]:
    """The row of x (d numbers, NaN for missing) of an `Example.instance`."""
    return [Column(feature).number(instance[feature.name]) for feature in features]


def instance(features: Sequence[Feature], row: Sequence[float]) -> dict[str, Value]:
    """The instance, as `Example.instance`, of a row of x: the reverse of `row`."""
    return {feature.name: Column(feature).value(number) for feature, number in zip(features, row, strict=True)}


def invalid(problems: Iterable[Problem]) -> InvalidInstance | None:
    """The error that these places make, or None where there are none: no more are looked for than are named."""
    most = InvalidInstance.LIMIT
    found = list(islice(problems, most + 1))
    count = f"more than {most}" if len(found) > most else str(len(found))
    places = "place is" if len(found) == 1 else "places are"
    return InvalidInstance(f"{count} {places} wrong", found) if found else None


def floats(values: Sequence[float]) -> Floats:
    """A list of n numbers, none of them None -> float64 (n,): what np.array does, in a third of the time."""
    x = np.empty(len(values))
    struct.pack_into(f"{len(values)}d", x.data, 0, *values)
    return x


def kind(value: object) -> str:
    """What a value is called in JSON."""
    return KINDS.get(type(value), "an object")


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidValue("not a finite number")
    return number
