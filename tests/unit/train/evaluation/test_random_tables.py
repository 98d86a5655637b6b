"""The statistics of random tables, each compared with an independent computation.

That is arithmetic with 30 digits, statsmodels or a linear program. `make test` draws a few tables for each property,
always the same; `make test-heavy` draws many.
"""

import mpmath
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from scipy.special import log_ndtr

from passfail.manifest import Feature
from train.evaluation.coefficients import statistics
from train.solvers.fit import fit
from train.solvers.options import Options
from train.table.data import Data

# The loss of a row whose score is this far on its own side.
LOSSES = {"logit": lambda m: np.logaddexp(0, -m), "probit": lambda m: -log_ndtr(m)}


@st.composite
def tables(draw, rows=(20, 40), ties=False):
    """Tables (x (n, d), y (n,)) with columns of very different units, or of tied whole numbers."""
    n, d, seed = draw(st.integers(*rows)), draw(st.integers(1, 3)), draw(st.integers(0, 2**32))
    random = np.random.default_rng(seed)
    score = random.normal(size=(n, d))
    y = (score @ random.normal(0, 0.7, d) + random.logistic(size=n) > random.normal(0, 0.5)).astype(float)
    assume(0 < y.sum() < n)
    if ties:
        return np.round(score * draw(st.sampled_from([1, 2, 100]))), y
    return score * 10.0 ** random.integers(-3, 4, d) + random.normal(0, 3, d), y


many = pytest.mark.parametrize("examples", [12, pytest.param(400, marks=pytest.mark.heavy)])


def check(examples, strategy, holds):
    """Run a property on so many drawn tables, the same at every run."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run = settings(max_examples=examples, suppress_health_check=slow)
    run(given(strategy)(lambda drawn: holds(*drawn)))()


def described(x, y, weight=None, groups=None, **options):
    """(Fit, Statistics) of numeric columns."""
    features = [Feature(f"x{i}", "numeric", (), float(c.min()), float(c.max()), None) for i, c in enumerate(x.T)]
    weight = np.ones(len(y)) if weight is None else weight
    fitted = fit(Data(features, x, y, weight), Options(**options), lambda line: None)
    return fitted, statistics(features, fitted, Options(**options), groups)


def column(found, name):
    return np.array([getattr(coefficient, name) for coefficient in found.coefficients], dtype=float)


def rows(x):
    return mpmath.matrix(sm.add_constant(x, has_constant="add").tolist())


# (probability p, 1 - p, derivative of p) at a score.
EXACT = {
    "logit": lambda z: (1 / (1 + mpmath.exp(-z)), 1 / (1 + mpmath.exp(z)), 1 / (2 + mpmath.exp(z) + mpmath.exp(-z))),
    "probit": lambda z: (mpmath.ncdf(z), mpmath.ncdf(-z), mpmath.npdf(z)),
    "cloglog": lambda z: (-mpmath.expm1(-mpmath.exp(z)), mpmath.exp(-mpmath.exp(z)), mpmath.exp(z - mpmath.exp(z))),
    "cauchit": lambda z: (
        mpmath.atan2(1, -z) / mpmath.pi,
        mpmath.atan2(1, z) / mpmath.pi,
        1 / (mpmath.pi * (1 + z * z)),
    ),
}


def scoring(link, design, y, beta, weight=None):
    """(the scores of the rows at beta, the information), with 30 digits."""
    slopes, spread = [], []
    for z, outcome, w in zip(design * beta, y.tolist(), [1.0] * len(y) if weight is None else weight, strict=True):
        p, q, rises = EXACT[link](z)
        slopes.append(w * rises / p if outcome else -w * rises / q)
        spread.append(w * rises**2 / (p * q))
    return mpmath.matrix(slopes), design.T * mpmath.diag(spread) * design


def errors_of(covariance):
    return np.array([float(mpmath.sqrt(covariance[i, i])) for i in range(covariance.rows)])


def no_step(step, error):
    """Whether a step of Fisher's scoring is negligible beside the standard errors."""
    return bool((np.abs([float(part) for part in step]) <= 1e-9 * error).all())


