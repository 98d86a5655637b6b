"""How well a model predicts."""

from functools import partial

import msgspec
import numpy as np
import torch

from serve.manifest import SCORES, Bin, Metrics, Struct
from train import distributed
from train.fit import fit
from train.links import LINKS
from train.spool import BLOCK, each, pieces, taken
from train.statistics import Z95

# Fewer rows than these, and a held-out figure would be noise.
HELD_OUT_ROWS = 50
HELD_OUT_OF_EACH = 10


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

    how: in words, such as "5-fold cross-validation". roc: (false positive rate, true positive rate), rising, from
    (0, 0) to (1, 1), at most 201 points. negatives, positives: how many rows of each outcome have their probability in
    each of 20 bins of equal width. thresholds: at most 101, rising. losses: the mean loss before each step of the fit
    on all rows, at most 200 of them, evenly chosen. auc: of each feature alone, {name: 0.5 to 1}, on all rows.
    """

    how: str
    metrics: Metrics
    calibration: tuple[Bin, ...]
    roc: tuple[tuple[float, float], ...]
    negatives: tuple[int, ...]
    positives: tuple[int, ...]
    thresholds: tuple[Threshold, ...]
    losses: tuple[float, ...]
    auc: dict[str, float]


def metrics(logit, y, link="logit"):
    """Metrics of scores (n,) on the link's scale against y (n,) of 0 and 1, NumPy float64, of all processes.

    The area under the ROC curve is the share of pairs of a positive and a negative row that the logit puts in the
    right order, ties counting half (Hanley & McNeil, Radiology 143, 1982).
    """
    logit, y = (np.concatenate(distributed.gathered(share)) for share in (logit, y))
    loss = LINKS[link].terms(torch.from_numpy(logit), torch.from_numpy(y))[0].numpy()
    _, group, sizes = np.unique(logit, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    positives = int(y.sum())
    pairs = positives * (len(y) - positives)
    p = LINKS[link].probability(torch.from_numpy(logit)).numpy()
    return Metrics(
        rows=len(y),
        log_loss=float(loss.mean()),
        accuracy=float(((logit > SCORES[link](0.5)) == (y == 1)).mean()),
        auc=float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / pairs),
        brier=float(((p - y) ** 2).mean()),
        calibration_error=calibration_error(calibration(p, y)),
    )


def calibration(p, y):
    """The calibration curve of p (n,) against y (n,) of 0 and 1: ten Bins of equal width, the empty ones left out."""
    place = np.minimum((p * 10).astype(int), 9)
    return tuple(
        Bin(lower / 10, (lower + 1) / 10, len(some), int(some.sum()), float(p[place == lower].mean()), *wilson(some))
        for lower in range(10)
        if len(some := y[place == lower])
    )


def calibration_error(bins):
    """Metrics.calibration_error of some Bins."""
    return float(sum(abs(b.rows * b.probability - b.positives) for b in bins) / sum(b.rows for b in bins))


def wilson(y):
    """The 95 % interval of the share of ones in y (n,), n >= 1 (Wilson, JASA 22, 1927)."""
    n, share = len(y), y.mean()
    middle = share + Z95**2 / (2 * n)
    reach = Z95 * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    low, high = ((middle + side * reach) / (1 + Z95**2 / n) for side in (-1, 1))
    return max(0.0, float(low)), min(1.0, float(high))


def held_out(features, x, y, options):
    """Metrics on a fifth of the rows, of a fit on the others, or None where there are too few rows.

    The split is seeded and keeps the share of positives; what missing cells become is taken from the others, too.
    """
    negative, positive = distributed.total(torch.tensor([len(y) - y.sum(), y.sum()])).tolist()
    if negative + positive < HELD_OUT_ROWS or min(negative, positive) < HELD_OUT_OF_EACH:
        return None
    generator = np.random.default_rng(options.seed)
    out = np.zeros(len(y), dtype=bool)
    for outcome in (0, 1):
        rows = np.flatnonzero(y == outcome)
        out[generator.choice(rows, max(1, round(len(rows) / 5)), replace=False)] = True
    kept, measured = taken(x, ~out), taken(x, out)
    features = [_refilled(feature, column) for feature, column in zip(features, kept.T, strict=True)]
    fitted = fit(features, kept, y[~out], options, log=lambda line: None)
    return metrics(logits(fitted.model, measured), y[out], options.link)


def logits(model, x):
    """The model's logits for x (n, d), both NumPy float64."""

    def block(rows):
        with torch.inference_mode():
            return model(torch.from_numpy(x[rows]))[0].numpy()

    return np.concatenate(list(each(partial(block, rows) for rows in pieces(len(x), BLOCK, x))))


def _refilled(feature, column):
    """The feature with the fill that these cells (n,) give, as train/data.py has it from all of the table's."""
    known = column[~np.isnan(column)]
    if not feature.nullable or len(known) == 0:
        return feature
    fill = known.mean() if feature.kind == "numeric" else np.bincount(known.astype(int)).argmax()
    return msgspec.structs.replace(feature, fill=float(fill))
