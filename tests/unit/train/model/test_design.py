"""A feature of many levels gives the figures that its indicators would give."""

import numpy as np
import pytest
import torch

from passfail.manifest import Feature
from train.evaluation.coefficients import statistics
from train.evaluation.metrics import inflation
from train.solvers.fit import fit
from train.solvers.options import Options
from train.table.data import Data

STORED = "train.model.logistic.MANY"
KINDS = {
    "logit": Options(),
    "cauchit": Options(link="cauchit"),
    "no intercept": Options(intercept=False),
    "firth": Options(firth=True),
    "lasso": Options(l1=2.0),
    "robust": Options(robust=True),
    "clusters": Options(cluster="x"),
}


@pytest.fixture
def data():
    """600 rows of two numbers and two features of 6 and 5 levels, the second with gaps."""
    generator = np.random.default_rng(3)
    codes = [generator.integers(levels, size=600).astype(float) for levels in (6, 5)]
    codes[1][:40] = np.nan
    x = np.column_stack([generator.normal(5, 9, 600), codes[0], generator.normal(size=600), codes[1]])
    y = (x[:, 2] + np.nan_to_num(codes[0] + codes[1]) / 3 + generator.logistic(size=600) > 2).astype(float)
    features = (
        Feature("a", "numeric", (), -40.0, 50.0, None),
        Feature("six", "categorical", tuple("abcdef"), None, None, None),
        Feature("b", "numeric", (), -5.0, 5.0, None),
        Feature("five", "categorical", tuple("vwxyz"), None, None, 3.0, "indicator"),
    )
    return Data(features, x, y, generator.uniform(0.5, 2, 600))


def both(monkeypatch, compute):
    """The result with the indicators stored, and without."""
    found = []
    for many in (100, 4):
        monkeypatch.setattr(STORED, many)
        found.append(compute())
    return found


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_fit_and_its_statistics_do_not_depend_on_the_form_of_the_matrix(data, monkeypatch, options):
    def compute():
        fitted = fit(data, options, lambda line: None)
        assert fitted.converged
        cluster = np.arange(600.0) % 50 if options.cluster else None
        return fitted.model, statistics(data.features, fitted, options, cluster)

    (stored, expected), (model, found) = both(monkeypatch, compute)

    assert (len(stored.many), len(model.many)) == (0, 2)
    torch.testing.assert_close(model.beta, stored.beta, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(model.mean, stored.mean, rtol=1e-13, atol=0)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-12)
    errors, wanted = ([one.standard_error or 0 for one in table.coefficients] for table in (found, expected))
    assert errors == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("intercept", [True, False])
def test_a_feature_of_many_levels_may_be_the_only_one(data, monkeypatch, intercept):
    def compute():
        alone = data._replace(features=data.features[1:2], x=data.x[:, 1:2])
        model = fit(alone, Options(intercept=intercept), lambda line: None).model
        torch.testing.assert_close(model.logit(torch.from_numpy(alone.x)), model(torch.from_numpy(alone.x))[0])
        return model.beta.tolist(), inflation(model, ["six"], alone.x, data.weight)["six"]

    (stored, expected), (beta, found) = both(monkeypatch, compute)

    assert beta == pytest.approx(stored, rel=1e-9)
    assert found == pytest.approx(expected, rel=1e-9) == pytest.approx(1)


def test_a_level_that_separates_is_found_in_both_forms(data, monkeypatch):
    """All rows of one level have one outcome."""
    y = np.where(data.x[:, 1] == 4, 1.0, data.y)

    def compute():
        fitted = fit(data._replace(y=y), Options(), lambda line: None)
        return statistics(data.features, fitted, Options())

    expected, found = both(monkeypatch, compute)

    assert found.separation == expected.separation == "quasi"
    assert found.separating == expected.separating == ("six=e",)


def test_logits_have_the_bits_of_the_exported_graph(data, monkeypatch):
    monkeypatch.setattr(STORED, 4)
    model = fit(data, Options(), lambda line: None).model
    x = torch.from_numpy(data.x)

    assert len(model.many) == 2
    assert torch.equal(model.logit(x), model(x)[0])


def test_the_variance_inflation_does_not_depend_on_the_form_of_the_matrix(data, monkeypatch):
    names = [feature.name for feature in data.features]

    def compute():
        return inflation(fit(data, Options(), lambda line: None).model, names, data.x, data.weight)

    expected, found = both(monkeypatch, compute)

    assert found == pytest.approx(expected, rel=1e-10)
    assert found


def test_the_matrix_is_the_design_behind_a_column_of_ones(data, monkeypatch):
    monkeypatch.setattr(STORED, 4)
    model = fit(data, Options(), lambda line: None).model
    x = torch.from_numpy(data.x)

    dense = model.matrix(x).dense()

    assert (dense[:, 0] == 1).all()
    torch.testing.assert_close(dense[:, 1:], model.design(x), rtol=1e-14, atol=0)
