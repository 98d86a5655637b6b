"""How well a model predicts rows: the metrics, the calibration curve, and all that the report shows of them."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from passfail.arrays import Floats
from passfail.figures import wilson
from passfail.intervals import Z95
from passfail.links import score_at
from passfail.manifest import Bin, Feature, Metrics, Struct
from train.evaluation.cross_validation import HeldOut
from train.evaluation.thresholds import Threshold, at_threshold, counted, probabilities, weights_by_score
from train.model.links import LINKS
from train.model.logistic import LogisticModel
from train.table.out_of_core import blockwise


class Evaluation(Struct, frozen=True):
    """How the model does on held-out rows; the checkpoint keeps it for the report. Rows count by their weight.

    how: in words, such as "5-fold cross-validation". share: of positive rows. repeated: the share of held-out rows
    with an exact duplicate, outcome included, among the rows of their fit. roc: (false positive rate, true positive
    rate), about 200 points that rise from (0, 0) to (1, 1). negatives, positives: how many rows of each outcome
    have their probability in each of 20 bins of equal width. thresholds: 0.01 to 0.99, and the one in use. losses:
    the mean loss before each step of the fit to all rows, at most 200 of them, evenly spaced. auc: {feature: the
    area under the ROC curve of it alone}. auc_interval: `auc_interval`. distributions: {feature: `distribution`}.
    inflation: {feature: `inflation`}.
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


def metrics(logit: Floats, y: Floats, link: str, threshold: float, weight: Floats) -> Metrics:
    """Measure scores against outcomes.

    Parameters
    ----------
    logit : float64 (n,), on the link's scale.
    y : float64 (n,) of 0 and 1; both occur.
    threshold : on the probability, in (0, 1).
    weight : float64 (n,), >= 0: how many rows each row counts for.
    """
    total, area = weight.sum(), auc(logit, y, weight)  # first: it takes the most memory
    loss = blockwise(len(y), lambda rows: LINKS[link].terms(*map(torch.from_numpy, (logit[rows], y[rows])))[0])
    log_loss = float((weight * loss).sum() / total)
    p = probabilities(link, logit)
    return Metrics(
        rows=len(y),
        log_loss=log_loss,
        accuracy=float((weight * ((logit > score_at(link, threshold)) == (y == 1))).sum() / total),
        auc=area,
        brier=float((weight * (p - y) ** 2).sum() / total),
        calibration_error=calibration_error(p, y, weight),
    )


def constant_log_loss(share: float) -> float:
    """The log loss of giving every row the share of positive rows, in (0, 1), as its probability."""
    return -share * math.log(share) - (1 - share) * math.log1p(-share)


