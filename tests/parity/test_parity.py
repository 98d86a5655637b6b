"""Two runtimes and a closed form answer the same, and the proof that says so can fail."""

import functools
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passfail.manifest import decode
from passfail.proof import certificate, exact, reference, samples
from passfail.runtimes import load_runtime
from tests.support import DATA
from train.__main__ import main
from train.export import parity

NAMES = ["hours", "study_hours", "admissions"]


def opened(models, name):
    folder = models / name / "1"
    manifest = decode((folder / "manifest.json").read_bytes())
    runtimes = {
        "onnx": load_runtime("onnx", (folder / "model.onnx").read_bytes()),
        "torchscript": load_runtime("torchscript", (folder / "model.pt").read_bytes()),
    }
    return manifest, runtimes


@pytest.mark.parametrize("each", [20_000, pytest.param(334_000, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_every_kind_answer_the_same(models, name, each):
    """All logits are equal, and no verdict outside the certified band is wrong."""
    manifest, runtimes = opened(models, name)
    x, kinds = samples.rows(manifest, each, seed=7)
    truth = certificate.Truth(manifest, x, exact_rows=3000, steps=1000, sizes=(0, 1, 2, 7, 1000), alone=20)

    assert kinds["on the boundary"] > each - 1000
    assert len(x) > 3 * (each - 1000)
    assert parity.prove(runtimes, manifest, truth)[1] == []


def test_probabilities_never_fall_on_neighbouring_floats(models, runtime):
    """Runs of adjacent logits across the places where an exp changes its approximation."""
    manifest, runtimes = opened(models, "hours")
    (column,) = manifest.parameters.columns
    middle = np.array([(k + half) * np.log(2) for k in range(-50, 51) for half in (0, 0.5)])
    hours = ((middle - manifest.parameters.intercept) / column.weight).view(np.int64)
    x = np.sort((hours[:, None] + np.arange(-2000, 2000)).ravel().view(np.float64))[:, None]
    logit, probability = runtimes[runtime](np.ascontiguousarray(x))

    assert certificate.non_monotone(logit, probability) == 0


@given(st.data())
@settings(max_examples=50)
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
    weights = np.array([[column.weight] for column in manifest.parameters.columns])
    weight = next(i for i in proto.graph.initializer if i.raw_data == weights.tobytes())
    weights[1] = np.nextafter(weights[1], np.inf)
    weight.raw_data = weights.tobytes()
    runtimes["onnx"] = load_runtime("onnx", proto.SerializeToString())

    missed = parity.prove_briefly(runtimes, manifest, 500)
    assert all(words.startswith("onnx: ") for words in missed)
    assert any("logits whose bits differ from the closed form's" in words for words in missed)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda z, p: (z, np.where(p > 0.9, 1.0000001, p)), "outside"),
        (lambda z, p: (z, np.where(p > 0.9, 0.9, p)), "units in the last place"),
        (lambda z, p: (z, np.where((z > 0) & (z < 0.1), p - 1e-3, p)), "that decrease where they must increase"),
        (lambda z, p: (-z, p), "wrong verdicts outside"),
        (lambda z, p: (z + len(z), p), "in a batch of another size"),
        (lambda z, p: (z, np.full_like(p, np.nan)), "units in the last place"),
        (lambda z, p: (z[:, None], p), "answers"),
        (lambda z, p: 1 / 0, "fails on a batch of"),
    ],
)
def test_each_fault_is_named(models, fault, message):
    manifest, runtimes = opened(models, "admissions")
    honest = runtimes["onnx"]
    runtimes["onnx"] = lambda x: fault(*honest(x))

    missed = parity.prove_briefly(runtimes, manifest, 500)

    assert any(message in words for words in missed)
    assert all(words.startswith("onnx: ") for words in missed)