@many
@pytest.mark.parametrize("link", EXACT)
def test_estimates_are_the_best_and_standard_errors_have_nine_digits(link, examples):
    def holds(x, y):
        _, found = described(x, y, link=link)
        assume(found is not None and found.separation == "none")
        with mpmath.workdps(30):
            design, beta = rows(x), mpmath.matrix(column(found, "estimate").tolist())
            slopes, information = scoring(link, design, y, beta)
            step = information**-1 * (design.T * slopes)
            right = errors_of(scoring(link, design, y, beta + step)[1] ** -1)

        assert no_step(step, right)
        np.testing.assert_allclose(column(found, "standard_error"), right, rtol=1e-9)

    check(examples, tables(), holds)


@many
@pytest.mark.parametrize("way", ["robust", "class weights", "clusters"])
def test_robust_errors_are_the_sandwich(way, examples):
    options = {"robust": {"robust": True}, "class weights": {"class_weight": "1,3"}, "clusters": {"cluster": "g"}}[way]

    def holds(x, y):
        n, group = len(y), np.arange(len(y)) % 7.0
        _, found = described(x, y, groups=group if way == "clusters" else None, **options)
        assume(found is not None and found.separation == "none")
        weight = np.where(y == 1, 3.0, 1.0) if way == "class weights" else np.ones(n)
        with mpmath.workdps(30):
            design, beta = rows(x), mpmath.matrix(column(found, "estimate").tolist())
            slopes, information = scoring("logit", design, y, beta, weight.tolist())
            scores = mpmath.diag(slopes) * design
            factor = mpmath.mpf(1)
            if way == "clusters":
                scores = mpmath.matrix(np.eye(7)[:, np.arange(n) % 7].tolist()) * scores
                factor = mpmath.mpf(7) / 6 * (n - 1) / (n - design.cols)
            right = errors_of(information**-1 * (scores.T * scores) * information**-1 * factor)

        np.testing.assert_allclose(column(found, "standard_error"), right, rtol=1e-9)
        assert (found.deviance is None) == (way == "class weights")

    check(examples, tables(), holds)


@many
@pytest.mark.parametrize("link", LOSSES)
def test_at_the_ends_of_a_profile_interval_the_likelihood_has_fallen_by_its_quantile(link, examples):
    """scipy fits the other coefficients anew, with this one held."""

    def holds(x, y):
        _, found = described(x, y, link=link, intervals="profile")
        assume(found is not None and found.separation == "none")
        design, beta = sm.add_constant(x), column(found, "estimate")
        for index, one in enumerate(found.coefficients):
            others = np.linalg.qr(np.delete(design, index, axis=1))[0]
            for bound in filter(None, (one.lower, one.upper)):
                held = design[:, index] * bound
                start = others.T @ (design @ beta - held)
                best = minimize(lambda b, held=held, q=others: LOSSES[link]((2 * y - 1) * (held + q @ b)).sum(), start)
                assert best.fun + found.log_likelihood == pytest.approx(1.9207294, rel=1e-5)

    check(examples, tables(), holds)


@many
def test_a_weight_is_a_number_of_rows_and_has_no_scale(examples):
    def holds(x, y):
        times = np.arange(len(y)) * 7 % 4
        assume(0 < y[times > 0].sum() < (times > 0).sum())
        _, weighted = described(x, y, times.astype(float))
        _, repeated = described(x.repeat(times, 0), y.repeat(times))
        _, tiny = described(x, y, times * 1e-12)
        assume(repeated is not None and repeated.separation == "none")

        for name in ("estimate", "standard_error", "lower", "upper", "p"):
            np.testing.assert_allclose(column(weighted, name), column(repeated, name), rtol=1e-8, err_msg=name)
        assert (weighted.degrees_of_freedom, weighted.bic) == (
            repeated.degrees_of_freedom,
            pytest.approx(repeated.bic, rel=1e-12),
        )
        np.testing.assert_allclose(column(tiny, "estimate"), column(repeated, "estimate"), rtol=1e-8)

    check(examples, tables(), holds)


