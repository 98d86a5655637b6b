"""The coefficient table, compared with published figures, and the tables without one.

Published figures come with statsmodels (a test dependency only): spector (Spector & Mazzeo, Journal of Economic
Education 11, 1980; Stata's figures), lbw (Hosmer & Lemeshow's low birth weights; R's glm), star98 (California schools,
grouped rows, so weights; R's glm). For links that nobody printed, fair (Fair, Journal of Political Economy 86, 1978) is
fitted by statsmodels itself.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from statsmodels.discrete.tests.results.results_discrete import Spector
from statsmodels.genmod.tests.results.results_glm import Lbw, Star98

from passfail.manifest import Feature, decode
from tests.support import DATA
from train.evaluation.coefficients import fit_warnings, lines, statistics
from train.evaluation.separation import separation
from train.solvers.fit import fit
from train.solvers.options import Options
from train.solvers.sums import total
from train.table.data import Data
from train.table.reading import Reading
from train.table.table import read_table


def described(x, y, names=None, weight=None, **options):
    """(Fit, Statistics) of numeric columns x (n, d)."""
    options = Options(**options)
    names = names or [f"x{i}" for i in range(x.shape[1])]
    features = [Feature(name, "numeric", (), 0.0, 1.0, None) for name in names]
    x, y = (np.array(a, dtype=np.float64) for a in (x, y))
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    fitted = fit(Data(features, x, y, weight), options, lambda line: None)
    return fitted, statistics(features, fitted, options)


def column(found, name):
    return [getattr(coefficient, name) for coefficient in found.coefficients]


def intercept_last(found, name):
    first, *rest = column(found, name)
    return [*rest, first]


def assert_published(found, published, digits):
    """Estimates to so many digits after the point, standard errors within 5e-5 of themselves."""
    mine = [f"{value:.{digits}f}" for value in intercept_last(found, "estimate")]
    assert mine == [f"{value:.{digits}f}" for value in published.params]
    np.testing.assert_allclose(intercept_last(found, "standard_error"), published.bse, rtol=5e-5)


@pytest.fixture(scope="module")
def fair():
    data = sm.datasets.fair.load_pandas().data
    return data.drop(columns="affairs").to_numpy(np.float64), (data.affairs > 0).to_numpy(np.float64)


@pytest.mark.parametrize(("link", "published"), [("logit", Spector.logit), ("probit", Spector.probit)])
def test_spector_has_the_published_table(link, published, monkeypatch):
    """Stata keeps columns in float32: its 11 digits come from those.

    Its probit takes the observed information for the standard errors, where ours and R's take the expected.
    """
    data = sm.datasets.spector.load_pandas()
    fitted, _ = described(data.exog.to_numpy(np.float32), data.endog, link=link)

    def observed(*arguments):
        sums = total(*arguments)
        return replace(sums, information=sums.curvature)

    monkeypatch.setattr("train.evaluation.coefficients.total", observed)
    features = [Feature(name, "numeric", (), 0.0, 1.0, None) for name in data.exog]
    found = statistics(features, fitted, Options(link=link))

    assert_published(found, published, 8)
    assert found.log_likelihood == pytest.approx(published.llf, rel=1e-12)
    assert -found.null_deviance / 2 == pytest.approx(published.llnull, rel=1e-12)
    assert found.degrees_of_freedom == published.df_resid
    assert (found.aic, found.bic) == pytest.approx((published.aic, published.bic), rel=1e-12)
    np.testing.assert_allclose(intercept_last(found, "z"), published.z, rtol=1e-6)
    bounds = zip(intercept_last(found, "lower"), intercept_last(found, "upper"), strict=True)
    np.testing.assert_allclose(list(bounds), published.conf_int, rtol=1e-6)
    assert (found.coefficients[1].odds_ratio is None) == (link == "probit")


def test_low_birth_weights_have_rs_table():
    """R stops when the deviance changes by less than 1e-8 of itself: its last digit may differ."""
    published = Lbw()
    _, found = described(published.exog.iloc[:, :-1], published.endog)

    assert_published(found, published, 7)
    assert found.deviance == pytest.approx(published.deviance, rel=1e-12)
    assert found.null_deviance == pytest.approx(published.null_deviance, rel=1e-12)
    assert (found.degrees_of_freedom, found.null_degrees_of_freedom) == (published.df_resid, published.df_null)
    assert found.aic == pytest.approx(published.aic_R, rel=1e-10)


def test_star98_has_rs_table_from_weighted_rows():
    """A school district's passes and failures are two rows, weighted by their number."""
    data, published = sm.datasets.star98.load_pandas(), Star98()
    passed, failed = data.endog.to_numpy().T
    x = np.vstack([data.exog, data.exog])
    _, found = described(x, np.repeat([1, 0], len(passed)), weight=np.r_[passed, failed])

    assert_published(found, published, 10)


