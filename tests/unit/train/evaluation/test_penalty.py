"""The L2 penalty chosen by cross-validation."""

import numpy as np

from tests.support import DATA
from train.__main__ import main
from train.evaluation.penalty import PENALTIES, choose_penalty
from train.solvers.options import Options
from train.table.schema import Reading
from train.table.table import read_table

# LogisticRegression(C=1 / l2) of scikit-learn 1.9.1 on the same folds, the columns scaled by the rows of each fit.
EXPECTED = [0.60387, 0.60387, 0.60387, 0.60387, 0.60386, 0.60384, 0.60378, 0.60362, 0.60338, 0.60399, 0.60816, 0.61554,
            0.62111, 0.62363, 0.62453]  # fmt: skip
CHOSEN = 10**1.5


def test_the_path_is_that_of_scikit_learn_and_the_choice_its_largest_within_an_error():
    table = read_table(DATA / "admissions.csv", Reading(drop=("rank",)))
    l2, said = choose_penalty(table.features, table.x, table.y, table.weight, Options(), 5)

    assert l2 in PENALTIES
    assert f"--l2 {l2:.6g} was chosen by 5-fold cross-validation" in said
    path = [float(pair.split(": ")[1]) for pair in said.rstrip(".").rsplit("penalty: ", 1)[1].split(", ")]
    assert np.allclose(path, EXPECTED, atol=6e-5)
    assert l2 == CHOSEN


def test_a_model_that_learnt_rows_by_heart_is_told_of_and_mended(tmp_path, capsys):
    random = np.random.default_rng(1)
    x, y = random.normal(size=(60, 25)), random.integers(0, 2, 60)
    names = ",".join([*(f"a{i}" for i in range(25)), "y"])
    np.savetxt(tmp_path / "t.csv", np.column_stack([x.round(2), y]), "%g", ",", header=names, comments="")
    fit = ["fit", "--data", str(tmp_path / "t.csv"), "--checkpoints", str(tmp_path)]

    assert main(fit) == 0
    assert "the model has learnt rows by heart; --l2 auto shrinks it" in capsys.readouterr().out
    assert main([*fit, "--l2", "auto"]) == 0
    printed = capsys.readouterr().out
    assert "was chosen by 5-fold cross-validation" in printed
    assert "learnt rows by heart" not in printed
