"""The parameters that model.js is written from."""

import json

import msgspec
import pytest

from passfail.manifest import Hidden, Unit, decode
from train.export.javascript import to_javascript


@pytest.fixture
def manifest(models):
    return decode((models / "admissions/1/manifest.json").read_bytes())


def written(module):
    line = next(line for line in module.decode().splitlines() if line.startswith("export const model = "))
    return json.loads(line.removeprefix("export const model = ").removesuffix(";"))


def test_it_has_every_parameter_to_the_bit(manifest, models):
    module = (models / "admissions/1/model.js").read_bytes()
    model = written(module)

    assert module == to_javascript(manifest)
    assert len(module) < 10_000
    for column, found in zip(manifest.parameters.columns, model["columns"], strict=True):
        assert found == {name: getattr(column, name) for name in found}
    assert (model["intercept"], model["threshold"]) == (manifest.parameters.intercept, manifest.logit_threshold)


def test_no_text_of_the_table_ends_the_script_of_a_page(manifest):
    evil = "</script><script>alert(1)</script>"
    changed = msgspec.structs.replace(manifest, target=msgspec.structs.replace(manifest.target, labels=("no", evil)))

    module = to_javascript(changed)

    assert b"</script" not in module
    assert written(module)["labels"] == ["no", evil]


def test_a_hidden_layer_has_no_such_file(manifest):
    columns = manifest.parameters.columns
    hidden = Hidden("ReLU", None, (Unit(0.0, (1.0,) * len(columns), 1.0),))
    parameters = msgspec.structs.replace(manifest.parameters, hidden=hidden)

    assert to_javascript(msgspec.structs.replace(manifest, parameters=parameters)) is None
