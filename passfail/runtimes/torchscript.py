"""Runs model.pt on TorchScript, one thread; only runtimes/ and train/ import torch.

PyTorch has deprecated TorchScript (2.13 warns at every load). It stays as the second runtime that the parity tests and
the shadow need. ONNX is the default.
"""

import io
import warnings
from collections.abc import Callable

import torch

from passfail.arrays import Floats
from passfail.runtimes import Runtime


def load(model: bytes) -> Runtime:
    """Open the bytes of model.pt."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated", category=DeprecationWarning)
        # Freezing computes constant expressions once, not for each request: it saves a sixth of a row's time.
        module = torch.jit.freeze(torch.jit.load(io.BytesIO(model), map_location="cpu").eval())  # type: ignore[no-untyped-call]
    return in_torch(module)


def in_torch(module: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> Runtime:
    """A module of PyTorch as a runtime."""

    def run(x: Floats) -> tuple[Floats, Floats]:
        with torch.inference_mode():
            logit, probability = module(torch.from_numpy(x))
        return logit.numpy(), probability.numpy()

    return run
