"""The links: against exact arithmetic, against autograd, and as the runtimes answer them."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passfail import links
from passfail.links import score_at
from passfail.manifest import Feature
from passfail.proof import certificate, exact
from passfail.runtimes import load_runtime
from train.export import formats
from train.model.links import LINKS
from train.model.logistic import LogisticModel


@pytest.fixture(scope="module", autouse=True)
def digits():
    """So many digits that 1 - p keeps its own."""
    with mpmath.workdps(250):
        yield


EXACT = {
    "logit": lambda z: 1 / (1 + mpmath.exp(-z)),
    "probit": mpmath.ncdf,
    "cloglog": lambda z: -mpmath.expm1(-mpmath.exp(z)),
    "cauchit": lambda z: mpmath.acot(-z) / mpmath.pi if z < 0 else 1 - mpmath.acot(z) / mpmath.pi,
}
every_link = pytest.mark.parametrize("link", LINKS)
some = settings(max_examples=60)
scores = st.floats(-30, 30)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture(scope="module", params=LINKS)
def engines(request):
    """(link, {engine: scores (n,) -> probabilities}) of a model whose only feature is the score."""
    model = LogisticModel([Feature("z", "numeric", (), -1.0, 1.0, None)], link=request.param).eval()
    model.weight.data.fill_(1.0)
    files = {"onnx": formats.to_onnx(model), "torchscript": formats.to_torchscript(model)}
    runtimes = {name: load_runtime(name, data) for name, data in files.items()}
    return request.param, {name: lambda z, run=run: run(z[:, None].copy())[1] for name, run in runtimes.items()}


def neighbourhoods():
    """Scores at the finest steps that the links distinguish, around places (n,), sorted."""
    generator = np.random.default_rng(0)
    places = np.r_[generator.uniform(-39, 39, 60), generator.uniform(-2, 2, 60), np.log(0.5), -1, 0, 1]
    steps = np.arange(-60, 60)
    near = [place + steps * step for place in places for step in (np.spacing(place), 2.0**-48, 2.0**-51)]
    far = 10 ** generator.uniform(-300, 300, 500) * generator.choice([-1, 1], 500)
    return np.unique(np.concatenate([*near, far]))


def test_probability_never_falls_and_stays_within_0_and_1(engines):
    link, run = engines
    z = neighbourhoods()
    for p in (run["onnx"](z), run["torchscript"](z), LINKS[link].probability(torch.from_numpy(z)).numpy()):
        assert (np.diff(p) >= 0).all()
        assert p.min() >= 0
        assert p.max() <= 1


def test_runtimes_agree_and_are_within_a_few_units_of_the_exact_probability(engines):
    link, run = engines
    z = neighbourhoods()
    few = z[:: len(z) // 2000]
    p, _ = exact.probabilities(link, exact.rounded(link, few))

    assert certificate.ulp(run["onnx"](z), run["torchscript"](z)) <= 4
    assert certificate.ulp(run["onnx"](few), p) <= links.LINKS[link].ulp


def test_no_engine_answers_a_row_by_its_neighbours(engines):
    _, run = engines
    z = neighbourhoods()[::500]
    for engine in run.values():
        assert (np.concatenate([engine(z[i : i + 1]) for i in range(len(z))]) == engine(z)).all()
        assert engine(z[:0]).shape == (0,)


def test_what_no_score_can_be_is_not_a_probability(engines):
    _, run = engines
    for engine in run.values():
        answer = engine(np.array([np.nan, np.inf, -np.inf]))
        assert np.isnan(answer[0])
        assert answer[1] == 1
        assert answer[2] < 1e-300


@every_link
@some
@given(z=st.floats(-37, 37))
def test_probability_is_the_exact_one(link, z):
    """3e-14 of itself is the price of never falling; a float32 constant in the graph costs 1e-8."""
    exact = float(EXACT[link](mpmath.mpf(z)))
    if exact > 1e-300:
        assert LINKS[link].probability(tensor(z)).item() == pytest.approx(exact, rel=3e-14)


@every_link
@some
@given(p=st.floats(1e-6, 1 - 1e-6))
def test_scores_are_the_inverse(link, p):
    assert LINKS[link].probability(tensor(score_at(link, p))).item() == pytest.approx(p, rel=1e-9)


@every_link
@some
@given(z=scores, y=st.sampled_from([0.0, 1.0]))
def test_loss_is_minus_the_log_of_the_outcomes_probability(link, z, y):
    z = min(z, 6.0) if link == "cloglog" else z
    p = EXACT[link](mpmath.mpf(z))
    exact = -mpmath.log(p if y else 1 - p)
    if exact > 1e-300:
        loss = LINKS[link].terms(tensor(z), tensor(y))[0].item()
        assert loss == pytest.approx(float(exact), rel=1e-11, abs=1e-15)


@every_link
@some
@given(z=scores.filter(bool), y=st.sampled_from([0.0, 1.0]))
def test_derivatives_are_autograds(link, z, y):
    if link in ("probit", "cloglog"):
        z = max(-12.0, min(z, 5.0 if link == "cloglog" else 12.0))  # beyond, autograd's own rounding is what is seen
    at = tensor(z).requires_grad_()
    loss, slope, curvature, _ = LINKS[link].terms(at, tensor(y))
    (gradient,) = torch.autograd.grad(loss.sum(), at, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), at)

    assert slope.item() == pytest.approx(gradient.item(), rel=1e-9, abs=1e-13)
    assert curvature.item() == pytest.approx(second.item(), rel=1e-6, abs=1e-11)


@every_link
@some
@given(z=scores)
def test_information_is_the_expected_curvature(link, z):
    _, _, curvature, information = LINKS[link].terms(tensor(z, z), tensor(0.0, 1.0))
    p = float(EXACT[link](mpmath.mpf(z)))

    assert information[0].item() == pytest.approx(information[1].item(), rel=1e-14)
    assert information[0].item() == pytest.approx((1 - p) * curvature[0].item() + p * curvature[1].item(), abs=1e-9)


@every_link
def test_terms_stay_finite_far_out(link):
    for z in (-600.0, 600.0, -1e5, 1e5):
        for y in (0.0, 1.0):
            if link == "cloglog" and z > 600 and y == 0:
                continue  # the loss itself is exp(z)
            assert all(torch.isfinite(term).all() for term in LINKS[link].terms(tensor(z), tensor(y)))
