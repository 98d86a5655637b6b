"""The export refuses a checkpoint that differs from its fit, and names the difference."""

import json
import random
import re
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec.structs import replace

from tests.support.repository import flipped
from train.__main__ import main
from train.errors import ExportError, FitError
from train.export import checkpoint, comparison, publish


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder with the checkpoint of the admissions' model."""
    folder = tmp_path_factory.mktemp("checkpoints")
    data = str(Path(__file__).parent.parent.parent / "data" / "admissions.csv")
    assert main(["fit", "--data", data, "--categorical", "rank", "--checkpoints", str(folder)]) == 0
    return folder


def test_a_flipped_bit_of_a_checkpoint_is_refused(checkpoints, tmp_path):
    """Anywhere in the file: its header, its description, each of its tensors."""
    path = tmp_path / "admissions.safetensors"
    path.write_bytes(written := (checkpoints / path.name).read_bytes())
    header = 8 + int.from_bytes(written[:8], "little")
    tensors = json.loads(written[8:header])
    del tensors["__metadata__"]
    places = [[header + at for at in tensor["data_offsets"]] for tensor in tensors.values()]
    assert len(places) > 10
    bits = random.Random(0)
    for start, end in [(0, header)] * 100 + places * 10:
        with (
            flipped(path, bits.randrange(8 * start, 8 * end)),
            pytest.raises(FitError, match=r"changed after the fit|the file is damaged"),
        ):
            checkpoint.load(tmp_path, "admissions")
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


def changed(description, path, value):
    """A description with another value at a path such as "training.statistics.aic"."""
    tree = json.loads(msgspec.json.encode(description))
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    at = tree
    for key in parents:
        at = at[key]
    at[last] = value(at[last]) if callable(value) else value
    return msgspec.convert(tree, checkpoint.Description)


def found(checkpoints, path, value, rows=None):
    """The differences that the export names after such a change, with that many kept rows."""
    description, model, kept = checkpoint.load(checkpoints, "admissions")
    description = changed(description, path, value)
    if rows is not None:  # as of a longer table, whose rows are not all kept
        description, kept = replace(description, kept=None), checkpoint.Kept(*(part[:rows] for part in kept))
    manifest = publish.draft(description, model)
    return [*comparison.faults(manifest, description, kept), *comparison.text_faults(manifest, description.raw)]


def more(value):
    return value * (1 + 1e-9)


TABLE = "training.statistics"
LINE = f"{TABLE}.coefficients.1"
CONSISTENT = {
    "z": (f"{LINE}.z", more, "z, p, the interval or the odds ratio of gre is not that of"),
    "p": (f"{LINE}.p", 0.04, "z, p, the interval or the odds ratio of gre is not that of"),
    "a bound": (f"{LINE}.upper", None, "z, p, the interval or the odds ratio of gre is not that of"),
    "an odds ratio": (f"{LINE}.odds_ratio", 2.0, "z, p, the interval or the odds ratio of gre is not that of"),
    "a note": (f"{LINE}.note", "not unique", "z, p, the interval or the odds ratio of gre is not that of"),
    "a standard error": (f"{LINE}.standard_error", 0.01, "the standard error of gre is"),
    "the covariance": (f"{TABLE}.factor.2", lambda value: 2 * value, "the standard error of gre is"),
    "a term": (f"{LINE}.term", "gpa", "the terms of the coefficient table are not those of the columns"),
    "a reference level": (f"{TABLE}.references.rank", "2", "the reference levels are not the first levels"),
    "the deviance": (f"{TABLE}.deviance", 458.0, "deviance is 458, but"),
    "the likelihood": (f"{TABLE}.log_likelihood", -229.0, "log_likelihood is -229, but"),
    "AIC": (f"{TABLE}.aic", 470.0, "aic is 470, but"),
    "BIC": (f"{TABLE}.bic", 494.0, "bic is 494, but"),
    "degrees of freedom": (f"{TABLE}.degrees_of_freedom", 395, "degrees_of_freedom is 395, but"),
    "the positive rows": ("training.positives", 126, "null_deviance is"),
    "an option": ("training.options.lr", 0.1, "the option lr is 0.1, 0.01 by the arguments of the fit"),
    "an argument": ("arguments.l2", 1.0, "the option l2 is 0.0, 1.0 by the arguments of the fit"),
    "the case of levels": ("fold_case", True, "the option fold_case is True, False by"),
}


