"""`train.fit` fits what the command fits, from whatever holds the table."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from passfail.loading import load
from tests.support import DATA
from train import fit
from train.errors import TrainError
from train.fitted import Fitted

TABLE = DATA / "admissions.csv"


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(pa.csv.read_csv(TABLE), target="admit", name="admissions", categorical=["rank"])


@pytest.mark.parametrize("kind", ["path", "pandas", "dict"])
def test_every_kind_of_table_gives_the_fit_of_the_command(models: Path, fitted: Fitted, kind: str) -> None:
    table = pa.csv.read_csv(TABLE)
    given = {"path": lambda: str(TABLE), "pandas": table.to_pandas, "dict": table.to_pydict}[kind]()

    again = fit(given, target="admit", categorical=["rank"])

    expected = load(models / "admissions").manifest.training
    assert again.coefficients == fitted.coefficients == expected.statistics.coefficients
    assert again.metrics == fitted.metrics == expected.held_out


def test_a_card_for_notebooks_escapes_what_the_table_says(fitted: Fitted) -> None:
    card = fitted._repr_html_()

    assert "<td>gre</td>" in card
    assert "<h4>admissions: admit = 1</h4>" in card


def test_options_go_by_the_commands_names(fitted: Fitted) -> None:
    shrunk = fit(TABLE, l2=10.0, missing="mean", order={"rank": ("4", "3", "2", "1")})

    assert shrunk.description.features[2].levels == ("4", "3", "2", "1")
    assert shrunk.description.training.options["l2"] == 10.0
    with pytest.raises(TypeError, match="fit\\(\\) takes no option ridge"):
        fit(TABLE, ridge=1)
    with pytest.raises(TrainError, match="there is no column 'admitted'"):
        fit(TABLE, target="admitted")


def test_its_export_is_the_commands_export(models: Path, fitted: Fitted, tmp_path: Path) -> None:
    manifest = fitted.export(tmp_path)

    model, other = load(tmp_path / "admissions"), load(models / "admissions")
    assert model.manifest == manifest
    assert (manifest.version, manifest.parameters) == (1, other.manifest.parameters)
    assert manifest.files["model.onnx"] == other.manifest.files["model.onnx"]
