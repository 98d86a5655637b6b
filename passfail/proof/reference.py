"""The model written out in NumPy from the manifest's parameters: what every engine is compared with.

It does not answer requests. Its logits are those of the engines to the bit, because all of them add in one order.
"""

import math

import numpy as np


def values(manifest, x):
    """x (n, d) -> the columns of the design matrix before they are scaled (n, D).

    A missing value becomes its feature's fill; where there is none, and for a level never seen, it is NaN.
    """
    columns = np.empty((len(x), len(manifest.parameters.columns)))
    for index, column in enumerate(manifest.parameters.columns):
        feature = manifest.features[column.feature]
        value = x[:, column.feature]
        if column.missing:
            value = np.isnan(value)
        elif feature.fill is not None:
            value = np.where(np.isnan(value), feature.fill, value)
        if column.level is not None:
            seen = np.isin(value, np.arange(len(feature.levels)))
            value = np.where(seen, value == column.level, np.nan)
        columns[:, index] = value
    return columns


def terms(manifest, x):
    """x (n, d) -> the terms that add up to the logit (n, D), the intercept left out."""
    center, scale, weight = scaling(manifest)
    with np.errstate(all="ignore"):
        return (values(manifest, x) - center) / scale * weight


def scaling(manifest):
    """The columns' (center, scale, weight), float64 (D,) each."""
    return np.array([(c.center, c.scale, c.weight) for c in manifest.parameters.columns]).T


def total(manifest, terms):
    """terms (n, D) -> the logit (n,): added up in the order of the columns, the intercept last.

    With a hidden layer its units take the terms, and it is their sum.
    """
    with np.errstate(all="ignore"):
        if manifest.parameters.hidden:
            terms = _units(manifest.parameters.hidden, terms)
        return np.add.accumulate(terms, axis=1)[:, -1] + manifest.parameters.intercept


def _units(hidden, terms):
    """What each unit of the hidden layer adds to the logit: terms (n, D) -> (n, H)."""
    from passfail.proof.activations import ACTIVATIONS, NUMPY  # only here: few models need its tables

    inputs = np.array([unit.inputs for unit in hidden.units]).T
    score = np.add.accumulate(terms[:, :, None] * inputs, axis=1)[:, -1] + [unit.bias for unit in hidden.units]
    return ACTIVATIONS[hidden.activation](NUMPY, score, hidden.slope) * [unit.weight for unit in hidden.units]


def logit(manifest, x):
    """x (n, d) -> the logit (n,), NaN where a row has no answer."""
    return total(manifest, terms(manifest, x))


def flip(manifest, x, column):
    """For each row, the two neighbouring values of one of its features between which the verdict changes.

    x (n, d); column: int (n,), which column of the design matrix to move, a numeric one. Returns (before, after),
    float64 (n,): `before` still has the row's verdict and `after` has the other, both NaN where no value has it.
    Bisects over the floats themselves, from the row's own value on; every operation of the logit is monotone, so
    there is one place where the verdict changes.
    """
    each = np.arange(len(x))
    center, scale, weight = (part[column] for part in scaling(manifest))
    parts = terms(manifest, x)

    def verdict(value):
        with np.errstate(all="ignore"):
            parts[each, column] = (value - center) / scale * weight
        return total(manifest, parts) > manifest.logit_threshold

    start = values(manifest, x)[each, column]
    now = verdict(start)
    end = np.where(now == (weight < 0), 1.0, -1.0) * np.finfo(np.float64).max
    never = verdict(end) == now
    before, after = ordinal(start), ordinal(end)
    for _ in range(64):
        middle = (before >> 1) + (after >> 1) + (before & after & 1)
        stays = verdict(from_ordinal(middle)) == now
        before, after = np.where(stays, middle, before), np.where(stays, after, middle)
    return np.where(never, math.nan, from_ordinal(before)), np.where(never, math.nan, from_ordinal(after))


def ordinal(value):
    """float64 -> its place among all floats, int64; -0 and 0 share one."""
    bits = np.asarray(value, dtype=np.float64).view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def from_ordinal(place):
    """The inverse of `ordinal`."""
    return np.where(place < 0, np.int64(-(2**63)) - place, place).view(np.float64)
