"""The checkpoint between `make train` and `make export`: one safetensors file, with its description as JSON inside.

One file, so that it is replaced in one step; safetensors, because loading it runs no code.
"""

import os
from pathlib import Path

import msgspec
import safetensors
import torch
from safetensors.torch import load_file, save_file

from passfail.manifest import Feature, Struct, Target, Training
from train.errors import FitError
from train.evaluation.metrics import Evaluation
from train.model.logistic import LogisticModel

FOLDER = Path("checkpoints")
METADATA = "passfail"
ROWS = "rows"


class Description(Struct, frozen=True):
    """All of a checkpoint but its tensors."""

    name: str
    features: tuple[Feature, ...]
    target: Target
    threshold: float
    training: Training
    evaluation: Evaluation | None = None
    units: dict[str, str] = {}


def save(folder, description, model, rows):
    """Write <folder>/<name>.safetensors, replacing an earlier one in one step; returns its path.

    rows: training rows (n, d) for the export to be proven on, as many as it shall be; they stay in the checkpoint.
    Raises FitError where it can't be written.
    """
    path = folder / f"{description.name}.safetensors"
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    text = msgspec.json.encode(description).decode()
    tensors = {ROWS: torch.from_numpy(rows), **model.state_dict()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, {METADATA: text})
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, safetensors.SafetensorError) as error:  # the latter for a full disk
        raise FitError(f"{path}: can't be written: {getattr(error, 'strerror', None) or error}") from error
    return path


def load(folder, name):
    """Read <folder>/<name>.safetensors: (Description, LogisticModel). Raises FitError where it can't be."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise FitError(f"{path}: there is no such checkpoint; train it first (make train)")
    try:
        with safetensors.safe_open(path, "pt") as file:
            description = msgspec.json.decode(file.metadata()[METADATA], type=Description)
        options = description.training.options
        model = LogisticModel(description.features, options["hidden"], options["activation"], options["link"])
        tensors = load_file(path)
        del tensors[ROWS]
        model.load_state_dict(tensors)
    except (safetensors.SafetensorError, msgspec.MsgspecError, RuntimeError, KeyError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FitError(f"{path}: not a checkpoint of this release ({reason}); train it again") from error
    return description, model.eval()


def rows(folder, name):
    """The training rows in a checkpoint that `load` has read: float64 (n, d)."""
    with safetensors.safe_open(folder / f"{name}.safetensors", "np") as file:
        return file.get_tensor(ROWS)
