"""The export refuses a checkpoint that differs from its fit, and names the difference."""

import json
import random
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from train.__main__ import main
from train.errors import ExportError, FitError
from train.export import checkpoint, publish


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder with the checkpoint of the admissions' model."""
    folder = tmp_path_factory.mktemp("checkpoints")
    data = str(Path(__file__).parent.parent.parent / "data" / "admissions.csv")
    assert main(["fit", "--data", data, "--categorical", "rank", "--checkpoints", str(folder)]) == 0
    return folder


def test_a_flipped_bit_of_a_checkpoint_is_refused(checkpoints, tmp_path):
    """Anywhere in the file: its header, its description, each of its tensors."""
    written = (checkpoints / "admissions.safetensors").read_bytes()
    header = 8 + int.from_bytes(written[:8], "little")
    tensors = json.loads(written[8:header])
    del tensors["__metadata__"]
    places = [[header + at for at in tensor["data_offsets"]] for tensor in tensors.values()]
    assert len(places) > 10
    bits = random.Random(0)
    for start, end in [(0, header)] * 100 + places * 10:
        bit = bits.randrange(8 * start, 8 * end)
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "admissions.safetensors").write_bytes(flipped)
        with pytest.raises(FitError, match=r"altered since the fit|not a checkpoint of this release"):
            checkpoint.load(tmp_path, "admissions")


@pytest.mark.parametrize("name", ["weight", "bias", "center", "scale"])
def test_a_parameter_that_is_not_the_fits_is_refused(checkpoints, tmp_path, name):
    """The checkpoint is whole: it was written again after one bit of a parameter changed."""
    description, model, kept = checkpoint.load(checkpoints, "admissions")
    with torch.no_grad():
        getattr(model, name)[0] *= 1 + 2.0**-52

    with pytest.raises(ExportError, match=r"not the model that was fitted: \d+ of 400 logits are not the fit's"):
        publish.export(description, model, kept, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_coefficient_table_of_another_fit_is_refused(checkpoints, tmp_path):
    description, model, kept = checkpoint.load(checkpoints, "admissions")
    statistics = description.training.statistics
    first, *others = statistics.coefficients
    statistics = replace(statistics, coefficients=(replace(first, estimate=first.estimate * (1 + 1e-9)), *others))
    training = replace(description.training, statistics=statistics)

    with pytest.raises(ExportError, match=r"the coefficient of \(intercept\) is"):
        publish.export(replace(description, training=training), model, kept, tmp_path)


@pytest.mark.parametrize("threshold", [0.4, 0.5 * (1 + 1e-12)])
def test_another_threshold_is_refused(checkpoints, tmp_path, threshold):
    """The last of the recorded examples are the neighbours between which the verdict changes."""
    description, model, kept = checkpoint.load(checkpoints, "admissions")

    with pytest.raises(ExportError, match="a recorded example is labelled"):
        publish.export(replace(description, threshold=threshold), model, kept, tmp_path)


FIGURES = {
    "the drift baseline": lambda d: replace(d.training, baseline=replace(d.training.baseline, rows=399)),
    "a metric of all rows": lambda d: replace(d.training, metrics=replace(d.training.metrics, auc=0.7)),
}


@pytest.mark.parametrize("fault", FIGURES)
def test_figures_that_are_not_the_rows_are_refused(checkpoints, tmp_path, fault):
    description, model, kept = checkpoint.load(checkpoints, "admissions")

    with pytest.raises(ExportError, match=r"not the model that was fitted: (auc on all rows is|the drift baseline is)"):
        publish.export(replace(description, training=FIGURES[fault](description)), model, kept, tmp_path)


def test_a_training_range_that_is_not_the_rows_is_refused(checkpoints, tmp_path):
    description, model, kept = checkpoint.load(checkpoints, "admissions")
    gre, *others = description.features

    with pytest.raises(ExportError, match="gre: the training range is not that of the rows"):
        publish.export(replace(description, features=(replace(gre, maximum=810.0), *others)), model, kept, tmp_path)


def test_a_column_mean_that_is_not_the_rows_is_refused(checkpoints, tmp_path):
    description, model, kept = checkpoint.load(checkpoints, "admissions")
    model.mean[1] *= 1 + 1e-9

    with pytest.raises(ExportError, match="the mean of column 1 is"):
        publish.export(description, model, kept, tmp_path)


BINS = {
    "of other rows": lambda bins: (replace(bins[0], positives=bins[0].positives + 1), *bins[1:]),
    "moved between bins": lambda bins: (
        replace(bins[0], rows=bins[0].rows - 1), replace(bins[1], rows=bins[1].rows + 1), *bins[2:],
    ),
    "one left out": lambda bins: bins[1:],
}  # fmt: skip


@pytest.mark.parametrize("fault", BINS)
def test_calibration_bins_that_are_not_the_held_out_rows_are_refused(checkpoints, tmp_path, fault):
    description, model, kept = checkpoint.load(checkpoints, "admissions")
    training = replace(description.training, calibration=BINS[fault](description.training.calibration))

    with pytest.raises(ExportError, match=r"not the model that was fitted: the calibration"):
        publish.export(replace(description, training=training), model, kept, tmp_path)


def swapped(pair):
    first, second, *others = pair
    return (second, first, *others)


def renamed(features):
    gre, gpa, rank = features
    return replace(gre, name=gpa.name), replace(gpa, name=gre.name), rank


WORDS = {
    "feature names": lambda d: replace(d, features=renamed(d.features)),
    "level names": lambda d: replace(
        d, features=(*d.features[:2], replace(d.features[2], levels=swapped(d.features[2].levels)))
    ),
    "labels": lambda d: replace(d, target=replace(d.target, labels=swapped(d.target.labels))),
    "target values": lambda d: replace(d, target=replace(d.target, values=("no", "yes"))),
    "threshold": lambda d: replace(d, threshold=0.4, kept=None),
}


@pytest.mark.parametrize("fault", WORDS)
def test_words_that_are_not_the_tables_are_refused(checkpoints, tmp_path, fault):
    description, model, kept = checkpoint.load(checkpoints, "admissions")
    assert len(description.raw) == 200

    with pytest.raises(ExportError, match=r"not the model that was fitted: .* the table"):
        publish.export(WORDS[fault](description), model, kept, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_parity_prints_each_link_and_what_it_compared(checkpoints, tmp_path, capsys):
    chosen = ["--name", "admissions", "--models", str(tmp_path / "models")]
    assert main(["export", *chosen, "--checkpoints", str(checkpoints)]) == 0
    capsys.readouterr()

    assert main(["parity", *chosen, "--checkpoints", str(checkpoints)]) == 0
    table, fit, exact, *_ = capsys.readouterr().out.splitlines()
    assert table == "table to export: 200 rows as CSV, JSON and tensors: the same"
    assert fit.startswith("fit to export: 400 logits, ")
    assert fit.endswith(": the same")
    assert exact.startswith("export to exact arithmetic: the largest error of a logit is 0.")

    assert main(["parity", *chosen, "--checkpoints", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("table and fit to export: not compared: ")
