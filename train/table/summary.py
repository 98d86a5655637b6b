"""The summary of a column's cells, and the faults of a column."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from train.table.values import number

MOST_KEPT = 100  # texts that are no numbers, of a column with too many texts
MOST_TEXTS = 100_000  # distinct texts of a column that are counted; with more, it can't be categorical


Place = tuple[int, int]  # (part, row in it)


class Level(NamedTuple):
    """The number of rows with a text, and the place of the first."""

    rows: int
    first: Place


@dataclass
class Summary:
    """The summary of a column's cells, over some rows or all.

    Attributes
    ----------
    kinds : as in train.table.parts.Cells.
    first : the places of the first missing and the first negative cell.
    levels : the texts, in the order of this process's codes.
    too_many : whether there are more texts than MOST_TEXTS; `levels` then has a few that are no numbers.
    numeric : the rows of the texts that `levels` then lacks and that are numbers.
    """

    kinds: set[str] = field(default_factory=set)
    units: set[str] = field(default_factory=set)
    thousands: set[str] = field(default_factory=set)
    count: int = 0
    missing: int = 0
    first: dict[Literal["missing", "negative"], Place] = field(default_factory=dict)
    minimum: float = math.inf
    maximum: float = -math.inf
    levels: dict[str, Level] = field(default_factory=dict)
    too_many: bool = False
    numeric: int = 0

    def add(self, other: "Summary", part: int = 0, row: int = 0) -> None:
        """Merge the summary of other rows into this one; add `part` and `row` to its places."""

        def moved(place: Place) -> Place:
            return place[0] + part, place[1] + row

        self.kinds |= other.kinds
        self.units |= other.units
        self.thousands |= other.thousands
        self.count += other.count
        self.numeric += other.numeric
        self.missing += other.missing
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        for kind, place in other.first.items():
            self.first[kind] = min(moved(place), self.first.get(kind, moved(place)))
        for text, (count, place) in other.levels.items():
            level = self.levels.get(text, Level(0, moved(place)))
            self.levels[text] = Level(level.rows + count, min(level.first, moved(place)))
        self.too_many |= other.too_many or len(self.levels) > MOST_TEXTS

    def forget(self, decimal: str) -> None:
        """Keep only a few texts that are no numbers."""
        numeric = {text for text in self.levels if number(text, decimal)}
        self.numeric += sum(self.levels[text].rows for text in numeric)
        self.levels = dict(islice(((text, one) for text, one in self.levels.items() if text not in numeric), MOST_KEPT))

    def earliest(self, texts: Iterable[str]) -> tuple[str, Place | None]:
        """The text of some that comes first, and its place; ("", None) of no texts."""
        return min(((text, self.levels[text].first) for text in texts), key=lambda found: found[1], default=("", None))

    def check_number(self, what: str, remedy: str) -> None:
        """Raise Fault if there are too many texts."""
        if self.too_many:
            raise Fault(None, f"more than {MOST_TEXTS} different {what}", remedy)

    @property
    def mixed(self) -> bool:
        """Whether the cells must be read again as texts, because their kinds or units differ."""
        return "other" in self.kinds or len(self.kinds) > 1 or len(self.units) > 1


class Fault(Exception):
    """A column that can't be used, and the place; `option` is the option that allows it, or ""."""

    def __init__(self, place: Place | None, found: str, remedy: str, option: str = "") -> None:
        super().__init__(f"{found}; {remedy}")
        self.place, self.option = place, option


class LeftOut(Exception):
    """A column that is not used; the message gives the reason and the remedy."""
