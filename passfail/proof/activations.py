"""The activations of torch.nn, written with operations that IEEE 754 defines exactly.

Engines compute exp, log and tanh with different last bits, and a hidden layer would carry them into the logit. This
module therefore uses only +, -, *, /, floor, comparisons and a table. The bits are then the same in every engine, alone
or in a batch, as for the linear model. tests/unit/passfail/proof/test_activations.py compares each with torch.nn's own.

train/model/logistic.py runs them in torch, from where they get into the exports; reference.py runs them in NumPy.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Protocol, TypeAlias

import numpy as np

Vector: TypeAlias = Any  # float64 (n, H): a NumPy array or a torch tensor
Scalar: TypeAlias = Any  # a float64 of the same library


class Arithmetic(Protocol):
    """The operations of a library: NumPy (NUMPY below) or PyTorch (train/model/logistic.py).

    power(k) is exp(-k / STEPS).
    """

    def where(self, condition: Vector, a: Vector, b: Vector) -> Vector: ...
    def floor(self, v: Vector) -> Vector: ...
    def abs(self, v: Vector) -> Vector: ...
    def amax(self, v: Vector, axis: int, keepdims: bool) -> Vector: ...
    def cumsum(self, v: Vector, axis: int) -> Vector: ...
    def number(self, value: float) -> Scalar: ...
    def power(self, step: Vector) -> Vector: ...


STEPS, FARTHEST = 8, 64
POWERS = [float(Decimal(-step / STEPS).exp()) for step in range(FARTHEST * STEPS + 1)]  # exp(-t) up to t = 64
_POWERS = np.array(POWERS)

OPERATIONS = ("where", "floor", "abs", "amax", "cumsum")  # NumPy and PyTorch have the same names and arguments
NUMPY: Arithmetic = SimpleNamespace(
    **{name: getattr(np, name) for name in OPERATIONS},
    number=np.float64,
    power=lambda step: _POWERS[step.astype(np.int64)],
)

EXP_TERMS = [1 / math.factorial(k) for k in range(11, 0, -1)]  # (1/16)^12 / 12! is 7e-24
LOG_TERMS = [2 / (2 * k + 1) for k in range(17, -1, -1)]  # (1/3)^37 / 37 is 6e-20
PRELU_START = 0.25  # torch.nn.PReLU's
SELU = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717  # (scale, alpha), arXiv 1706.02515

# name -> f(m, v, slope), v float64 (n, H) -> (n, H), NaN for NaN. m: the library, NUMPY or logistic.py's TORCH.
# slope is PReLU's parameter. Softmin, Softmax and LogSoftmax go across a row's H units, fewer than 2^16.
ACTIVATIONS: dict[str, Callable[[Arithmetic, Vector, Any], Vector]] = {
    "ReLU": lambda m, v, slope: _above(m, v, 0.0),
    "ReLU6": lambda m, v, slope: _below(m, _above(m, v, 0.0), 6.0),
    "ELU": lambda m, v, slope: m.where(v < 0, _expm1(m, -_below(m, v, 0.0)), v),
    "SELU": lambda m, v, slope: (
        m.number(SELU[0]) * m.where(v < 0, m.number(SELU[1]) * _expm1(m, -_below(m, v, 0.0)), v)
    ),
    "PReLU": lambda m, v, slope: m.where(v < 0, slope * v, v),
    "LeakyReLU": lambda m, v, slope: m.where(v < 0, m.number(0.01) * v, v),
    "Threshold": lambda m, v, slope: m.where(v <= m.number(0.1), 0.0, v),  # torch has no default; 0.1 -> 0 here
    "Hardtanh": lambda m, v, slope: _below(m, _above(m, v, -1.0), 1.0),
    "Sigmoid": lambda m, v, slope: _sigmoid(m, v),
    "Tanh": lambda m, v, slope: _tanh(m, v),
    "LogSigmoid": lambda m, v, slope: -_softplus(m, -v),
    "Softplus": lambda m, v, slope: _softplus(m, v),
    "Softshrink": lambda m, v, slope: m.where(v > 0.5, v - 0.5, m.where(v < -0.5, v + 0.5, 0.0 * v)),
    "Softsign": lambda m, v, slope: v / (1.0 + m.abs(v)),
    "Tanhshrink": lambda m, v, slope: v - _tanh(m, v),
    "Softmin": lambda m, v, slope: _softmax(m, -v),
    "Softmax": lambda m, v, slope: _softmax(m, v),
    "LogSoftmax": lambda m, v, slope: _log_softmax(m, v),
}


def _above(m: Arithmetic, v: Vector, least: float) -> Vector:
    return m.where(v < least, least, v)


def _below(m: Arithmetic, v: Vector, most: float) -> Vector:
    return m.where(v > most, most, v)


def _power(m: Arithmetic, t: Vector) -> tuple[Vector, Vector]:
    """(T, q) with exp(-t) = T + T q for t >= 0; from t = 64 on, those of 64.

    T is one of POWERS and q = exp(r) - 1 with |r| <= 1/16, an exact difference.
    """
    t = _below(m, t, float(FARTHEST))
    step = m.floor(t * STEPS + 0.5)
    r = step / STEPS - t
    term = m.power(m.where(step == step, step, 0.0))  # NaN is no index of the table; r is NaN then
    return term, _polynomial(m, EXP_TERMS, r) * r


def _exp(m: Arithmetic, t: Vector) -> Vector:
    term, share = _power(m, t)
    return term + term * share


def _expm1(m: Arithmetic, t: Vector) -> Vector:
    """exp(-t) - 1, without cancellation near t = 0."""
    term, share = _power(m, t)
    return (term - 1.0) + term * share


def _log1p(m: Arithmetic, u: Vector) -> Vector:
    """log(1 + u) for 0 <= u <= 1, as 2 atanh(s) with s = u / (2 + u) <= 1/3, by its series."""
    s = u / (2.0 + u)
    return _polynomial(m, LOG_TERMS, s * s) * s


def _log(m: Arithmetic, v: Vector) -> Vector:
    """log(v) for 1 <= v < 2^16: powers of two are factored out, and _log1p does the rest."""
    log = 0.0 * v
    for power in (256.0, 16.0, 4.0, 2.0):
        log = m.where(v >= power, log + m.number(math.log(power)), log)
        v = m.where(v >= power, v / power, v)
    return log + _log1p(m, v - 1.0)


def _polynomial(m: Arithmetic, terms: list[float], x: Vector) -> Vector:
    total = m.number(terms[0])
    for term in terms[1:]:
        total = total * x + m.number(term)
    return total


def _sigmoid(m: Arithmetic, v: Vector) -> Vector:
    small = _exp(m, m.abs(v))
    return m.where(v < 0, small, 1.0) / (1.0 + small)


def _tanh(m: Arithmetic, v: Vector) -> Vector:
    less = _expm1(m, 2.0 * m.abs(v))
    return m.where(v < 0, less, -less) / (2.0 + less)


def _softplus(m: Arithmetic, v: Vector) -> Vector:
    return _above(m, v, 0.0) + _log1p(m, _exp(m, m.abs(v)))


def _softmax(m: Arithmetic, v: Vector) -> Vector:
    share = _exp(m, m.amax(v, axis=1, keepdims=True) - v)
    return share / m.cumsum(share, axis=1)[:, -1:]


def _log_softmax(m: Arithmetic, v: Vector) -> Vector:
    away = m.amax(v, axis=1, keepdims=True) - v
    return -away - _log(m, m.cumsum(_exp(m, away), axis=1)[:, -1:])