def test_admissions_and_study_hours_have_their_published_tables():
    for name, categorical, errors, p in [
        ("admissions", ["rank"], "1.139951 0.001094 0.331819 0.316490 0.345306 0.417832", None),
        ("study_hours", [], "1.7610 0.6287", "0.0206 0.0167"),
    ]:
        table = read_table(DATA / f"{name}.csv", Reading(categorical=categorical))
        rows = table.x, table.y, table.weight
        fitted = fit(Data(table.features, *rows), Options(), lambda line: None)
        found = statistics(table.features, fitted, Options())
        digits = len(errors.split(".")[-1])

        assert " ".join(f"{error:.{digits}f}" for error in column(found, "standard_error")) == errors
        assert p is None or " ".join(f"{one:.4f}" for one in column(found, "p")) == p
        assert found.references == ({"rank": "1"} if categorical else {})
        assert (found.separation, found.collinear) == ("none", ())
    assert f"{found.log_likelihood:.8f}" == "-8.02987846"


@pytest.mark.parametrize(
    ("link", "family"), [("probit", "Probit"), ("cloglog", "CLogLog"), ("cauchit", "Cauchy"), ("logit", "Logit")]
)
@pytest.mark.parametrize("intercept", [True, False])
def test_every_link_has_statsmodels_table(fair, link, family, intercept):
    x, y = fair
    binomial = sm.families.Binomial(getattr(sm.families.links, family)())
    other = sm.GLM(y, sm.add_constant(x) if intercept else x, family=binomial).fit(tol=1e-13, maxiter=300)
    _, found = described(x, y, link=link, intercept=intercept)

    np.testing.assert_allclose(column(found, "estimate"), other.params, rtol=1e-6)
    np.testing.assert_allclose(column(found, "standard_error"), other.bse, rtol=1e-6)
    np.testing.assert_allclose(column(found, "p"), other.pvalues, rtol=1e-4, atol=1e-300)
    assert found.deviance == pytest.approx(other.deviance, rel=1e-10)
    if intercept:  # without, statsmodels' null model has an intercept all the same, R's has none
        assert found.null_deviance == pytest.approx(other.null_deviance, rel=1e-10)


def test_null_deviance_without_an_intercept_is_that_of_the_score_0(fair):
    x, y = fair
    _, found = described(x, y, link="cloglog", intercept=False)
    p = 1 - math.exp(-1)

    assert found.null_deviance == pytest.approx(-2 * (y.sum() * math.log(p) - (len(y) - y.sum())), rel=1e-12)
    assert found.null_degrees_of_freedom == len(y)


def test_penalised_estimates_have_no_standard_errors(fair):
    x, y = fair
    _, found = described(x, y, l2=10.0)

    assert set(column(found, "standard_error")) == {None}
    assert None not in column(found, "estimate")
    assert any("--l2" in line for line in lines(found, Options(l2=10.0)))


