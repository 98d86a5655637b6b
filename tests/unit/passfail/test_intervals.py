"""The interval of a probability: statsmodels is the truth, and a model without one says why."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import statsmodels.api as sm

from passfail.errors import NoInterval
from passfail.intervals import Intervals
from passfail.links import LINKS
from passfail.manifest import Feature
from passfail.proof import reference
from tests.support.models import opened
from train.evaluation.coefficients import statistics
from train.model.logistic import parameters
from train.solvers.fit import fit
from train.solvers.options import Options
from train.table.data import Data

FAMILIES = {"logit": sm.families.links.Logit, "probit": sm.families.links.Probit, "cloglog": sm.families.links.CLogLog}


def table(seed, rows=120, columns=3):
    generator = np.random.default_rng(seed)
    x = generator.normal(generator.normal(0, 10, columns), 10.0 ** generator.uniform(-3, 3, columns), (rows, columns))
    score = ((x - x.mean(0)) / x.std(0)) @ generator.normal(0, 0.7, columns)
    return x, (score + generator.logistic(size=rows) > 0).astype(np.float64)


def subject(x, y, **chosen):
    """The part of a manifest that Intervals need."""
    features = tuple(Feature(f"x{i}", "numeric", (), float(c.min()), float(c.max()), None) for i, c in enumerate(x.T))
    options = Options(**chosen)
    fitted = fit(Data(features, x, y, np.ones(len(y))), options, log=lambda line: None)
    training = SimpleNamespace(statistics=statistics(features, fitted, options), options=vars(options))
    return SimpleNamespace(
        features=features, parameters=parameters(fitted.model), link=options.link, training=training, threshold=0.5
    )


@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no intercept"])
@pytest.mark.parametrize("link", FAMILIES)
def test_it_is_statsmodels_interval_on_the_score_taken_to_probabilities(link, intercept):
    for seed in range(3):
        x, y = table(seed)
        model = subject(x, y, link=link, intercept=intercept)
        asked = x[:40] + x.std(0) * np.random.default_rng(seed).normal(size=(40, 3))
        design, rows = (sm.add_constant(part, has_constant="add") if intercept else part for part in (x, asked))
        found = sm.GLM(y, design, sm.families.Binomial(FAMILIES[link]())).fit(tol=1e-14, maxiter=100)
        right = found.get_prediction(rows).conf_int(method="endpoint")

        np.testing.assert_allclose(Intervals(model).at(asked, reference.logit(model, asked)), right, rtol=1e-6)


def test_robust_errors_give_robust_intervals():
    x, y = table(1)
    model = subject(x, y, robust=True)
    found = sm.GLM(y, sm.add_constant(x), sm.families.Binomial()).fit(cov_type="HC0", tol=1e-14, maxiter=100)

    np.testing.assert_allclose(
        Intervals(model).at(x, reference.logit(model, x)), found.get_prediction().conf_int(method="endpoint"), rtol=1e-6
    )


@pytest.mark.parametrize("link", LINKS)
def test_plain_probabilities_are_the_scores_inverse(link):
    for p in (1e-9, 1e-3, 0.2, 0.5, 0.8, 1 - 1e-6):
        assert LINKS[link].probability(LINKS[link].score(p)) == pytest.approx(p, rel=1e-9)
    assert [LINKS[link].probability(z) for z in (-np.inf, np.inf)] == pytest.approx([0, 1], abs=1e-290)


REASONS = {
    "l2": ({"l2": 1.0}, "the penalty --l2 shrinks"),
    "solver": ({"solver": "sgd", "lr": 0.1, "epochs": 3}, "only a converged fit by --solver newton"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_model_without_intervals_says_why(reason):
    options, said = REASONS[reason]
    with pytest.raises(NoInterval, match=f"the model has no intervals: {said}"):
        Intervals(subject(*table(2), **options))


def test_estimates_that_are_infinite_or_not_unique_have_no_intervals():
    x, y = table(3)
    with pytest.raises(NoInterval, match="its columns separate the outcomes"):
        Intervals(subject(np.column_stack([x, y + x[:, 0] * 0]), y))
    with pytest.raises(NoInterval, match="its columns are collinear"):
        Intervals(subject(np.column_stack([x, x[:, 0] + x[:, 1]]), y))


def test_a_wide_model_has_no_intervals(monkeypatch):
    monkeypatch.setattr("train.evaluation.coefficients.MOST_PARAMETERS", 2)
    x, y = table(4)
    with pytest.raises(NoInterval, match="more than 128 parameters"):
        Intervals(subject(x, y))


def test_the_service_and_python_give_the_same_interval(models, ask):
    rows = [{"gre": 600, "gpa": 3.5, "rank": "2"}, {"gre": 300, "gpa": 2.3, "rank": "4"}]
    predictions = opened(models, "admissions").predict(rows, interval=True)
    answers = ask("/predict?interval=true", rows).json

    expected = [{"low": low, "high": high, "method": "wald"} for low, high in predictions.interval.tolist()]
    assert [answer["interval"] for answer in answers] == expected
    assert all(answer["interval"]["low"] < answer["probability"] < answer["interval"]["high"] for answer in answers)
    assert ask("/predict?interval=true&explain=true", rows[0]).json["interval"] == answers[0]["interval"]
    assert opened(models, "admissions").predict(rows).interval is None


def test_the_service_says_why_there_is_none(client):
    response = client("hours").post("/predict?interval=true", json={"hours": 1})

    assert (response.status_code, response.json["title"]) == (422, "No interval")
    assert response.json["detail"].startswith("the model has no intervals: only a converged fit")


def test_csv_has_no_room_for_it(ask):
    response = ask("/predict?interval=true", b"gre,gpa,rank\n600,3.5,2\n", "text/csv")

    assert response.status_code == 415
    assert json.loads(response.data)["detail"] == "only application/json can carry interval: send that"
