"""The manifest: the contract between the trainer and the service about one model.

The export writes `manifest.json` once. Its text is canonical: decoding it and encoding it again gives the same bytes.
`digest` is the SHA-256 of that text with the digest left empty, so that a change of any byte is detected.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from passfail import links
from passfail.errors import ManifestError

FORMAT = 3
FILENAME = "manifest.json"

# CSV cells that mean a missing value, in training and in serving; white space around them is ignored.
MISSING = frozenset([
    "", "?", "-", "--", ".", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NULL", "null", "None", "none", "NaN", "nan",
    "-NaN", "-nan", "NaT", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!",
])  # fmt: skip

# A model's name is used as a folder, in URLs and as a label in logs.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record with exactly these fields."""


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


class Dates(Struct, frozen=True, omit_defaults=True):
    """A column of dates.

    Attributes
    ----------
    parts : the parts that are features.
    order : how dates are written besides ISO 8601.
    """

    parts: tuple[str, ...]
    order: Literal["", "day-first", "month-first"] = ""


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


class Example(Struct, frozen=True, omit_defaults=True):
    """A row and the exported model's answer, which the service replays before it is ready.

    `instance` maps a feature's name to a number, a level's text or None (missing).
    """

    instance: dict[str, float | str | None]
    logit: float
    probability: float
    label: str = ""


class Figures(Struct, frozen=True):
    """The distance of an engine from exact arithmetic.

    passfail/proof/certificate.py defines each figure and its limit.
    """

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


class Proof(Struct, frozen=True, omit_defaults=True):
    """The comparison of one engine with the closed form.

    Attributes
    ----------
    absent : the reason why the engine was not asked; "" if it was.
    rows : the number of rows asked.
    logits, verdicts : the number that differ.
    ulp : the largest distance of a probability from ONNX Runtime's, in units in the last place; None if it gives none.
    """

    absent: str = ""
    rows: int = 0
    logits: int = 0
    verdicts: int = 0
    ulp: int | None = None


def claim(targets: Mapping[str, Proof]) -> str:
    """The totals of some engines' proofs, in one line."""
    asked = [one for one in targets.values() if not one.absent]
    return f"one export, {len(asked)} engines, {sum(one.verdicts for one in asked)} verdicts differ"


class Certificate(Struct, frozen=True, omit_defaults=True):
    """The measurements of the proof before the version was published (train/export/parity.py).

    Attributes
    ----------
    rows : the number of rows of each kind.
    exact : the number of rows compared with exact arithmetic (with a hidden layer, with the closed form of the logit
        and the exact probability).
    batches : the sizes of the batches.
    engines : the figures of each engine that must meet the limits.
    others : the limits that each further installed engine misses.
    cpu : its name and its vector instructions.
    targets : the proof of every engine that can run the export (passfail/proof/engines.py).
    """

    seed: int
    rows: dict[str, int]
    exact: int
    batches: tuple[int, ...]
    engines: dict[str, Figures]
    others: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    cpu: tuple[str, ...]
    targets: dict[str, Proof] = {}

    @property
    def claim(self) -> str:
        """The totals of the targets' proofs, in one line."""
        return claim(self.targets)


class Metrics(Struct, frozen=True):
    """The metrics of the model's predictions.

    Attributes
    ----------
    log_loss : the mean over the rows.
    accuracy : at the threshold.
    auc : the area under the ROC curve.
    brier : the mean of (p - y)^2.
    calibration_error : the mean, weighted by rows, of the distance between the mean probability and the share of
        positives in each calibration bin (Naeini, Cooper & Hauskrecht, AAAI 2015).
    """

    rows: int
    log_loss: float
    accuracy: float
    auc: float
    brier: float
    calibration_error: float


class Bin(Struct, frozen=True):
    """One bin of the calibration curve: held-out rows with lower <= probability < upper.

    The last bin's upper is 1 and belongs to it.

    Attributes
    ----------
    positives : the number of positive rows.
    probability : the mean probability.
    low, high : the 95 % interval of the share of positives (Wilson, JASA 22, 1927).
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
    """The metrics of the held-out rows with one value of a column, by weight.

    The column need not be a feature. Intervals are Wilson's, and DeLong's for the AUC. A rate or an AUC is None if the
    group lacks such rows.

    Attributes
    ----------
    positives : the share of positive rows.
    probability : the mean predicted probability.
    selection_rate : the share of rows answered positive.
    true_positive_rate, false_positive_rate : the same share, of the positive and of the negative rows.
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
    """The coefficient of one term, in the table's own units.

    Attributes
    ----------
    term : `gre`, `rank=2` or `(intercept)`.
    estimate : the change of the score for one unit; None if the estimate doesn't exist.
    p : two-sided.
    lower, upper : the bounds of the 95 % interval; None for an open end.
    odds_ratio : exp(estimate), for the logit link.
    note : the reason of a missing estimate: "+infinite", "-infinite" or "perhaps infinite" (separated), "not unique"
        (collinear).
    tests : {"wald", "likelihood ratio" or "score": p}, for the tests that were computed.
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
    """The coefficient table of a maximum likelihood fit, and its goodness of fit.

    The figures of the likelihood are None with class weights.

    Attributes
    ----------
    references : the reference level of each categorical feature.
    separation : whether columns separate the outcomes of all rows ("complete") or of some ("quasi"); "unknown" if the
        test would take too long.
    separating : the columns that separate them.
    collinear : a sentence for each column that others determine.
    standard_errors : from Fisher's information, from the sandwich estimator, or from that over groups of rows.
    clusters : the number of those groups.
    intervals : the method of the intervals and of p.
    factor : the lower triangle of L, row by row, with L L' the covariance of the intercept (if there is one) and the
        columns' weights; empty without a covariance (passfail/intervals.py).
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
    """The distribution of values over bins.

    Attributes
    ----------
    edges : (k,), ascending. Bin i holds edges[i - 1] <= value < edges[i]; bin 0 and bin k have one open end.
    shares : (k + 2,), the share of the rows in each bin and, last, of missing values; their sum is 1.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]


class Baseline(Struct, frozen=True):
    """The distributions of the training rows and of their scores; the baseline of drift.

    Attributes
    ----------
    rows : the number of rows counted.
    features : in the model's order; the values of a categorical feature are its levels' indices.
    """

    rows: int
    features: tuple[Spread, ...]
    score: Spread


class Training(Struct, frozen=True):
    """The origin of the model: its table, options, metrics and versions.

    Attributes
    ----------
    held_out, calibration : measured on rows held out of the measured fit (train/evaluation/metrics.py); None and empty
        if there are too few rows.
    warnings : the warnings about the table, a sentence each.
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


def decode(text: bytes) -> Manifest:
    """Read manifest.json's bytes. Raises ManifestError unless an export wrote exactly these."""
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
    # json, not msgspec, because it indents for people; both write a float in its shortest exact form.
    return (json.dumps(msgspec.to_builtins(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
