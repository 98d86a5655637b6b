"""Metrics, the calibration curve, and the figures of the report."""

import msgspec
import numpy as np
import pytest
import torch
from statsmodels.stats.outliers_influence import variance_inflation_factor
from statsmodels.stats.proportion import proportion_confint

from tests.support import DATA
from train.__main__ import main
from train.evaluation.cross_validation import held_out
from train.evaluation.metrics import auc_interval, calibration, calibration_error, evaluate, inflation, metrics
from train.export import checkpoint
from train.model.logistic import LogisticModel
from train.solvers.options import Options
from train.table.reading import Reading
from train.table.table import read_table

Y = np.array([0, 0, 1, 0, 1, 1, 0, 1], dtype=np.float64)
Z = np.array([-2.0, -1.0, -1.0, 0.5, 0.5, 0.5, 1.0, 3.0])
W = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 2.0, 1.0])


@pytest.fixture(scope="module")
def admissions():
    return read_table(DATA / "admissions.csv", Reading(categorical=["rank"]))


def test_a_weight_is_as_many_rows():
    repeated = np.repeat(np.arange(len(Y)), W.astype(int))

    weighted = metrics(Z, Y, "logit", 0.6, W)
    plain = metrics(Z[repeated], Y[repeated], "logit", 0.6, np.ones(len(repeated)))

    for name in ("log_loss", "accuracy", "auc", "brier", "calibration_error"):
        assert getattr(weighted, name) == pytest.approx(getattr(plain, name), rel=1e-12)
    assert calibration(1 / (1 + np.exp(-Z)), Y, W) == calibration(
        1 / (1 + np.exp(-Z[repeated])), Y[repeated], np.ones(len(repeated))
    )


@pytest.mark.parametrize("share", [1 / 1000, 0.3])
def test_metrics_take_weights_of_any_size(share):
    """Weights that sum to 1 leave less than half a row to each bin of the calibration."""
    whole, small = (metrics(Z, Y, "logit", 0.6, weight) for weight in (W, W * share))

    for name in ("log_loss", "accuracy", "auc", "brier", "calibration_error"):
        assert getattr(small, name) == pytest.approx(getattr(whole, name), rel=1e-12)


def test_metrics_by_hand():
    found = metrics(Z, Y, "logit", 0.5, np.ones(8))
    p = 1 / (1 + np.exp(-Z))
    pairs = [(a > b) + (a == b) / 2 for a in Z[Y == 1] for b in Z[Y == 0]]

    assert found.auc == pytest.approx(np.mean(pairs))
    assert found.brier == pytest.approx(np.mean((p - Y) ** 2))
    assert found.log_loss == pytest.approx(-np.mean(np.log(np.where(Y == 1, p, 1 - p))))
    assert found.accuracy == 5 / 8
    assert metrics(Z, Y, "logit", 0.7, np.ones(8)).accuracy == 4 / 8
    assert metrics(Z, Y, "logit", 0.9, np.ones(8)).accuracy == 5 / 8
    assert metrics(Z, Y, "logit", 0.2, np.ones(8)).accuracy == 5 / 8


def test_calibration_bins_hold_all_rows_with_wilsons_interval(admissions):
    scores = held_out(admissions.data, Options())
    p = 1 / (1 + np.exp(-scores.logit))
    bins = calibration(p, scores.y, scores.weight)

    assert (sum(b.rows for b in bins), sum(b.positives for b in bins)) == (400, 127)
    for b in bins:
        inside = (p >= b.lower) & (p < b.upper)
        assert b.rows == inside.sum()
        assert b.probability == pytest.approx(p[inside].mean())
        assert (b.low, b.high) == pytest.approx(proportion_confint(b.positives, b.rows, method="wilson"), abs=1e-12)
    error = sum(b.rows / 400 * abs(b.probability - b.positives / b.rows) for b in bins)
    assert calibration_error(p, scores.y, scores.weight) == pytest.approx(error)


