"""Two runtimes and a closed form answer the same, and the proof that says so can fail."""

import functools

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.manifest import decode
from serve.runtimes import load_runtime
from tests.conftest import DATA
from train import parity
from train.__main__ import main
from train.errors import ExportError

NAMES = ["hours", "study_hours", "admissions"]


def opened(models, name):
    folder = models / name / "1"
    manifest = decode((folder / "manifest.json").read_bytes())
    runtimes = {
        "onnx": load_runtime("onnx", (folder / "model.onnx").read_bytes()),
        "torchscript": load_runtime("torchscript", (folder / "model.pt").read_bytes()),
    }
    return manifest, runtimes


@pytest.mark.parametrize("name", NAMES)
def test_a_million_rows_answer_the_same(models, name):
    """Typical, extreme and boundary rows: equal logits, probabilities within 4 units in the last place."""
    manifest, runtimes = opened(models, name)
    rows = parity.probe(manifest.features, manifest.parameters, 0.0, rows=1_000_000, seed=7)

    certificate = parity.certify(runtimes, manifest.features, manifest.parameters, 0.0, rows)

    assert certificate.rows > 999_000
    assert certificate.logit_differences == certificate.verdict_differences == 0
    assert certificate.probability_ulp <= 4
    assert certificate.out_of_range == certificate.non_monotone == 0


def test_probabilities_never_fall_on_neighbouring_floats(models, runtime):
    """Runs of adjacent logits across the places where an exp changes its approximation."""
    manifest, runtimes = opened(models, "hours")
    (column,) = manifest.parameters.columns
    middle = np.array([(k + half) * np.log(2) for k in range(-50, 51) for half in (0, 0.5)])
    hours = ((middle - manifest.parameters.intercept) / column.weight).view(np.int64)
    x = np.sort((hours[:, None] + np.arange(-2000, 2000)).ravel().view(np.float64))[:, None]
    logit, probability = runtimes[runtime](np.ascontiguousarray(x))

    assert parity.non_monotone(logit, probability) == 0


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_row_alone_answers_as_among_others(models, runtime, data):
    _, runtimes = opened_once(models)
    numbers = st.floats(-1e6, 1e6)
    row = st.tuples(numbers, numbers, st.integers(0, 3).map(float))
    rows = np.array(data.draw(st.lists(row, min_size=1, max_size=20)))

    together = runtimes[runtime](rows)

    for index in range(len(rows)):
        alone = runtimes[runtime](rows[index : index + 1])
        assert [part[0] for part in alone] == [part[index] for part in together]


@functools.cache
def opened_once(models):
    return opened(models, "admissions")


def test_tails_are_right(models, runtime):
    """Far out the probability is 0 or 1, or the true tiny number, never beyond."""
    manifest, runtimes = opened(models, "hours")
    (column,) = manifest.parameters.columns
    logits = np.array([-1e300, -800.0, -700.0, -100.0, 0.0, 100.0, 700.0, 1e300])
    x = np.ascontiguousarray(((logits - manifest.parameters.intercept) / column.weight)[:, None])
    logit, probability = runtimes[runtime](x)

    with np.errstate(over="ignore"):
        np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logit)), rtol=1e-14, atol=0)
    assert probability[0] == 0
    assert probability[-1] == 1


def test_unseen_levels_and_missing_values_are_not_guessed(models, runtime):
    _, runtimes = opened(models, "admissions")
    rows = np.array([[600, 3.5, 4.0], [600, 3.5, -1.0], [600, 3.5, 0.5], [600, 3.5, np.nan], [np.nan, 3.5, 0]])
    logit, probability = runtimes[runtime](rows)

    assert np.isnan(logit).all()
    assert np.isnan(probability).all()


def test_one_nudged_weight_is_caught(models):
    """The last rung: a weight one unit in the last place off in one of the files."""
    manifest, runtimes = opened(models, "admissions")
    proto = onnx.load(models / "admissions" / "1" / "model.onnx")
    weight = next(i for i in proto.graph.initializer if i.name == "weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[1] = np.nextafter(values[1], np.inf)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "weight"))
    runtimes["onnx"] = load_runtime("onnx", proto.SerializeToString())
    rows = parity.probe(manifest.features, manifest.parameters, 0.0)

    with pytest.raises(ExportError, match=r"\d+ logits differ"):
        parity.certify(runtimes, manifest.features, manifest.parameters, 0.0, rows)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda z, p: (z, np.where(p > 0.9, 1.0000001, p)), "outside"),
        (lambda z, p: (z, np.where(p > 0.9, 0.9, p)), "units in the last place"),
        (lambda z, p: (z, np.where((z > 0) & (z < 0.1), p - 1e-3, p)), "probabilities fall"),
        (lambda z, p: (-z, p), "verdicts differ"),
        (lambda z, p: (z + len(z), p), "a batch of"),
        (lambda z, p: (z, np.full_like(p, np.nan)), "units in the last place"),
    ],
)
def test_each_fault_is_named(models, fault, message):
    manifest, runtimes = opened(models, "admissions")
    honest = runtimes["onnx"]
    runtimes["onnx"] = lambda x: fault(*honest(x))
    rows = parity.probe(manifest.features, manifest.parameters, 0.0)

    with pytest.raises(ExportError, match=message):
        parity.certify(runtimes, manifest.features, manifest.parameters, 0.0, rows)


def test_boundary_rows_lie_on_the_boundary(models):
    """The probe means what it says: its middle third is within rounding of the threshold, on both sides of it."""
    manifest, _ = opened(models, "study_hours")
    rows = parity.probe(manifest.features, manifest.parameters, 0.0)
    edge = parity.closed_form(manifest.features, manifest.parameters, rows[2 * 6666 : 3 * 6666])

    assert np.abs(edge).max() < 1e-13
    assert (edge > 0).any()
    assert (edge < 0).any()


def test_the_certificate_is_in_the_manifest(models):
    manifest, _ = opened(models, "hours")

    figures = msgspec.structs.asdict(manifest.certificate)
    assert figures["rows"] > 19_000
    assert figures["logit_differences"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_no_constant_is_beyond_float32(models, name):
    """OpenVINO computes in float32: a constant it can't hold becomes an infinity, and the answers wrong, unsaid."""
    for value in onnx.load(models / name / "1" / "model.onnx").graph.initializer:
        numbers = onnx.numpy_helper.to_array(value)
        if value.data_type == onnx.TensorProto.DOUBLE:
            finite = numbers[np.isfinite(numbers)]
            assert (np.abs(finite) < np.finfo(np.float32).max).all()


def test_parameters_near_0_stay_in_the_graph(tmp_path):
    """The exporter leaves out a scalar that is nearly 0 in a sum; a separated fit's intercept is (scaled) just that."""
    data = ["--data", str(DATA / "hours.csv"), "--name", "steep", "--checkpoints", str(tmp_path)]
    assert main(["fit", *data, "--solver", "newton"]) == 0
    assert main(["export", *data, "--models", str(tmp_path / "models")]) == 0

    parameters = decode((tmp_path / "models" / "steep" / "1" / "manifest.json").read_bytes()).parameters
    assert 0 < abs(parameters.intercept) < 1e-8
