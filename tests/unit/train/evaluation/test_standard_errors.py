"""The coefficient table, compared with arithmetic of 60 digits, and separated tables.

The tables in tests/data/statistics were made for this project; their figures here come from mpmath unless said.
"""

import math

import mpmath
import numpy as np
import pytest
import statsmodels.api as sm

from passfail.manifest import Feature
from tests.support import DATA, ROOT
from train.errors import DataError, FitError
from train.evaluation.coefficients import fit_warnings, lines, statistics
from train.solvers.fit import fit
from train.solvers.options import Options
from train.table.data import Data
from train.table.reading import Reading
from train.table.table import read_table

CASES = ROOT / "tests" / "data" / "statistics"


def described(x, y, weight=None, **options):
    """(Fit, Statistics) of numeric columns x (n, d)."""
    x, y = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    features = [
        Feature(f"x{i}", "numeric", (), float(low), float(high), None)
        for i, (low, high) in enumerate(zip(x.min(0), x.max(0), strict=True))
    ]
    fitted = fit(
        Data(features, x, y, np.ones(len(y)) if weight is None else weight), Options(**options), lambda line: None
    )
    return fitted, statistics(features, fitted, Options(**options))


def case(name, weights=None, **options):
    """(Fit, Statistics) of one of the tables."""
    table = read_table(CASES / f"{name}.csv", Reading(weights=weights))
    fitted = fit(table.data, Options(**options), lambda line: None)
    return fitted, statistics(table.features, fitted, Options(**options))


def column(found, name):
    return [getattr(coefficient, name) for coefficient in found.coefficients]


YEAR = {
    "logit": (
        {},
        [-2544.5841985616826, 1.259692542725984, -0.7663600461080058],
        [326.661044391638, 0.1617128996330558, 0.12684652937119212],
    ),
    "no intercept": (
        {"intercept": False},
        [1.6151063502868104e-06, -0.5703840964520992],
        [5.145265331038166e-05, 0.10861682998660083],
    ),
    "firth": (
        {"firth": True},
        [-2516.086449578364, 1.245584652249585, -0.7561699801592758],
        [325.0768233428722, 0.16092862089591825, 0.12620080037155507],
    ),
    "probit": (
        {"link": "probit"},
        [-1521.153916994108, 0.7530437561241241, -0.4479843589593669],
        [186.5212717366229, 0.0923369002450741, 0.07248935026796516],
    ),
}


