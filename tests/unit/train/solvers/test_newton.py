"""Newton's method: what it adds up, where it stops and what it says when it can't arrive."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passfail.manifest import Feature
from train.errors import FitError
from train.model.design import Design
from train.model.links import LINKS
from train.solvers.fit import fit
from train.solvers.objective import firth_terms, inverse, log_determinant
from train.solvers.options import Options
from train.solvers.sums import total
from train.table.data import Data

every_link = pytest.mark.parametrize("link", LINKS)


def table(n=300, d=3, seed=0):
    """Rows (n, d) of very different units, and outcomes (n,) that depend on them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = (x.sum(1) + 2 * torch.randn(n, generator=generator, dtype=torch.float64) > 0.3).to(torch.float64)
    return x * 10 ** torch.arange(d) + 5, y


def fitted(x, y, weight=None, **options):
    ranges = zip(x.min(0).values.tolist(), x.max(0).values.tolist(), strict=True)
    features = [Feature(f"x{i}", "numeric", (), *limits, None) for i, limits in enumerate(ranges)]
    weight = torch.ones_like(y) if weight is None else weight
    rows = x.numpy(), y.numpy(), weight.numpy()
    return fit(Data(features, *rows), Options(**options), lambda line: None)


def at_the_end(result, link="logit"):
    """The Sums at the fitted parameters."""
    return total(link, result.rows.matrices, result.model.beta)


def raw(result):
    """The intercept and the slopes in the table's own units (1 + d,)."""
    slope = (result.model.weight / result.model.scale).detach()
    return torch.cat([(result.model.bias - slope @ result.model.center).detach(), slope])


@every_link
@settings(max_examples=25)
@given(st.lists(st.floats(-1.5, 1.5), min_size=4, max_size=4), st.integers(0, 9))
def test_sums_are_autograds(link, values, seed):
    """One pass gives gradient, curvature and its expectation, the information."""
    x, y = table(40, 3, seed)
    x = (x - x.mean(0)) / x.std(0)
    weight = torch.linspace(0.5, 2, 40, dtype=torch.float64)
    ones = torch.cat([torch.ones(40, 1, dtype=torch.float64), x], 1)

    def loss(beta, y):
        return (weight * LINKS[link].terms(ones @ beta, y)[0]).sum()

    beta = torch.tensor(values, dtype=torch.float64)
    beta = torch.where(beta == 0, 0.1, beta)
    halves = list(zip(map(Design, ones.split(20)), y.split(20), weight.split(20), strict=True))
    sums = total(link, lambda: [lambda rows=rows: rows for rows in halves], beta)
    p = LINKS[link].probability(ones @ beta)

    def expected(beta):  # the derivative acts on the loss alone, the outcomes' probabilities stay
        rows = (LINKS[link].terms(ones @ beta, torch.full_like(p, outcome))[0] for outcome in (0.0, 1.0))
        return sum((weight * share * row).sum() for share, row in zip((1 - p, p), rows, strict=True))

    assert sums.loss == pytest.approx(loss(beta, y).item(), rel=1e-12)
    torch.testing.assert_close(sums.gradient, torch.func.grad(loss)(beta, y), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        sums.curvature, torch.autograd.functional.hessian(lambda b: loss(b, y), beta), rtol=1e-7, atol=1e-7
    )
    torch.testing.assert_close(
        sums.information, torch.autograd.functional.hessian(expected, beta), rtol=1e-7, atol=1e-7
    )


def test_firth_gradient_is_the_gradient_of_the_penalty():
    x, y = table(40)
    x, weight = (x - x.mean(0)) / x.std(0), torch.linspace(0.5, 2, 40, dtype=torch.float64)
    matrix = torch.cat([torch.ones(40, 1, dtype=torch.float64), x], 1)
    batches = lambda: [lambda: (Design(matrix), y, weight)]  # noqa: E731
    beta = torch.tensor([0.3, -0.4, 0.5, 0.6], dtype=torch.float64)

    def penalty(beta):
        return log_determinant(total("logit", batches, beta).information, sizes) / 2

    sizes = torch.ones(4, dtype=torch.float64)
    slope, _ = firth_terms(batches, beta, inverse(total("logit", batches, beta).information)[0])
    for index, step in enumerate(torch.eye(4, dtype=torch.float64) * 1e-5):
        assert slope[index].item() == pytest.approx((penalty(beta + step) - penalty(beta - step)) / 2e-5, rel=1e-7)


@every_link
@pytest.mark.parametrize("intercept", [True, False])
def test_converged_means_the_gradient_is_rounding(link, intercept):
    x, y = table()
    result = fitted(x, y, link=link, intercept=intercept)
    end = at_the_end(result, link)

    assert result.converged
    assert result.notes == ()
    assert (end.gradient.abs() <= 2e-15 * end.rounding).all()
    assert intercept or (result.model.bias.item() == 0 and (result.model.center == 0).all())


