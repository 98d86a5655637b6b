"""The exact probabilities of every link, against arithmetic with 60 digits."""

import mpmath
import numpy as np
import pytest

from passfail.proof import exact

EXACT = {
    "logit": lambda z: 1 / (1 + mpmath.exp(-z)),
    "probit": lambda z: mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
    "cloglog": lambda z: -mpmath.expm1(-mpmath.exp(z)),
    "cauchit": lambda z: mpmath.atan2(1, -z) / mpmath.pi,
}
SCORES = {
    "usual": np.random.default_rng(0).uniform(-8, 7, 300),
    "far": np.random.default_rng(1).uniform(-660, 745, 100),
    "near 0": np.array([0.0, -0.0, 5e-324, -1e-300, 1e-17, -1e-9, 1e-3]),
    "between two scores of the grid": np.arange(-200, 200) / 256,
}


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("link", EXACT)
def test_the_high_part_is_the_nearest_float_and_the_low_part_has_digits_more(link, kind):
    z = exact.rounded(link, SCORES[kind])
    high, low = exact.probabilities(link, z)
    with mpmath.workdps(60):
        for score, h, rest in zip(z.tolist(), high.tolist(), low.tolist(), strict=True):
            right = EXACT[link](mpmath.mpf(score))
            if right > 1e-300:
                assert h == float(right)
                assert abs(mpmath.mpf(h) + mpmath.mpf(rest) - right) <= right * mpmath.mpf(2) ** (
                    -56 if kind != "far" else -53
                )


@pytest.mark.parametrize("link", EXACT)
def test_beyond_the_range_of_float64_it_is_0_or_1(link):
    high, _ = exact.probabilities(link, exact.rounded(link, np.array([-1e308, 1e308])))

    assert high.tolist() == pytest.approx([0, 1], abs=1e-299)
