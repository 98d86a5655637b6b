"""How well a model predicts rows that it was not fitted to, and which threshold suits that."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from passfail.manifest import SCORES, Bin, Metrics, Struct
from train import distributed
from train.errors import FitError
from train.evaluation.coefficients import Z95
from train.model.links import LINKS
from train.solvers.fit import fit
from train.table.imputation import filled
from train.table.out_of_core import BLOCK, each, pieces, taken

# Fewer rows of an outcome than these, and a held-out figure would be noise.
HELD_OUT_OF_EACH = 10
# With more rows than these, a fifth of them says as much as all, for one fit instead of one a fold.
MOST_CROSS_VALIDATED = 100_000
# Of a table of more rows, so many or a few more are looked at, evenly chosen, where a look is enough.
LOOKED_AT = 100_000


class Threshold(Struct, frozen=True):
    """What one threshold on the probability would do to the rows of an Evaluation; precision is 1 where none passes."""

    threshold: float
    precision: float
    recall: float
    accuracy: float
    false_positives: int
    false_negatives: int


class Evaluation(Struct, frozen=True):
    """How the model does on rows that the measured fit had not seen; the checkpoint keeps it for the report.

    how: in words, such as "5-fold cross-validation". Rows count by their weight, rounded. share: of the positive rows,
    by weight. repeated: the share of rows with a twin, outcome and all, among the rows of the fit that they were
    measured with. roc: (false positive rate, true positive rate), rising, from (0, 0) to (1, 1), about 200 points.
    negatives, positives: how many rows of each outcome have their probability in each of 20 bins of equal width.
    thresholds: 0.01 to 0.99. losses: the mean loss before each step of the fit on all rows, at most 200 of them, evenly
    chosen. auc: of each feature alone, {name: 0.5 to 1}.
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


def metrics(logit, y, link, threshold, weight):
    """Metrics of scores (n,) on the link's scale against y (n,) of 0 and 1, NumPy float64; both outcomes occur.

    threshold: on the probability. weight (n,): how many rows each counts for.
    """
    total, area = weight.sum(), auc(logit, y, weight)  # first, while nothing else of that length is there
    loss = _filled(len(y), lambda rows: LINKS[link].terms(*map(torch.from_numpy, (logit[rows], y[rows])))[0])
    loss = float((weight * loss).sum() / total)
    p = _probability(link, logit)
    return Metrics(
        rows=len(y),
        log_loss=loss,
        accuracy=float((weight * ((logit > SCORES[link](threshold)) == (y == 1))).sum() / total),
        auc=area,
        brier=float((weight * (p - y) ** 2).sum() / total),
        calibration_error=calibration_error(p, y, weight),
    )


def auc(score, y, weight):
    """The area under the ROC curve: the share of pairs of a positive and a negative row that the score orders right.

    Ties count half (Hanley & McNeil, Radiology 143, 1982).
    """
    negative, positive = _by_score(score, y, weight)
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def _by_score(score, y, weight):
    """The weights of the negative and of the positive rows at each different score, rising."""
    _, group = np.unique(score, return_inverse=True)
    return [np.bincount(group, weight * (y == outcome)) for outcome in (0, 1)]


def calibration(p, y, weight):
    """The calibration curve of p (n,) against y (n,) of 0 and 1: ten Bins of equal width, the empty ones left out."""
    rows, positives, probability = _tenths(p, y, weight)
    return tuple(
        Bin(i / 10, (i + 1) / 10, round(rows[i]), round(positives[i]), float(probability[i] / rows[i]), *interval)
        for i in range(10)
        if round(rows[i]) > 0 and (interval := wilson(rows[i], positives[i] / rows[i]))
    )


def calibration_error(p, y, weight):
    """Metrics.calibration_error, of counts that are not rounded as those of Bins are."""
    rows, positives, probability = _tenths(p, y, weight)
    return float(np.abs(probability - positives).sum() / rows.sum())


def _tenths(p, y, weight):
    """(rows, positives, the sum of their p), (10,) each, of the rows in each tenth of the probability, by weight."""
    place = np.minimum((p * 10).astype(int), 9)
    return [np.bincount(place, w, minlength=10) for w in (weight, weight * y, weight * p)]


def wilson(n, share):
    """The 95 % interval of a share seen in n > 0 rows (Wilson, JASA 22, 1927)."""
    middle = share + Z95**2 / (2 * n)
    reach = Z95 * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    low, high = ((middle + side * reach) / (1 + Z95**2 / n) for side in (-1, 1))
    return max(0.0, float(low)), min(1.0, float(high))


