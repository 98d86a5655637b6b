"""The threshold that meets a goal, and the goals that none meets."""

import numpy as np
import pytest

from passfail.manifest import decode
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support import DATA
from train.__main__ import main
from train.errors import FitError
from train.evaluation.cross_validation import HeldOut
from train.evaluation.thresholds import least_cost, reaching

Y = np.array([0, 0, 1, 0, 1, 1, 0, 1], dtype=np.float64)
Z = np.array([-2.0, -1.0, -1.0, 0.5, 0.5, 0.5, 1.0, 3.0])
W = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 2.0, 1.0])


def test_the_threshold_of_least_cost():
    """No other threshold costs less, on rows whose probability is right."""
    p = np.linspace(0.0005, 0.9995, 1000)
    costs = [((p > t) * (1 - p) * 1 + (p <= t) * p * 5).sum() for t in p]

    assert least_cost(1, 5) == pytest.approx(p[np.argmin(costs)], abs=0.002)


@pytest.mark.parametrize("wanted", [0.55, 0.7, 1.0])
@pytest.mark.parametrize("what", ["precision", "recall"])
def test_the_threshold_that_reaches_a_share(what, wanted):
    """The best of all thresholds between two scores, found by trying each."""
    scores = HeldOut("", Z, Y, W, 0.0)
    p = 1 / (1 + np.exp(-Z))

    def shares(threshold):
        passes = p > threshold
        hits = (W * Y)[passes].sum()
        return {"precision": hits / W[passes].sum(), "recall": hits / (W * Y).sum()}

    threshold = reaching(what, wanted, scores, "logit")
    other = {"precision": "recall", "recall": "precision"}[what]
    between = [0.01, *((np.unique(p)[1:] + np.unique(p)[:-1]) / 2)]
    best = max(shares(t)[other] for t in between if shares(t)[what] >= wanted)
    assert shares(threshold)[what] >= wanted
    if what == "precision":
        assert shares(threshold)[other] == best
    else:
        assert threshold == max(t for t in between if shares(t)[what] >= wanted)


def test_a_precision_that_nothing_reaches_is_refused():
    scores = HeldOut("", -Z, Y, W, 0.0)

    with pytest.raises(
        FitError, match=r"no threshold reaches a precision of 0.99 on held-out rows; the best is 0\.\d+"
    ):
        reaching("precision", 0.99, scores, "logit")


def test_the_service_decides_by_the_chosen_threshold(tmp_path, capsys):
    data = ["--data", str(DATA / "study_hours.csv"), "--checkpoints", str(tmp_path)]
    assert main(["fit", *data, "--cost-fp", "1", "--cost-fn", "5"]) == 0
    assert "threshold: 0.166667 on the probability" in capsys.readouterr().out
    assert main(["export", *data, "--models", str(tmp_path / "models")]) == 0

    client = create_app(Config(models=tmp_path / "models")).test_client()
    answers = [client.post("/predict", json={"hours": hours}).json for hours in (1.6, 1.7)]
    assert [(answer["passed"], round(answer["probability"], 3)) for answer in answers] == [
        (False, 0.158),
        (True, 0.179),
    ]
    training = decode((tmp_path / "models" / "study_hours" / "1" / "manifest.json").read_bytes()).training
    assert sum(b.rows for b in training.calibration) == 20
    assert training.held_out.rows == 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--precision", "0.9", "--recall", "0.9"], "the threshold can have one goal: choose --precision, or --recall"),
        (["--data", str(DATA / "hours.csv"), "--l2", "1", "--recall", "0.9"], "only 2 have passed = 0, and 5 folds"),
    ],
)
def test_thresholds_that_cannot_be_chosen(tmp_path, capsys, arguments, said):
    assert main(["fit", "--data", str(DATA / "study_hours.csv"), *arguments, "--checkpoints", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_two_wishes_for_one_threshold_are_refused_before_the_fit(tmp_path, capsys):
    arguments = ["--cost-fp", "2", "--recall", "0.9", "--checkpoints", str(tmp_path)]
    assert main(["fit", "--data", str(DATA / "study_hours.csv"), *arguments]) == 2
    assert capsys.readouterr() == (
        "",
        "error: the threshold can have one goal: choose --cost-fp and --cost-fn, or --recall\n",
    )
