"""The choice of the L1 or L2 penalty by cross-validation."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from passfail.arrays import Floats
from train import distributed
from train.errors import FitError
from train.evaluation.cross_validation import assign_folds, group_folds, out_of_fold
from train.evaluation.metrics import metrics
from train.solvers.options import Options
from train.table.data import Data

PENALTIES = tuple(10.0 ** (half / 2) for half in range(-6, 9))  # 0.001 to 10,000


def choose_penalty(
    data: Data, options: Options, names: Sequence[str], folds: int, group: Floats | None = None
) -> tuple[Options, str]:
    """Choose l1, l2 or both by the one-standard-error rule.

    The source is Breiman et al., Classification and Regression Trees, 1984, 3.4.3.

    Parameters
    ----------
    names : "l1", "l2" or both, which are then equal.
    group : as in `held_out`.

    Returns
    -------
    (the options with the chosen penalty, a sentence with the held-out log loss of each penalty).

    The choice is the largest of PENALTIES with a held-out log loss within one standard error of the least.
    """
    given = " and ".join(f"--{name}" for name in names)
    if distributed.ranks() > 1:
        raise FitError(f"{given} auto needs one process: choose a number, or start without torchrun")
    y, weight = data.y, data.weight
    if (rarer := int(min(y.sum(), len(y) - y.sum()))) < folds:
        found = f"only {rarer} rows are {'positive' if y.sum() == rarer else 'negative'}, for {folds} folds"
        raise FitError(f"{given} auto: {found}; use fewer --folds, or a number")
    fold = assign_folds(y, folds, options.seed) if group is None else group_folds(y, group, folds)
    losses = np.empty((len(PENALTIES), folds))
    for index, penalty in enumerate(PENALTIES):
        logit = out_of_fold(data, replace(options, **dict.fromkeys(names, penalty)), fold, range(folds))
        for one in range(folds):
            out = fold == one
            losses[index, one] = metrics(logit[out], y[out], options.link, 0.5, weight[out]).log_loss
    mean, error = losses.mean(axis=1), losses.std(axis=1, ddof=1) / np.sqrt(folds)
    best = int(mean.argmin())
    chosen = PENALTIES[int(np.flatnonzero(mean <= mean[best] + error[best])[-1])]
    path = ", ".join(f"{penalty:.3g}: {loss:.4f}" for penalty, loss in zip(PENALTIES, mean, strict=True))
    return replace(options, **dict.fromkeys(names, chosen)), (
        f"{given} {chosen:.6g} was chosen by {folds}-fold cross-validation: the largest whose log loss is within one "
        f"standard error ({error[best]:.4f}) of the least. Held-out log loss by penalty: {path}."
    )
