"""The threshold on the probability that meets a goal."""

from typing import Literal

import numpy as np

from train.errors import FitError
from train.evaluation.cross_validation import HeldOut
from train.evaluation.metrics import probabilities, weights_by_score


def least_cost(cost_fp: float, cost_fn: float) -> float:
    """The threshold of least expected cost if probabilities are right.

    It is cost_fp / (cost_fp + cost_fn).

    A row of probability p costs (1 - p) cost_fp if it is answered positive and p cost_fn if not (Elkan, IJCAI 2001).
    """
    return cost_fp / (cost_fp + cost_fn)


def reaching(figure: Literal["precision", "recall"], goal: float, scores: HeldOut, link: str) -> float:
    """Choose the threshold that reaches a precision or recall at the least loss of the other.

    Parameters
    ----------
    figure : precision, the share of correct positive answers; recall, the share of positive rows found.
    goal : in (0, 1].
    scores : the scores of the held-out rows.

    Returns
    -------
    The threshold on the probability, in (0, 1).

    Raises
    ------
    FitError : no threshold reaches it; the message gives the best value.
    """
    negative, positive = (part[::-1].cumsum() for part in weights_by_score(scores.logit, scores.y, scores.weight))
    share = positive / (positive + negative) if figure == "precision" else positive / positive[-1]
    reached = np.flatnonzero(share >= goal)
    if len(reached) == 0:
        raise FitError(f"no threshold reaches a {figure} of {goal:g} on held-out rows; the best is {share.max():.4f}")
    # Precision allows as many positive answers as possible; recall needs as few as possible.
    last = reached[-1] if figure == "precision" else reached[0]
    score = np.unique(scores.logit)[::-1].copy()
    p = probabilities(link, score)
    low = p[last + 1] if last + 1 < len(p) else 0.0
    threshold = float((p[last] + low) / 2)
    if not (low < threshold < 1 and (probabilities(link, score) > threshold).sum() == last + 1):
        raise FitError(f"the threshold for a {figure} of {goal:g} is too close to 0 or 1; ask for a lower {figure}")
    return threshold