def test_the_evaluation_is_consistent_with_itself(admissions):
    scores = held_out(admissions.data, Options())
    model = LogisticModel(admissions.features)
    found = evaluate(scores, "logit", 0.5, tuple(range(1000)), model, admissions.data)

    fall, hit = np.array(found.roc).T
    assert (found.roc[0], found.roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert (np.diff(fall) >= 0).all()
    assert (np.diff(hit) >= 0).all()
    assert np.trapezoid(hit, fall) == pytest.approx(found.metrics.auc, abs=0.003)
    assert (sum(found.negatives), sum(found.positives)) == (273, 127)
    half = found.thresholds[49]
    assert (half.threshold, half.accuracy) == (0.5, found.metrics.accuracy)
    assert half.false_positives + half.false_negatives == round(400 * (1 - found.metrics.accuracy))
    assert (len(found.losses), found.losses[0], found.losses[-1]) == (200, 0, 999)
    assert set(found.auc) == {"gre", "gpa", "rank"}


def test_the_interval_of_the_area_is_delongs():
    """The definition gives the variances of each row's share of the pairs that it wins."""
    wins = np.array([[(a > b) + (a == b) / 2 for b in Z[Y == 0]] for a in Z[Y == 1]])
    area = wins.mean()
    error = np.sqrt(wins.mean(axis=1).var(ddof=1) / 4 + wins.mean(axis=0).var(ddof=1) / 4)
    odds, reach = np.log(area / (1 - area)), 1.959963984540054 * error / (area * (1 - area))

    assert auc_interval(Z, Y, np.ones(8)) == pytest.approx(1 / (1 + np.exp(-odds - np.array([-reach, reach]))))
    repeated = np.repeat(np.arange(len(Y)), W.astype(int))
    assert auc_interval(Z, Y, W) == pytest.approx(auc_interval(Z[repeated], Y[repeated], np.ones(len(repeated))))
    assert auc_interval(Y, Y, np.ones(8)) == (1.0, 1.0)


@pytest.mark.parametrize("values", [2**22, 100], ids=["one block", "many blocks"])
def test_the_variance_inflation_is_statsmodels(admissions, monkeypatch, values):
    """A feature of several columns has the root of its generalised factor."""
    monkeypatch.setattr("train.evaluation.metrics.BLOCK", values)
    model = LogisticModel(admissions.features)
    columns = model.columns(torch.from_numpy(admissions.x)).numpy()
    design = np.column_stack([np.ones(len(columns)), columns])

    found = inflation(model, ["gre", "gpa", "rank"], admissions.x, admissions.weight)

    assert found["gre"] == pytest.approx(variance_inflation_factor(design, 1))
    assert found["gpa"] == pytest.approx(variance_inflation_factor(design, 2))
    whole, own, others = (np.corrcoef(part, rowvar=False) for part in (columns, columns[:, 2:], columns[:, :2]))
    factor = np.linalg.det(own) * np.linalg.det(others) / np.linalg.det(whole)
    assert found["rank"] == pytest.approx(factor ** (1 / 3))


def test_columns_that_determine_each_other_have_no_inflation(admissions):
    gre, gpa = admissions.features[:2]
    x = np.ascontiguousarray(admissions.x[:, [0, 1, 0]])
    duplicate = LogisticModel([gre, gpa, gre])

    assert inflation(duplicate, ["gre", "gpa", "again"], x, admissions.weight) == {}


def test_weights_reach_every_figure(tmp_path):
    """A table with weights gives what the same table with its rows repeated gives."""
    rows = [line.split(",") for line in (DATA / "study_hours.csv").read_text().split()[1:]]
    weighted = [f"{h},{y},{1 + i % 3}" for i, (h, y) in enumerate(rows)]
    repeated = [f"{h},{y}" for i, (h, y) in enumerate(rows) for _ in range(1 + i % 3)]
    (tmp_path / "w.csv").write_text("hours,passed,w\n" + "\n".join(weighted) + "\n")
    (tmp_path / "r.csv").write_text("hours,passed\n" + "\n".join(repeated) + "\n")
    found = []
    for name, arguments in (("w", ["--weights", "w", "--no-standardize"]), ("r", ["--no-standardize"])):
        path = str(tmp_path / f"{name}.csv")
        command = ["fit", "--data", path, "--target", "passed", *arguments, "--checkpoints", str(tmp_path)]
        assert main(command) == 0
        found.append(msgspec.to_builtins(checkpoint.load(tmp_path, name)[0].training))

    one, other = found
    for a, b in zip(one["statistics"]["coefficients"], other["statistics"]["coefficients"], strict=True):
        assert (a["estimate"], a["standard_error"]) == pytest.approx((b["estimate"], b["standard_error"]), rel=1e-9)
    for name in ("log_loss", "accuracy", "auc", "brier", "calibration_error"):
        assert one["metrics"][name] == pytest.approx(other["metrics"][name], rel=1e-9)
