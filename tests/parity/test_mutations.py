"""The certificate catches and names each fault that is put into an exporter."""

import copy

import numpy as np
import pytest
import torch

from passfail.errors import CertificateError
from passfail.loading import Model
from passfail.manifest import Feature
from passfail.proof import certificate, reference, samples
from passfail.proof.reference import Unpublished
from passfail.proof.rounding import Stability
from passfail.runtimes import MODEL_FILES, load_runtime
from tests.support.models import opened
from train.__main__ import main
from train.errors import ExportError
from train.export import formats, parity
from train.model.links import LINKS
from train.model.logistic import LogisticModel, parameters

FEATURES = (
    Feature("age", "numeric", (), 18.0, 90.0, 41.7),
    Feature("income", "numeric", (), 9_000.0, 210_000.0, None),
    Feature("school", "categorical", ("1", "2", "3"), None, None, 1.0),
)


def build(kind=LogisticModel, bits=0):
    model = kind(FEATURES).eval()
    with torch.no_grad():
        model.center.copy_(torch.tensor([40.1, 61_000.3, 0.0, 0.0]))
        model.scale.copy_(torch.tensor([17.3, 33_000.7, 1.0, 1.0]))
        model.weight.copy_(torch.tensor([0.7, -1.3, 0.4, -0.9]))
        model.bias.fill_(0.3)
        model.weight[1] *= 1 + bits * 2.0**-52
    return model


class Float32Scaling(LogisticModel):
    def design(self, x):
        return ((self.columns(x).float() - self.center.float()) / self.scale.float()).double()


class PlainSigmoid(LogisticModel):
    def forward(self, x):
        logit, _ = super().forward(x)
        return logit, torch.sigmoid(logit)


class SwappedColumns(LogisticModel):
    def forward(self, x):
        return super().forward(torch.cat([x[:, 1:2], x[:, :1], x[:, 2:]], dim=1))


class FrozenBatch(LogisticModel):
    def forward(self, x):
        return super().forward(x.reshape(2, 3))


class WrongMean(LogisticModel):
    def columns(self, x):
        return super().columns(torch.where(torch.isnan(x), self.fill + 0.1, x))


class OffByOneLevel(LogisticModel):
    def columns(self, x):
        return super().columns(torch.cat([x[:, :2], x[:, 2:] - 1], dim=1))


@pytest.fixture(scope="module")
def case():
    """The manifest of the right model, and what is true of it."""
    manifest = Unpublished(FEATURES, parameters(build()), 0.0, "logit")
    x, _ = samples.rows(manifest, 900, across=50_000)
    sizes = certificate.batch_sizes(100_000)
    return manifest, certificate.Truth(manifest, x, exact_rows=900, steps=100, sizes=sizes, alone=20)


def faults(model, case):
    """The faults that the right model's certificate finds in another one's exports: [words]."""
    manifest, truth = case
    files = {"model.onnx": formats.to_onnx(model), "model.pt": formats.to_torchscript(model)}
    runtimes = {name: load_runtime(name, files[file]) for name, file in MODEL_FILES.items()}
    return parity.prove(runtimes, manifest, truth)[1]


def test_a_right_export_has_no_fault(case):
    assert faults(build(), case) == []


BOTH = ("onnx", "torchscript")
ERROR, LOGITS = "largest error of a logit", "logits whose bits differ from the closed form's"


@pytest.mark.parametrize(
    ("fault", "engines", "words"),
    [
        (Float32Scaling, BOTH, ERROR),
        (PlainSigmoid, ("onnx",), "largest error of a probability, in units in the last place"),
        (SwappedColumns, BOTH, ERROR),
        (FrozenBatch, BOTH, "fails on a batch of"),
        (WrongMean, BOTH, ERROR),
        (OffByOneLevel, BOTH, LOGITS),
    ],
)
def test_a_faulty_export_is_caught_by_name(case, monkeypatch, fault, engines, words):
    if fault is FrozenBatch:
        export = torch.onnx.export
        monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: export(*a, **k | {"dynamic_shapes": None}))

    found = faults(build(fault), case)

    for engine in engines:
        assert any(line.startswith(f"{engine}: ") and words in line for line in found), found


def test_one_bit_of_one_weight_is_caught(case):
    found = faults(build(bits=1), case)

    assert [line.split(": ")[0] for line in found if LOGITS in line] == list(BOTH)


@pytest.fixture(scope="module")
def right():
    """The right model's runtime."""
    return load_runtime("onnx", formats.to_onnx(build()))


def measured(case, runtime, verdict=lambda logit: logit > 0, stable=None):
    manifest, truth = case
    return certificate.faults(certificate.measure(runtime, verdict, truth, stable), manifest.link)


@pytest.mark.parametrize(
    ("least", "most"),
    [(8, 999), (500, 900), (15, 17), (3, 5), (50, 50), (601, 661), (5000, 7500), (65_538, 98_304), (65_537, 10**9)],
)
def test_a_fault_in_batches_of_some_sizes_is_caught(case, right, least, most):
    def runtime(x):
        logit, probability = right(x)
        if least <= len(x) <= most and len(x) != len(case[1].x):
            logit[-1] = np.nextafter(logit[-1], np.inf)
        return logit, probability

    assert any("in a batch of another size" in fault for fault in measured(case, runtime))


def test_a_fault_in_rows_beyond_65536_is_caught(case, right):
    def runtime(x):
        logit, probability = right(x)
        probability[65_536:] *= 1 + 2.0**-52
        return logit, probability

    assert any("in a batch of another size" in fault for fault in measured(case, runtime))


