"""The value that replaces a missing cell, and its effect if an indicator column marks it."""

import pytest

from passfail.manifest import decode
from serve.server.flask_app import create_app
from serve.settings import Config
from train.__main__ import main


@pytest.fixture(scope="module")
def with_indicators(tmp_path_factory):
    """A repository of a model with indicator columns for missing cells."""
    folder = tmp_path_factory.mktemp("missing")
    rows = [f"{'' if i % 4 == 0 else i % 9},{['a', 'b', ''][i % 3]},{int(i % 4 == 0 or i % 5 == 0)}" for i in range(80)]
    (folder / "t.csv").write_text("age,town,passed\n" + "\n".join(rows) + "\n")
    arguments = ["--data", str(folder / "t.csv"), "--checkpoints", str(folder)]
    assert main(["fit", *arguments, "--missing", "indicator", "--l2", "1"]) == 0
    assert main(["export", *arguments, "--models", str(folder / "models")]) == 0
    return folder / "models"


def test_a_missing_cell_has_an_effect_of_its_own(with_indicators, runtime):
    manifest = decode((with_indicators / "t" / "1" / "manifest.json").read_bytes())
    age, town = manifest.features
    client = create_app(Config(models=with_indicators, runtime=runtime)).test_client()
    filled = {"age": age.fill, "town": town.levels[int(town.fill)]}

    def logit(**change):
        return client.post("/predict", json={**filled, **change}).json["logit"]

    flags = {c.feature: c for c in manifest.parameters.columns if c.missing}
    assert [feature.missing for feature in manifest.features] == ["indicator", "indicator"]
    assert [term.term for term in manifest.training.statistics.coefficients][1:] == [
        "age", "age missing", "town=b", "town missing",
    ]  # fmt: skip
    assert logit(age=None) - logit() == pytest.approx(flags[0].weight, rel=1e-12)
    assert logit(town=None) - logit() == pytest.approx(flags[1].weight, rel=1e-12)
    assert flags[0].weight > 1
    assert flags[0].mean == pytest.approx(20 / 80)
