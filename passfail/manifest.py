"""The manifest: all that the trainer and the service share about a model.

`manifest.json` is written once by the export and read by everything else. Its text is canonical: decoding it and
encoding it again gives the same bytes, and `digest` is the SHA-256 of that text with the digest left empty, so a
change of any byte is noticed.
"""

import hashlib
import json
import re
from typing import Any, Literal

import msgspec

from passfail import links
from passfail.errors import ManifestError

FORMAT = 3
FILENAME = "manifest.json"

# What a CSV cell may have in place of a value, in training and in serving alike; white space around it is ignored.
MISSING = frozenset([
    "", "?", "-", "--", ".", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NULL", "null", "None", "none", "NaN", "nan",
    "-NaN", "-nan", "NaT", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!",
])  # fmt: skip

# A model's name is a folder, a part of URLs and a label in logs.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record with exactly these fields."""


class Feature(Struct, frozen=True):
    """One input of the model, in the order of the columns of x.

    A numeric feature's value is a finite number in the table's own unit; `minimum` and `maximum` are those of the
    training rows. A categorical feature's value in x is the index of its level in `levels`; index 0 is the reference
    level. `missing` says what was chosen for missing values: "error" (there may be none), or what they become, whose
    value is `fill` (a number, or a level's index); "indicator" becomes the mean or the most frequent level, and adds a
    column to the design that says where it did.
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
        """Whether a row may lack the value."""
        return self.fill is not None

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value of a numeric feature in the training rows."""
        assert self.minimum is not None, self.name
        assert self.maximum is not None, self.name
        return self.minimum, self.maximum


class Target(Struct, frozen=True):
    """The yes/no column: its two values in the table, and the two labels of an answer, (negative, positive) each."""

    name: str
    values: tuple[str, str]
    labels: tuple[str, str]


class Dialect(Struct, frozen=True, omit_defaults=True):
    """How the CSV file is written that the model was trained on; the service reads such a file, too.

    encoding: as Python calls it. separator, decimal: one character each. thousands: the marks between thousands that
    some number has. skipped: lines above the header. header: whether there is one; the columns are called column1,
    column2, ... otherwise. extra: a column that only the rows have: "" (none), "first" (row names, as R writes them) or
    "last" (each row ends with a separator). missing: cells that are missing, besides MISSING.
    """

    encoding: str = "utf-8-sig"
    separator: str = ","
    decimal: Literal[".", ","] = "."
    thousands: str = ""
    skipped: int = 0
    header: bool = True
    extra: Literal["", "first", "last"] = ""
    missing: tuple[str, ...] = ()


PLAIN = Dialect()


class Column(Struct, frozen=True):
    """One column of the design matrix: weight * (value - center) / scale, added into the logit.

    `value` is the feature itself, or, where `level` is given, 1 for rows of that level (an index) and 0 for others, or,
    with `missing`, 1 for rows where the feature is missing. `mean` is the value's over the training rows.
    """

    feature: int
    level: int | None
    center: float
    scale: float
    weight: float
    mean: float
    missing: bool = False


class Unit(Struct, frozen=True):
    """One unit of the hidden layer: weight * activation((sum of inputs * columns, added in order) + bias)."""

    bias: float
    inputs: tuple[float, ...]
    weight: float


class Hidden(Struct, frozen=True):
    """A hidden layer, its activation called as torch.nn calls it (proof/activations.py); `slope` is PReLU's."""

    activation: str
    slope: float | None
    units: tuple[Unit, ...]


class Parameters(Struct, frozen=True, omit_defaults=True):
    """logit = (sum of the columns, added in order) + intercept.

    With a hidden layer, whose units take the columns (their own weights are then 1), it is the sum of the units.
    The name stands for the linear score, on the scale of the model's link, whichever that is.
    """

    intercept: float
    columns: tuple[Column, ...]
    hidden: Hidden | None = None


class File(Struct, frozen=True, omit_defaults=True):
    """A file of the version, beside the manifest; about: what it is, and what becomes of it."""

    sha256: str
    bytes: int
    about: str = ""


