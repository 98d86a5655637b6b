"""The tables of data/ have published coefficients; data/README.md has the sources."""

import pytest

from tests.support import DATA
from train.evaluation.coefficients import statistics
from train.solvers.fit import fit
from train.solvers.options import Options
from train.table.data import Data
from train.table.reading import Reading
from train.table.table import read_table

# {fit: (the table, the arguments to read it, the options, {term: (estimate, standard error)} as printed)}.
PUBLISHED = {
    "infert, R's own output": (
        "infert",
        {},
        {},
        {
            "(intercept)": ("-1.14924", "1.41220"),
            "age": ("0.03958", "0.03120"),
            "parity": ("-0.82828", "0.19649"),
            "education=6-11yrs": ("-1.04424", "0.79255"),
            "education=12+ yrs": ("-1.40321", "0.83416"),
            "spontaneous": ("2.04591", "0.31016"),
            "induced": ("1.28876", "0.30146"),
        },
    ),
    "infert without the confounders, R's own output": (
        "infert",
        {"drop": ["education", "age", "parity"]},
        {},
        {
            "(intercept)": ("-1.7079", "0.2677"),
            "spontaneous": ("1.1972", "0.2116"),
            "induced": ("0.4181", "0.2056"),
        },
    ),
    "womensrole, grouped, so weights; rstanarm's vignette": (
        "womensrole",
        {"positive": "agree", "weights": "people"},
        {},
        {
            "(intercept)": ("2.509", "0.184"),
            "education": ("-0.271", "0.015"),
            "sex=women": ("-0.011", "0.084"),
        },
    ),
    "titanic, ages missing; Hartig's lecture": (
        "titanic",
        {"drop": ["class", "sex"], "missing": {"age": "indicator"}},
        {},
        {"(intercept)": ("-0.136531", "0.144715"), "age": ("-0.007899", "0.004407")},
    ),
    "endometrial, separated by NV; brglm2's README": (
        "endometrial",
        {},
        {},
        {
            "(intercept)": ("4.30452", "1.63730"),
            "NV": None,
            "PI": ("-0.04218", "0.04433"),
            "EH": ("-2.90261", "0.84555"),
        },
    ),
    "endometrial by probit; brglm2's README": (
        "endometrial",
        {},
        {"link": "probit"},
        {
            "(intercept)": ("2.18093", "0.85732"),
            "NV": None,
            "PI": ("-0.01886", "0.02360"),
            "EH": ("-1.52576", "0.43308"),
        },
    ),
    "endometrial by Firth's penalty; brglm2's README": (
        "endometrial",
        {},
        {"firth": True},
        {
            "(intercept)": ("3.77456", "1.48869"),
            "NV": ("2.92927", "1.55076"),
            "PI": ("-0.03475", "0.03958"),
            "EH": ("-2.60416", "0.77602"),
        },
    ),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_coefficients_to_every_printed_digit(case):
    """Standard errors agree within 5e-5 of themselves, or half of the last digit.

    R's standard errors are those of the step before its last.
    """
    found, published = described(*PUBLISHED[case])
    terms = {c.term: c for c in found.coefficients}

    assert published.keys() <= terms.keys()
    for term, figures in published.items():
        if figures is None:
            assert (terms[term].estimate, terms[term].note) == (None, "+infinite")
            continue
        estimate, error = figures
        digits = len(estimate.split(".")[1])
        assert f"{terms[term].estimate:.{digits}f}" == estimate
        assert terms[term].standard_error == pytest.approx(float(error), rel=5e-5, abs=0.5 * 10**-digits)


def test_published_deviances():
    found, _ = described(*PUBLISHED["infert, R's own output"])
    lone, _ = described(*PUBLISHED["infert without the confounders, R's own output"])
    separated, _ = described(*PUBLISHED["endometrial, separated by NV; brglm2's README"])

    assert (f"{found.null_deviance:.2f}", f"{found.deviance:.2f}", f"{found.aic:.1f}") == ("316.17", "257.80", "271.8")
    assert (found.null_degrees_of_freedom, found.degrees_of_freedom) == (247, 241)
    assert (f"{lone.deviance:.2f}", f"{lone.aic:.2f}") == ("279.61", "285.61")
    assert (f"{separated.deviance:.2f}", separated.separation, separated.separating) == ("55.39", "quasi", ("NV",))


def described(name, reading, options, published):
    """(Statistics of the fit, what is published)."""
    table, options = read_table(DATA / f"{name}.csv", Reading(**reading)), Options(**options)
    rows = table.x, table.y, table.weight
    fitted = fit(Data(table.features, *rows), options, lambda line: None)
    return statistics(table.features, fitted, options), published
