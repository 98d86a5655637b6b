"""The links: from the linear score z, which an export calls `logit`, to the probability.

Each probability uses only operations that ONNX Runtime, TorchScript and torch share in float64: +, -, *, /,
comparisons, rounding and exp (ONNX Runtime 1.32 has no float64 Erf or Atan). If a polynomial replaces a function, z is
first rounded to about 48 binary digits. A step of z then changes the probability by more than the polynomial's rounding
error, so that the probability can't fall when z rises. The rounding changes a probability by at most 3e-14 of itself;
tests/unit/train/model/test_links.py measures it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from passfail.links import BITS
from passfail.links import LINKS as PLAIN

SQRT_HALF = 0.5**0.5
PI = 3.141592653589793

Terms = tuple[Tensor, Tensor, Tensor, Tensor]


def _constants(*values: float) -> list[Tensor]:
    """Float64 tensors (1,): the ONNX exporter makes a float32 of a number or a tensor ()."""
    return [torch.tensor([value], dtype=torch.float64) for value in values]


# Chebyshev interpolation in 60 digits, converted to powers of v, which maps the range to -1 ... 1.
# erfcx(x / sqrt 2) / (2 t) for t = 5 / (5 + x) from 1 / 9 to 1; the relative error is below 1.3e-17.
# fmt: off
_MILLS = _constants(
    -2.7083815499111915e-12, -3.592436953869911e-11, 6.089216716882939e-11, 4.5707661381494115e-10,
    -7.64338738862563e-10, -3.89178954672889e-09, 7.482783952655304e-09, 3.312215144943312e-08,
    -6.284594800250002e-08, -3.2631719173575966e-07, 3.9629002984865947e-07, 3.6618980958564507e-06,
    8.053842468657701e-07, -3.967229906619957e-05, -0.0001062704282801446, 0.00017844719966230005,
    0.0022476518484494685, 0.009287969694233582, 0.025896330150119117, 0.05562389639173356,
    0.09687499682856565, 0.14009298543366258, 0.1699391543435441,
)
# (1 - exp(-u)) / u for u from 0 to 1 / 2; the relative error is below 5e-17.
_SHARE = _constants(
    -8.386880432160832e-13, 3.363313225890982e-11, -1.2125090239515906e-09, 3.893804565367828e-08,
    -1.0952542538403864e-06, 2.6446842258996384e-05, -0.0005334786020562109, 0.008645986759048192,
    -0.10599608464297566, 0.8847968677143806,
)
# atan(a) / (pi a) in a squared from 0 to 1; the relative error is below 6e-18.
_ARC = _constants(
    3.834370583126469e-12, -1.205701257952672e-11, 1.787143957294054e-11, -5.678844717936475e-11,
    2.263648596105704e-10, -7.220057241640232e-10, 2.2551457714424284e-09, -7.259415980026664e-09,
    2.353796667327878e-08, -7.664892751512716e-08, 2.5142161866425706e-07, -8.320851704810578e-07,
    2.783600429321052e-06, -9.437901089242942e-06, 3.2555640530833454e-05, -0.00011490416704448096,
    0.0004187640138914851, -0.0016013736391003687, 0.006637350384455924, -0.03242831060029608,
    0.277063211989786,
)
# fmt: on
(_FAR,) = _constants(PLAIN["cauchit"].most)


@dataclass(frozen=True)
class Link:
    """A link, for float64 tensors of one shape.

    Attributes
    ----------
    probability : z -> P(positive), in [0, 1], never decreasing in z, exportable; NaN for NaN. Its inverse, for one
        number, is `passfail.links.score_at`.
    terms : (z, y), y of 0 and 1 -> for each row, the log loss -log P(y | z), which never overflows; its first and
        second derivative in z; and the expected second derivative, the row's share of Fisher's information (McCullagh
        & Nelder, Generalized Linear Models, 1989, section 2.5).
    polynomial : the coefficients of the probability's, if it has one, the highest power first.
    """

    probability: Callable[[Tensor], Tensor]
    terms: Callable[[Tensor, Tensor], Terms]
    polynomial: Sequence[Tensor] = ()


def _logit(z: Tensor) -> Tensor:
    """1 / (1 + exp(-z)); it is 0 only if the true value is below 6e-309.

    It is written out because the runtimes' own Sigmoid is neither within [0, 1] nor monotone everywhere
    (onnxruntime#22557); train/export/formats.py treats exp. Each operation is monotone, and so is the whole.
    """
    return 1.0 / (1.0 + torch.exp(-z))


def _logit_terms(z: Tensor, y: Tensor) -> Terms:
    """The loss log(1 + exp(-m)), with m = z for a positive row and m = -z for a negative one.

    Its derivative in m is -sigmoid(-m).
    """
    sign = 2 * y - 1
    m = sign * z
    missed = torch.sigmoid(-m)
    curvature = torch.sigmoid(m) * missed
    return -functional.logsigmoid(m), -sign * missed, curvature, curvature


def _probit(z: Tensor) -> Tensor:
    """The normal distribution function, from its upper tail exp(-x^2 / 2) R(x), x = |z|.

    R(x) = erfcx(x / sqrt 2) / 2 is t = 5 / (5 + x) times a polynomial in t. Rounding x^2 would lose digits in the
    exponent, so x is split into a multiple of 1 / 16, whose square is exact, and a rest (Cody, Mathematics of
    Computation 23, 1969).
    """
    x = torch.round(_within(torch.abs(z), 0.0, PLAIN["probit"].most) * BITS) / BITS
    coarse = torch.round(x * 16.0) / 16.0
    t = 5.0 / (5.0 + x)
    tail = torch.exp(coarse * coarse * -0.5) * torch.exp((x - coarse) * (x + coarse) * -0.5)
    tail = tail * (t * _polynomial(_MILLS, (9.0 * t - 5.0) / 4.0))
    tail = torch.where(tail > 0.5, 0.5, tail)
    return torch.where(z > 0, 1.0 - tail, tail)


def _probit_terms(z: Tensor, y: Tensor) -> Terms:
    sign = 2 * y - 1
    m = sign * z
    # phi / Phi at m and at -m; the first is minus the loss's derivative in m.
    falls, rises = ((2 / PI) ** 0.5 / torch.special.erfcx(-k * SQRT_HALF) for k in (m, -m))
    return -torch.special.log_ndtr(m), -sign * falls, falls * (m + falls), falls * rises


def _cloglog(z: Tensor) -> Tensor:
    """1 - exp(-u) with u = exp(z); below u = 1/2, a polynomial times u avoids cancellation."""
    u = torch.exp(torch.round(_within(z, PLAIN["cloglog"].least, PLAIN["cloglog"].most) * BITS) / BITS)
    return torch.where(u < 0.5, u * _polynomial(_SHARE, u * 4.0 - 1.0), 1.0 - torch.exp(-u))


def _cloglog_terms(z: Tensor, y: Tensor) -> Terms:
    """The loss, with u = exp(z): u for a negative row, -log(1 - exp(-u)) for a positive one.

    The derivative of the latter in z is -k, k = u / (exp(u) - 1).
    """
    u = torch.exp(z.clamp(-700.0, 700.0))
    k = u / torch.expm1(u)
    positive = torch.where(u < 0.7, torch.log(-torch.expm1(-u)), torch.log1p(-torch.exp(-u)))
    loss, slope, curvature = (torch.where(y > 0, own, u) for own in (-positive, -k, k * (u + k - 1)))
    return loss, slope, curvature, k * u


def _cauchit(z: Tensor) -> Tensor:
    """1 / 2 + atan(z) / pi; in the tails atan(1 / |z|) / pi, which keeps the digits."""
    z = _within(z, -_FAR, _FAR)
    wide = z * 33.0
    size = torch.abs(wide - (wide - z))  # z rounded to 48 binary digits (Dekker, Numerische Mathematik 18, 1971)
    far = size > 1
    a = torch.where(far, 1.0 / torch.where(far, size, 1.0), size)
    arc = a * _polynomial(_ARC, a * a * 2.0 - 1.0)
    tail = torch.where(far, arc, 0.5 - arc)
    return torch.where(z > 0, 1.0 - tail, tail)


def _cauchit_terms(z: Tensor, y: Tensor) -> Terms:
    sign = 2 * y - 1
    m = sign * z
    density = 1 / (PI * (1 + m * m))
    tail, rest = (torch.where(k < -1, torch.atan(-1 / k.clamp(max=-1)) / PI, 0.5 + torch.atan(k) / PI) for k in (m, -m))
    falls = density / tail
    # The loss is not convex: far on the wrong side its second derivative is negative.
    loss = torch.where(m > 0, -torch.log1p(-rest), -torch.log(tail))
    return loss, -sign * falls, falls * (falls + 2 * m / (1 + m * m)), falls * density / rest


def _within(z: Tensor, least: float | Tensor, most: float | Tensor) -> Tensor:
    """Clip z to the range, but keep NaN; the ONNX kernels of Clip differ for NaN."""
    return torch.where(z > most, most, torch.where(z < least, least, z))


def _polynomial(coefficients: Sequence[Tensor], v: Tensor) -> Tensor:
    """Horner's scheme, the highest power first."""
    total = coefficients[0] * v + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * v + coefficient
    return total


LINKS = {
    "logit": Link(_logit, _logit_terms),
    "probit": Link(_probit, _probit_terms, _MILLS),
    "cloglog": Link(_cloglog, _cloglog_terms, _SHARE),
    "cauchit": Link(_cauchit, _cauchit_terms, _ARC),
}
