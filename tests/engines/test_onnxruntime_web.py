"""ONNX Runtime's build for browsers answers model.onnx with the bits of the service."""

from pathlib import Path

import numpy as np
import pytest

from passfail.proof import certificate, samples
from tests.support import onnxruntime_web
from tests.support.models import opened

pytestmark = pytest.mark.engines


@pytest.mark.skipif(not onnxruntime_web.installed(), reason="make conform installs onnxruntime-web: it is NOT tested")
@pytest.mark.parametrize("name", ["hours", "study_hours", "admissions"])
def test_every_logit_and_verdict_is_the_service_s(models: Path, name: str) -> None:
    model = opened(models, name)
    x, _ = samples.rows(model.manifest, 30_000, seed=1, across=30_000)

    logit, probability = onnxruntime_web.web((models / name / "1" / "model.onnx").read_bytes())(x)

    with np.errstate(all="ignore"):
        expected, p = model.runtime(x)
    assert len(x) > 90_000
    assert ((logit != expected) & ~(np.isnan(logit) & np.isnan(expected))).sum() == 0
    assert (model.verdict(logit) != model.verdict(expected)).sum() == 0
    assert certificate.ulp(probability, p) <= 4


@pytest.mark.skipif(not onnxruntime_web.installed(), reason="make conform installs onnxruntime-web: it is NOT tested")
def test_the_command_replays_the_examples(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert onnxruntime_web.main(["--name", "admissions", "--models", str(models)]) == 0
    assert capsys.readouterr().out.startswith("onnxruntime-web: largest error of a probability ")
