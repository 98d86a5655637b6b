"""The rows that an export records."""

import numpy as np

from passfail.manifest import Feature
from train.export.examples import instances


def test_example_rows_are_like_those_of_the_table():
    features = [
        Feature("age", "numeric", (), 18.0, 91.0, 40.0, "mean"),
        Feature("height", "numeric", (), 1.5, 2.0, None, "error"),
        Feature("town", "categorical", ("Bonn", "Ulm"), None, None, None, "error"),
    ]
    table = np.array([[18, 1.5, 0], [91, 2.0, 1], [np.nan, 1.75, 1]])
    rows = instances(features, table)

    assert all(row["age"] is None or row["age"] == int(row["age"]) for row in rows)
    assert [row["age"] for row in rows] == [18, 42, 67, 91, 164, None]
    assert [row["height"] for row in rows[:2]] == [1.5, 1.5 + 0.5 / 3]
    assert [row["town"] for row in rows[:2]] == ["Bonn", "Ulm"]