class Scores(NamedTuple):
    """Rows that were held out, of all processes, and what the fits that had not seen them say: all (n,), NumPy."""

    how: str
    logit: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    repeated: float


def held_out(features, x, y, weight, options, folds=5):
    """Scores of rows held out of the fit, or None where there are too few rows of an outcome.

    Of every row, by cross-validation in so many folds; of a fifth of them, where there are very many. The split is
    seeded and keeps the share of positives; what missing cells become is taken from the other rows, too.
    """
    counted = y[weight > 0]
    negative, positive = distributed.total(torch.tensor([len(counted) - counted.sum(), counted.sum()])).tolist()
    if min(negative, positive) < max(HELD_OUT_OF_EACH, folds):
        return None
    crossed = negative + positive <= MOST_CROSS_VALIDATED
    fold = _folds(y, folds if crossed else 5, options.seed)
    logit = out_of_fold(features, x, y, weight, options, fold, range(folds) if crossed else [0])
    rows = ~np.isnan(logit)
    how = f"{folds}-fold cross-validation" if crossed else "a fifth of the rows held out"
    twins, out = distributed.total(torch.tensor([_twins(x, y, fold, rows), rows.sum()])).tolist()
    return Scores(how, *everyone(logit[rows], y[rows], weight[rows]), twins / out)


def everyone(*arrays):
    """The arrays of all processes, put together in their order."""
    alone = distributed.ranks() == 1
    return [array if alone else np.concatenate(distributed.gathered(array)) for array in arrays]


def cross_validated(features, x, y, weight, options, folds):
    """The logit (n,) of every row, from a fit on the folds that it is not in: stratified and seeded."""
    fold = _folds(y, folds, options.seed)
    return out_of_fold(features, x, y, weight, options, fold, range(folds))


def out_of_fold(features, x, y, weight, options, fold, wanted):
    """The logits (n,) of the rows whose fold (n,) is wanted, from a fit on the others; NaN for the rest."""
    logit = np.full(len(y), np.nan)
    for one in wanted:
        out = fold == one
        kept, counts = taken(x, ~out), weight[~out]
        fitted = fit(filled(features, kept, counts), kept, y[~out], counts, options, log=lambda line: None)
        logit[out] = logits(fitted.model, taken(x, out))
    return logit


def _folds(y, folds, seed):
    """The fold (n,) of each row, from 0 on; the rows of each outcome are shared out evenly."""
    generator = np.random.default_rng(seed)
    fold = np.empty(len(y), dtype=np.min_scalar_type(folds))
    for outcome in (0, 1):
        rows = np.flatnonzero(y == outcome)
        fold[generator.permutation(rows)] = np.arange(len(rows)) % folds
    return fold


def _twins(x, y, fold, rows):
    """How many of the rows (n,) have a twin in another fold of this process: equal in all of x and in y."""
    multiples = np.random.default_rng(0).standard_normal(x.shape[1] + 1)
    key = y * multiples[-1]  # a sum of random multiples is equal for equal rows, and but for a miracle only for them
    for part in pieces(len(x), BLOCK, x):
        for column, multiple in zip(x[part].T, multiples, strict=False):
            key[part] += np.where(np.isnan(column), 0.5, column) * multiple
    _, group = np.unique(key, return_inverse=True)
    least, most = np.full(group.max() + 1, fold.max()), np.zeros(group.max() + 1, fold.dtype)
    np.minimum.at(least, group, fold)
    np.maximum.at(most, group, fold)
    return float((least != most)[group[rows]].sum())


def evaluation(scores, link, threshold, losses, features, x, y, weight):
    """The Evaluation of held-out Scores at a threshold; losses: of the fit; x, y, weight: rows to judge columns by."""
    logit, outcome, counts = scores.logit, scores.y, scores.weight
    negative, positive = _by_score(logit, outcome, counts)
    p = _probability(link, logit)
    place = np.minimum((p * 20).astype(int), 19)
    shown = np.unique(np.linspace(0, len(losses) - 1, min(len(losses), 200)).round().astype(int))
    return Evaluation(
        how=scores.how,
        share=float(np.average(outcome, weights=counts)),
        repeated=scores.repeated,
        metrics=metrics(logit, outcome, link, threshold, counts),
        calibration=calibration(p, outcome, counts),
        roc=_roc(negative, positive),
        negatives=_counts(place, counts * (outcome == 0)),
        positives=_counts(place, counts * outcome),
        thresholds=tuple(_at(link, percent / 100, logit, outcome, counts) for percent in range(1, 100)),
        losses=tuple(losses[index] for index in shown),
        auc={f.name: alone(f, column, y, weight) for f, column in zip(features, x.T, strict=True)},
    )


