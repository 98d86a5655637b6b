"""The closed form: the model in NumPy, computed from the manifest's parameters.

Each engine is compared with it; it does not answer requests. Its logits have the engines' bits, because all of them add
in the same order.
"""

import math
from typing import NamedTuple

import numpy as np

from passfail.arrays import Bools, Floats, Ints
from passfail.manifest import Feature, Hidden, Manifest, Parameters
from passfail.proof.floats import LARGEST, bisect


class Unpublished(NamedTuple):
    """The properties of a model that a proof uses; a Manifest has them too."""

    features: tuple[Feature, ...]
    parameters: Parameters
    logit_threshold: float
    link: str


Subject = Manifest | Unpublished


def values(subject: Subject, x: Floats) -> Floats:
    """The unscaled columns of the design matrix (n, D) for rows x (n, d).

    A missing value becomes its feature's fill. Without a fill, and for a level never seen, the value is NaN.
    """
    columns = np.empty((len(x), len(subject.parameters.columns)))
    for index, column in enumerate(subject.parameters.columns):
        feature = subject.features[column.feature]
        value = x[:, column.feature]
        if column.missing:
            value = np.isnan(value).astype(np.float64)
        elif feature.fill is not None:
            value = np.where(np.isnan(value), feature.fill, value)
        if column.level is not None:
            seen = (value == np.floor(value)) & (value >= 0) & (value < len(feature.levels))  # np.isin is slow at first
            value = np.where(seen, value == column.level, np.nan)
        columns[:, index] = value
    return columns


def terms(subject: Subject, x: Floats) -> Floats:
    """The terms (n, D) that add up to the logit of rows x (n, d), without the intercept."""
    center, scale, weight = scaling(subject)
    with np.errstate(all="ignore"):
        return np.asarray((values(subject, x) - center) / scale * weight)


def scaling(subject: Subject) -> Floats:
    """The columns' (center, scale, weight), float64 (3, D)."""
    return np.array([(c.center, c.scale, c.weight) for c in subject.parameters.columns]).T


def raw_units(fitted: Parameters, intercept: bool) -> tuple[Floats, Floats]:
    """Beta (P,), and the matrix (P, P) from it to intercept and slopes in the table's units."""
    free = int(intercept)
    weight, center, scale = np.array([(c.weight, c.center, c.scale) for c in fitted.columns]).T
    matrix = np.diag(np.append(np.ones(free), 1 / scale))
    if free:
        matrix[0, 1:] = -center / scale
    return np.append(np.full(free, fitted.intercept), weight), matrix


def total(subject: Subject, terms: Floats) -> Floats:
    """The logit (n,): the sum of terms (n, D) in the order of the columns, the intercept last.

    With a hidden layer, its units transform the terms, and the logit is the sum of the units.
    """
    with np.errstate(all="ignore"):
        if subject.parameters.hidden:
            terms = _units(subject.parameters.hidden, terms)
        sums: Floats = np.add.accumulate(terms, axis=1)[:, -1]
        return sums + subject.parameters.intercept


def _units(hidden: Hidden, terms: Floats) -> Floats:
    """The contributions (n, H) of the hidden layer's units to the logit, from terms (n, D)."""
    from passfail.proof.activations import ACTIVATIONS, NUMPY  # only here: few models need its tables

    inputs = np.array([unit.inputs for unit in hidden.units]).T
    score = np.add.accumulate(terms[:, :, None] * inputs, axis=1)[:, -1] + [unit.bias for unit in hidden.units]
    answer: Floats = ACTIVATIONS[hidden.activation](NUMPY, score, hidden.slope)
    return answer * [unit.weight for unit in hidden.units]


def logit(subject: Subject, x: Floats) -> Floats:
    """The logits (n,) of rows x (n, d); NaN if a row has no answer."""
    return total(subject, terms(subject, x))


def verdict(subject: Subject, x: Floats) -> Bools:
    """Whether the logits (n,) of rows x (n, d) exceed the threshold's logit."""
    return logit(subject, x) > subject.logit_threshold


def flip(subject: Subject, x: Floats, column: Ints) -> tuple[Floats, Floats]:
    """Find the two neighbouring values of a feature between which a row's verdict changes.

    Each operation of the logit is monotone, so there is at most one such place; bisection finds it.

    Parameters
    ----------
    x : (n, d).
    column : (n,), the column of the design matrix to move in each row, a numeric one.

    Returns
    -------
    The last value with the row's verdict, going away from the row's own value, and the first with the other verdict,
    (n,) each; NaN if no value has the other verdict.
    """
    each = np.arange(len(x))
    center, scale, weight = (part[column] for part in scaling(subject))
    parts = terms(subject, x)

    def positive(value: Floats) -> Bools:
        with np.errstate(all="ignore"):
            parts[each, column] = (value - center) / scale * weight
        return total(subject, parts) > subject.logit_threshold

    start = values(subject, x)[each, column]
    now = positive(start)
    end = np.where(now == (weight < 0), LARGEST, -LARGEST)
    never = positive(end) == now
    before, after = bisect(start, end, lambda value: positive(value) == now)
    return np.where(never, math.nan, before), np.where(never, math.nan, after)