@pytest.mark.parametrize("rows", [None, 100], ids=["all rows kept", "some rows kept"])
@pytest.mark.parametrize(("path", "value", "words"), CONSISTENT.values(), ids=CONSISTENT)
def test_a_figure_that_contradicts_the_others_is_named(checkpoints, path, value, words, rows):
    assert any(fault.startswith(words) for fault in found(checkpoints, path, value, rows))


REFITTED = {
    "convergence": ("training.converged", False, "converged: False in the export, True now"),
    "a covariance": (f"{TABLE}.factor.0", more, "statistics.factor[0]: "),
    "the kind of errors": (f"{TABLE}.standard_errors", "sandwich", "statistics.standard_errors: sandwich in the"),
    "a curve of the report": ("evaluation.roc.9.1", more, "report.roc[9][1]: "),
    "a row of the thresholds": ("evaluation.thresholds.40.false_positives", 0, "report.thresholds[40].false_posi"),
    "the loss of a step": ("evaluation.losses.1", more, "report.losses[1]: "),
    "a distribution": ("evaluation.distributions.gre.3", 0.5, "report.distributions.gre[3]: "),
    "the share of duplicates": ("evaluation.repeated", 0.0, "report.repeated: 0.0 in the export, 0.02 now"),
    "the method": ("evaluation.how", "10-fold cross-validation", "report.how: 10-fold cross-validation in the"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "value", "words"), REFITTED.values(), ids=REFITTED)
def test_a_figure_that_a_new_fit_to_the_kept_rows_gives_otherwise_is_named(checkpoints, path, value, words):
    assert [fault.startswith(words) for fault in found(checkpoints, path, value)] == [True]


@pytest.mark.parametrize("path", [f"{LINE}.p", f"{LINE}.upper", f"{TABLE}.factor.0", "evaluation.roc.9.1"])
def test_a_figure_that_another_library_rounds_otherwise_is_the_same(checkpoints, path):
    assert found(checkpoints, path, lambda value: value * (1 + 1e-13)) == []


def test_an_imputed_value_that_is_not_the_rows_is_named(checkpoints):
    assert "gre: the imputed value is not that of the rows" in found(checkpoints, "features.0.fill", 500.0)


def test_held_out_metrics_changed_alike_in_both_places_are_named(checkpoints):
    description, model, kept = checkpoint.load(checkpoints, "admissions")
    for path in ("training.held_out.auc", "evaluation.metrics.auc"):
        description = changed(description, path, 0.9)

    (fault,) = comparison.faults(publish.draft(description, model), description, kept)
    assert fault.startswith("report.metrics.auc: 0.9 in the export, ")


def test_a_fit_on_another_processor_need_only_be_close(checkpoints, monkeypatch):
    """Its last bits differ, so figures that count rows may, too."""
    description, model, kept = checkpoint.load(checkpoints, "admissions")
    fit, factor = comparison.fit, 1 + 1e-11

    def rounded(*given):
        fitted = fit(*given)
        with torch.no_grad():
            fitted.model.weight.mul_(factor)
        return fitted

    monkeypatch.setattr(comparison, "fit", rounded)
    assert comparison.faults(publish.draft(description, model), description, kept) == []
    factor = 1 + 1e-5
    (fault,) = comparison.faults(publish.draft(description, model), description, kept)
    assert fault.startswith("a new fit to the rows gives logits that differ by up to ")


# Words that only `make reproduce` compares, because the checkpoint has nothing else that tells them.
WORDS_OF_THE_TABLE = (
    "name", "target.name", "training.data", "training.data_sha256", "training.versions", "training.warnings",
    "training.notes", "arguments", "dialect", "units", "dates",
)  # fmt: skip


@pytest.mark.heavy
def test_the_rest_of_the_description_is_compared(checkpoints):
    """One leaf of each kind is changed, except the words of the table."""
    description, *_ = checkpoint.load(checkpoints, "admissions")
    kinds = {re.sub(r"\.\d+", ".#", path): path for path in leaves(json.loads(msgspec.json.encode(description)))}
    missed = []
    for path in kinds.values():
        try:
            if not path.startswith(WORDS_OF_THE_TABLE) and not found(checkpoints, path, another):
                missed.append(path)
        except (ValueError, LookupError, FitError):  # not a value that this field takes
            continue
    assert missed == []


def leaves(tree, path=""):
    """The paths of a tree's leaves."""
    if not isinstance(tree, dict | list):
        return [path]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [leaf for key, value in items for leaf in leaves(value, f"{path}.{key}".lstrip("."))]


def another(value):
    """Another value of the same type."""
    if isinstance(value, str):
        return f"{value}x"
    return not value if isinstance(value, bool) else 0.5 if value is None else value + max(1, value)


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
