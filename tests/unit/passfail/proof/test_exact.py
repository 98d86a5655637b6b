"""The exact probability of the logit link, in pairs of float64, against decimal arithmetic with 60 digits."""

from decimal import Context, Decimal

import numpy as np
import pytest

from passfail.proof import exact

DIGITS = Context(prec=60, Emin=-(10**6))
SCORES = {
    "usual": np.random.default_rng(0).uniform(-40, 40, 1000),
    "far": np.random.default_rng(1).uniform(-660, 745, 500),
    "near 0": np.array([0.0, -0.0, 5e-324, -1e-300, 1e-17, -1e-9, 1e-3]),
    "at multiples of log(2)": np.arange(-200, 200) * np.log(2) / 2,
}


@pytest.mark.parametrize("kind", SCORES)
def test_a_probability_has_eighty_bits_and_its_high_part_is_the_nearest_float(kind):
    high, low = exact.probabilities("logit", SCORES[kind])
    for z, h, rest in zip(SCORES[kind].tolist(), high.tolist(), low.tolist(), strict=True):
        right = DIGITS.divide(1, DIGITS.add(1, DIGITS.exp(-Decimal(z))))
        found = DIGITS.add(Decimal(h), Decimal(rest))

        assert h == float(right)
        assert abs(DIGITS.subtract(found, right)) <= right * Decimal(2) ** -80


def test_beyond_the_range_of_float64_it_is_0_or_1():
    high, _ = exact.probabilities("logit", np.array([-1e308, -800.0, 800.0, 1e308]))

    assert high.tolist() == pytest.approx([0, 0, 1, 1], abs=1e-320)