@pytest.mark.parametrize(("options", "estimates", "errors"), YEAR.values(), ids=YEAR)
def test_standard_errors_are_those_at_the_estimates(options, estimates, errors):
    fitted, found = case("year", **options)

    assert fitted.converged
    np.testing.assert_allclose(column(found, "estimate"), estimates, rtol=1e-10)
    np.testing.assert_allclose(column(found, "standard_error"), errors, rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_standard_errors_have_nine_digits_on_any_table(seed):
    """Newton's method in 40 digits on a table whose columns have very different units."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(40, 2)) * 10.0 ** random.integers(-3, 4, 2) + random.normal(size=2)
    y = (random.random(40) < 0.4).astype(float)
    with mpmath.workdps(40):
        matrix = mpmath.matrix(np.column_stack([np.ones(40), x]).tolist())
        beta = mpmath.zeros(3, 1)
        for _ in range(12):
            p = [1 / (1 + mpmath.exp(-z)) for z in matrix * beta]
            information = matrix.T * mpmath.diag([q * (1 - q) for q in p]) * matrix
            beta += information**-1 * (matrix.T * mpmath.matrix([a - b for a, b in zip(y.tolist(), p, strict=True)]))
        errors = [float(mpmath.sqrt((information**-1)[i, i])) for i in range(3)]
    _, found = described(x, y)

    np.testing.assert_allclose(column(found, "standard_error"), errors, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"robust": True}, {"cluster": "g"}], ids=["information", "robust", "cluster"])
def test_standard_errors_of_nearly_collinear_columns_have_nine_digits(options):
    """One column is another within 1e-5: the inverse of the information alone has five digits."""
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 2))
    y = (x[:, 0] + random.logistic(size=60) > 0).astype(float)
    x, group = np.column_stack([x, x[:, 0] + 1e-5 * random.normal(size=60)]), np.arange(60) % 9
    features = [Feature(f"x{i}", "numeric", (), float(c.min()), float(c.max()), None) for i, c in enumerate(x.T)]
    fitted = fit(Data(features, x, y, np.ones(60)), Options(**options), lambda line: None)
    found = statistics(features, fitted, Options(**options), group.astype(float) if options.get("cluster") else None)
    with mpmath.workdps(40):
        matrix = mpmath.matrix(np.column_stack([np.ones(60), x]).tolist())
        beta, outcome = mpmath.matrix(column(found, "estimate")), mpmath.matrix(y.tolist())
        for _ in range(3):
            p = [1 / (1 + mpmath.exp(-z)) for z in matrix * beta]
            covariance = (matrix.T * mpmath.diag([q * (1 - q) for q in p]) * matrix) ** -1
            missed = outcome - mpmath.matrix(p)
            beta += covariance * (matrix.T * missed)
        scores = mpmath.diag(missed) * matrix
        if options.get("cluster"):
            factor = mpmath.sqrt(mpmath.mpf(9 * 59) / (8 * 56))
            scores = mpmath.matrix(np.eye(9)[:, group].tolist()) * scores * factor
        if options:
            covariance = covariance * (scores.T * scores) * covariance
        right = [float(mpmath.sqrt(covariance[i, i])) for i in range(4)]

    np.testing.assert_allclose(column(found, "standard_error"), right, rtol=1e-9)


def test_class_weights_have_robust_errors_and_no_likelihood():
    """statsmodels' HC0 of the same reweighted fit."""
    random = np.random.default_rng(5)
    x = random.normal(size=(400, 2))
    y = (random.random(400) < 1 / (1 + np.exp(2 - x[:, 0]))).astype(float)
    fitted, found = described(x, y, class_weight="1,4")
    weight = np.where(y == 1, 4.0, 1.0)
    other = sm.GLM(y, sm.add_constant(x), sm.families.Binomial(), freq_weights=weight).fit(tol=1e-14)
    p = 1 / (1 + np.exp(-sm.add_constant(x) @ other.params))
    score = sm.add_constant(x) * (weight * (y - p))[:, None]
    bread = np.linalg.inv((sm.add_constant(x) * (weight * p * (1 - p))[:, None]).T @ sm.add_constant(x))

    expected = np.sqrt(np.diag(bread @ score.T @ score @ bread))
    np.testing.assert_allclose(column(found, "standard_error"), expected, rtol=1e-9)
    assert (found.standard_errors, found.deviance, found.aic, found.bic) == ("sandwich", None, None, None)
    assert any("robust" in line for line in lines(found, Options(class_weight="1,4")))
    assert any(f"subtract {math.log(4):.6g} from the intercept" in note for note in fitted.notes)


def test_robust_errors_are_statsmodels():
    random = np.random.default_rng(6)
    x = random.normal(size=(300, 2))
    y = (random.random(300) < 0.3).astype(float)
    _, found = described(x, y, robust=True)
    other = sm.Logit(y, sm.add_constant(x)).fit(disp=0, tol=1e-14, cov_type="HC0")

    np.testing.assert_allclose(column(found, "standard_error"), other.bse, rtol=1e-8)
    assert found.deviance == pytest.approx(-2 * other.llf)


def test_a_weight_counts_rows_in_the_degrees_of_freedom_and_in_bic():
    _, found = case("weights_int", weights="w")

    expected = [0.08225752648440374, 1.2940716110374422, -0.849215382017244]
    np.testing.assert_allclose(column(found, "estimate"), expected, rtol=1e-12)
    errors = [0.09593644699551479, 0.12265911545033574, 0.11064549545274185]
    np.testing.assert_allclose(column(found, "standard_error"), errors, rtol=1e-9)
    assert found.degrees_of_freedom == 615
    assert found.bic == pytest.approx(669.4933967697673, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_size_of_the_weights_does_not_make_separation(scale):
    table = read_table(CASES / "weights_int.csv", Reading(weights="w"))
    plain, scaled = (
        fit(Data(table.features, table.x, table.y, table.weight * factor), Options(), lambda line: None)
        for factor in (1.0, scale)
    )

    assert scaled.converged
    np.testing.assert_allclose(scaled.model.beta, plain.model.beta, rtol=1e-12)


@pytest.mark.parametrize(("name", "cause"), [("quasi_tie", "x"), ("separated_quietly", "x")])
def test_quasi_separation_is_found_in_few_steps(name, cause):
    """A tie at the boundary, and a table on which R's glm gives no warning (deviance 146.77)."""
    fitted, found = case(name)

    assert not fitted.converged
    assert len(fitted.losses) < 35
    assert (found.separation, found.separating) == ("quasi", (cause,))
    if name == "separated_quietly":
        assert f"{found.deviance:.2f}" == "146.77"


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit"])
def test_the_advice_for_separated_outcomes_fits_the_link(link):
    _, found = described(np.arange(20.0)[:, None], np.arange(20) > 9, link=link)

    (advice,) = fit_warnings("It stopped.", found, link)
    assert found.separation == "complete"
    assert ("--firth" in advice) == (link == "logit")


@pytest.mark.parametrize("seed", range(6))
def test_overlapping_tables_are_never_called_separated(seed):
    """One row of 200 is on the other side of its neighbour, close to the boundary."""
    x = np.sort(np.random.default_rng(seed).normal(size=200))
    y = np.arange(200) >= 100
    y[[99, 100]] = True, False
    fitted, found = described(x[:, None], y)

    assert fitted.converged
    assert found.separation == "none"


def test_firth_fits_two_rows():
    fitted, found = case("two_rows", firth=True)

    assert fitted.converged
    assert len(fitted.losses) < 12
    np.testing.assert_allclose(column(found, "estimate"), [-3 * math.log(3), 2 * math.log(3)], rtol=1e-9)


def test_firth_converges_on_fewer_rows_than_columns():
    random = np.random.default_rng(0)
    fitted, _ = described(random.normal(size=(8, 12)), np.arange(8) % 2, firth=True)

    assert fitted.converged


def test_a_penalty_makes_nearly_collinear_columns_unique():
    random = np.random.default_rng(8)
    x = random.normal(size=(200, 1))
    x = np.hstack([x, x + 1e-6 * random.normal(size=(200, 1))])
    _, found = described(x, random.random(200) < 1 / (1 + np.exp(-x[:, 0])), l2=1.0)

    assert None not in column(found, "estimate")
    assert found.collinear == ()


# sex2 of R's logistf (Foxman and others, Epidemiology 8, 1997): case, age, oc, vic, vicl, vis, dia, and how many rows.
SEX2 = """1000010:1 1001000:14 1001010:3 1001100:10 1001110:12 1001111:1 1010000:44 1010001:3 1011000:15 1011001:1
1011010:2 1011100:7 1011110:3 1101000:2 1101010:1 1101011:1 1101100:1 1101111:1 1110000:5 1111000:3 0000010:1 0001000:2
0001010:1 0001100:8 0001110:18 0010000:42 0010010:1 0011000:1 0011100:5 0011110:6 0101100:2 0101110:4 0110000:14
0110010:1 0111000:1 0111110:2"""


def test_firths_intervals_are_those_of_the_profile_likelihood_as_in_rs_logistf():
    """Wald's would be -0.187 to 6.379 for dia: another conclusion."""
    cells = [cell.split(":") for cell in SEX2.split()]
    table = np.array([[*map(float, pattern)] for pattern, _ in cells])
    _, found = described(table[:, 1:], table[:, 0], np.array([float(count) for _, count in cells]), firth=True)
    dia = found.coefficients[6]

    assert found.intervals == "profile"
    assert (dia.lower, dia.upper) == pytest.approx((0.7745682, 8.0302935), abs=1e-6)
    assert dia.p == pytest.approx(0.004951873, abs=1e-8)
    assert any("profile likelihood" in line for line in lines(found, Options(firth=True)))


def test_profile_intervals_of_admissions_are_rs():
    """confint of R's glm, which interpolates: three or four digits."""
    table = read_table(DATA / "admissions.csv", Reading(categorical=("rank",)))
    options = Options(intervals="profile")
    fitted = fit(table.data, options, lambda line: None)
    found = statistics(table.features, fitted, options)

    lower = [-6.271620, 0.000138, 0.160296, -1.300889, -2.027671, -2.400027]
    upper = [-1.792547, 0.004436, 1.464143, -0.056746, -0.670372, -0.753542]
    np.testing.assert_allclose(column(found, "lower"), lower, rtol=5e-3)
    np.testing.assert_allclose(column(found, "upper"), upper, rtol=5e-3)


def test_the_likelihood_ratio_test_is_that_of_the_fit_without_the_column():
    random = np.random.default_rng(3)
    x = random.normal(size=(80, 2))
    y = random.random(80) < 1 / (1 + np.exp(-x[:, 0]))
    _, found = described(x, y, intervals="profile")
    _, without = described(x[:, :1], y)
    ratio = without.deviance - found.deviance

    assert found.coefficients[2].p == pytest.approx(math.erfc(math.sqrt(ratio / 2)), rel=1e-7)


@pytest.mark.parametrize("options", [{"l2": 1.0}, {"robust": True}, {"class_weight": "balanced"}], ids=str)
def test_profile_intervals_need_a_likelihood(options):
    with pytest.raises(FitError, match="--intervals profile needs a likelihood"):
        described(np.arange(8.0)[:, None], np.arange(8) % 2, intervals="profile", **options)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_clustered_errors_are_statsmodels(link):
    for seed in range(3):
        generator = np.random.default_rng(seed)
        group = generator.integers(0, 25, 300)
        x = generator.normal(size=(300, 2)) + generator.normal(size=(25, 2))[group]
        y = (x @ [0.8, -0.4] + generator.normal(size=25)[group] + generator.logistic(size=300) > 0).astype(float)
        features = [Feature(f"x{i}", "numeric", (), float(c.min()), float(c.max()), None) for i, c in enumerate(x.T)]
        options = Options(link=link, cluster="school")
        fitted = fit(Data(features, x, y, np.ones(300)), options, lambda line: None)
        found = statistics(features, fitted, options, 7.5 * group)
        kind = sm.Logit if link == "logit" else sm.Probit
        right = kind(y, sm.add_constant(x)).fit(
            disp=0, tol=1e-14, maxiter=100, cov_type="cluster", cov_kwds={"groups": group}
        )

        assert (found.standard_errors, found.clusters) == ("cluster", 25)
        np.testing.assert_allclose(column(found, "standard_error"), right.bse, rtol=1e-8)
        np.testing.assert_allclose(column(found, "p"), right.pvalues, rtol=1e-6)
        assert "standard errors are robust, with the 25 groups of school as clusters" in lines(found, options)


@pytest.mark.parametrize("words", [True, False], ids=["words", "numbers"])
def test_the_column_of_groups_is_no_feature(tmp_path, words):
    rows = [(i * 7 % 11, ["north", "south", "east"][i % 3] if words else i % 3, int(i * 5 % 7 < 3)) for i in range(60)]
    (tmp_path / "t.csv").write_text("x,region,y\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))

    table = read_table(tmp_path / "t.csv", Reading(cluster="Region"))

    assert [feature.name for feature in table.features] == ["x"]
    assert len(np.unique(table.cluster)) == 3
    assert (table.cluster[:3] == table.cluster[3:6]).all()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["a", "", "b"], r"t.csv: line 3: column 'g': missing; fill the cell: --cluster needs the group of each row"),
        (["a", "a", "a"], "column 'g': every row has the same group"),
        (["2", "2", "2"], "column 'g': every row has the same group"),
    ],
)
def test_groups_that_are_missing_or_one_are_refused(tmp_path, cells, said):
    (tmp_path / "t.csv").write_text("x,g,y\n" + "".join(f"{i},{cell},{i % 2}\n" for i, cell in enumerate(cells)))

    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "t.csv", Reading(cluster="g"))


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_three_tests_stand_side_by_side(link):
    """The score test is statsmodels', whose GLM takes Fisher's information as we do."""
    generator = np.random.default_rng(5)
    x = generator.normal(size=(80, 3)) * [1, 100, 0.01] + [0, 30, 1]
    y = (x[:, 0] + generator.logistic(size=80) > 0.3).astype(float)
    _, found = described(x, y, link=link, intervals="profile")
    links = {"logit": "Logit", "probit": "Probit", "cloglog": "CLogLog"}
    family = sm.families.Binomial(getattr(sm.families.links, links[link])())
    design = sm.add_constant(x)
    full = sm.GLM(y, design, family).fit(tol=1e-14, maxiter=100)
    for index in range(4):
        less = sm.GLM(y, np.delete(design, index, axis=1), family).fit(tol=1e-14, maxiter=100)
        _, score, _ = less.model.score_test(less.params, exog_extra=design[:, index], observed=False)
        ratio = 2 * (full.llf - less.llf)
        tests = found.coefficients[index].tests

        assert tests["score"] == pytest.approx(np.squeeze(score).item(), rel=1e-5)
        assert tests["likelihood ratio"] == pytest.approx(math.erfc(math.sqrt(ratio / 2)), rel=1e-5)
        assert tests["wald"] == pytest.approx(full.pvalues[index], rel=1e-5)
    printed = list(lines(found, Options(link=link, intervals="profile")))
    assert any(line.split() == ["p", "by", "test", "wald", "likelihood", "ratio", "score"] for line in printed)


