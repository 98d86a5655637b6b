"""The options on a table: the roles of its columns, and the layout of its file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from train.errors import DataError

Missing = Literal["error", "drop", "mean", "median", "most-frequent", "indicator"]


@dataclass(frozen=True)
class Reading:
    """The user's options on a table: the roles of its columns, and the layout of its file.

    Attributes
    ----------
    target : the yes/no column; None: the last column.
    positive : the target's positive value.
    blank : the target's value in rows where its cell is missing; None: these rows are left out.
    labels : the names of the (negative, positive) outcome in answers.
    categorical : columns whose numbers are levels.
    drop : columns to leave out.
    weights, cluster : the columns of the rows' weights and of their groups.
    missing : {column, or "" for all others: the rule for missing cells}, see passfail.manifest.Feature, or "drop" for
        the row. By default the mean or the most frequent level, if a cell is missing.
    reference : {column: its reference level}.
    order : {column: its levels in order}.
    rare : a level of fewer rows becomes OTHER.
    fold_case : whether to convert levels to lower case.
    dates : {column: the parts of its dates that become features}, see passfail.spelling.date_number.
    group, time : the columns by which rows are held out.
    by : columns whose groups get figures of their own, features or not.
    strict : whether to refuse a column that would be left out with a warning.
    na : further cells that mean missing, besides passfail.manifest.MISSING.
    separator, decimal, encoding : of CSV; None: found.
    header : whether CSV has a header.
    sheet : of an Excel file; None: the first.
    ragged : what becomes of a CSV row whose number of cells is not the header's: "drop" leaves it out, "pad" adds
        missing cells to a short one and leaves out a long one; None: it is an error.
    """

    target: str | None = None
    positive: str | None = None
    blank: str | None = None
    labels: tuple[str, str] | None = None
    categorical: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    weights: str | None = None
    cluster: str | None = None
    missing: Mapping[str, Missing] = field(default_factory=dict)
    reference: Mapping[str, str] = field(default_factory=dict)
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rare: int = 0
    fold_case: bool = False
    dates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group: str | None = None
    time: str | None = None
    by: tuple[str, ...] = ()
    strict: bool = False
    na: tuple[str, ...] = ()
    separator: str | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    header: bool = True
    sheet: str | None = None
    ragged: Literal["drop", "pad"] | None = None

    def given(self) -> dict[str, object]:
        """The options that are not the defaults."""
        return {name: value for name, value in vars(self).items() if value != getattr(Reading(), name)}


def check_exists(path: Path) -> None:
    """Raise DataError if there is no file or folder at the path."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file; give one with --data (make: DATA=...)")
