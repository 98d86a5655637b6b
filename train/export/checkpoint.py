"""The checkpoint between fit and export: one safetensors file with a JSON description.

It is one file, so that it can be replaced in one step. It is safetensors, because loading that format runs no code.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import safetensors
import torch
from safetensors import torch as files

from passfail.arrays import Floats
from passfail.files import replacing
from passfail.manifest import PLAIN, Dates, Dialect, Example, Feature, Target
from passfail.measurements import Group, Metrics, Struct, Training
from train.errors import FitError
from train.evaluation.metrics import Evaluation
from train.model.logistic import LogisticModel
from train.solvers.options import Options

METADATA, DIGEST = "passfail", "sha256"
KEPT_ROWS = 5_000
AGAIN = "train the model again, with the same options"


def sample(x: Floats) -> Floats:
    """At most KEPT_ROWS of n values or rows, evenly spaced."""
    return x[:: -(-len(x) // KEPT_ROWS)]


class Kept(NamedTuple):
    """Training rows in the checkpoint, with the fit's logits.

    x is float64 (n, d); y, weight and logit are float64 (n,).
    """

    x: Floats
    y: Floats
    weight: Floats
    logit: Floats


class Raw(Struct, frozen=True):
    """A row as text from the table, with the fit's answer.

    Attributes
    ----------
    cells : {column of a feature: its cell as text}; None for missing.
    outcome, positive : the target's cell, and whether it is the positive value.
    logit, label : the fit's answer.
    """

    cells: dict[str, str | None]
    outcome: str
    positive: bool
    logit: float
    label: str


class Description(Struct, frozen=True):
    """Everything in a checkpoint except its tensors; `kept` has the metrics on the kept rows."""

    name: str
    features: tuple[Feature, ...]
    target: Target
    threshold: float
    training: Training
    examples: tuple[Example, ...]
    evaluation: Evaluation | None = None
    units: dict[str, str] = {}
    kept: Metrics | None = None
    raw: tuple[Raw, ...] = ()
    arguments: dict[str, Any] = {}
    dialect: Dialect = PLAIN
    dates: dict[str, Dates] = {}
    pooled: dict[str, str] = {}
    fold_case: bool = False
    groups: tuple[Group, ...] = ()


def save(folder: Path, description: Description, model: LogisticModel, kept: Kept) -> Path:
    """Write <folder>/<name>.safetensors, which replaces an earlier one in one step.

    Returns its path. Raises FitError if the file can't be written.
    """
    path = folder / f"{description.name}.safetensors"
    text = msgspec.json.encode(description).decode()
    rows = {f"kept.{field}": torch.from_numpy(values) for field, values in kept._asdict().items()}
    tensors = {name: tensor.contiguous() for name, tensor in {**rows, **model.state_dict()}.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            files.save_file(tensors, temporary, {METADATA: text, DIGEST: _digest(text, tensors)})
    except (OSError, safetensors.SafetensorError) as error:  # the latter for a full disk
        raise FitError(f"{path}: can't be written: {getattr(error, 'strerror', None) or error}") from error
    return path


def load(folder: Path, name: str) -> tuple[Description, LogisticModel, Kept]:
    """Read <folder>/<name>.safetensors.

    Raises FitError if it can't be read, or if any bit of it was changed.
    """
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise FitError(f"{path}: no such checkpoint; train it with the same --data or --name (make train DATA=...)")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata()
        tensors = files.load_file(path)
        if metadata[DIGEST] != _digest(metadata[METADATA], tensors):
            found = (
                "the file was changed after the fit, or another version of the trainer wrote it (its digest differs)"
            )
            raise FitError(f"{path}: {found}; {AGAIN}")
        description = msgspec.json.decode(metadata[METADATA], type=Description)
        if description.name != name:
            raise FitError(f"{path}: holds the model {description.name}; train {name}, or export {description.name}")
        kept = Kept(*(tensors.pop(f"kept.{field}").numpy() for field in Kept._fields))
        options = msgspec.convert(description.training.options, Options)
        model = LogisticModel(description.features, options.hidden, options.activation, options.link, options.intercept)
        model.load_state_dict(tensors)
    except (safetensors.SafetensorError, msgspec.MsgspecError, RuntimeError, KeyError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0]
        found = "the file is damaged, or another version of the trainer wrote it"
        raise FitError(f"{path}: {found} ({reason}); {AGAIN}") from error
    return description, model.eval(), kept


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    """The SHA-256 of the description and of each tensor's name, type, shape and values."""
    return hashlib.sha256(text.encode() + files.save(tensors)).hexdigest()
