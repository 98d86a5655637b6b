"""The trainer against published figures: data/README.md says whose."""

import numpy as np
import pytest
import torch

from tests.support import DATA
from tests.support.lecture import HEAD, TAIL
from train.evaluation import cross_validation
from train.evaluation.cross_validation import held_out, logits
from train.evaluation.metrics import metrics
from train.model.logistic import LogisticModel
from train.solvers import fit as fitting
from train.solvers.fit import fit
from train.solvers.gradient_descent import descend
from train.solvers.options import Options
from train.table.reading import Reading
from train.table.table import read_table


def fitted(name, options=None, **columns):
    table = read_table(DATA / f"{name}.csv", Reading(**columns))
    return table, fit(table.data, options or Options(), log=lambda line: None)


def raw(model):
    """(intercept, coefficients) in the table's own units."""
    slope = model.weight.detach() / model.scale
    return (model.bias.detach() - (slope * model.center).sum()).item(), slope.numpy()


def test_study_hours_has_the_published_coefficients():
    table, result = fitted("study_hours")
    intercept, (hours,) = raw(result.model)

    assert result.converged
    assert (f"{intercept:.8f}", f"{hours:.8f}") == ("-4.07771343", "1.50464543")
    probabilities = result.model(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]], dtype=torch.float64))[1]
    assert [f"{p:.5f}" for p in probabilities.tolist()] == ["0.07089", "0.25570", "0.60736", "0.87445", "0.96910"]
    measured = metrics(logits(result.model, table.x), table.y, "logit", 0.5, table.weight)
    assert (f"{measured.log_loss:.8f}", measured.accuracy, measured.auc) == ("0.40149392", 0.80, 0.895)


def test_admissions_has_the_published_coefficients():
    table, result = fitted("admissions", categorical=["rank"])
    intercept, (gre, gpa, rank2, rank3, rank4) = raw(result.model)

    assert f"{intercept:.6f} {gre:.6f} {gpa:.6f}" == "-3.989979 0.002264 0.804038"
    assert f"{rank2:.6f} {rank3:.6f} {rank4:.6f}" == "-0.675443 -1.340204 -1.551464"
    measured = metrics(logits(result.model, table.x), table.y, "logit", 0.5, table.weight)
    assert (f"{measured.log_loss:.8f}", measured.accuracy, f"{measured.auc:.6f}") == ("0.57314687", 0.71, "0.692841")
    assert f"{2 * measured.log_loss * 400:.2f}" == "458.52"


def test_rank_as_a_number_is_another_model():
    _, result = fitted("admissions")
    intercept, slopes = raw(result.model)

    assert [f"{v:.6f}" for v in (intercept, *slopes)] == ["-3.449548", "0.002294", "0.777014", "-0.560031"]


def test_penalised_hours_has_its_unique_fit():
    table, result = fitted("hours", Options(l2=1.0))
    intercept, (slope,) = raw(result.model)

    assert result.converged
    assert (f"{slope:.9f}", f"{intercept:.9f}") == ("0.844404634", "-2.111011586")
    assert (
        f"{metrics(logits(result.model, table.x), table.y, 'logit', 0.5, table.weight).log_loss:.9f}" == "0.376209413"
    )


def test_separated_hours_stop_and_say_so():
    _, result = fitted("hours")
    intercept, (slope,) = raw(result.model)

    assert not result.converged
    assert "separate" in result.notes[0]
    assert "--l2" in result.notes[0]
    assert -intercept / slope == pytest.approx(2.5)