def test_boundary_rows_lie_on_the_boundary(models):
    """The rows are neighbouring floats on both sides of the threshold, within rounding."""
    manifest, _ = opened(models, "study_hours")
    typical = np.linspace(0, 8, 200)[:, None]
    edge = samples.boundary(manifest, typical, np.random.default_rng(0))
    edge = edge.reshape(6, -1, 1)
    before, after = (reference.logit(manifest, edge[k]) for k in (0, 1))

    up, down = (np.nextafter(edge[0], way) == edge[1] for way in (np.inf, -np.inf))
    assert (up | down).all()
    assert ((before > 0) != (after > 0)).all()
    assert np.abs(np.r_[before, after]).max() < 1e-13


def test_exact_arithmetic_is_exact(models):
    """Fractions give the same value for each row."""
    manifest, _ = opened(models, "admissions")
    x, _ = samples.rows(manifest, 60)
    values = reference.values(manifest, x)
    values = values[np.isfinite(values).all(axis=1)][:100]
    high, low = exact.logits(manifest, values)

    for row, most, rest in zip(values.tolist(), high.tolist(), low.tolist(), strict=True):
        whole = Fraction(manifest.parameters.intercept)
        for value, c in zip(row, manifest.parameters.columns, strict=True):
            whole += (Fraction(value) - Fraction(c.center)) / Fraction(c.scale) * Fraction(c.weight)
        if np.isfinite(most):
            assert most == float(whole)
            assert abs(Fraction(most) + Fraction(rest) - whole) <= abs(whole) * Fraction(1, 2**104)


def test_the_certificate_is_in_the_manifest(models):
    manifest, _ = opened(models, "hours")
    proof = manifest.certificate

    assert proof.engines.keys() == {"onnx", "torchscript", "onnx reference", "torch.export", "eager"}
    assert proof.rows["training"] == 4
    assert sum(proof.rows.values()) > 15_000
    assert proof.exact > 3_000
    assert all(figures.logit_differences == 0 for figures in proof.engines.values())
    assert all(0 < figures.logit_error < 1 for figures in proof.engines.values())
    assert proof.versions.keys() >= {"torch", "onnx", "onnxruntime", "python"}


@pytest.mark.usefixtures("whole_proof")
def test_a_published_version_is_proven_again(models, capsys):
    assert main(["parity", "--name", "admissions", "--models", str(models)]) == 0

    said = capsys.readouterr().out
    for word in (
        "logit_differences",
        "torch.export",
        "onnx reference",
        "150 sizes of batches from 0 to 100000",
        "CPU: ",
    ):
        assert word in said


@pytest.mark.parametrize("name", NAMES)
def test_no_constant_is_beyond_float32(models, name):
    """OpenVINO computes in float32: a larger constant becomes an infinity, without an error."""
    for value in onnx.load(models / name / "1" / "model.onnx").graph.initializer:
        numbers = onnx.numpy_helper.to_array(value)
        if value.data_type == onnx.TensorProto.DOUBLE:
            finite = numbers[np.isfinite(numbers)]
            assert (np.abs(finite) < np.finfo(np.float32).max).all()


def test_parameters_near_0_stay_in_the_graph(tmp_path):
    """The exporter omits a scalar near 0 in a sum, such as a separated fit's scaled intercept."""
    data = ["--data", str(DATA / "hours.csv"), "--name", "steep", "--checkpoints", str(tmp_path)]
    assert main(["fit", *data, "--solver", "newton"]) == 0
    assert main(["export", *data, "--models", str(tmp_path / "models")]) == 0

    parameters = decode((tmp_path / "models" / "steep" / "1" / "manifest.json").read_bytes()).parameters
    assert 0 < abs(parameters.intercept) < 1e-8


def test_other_engines_answer_the_examples_from_the_same_bytes(models, capsys, monkeypatch):
    assert main(["conform", "--name", "admissions", "--models", str(models)]) == 0
    assert "onnx reference: largest error of a probability" in capsys.readouterr().out

    monkeypatch.setattr(parity, "uncertified", lambda files: {"openvino": lambda x: (x[:, 0], np.full(len(x), 0.5))})
    assert main(["conform", "--name", "admissions", "--models", str(models)]) == 2
    assert capsys.readouterr().err.startswith("error: openvino: largest error of a probability 0.")