class Example(Struct, frozen=True, omit_defaults=True):
    """A row and what the exported model answered; the service replays it before it is ready.

    `instance` maps a feature's name to a number, a level's text or None (missing).
    """

    instance: dict[str, float | str | None]
    logit: float
    probability: float
    label: str = ""


class Figures(Struct, frozen=True):
    """How far an engine is from exact arithmetic; passfail/proof/certificate.py says what each is, and its limit."""

    logit_differences: int
    logit_error: float
    probability_ulp: int
    probability_error: float
    batch_differences: int
    out_of_range: int
    non_monotone: int
    verdict_differences: int
    unstable_verdicts: int
    false_stable: int = 0


class Certificate(Struct, frozen=True):
    """What the export measured before it published (train/export/parity.py).

    rows: how many of each kind; exact: of how many in all exact arithmetic was the judge (with a hidden layer, the
    closed form of the logit and exact arithmetic of its probability). batches: their sizes. engines: the figures of
    each that must meet the limits. others: what each further engine that is installed misses, empty where it misses
    nothing. cpu: its name and its vector instructions.
    """

    seed: int
    rows: dict[str, int]
    exact: int
    batches: tuple[int, ...]
    engines: dict[str, Figures]
    others: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    cpu: tuple[str, ...]


class Metrics(Struct, frozen=True):
    """How well the model predicts: mean log loss, accuracy at the threshold, area under the ROC curve.

    brier: the mean of (p - y)^2. calibration_error: the mean, weighted by rows, of the distance between the mean
    probability and the share of positives in each calibration bin (Naeini, Cooper & Hauskrecht, AAAI 2015).
    """

    rows: int
    log_loss: float
    accuracy: float
    auc: float
    brier: float
    calibration_error: float


class Bin(Struct, frozen=True):
    """One bin of the calibration curve: the rows, held out of the fit, with lower <= probability < upper.

    The last bin's upper is 1 and belongs to it. probability: their mean. positives: how many were positive. low, high:
    the 95 % interval of the share of positives (Wilson, JASA 22, 1927).
    """

    lower: float
    upper: float
    rows: int
    positives: int
    probability: float
    low: float
    high: float


class Share(Struct, frozen=True):
    """A share of rows, or of pairs of rows, and its 95 % interval."""

    value: float
    low: float
    high: float


class Group(Struct, frozen=True):
    """The figures of the held-out rows with one value of a column, which need not be a feature; rows count by weight.

    positives: the share that was positive. probability: the mean predicted one. selection_rate: the share that was
    answered positive; of the positive rows, that is the true positive rate, of the negative rows the false positive
    rate. Intervals are Wilson's, that of the AUC is DeLong's. None where the group has no such row.
    """

    column: str
    value: str
    rows: int
    positives: Share
    probability: float
    calibration_error: float
    selection_rate: Share
    true_positive_rate: Share | None
    false_positive_rate: Share | None
    auc: Share | None


class Coefficient(Struct, frozen=True):
    """What the fit says of one term, in the table's own units: `gre`, `rank=2` or `(intercept)`.

    The estimate is what a unit more adds to the score; p is two-sided; lower and upper bound the 95 % interval,
    None where it is open; odds_ratio is exp(estimate), for the logit link. An estimate that doesn't exist is None, and
    `note` says why: "+infinite", "-infinite" or "perhaps infinite" (separated), "not unique" (collinear). tests:
    {"wald", "likelihood ratio" or "score": p} where they were computed.
    """

    term: str
    estimate: float | None
    standard_error: float | None
    z: float | None
    p: float | None
    lower: float | None
    upper: float | None
    odds_ratio: float | None
    note: str
    tests: dict[str, float] = {}


