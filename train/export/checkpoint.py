"""The checkpoint between `make train` and `make export`: one safetensors file with a JSON description inside.

It is one file, so that it is replaced in one step. It is safetensors, because loading that runs no code.
"""

from pathlib import Path

import msgspec
import safetensors
import torch
from safetensors.torch import load_file, save_file

from passfail.arrays import Floats
from passfail.files import replacing
from passfail.manifest import Feature, Struct, Target, Training
from train.errors import FitError
from train.evaluation.metrics import Evaluation
from train.model.logistic import LogisticModel
from train.solvers.options import Options

FOLDER = Path("checkpoints")
METADATA = "passfail"
ROWS = "rows"


class Description(Struct, frozen=True):
    """Everything in a checkpoint except its tensors."""

    name: str
    features: tuple[Feature, ...]
    target: Target
    threshold: float
    training: Training
    evaluation: Evaluation | None = None
    units: dict[str, str] = {}


def save(folder: Path, description: Description, model: LogisticModel, rows: Floats) -> Path:
    """Write <folder>/<name>.safetensors, replacing an earlier one in one step; returns its path.

    rows: training rows (n, d) that the export is proven on; they stay in the checkpoint. Raises FitError if the file
    can't be written.
    """
    path = folder / f"{description.name}.safetensors"
    text = msgspec.json.encode(description).decode()
    tensors = {ROWS: torch.from_numpy(rows), **model.state_dict()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {METADATA: text})
    except (OSError, safetensors.SafetensorError) as error:  # the latter for a full disk
        raise FitError(f"{path}: can't be written: {getattr(error, 'strerror', None) or error}") from error
    return path


def load(folder: Path, name: str) -> tuple[Description, LogisticModel]:
    """Read <folder>/<name>.safetensors. Raises FitError if it can't be read."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise FitError(f"{path}: no such checkpoint; train it first (make train)")
    try:
        with safetensors.safe_open(path, "pt") as file:
            description = msgspec.json.decode(file.metadata()[METADATA], type=Description)
        options = Options(**description.training.options)  # type: ignore[arg-type]
        model = LogisticModel(description.features, options.hidden, options.activation, options.link, options.intercept)
        tensors = load_file(path)
        del tensors[ROWS]
        model.load_state_dict(tensors)
    except (safetensors.SafetensorError, msgspec.MsgspecError, RuntimeError, KeyError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FitError(f"{path}: not a checkpoint of this release ({reason}); train the model again") from error
    return description, model.eval()


def rows(folder: Path, name: str) -> Floats:
    """The training rows in a checkpoint that `load` has read: float64 (n, d)."""
    with safetensors.safe_open(folder / f"{name}.safetensors", "np") as file:
        values: Floats = file.get_tensor(ROWS)
    return values