def test_complete_separation_names_the_column_that_does_it():
    x = np.random.default_rng(0).normal(size=(80, 3))
    fitted, found = described(x, x[:, 1] > 0.2, ["noise", "culprit", "more"])

    assert (found.separation, found.separating) == ("complete", ("culprit",))
    assert column(found, "estimate") == [None] * 4
    assert column(found, "note")[2] == "+infinite"
    probability = fitted.model(torch.from_numpy(x))[1].detach().numpy()
    assert ((probability > 0.999) == (x[:, 1] > 0.2)).all()
    assert any("separated by culprit" in line for line in fit_warnings("", found, "logit"))


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit"])
def test_quasi_separation_leaves_the_other_columns_their_table(link):
    """All 20 rows of group 1 are positive; the rest of the table is that of the other rows."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(200, 2))
    y = (x[:, 0] + generator.normal(size=200) > 0).astype(float)
    group = np.arange(200) < 20
    y[group] = 1
    fitted, found = described(np.c_[x, group], y, ["a", "b", "group"], link=link)
    _, others = described(x[~group], y[~group], ["a", "b"], link=link)

    assert (found.separation, found.separating) == ("quasi", ("group",))
    assert column(found, "note") == ["", "", "", "+infinite"]
    np.testing.assert_allclose(column(found, "estimate")[:3], column(others, "estimate"), rtol=1e-4)
    np.testing.assert_allclose(column(found, "standard_error")[:3], column(others, "standard_error"), rtol=1e-3)
    probability = fitted.model(torch.tensor(np.c_[x, group]))[1].detach().numpy()
    assert probability[group].min() > 1 - 2e-5


def test_overlapping_outcomes_are_not_separated():
    generator = np.random.default_rng(2)
    x = np.c_[np.ones(50), generator.normal(size=50)]
    y = (generator.random(50) < 0.5).astype(float)

    assert separation(x, y).kind == "none"
    assert separation(x, (x[:, 1] > 0).astype(float)).kind == "complete"


@pytest.mark.parametrize("rows", [20, 10_000])
def test_separation_is_found_from_the_rows_that_matter(monkeypatch, rows):
    """The programmes add rows as they need them: one row can undo the answer."""
    monkeypatch.setattr("train.evaluation.separation.TAKEN", rows)
    generator = np.random.default_rng(6)
    x = np.c_[np.ones(10_000), generator.normal(size=(10_000, 4)), np.arange(10_000) % 1000 == 999]
    complete = (x[:, 1] + x[:, 3] > 0.2).astype(float)
    quasi = np.where(x[:, 5] == 1, 1, generator.random(10_000) < 0.5).astype(float)
    far = (x[:, 1] + x[:, 3]).argmax()

    found = separation(x, complete)
    assert (found.kind, found.causes) == ("complete", [0, 1, 3])
    assert (np.where(complete == 1, 1, -1) * (x @ found.direction.numpy())).min() > -1e-6
    assert (separation(x, quasi).kind, separation(x, quasi).causes) == ("quasi", [5])
    complete[far], quasi[999] = 0, 0
    assert separation(x, complete).kind == "none"
    assert separation(x, quasi).kind == "none"


def test_columns_too_extreme_for_float64_are_not_called_separated():
    """A column of 10000 +- 0.001 is the intercept's to 7 digits; newton scales it in any case."""
    generator = np.random.default_rng(5)
    x = generator.normal(size=(200, 2)) * [1, 1e-3] + [0, 1e4]
    fitted, found = described(x, generator.random(200) < 0.5, standardize=False)

    assert fitted.converged
    assert (found.separation, found.collinear) == ("none", ())