def auc(score: Floats, y: Floats, weight: Floats) -> float:
    """The area under the ROC curve: the share of (positive, negative) pairs of rows that the score orders right.

    Ties count half (Hanley & McNeil, Radiology 143, 1982).
    """
    negative, positive = weights_by_score(score, y, weight)
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def auc_interval(score: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    """The 95 % interval of the area under the ROC curve (DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988).

    It is symmetric on the scale of the area's log-odds (Pepe, Statistical Evaluation of Medical Tests, 2003, 5.2.5), so
    it stays within [0, 1]. Where the order is perfect, the method knows no error: both ends are then the area.
    """
    negative, positive = weights_by_score(score, y, weight)
    no, yes = negative.sum(), positive.sum()
    below = (np.cumsum(negative) - negative / 2) / no  # of each score, the share of negatives that it exceeds
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
    """The calibration curve of p (n,) against y (n,): ten Bins of equal width, without the empty ones."""
    rows, positives, probability = _tenths(p, y, weight)
    return tuple(
        Bin(
            i / 10,
            (i + 1) / 10,
            round(rows[i]),
            round(positives[i]),
            float(probability[i] / rows[i]),
            *wilson(rows[i], positives[i] / rows[i]),
        )
        for i in range(10)
        if round(rows[i]) > 0
    )


def calibration_error(p: Floats, y: Floats, weight: Floats) -> float:
    """Metrics.calibration_error, from counts that are not rounded as those of the Bins are."""
    rows, positives, probability = _tenths(p, y, weight)
    return float(np.abs(probability - positives).sum() / rows.sum())


def _tenths(p: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """(rows, positive rows, sum of p), (10,) each, by weight, of the rows in each tenth of the probability."""
    tenth = np.minimum((p * 10).astype(int), 9)
    return counted(tenth, weight, 10), counted(tenth, weight * y, 10), counted(tenth, weight * p, 10)


def evaluate(
    scores: HeldOut,
    link: str,
    threshold: float,
    losses: Sequence[float],
    features: Sequence[Feature],
    model: LogisticModel,
    x: Floats,
    y: Floats,
    weight: Floats,
) -> Evaluation:
    """The Evaluation of held-out scores at a threshold.

    losses: the mean loss before each step of the fit. model: fitted to all rows. x (n, d), y, weight (n,): some of
    them, on which each feature alone is measured.
    """
    logit, outcome, counts = scores.logit, scores.y, scores.weight
    negative, positive = weights_by_score(logit, outcome, counts)
    p = probabilities(link, logit)
    grid = sorted({threshold, *(percent / 100 for percent in range(1, 100))})
    twentieth = np.minimum((p * 20).astype(int), 19)
    shown = np.unique(np.linspace(0, len(losses) - 1, min(len(losses), 200)).round().astype(int))
    return Evaluation(
        how=scores.how,
        share=float(np.average(outcome, weights=counts)),
        repeated=scores.repeated,
        metrics=metrics(logit, outcome, link, threshold, counts),
        calibration=calibration(p, outcome, counts),
        roc=_roc(negative, positive),
        negatives=_counts(twentieth, counts * (outcome == 0)),
        positives=_counts(twentieth, counts * outcome),
        thresholds=tuple(at_threshold(link, one, logit, outcome, counts) for one in grid),
        losses=tuple(losses[index] for index in shown),
        auc={f.name: feature_auc(f, column, y, weight) for f, column in zip(features, x.T, strict=True)},
        auc_interval=auc_interval(logit, outcome, counts),
        distributions={f.name: distribution(f, column, weight) for f, column in zip(features, x.T, strict=True)},
        inflation=inflation(model, [feature.name for feature in features], x, weight),
    )


def distribution(feature: Feature, column: Floats, weight: Floats) -> tuple[float, ...]:
    """The shares of the rows with a value at each level, or in each of 20 bins of equal width across the range."""
    value, counts = column[~np.isnan(column)], weight[~np.isnan(column)]
    if feature.kind == "numeric":
        low, high = feature.range
        value = np.clip(np.nan_to_num((value - low) / ((high - low) or 1.0) * 20), 0, 19)
    found = counted(value.astype(int), counts, len(feature.levels) or 20)
    return tuple((found / (found.sum() or 1.0)).tolist())


def inflation(model: LogisticModel, names: Sequence[str], x: Floats, weight: Floats) -> dict[str, float]:
    """The variance inflation factor of each feature, given rows x (n, d); none where columns determine each other.

    A feature of several columns has the generalised factor, its root of as many columns, so that 5 means the same for
    all (Fox & Monette, JASA 87, 1992).
    """
    columns = model.columns(torch.from_numpy(x)).numpy()
    with np.errstate(all="ignore"):
        r = _correlation(columns, weight)
    found = {}
    for index, name in enumerate(names):
        own = model.source.numpy() == index
        with np.errstate(all="ignore"):
            parts = [np.linalg.slogdet(r[np.ix_(some, some)])[1] for some in (own, ~own, own | ~own)]
            factor = float(np.exp((parts[0] + parts[1] - parts[2]) / own.sum()))
        if math.isfinite(factor) and factor < 1e9:
            found[name] = factor
    return found


def _correlation(columns: Floats, weight: Floats) -> Floats:
    """The correlations (D, D) of columns (n, D) by weight (n,)."""
    centered = (columns - np.average(columns, axis=0, weights=weight)) * np.sqrt(weight / weight.sum())[:, None]
    covariance = centered.T @ centered
    deviation = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(deviation, deviation))


def feature_auc(feature: Feature, column: Floats, y: Floats, weight: Floats) -> float:
    """The area under the ROC curve of one column (n,) alone, 0.5 to 1, over the rows that have a value.

    A level of a categorical feature scores by its own share of positive rows.
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


def _counts(twentieth: npt.NDArray[np.intp], weight: Floats) -> tuple[int, ...]:
    return tuple(round(count) for count in counted(twentieth, weight, 20).tolist())
