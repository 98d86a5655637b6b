"""Exact arithmetic, from the very bits of the parameters: the truth that every engine is measured against.

A number comes back as a pair of float64 arrays, (high, low): high is the float64 nearest to it, infinite where that
is, and high + low is the number itself to about 106 bits.
"""

import importlib.util
import math
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np

# Decimal rounds its exp correctly to this many digits; a float64 has 17.
DIGITS = Context(prec=40, Emin=-(10**6), Emax=10**6)
WHOLE = 1074  # every float64 times 2^1074 is a whole number


def logits(manifest, columns):
    """The logits of rows given as `closed_form.values` (n, D), finite, as (high, low), without a hidden layer.

    Whole numbers throughout: weight / scale are brought to one denominator, and a float64 is a whole number of 2^-1074.
    """
    slopes = [Fraction(c.weight) / Fraction(c.scale) for c in manifest.parameters.columns]
    denominator = math.lcm(*(slope.denominator for slope in slopes))
    slopes = [int(slope * denominator) for slope in slopes]
    centers = [_whole(column.center) for column in manifest.parameters.columns]
    intercept = _whole(manifest.parameters.intercept) * denominator
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


def can(link):
    """Whether this link's probabilities can be had exactly here: two of them take mpmath, which trainers have."""
    return link in ("logit", "cloglog") or importlib.util.find_spec("mpmath") is not None


def probabilities(link, z):
    """The link's probabilities at scores z (n,), finite, as (high, low)."""
    exact = [_PROBABILITIES[link](value) for value in z.tolist()]
    high = [float(number) for number in exact]
    low = [float(DIGITS.subtract(number, Decimal(h))) for number, h in zip(exact, high, strict=True)]
    return np.array(high), np.array(low)


def rounded(link, z):
    """The scores z (n,) as the link takes them: all but the logit round them first (train/model/links.py says why)."""
    if link == "logit":
        return z
    if link == "cauchit":
        mantissa, exponent = np.frexp(np.clip(z, -1e300, 1e300))
        return np.ldexp(np.round(mantissa * 2.0**48), exponent - 48)
    least, most = {"probit": (-40, 40), "cloglog": (-745, 7)}[link]
    return np.round(np.clip(z, least, most) * 2.0**48) / 2.0**48


def _logit(z):
    # Beyond these, it is 0 or 1 in float64 by far.
    return DIGITS.divide(1, DIGITS.add(1, DIGITS.exp(Decimal(min(max(-z, -9999.0), 9999.0)))))


def _cloglog(z):
    if z < -40:  # 1 - exp(-u) = u - u^2 / 2 + ..., of which 40 digits would leave too few
        u = DIGITS.exp(Decimal(max(z, -9999.0)))
        return DIGITS.subtract(u, DIGITS.divide(DIGITS.multiply(u, u), 2))
    u = DIGITS.exp(Decimal(min(z, 9.0)))
    return Context(prec=80).subtract(1, Context(prec=80).exp(-u))


def _probit(z):
    import mpmath

    with mpmath.workdps(40):
        return Decimal(mpmath.nstr(mpmath.ncdf(z), 40))


def _cauchit(z):
    import mpmath

    with mpmath.workdps(40):
        return Decimal(mpmath.nstr(mpmath.atan2(1, -mpmath.mpf(z)) / mpmath.pi, 40))


_PROBABILITIES = {"logit": _logit, "probit": _probit, "cloglog": _cloglog, "cauchit": _cauchit}


def _whole(value):
    numerator, denominator = value.as_integer_ratio()
    return (numerator << WHOLE) // denominator
