"""A hidden layer: each activation is torch.nn's own; tests/parity/ proves an export of each."""

import numpy as np
import pytest
import torch

from passfail.proof import reference, samples
from passfail.proof.activations import ACTIVATIONS, NUMPY
from passfail.proof.reference import Unpublished
from tests.support.models import random_hidden_model
from train.model.logistic import TORCH, parameters

# Softplus: torch turns linear above its threshold of 20, where that is 2e-9 off; ours is the formula everywhere.
ARGUMENTS = {"Threshold": (0.1, 0.0), "Softplus": (1, 700), "Softmin": (1,), "Softmax": (1,), "LogSoftmax": (1,)}
LECTURE = [
    "ReLU",
    "ReLU6",
    "ELU",
    "SELU",
    "PReLU",
    "LeakyReLU",
    "Threshold",
    "Hardtanh",
    "Sigmoid",
    "Tanh",
    "LogSigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanhshrink",
    "Softmin",
    "Softmax",
    "LogSoftmax",
]


def test_the_lectures_list_is_whole():
    assert list(ACTIVATIONS) == LECTURE


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_torchs_own(name):
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(2000, 5, generator=generator, dtype=torch.float64) * torch.logspace(-3, 1.3, 2000)[:, None].double()
    slope = torch.tensor(0.25, dtype=torch.float64)
    own = getattr(torch.nn, name)(*ARGUMENTS.get(name, ())).double()(v).detach()

    found = ACTIVATIONS[name](TORCH, v, slope)

    # Relative, but for what cancels near 0 (v - tanh(v), log(1 + tiny)) or is beyond exp(-64) here.
    torch.testing.assert_close(found, own, rtol=1e-14, atol=1e-15)
    assert (ACTIVATIONS[name](NUMPY, v.numpy(), 0.25) == found.numpy()).all()
    assert torch.isnan(ACTIVATIONS[name](TORCH, torch.full((1, 1), torch.nan, dtype=torch.float64), slope)).all()


def test_the_proof_of_a_hidden_layer_reaches_its_boundary():
    """Rows on both sides of it, so near that a fault in the last bits would change a verdict."""
    features, model = random_hidden_model("Tanh")
    subject = Unpublished(features, parameters(model), 0.0, "logit")
    rows, kinds = samples.rows(subject, 4000)

    logit = reference.logit(subject, rows)

    near = logit[np.abs(logit) < 1e-12]
    assert min((near > 0).sum(), (near <= 0).sum()) > 100
    assert kinds["on the boundary"] > 200
