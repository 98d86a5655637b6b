"""The measurements in a manifest: of the proof, of the fit, and of the training rows."""

from collections.abc import Mapping
from typing import Literal

import msgspec


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record with exactly these fields."""


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


def totals(targets: Mapping[str, Proof]) -> str:
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
    def totals(self) -> str:
        """The totals of the targets' proofs, in one line."""
        return totals(self.targets)


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
    true_positive_rate, false_positive_rate : this share among the positive rows, and among the negative rows.
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
    note : the reason of a missing estimate: "+infinite" or "-infinite" (separated), "not unique" (collinear).
    tests : {"wald", "likelihood ratio" or "score": p}, for the tests that were computed.
    """

    term: str
    estimate: float | None = None
    standard_error: float | None = None
    z: float | None = None
    p: float | None = None
    lower: float | None = None
    upper: float | None = None
    odds_ratio: float | None = None
    note: str = ""
    tests: dict[str, float] = {}


class Statistics(Struct, frozen=True):
    """The coefficient table of a maximum likelihood fit, and its goodness of fit.

    The figures of the likelihood are None with class weights.

    Attributes
    ----------
    references : the reference level of each categorical feature.
    separation : whether columns separate the outcomes of all rows ("complete") or of some ("quasi"); earlier
        releases also wrote "unknown".
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
