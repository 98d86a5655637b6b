"""The comparison of a published export with a new fit, field by field."""

import hashlib
import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from passfail.manifest import Manifest
from train.export import formats
from train.export.checkpoint import Description
from train.model.logistic import LogisticModel, parameters


class Difference(NamedTuple):
    """A field that differs: its path, the published value and the new value."""

    field: str
    published: object
    new: object

    @property
    def size(self) -> float:
        """The difference of two numbers, as a share of the larger one; NaN for anything else."""
        if not all(isinstance(value, (int, float)) for value in (self.published, self.new)):
            return math.nan
        a, b = float(str(self.published)), float(str(self.new))
        return abs(a - b) / max(abs(a), abs(b))

    def __str__(self) -> str:
        size = "" if math.isnan(self.size) else f" (differs by {self.size:.1e} of it)"
        return f"{self.field}: {self.published} in the export, {self.new} now{size}"


def compare(
    manifest: Manifest, files: Mapping[str, bytes], description: Description, model: LogisticModel
) -> dict[str, list[Difference]]:
    """Compare a published export with a new fit.

    Parameters
    ----------
    manifest, files : of the export.
    description, model : of the new fit.

    Returns
    -------
    {part of the export: its differences}.
    """
    training, fit = manifest.training, description.training
    parts = {
        "table": (training.data_sha256, fit.data_sha256),
        "features": (manifest.features, description.features),
        "target": (manifest.target, description.target),
        "options": (training.options, fit.options),
        "threshold": (manifest.threshold, description.threshold),
        "parameters": (manifest.parameters, parameters(model)),
        "coefficient table": (training.statistics, fit.statistics),
        "metrics": ((training.metrics, training.rows, training.positives), (fit.metrics, fit.rows, fit.positives)),
        "held-out metrics": ((training.held_out, manifest.groups), (fit.held_out, description.groups)),
        "calibration": (training.calibration, fit.calibration),
        "drift baseline": (training.baseline, fit.baseline),
        "notes and warnings": ((training.notes, training.warnings), (fit.notes, fit.warnings)),
        "versions": (training.versions, fit.versions),
    }
    found = {
        name: list(_differences(name, msgspec.to_builtins(old), msgspec.to_builtins(new)))
        for name, (old, new) in parts.items()
    }
    for name, make in formats.makers().items():
        found[name] = list(_differences(name, _digests(files[name]), _digests(make(model))))
    return found


def _digests(data: bytes) -> dict[str, str]:
    """The SHA-256 of each member of a model file, without torch's serial number, which varies."""
    members = {"": data}
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    varies = ("serialization_id", ".debug_pkl")
    return {name: hashlib.sha256(part).hexdigest() for name, part in members.items() if not name.endswith(varies)}


def _differences(field: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in {**old, **new}:
            yield from _differences(f"{field}.{name}", old.get(name), new.get(name))
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{field}[{index}]", a, b)
    elif old != new:
        yield Difference(field, old, new)
