"""The figures by group are those of fairlearn's MetricFrame."""

import numpy as np
import pytest

from train.evaluation.cross_validation import HeldOut
from train.evaluation.groups import by_group
from train.table.share import Groups

pytestmark = pytest.mark.engines
metrics = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed: groups are NOT compared with it")

from sklearn.metrics import roc_auc_score

NAMES = ("a", "b", "c")


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "weights"])
def test_rates_and_auc_are_fairlearns(weighted: bool) -> None:
    draw = np.random.default_rng(1)
    place = draw.integers(0, 3, 2000)
    logit = draw.normal(place - 1, 1)
    y = (draw.random(2000) < 1 / (1 + np.exp(-logit - place / 2))).astype(float)
    weight = draw.integers(1, 5, 2000).astype(float) if weighted else np.ones(2000)
    frame = metrics.MetricFrame(
        metrics={
            "rows": lambda y, _, sample_weight: sample_weight.sum(),
            "positives": lambda y, _, sample_weight: np.average(y, weights=sample_weight),
            "selection_rate": metrics.selection_rate,
            "true_positive_rate": metrics.true_positive_rate,
            "false_positive_rate": metrics.false_positive_rate,
        },
        y_true=y,
        y_pred=logit > 0,
        sensitive_features=np.array(NAMES)[place],
        sample_params={
            name: {"sample_weight": weight}
            for name in ("rows", "positives", "selection_rate", "true_positive_rate", "false_positive_rate")
        },
    ).by_group

    found = by_group(HeldOut("", logit, y, weight, 0.0), "logit", 0.5, {"g": Groups(NAMES, place)})

    assert [one.value for one in found] == list(frame.index)
    for one, (_, expected) in zip(found, frame.iterrows(), strict=True):
        some = place == NAMES.index(one.value)
        assert one.rows == expected["rows"]
        for name in ("positives", "selection_rate", "true_positive_rate", "false_positive_rate"):
            assert getattr(one, name).value == pytest.approx(expected[name], rel=1e-12)
        assert one.auc.value == pytest.approx(roc_auc_score(y[some], logit[some], sample_weight=weight[some]))
