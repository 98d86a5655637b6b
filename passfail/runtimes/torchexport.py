"""Runs model.pt2 of torch.export, PyTorch's successor of TorchScript, for the proof only."""

import io

import torch

from passfail.runtimes import Runtime
from passfail.runtimes.torchscript import in_torch


def load(model: bytes) -> Runtime:
    """Open the bytes of model.pt2."""
    return in_torch(torch.export.load(io.BytesIO(model)).module())
