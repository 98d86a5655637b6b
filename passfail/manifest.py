"""The manifest: the contract between the trainer and the service about one model.

The export writes `manifest.json` once. Its text is canonical: decoding it and encoding it again gives the same bytes.
`digest` is the SHA-256 of that text with the digest left empty, so that a change of any byte is detected.
"""

import hashlib
import json
import re
from typing import Any, Literal

import msgspec

from passfail import links
from passfail.errors import ManifestError
from passfail.measurements import Certificate, Group, Struct, Training
from passfail.spelling import Order

FORMAT = 3
FILENAME = "manifest.json"
MOST_REASON = 200  # characters of a decoder's error, which may repeat a value of any length

# CSV cells that mean a missing value, in training and in serving; white space around them is ignored.
MISSING = frozenset([
    "", "?", "-", "--", ".", "\\N", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NULL", "null", "None", "none", "NaN",
    "nan", "-NaN", "-nan", "NaT", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!",
])  # fmt: skip

# A model's name is used as a folder, in URLs and as a label in logs.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Feature(Struct, frozen=True):
    """One input of the model, in the order of the columns of x.

    Attributes
    ----------
    levels : the levels of a categorical feature; its value in x is the level's index, and level 0 is the reference.
    minimum, maximum : the range of a numeric feature in the training rows, in the table's own unit.
    fill : the number, or the level's index, that replaces a missing value; None: no value may be missing.
    missing : the rule that chose `fill`. "indicator" uses the mean or the most frequent level, and adds a column to the
        design matrix that marks the missing values.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    levels: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    fill: float | None
    missing: Literal["error", "mean", "median", "most-frequent", "indicator"] = "error"

    @property
    def nullable(self) -> bool:
        """Whether the value may be missing."""
        return self.fill is not None

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value of a numeric feature in the training rows."""
        assert self.minimum is not None, self.name
        assert self.maximum is not None, self.name
        return self.minimum, self.maximum

    @property
    def some_levels(self) -> str:
        """The first twelve levels in words, and the number of the others."""
        more = len(self.levels) - 12
        return ", ".join(self.levels[:12]) + (f" and {more} more" if more > 0 else "")


class Target(Struct, frozen=True):
    """The yes/no column.

    Attributes
    ----------
    values : its (negative, positive) values in the table.
    labels : the (negative, positive) labels of an answer.
    """

    name: str
    values: tuple[str, str]
    labels: tuple[str, str]


class Dialect(Struct, frozen=True, omit_defaults=True):
    """The layout of the CSV file that the model was trained on; the service reads it too.

    Attributes
    ----------
    encoding : Python's name of it.
    separator, decimal : one character each.
    thousands : the marks between thousands that some numbers have.
    skipped : the number of lines above the header.
    header : whether there is a header; without one, the columns are named column1, column2, ...
    extra : a column that only the rows have: "" (none), "first" (row names, as R writes them) or "last" (each row ends
        with a separator).
    missing : further cells that mean a missing value, besides MISSING.
    padded : whether a row with fewer cells than the header lacks the last ones.
    spaced : whether spaces stand between a separator and a quote.
    notes : whether there are lines that are no rows, see passfail.codecs.layouts.is_note.
    """

    encoding: str = "utf-8-sig"
    separator: str = ","
    decimal: Literal[".", ","] = "."
    thousands: str = ""
    skipped: int = 0
    header: bool = True
    extra: Literal["", "first", "last"] = ""
    missing: tuple[str, ...] = ()
    padded: bool = False
    spaced: bool = False
    notes: bool = False


PLAIN = Dialect()


class Dates(Struct, frozen=True, omit_defaults=True):
    """A column of dates.

    Attributes
    ----------
    parts : the parts that are features.
    order : how dates are written besides ISO 8601.
    """

    parts: tuple[str, ...]
    order: Order = ""


class Column(Struct, frozen=True):
    """One column of the design matrix; it adds weight * (value - center) / scale to the logit.

    Attributes
    ----------
    feature : the index of its feature. The value is the feature itself if `level` is None and `missing` is false.
    level : the index of a level; the value is 1 in rows with that level, else 0.
    mean : the mean of the value over the training rows.
    missing : the value is 1 in rows without the feature's value, else 0.
    """

    feature: int
    level: int | None
    center: float
    scale: float
    weight: float
    mean: float
    missing: bool = False