def test_a_small_table_is_fitted_on_one_thread_and_torch_has_its_threads_back():
    table = read_table(DATA / "hours.csv")
    before, during = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        options = Options(solver="sgd", epochs=2)
        fit(table.data, options, lambda line: during.append(torch.get_num_threads()))
        assert (during, torch.get_num_threads()) == ([1, 1], 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("printed", "start"),
    [(HEAD, (-0.76751917, -0.31732264)), (TAIL, (0.86932323, -1.71036386))],
    ids=["epochs 0 to 10", "epochs 988 to 999"],
)
def test_sgd_prints_the_lectures_losses(printed, start):
    table = read_table(DATA / "hours.csv")
    lines = []
    options = Options(solver="sgd", standardize=False, lr=0.01, epochs=len(printed))
    model = LogisticModel(table.features)
    model.beta = torch.tensor([*start[::-1]], dtype=torch.float64)
    descend(model, *map(torch.from_numpy, (table.x, table.y, table.weight)), options, lines.append)

    np.testing.assert_allclose([float(line.split()[1]) for line in lines], printed, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("link", "loss"),
    [("probit", 229.20658569), ("cloglog", 229.44719813), ("cauchit", 229.67005561)],
)
def test_every_link_is_measured_on_its_own_scale(link, loss):
    """The mean log loss and the accuracy are those of the model's own probabilities."""
    table, result = fitted("admissions", Options(link=link), categorical=["rank"])
    measured = metrics(logits(result.model, table.x), table.y, link, 0.5, table.weight)
    probability = result.model(torch.from_numpy(table.x))[1].detach().numpy()
    own = -np.log(np.where(table.y == 1, probability, 1 - probability)).mean()

    assert result.converged
    assert measured.log_loss == pytest.approx(own, rel=1e-12)
    assert 400 * measured.log_loss == pytest.approx(loss, abs=1e-8)
    assert measured.accuracy == ((probability > 0.5) == (table.y == 1)).mean()


@pytest.fixture
def timestamps(tmp_path):
    """A table with a column of seconds since 1970."""
    generator = np.random.default_rng(0)
    time = 1.6e9 + generator.uniform(0, 3e7, 200).round()
    y = (time - 1.615e9) / 1e7 + generator.logistic(size=200) > 0
    rows = "".join(f"{a:.0f},{b:.4f},{c:d}\n" for a, b, c in zip(time, generator.normal(size=200), y, strict=True))
    (tmp_path / "t.csv").write_text(f"seen,x,y\n{rows}")
    table = read_table(tmp_path / "t.csv")
    return lambda **options: fit(table.data, Options(**options), lambda line: None)


def test_a_timestamp_that_is_not_standardised_is_named_if_the_fit_does_not_converge(timestamps):
    options = {"solver": "sgd", "epochs": 5, "lr": 0.01}
    found = timestamps(**options, standardize=False)
    assert not found.converged
    assert any("The values of seen reach 1.6" in note and "without --no-standardize" in note for note in found.notes)
    assert not any("The values of" in note for note in timestamps(**options).notes)


@pytest.mark.parametrize("options", [{}, {"firth": True}, {"link": "probit"}, {"intercept": False}], ids=str)
def test_newton_converges_on_timestamps_that_are_not_standardised(timestamps, options):
    """The estimates without a penalty do not depend on the scaling."""
    found = timestamps(**options, standardize=False)

    assert found.converged
    assert raw(found.model)[1].tolist() == raw(timestamps(**options).model)[1].tolist()


@pytest.mark.parametrize("penalty", [{"l2": 1e6}, {"l1": 20.0}], ids=str)
def test_a_penalty_of_columns_that_are_not_standardised_is_of_their_own_weights(timestamps, penalty):
    """The optimum's gradient in each raw weight is l2 times that weight, or l1."""
    found = timestamps(**penalty, standardize=False)
    x, y = torch.from_numpy(found.rows.x), torch.from_numpy(found.rows.y)
    intercept, slopes = raw(found.model)
    p = torch.sigmoid(x @ torch.from_numpy(slopes) + intercept)
    gradient = (x - x.mean(0)).T @ (y - p)

    assert found.converged
    expected = penalty["l2"] * slopes if "l2" in penalty else penalty["l1"] * np.sign(slopes)
    kept = slopes != 0
    np.testing.assert_allclose(gradient.numpy()[kept], expected[kept], rtol=1e-4)


def test_a_long_fit_says_how_far_it_is(monkeypatch):
    table, lines = read_table(DATA / "admissions.csv"), []
    monkeypatch.setattr(fitting, "PROGRESS", 0.0)
    monkeypatch.setattr(cross_validation, "PROGRESS", 0.0)
    fit(table.data, Options(), lines.append)
    assert "this step has read 400 of 400 rows" in lines

    lines.clear()
    held_out(table.data, Options(), log=lines.append)
    assert {line[:16] for line in lines} == {f"held-out fold {fold}:" for fold in range(1, 6)}
