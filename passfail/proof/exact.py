"""Exact arithmetic from the bits of the parameters, the reference for every engine.

A result is a pair of float64 arrays, (high, low). `high` is the nearest float64, which may be infinite. high + low has
more digits: of a logit about 106 bits.
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
Pair = tuple[Floats, Floats]  # (high, low)


def logits(subject: Subject, columns: Floats) -> tuple[Floats, Floats]:
    """The exact logits of a model without a hidden layer.

    All numbers are integers: fractions of one denominator, times the row's largest power of two.

    Parameters
    ----------
    columns : float64 (n, D), finite, as from `reference.values`.

    Returns
    -------
    (high, low), float64 (n,) each.
    """
    shares = [Fraction(c.weight) / Fraction(c.scale) for c in subject.parameters.columns]
    moved = [share * Fraction(c.center) for share, c in zip(shares, subject.parameters.columns, strict=True)]
    start = Fraction(subject.parameters.intercept) - sum(moved)
    denominator = math.lcm(start.denominator, *(share.denominator for share in shares))
    slopes, intercept = [int(share * denominator) for share in shares], int(start * denominator)
    high, low = [], []
    for row in columns.tolist():
        ratios = [value.as_integer_ratio() for value in row]
        unit = max(below for _, below in ratios)
        number = intercept * unit
        for (above, below), slope in zip(ratios, slopes, strict=True):
            number += above * (unit // below) * slope
        unit *= denominator
        try:
            high.append(number / unit)  # Python rounds a division of integers correctly
            above, below = high[-1].as_integer_ratio()
            low.append((number * below - above * unit) / (unit * below))
        except OverflowError:
            high.append(math.copysign(math.inf, number))
            low.append(0.0)
    return np.array(high), np.array(low)


def probabilities(link: str, z: Floats) -> Pair | None:
    """The link's exact probabilities at finite scores z (n,), as (high, low).

    None: the link needs mpmath, which is not installed.

    Decimal arithmetic computes the probabilities of few scores near z, on a grid. Float64 computes the change from
    there; its rounding error is far below a unit in the probability's last place. If that error could change the
    nearest float64, decimal arithmetic computes this probability instead.
    """
    if link in ("probit", "cauchit") and importlib.util.find_spec("mpmath") is None:
        return None
    z = np.clip(z, -800.0, 800.0) if link == "logit" else rounded(link, z)
    near = _near(link, z)
    grid, place = np.unique(near, return_inverse=True)
    first, second = (part[place] for part in _decimals(link, grid))
    with np.errstate(all="ignore"):
        change = _CHANGES[link](near, z - near)
        high, low = _sum(first, change)
        high, low = _sum(high, low + second)
        unsure = np.abs(low) + np.abs(change) * 2.0**-50 > np.spacing(high) / 2
    high[unsure], low[unsure] = _decimals(link, z[unsure])
    return high, low


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


def _near(link: str, z: Floats) -> Floats:
    """The scores of a grid that are nearest to z (n,).

    They are at most 2^-8 away; for the cauchit link, at most that share of the score.
    """
    if link != "cauchit":
        return np.asarray(np.round(z * 128) / 128)
    mantissa, exponent = np.frexp(z)
    return np.asarray(np.ldexp(np.round(mantissa * 128), exponent - 7))


def _decimals(link: str, z: Floats) -> Pair:
    """The probabilities at scores z (n,) by decimal arithmetic."""
    exact = [_PROBABILITIES[link](value) for value in z.tolist()]
    high = [float(number) for number in exact]
    low = [float(DIGITS.subtract(number, Decimal(h))) for number, h in zip(exact, high, strict=True)]
    return np.array(high), np.array(low)


def _logit(z: float) -> Decimal:
    return DIGITS.divide(1, DIGITS.add(1, DIGITS.exp(-Decimal(z))))


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


_PROBABILITIES = {"logit": _logit, "probit": _probit, "cloglog": _cloglog, "cauchit": _cauchit}


# The rise of the probability from score a (n,) to a + d.
def _logit_change(a: Floats, d: Floats) -> Floats:
    return np.asarray(-np.expm1(-d) / (1 + np.exp(a)) / (1 + np.exp(-a - d)))


def _probit_change(a: Floats, d: Floats) -> Floats:
    """The integral of the density over 0 <= s <= d.

    The density is exp(-a^2 / 2) exp(-a s - s^2 / 2) / sqrt(2 pi). On the grid a^2 is exact.
    """
    steps, weights = np.polynomial.legendre.leggauss(6)
    s = d[:, None] * (steps + 1) / 2
    return np.asarray(
        np.exp(-a * a / 2) / math.sqrt(2 * math.pi) * d / 2 * (np.exp(-(a[:, None] + s / 2) * s) @ weights)
    )


def _cloglog_change(a: Floats, d: Floats) -> Floats:
    u = np.exp(a)
    return np.asarray(-np.exp(-u) * np.expm1(-u * np.expm1(d)))


def _cauchit_change(a: Floats, d: Floats) -> Floats:
    """(atan(a + d) - atan(a)) / pi, which is atan(d / (1 + a (a + d))) / pi."""
    size = np.maximum(np.abs(a), 1.0)
    return np.asarray(np.arctan(d / size / (1 / size + a / size * (a + d))) / math.pi)


_CHANGES = {"logit": _logit_change, "probit": _probit_change, "cloglog": _cloglog_change, "cauchit": _cauchit_change}


def _sum(a: Floats, b: Floats) -> Pair:
    """a + b without error (Dekker, Numerische Mathematik 18, 1971)."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)
