"""Held-out figures owe nothing to the rows held out."""

import numpy as np
import pytest

from serve.manifest import Feature
from train import evaluate
from train.fit import Options, fit


def test_what_missing_cells_become_is_not_taken_from_the_rows_held_out(monkeypatch):
    """Every known cell of a row is one of its own numbers, so a fill tells which rows it is the mean of."""
    n = 60
    x = np.column_stack([2.0 ** np.arange(n) % 1009, np.arange(n) % 7 % 3]).astype(np.float64)
    y = (np.arange(n) % 2).astype(np.float64)
    x[::5] = np.nan
    features = [
        Feature("number", "numeric", (), 1.0, 1008.0, float(np.nanmean(x[:, 0]))),
        Feature("group", "categorical", ("a", "b", "c"), None, None, 2.0),
    ]
    seen = []

    def watched(features, part, *arguments, **keywords):
        seen.append((features, part))
        return fit(features, part, *arguments, **keywords)

    monkeypatch.setattr(evaluate, "fit", watched)
    measured = evaluate.held_out(features, x, y, Options(l2=1.0))

    ((used, part),) = seen
    assert (len(part), measured.rows) == (48, 12)
    assert used[0].fill == pytest.approx(np.nanmean(part[:, 0]))
    assert used[0].fill != features[0].fill
    counts = [(part[:, 1] == level).sum() for level in range(3)]
    assert counts[int(used[1].fill)] == max(counts)