@every_link
def test_halved_steps_reach_the_optimum_where_full_ones_overshoot(link):
    """Rows far out on the wrong side make the first full step too long."""
    x = torch.tensor([-50.0, -1, 0, 1, 2, 3, 40, 60], dtype=torch.float64)[:, None]
    y = torch.tensor([1.0, 0, 0, 1, 0, 1, 1, 0], dtype=torch.float64)
    result = fitted(x, y, link=link, standardize=False)

    assert result.converged
    assert (np.diff(result.solution.losses) <= 1e-15).all()


@pytest.mark.parametrize("options", [{}, {"l2": 500.0}, {"firth": True}, {"link": "cauchit", "intercept": False}])
def test_a_long_table_starts_from_the_fit_to_some_of_its_rows(options, monkeypatch):
    """The fit is that from 0, after fewer passes; the penalty is scaled to fewer rows."""
    x, y = table(6000)
    weight = torch.linspace(0.5, 2, 6000, dtype=torch.float64)
    whole = fitted(x, y, weight, **options)
    monkeypatch.setattr("train.solvers.fit.SAMPLE", 1000)
    monkeypatch.setattr("train.solvers.fit.RUN", 10)
    some = fitted(x, y, weight, **options)

    assert some.converged
    assert len(some.losses) < len(whole.losses)
    assert some.losses[0] == pytest.approx(some.losses[-1], abs=0.005)
    torch.testing.assert_close(raw(some), raw(whole), rtol=1e-11, atol=0)
    assert at_the_end(some, options.get("link", "logit")).rows == 6000


def test_a_long_table_starts_from_0_where_some_of_its_rows_have_no_best_fit(monkeypatch):
    x, y = table(6000, 1)
    monkeypatch.setattr("train.solvers.fit.SAMPLE", 1000)
    monkeypatch.setattr("train.solvers.fit.RUN", 10)
    chosen = torch.arange(6000) // 10 % 6 == 0
    result = fitted(x, torch.where(chosen, (x[:, 0] > 5).to(torch.float64), y))

    assert result.converged
    assert result.losses[0] == pytest.approx(math.log(2), rel=1e-12)


def test_gives_up_with_the_reason(monkeypatch):
    monkeypatch.setattr("train.solvers.newton.MAX_STEPS", 2)
    result = fitted(*table())

    assert not result.converged
    assert result.notes[0].startswith("Not converged after 2 steps: the limit on the number of steps is reached.")


def test_one_pass_is_a_sum_over_batches():
    x, y = table(16_484)
    x = torch.cat([torch.ones(16_484, 1, dtype=torch.float64), x], 1)
    weight, beta = torch.ones_like(y), torch.full((4,), 0.01, dtype=torch.float64)
    whole = total("logit", lambda: [lambda: (Design(x), y, weight)], beta)
    batches = list(zip(map(Design, x.split(1000)), y.split(1000), weight.split(1000), strict=True))
    parts = total("logit", lambda: (lambda rows=rows: rows for rows in batches), beta)

    assert whole.rows == parts.rows == len(y)
    assert whole.loss == pytest.approx(parts.loss, rel=1e-13)
    torch.testing.assert_close(whole.gradient, parts.gradient, rtol=1e-11, atol=1e-6)
    torch.testing.assert_close(whole.information, parts.information, rtol=1e-12, atol=0)


def test_a_weight_counts_as_repeated_rows():
    x, y = table(60)
    times = torch.arange(60) % 3
    weighted = fitted(x, y, times.to(torch.float64), standardize=False)
    repeated = fitted(x.repeat_interleave(times, 0), y.repeat_interleave(times), standardize=False)

    torch.testing.assert_close(raw(weighted), raw(repeated), rtol=1e-10, atol=0)
    torch.testing.assert_close(at_the_end(weighted).information, at_the_end(repeated).information)
    assert at_the_end(weighted).rows == (times > 0).sum()


def test_class_weights_multiply_the_rows_of_an_outcome():
    x, y = table(60)
    by_hand = fitted(x, y, torch.where(y == 1, 3.0, 0.5).to(torch.float64))
    balanced = fitted(x, y, class_weight="balanced")
    share = y.mean()

    torch.testing.assert_close(raw(fitted(x, y, class_weight="0.5,3")), raw(by_hand))
    assert at_the_end(balanced).positive == pytest.approx(at_the_end(balanced).weight / 2)
    torch.testing.assert_close(raw(balanced), raw(fitted(x, y, torch.where(y == 1, 0.5 / share, 0.5 / (1 - share)))))


