"""Scores of rows that the fit has not seen."""

import numpy as np
import pytest

from passfail.manifest import Feature
from tests.support import DATA
from train.errors import FitError
from train.evaluation import cross_validation
from train.evaluation.cross_validation import assign_folds, group_folds, held_out, later_folds
from train.solvers.fit import fit
from train.solvers.options import Options
from train.table.data import Data
from train.table.reading import Reading
from train.table.table import read_table


@pytest.fixture(scope="module")
def admissions():
    return read_table(DATA / "admissions.csv", Reading(categorical=["rank"]))


@pytest.mark.parametrize(("missing", "expected"), [("mean", np.mean), ("median", np.median)])
def test_what_missing_cells_become_is_not_taken_from_the_rows_held_out(monkeypatch, missing, expected):
    """Every cell of a row holds a number of that row, so a fill tells its rows."""
    n = 60
    x = np.column_stack([2.0 ** np.arange(n) % 1009, np.arange(n) % 7 % 3]).astype(np.float64)
    y = (np.arange(n) % 2).astype(np.float64)
    x[::5] = np.nan
    features = [
        Feature("number", "numeric", (), 1.0, 1008.0, float(np.nanmean(x[:, 0])), missing),
        Feature("group", "categorical", ("a", "b", "c"), None, None, 2.0, "most-frequent"),
    ]
    seen = []

    def watched(data, *arguments, **keywords):
        seen.append((data.features, data.x))
        return fit(data, *arguments, **keywords)

    monkeypatch.setattr(cross_validation, "fit", watched)
    held_out(Data(features, x, y, np.ones(n)), Options(l2=1.0))

    assert [len(part) for _, part in seen] == [48] * 5
    for used, part in seen:
        known = part[~np.isnan(part[:, 0]), 0]
        assert used[0].fill == pytest.approx(expected(known))
        counts = [(part[:, 1] == level).sum() for level in range(3)]
        assert counts[int(used[1].fill)] == max(counts)


def test_every_row_is_held_out_once_and_each_fold_has_its_share(admissions, monkeypatch):
    parts = []

    def watched(data, *arguments, **keywords):
        parts.append((len(data.y), data.y.mean()))
        return fit(data, *arguments, **keywords)

    monkeypatch.setattr(cross_validation, "fit", watched)
    scores = held_out(admissions.data, Options(), folds=4)

    assert (len(scores.logit), scores.how) == (400, "4-fold cross-validation")
    assert all(abs(rows - 300) <= 1 and abs(share - admissions.y.mean()) < 0.004 for rows, share in parts)
    monkeypatch.setattr(cross_validation, "MOST_CROSS_VALIDATED", 399)
    fifth = held_out(admissions.data, Options())
    assert (len(fifth.logit), fifth.how) == (81, "a fifth of the rows held out")
    assert len(parts) == 5


def test_nine_positive_rows_are_spread_over_five_folds_and_four_are_too_few(admissions):
    for count, answered in ((9, True), (4, False)):
        rows = np.r_[np.flatnonzero(admissions.y)[:count], np.flatnonzero(admissions.y == 0)]
        x, y, weight = admissions.x[rows], admissions.y[rows], np.ones(len(rows))

        assert (held_out(Data(admissions.features, x, y, weight), Options()) is not None) == answered
        assert max(np.bincount(assign_folds(y, 5, 0)[y == 1], minlength=5)) == -(-count // 5)


def test_rows_of_weight_0_are_not_held_out(admissions):
    weight = np.where(np.cumsum(admissions.y) <= 4, 1.0, 0.0)  # four positive rows
    assert held_out(Data(admissions.features, admissions.x, admissions.y, weight), Options()) is None


@pytest.mark.parametrize("folds", [255, 256, 300])
def test_any_number_of_folds_is_shared_out(folds):
    """The counts have the smallest type of integer; none may overflow."""
    y = np.repeat([0.0, 1.0], 400)
    fold = assign_folds(y, folds, seed=0)

    assert sorted(set(fold.tolist())) == list(range(folds))
    assert max(np.bincount(fold)) <= 2 * -(-400 // folds)


@pytest.mark.parametrize("far", [0.0, 1.7e18], ids=["small", "near 1e18"])
def test_a_column_of_large_numbers_does_not_make_rows_equal(far):
    """Beside 1.7e18 a sum of the row's cells would lose all of the other column's digits."""
    generator = np.random.default_rng(0)
    x = np.column_stack([np.full(200, far), generator.normal(size=200)])
    y = (generator.random(200) < 0.5).astype(float)
    features = [Feature("a", "numeric", (), far, far, None), Feature("b", "numeric", (), -4.0, 4.0, None)]

    assert held_out(Data(features, x, y, np.ones(200)), Options(l2=1.0)).repeated == 0
    again, y = np.vstack([x, x[:50]]), np.append(y, y[:50])
    again[:50, 0], again[200:, 0] = -0.0, 0.0
    assert held_out(Data(features, again, y, np.ones(250)), Options(l2=1.0)).repeated > 0.2


def test_groups_are_dealt_to_folds_as_by_scikit_learn():
    """StratifiedGroupKFold(3) of scikit-learn 1.9.1 gives these folds."""
    rows = np.arange(60)
    y, group = (rows % 3 == 0).astype(np.float64), (rows * rows % 11).astype(np.float64)
    fold = group_folds(y, group, 3)

    assert {int(name): set(fold[group == name].tolist()) for name in np.unique(group)} == {
        0: {2}, 1: {2}, 3: {1}, 4: {1}, 5: {0}, 9: {0},
    }  # fmt: skip
    with pytest.raises(FitError, match="6 groups can't make 7 folds"):
        group_folds(y, group, 7)


def test_folds_of_times_are_those_of_scikit_learn():
    """TimeSeriesSplit(4) of scikit-learn 1.9.1 tests these rows, in the order of time."""
    time = np.arange(23) * 7.0 % 23

    assert "".join(map(str, later_folds(time, 4)[np.argsort(time)])) == "00000001111222233334444"


@pytest.mark.parametrize("kind", ["group", "time"])
def test_rows_are_scored_by_fits_to_other_groups_or_to_earlier_rows(admissions, monkeypatch, kind):
    """Each row's gre is made its own, so that a fit's rows can be told."""
    n, seen = len(admissions.y), []
    x = np.column_stack([np.arange(n, dtype=np.float64), admissions.x[:, 1:]])
    column = np.arange(n) * 7.0 % n if kind == "time" else np.arange(n) // 4 * 1.0

    def watched(data, *arguments, **keywords):
        seen.append(data.x[:, 0].astype(int))
        return fit(data, *arguments, **keywords)

    monkeypatch.setattr(cross_validation, "fit", watched)
    scores = held_out(Data(admissions.features, x, admissions.y, admissions.weight), Options(), 4, **{kind: column})

    assert len(seen) == 4
    if kind == "group":
        assert all(not set(column[used]) & set(np.delete(column, used)) for used in seen)
        assert (len(scores.logit), scores.how) == (n, "4-fold cross-validation, groups kept together")
    else:
        assert [sorted(column[used]) for used in seen] == [list(range(k * 80)) for k in range(1, 5)]
        assert len(scores.logit) == 4 * 80
        assert scores.how == "4 folds in the order of time, each scored by a fit to the rows before it"
