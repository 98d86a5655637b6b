"""Exact arithmetic, from the very bits of the parameters: the truth that every engine is measured against.

A number comes back as a pair of float64 arrays, (high, low): high is the float64 nearest to it, infinite where that
is, and high + low is the number itself to about 106 bits.
"""

import importlib.util
import math
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np

from passfail.arrays import Floats
from passfail.links import BITS, LINKS
from passfail.proof.reference import Subject

# Decimal rounds its exp correctly to this many digits; a float64 has 17.
DIGITS = Context(prec=40, Emin=-(10**6), Emax=10**6)
WHOLE = 1074  # every float64 times 2^1074 is a whole number


def logits(subject: Subject, columns: Floats) -> tuple[Floats, Floats]:
    """The exact logits of rows given as `reference.values` (n, D), finite, of a model without a hidden layer.

    Whole numbers throughout: weight / scale are brought to one denominator, and a float64 is a whole number of 2^-1074.

    Returns
    -------
    (high, low), float64 (n,) each.
    """
    shares = [Fraction(c.weight) / Fraction(c.scale) for c in subject.parameters.columns]
    denominator = math.lcm(*(share.denominator for share in shares))
    slopes = [int(share * denominator) for share in shares]
    centers = [_whole(column.center) for column in subject.parameters.columns]
    intercept = _whole(subject.parameters.intercept) * denominator
    unit = denominator << WHOLE
    high, low = [], []
    for row in columns.tolist():
        number = intercept
        for value, center, slope in zip(row, centers, slopes, strict=True):
            number += (_whole(value) - center) * slope
        try:
            high.append(number / unit)  # of whole numbers, Python's division is rounded correctly
            low.append((number - _whole(high[-1]) * denominator) / unit)
        except OverflowError:
            high.append(math.copysign(math.inf, number))
            low.append(0.0)
    return np.array(high), np.array(low)


def can(link: str) -> bool:
    """Whether this link's probabilities can be had exactly here: two of them take mpmath, which trainers have."""
    return link in ("logit", "cloglog") or importlib.util.find_spec("mpmath") is not None


def probabilities(link: str, z: Floats) -> tuple[Floats, Floats]:
    """The link's exact probabilities at scores z (n,), finite: (high, low), float64 (n,) each."""
    exact = [_PROBABILITIES[link](value) for value in z.tolist()]
    high = [float(number) for number in exact]
    low = [float(DIGITS.subtract(number, Decimal(h))) for number, h in zip(exact, high, strict=True)]
    return np.array(high), np.array(low)


def rounded(link: str, z: Floats) -> Floats:
    """The scores z (n,) as the link takes them: all but the logit round them first (train/model/links.py says why)."""
    if link == "logit":
        return z
    held = np.clip(z, LINKS[link].least, LINKS[link].most)
    if link == "cauchit":
        mantissa, exponent = np.frexp(held)
        return np.asarray(np.ldexp(np.round(mantissa * BITS), exponent - 48))
    return np.asarray(np.round(held * BITS) / BITS)


def _logit(z: float) -> Decimal:
    # Beyond these, it is 0 or 1 in float64 by far.
    return DIGITS.divide(1, DIGITS.add(1, DIGITS.exp(Decimal(min(max(-z, -9999.0), 9999.0)))))


def _cloglog(z: float) -> Decimal:
    if z < -40:  # 1 - exp(-u) = u - u^2 / 2 + ..., of which 40 digits would leave too few
        u = DIGITS.exp(Decimal(max(z, -9999.0)))
        return DIGITS.subtract(u, DIGITS.divide(DIGITS.multiply(u, u), 2))
    u = DIGITS.exp(Decimal(min(z, 9.0)))
    return Context(prec=80).subtract(1, Context(prec=80).exp(-u))


def _probit(z: float) -> Decimal:
    import mpmath

    with mpmath.workdps(40):
        return Decimal(mpmath.nstr(mpmath.ncdf(z), 40))


def _cauchit(z: float) -> Decimal:
    import mpmath

    with mpmath.workdps(40):
        return Decimal(mpmath.nstr(mpmath.atan2(1, -mpmath.mpf(z)) / mpmath.pi, 40))


_PROBABILITIES = {"logit": _logit, "probit": _probit, "cloglog": _cloglog, "cauchit": _cauchit}


def _whole(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return (numerator << WHOLE) // denominator
