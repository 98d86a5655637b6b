"""Measures of a model: cross-validation, calibration, thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.errors import FitError
from train.evaluate import folds


@given(st.integers(5, 40), st.integers(5, 40), st.integers(2, 5), st.integers(0, 9))
def test_folds_keep_the_share_of_positives(negatives, positives, k, seed):
    y = np.r_[np.zeros(negatives), np.ones(positives)]
    fold = folds(y, k, seed)

    for rows in (np.bincount(fold, minlength=k), np.bincount(fold[y == 1], minlength=k)):
        assert len(rows) == k
        assert rows.max() - rows.min() <= 1
    assert (folds(y, k, seed) == fold).all()


def test_too_many_folds_are_refused():
    with pytest.raises(FitError, match="the rarer has 2: use fewer --folds"):
        folds(np.array([0, 0, 0, 1, 1]), 3, 0)