def alone(feature, column, y, weight):
    """How well a column (n,) alone tells the outcome: the area under its ROC curve, 0.5 to 1.

    Of the rows that have a value; a group counts by its own share of positives.
    """
    known = ~np.isnan(column)
    value, y, weight = column[known], y[known], weight[known]
    if feature.kind == "categorical":
        index = value.astype(int)
        positives, rows = np.bincount(index, weight * y), np.bincount(index, weight)
        value = (positives / np.maximum(rows, 1e-300))[index]
    if not 0 < (weight * y).sum() < weight.sum():
        return 0.5
    area = auc(value, y, weight)
    return max(area, 1 - area)


def _roc(negative, positive):
    """At most 201 points of the ROC curve, evenly spaced along it."""
    fall, hit = (np.append(0.0, np.cumsum(part[::-1]) / part.sum()) for part in (negative, positive))
    along = np.searchsorted(fall + hit, np.linspace(0, 2, 201))
    points = np.unique(np.clip(along, 0, len(fall) - 1))
    return tuple((float(fall[index]), float(hit[index])) for index in sorted({0, *points.tolist(), len(fall) - 1}))


def _counts(place, weight):
    return tuple(round(count) for count in np.bincount(place, weight, minlength=20).tolist())


def _at(link, threshold, logit, y, weight):
    passes = logit > SCORES[link](threshold)
    hits, alarms = (weight * (passes & (y == 1))).sum(), (weight * (passes & (y == 0))).sum()
    misses = (weight * y).sum() - hits
    return Threshold(
        threshold=threshold,
        precision=float(hits / (hits + alarms)) if hits + alarms else 1.0,
        recall=float(hits / (hits + misses)),
        accuracy=float(1 - (alarms + misses) / weight.sum()),
        false_positives=round(alarms),
        false_negatives=round(misses),
    )


def cheapest(cost_fp, cost_fn):
    """The threshold of least expected cost where probabilities are right: cost_fp / (cost_fp + cost_fn).

    A row of probability p costs (1 - p) cost_fp if it passes and p cost_fn if not (Elkan, IJCAI 2001).
    """
    return cost_fp / (cost_fp + cost_fn)


def reaching(what, wanted, scores, link):
    """The threshold whose verdicts on held-out Scores reach a wanted share, 0 to 1, and lose least of the other.

    what: "precision", of the rows that pass, how many are positive; or "recall", of the positive rows, how many pass.
    Raises FitError where no threshold reaches it, saying what the best does.
    """
    negative, positive = (part[::-1].cumsum() for part in _by_score(scores.logit, scores.y, scores.weight))
    share = positive / (positive + negative) if what == "precision" else positive / positive[-1]
    reached = np.flatnonzero(share >= wanted)
    if len(reached) == 0:
        raise FitError(f"no threshold reaches a {what} of {wanted:g} on held-out rows; the best is {share.max():.4f}")
    # The most rows pass that may for precision; the fewest that must for recall.
    last = reached[-1] if what == "precision" else reached[0]
    score = np.unique(scores.logit)[::-1].copy()
    p = _probability(link, score)
    low = p[last + 1] if last + 1 < len(p) else 0.0
    threshold = float((p[last] + low) / 2)
    if not (low < threshold < 1 and (_probability(link, score) > threshold).sum() == last + 1):
        raise FitError(f"the threshold of that {what} is too near 0 or 1 to be told apart; ask for less")
    return threshold


def logits(model, x):
    """The model's logits for x (n, d), both NumPy float64."""
    return _filled(len(x), lambda rows: model(torch.from_numpy(x[rows]))[0], x)


def _filled(n, compute, *arrays):
    """An array (n,) of what compute(slice of rows), a tensor, says of each block; arrays: the spooled it reads."""
    found = np.empty(n)

    def block(rows):
        with torch.inference_mode():
            found[rows] = compute(rows).numpy()

    for _ in each(partial(block, rows) for rows in pieces(n, BLOCK, *arrays)):
        pass
    return found


def looked_at(x, y, weight):
    """At most about LOOKED_AT of the rows of all processes, evenly chosen: (x, y, weight), each as given."""
    total = distributed.total(torch.tensor([len(y)])).item()
    step = -(-total // LOOKED_AT)
    chosen = np.concatenate([x[rows][::step].copy() for rows in pieces(len(x), step * BLOCK, x)])
    return everyone(chosen, y[::step], weight[::step])


def _probability(link, logit):
    return LINKS[link].probability(torch.from_numpy(logit)).numpy()