def test_collinear_columns_are_named_and_leave_the_probabilities_alone():
    generator = np.random.default_rng(3)
    x = generator.normal(size=(150, 3)) * [1, 10, 100] + [0, 5, 1000]
    y = (x[:, 0] + generator.normal(size=150) > 0).astype(float)
    total = x[:, 0] + 2 * x[:, 1] + 7
    fitted, found = described(np.c_[x, total], y, ["a", "b", "c", "total"])
    without, table = described(x, y, ["a", "b", "c"])

    assert found.collinear == ("total is a linear combination of a, b",)
    assert column(found, "note") == ["not unique", "not unique", "not unique", "", "not unique"]
    assert found.coefficients[3].estimate == pytest.approx(table.coefficients[3].estimate, rel=1e-8)
    assert found.coefficients[3].standard_error == pytest.approx(table.coefficients[3].standard_error, rel=1e-8)
    assert found.degrees_of_freedom == table.degrees_of_freedom
    torch.testing.assert_close(
        fitted.model(torch.tensor(np.c_[x, total]))[1], without.model(torch.tensor(x))[1], rtol=1e-9, atol=1e-12
    )


def test_a_constant_column_is_named():
    generator = np.random.default_rng(4)
    x = np.c_[generator.normal(size=60), np.full(60, 3.0)]
    _, found = described(x, generator.random(60) < 0.5, ["a", "same"])

    assert found.collinear == ("same is constant",)
    assert found.coefficients[1].estimate is not None
    assert found.coefficients[2].note == "not unique"


@pytest.mark.parametrize("share", [1e-6, 1e-8, 1e-12])
def test_columns_too_alike_to_tell_apart_are_named(share):
    """Such as one that was kept in float32, too: the best fit exists, too far out for float64."""
    random = np.random.default_rng(1)
    a = random.normal(50, 10, 300)
    y = (a + 8 * random.logistic(size=300) > 50).astype(float)
    fitted, found = described(np.column_stack([a, a + 10 * share * random.normal(size=300)]), y, ["a", "b"])
    alone, _ = described(a[:, None], y)

    assert (fitted.converged, found) == (False, None)
    assert fitted.notes[1] == "b is a linear combination of a, up to 1e-5 of its length: leave it out with --drop."
    assert fitted.losses[-1] == pytest.approx(alone.losses[-1], rel=1e-2)


def test_firth_takes_collinear_columns():
    """A city lies in one country; all rows of one of them are positive."""
    random = np.random.default_rng(11)
    city = np.eye(5)[np.arange(300) % 5]
    x = np.column_stack([random.normal(size=300), city[:, 1:]])
    y = np.where(city[:, 4] == 1, 1.0, x[:, 0] + random.logistic(size=300) > 0)
    country = np.column_stack([city[:, 1] + city[:, 2], city[:, 4]])
    fitted, found = described(np.column_stack([x, country]), y, firth=True)
    without, expected = described(x, y, firth=True)

    assert fitted.converged
    assert without.converged
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-9)
    assert found.coefficients[1].estimate == pytest.approx(expected.coefficients[1].estimate, rel=1e-9)


def test_firth_gives_separated_columns_a_finite_table():
    table = read_table(DATA / "hours.csv")
    _, found = described(table.x, table.y, firth=True)

    assert found.separation == "none"
    assert all(math.isfinite(value) for value in column(found, "estimate") + column(found, "standard_error"))


def test_class_weights_weigh_the_rows_of_an_outcome(fair):
    x, y = fair
    x, y = x[::20], y[::20]
    weighted, _ = described(x, y, class_weight="1,3")
    by_hand, _ = described(x, y, weight=np.where(y == 1, 3.0, 1.0))

    torch.testing.assert_close(weighted.model.beta, by_hand.model.beta, rtol=0, atol=0)


def test_the_table_is_in_the_manifest(models):
    """A fit by the lecture's gradient descent has no table."""
    found = decode((models / "admissions" / "1" / "manifest.json").read_bytes()).training.statistics

    assert column(found, "term") == ["(intercept)", "gre", "gpa", "rank=2", "rank=3", "rank=4"]
    assert f"{found.coefficients[3].standard_error:.6f}" == "0.316490"
    assert decode((models / "hours" / "1" / "manifest.json").read_bytes()).training.statistics is None
