"""Each loss against its formula written out by hand, class by class, in plain Python."""

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import exp, log

from train.model.losses import LOSSES
from train.solvers import options

# (score z, outcome y)
CASES = [(-3.0, 0), (-3.0, 1), (-0.4, 0), (-0.4, 1), (0.0, 1), (0.3, 0), (0.3, 1), (2.0, 0), (2.0, 1)]


def softmax(o):
    parts = [exp(v) for v in o]
    return [part / sum(parts) for part in parts]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


# The table of arXiv 1702.05659 for labels y (one-hot), their signs h, outputs o, s = softmax(o): two classes.
TABLE = {
    "expectation": lambda y, h, o, s: sum(abs(a - b) for a, b in zip(y, s, strict=True)),
    "regularised-expectation": lambda y, h, o, s: sum((a - b) ** 2 for a, b in zip(y, s, strict=True)),
    "chebyshev": lambda y, h, o, s: max(abs(a - b) for a, b in zip(y, s, strict=True)),
    "hinge": lambda y, h, o, s: sum(max(0, 0.5 - a * b) for a, b in zip(h, o, strict=True)),
    "hinge2": lambda y, h, o, s: sum(max(0, 0.5 - a * b) ** 2 for a, b in zip(h, o, strict=True)),
    "hinge3": lambda y, h, o, s: sum(max(0, 0.5 - a * b) ** 3 for a, b in zip(h, o, strict=True)),
    "log": lambda y, h, o, s: -sum(a * log(b) for a, b in zip(y, s, strict=True)),
    "log2": lambda y, h, o, s: sum((a * log(b)) ** 2 for a, b in zip(y, s, strict=True)),
    "tanimoto": lambda y, h, o, s: -dot(s, y) / (dot(s, s) + dot(y, y) - dot(s, y)),
    "cauchy-schwarz": lambda y, h, o, s: -log(dot(s, y) / (dot(s, s) ** 0.5 * dot(y, y) ** 0.5)),
}
# The losses as functions of the score z, the outcome y, and p = 1 / (1 + exp(-z)).
SCORE = {
    "L1": lambda z, y, p: abs(y - z) + abs((1 - y) - (1 - z)),
    "L2": lambda z, y, p: (y - z) ** 2 + ((1 - y) - (1 - z)) ** 2,
    **dict.fromkeys(
        ["BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "NLLLoss", "KLDivLoss", "MultiLabelSoftMarginLoss"],
        lambda z, y, p: -(y * log(p) + (1 - y) * log(1 - p)),
    ),
    "SoftMarginLoss": lambda z, y, p: log(1 + exp(-(1 if y else -1) * z)),
    "MSELoss": lambda z, y, p: (p - y) ** 2,
    "SmoothL1Loss": lambda z, y, p: (p - y) ** 2 / 2,
    "HuberLoss": lambda z, y, p: (p - y) ** 2 / 2,
    "L1Loss": lambda z, y, p: abs(p - y),
    "HingeEmbeddingLoss": lambda z, y, p: (1 - p) if y else max(0, 1 - (1 - p)),
    "MultiMarginLoss": lambda z, y, p: max(0, 1 - (z if y else -z)) / 2,
    "MultiLabelMarginLoss": lambda z, y, p: max(0, 1 - (z if y else -z)) / 2,
}


def test_every_loss_has_its_formula_here():
    assert TABLE.keys() | SCORE.keys() == LOSSES.keys()
    assert tuple(LOSSES) == options.LOSSES


@pytest.mark.parametrize("name", TABLE)
def test_the_papers_table(name):
    for z, y in CASES:
        one_hot, signs, outputs = [1 - y, y], [1 - 2 * y, 2 * y - 1], [-z / 2, z / 2]
        assert value(name, z, y) == pytest.approx(
            float(TABLE[name](one_hot, signs, outputs, softmax(outputs))), rel=1e-12
        )


@pytest.mark.parametrize("name", SCORE)
def test_torchs_and_those_of_the_score(name):
    for z, y in CASES:
        assert value(name, z, y) == pytest.approx(float(SCORE[name](z, y, 1 / (1 + exp(-z)))), rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=15)
@given(z=st.floats(-9, 9).filter(lambda z: min(abs(z - kink) for kink in (-1, 0, 1)) > 1e-3), y=st.sampled_from([0, 1]))
def test_gradient_and_second_derivative_are_the_formulas(name, z, y):
    """Autograd's derivatives, compared with the formula's in 40 digits, away from its kinks."""

    def formula(z):
        if name in SCORE:
            return SCORE[name](z, y, 1 / (1 + exp(-z)))
        outputs = [-z / 2, z / 2]
        return TABLE[name]([1 - y, y], [1 - 2 * y, 2 * y - 1], outputs, softmax(outputs))

    def gradient(z):
        at = torch.tensor([z], dtype=torch.float64, requires_grad=True)
        LOSSES[name].rows(at, torch.tensor([y], dtype=torch.float64)).sum().backward()
        return at.grad.item()

    with mpmath.workdps(40):
        first, second = (float(mpmath.diff(formula, mpmath.mpf(z), order)) for order in (1, 2))
    assert gradient(z) == pytest.approx(first, rel=1e-9, abs=1e-12)
    assert (gradient(z + 1e-5) - gradient(z - 1e-5)) / 2e-5 == pytest.approx(second, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_proper_means_least_at_the_true_probability(name):
    """Proper losses alone have their least mean at logit(0.7) with 70 % positives."""
    z = torch.linspace(-6, 6, 24001, dtype=torch.float64)
    mean = 0.7 * LOSSES[name].rows(z, torch.ones_like(z)) + 0.3 * LOSSES[name].rows(z, torch.zeros_like(z))
    best = z[mean.argmin()].item()

    assert (abs(best - float(log(0.7 / 0.3))) < 1e-3) == LOSSES[name].proper


def value(name, z, y):
    rows = LOSSES[name].rows(torch.tensor([z, 5.0], dtype=torch.float64), torch.tensor([y, 1.0], dtype=torch.float64))
    assert rows.shape == (2,)
    return rows[0].item()
