"""Warnings about a table."""

import numpy as np
import pytest

from passfail.manifest import Feature
from tests.support import DATA
from train.evaluation.cross_validation import held_out
from train.evaluation.metrics import evaluate
from train.model.logistic import LogisticModel
from train.solvers.options import Options
from train.table.checks import warnings
from train.table.reading import Reading
from train.table.table import Table, read_table


def table(columns, y):
    """A Table of {name: values, or texts for a group}."""
    features, x = [], []
    for name, values in columns.items():
        if isinstance(values[0], str):
            levels = tuple(sorted(set(values)))
            features.append(Feature(name, "categorical", levels, None, None, None))
            x.append([float(levels.index(value)) for value in values])
        else:
            features.append(Feature(name, "numeric", (), float(min(values)), float(max(values)), None))
            x.append(values)
    return Table(
        source="t.csv",
        sha256="",
        x=np.column_stack(x).astype(float),
        y=np.array(y, dtype=float),
        weight=np.ones(len(y)),
        features=tuple(features),
        target=None,
        rows=len(y),
        positives=sum(y),
    )


def found_in(columns, y):
    found = table(columns, y)
    scores = held_out(found.data, Options(l2=1.0))
    model = LogisticModel(found.features)
    outside = evaluate(scores, "logit", 0.5, (1.0,), model, found.data)
    return tuple(warnings(found.features, found.x, True, outside))


def test_warnings_name_the_column_and_the_remedy():
    generator = np.random.default_rng(1)
    n = 200
    y = generator.random(n) < 0.5
    fine = generator.normal(size=n).tolist()
    columns = {
        "fine": fine,
        "same": [3.0] * n,
        "id": (np.arange(n) + 1000).tolist(),
        "shuffled": generator.permutation(n).tolist(),
        "leak": (y + generator.normal(size=n) / 100).tolist(),
        "verdict": ["out" if one else "in" for one in y],
        "town": ["Rome", *(["Bonn", "Oslo"] * n)[: n - 1]],
    }

    found = found_in(columns, y)

    assert [sentence.split(":")[0] for sentence in found] == ["same", "id", "shuffled", "town", "leak", "verdict"]
    assert "every row has 3" in found[0]
    assert all("--drop" in sentence for sentence in found if not sentence.startswith("town"))
    assert "only one row has Rome" in found[3]
    assert found_in({"fine": fine}, y) == ()


def test_levels_that_differ_only_in_case_are_warned_of():
    """Several programs wrote TRUE, True and true; each would have a coefficient."""
    y, size = np.random.default_rng(5).random((2, 200))

    def said(*levels):
        return found_in({"vip": list(levels) * (200 // len(levels)), "size": size.tolist()}, y < 0.5)

    (found,) = said("TRUE", "no", "True", "Groß", "true")
    assert found.startswith("vip: TRUE, True, true differ only in case; each has a coefficient of its own; use --fold")
    assert said("TRUE", "no", "Straße", "Groß") == ()


def test_levels_of_a_scale_in_the_order_of_the_alphabet_are_told():
    y, size = np.random.default_rng(5).random((2, 200))
    columns = {"risk": ["low", "Medium", "high", "low"] * 50, "size": size.tolist()}

    (found,) = found_in(columns, y < 0.5)
    assert found.startswith("risk: its levels are in alphabetical order, Medium, high, low; the first is")
    assert found.endswith("--order risk=low,Medium,high sets their order")


def test_a_row_in_the_place_of_the_header_is_warned_of():
    """A file without a header loses its first row; columns named by years have a header."""
    generator = np.random.default_rng(4)
    y, *columns = (generator.random((3, 100)) * [[1], [9], [9]]).tolist()
    y = np.array(y) < 0.5

    (found,) = found_in({"3.5": columns[0], "Rome": ["Bonn", "Oslo"] * 50, "12": columns[1]}, y)

    assert found.startswith(
        "the columns are called 3.5, Rome, 12; line 1 may be a row, which is then lost; use --no-header"
    )
    assert found_in({"2019": columns[0], "2020": columns[1]}, y) == ()
    assert found_in({"3.5": columns[0], "age": columns[1]}, y) == ()


def test_identifiers_are_told_from_quantities_that_happen_not_to_repeat():
    """Identifiers lie close (500 of 9000 numbers, or 60 of a million) or have such a name."""
    generator = np.random.default_rng(3)
    y = np.arange(500) % 2

    def named(n, **columns):
        columns = {name: values[:n].tolist() for name, values in columns.items()}
        return [sentence.split(":")[0] for sentence in found_in(columns, y[:n]) if "identifier" in sentence]

    drawn = 1000 + generator.permutation(9000)[:500]
    income = np.unique(generator.lognormal(10.5, 0.5, 600).round())
    generator.shuffle(income)
    assert named(500, ticket=drawn, twice=np.append(drawn[:499], drawn[0]), half=drawn + 0.5) == ["ticket"]
    assert named(60, income=income, customerId=income[::-1], paid=income[100:]) == ["customerId"]


@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.glob("*.csv")))
def test_no_table_of_ours_has_an_identifier(name):
    positive = "agree" if name == "womensrole" else None
    found = read_table(DATA / f"{name}.csv", Reading(positive=positive))

    assert not any("identifier" in sentence for sentence in warnings(found.features, found.x, True, None))


def test_duplicates_across_the_folds_are_counted():
    generator = np.random.default_rng(2)
    x = generator.normal(size=100).tolist()
    y = generator.random(100) < 0.5

    (found,) = found_in({"x": x + x[:20]}, [*y, *y[:20]])

    assert "of the held-out rows have an exact duplicate" in found
    share = float(found.split("%")[0])
    assert 20 < share <= 100 * 40 / 120