@many
@pytest.mark.parametrize(
    ("n", "link", "size"),
    [
        ((6, 30), "logit", 1.0),
        ((6, 30), "probit", 1e6),
        ((6, 30), "cloglog", 1e-12),
        ((6, 30), "cauchit", 1e6),
        ((1000, 1200), "logit", 1.0),
        ((1000, 1200), "cauchit", 1e12),
    ],
    ids=["logit", "probit-heavy", "cloglog-light", "cauchit-heavy", "logit-long", "cauchit-heavy-long"],
)
def test_separation_is_found_just_where_a_linear_program_finds_it(n, link, size, examples):
    """The columns are whole numbers, which tie, and one row has another weight.

    Some direction leaves no row on the wrong side and moves one.
    """

    def holds(x, y):
        fitted, found = described(x, y, np.where(np.arange(len(y)) == 3, size, 1.0), link=link)
        own = np.where(y == 1, 1.0, -1.0)[:, None] * sm.add_constant(x, has_constant="add")
        separated = -linprog(-own.sum(0), -own, np.zeros(len(own)), bounds=(-1, 1)).fun > 1e-6

        assert (found is not None and found.separation != "none") == separated
        # Beside such weights float64 can't resolve every optimum; the fit then says that it has not converged.
        assert fitted.converged != separated or (size != 1 and found is None)

    def steeper(x, y):
        """The table with steeper outcomes; few rows keep theirs, so some tables are separated."""
        return x, np.where(np.arange(len(y)) % (len(y) // 6) == 1, y, (x[:, 0] > 0).astype(float))

    check(examples, tables(n, ties=True) | tables(n, ties=True).map(lambda table: steeper(*table)), holds)


@many
def test_firths_penalty_converges_on_every_table(examples):
    """Newton converges with fewer rows than columns too; independent columns have score 0."""

    def holds(x, y):
        fitted, found = described(x, y, firth=True)
        assert fitted.converged
        design = sm.add_constant(x, has_constant="add")
        assume(np.linalg.matrix_rank(design) == design.shape[1])
        with mpmath.workdps(30):
            exact, beta = rows(x), mpmath.matrix(column(found, "estimate").tolist())
            slopes, information = scoring("logit", exact, y, beta)
            inverse = information**-1
            for row, z in enumerate(exact * beta):
                p, _, rises = EXACT["logit"](z)
                slopes[row] += rises * (exact[row, :] * inverse * exact[row, :].T)[0] * (mpmath.mpf(1) / 2 - p)
            right = errors_of(inverse)
            step = inverse * (exact.T * slopes)

        assert (np.abs([float(part) for part in step]) <= 1e-7 * right).all()
        np.testing.assert_allclose(column(found, "standard_error"), right, rtol=1e-6)

    check(examples, tables((2, 20), ties=True) | tables((6, 30)), holds)


@many
def test_a_penalty_makes_nearly_collinear_columns_unique(examples):
    def holds(x, y):
        near = x[:, :1] + 1e-6 * x[:, :1].std() * np.cos(np.arange(len(y)) ** 2.0)[:, None]
        x = np.column_stack([x, near])
        fitted, found = described(x, y, l2=1.0)
        assert fitted.converged
        assert found.collinear == ()
        with mpmath.workdps(30):
            design, beta = rows(x), mpmath.matrix(column(found, "estimate").tolist())
            slopes, information = scoring("logit", design, y, beta)
            penalty = mpmath.diag([0, *(scale**2 for scale in fitted.model.scale.tolist())])
            step = (information + penalty) ** -1 * (design.T * slopes - penalty * beta)

        sizes = np.abs(column(found, "estimate"))
        assert (np.abs([float(part) for part in step]) <= 1e-9 * (sizes + sizes.max())).all()

    check(examples, tables(), holds)


@many
@pytest.mark.parametrize("link", EXACT)
def test_weights_of_very_different_sizes_are_no_separation(link, examples):
    def holds(x, y, size):
        weight = np.where(np.arange(len(y)) == 3, size, 1.0)
        _, even = described(x, y, link=link)
        assume(even is not None and even.separation == "none")
        fitted, found = described(x, y, weight, link=link)
        assume(fitted.converged or (link, size) != ("cauchit", 1e12))  # such a row bends the valley too much
        assert found is not None
        assert found.separation == "none"
        with mpmath.workdps(60):
            design, beta = rows(x), mpmath.matrix(column(found, "estimate").tolist())
            slopes, information = scoring(link, design, y, beta, weight.tolist())
            step = information**-1 * (design.T * slopes)
            right = errors_of(information**-1)

        assert (np.abs([float(part) for part in step]) <= 1e-6 * right).all()
        np.testing.assert_allclose(column(found, "standard_error"), right, rtol=1e-6)

    sizes = st.sampled_from([1e-12, 1e-6, 1e6, 1e12])
    check(examples, st.tuples(tables(), sizes).map(lambda drawn: (*drawn[0], drawn[1])), holds)
