"""`train.fit` fits what the command fits, from whatever holds the table."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from scipy.optimize import minimize

from passfail.errors import NoInterval
from passfail.loading import load
from tests.support import DATA
from train import fit
from train.errors import DataError, FitError, TrainError
from train.export.checkpoint import Kept
from train.fitted import Fitted

TABLE = DATA / "admissions.csv"


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(pa.csv.read_csv(TABLE), target="admit", name="admissions", categorical=["rank"])


@pytest.mark.parametrize("kind", ["path", "pandas", "dict", "list of dicts"])
def test_every_kind_of_table_gives_the_fit_of_the_command(models: Path, fitted: Fitted, kind: str) -> None:
    table = pa.csv.read_csv(TABLE)
    given = {"path": lambda: str(TABLE), "pandas": table.to_pandas, "dict": table.to_pydict,
             "list of dicts": table.to_pylist}[kind]()  # fmt: skip

    again = fit(given, target="admit", categorical=["rank"])

    expected = load(models / "admissions").manifest.training
    assert again.coefficients == fitted.coefficients == expected.statistics.coefficients
    assert again.metrics == fitted.metrics == expected.held_out


def test_a_profile_interval_ends_where_the_best_fit_with_that_logit_is_worse_by_its_quantile(fitted: Fitted) -> None:
    """The columns are shifted by the row, so the intercept is its logit; scipy fits the slopes."""
    rows = [{"gre": 620, "gpa": 3.4, "rank": "2"}, {"gre": 220, "gpa": 2.3, "rank": "4"}]
    design, sign = fitted.model.matrix(torch.from_numpy(fitted.kept.x)).dense().numpy(), 2 * fitted.kept.y - 1
    asked = np.array([[620, 3.4, 1.0], [220, 2.3, 3.0]])  # a rank is the index of its level
    shifts = fitted.model.matrix(torch.from_numpy(asked)).dense().numpy()

    best = -fitted.description.training.statistics.log_likelihood

    for shift, ends in zip(shifts, fitted.intervals(rows), strict=True):
        for logit in np.log(ends / (1 - ends)):
            loss = lambda slopes, z=logit, s=shift: np.logaddexp(0, -sign * (z + (design - s)[:, 1:] @ slopes)).sum()  # noqa: E731
            held = minimize(loss, fitted.model.weight.detach().numpy())
            assert held.fun - best == pytest.approx(1.9207294, abs=1e-4)


def test_profile_intervals_count_a_weight_as_so_many_rows() -> None:
    table = {"x": [0.0, 1, 2, 3, 4, 5], "w": [3, 2, 1, 2, 1, 3], "y": [0, 0, 1, 0, 1, 1]}
    repeated = {name: np.repeat(values, table["w"]).tolist() for name, values in table.items() if name != "w"}
    few = fit({**table}, target="y", weights="w").intervals({"x": [-1, 2.5]})

    np.testing.assert_allclose(few, fit(repeated, target="y").intervals({"x": [-1, 2.5]}), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": 1.0}, "--intervals profile needs a likelihood: remove --l1, --l2"),
        ({"robust": True}, "--intervals profile needs a likelihood"),
        ({"solver": "adam", "epochs": 2}, "--intervals needs the solver newton, not adam"),
    ],
    ids=["penalty", "robust", "optimizer"],
)
def test_a_fit_without_a_likelihood_has_no_profile_intervals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        fit(TABLE, target="admit", **options).intervals([{"gre": 620, "gpa": 3.4, "rank": 2}])


def test_separated_outcomes_have_no_profile_intervals() -> None:
    with pytest.raises(NoInterval, match="its columns separate the outcomes"):
        fit({"x": [1, 2, 3, 4, 5, 6], "y": [0, 0, 0, 1, 1, 1]}).intervals({"x": [2]})


def test_profile_intervals_need_every_row(fitted: Fitted) -> None:
    some = fitted._replace(kept=Kept(*(values[::2] for values in fitted.kept)))

    with pytest.raises(FitError, match="the checkpoint keeps 200 rows, and a profile interval needs all"):
        some.intervals([{"gre": 620, "gpa": 3.4, "rank": "2"}])


def test_a_card_for_notebooks_escapes_what_the_table_says(fitted: Fitted) -> None:
    card = fitted._repr_html_()

    assert "<td>gre</td>" in card
    assert "<h4>admissions: admit = 1</h4>" in card


def test_options_go_by_the_commands_names(fitted: Fitted) -> None:
    shrunk = fit(TABLE, l2=10.0, missing="mean", order={"rank": ("4", "3", "2", "1")}, intercept=False, firth=False)

    assert shrunk.description.features[2].levels == ("4", "3", "2", "1")
    assert shrunk.description.training.options["l2"] == 10.0
    assert shrunk.description.training.options["intercept"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": 1}, "unknown option '--ridge'"),
        ({"l2": -1}, "argument --l2: must be at least 0, or auto"),
        ({"missing": "guess"}, "argument --missing: takes mean, median"),
        ({"target": "admitted"}, "^table.parquet: line 1: there is no column 'admitted'"),
        ({"name": "a/b"}, "'a/b' can't name a model"),
    ],
    ids=["unknown", "number", "choice", "column", "name"],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainError, match=message):
        fit(pa.csv.read_csv(TABLE), **options)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "this is of the type NoneType"),
        (np.ones((3, 2)), "this is of the type ndarray"),
        (pandas.Series([1, 0]), "this is of the type Series"),
        ([[1, 0]], "this is of the type list"),
        ({"a": [1, 2], "y": [1]}, "the table can't be read: Column 1 named y expected length 2"),
        (pandas.DataFrame({"a": [1, "x"], "y": [0, 1]}), "the table can't be read: Conversion failed for column a"),
        (pandas.DataFrame([[1, 2, 0]], columns=["a", "a", "y"]), "the table can't be read: Duplicate column names"),
    ],
    ids=["None", "array", "Series", "lists", "lengths", "mixed types", "column twice"],
)
def test_what_is_no_table_is_refused_with_what_is_one(table: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(table)


def test_a_column_of_categories_is_categorical() -> None:
    table = pa.csv.read_csv(TABLE).to_pandas().astype({"rank": "category"})

    assert fit(table).description.features[2].levels == ("1", "2", "3", "4")


def test_its_export_is_the_commands_export(models: Path, fitted: Fitted, tmp_path: Path) -> None:
    manifest = fitted.export(tmp_path)

    model, other = load(tmp_path / "admissions"), load(models / "admissions")
    assert model.manifest == manifest
    assert (manifest.version, manifest.parameters) == (1, other.manifest.parameters)
    assert manifest.files["model.onnx"] == other.manifest.files["model.onnx"]
