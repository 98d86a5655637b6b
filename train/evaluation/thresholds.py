"""Thresholds on the probability: their effect on held-out rows, and the one for a goal."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from passfail.arrays import Floats
from passfail.links import score_at
from passfail.measurements import Struct
from train.errors import FitError
from train.evaluation.cross_validation import HeldOut
from train.model.links import LINKS


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
        """The precision for people, who must not read a 1 where no row is answered positive."""
        return f"{self.precision:.4f}" if self.answered else "undefined: no row is answered positive"


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


def at_threshold(link: str, threshold: float, logit: Floats, y: Floats, weight: Floats) -> Threshold:
    """The Threshold record of one threshold, for scores, outcomes and weights (n,) each."""
    positive = logit > score_at(link, threshold)
    true_positives, false_positives = ((weight * (positive & (y == outcome))).sum() for outcome in (1, 0))
    false_negatives = (weight * y).sum() - true_positives
    answered = true_positives + false_positives
    return Threshold(
        threshold=threshold,
        precision=float(true_positives / answered) if answered else 1.0,
        recall=float(true_positives / (true_positives + false_negatives)),
        accuracy=float(1 - (false_positives + false_negatives) / weight.sum()),
        false_positives=round(false_positives),
        false_negatives=round(false_negatives),
    )


def least_cost(cost_fp: float, cost_fn: float) -> float:
    """The threshold of least expected cost if probabilities are right.

    It is cost_fp / (cost_fp + cost_fn).

    A row of probability p costs (1 - p) cost_fp if it is answered positive and p cost_fn if not (Elkan, IJCAI 2001).
    """
    return cost_fp / (cost_fp + cost_fn)


def reaching(what: Literal["precision", "recall"], wanted: float, scores: HeldOut, link: str) -> float:
    """Choose the threshold that reaches a precision or recall at the least loss of the other.

    Parameters
    ----------
    what : precision, the share of correct positive answers; recall, the share of positive rows found.
    wanted : in (0, 1].
    scores : the scores of the held-out rows.

    Returns
    -------
    The threshold on the probability, in (0, 1).

    Raises
    ------
    FitError : no threshold reaches it; the message gives the best value.
    """
    negative, positive = (part[::-1].cumsum() for part in weights_by_score(scores.logit, scores.y, scores.weight))
    share = positive / (positive + negative) if what == "precision" else positive / positive[-1]
    reached = np.flatnonzero(share >= wanted)
    if len(reached) == 0:
        raise FitError(f"no threshold reaches a {what} of {wanted:g} on held-out rows; the best is {share.max():.4f}")
    # Precision allows as many positive answers as possible; recall needs as few as possible.
    last = reached[-1] if what == "precision" else reached[0]
    score = np.unique(scores.logit)[::-1].copy()
    p = probabilities(link, score)
    low = p[last + 1] if last + 1 < len(p) else 0.0
    threshold = float((p[last] + low) / 2)
    if not (low < threshold < 1 and (probabilities(link, score) > threshold).sum() == last + 1):
        raise FitError(f"the threshold for a {what} of {wanted:g} is too close to 0 or 1; ask for a lower {what}")
    return threshold
