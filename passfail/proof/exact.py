"""Exact arithmetic from the bits of the parameters, the reference for every engine.

A result is a pair of float64 arrays, (high, low). `high` is the nearest float64, which may be infinite. high + low is
the exact number to about 106 bits.
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
Pair = tuple[Floats, Floats]  # (high, low): a number to about 106 bits
# The logarithm of 2: 40 bits, so that a whole number below 2^13 times it is exact, and the rest.
LN2 = (0.6931471805592082, 7.371002565167799e-13, 1.94704509238075e-31)
WHOLE = 1074  # every float64 times 2^1074 is a whole number


def logits(subject: Subject, columns: Floats) -> tuple[Floats, Floats]:
    """The exact logits of a model without a hidden layer.

    All numbers are integers: weight / scale gets a common denominator, and a float64 is a multiple of 2^-1074.

    Parameters
    ----------
    columns : float64 (n, D), finite, as from `reference.values`.

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
            high.append(number / unit)  # Python rounds a division of integers correctly
            low.append((number - _whole(high[-1]) * denominator) / unit)
        except OverflowError:
            high.append(math.copysign(math.inf, number))
            low.append(0.0)
    return np.array(high), np.array(low)


def can(link: str) -> bool:
    """Whether exact probabilities of this link are available: two links need mpmath."""
    return link in ("logit", "cloglog") or importlib.util.find_spec("mpmath") is not None


def probabilities(link: str, z: Floats) -> tuple[Floats, Floats]:
    """The link's exact probabilities at scores z (n,), finite: (high, low), float64 (n,) each."""
    if link == "logit":
        return _logistic(z)
    exact = [_PROBABILITIES[link](value) for value in z.tolist()]
    high = [float(number) for number in exact]
    low = [float(DIGITS.subtract(number, Decimal(h))) for number, h in zip(exact, high, strict=True)]
    return np.array(high), np.array(low)


def rounded(link: str, z: Floats) -> Floats:
    """The scores z (n,) as the link uses them.

    Each link except the logit rounds them first; train/model/links.py gives the reason.
    """
    if link == "logit":
        return z
    held = np.clip(z, LINKS[link].least, LINKS[link].most)
    if link == "cauchit":
        mantissa, exponent = np.frexp(held)
        return np.asarray(np.ldexp(np.round(mantissa * BITS), exponent - 48))
    return np.asarray(np.round(held * BITS) / BITS)


def _logistic(z: Floats) -> tuple[Floats, Floats]:
    """1 / (1 + exp(-z)) for z (n,), to 80 bits or more; to 53 bits below 1e-290.

    Pairs of float64 are added and multiplied without error, then rounded (Dekker, Numerische Mathematik 18, 1971).
    exp(-|z|) is 2^-k exp(r), and exp(r) is the 256th power of a Taylor series at r / 256.
    """
    size = np.minimum(np.abs(z), 745.0)
    k = np.round(size / LN2[0])
    rest = _plus((k * LN2[0], np.zeros_like(k)), (-size, np.zeros_like(k)))  # exact: LN2[0] has 40 bits
    for part in LN2[1:]:
        rest = _plus(rest, _product(k, np.full_like(k, part)))
    r = rest[0] / 256, rest[1] / 256
    power: Pair = (np.ones_like(z), np.zeros_like(z))
    for term in range(10, 0, -1):  # (0.35 / 256)^11 / 11! is 1e-39
        power = _plus((np.ones_like(z), np.zeros_like(z)), _over(_times(power, r), term))
    for _ in range(8):
        power = _times(power, power)
    small = np.ldexp(power[0], -k.astype(int)), np.ldexp(power[1], -k.astype(int))
    one: Pair = (np.ones_like(z), np.zeros_like(z))
    below = z < 0
    top = np.where(below, small[0], 1.0), np.where(below, small[1], 0.0)
    return _quotient(top, _plus(one, small))


def _cloglog(z: float) -> Decimal:
    if z < -40:  # 1 - exp(-u) = u - u^2 / 2 + ...; the difference in 40 digits would cancel too many
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


_PROBABILITIES = {"probit": _probit, "cloglog": _cloglog, "cauchit": _cauchit}


def _sum(a: Floats, b: Floats) -> Pair:
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


def _product(a: Floats, b: Floats) -> Pair:
    high = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2


def _halves(a: Floats) -> Pair:
    wide = a * 134217729.0  # 2^27 + 1
    high = wide - (wide - a)
    return high, a - high


def _plus(a: Pair, b: Pair) -> Pair:
    high, low = _sum(a[0], b[0])
    return _sum(high, low + (a[1] + b[1]))


def _times(a: Pair, b: Pair) -> Pair:
    high, low = _product(a[0], b[0])
    return _sum(high, low + (a[0] * b[1] + a[1] * b[0]))


def _over(a: Pair, divisor: int) -> Pair:
    whole = np.full_like(a[0], divisor)
    return _quotient(a, (whole, np.zeros_like(whole)))


def _quotient(a: Pair, b: Pair) -> Pair:
    high = a[0] / b[0]
    back = _times((high, np.zeros_like(high)), b)
    return _sum(high, (((a[0] - back[0]) - back[1]) + a[1]) / b[0])


def _whole(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return (numerator << WHOLE) // denominator
