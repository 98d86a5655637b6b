"""Neighbouring floats, and bisection over the floats themselves."""

from collections.abc import Callable

import numpy as np

from passfail.arrays import Bools, Floats, Ints

LARGEST = float(np.finfo(np.float64).max)
TINY = float(np.finfo(np.float64).tiny)  # the smallest positive normal number


def ordinal(value: Floats | float) -> Ints:
    """The rank of each float64 among all floats; -0 and 0 have the same rank."""
    bits = np.asarray(value, dtype=np.float64).view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def from_ordinal(place: Ints) -> Floats:
    """The inverse of `ordinal`."""
    return np.where(place < 0, np.int64(-(2**63)) - place, place).view(np.float64)


def bisect(start: Floats, end: Floats, holds: Callable[[Floats], Bools]) -> tuple[Floats, Floats]:
    """Bring each pair of floats together until they are neighbours, in at most 64 steps.

    Parameters
    ----------
    start, end : (n,), finite.
    holds : values (n,) -> a condition on each, bool (n,): true at `start`, false at `end`.

    Returns
    -------
    The last value for which the condition holds and the first for which it does not, (n,) each.
    """
    before, after = ordinal(start), ordinal(end)
    while (np.maximum(before, after) - 1 > np.minimum(before, after)).any():
        middle = (before >> 1) + (after >> 1) + (before & after & 1)  # their sum would overflow
        same = holds(from_ordinal(middle))
        before, after = np.where(same, middle, before), np.where(same, after, middle)
    return from_ordinal(before), from_ordinal(after)
