"""The metrics of held-out rows, the calibration curve, and the figures of the report."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from passfail.arrays import Floats
from passfail.figures import bins
from passfail.intervals import Z95
from passfail.links import score_at
from passfail.manifest import Feature
from passfail.measurements import Bin, Metrics, Struct
from train.evaluation.cross_validation import HeldOut
from train.model.links import LINKS
from train.model.logistic import LogisticModel
from train.table.data import Data
from train.table.out_of_core import blockwise, pieces

BLOCK = 2**22  # values of the columns that are in memory at a time
SINGULAR = 1e-12  # of a correlation matrix's trace; columns with a smaller eigenvalue determine each other


class Threshold(Struct, frozen=True):
    """The effect of one threshold on the rows of an Evaluation.

    Precision is 1 if no row is answered positive; for people it is `precision_shown`.
    """

    threshold: float
    precision: float
    recall: float
    accuracy: float
    false_positives: int
    false_negatives: int

    @property
    def answered(self) -> bool:
        """Whether any row is answered positive, so that the precision exists."""
        return self.recall > 0 or self.false_positives > 0

    @property
    def precision_shown(self) -> str:
        """The precision as text; "undefined" if no row is answered positive."""
        return f"{self.precision:.4f}" if self.answered else "undefined: no row is answered positive"


class Evaluation(Struct, frozen=True):
    """The model's metrics on held-out rows, which count by their weight.

    The checkpoint keeps them for the report.

    Attributes
    ----------
    how : the method in words, such as "5-fold cross-validation".
    share : the share of positive rows.
    repeated : the share of held-out rows with an exact duplicate, outcome included, in the training folds.
    roc : (false positive rate, true positive rate), about 200 points from (0, 0) to (1, 1).
    negatives, positives : the number of rows of each outcome in each of 20 bins of the probability, of equal width.
    thresholds : 0.01 to 0.99, and the one in use.
    losses : the mean loss before each step of the fit to all rows; at most 200 values, evenly spaced.
    auc : {feature: the area under the ROC curve of that feature alone}.
    auc_interval : as from `auc_interval`.
    distributions : {feature: its `distribution`}.
    inflation : {feature: its `inflation`}.
    """

    how: str
    share: float
    repeated: float
    metrics: Metrics
    calibration: tuple[Bin, ...]
    roc: tuple[tuple[float, float], ...]
    negatives: tuple[int, ...]
    positives: tuple[int, ...]
    thresholds: tuple[Threshold, ...]
    losses: tuple[float, ...]
    auc: dict[str, float]
    auc_interval: tuple[float, float]
    distributions: dict[str, tuple[float, ...]]
    inflation: dict[str, float]


def probabilities(link: str, logit: Floats) -> Floats:
    """The probabilities (n,) of scores (n,) on the link's scale."""
    return np.asarray(LINKS[link].probability(torch.from_numpy(logit)))


