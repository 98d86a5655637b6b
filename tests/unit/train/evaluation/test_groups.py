"""Figures of each group of held-out rows, by hand and as the command prints them."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from tests.support import DATA
from train import fit
from train.errors import FitError, TrainError
from train.evaluation.cross_validation import HeldOut
from train.evaluation.groups import by_group, lines
from train.evaluation.metrics import auc, auc_interval
from train.table.share import Groups

Y = np.array([0, 0, 1, 0, 1, 1, 0, 1, 1], dtype=np.float64)
Z = np.array([-2.0, -1.0, -1.0, 0.5, 0.5, 0.5, 1.0, 3.0, 1.0])
W = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 2.0, 1.0, 0.0])
BY = {"sex": Groups(("f", "m", "(missing)"), np.array([0, 0, 0, 1, 0, 1, 1, 1, 2]))}


def measured(weight=W, rows=slice(None), threshold=0.5):
    return by_group(HeldOut("", Z[rows], Y[rows], weight[rows], 0.0, rows), "logit", threshold, BY)


def test_rates_calibration_and_auc_are_those_of_the_groups_rows():
    """Rows of weight 0 make no group."""
    found, p = measured(), 1 / (1 + np.exp(-Z))

    assert [(one.column, one.value, one.rows) for one in found] == [("sex", "f", 8), ("sex", "m", 5)]
    women, men = found
    assert women.positives.value == 5 / 8  # 3 and 2 of 1, 2, 3 and 2
    assert women.selection_rate.value == 2 / 8
    assert women.true_positive_rate.value == 2 / 5
    assert women.false_positive_rate.value == 0
    assert (men.true_positive_rate.value, men.false_positive_rate.value) == (1, 1)
    assert women.probability == pytest.approx(np.average(p[[0, 1, 2, 4]], weights=[1, 2, 3, 2]))
    assert women.calibration_error == pytest.approx(
        (abs(p[0] * 1 - 0) + abs(p[1] * 5 - 3) + abs(p[4] * 2 - 2)) / 8
    )  # tenths of the probability: 0.1, 0.2, 0.6
    some = BY["sex"].place == 0
    assert women.auc.value == auc(Z[some], Y[some], W[some])
    assert (women.auc.low, women.auc.high) == auc_interval(Z[some], Y[some], W[some])
    assert (women.true_positive_rate.low, women.true_positive_rate.high) == pytest.approx(
        proportion_confint(2, 5, method="wilson")
    )


def test_a_threshold_moves_the_rates_alone():
    low, high = measured(threshold=0.1), measured(threshold=0.9)

    assert [one.selection_rate.value for one in low] == [1, 1]
    assert [one.selection_rate.value for one in high] == [0, 1 / 5]
    assert [one.auc for one in low] == [one.auc for one in high]


def test_a_group_of_one_outcome_has_no_auc():
    [women] = measured(rows=np.isin(np.arange(len(Y)), [0, 1]))

    assert (women.auc, women.true_positive_rate, women.false_positive_rate.value) == (None, None, 0)
    assert "none" in list(lines([women]))[1]


def test_without_held_out_rows_there_are_no_figures():
    assert by_group(None, "logit", 0.5, {}) == ()
    with pytest.raises(FitError, match="--by needs held-out rows, and there are too few"):
        by_group(None, "logit", 0.5, BY)


def test_a_fit_measures_the_rows_that_it_held_out():
    """The groups together are the held-out rows, and their figures average to the whole's."""
    described = fit(DATA / "titanic.csv", by=["sex", "class"], drop=["sex"]).description
    groups, whole = described.groups, described.training.held_out

    assert [one.value for one in groups] == ["female", "male", "1st", "2nd", "3rd"]
    assert "sex" not in [feature.name for feature in described.features]
    for column in ("sex", "class"):
        some = [one for one in groups if one.column == column]
        assert sum(one.rows for one in some) == whole.rows
        right = sum(
            one.rows
            * (
                one.true_positive_rate.value * one.positives.value
                + (1 - one.false_positive_rate.value) * (1 - one.positives.value)
            )
            for one in some
        )
        assert right / whole.rows == pytest.approx(whole.accuracy)
    head, female, male = list(lines(groups))[:3]
    assert head.split()[:4] == ["by", "sex", "rows", "mean"]
    assert female.startswith("female     466 ")
    assert male.startswith("male       843 ")


def test_groups_of_a_column_that_is_not_there_are_refused():
    with pytest.raises(TrainError, match="there is no column 'gender'"):
        fit(DATA / "titanic.csv", by=["gender"])