def test_firth_adds_half_a_row_to_each_cell_of_a_two_by_two_table():
    """Firth (1993), section 4, has the closed form, finite even for an empty cell."""
    x = torch.tensor([0.0] * 7 + [1.0] * 5, dtype=torch.float64)[:, None]
    y = torch.tensor([1.0] * 3 + [0.0] * 4 + [1.0] * 5, dtype=torch.float64)
    result = fitted(x, y, firth=True, standardize=False)
    at0, at1 = math.log(3.5 / 4.5), math.log(5.5 / 0.5)

    assert result.converged
    np.testing.assert_allclose(raw(result), [at0, at1 - at0], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"firth": True, "link": "probit"}, "--firth needs the logit link"),
        ({"firth": True, "l2": 1.0}, "--firth needs the logit link without --l1 and --l2"),
        ({"solver": "sgd", "link": "probit"}, "--link needs the solver newton, not sgd: use --solver newton"),
        (
            {"solver": "sgd", "link": "probit", "loss": "hinge"},
            "--link needs the solver newton, not sgd: remove --link, since",
        ),
        ({"solver": "sgd", "firth": True, "hidden": 2}, "--firth needs the solver newton, not sgd: remove --firth"),
        ({"solver": "sgd", "intercept": False}, "--no-intercept needs the solver newton"),
    ],
)
def test_what_a_solver_or_link_cannot_do_is_refused(options, message):
    with pytest.raises(FitError, match=message):
        fitted(*table(20), **options)


def test_a_column_beyond_float64s_range_is_refused():
    """Its square overflows, so it can't be scaled; it is not to pass for a constant column."""
    x, y = table(20)
    with pytest.raises(FitError, match="a column's values are too large"):
        fitted(x * 1e200, y)


def test_a_column_whose_differences_square_to_0_is_refused():
    """It is not to pass for a constant column, nor to get an infinite standard error."""
    x, y = table(20)
    x[:, 1] *= 1e-160
    with pytest.raises(FitError, match=r"x1: its values lie within .*e-159 of one another.*multiply the column"):
        fitted(x, y)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
@pytest.mark.parametrize("value", [1e9, -1e12])
def test_a_value_too_far_for_float64_to_resolve_the_others_is_named_and_is_no_separation(value, outcome):
    x, y = table()
    x[7, 0], y[7] = value, outcome
    result = fitted(x, y)

    assert not result.converged
    assert not result.solution.doubtful
    (note,) = result.notes
    assert note.startswith(f"Not converged: x0 has the value {value:g}, so far from its other values that")
    assert note.endswith("--drop x0.")


def test_separated_outcomes_beside_a_far_value_are_still_separation():
    """One that float64 can still tell the others beside."""
    x, _ = table()
    x[7, 0] = 1e6
    result = fitted(x, (x[:, 1] > x[:, 1].median()).to(torch.float64))

    assert result.solution.recession
    assert "separate the two outcomes" in result.notes[0]


def test_the_rounding_of_a_large_sum_does_not_halve_steps(monkeypatch):
    """The loss of many rows near the optimum changes by less than its own rounding."""
    passes = []

    def rounded(*arguments):
        passes.append(1)
        sums = total(*arguments)
        return replace(sums, loss=sums.loss * (1 + 1e-14 * len(passes)))

    monkeypatch.setattr("train.solvers.objective.total", rounded)
    result = fitted(*table())

    assert result.converged
    assert len(passes) == len(result.solution.losses)


@every_link
def test_what_hardly_moves_is_not_added_up_again(link, monkeypatch):
    """The last pass reuses the second derivative, to within 1e-6; Firth's penalty does not."""
    passes = []

    def kept(link, batches, beta, rounding=None, second=None):
        passes.append((rounding is not None, second is not None))
        sums = total(link, batches, beta, rounding, second)
        assert rounding is None or sums.rounding is rounding
        assert second is None or (sums.information, sums.curvature) == second
        passes[-1] += (sums, total(link, batches, beta))
        return sums

    monkeypatch.setattr("train.solvers.objective.total", kept)
    x, y = table()
    assert fitted(x, y, link=link).converged
    assert [known[:2] for known in (passes[0], passes[1], passes[-1])] == [(False, False), (False, False), (True, True)]
    for _, _, sums, anew in passes:
        assert (sums.loss, sums.gradient.tolist()) == (anew.loss, anew.gradient.tolist())
        torch.testing.assert_close(sums.rounding, anew.rounding, rtol=0.5, atol=0)
        torch.testing.assert_close(sums.information, anew.information, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(sums.curvature, anew.curvature, rtol=1e-6, atol=1e-6)

    passes.clear()
    if link == "logit":
        assert fitted(x, y, firth=True).converged
        assert not any(known[1] for known in passes)