def weights_by_score(score: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Sum the weights of negative and of positive rows at each distinct score, ascending."""
    _, group = np.unique(score, return_inverse=True)
    return counted(group, weight * (y == 0)), counted(group, weight * (y == 1))


def counted(place: npt.NDArray[np.intp], weight: Floats, places: int = 0) -> Floats:
    """The sum of the weights (n,) at each index in `place` (n,); at least `places` sums."""
    return np.asarray(np.bincount(place, weight, minlength=places), dtype=np.float64)


def metrics(logit: Floats, y: Floats, link: str, threshold: float, weight: Floats) -> Metrics:
    """Measure scores against outcomes.

    Parameters
    ----------
    logit : float64 (n,), on the link's scale.
    y : float64 (n,) of 0 and 1; both occur.
    threshold : on the probability, in (0, 1).
    weight : float64 (n,), >= 0: the number of rows for which each row counts.
    """
    total, area = weight.sum(), auc(logit, y, weight)  # first: it takes the most memory
    loss = blockwise(len(y), lambda rows: LINKS[link].terms(*map(torch.from_numpy, (logit[rows], y[rows])))[0])
    log_loss = float((weight * loss).sum() / total)
    p, right = probabilities(link, logit), (logit > score_at(link, threshold)) == (y == 1)
    accuracy, brier = float((weight * right).sum() / total), float((weight * (p - y) ** 2).sum() / total)
    return Metrics(len(y), log_loss, accuracy, area, brier, calibration_error(p, y, weight))


def constant_log_loss(share: float) -> float:
    """The log loss of a constant probability: the share of positive rows, in (0, 1)."""
    return -share * math.log(share) - (1 - share) * math.log1p(-share)


def auc(score: Floats, y: Floats, weight: Floats) -> float:
    """The area under the ROC curve.

    It is the share of (positive, negative) pairs of rows that the score orders correctly; ties count half (Hanley &
    McNeil, Radiology 143, 1982).
    """
    negative, positive = weights_by_score(score, y, weight)
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def auc_interval(score: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    """The 95 % interval of the area under the ROC curve.

    The variance is from DeLong, DeLong & Clarke-Pearson (Biometrics 44, 1988). The interval is symmetric on the scale
    of the area's log-odds (Pepe, Statistical Evaluation of Medical Tests, 2003, 5.2.5), so it stays within [0, 1]. If
    the order is perfect, the method gives no error, and both ends are the area.
    """
    negative, positive = weights_by_score(score, y, weight)
    no, yes = negative.sum(), positive.sum()
    below = (np.cumsum(negative) - negative / 2) / no  # for each score, the share of negatives that it exceeds
    above = (yes - np.cumsum(positive) + positive / 2) / yes
    area = float((positive * below).sum() / yes)
    variances = ((p * (share - area) ** 2).sum() / max(n - 1, 1) / n for p, share, n in
                 ((positive, below, yes), (negative, above, no)))  # fmt: skip
    if not 0 < area < 1:
        return area, area
    reach = Z95 * math.sqrt(sum(variances)) / (area * (1 - area))
    odds = math.log(area / (1 - area))
    return 1 / (1 + math.exp(reach - odds)), 1 / (1 + math.exp(-reach - odds))


def calibration(p: Floats, y: Floats, weight: Floats) -> tuple[Bin, ...]:
    """The calibration curve of p (n,) against y (n,)."""
    return bins(*_tenths(p, y, weight))


def calibration_error(p: Floats, y: Floats, weight: Floats) -> float:
    """Metrics.calibration_error, from unrounded counts."""
    rows, positives, probability = _tenths(p, y, weight)
    return float(np.abs(probability - positives).sum() / rows.sum())


def _tenths(p: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """The weighted rows, positive rows and sum of p, (10,) each, in each tenth of p."""
    tenth = np.minimum((p * 10).astype(int), 9)
    return counted(tenth, weight, 10), counted(tenth, weight * y, 10), counted(tenth, weight * p, 10)


def evaluate(
    scores: HeldOut, link: str, threshold: float, losses: Sequence[float], model: LogisticModel, sample: Data
) -> Evaluation:
    """The Evaluation of held-out scores at a threshold.

    Parameters
    ----------
    losses : the mean loss before each step of the fit.
    model : the model fitted to all rows.
    sample : a sample of the rows, on which each feature alone is measured.
    """
    features, x, y, weight = sample
    logit, outcome, counts = scores.logit, scores.y, scores.weight
    negative, positive = weights_by_score(logit, outcome, counts)
    p = probabilities(link, logit)
    grid = sorted({threshold, *(percent / 100 for percent in range(1, 100))})
    bars = (counted(np.minimum((p * 20).astype(int), 19), counts * (outcome == value), 20) for value in (0, 1))
    negatives, positives = (tuple(map(round, bar.tolist())) for bar in bars)
    shown = np.unique(np.linspace(0, len(losses) - 1, min(len(losses), 200)).round().astype(int))
    return Evaluation(
        how=scores.how,
        share=float(np.average(outcome, weights=counts)),
        repeated=scores.repeated,
        metrics=metrics(logit, outcome, link, threshold, counts),
        calibration=calibration(p, outcome, counts),
        roc=_roc(negative, positive),
        negatives=negatives,
        positives=positives,
        thresholds=tuple(at_threshold(link, one, logit, outcome, counts) for one in grid),
        losses=tuple(losses[index] for index in shown),
        auc={f.name: feature_auc(f, column, y, weight) for f, column in zip(features, x.T, strict=True)},
        auc_interval=auc_interval(logit, outcome, counts),
        distributions={f.name: distribution(f, column, weight) for f, column in zip(features, x.T, strict=True)},
        inflation=inflation(model, [feature.name for feature in features], x, weight),
    )


def at_threshold(link: str, threshold: float, logit: Floats, y: Floats, weight: Floats) -> Threshold:
    """The Threshold record of one threshold, for scores, outcomes and weights (n,) each."""
    positive = logit > score_at(link, threshold)
    true_positives, false_positives = ((weight * (positive & (y == outcome))).sum() for outcome in (1, 0))
    false_negatives = (weight * y).sum() - true_positives
    answered = true_positives + false_positives
    precision = float(true_positives / answered) if answered else 1.0
    recall = float(true_positives / (true_positives + false_negatives))
    accuracy = float(1 - (false_positives + false_negatives) / weight.sum())
    return Threshold(threshold, precision, recall, accuracy, round(false_positives), round(false_negatives))


def distribution(feature: Feature, column: Floats, weight: Floats) -> tuple[float, ...]:
    """The share of rows at each level, or in each of 20 bins of equal width across the range.

    Rows without a value do not count.
    """
    value, counts = column[~np.isnan(column)], weight[~np.isnan(column)]
    if feature.kind == "numeric":
        low, high = feature.range
        value = np.clip(np.nan_to_num((value - low) / ((high - low) or 1.0) * 20), 0, 19)
    found = counted(value.astype(int), counts, len(feature.levels) or 20)
    return tuple((found / (found.sum() or 1.0)).tolist())


def inflation(model: LogisticModel, names: Sequence[str], x: Floats, weight: Floats) -> dict[str, float]:
    """The variance inflation factor of each feature, from rows x (n, d).

    The generalised factor of feature j is det(R_jj) det((R^-1)_jj), R being the columns' correlations (Fox & Monette,
    JASA 87, 1992). A feature with k columns has its k-th root, so that 5 means the same for all features. If columns
    determine each other, no feature has a factor.
    """
    with np.errstate(all="ignore"):
        r = _correlation(model, x, weight)
    if not np.isfinite(r).all() or np.linalg.eigvalsh(r)[0] < SINGULAR * len(r):
        return {}
    inverse, found = np.linalg.inv(r), {}
    for index, name in enumerate(names):
        own = np.ix_(*2 * [np.flatnonzero(model.source.numpy() == index)])
        found[name] = math.exp((np.linalg.slogdet(r[own])[1] + np.linalg.slogdet(inverse[own])[1]) / len(r[own]))
    return found


def _correlation(model: LogisticModel, x: Floats, weight: Floats) -> Floats:
    """The weighted correlations (D, D) of the columns of rows x (n, d), read in blocks."""
    blocks = partial(pieces, len(x), max(1, BLOCK // (len(model.stored) or 1)), x)
    share, first = torch.from_numpy(weight / weight.sum()), int(model.intercept)
    size = first + len(model.source)

    mean, covariance = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    with torch.inference_mode():
        for rows in blocks():
            mean += model.matrix(torch.from_numpy(x[rows])).sums(share[rows])
        for rows in blocks():
            matrix = model.matrix(torch.from_numpy(x[rows]))
            matrix.numbers -= mean[matrix.places]
            covariance += matrix.gram(share[rows])
    mean[matrix.places] = 0  # the indicators alone are not centred yet
    found = (covariance - torch.outer(mean, mean)).numpy()[first:, first:]
    deviation = np.sqrt(np.diag(found))
    return np.asarray(found / np.outer(deviation, deviation))


def feature_auc(feature: Feature, column: Floats, y: Floats, weight: Floats) -> float:
    """The area under the ROC curve of one column (n,) alone, 0.5 to 1, over rows with a value.

    The score of a categorical feature's level is its share of positive rows.
    """
    known = ~np.isnan(column)
    value, y, weight = column[known], y[known], weight[known]
    if feature.kind == "categorical":
        level = value.astype(int)
        positives, rows = counted(level, weight * y), counted(level, weight)
        value = (positives / np.maximum(rows, 1e-300))[level]
    if not 0 < (weight * y).sum() < weight.sum():
        return 0.5
    area = auc(value, y, weight)
    return max(area, 1 - area)


def _roc(negative: Floats, positive: Floats) -> tuple[tuple[float, float], ...]:
    """At most 201 points of the ROC curve, evenly spaced along it."""
    false, true = (np.append(0.0, np.cumsum(part[::-1]) / part.sum()) for part in (negative, positive))
    along = np.searchsorted(false + true, np.linspace(0, 2, 201))
    points = np.unique(np.clip(along, 0, len(false) - 1))
    return tuple((float(false[index]), float(true[index])) for index in sorted({0, *points.tolist(), len(false) - 1}))
