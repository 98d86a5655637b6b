"""The links in plain numbers: the score of a probability, the range, the error allowed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

BITS = 2.0**48  # if a polynomial replaces a function, the score is first rounded to 48 binary digits


@dataclass(frozen=True)
class Link:
    """A link; train/model/links.py has its probability in PyTorch, proof/exact.py exactly.

    Attributes
    ----------
    score : the score (the output `logit`) of a probability p, 0 < p < 1. Its error is at most
        SCORE_ULP * 2^-53 * (1 + |score|); tests/unit/passfail/proof/test_rounding.py measures it.
    probability : the probability of a score, for intervals; the runtime computes a row's own.
    least, most : the scores beyond which the probability no longer changes.
    ulp : the largest error of a probability, given its score, in units in the last place.
    """

    score: Callable[[float], float]
    probability: Callable[[float], float]
    least: float
    most: float
    ulp: int


SCORE_ULP = 8


def _cauchit(p: float) -> float:
    """tan(pi (p - 1/2)); in the tails from the distance to 0 or 1, which keeps the digits."""
    if 0.25 <= p <= 0.75:
        return math.tan(math.pi * (p - 0.5))
    return -1 / math.tan(math.pi * p) if p < 0.25 else 1 / math.tan(math.pi * (1 - p))


LINKS = {
    "logit": Link(
        lambda p: math.log(p / (1 - p)), lambda z: 1 / (1 + math.exp(min(-z, 709.0))), -math.inf, math.inf, 4
    ),
    # The tail multiplies the rounding of the score's square.
    "probit": Link(NormalDist().inv_cdf, lambda z: math.erfc(-z / math.sqrt(2)) / 2, -40.0, 40.0, 16),
    "cloglog": Link(lambda p: math.log(-math.log1p(-p)), lambda z: -math.expm1(-math.exp(min(z, 7.0))), -745.0, 7.0, 4),
    "cauchit": Link(_cauchit, lambda z: math.atan2(1, -z) / math.pi, -1e300, 1e300, 4),
}


def score_at(link: str, probability: float) -> float:
    """The score at which a link's probability is this one, 0 < probability < 1."""
    return LINKS[link].score(probability)