class Statistics(Struct, frozen=True):
    """The coefficient table of a maximum likelihood fit, and how well that fits the rows it was made of.

    references: each categorical feature's level that its others are compared with. separation: whether columns tell
    the outcomes of all rows ("complete") or of some ("quasi") apart without error; `separating` names them, "unknown"
    where that would take too long. collinear: a sentence for each column that is made of others. standard_errors: from
    Fisher's information, the sandwich estimator, or that over so many groups of rows (clusters). intervals: the method
    of the intervals and of p. The figures of the likelihood are None with class weights. factor: the lower triangle of
    L, row by row, where L L' is the covariance of the intercept, if there is one, and the columns' weights; empty where
    there is none (passfail/intervals.py).
    """

    coefficients: tuple[Coefficient, ...]
    references: dict[str, str]
    log_likelihood: float | None
    deviance: float | None
    degrees_of_freedom: int
    null_deviance: float | None
    null_degrees_of_freedom: int
    aic: float | None
    bic: float | None
    separation: Literal["none", "quasi", "complete", "unknown"]
    separating: tuple[str, ...]
    collinear: tuple[str, ...]
    standard_errors: Literal["information", "sandwich", "cluster"] = "information"
    clusters: int = 0
    intervals: Literal["wald", "profile"] = "wald"
    factor: tuple[float, ...] = ()


class Spread(Struct, frozen=True):
    """How some values are spread over bins: edges (k,) rising, shares (k + 2,) of the rows, adding up to 1.

    Bin i holds edges[i - 1] <= value < edges[i]; the first and the bin before the last are open; then the missing.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]


class Baseline(Struct, frozen=True):
    """How the training rows, and the model's scores of them, are spread: what drift is measured against.

    rows: how many were looked at. features: in the model's order; a categorical one's values are its levels' indices.
    """

    rows: int
    features: tuple[Spread, ...]
    score: Spread


class Training(Struct, frozen=True):
    """Where the model came from.

    held_out and calibration are measured on rows that the measured fit had not seen
    (train/evaluation/metrics.py); None and empty where there are too few. warnings: what may ship tomorrow's trouble,
    a sentence each.
    """

    data: str
    data_sha256: str
    rows: int
    positives: int
    options: dict[str, float | int | str | bool]
    converged: bool
    notes: tuple[str, ...]
    metrics: Metrics
    held_out: Metrics | None
    versions: dict[str, str]
    baseline: Baseline
    statistics: Statistics | None = None
    calibration: tuple[Bin, ...] = ()
    warnings: tuple[str, ...] = ()


class Manifest(Struct, frozen=True, omit_defaults=True):
    """The contract between train and serve. `created` is UTC, ISO 8601.

    units: {numeric feature: the unit of its values}, of those whose unit the trainer was told: shown, never calculated.
    arguments: {argument of the command fit: its value}, of those given, for `make reproduce`. dialect: the table's, by
    default that of Parquet and of plain CSV. dates: {column: the parts of its dates that are features}, each a numeric
    feature called column.part. pooled: {feature: the level that its rare levels are, and any level that training did
    not see}. fold_case: whether levels are spelt in small letters, and case does not count in a level that is sent.
    groups: the figures of the groups of --by.
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
    dates: dict[str, tuple[str, ...]] = {}
    pooled: dict[str, str] = {}
    fold_case: bool = False
    groups: tuple[Group, ...] = ()

    @property
    def logit_threshold(self) -> float:
        """The threshold on the link's scale; a row is positive where its score, the output `logit`, is above it."""
        return links.score_at(self.link, self.threshold)

    def encode(self) -> bytes:
        """The text of manifest.json, UTF-8, with the digest filled in."""
        return _text(msgspec.structs.replace(self, digest=_digest(self)))


def decode(text: bytes) -> Manifest:
    """Read manifest.json's bytes. Raises ManifestError where they are not exactly what an export wrote."""
    try:
        found = json.loads(text).get("format")
        if found != FORMAT:
            raise ManifestError(f"format {found} is not the format {FORMAT} this release reads: export again")
        manifest = msgspec.json.decode(text, type=Manifest)
    except (ValueError, AttributeError, msgspec.ValidationError) as error:
        raise ManifestError(f"not a manifest ({error}): export again") from error
    if manifest.encode() != text:
        raise ManifestError("altered since it was exported (its digest differs): export again")
    return manifest


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(_text(msgspec.structs.replace(manifest, digest=""))).hexdigest()


def _text(manifest: Manifest) -> bytes:
    # json, not msgspec: it indents for people, and both write the shortest digits that read back as the same float.
    return (json.dumps(msgspec.to_builtins(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
