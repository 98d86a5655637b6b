"""Profile likelihood: intervals and tests of one coefficient, with all others refitted.

Unlike Wald's, they do not depend on the coefficient's scale. They also hold for a skewed likelihood, with few rows or
nearly separated outcomes (Heinze & Schemper, Statistics in Medicine 21, 2002).
"""

import math
from typing import NamedTuple

from torch import Tensor

from passfail.intervals import Z95
from train.solvers.objective import Objective, Point, inverse

MOST_STEPS = 60
LONGEST = 2.5  # the length of a step in standard errors; the first, from the optimum to a bound, is 1.96
CLOSE = 1e-10  # of the likelihood's logarithm


class Profile(NamedTuple):
    """A coefficient's 95 % interval and the p-values of the hypothesis 0.

    Attributes
    ----------
    lower, upper : the bounds; -inf or inf if the likelihood never falls enough.
    ratio : p of the likelihood-ratio test.
    score : p of the score test (Rao, Proc. Cambridge Phil. Soc. 44, 1948).
    """

    lower: float
    upper: float
    ratio: float
    score: float


def profile(objective: Objective, beta: Tensor, contrast: Tensor) -> Profile:
    """The Profile of contrast @ beta, contrast (P,), from the best fit beta (P,)."""
    best = objective.at(beta)
    lower, upper = bounds(objective, best, contrast)
    zero = _at_zero(objective, best, contrast)
    ratio = 2 * (zero.objective - best.objective)
    across = inverse(zero.sums.information)[0] @ contrast
    score = float(across @ zero.gradient) ** 2 / float(across @ contrast)
    return Profile(lower, upper, *(math.erfc(math.sqrt(max(chi, 0.0) / 2)) for chi in (ratio, score)))


def bounds(objective: Objective, best: Point, contrast: Tensor) -> tuple[float, float]:
    """The 95 % interval of contrast @ beta, from the Point of the best fit.

    For a row of the matrix, contrast @ beta is the row's score.
    """
    return _bound(objective, best, contrast, -1.0), _bound(objective, best, contrast, 1.0)


def _bound(objective: Objective, best: Point, contrast: Tensor, sign: float) -> float:
    """The bound at which the log profile likelihood is chi2(0.95, 1) / 2 below its maximum.

    Each step solves the quadratic model of the likelihood for it (Venzon & Moolgavkar, Applied Statistics 37, 1988).
    """
    target, point = best.objective + Z95**2 / 2, best
    for _ in range(MOST_STEPS):
        inverted, _ = inverse(point.curvature)
        descent = inverted @ point.gradient
        across = inverted @ contrast
        missing = 2 * (target - point.objective) + float(point.gradient @ descent)
        reach = math.sqrt(max(missing, 0.0) / float(contrast @ across))
        step = sign * reach * across - descent
        length = math.sqrt(max(float(step @ point.curvature @ step), 0.0))
        if abs(target - point.objective) < CLOSE * max(1.0, abs(target)) and length < 1e-6:
            return float(contrast @ point.beta)
        point = objective.at(point.beta + step * min(1.0, LONGEST / length if length else 1.0))
    return sign * math.inf


def _at_zero(objective: Objective, best: Point, contrast: Tensor) -> Point:
    """The Point of least objective with contrast @ beta = 0, by Newton's method in that plane."""
    point, value = best, math.inf
    for _ in range(MOST_STEPS):
        inverted, _ = inverse(point.curvature)
        across = inverted @ contrast
        push = float(contrast @ (inverted @ point.gradient) - contrast @ point.beta) / float(contrast @ across)
        step = push * across - inverted @ point.gradient
        trial = objective.at(point.beta + step)
        while trial.objective > value + CLOSE and step.abs().max() > 1e-12 * (1 + point.beta.abs().max()):
            step = step / 2
            trial = objective.at(point.beta + step)
        if abs(value - trial.objective) < CLOSE:
            return trial
        point, value = trial, trial.objective
    return point
