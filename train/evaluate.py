"""How well a model predicts."""

import msgspec
import numpy as np
import torch

from serve.manifest import SCORES, Metrics
from train.fit import fit
from train.links import LINKS

# Fewer rows than these, and a held-out figure would be noise.
HELD_OUT_ROWS = 50
HELD_OUT_OF_EACH = 10


def metrics(logit, y, link="logit"):
    """Metrics of scores (n,) on the link's scale against y (n,) of 0 and 1, NumPy float64; both outcomes occur.

    The area under the ROC curve is the share of pairs of a positive and a negative row that the logit puts in the
    right order, ties counting half (Hanley & McNeil, Radiology 143, 1982).
    """
    loss = LINKS[link].terms(torch.from_numpy(logit), torch.from_numpy(y))[0].numpy()
    _, group, sizes = np.unique(logit, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    positives = int(y.sum())
    pairs = positives * (len(y) - positives)
    return Metrics(
        rows=len(y),
        log_loss=float(loss.mean()),
        accuracy=float(((logit > SCORES[link](0.5)) == (y == 1)).mean()),
        auc=float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / pairs),
    )


def held_out(features, x, y, options):
    """Metrics on a fifth of the rows, of a fit on the others, or None where there are too few rows.

    The split is seeded and keeps the share of positives; what missing cells become is taken from the others, too.
    """
    if len(y) < HELD_OUT_ROWS or min(y.sum(), len(y) - y.sum()) < HELD_OUT_OF_EACH:
        return None
    generator = np.random.default_rng(options.seed)
    out = np.zeros(len(y), dtype=bool)
    for outcome in (0, 1):
        rows = np.flatnonzero(y == outcome)
        out[generator.choice(rows, max(1, round(len(rows) / 5)), replace=False)] = True
    features = [_refilled(feature, column) for feature, column in zip(features, x[~out].T, strict=True)]
    fitted = fit(features, torch.from_numpy(x[~out]), torch.from_numpy(y[~out]), options, log=lambda line: None)
    return metrics(logits(fitted.model, x[out]), y[out], options.link)


def logits(model, x):
    """The model's logits for x (n, d), both NumPy float64."""
    with torch.inference_mode():
        return model(torch.from_numpy(x))[0].numpy()


def _refilled(feature, column):
    """The feature with the fill that these cells (n,) give, as train/data.py has it from all of the table's."""
    known = column[~np.isnan(column)]
    if not feature.nullable or len(known) == 0:
        return feature
    fill = known.mean() if feature.kind == "numeric" else np.bincount(known.astype(int)).argmax()
    return msgspec.structs.replace(feature, fill=float(fill))
