"""The model written out in NumPy from the manifest's parameters: what every engine is compared with.

It does not answer requests. Its logits are those of the engines to the bit, because all of them add in one order.
"""

import math
from typing import Protocol

import numpy as np

from passfail.arrays import Bools, Floats, Ints
from passfail.manifest import Feature, Hidden, Parameters
from passfail.proof.floats import LARGEST, bisect


class Subject(Protocol):
    """What a proof needs to know of a model; a Manifest has it all."""

    @property
    def features(self) -> tuple[Feature, ...]: ...

    @property
    def parameters(self) -> Parameters: ...

    @property
    def link(self) -> str: ...

    @property
    def logit_threshold(self) -> float: ...


def values(subject: Subject, x: Floats) -> Floats:
    """x (n, d) -> the columns of the design matrix before they are scaled (n, D).

    A missing value becomes its feature's fill; where there is none, and for a level never seen, it is NaN.
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
            seen = np.isin(value, np.arange(len(feature.levels)))
            value = np.where(seen, value == column.level, np.nan)
        columns[:, index] = value
    return columns


def terms(subject: Subject, x: Floats) -> Floats:
    """x (n, d) -> the terms that add up to the logit (n, D), the intercept left out."""
    center, scale, weight = scaling(subject)
    with np.errstate(all="ignore"):
        return np.asarray((values(subject, x) - center) / scale * weight)


def scaling(subject: Subject) -> Floats:
    """The columns' (center, scale, weight), float64 (3, D)."""
    return np.array([(c.center, c.scale, c.weight) for c in subject.parameters.columns]).T


def total(subject: Subject, terms: Floats) -> Floats:
    """terms (n, D) -> the logit (n,): added up in the order of the columns, the intercept last.

    With a hidden layer its units take the terms, and it is their sum.
    """
    with np.errstate(all="ignore"):
        if subject.parameters.hidden:
            terms = _units(subject.parameters.hidden, terms)
        sums: Floats = np.add.accumulate(terms, axis=1)[:, -1]
        return sums + subject.parameters.intercept


def _units(hidden: Hidden, terms: Floats) -> Floats:
    """What each unit of the hidden layer adds to the logit: terms (n, D) -> (n, H)."""
    from passfail.proof.activations import ACTIVATIONS, NUMPY  # only here: few models need its tables

    inputs = np.array([unit.inputs for unit in hidden.units]).T
    score = np.add.accumulate(terms[:, :, None] * inputs, axis=1)[:, -1] + [unit.bias for unit in hidden.units]
    answer: Floats = ACTIVATIONS[hidden.activation](NUMPY, score, hidden.slope)
    return answer * [unit.weight for unit in hidden.units]


def logit(subject: Subject, x: Floats) -> Floats:
    """x (n, d) -> the logit (n,), NaN where a row has no answer."""
    return total(subject, terms(subject, x))


def verdict(subject: Subject, x: Floats) -> Bools:
    """x (n, d) -> whether the logit exceeds the threshold's (n,)."""
    return logit(subject, x) > subject.logit_threshold


def flip(subject: Subject, x: Floats, column: Ints) -> tuple[Floats, Floats]:
    """For each row, the two neighbouring values of one of its features between which the verdict changes.

    Every operation of the logit is monotone, so there is one such place at most; bisection finds it.

    Parameters
    ----------
    x : (n, d).
    column : (n,), which column of the design matrix to move, a numeric one.

    Returns
    -------
    The last value from the row's own on that has the row's verdict, and the first that has the other, (n,) each; NaN
    where no value has it.
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