@pytest.mark.parametrize("beyond", [65_536, 99_999])
def test_the_start_catches_a_fault_in_the_last_rows_of_the_largest_request(case, right, beyond):
    def runtime(x):
        logit, probability = right(x)
        probability[beyond:] *= 1 + 2.0**-52
        return logit, probability

    certificate.certify("onnx", right, lambda logit: logit > 0, case[0])
    with pytest.raises(CertificateError, match="in a batch of another size"):
        certificate.certify("onnx", runtime, lambda logit: logit > 0, case[0])


@pytest.mark.parametrize("at", [-8.7, -3.14159, 0.0005, 2.71828, 9.99])
@pytest.mark.parametrize("fault", ["off", "flat"])
def test_a_fault_in_a_narrow_interval_is_caught(case, right, at, fault):
    """The probability is off by 1e-4 of itself, or flat, in an interval of 1e-3 of the logit."""

    def runtime(x):
        logit, probability = right(x)
        inside = (logit >= at) & (logit < at + 1e-3)
        wrong = probability * (1 + 1e-4) if fault == "off" else np.full(len(x), 1 / (1 + np.exp(-at)))
        return logit, np.where(inside, wrong, probability)

    assert any("error of a probability" in fault for fault in measured(case, runtime))


@pytest.mark.parametrize("link", ["probit", "cloglog", "cauchit"])
def test_a_fault_in_a_narrow_interval_of_another_link_is_caught(link):
    """The interval is 1e-3 of the score, as with the logit."""
    subject = Unpublished(FEATURES, parameters(build()), 0.0, link)
    x, _ = samples.rows(subject, 60, across=50_000)
    truth = certificate.Truth(subject, x, exact_rows=60, steps=20, sizes=(1,), alone=1)

    def runtime(x, at=None):
        logit = reference.logit(subject, x)
        probability = LINKS[link].probability(torch.from_numpy(logit)).numpy()
        if at is not None:
            with np.errstate(divide="ignore"):
                odds = np.log(probability) - np.log1p(-probability)
            probability = np.where((odds >= at) & (odds < at + 1e-3), probability * (1 + 1e-6), probability)
        return logit, probability

    def found(at=None):
        figures = certificate.measure(lambda x: runtime(x, at), lambda logit: logit > 0, truth)
        return any("error of a probability" in fault for fault in certificate.faults(figures, link))

    assert not found()
    assert all(found(at) for at in (-8.7, -3.14159, 0.0005, 2.71828, 9.99))


@pytest.mark.parametrize("part", [0, 1], ids=["logit", "probability"])
def test_a_zero_of_the_other_sign_is_caught(case, right, part):
    def runtime(x):
        answer = right(x)
        return [np.where(values == 0, -values, values) if part == i else values for i, values in enumerate(answer)]

    assert any((right(case[1].x)[part] == 0).tolist())
    assert measured(case, runtime) != []


def test_a_verdict_at_the_threshold_itself_is_caught(case, right):
    assert measured(case, right) == []
    assert any("wrong verdicts" in fault for fault in measured(case, right, verdict=lambda logit: logit >= 0))


def always(x, logit):
    return np.full(len(logit), True)


def test_a_verdict_that_is_always_said_to_be_stable_is_caught(case, right):
    assert measured(case, right, stable=Stability(case[0]).stable) == []
    assert any(
        "reported as stable inside the certified band" in fault for fault in measured(case, right, stable=always)
    )


@pytest.mark.parametrize("name", ["hours", "admissions"])
def test_a_model_whose_verdicts_are_always_stable_neither_exports_nor_opens(models, monkeypatch, name):
    monkeypatch.setattr(Model, "stable", lambda self, x, logit: always(x, logit))

    with pytest.raises(CertificateError, match="reported as stable inside the certified band"):
        opened(models, name)
    with pytest.raises(ExportError, match="reported as stable inside the certified band"):
        parity.prove_again(models, name)


def test_a_model_file_of_another_version_is_caught(case):
    manifest, truth = case
    files = {"model.onnx": formats.to_onnx(build()), "model.pt": formats.to_torchscript(build(bits=2**30))}
    runtimes = {name: load_runtime(name, files[file]) for name, file in MODEL_FILES.items()}

    found = parity.prove(runtimes, manifest, truth)[1]

    assert {line.split(": ")[0] for line in found} == {"torchscript"}


def test_a_verdict_on_the_probability_in_float32_is_caught(case, monkeypatch):
    def verdict(self, logit):
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-logit))).astype(np.float32) > np.float32(0.5)

    monkeypatch.setattr(Model, "verdict", verdict)

    found = faults(build(), case)

    assert [line.split(": ")[0] for line in found] == list(BOTH)
    assert all("wrong verdicts outside the certified band" in line for line in found)


def test_what_is_not_met_is_not_exported(tmp_path, monkeypatch, capsys):
    """One bit of a weight of model.onnx is wrong: the command names the engine."""
    right = formats.to_onnx

    def wrong(model):
        model = copy.deepcopy(model)
        with torch.no_grad():
            model.weight[0] *= 1 + 2.0**-52
        return right(model)

    folders = ["--checkpoints", str(tmp_path / "checkpoints"), "--models", str(tmp_path / "models")]
    assert main(["fit", *folders[:2]]) == 0
    monkeypatch.setattr(formats, "to_onnx", wrong)

    assert main(["export", *folders]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the export does not answer as its parameters say: onnx: ")
    assert LOGITS in said
    assert "torchscript: " not in said
    assert not (tmp_path / "models").exists()
