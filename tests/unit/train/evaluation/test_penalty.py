"""The L1 and L2 penalties chosen by cross-validation."""

import numpy as np
import pytest

from tests.support import DATA
from train.__main__ import main
from train.errors import FitError
from train.evaluation.penalty import PENALTIES, choose_penalty
from train.solvers.options import Options
from train.table.data import Data
from train.table.reading import Reading
from train.table.table import read_table

# LogisticRegression of scikit-learn 1.9.1 on the same folds, the columns scaled by the rows of each fit. Where all
# weights are 0, which saga leaves too early, the share of positives.
EXPECTED = {
    ("l2",): ([0.60387, 0.60387, 0.60387, 0.60387, 0.60386, 0.60384, 0.60378, 0.60362, 0.60338, 0.60399, 0.60816,
               0.61554, 0.62111, 0.62363, 0.62453], 10**1.5),
    ("l1",): ([*[0.60387] * 6, 0.60389, 0.60419, 0.60733, *[0.62497] * 6], 10**0.5),
    ("l1", "l2"): ([*[0.60387] * 4, 0.60386, 0.60384, 0.60382, 0.60412, 0.60788, *[0.62497] * 6], 10**0.5),
}  # fmt: skip


@pytest.mark.parametrize("names", EXPECTED, ids=" ".join)
def test_the_path_is_that_of_scikit_learn_and_the_choice_its_largest_within_an_error(names):
    table = read_table(DATA / "admissions.csv", Reading(drop=("rank",)))
    options, said = choose_penalty(table.data, Options(), names, 5)

    expected, chosen = EXPECTED[names]
    assert (options.l1, options.l2) == tuple(chosen if name in names else 0.0 for name in ("l1", "l2"))
    assert chosen in PENALTIES
    assert f"{' and '.join(f'--{name}' for name in names)} {chosen:.6g} was chosen by 5-fold cross-validation" in said
    path = [float(pair.split(": ")[1]) for pair in said.rstrip(".").rsplit("penalty: ", 1)[1].split(", ")]
    assert np.allclose(path, expected, atol=6e-5)


def test_too_few_rows_of_an_outcome_are_counted():
    y = np.array([1.0] * 4 + [0.0] * 30)
    with pytest.raises(FitError, match="--l1 auto: only 4 rows are positive, for 5 folds; use fewer --folds"):
        choose_penalty(Data((), np.zeros((34, 0)), y, np.ones(34)), Options(), ["l1"], 5)


def test_an_overfit_is_a_warning_and_l2_auto_removes_it(tmp_path, capsys):
    random = np.random.default_rng(1)
    x, y = random.normal(size=(60, 25)), random.integers(0, 2, 60)
    names = ",".join([*(f"a{i}" for i in range(25)), "y"])
    np.savetxt(tmp_path / "t.csv", np.column_stack([x.round(2), y]), "%g", ",", header=names, comments="")
    fit = ["fit", "--data", str(tmp_path / "t.csv"), "--checkpoints", str(tmp_path)]

    assert main(fit) == 0
    assert "the model overfits; use --l2 auto" in capsys.readouterr().out
    for penalties in (["--l2", "auto"], ["--l1", "auto"]):
        assert main([*fit, *penalties]) == 0
        printed = capsys.readouterr().out
        assert "was chosen by 5-fold cross-validation" in printed
        assert "the model overfits" not in printed
    assert "leaves out 25 of 25 columns" in printed
