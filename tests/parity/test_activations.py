"""The export of a hidden layer passes the proof of a linear one, with each activation."""

import numpy as np
import pytest

from passfail.proof import samples
from passfail.proof.activations import ACTIVATIONS
from passfail.proof.reference import Unpublished
from passfail.runtimes import load_runtime
from tests.support.models import random_hidden_model
from train.export import formats, parity
from train.model.logistic import parameters

# One of each kind: a plain one, one with a parameter, one over all units, one with a fixed threshold.
QUICK = {"Tanh", "PReLU", "LogSoftmax", "Threshold"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.heavy) for name in ACTIVATIONS]
)
def test_every_activation_passes_the_proof(name):
    """Both runtimes and the closed form have equal logits on rows of every kind."""
    features, model = random_hidden_model(name)
    subject = Unpublished(features, parameters(model), 0.0, "logit")
    runtimes = {
        "onnx": load_runtime("onnx", formats.to_onnx(model)),
        "torchscript": load_runtime("torchscript", formats.to_torchscript(model)),
    }

    assert parity.prove_briefly(runtimes, subject, 600) == []
    rows, _ = samples.rows(subject, 300)
    assert np.isfinite(runtimes["onnx"](rows[:300])[0]).all()