def test_without_profiles_there_is_one_test():
    _, found = case("year")

    assert all(coefficient.tests == {} for coefficient in found.coefficients)


@pytest.mark.parametrize("pivots", [0, 5000], ids=["no programs", "programs"])
def test_complete_separation_of_a_wide_table_is_complete_however_far_the_programs_come(monkeypatch, pivots):
    monkeypatch.setattr("train.evaluation.separation.PIVOTS", pivots)
    generator = np.random.default_rng(2)
    x = generator.normal(size=(1500, 40))
    fitted, found = described(x, x @ generator.normal(size=40) > 0)

    assert (fitted.solution.recession.kind, found.separation) == ("complete", "complete")
    assert len(found.separating) > 30


@pytest.mark.parametrize("culprit", [True, False], ids=["one column", "all columns"])
def test_separation_of_a_wide_table_is_named_without_programs(monkeypatch, culprit):
    """One long step suffices after the proof; the ends of a column name it."""
    monkeypatch.setattr("train.evaluation.separation.NAMED_COLUMNS", 20)
    monkeypatch.setattr("scipy.optimize.linprog", None)
    generator = np.random.default_rng(3)
    x = generator.normal(size=(600, 60))
    fitted, found = described(x, (x[:, 17] if culprit else x @ generator.normal(size=60)) > 0.1)
    (advice,) = fit_warnings("It stopped.", found, "logit")

    assert (found.separation, len(fitted.losses)) == ("complete", 10)
    assert fitted.losses[-1] < 1e-5
    assert found.separating == (("x17",) if culprit else tuple(f"x{i}" for i in range(60)))
    assert ("by x17;" if culprit else "x19, 40 more;") in advice