class Unit(Struct, frozen=True):
    """One unit of the hidden layer: weight * activation(sum of inputs * columns + bias).

    The sum is added in the order of the columns.
    """

    bias: float
    inputs: tuple[float, ...]
    weight: float


class Hidden(Struct, frozen=True):
    """A hidden layer.

    Attributes
    ----------
    activation : its name in torch.nn (passfail/proof/activations.py).
    slope : PReLU's parameter.
    """

    activation: str
    slope: float | None
    units: tuple[Unit, ...]


class Parameters(Struct, frozen=True, omit_defaults=True):
    """The parameters: logit = (sum of the columns, added in order) + intercept.

    With a hidden layer, its units take the columns (whose weights are then 1), and the logit is the sum of the units.
    The name `logit` stands for the linear score on the scale of the model's link, whichever link it is.
    """

    intercept: float
    columns: tuple[Column, ...]
    hidden: Hidden | None = None


class File(Struct, frozen=True, omit_defaults=True):
    """A file of the version, beside the manifest; `about` describes its purpose."""

    sha256: str
    bytes: int
    about: str = ""


class Example(Struct, frozen=True):
    """A row and the fit's answer, which the service replays before it is ready.

    `instance` maps a feature's name to a number, a level's text or None (missing).
    """

    instance: dict[str, float | str | None]
    logit: float
    probability: float
    label: str


class Manifest(Struct, frozen=True, omit_defaults=True):
    """The contract between train and serve.

    Attributes
    ----------
    created : the time of the export, UTC, ISO 8601.
    units : {numeric feature: its unit}, shown and never used in a calculation.
    arguments : {argument of the command fit: its value}, as given, for `make reproduce`.
    dialect : the table's; by default that of Parquet and of plain CSV.
    dates : the columns of dates; each part of one is a numeric feature named column.part.
    pooled : {feature: the level that stands for rare and for unseen levels}.
    fold_case : whether the levels are in lower case, and the case of a level that is sent is ignored.
    groups : the figures of the groups of --by.
    """

    format: int
    digest: str
    name: str
    version: int
    created: str
    features: tuple[Feature, ...]
    target: Target
    link: Literal["logit", "probit", "cloglog", "cauchit"]
    threshold: float
    parameters: Parameters
    files: dict[str, File]
    examples: tuple[Example, ...]
    certificate: Certificate
    training: Training
    units: dict[str, str] = {}
    arguments: dict[str, Any] = {}
    dialect: Dialect = PLAIN
    dates: dict[str, Dates] = {}
    pooled: dict[str, str] = {}
    fold_case: bool = False
    groups: tuple[Group, ...] = ()

    @property
    def logit_threshold(self) -> float:
        """The threshold on the link's scale: a row is positive if its `logit` exceeds it."""
        return links.score_at(self.link, self.threshold)

    def encode(self) -> bytes:
        """The text of manifest.json, in UTF-8, with the digest filled in."""
        return _text(msgspec.structs.replace(self, digest=_digest(self)))


HEADER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(msgspec.defstruct("Header", [("format", int | None, None)]))


def decode(text: bytes) -> Manifest:
    """Read manifest.json's bytes. Raises ManifestError unless an export wrote exactly these."""
    try:
        found = HEADER.decode(text).format
        if found != FORMAT:
            raise ManifestError(f"format {found} is not the format {FORMAT} this release reads: export again")
        manifest = msgspec.json.decode(text, type=Manifest)
        if manifest.encode() != text:
            raise ManifestError("altered since it was exported (its digest differs): export again")
        if not all(_belongs(column, manifest.features) for column in manifest.parameters.columns):
            raise ManifestError("a column of the parameters has no feature or no level: export again")
        return manifest
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"not a manifest ({str(error)[:MOST_REASON]}): export again") from error


def _belongs(column: Column, features: tuple[Feature, ...]) -> bool:
    """Whether the column's feature and level are there."""
    if not 0 <= column.feature < len(features):
        return False
    return column.level is None or 0 <= column.level < len(features[column.feature].levels)


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(_text(msgspec.structs.replace(manifest, digest=""))).hexdigest()


def _text(manifest: Manifest) -> bytes:
    # json, not msgspec, because it indents for people; both write a float in its shortest exact form.
    return (json.dumps(msgspec.to_builtins(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
