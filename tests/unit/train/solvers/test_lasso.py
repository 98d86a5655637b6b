"""The L1 penalty and the elastic net: the optimum, its zeros, and what is said of it."""

import numpy as np
import pytest
import torch

from tests.support import DATA
from train.errors import FitError
from train.evaluation.coefficients import lines, statistics
from train.model.links import LINKS
from train.solvers.fit import fit
from train.solvers.lasso import lasso_step, subgradient
from train.solvers.options import Options
from train.solvers.sums import total
from train.table.reading import Reading
from train.table.table import read_table


def fitted(name="infert", reading=None, **options):
    table = read_table(DATA / f"{name}.csv", reading or Reading())
    found = fit(table.data, Options(**options), lambda line: None)
    return table, found


def objective(found, l1, l2):
    loss = total(found.model.link, found.rows.matrices, found.model.beta).loss
    weight = found.model.weight.detach()
    return loss + l1 * weight.abs().sum().item() + l2 / 2 * (weight**2).sum().item()


# LogisticRegression of scikit-learn 1.9.1, solver saga, on the same columns: the objective, and which weights remain.
EXPECTED = {
    ("infert", 0.5, 0): (131.5353751834, "111111"),
    ("infert", 5, 0): (143.1542284172, "001111"),
    ("infert", 5, 2): (144.1442114859, "001111"),
    ("infert", 20, 1): (153.6386475058, "000001"),
    ("titanic", 5, 2): (651.4317349872, "1111"),
    ("titanic", 30, 30): (773.6349562793, "0111"),
    ("endometrial", 0.5, 0): (29.7026174488, "111"),
    ("endometrial", 5, 0): (39.9065160257, "101"),
}


@pytest.mark.parametrize("case", EXPECTED, ids=str)
def test_the_optimum_and_its_zeros_are_scikit_learns(case):
    name, l1, l2 = case
    least, kept = EXPECTED[case]
    _, found = fitted(name, l1=l1, l2=l2)

    assert found.converged
    assert objective(found, l1, l2) == pytest.approx(least, abs=1e-8)
    assert "".join("01"[weight != 0] for weight in found.model.weight.tolist()) == kept
    assert f"--l1 {l1:g} leaves out {kept.count('0')} of {len(kept)} columns" in found.notes[-1]


def test_a_large_penalty_leaves_the_share_of_positives_alone():
    """saga stops before the intercept is right here."""
    table, found = fitted("endometrial", l1=1000.0)

    assert not found.model.weight.any()
    assert found.model.bias.item() == pytest.approx(np.log(table.y.mean() / (1 - table.y.mean())), rel=1e-12)


@pytest.mark.parametrize("link", LINKS)
def test_the_subgradient_is_zero_up_to_rounding_for_every_link(link):
    _, found = fitted(l1=5.0, l2=1.0, link=link)
    sums, beta = total(link, found.rows.matrices, found.model.beta), found.model.beta
    free = torch.tensor([0.0] + [1.0] * (len(beta) - 1), dtype=torch.float64)

    assert found.converged
    assert (subgradient(beta, sums.gradient + free * beta, 5 * free).abs() < 1e-11 * sums.rounding + 1e-12).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_step_minimises_the_quadratic_model_even_with_duplicated_columns(seed):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(30, 8))
    rows[:, 5] = rows[:, 2]  # a singular curvature
    curvature = torch.from_numpy(rows.T @ rows)
    beta, gradient = torch.from_numpy(random.normal(size=8)), torch.from_numpy(rows.T @ random.normal(size=30) * 5)
    l1 = torch.tensor([0.0] + [8.0] * 7, dtype=torch.float64)
    b = beta - lasso_step(beta, gradient, curvature, l1)

    assert subgradient(b, gradient + curvature @ (b - beta), l1).abs().max() < 1e-9


def test_a_long_table_starts_from_a_sample_and_ends_at_the_same_optimum(monkeypatch):
    whole = fitted("titanic", l1=10.0)[1]
    monkeypatch.setattr("train.solvers.fit.SAMPLE", 200)
    monkeypatch.setattr("train.solvers.fit.RUN", 8)
    started = fitted("titanic", l1=10.0)[1]

    assert torch.allclose(whole.model.beta, started.model.beta, rtol=1e-10, atol=1e-12)
    assert (whole.model.beta == 0).tolist() == (started.model.beta == 0).tolist()


def test_standard_errors_are_withheld_and_the_line_says_why():
    table, found = fitted(l1=5.0, l2=1.0)
    described = statistics(table.features, found, Options(l1=5.0, l2=1.0))

    assert [one.standard_error for one in described.coefficients] == [None] * 7
    assert described.factor == ()
    said = "standard errors are not given: the penalty --l1 and --l2 shrinks the estimates towards 0"
    assert said in list(lines(described, Options(l1=5.0, l2=1.0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"firth": True}, "--firth needs the logit link without --l1"),
        ({"intervals": "profile"}, "needs a likelihood: remove --l1"),
        ({"solver": "lbfgs"}, "--l1 needs the solver newton"),
    ],
    ids=str,
)
def test_what_does_not_go_with_the_penalty_is_refused(options, message):
    with pytest.raises(FitError, match=message):
        fitted(l1=1.0, **options)
