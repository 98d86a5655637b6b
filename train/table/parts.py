"""The interface of a table's file (a part), and the cells of its columns."""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from passfail.arrays import Floats
from passfail.manifest import MISSING, Dialect
from passfail.spelling import EXACT, plain_number
from train.errors import DataError
from train.table import values
from train.table.reading import Reading


@dataclass(frozen=True)
class Cells:
    """The cells of one column in a block of m rows.

    Attributes
    ----------
    kind : "number"; "text"; "date" (a date or a time); "other" for cells that must be read again as text, because a
        number would change them; None if every cell is missing.
    numbers : float64 (m,), the number, the index of the text in `texts`, the microseconds since 1970 of a date, or 0
        for a time of day; NaN for missing.
    unit : the unit of all numbers, "" for none.
    thousands : the marks between thousands that some numbers have.
    """

    kind: Literal["number", "text", "date", "other"] | None
    numbers: Floats
    texts: tuple[str, ...] = ()
    unit: str = ""
    thousands: str = ""


Block = dict[str, Cells]
Job = Callable[[], Block]


class Part(ABC):
    """One file of a table; `note` and `warnings` are sentences about its layout and its columns."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading
        self.missing = sorted({*MISSING, *reading.na})
        self.dialect = Dialect(missing=reading.na)
        self.warnings: list[str] = []
        self.blank = False  # whether rows without any value were read
        self.unnamed = ""  # why the last column can't be the target by default

    @property
    def note(self) -> str:
        """The unusual properties of the file's layout, in words."""
        return ""

    @abstractmethod
    def header(self) -> list[str]:
        """The names of the columns. Raises DataError if they can't be used."""

    @abstractmethod
    def blocks(self, names: Sequence[str], as_text: Set[str]) -> Iterator[Job]:
        """Yield jobs in the order of rows; each returns a Block of `names`, in any thread.

        as_text : the columns whose cells stay texts, exactly as in the file.
        """

    @abstractmethod
    def line(self, row: int | None) -> str:
        """The place of a row (0: the first; None: the header), as a text to follow the file's name."""

    def faults(self) -> list[tuple[str, str]]:
        """The faults of the rows that were read: (sentence, the option that gets past it or "")."""
        return []

    def sha256(self) -> str:
        """The SHA-256 of the file."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def cells(self, array: pa.Array, as_text: bool, decimal: str = ".") -> Cells:
        """Convert an Arrow array to Cells."""
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        kind = array.type
        if pa.types.is_null(kind):
            return Cells(None, np.full(len(array), np.nan))
        if not as_text and pa.types.is_temporal(kind):
            if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
                array = array.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
                return Cells("date", array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
            return Cells("date", np.where(array.is_valid().to_numpy(zero_copy_only=False), 0.0, np.nan))
        if not as_text and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            return self._numbers(array)
        # Only the distinct texts, because they are few; NaN becomes "nan", which is missing.
        coded = array.dictionary_encode()
        texts = pc.utf8_trim_whitespace(coded.dictionary.cast(pa.string()))
        texts = pc.if_else(pc.is_in(texts, pa.array(self.missing)), None, texts).dictionary_encode()
        codes = texts.indices.take(coded.indices).cast(pa.float64()).to_numpy(zero_copy_only=False)
        found = tuple(texts.dictionary.to_pylist())
        if not found:
            return Cells(None, np.full(len(array), np.nan))
        if not as_text and (read := values.numbers(found, decimal)):
            return Cells("number", renumbered(codes, read[0]), unit=read[1], thousands=read[2])
        return Cells("text", codes, found)

    def _numbers(self, array: pa.Array) -> Cells:
        numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if np.isinf(most := largest(numbers)):
            return Cells("other", numbers)
        if pa.types.is_integer(array.type) and most >= EXACT:
            integers = array.drop_null().to_numpy(zero_copy_only=False)
            if (integers.astype(np.float64).astype(object) != integers.astype(object)).any():
                return Cells("other", numbers)
        return Cells("number", numbers)


def largest(numbers: Floats) -> float:
    """The largest absolute value, NaN if there is none; Arrow's min_max takes ten times as long."""
    return float(np.fmax.reduce(np.abs(numbers), initial=np.nan))


def renumbered(codes: Floats, new: Sequence[float] | Floats) -> Floats:
    """Map codes (m,), indices or NaN, to new[code]; NaN stays."""
    return np.array([*new, np.nan])[np.where(np.isnan(codes), len(new), codes).astype(np.intp)]


def usable(names: Sequence[str], where: str) -> tuple[list[str], list[str], str]:
    """The names that columns can be called by, and sentences about the others.

    Returns
    -------
    (the names, a warning for each kind of the other columns, why the last column can't be the target or "").

    Raises
    ------
    DataError : fewer than two columns can be used.
    """
    if len(names) == 1:
        raise DataError(f"{where}: only one column, '{names[0]}'; name the separator of its columns with --separator")
    counts, kept, left = Counter(names), list[str](), dict[str, list[str]]()
    for index, name in enumerate(names, 1):
        if name and counts[name] == 1 and name.isprintable() and not set(name) & set('"\\'):
            kept.append(name)
            continue
        why = (
            f"{counts[name]} columns are called '{name}'" if counts[name] > 1 else "a quote, \\ or the like in the name"
        )
        left.setdefault(why if name else "no name", []).append(str(index))
    found = [f"column {', '.join(places)}: {why}" for why, places in left.items()]
    last = next((name for name in reversed(names) if name), "")
    numbers = [name for name in names if plain_number(name) is not None]
    row = "; if this line is a row, use --no-header" if numbers else ""
    if len(kept) < 2:
        raise DataError(f"{where}: {'; '.join(found)}; rename these columns{row}")
    unnamed = f"{where}: column {len(names)}: its name '{last}' can't be used, and it is the target by default{row}"
    warnings = [f"{where}: {one}; left out; to use a column, give it a name of its own{row}" for one in found]
    return kept, warnings, "" if last in kept else unnamed
