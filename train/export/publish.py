"""Proves a checkpoint, and publishes it as models/<name>/<version>/ in one step."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec.structs import asdict, replace

from passfail import manifest as contract
from passfail import signing
from passfail.errors import ConfigError
from passfail.files import replacing
from passfail.manifest import File, Manifest
from passfail.measurements import Certificate
from passfail.proof import engines
from passfail.repository import versions
from train.errors import ExportError
from train.evaluation.metrics import Evaluation
from train.export import comparison, formats, javascript, mlmodel, parity
from train.export.checkpoint import Description, Kept
from train.model.logistic import LogisticModel, parameters
from train.report import report

CONFIG = "config.pbtxt"  # of Triton, beside the template here
# The certificate of a draft, until the proof replaces it.
UNPROVEN = Certificate(seed=0, rows={}, exact=0, batches=(), engines={}, others={}, versions={}, cpu=())
TARGET_ROWS = 200, 1_000  # that every engine is asked, of each kind and across the probabilities

# The description of a file in the manifest, and so in GET /model and the model card.
ABOUT = {
    "model.onnx": "ONNX: what the service runs by default",
    "model.pt": "TorchScript: the second runtime of the proof. PyTorch has deprecated it, so a later PyTorch or Python "
    "may not load it; ONNX still works then, and model.pt2 is its successor",
    "model.pt2": "torch.export: PyTorch's successor of TorchScript, proven in the same way",
    mlmodel.MLMODEL: "MLflow: how mlflow.pyfunc loads the model, and its signature",
    mlmodel.EXAMPLE: "MLflow: example rows",
    javascript.FILENAME: "JavaScript: a module for browsers and Node that loads nothing, with the same logits",
}


def export(
    description: Description, model: LogisticModel, kept: Kept, models: Path, sign: signing.Sign | None = None
) -> Manifest:
    """Prove a checkpoint and publish it as a new version, numbered after the highest version.

    A reader of the folder sees the whole version or nothing.

    Parameters
    ----------
    description, model, kept : the checkpoint's content.
    models : the folder of published models.
    sign : the function that signs the manifest's bytes, or None.

    Returns
    -------
    The Manifest of the new version.

    Raises
    ------
    ExportError : the proof fails, the export differs from the fit, or the folder can't be written.
    """
    manifest = draft(description, model)
    if faults := [*comparison.faults(manifest, description, kept), *comparison.text_faults(manifest, description.raw)]:
        raise ExportError(f"the export is not the model that was fitted: {'; '.join(faults)}; train it again")
    files = formats.graphs(model)
    certificate = parity.certificate(manifest, files, kept.x, eager=model)
    if (module := javascript.to_javascript(manifest)) is not None:
        files[javascript.FILENAME] = module
    targets = engines.prove(manifest, files, *TARGET_ROWS)
    if wrong := engines.wrong(targets, manifest.link):
        raise ExportError(f"the export does not answer as its parameters say: {', '.join(wrong)}")
    manifest = replace(manifest, files=_files(files), certificate=replace(certificate, targets=targets))
    shown = pages(manifest, description.evaluation)
    manifest = replace(manifest, files={**manifest.files, **_files(shown)})
    home = models / description.name
    try:
        home.mkdir(parents=True, exist_ok=True)
        _write_config(home, len(description.features))
        return _publish(home, manifest, {**files, **shown}, sign)
    except OSError as error:
        raise ExportError(f"{home}: can't be written: {error.strerror}") from error


def draft(description: Description, model: LogisticModel) -> Manifest:
    """The manifest of a fit, without its version, its files and its proof."""
    described: dict[str, Any] = asdict(description)
    return Manifest(
        format=contract.FORMAT,
        digest="",
        version=0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        link=description.training.options["link"],  # type: ignore[arg-type]  # the command line has checked it
        parameters=parameters(model),
        files={},
        certificate=UNPROVEN,
        **{field: described[field] for field in Manifest.__struct_fields__ if field in described},
    )


def pages(manifest: Manifest, evaluation: Evaluation | None) -> dict[str, bytes]:
    """The files {name: bytes} that show a manifest: the model card, the report and MLflow's."""
    return {
        report.CARD: (mlmodel.front_matter(manifest) + report.card(manifest, evaluation)).encode(),
        report.PAGE: report.html(manifest, evaluation).encode(),
        **mlmodel.files(manifest),
    }


def _files(made: Mapping[str, bytes]) -> dict[str, File]:
    return {name: File(hashlib.sha256(data).hexdigest(), len(data), ABOUT.get(name, "")) for name, data in made.items()}


def newest(home: Path) -> int:
    """The highest version in a model's folder, 0 if there is none. Raises ExportError."""
    try:
        return max(versions(home), default=0)
    except ConfigError as error:
        raise ExportError(str(error)) from error


def _write_config(home: Path, d: int) -> None:
    text = Path(__file__).with_name(CONFIG).read_text().format(name=home.name, d=d)
    path = home / CONFIG
    if not path.exists() or path.read_text() != text:
        with replacing(path) as temporary:
            temporary.write_text(text)


def _publish(home: Path, manifest: Manifest, files: Mapping[str, bytes], sign: signing.Sign | None) -> Manifest:
    _remove_abandoned(home)
    beside = Path(tempfile.mkdtemp(prefix=".export-", dir=home))
    try:
        beside.chmod(0o755)
        for name, data in files.items():
            _write(beside / name, data)
        while True:
            version = 1 + newest(home)
            text = replace(manifest, version=version).encode()
            _write(beside / contract.FILENAME, text)
            if sign is not None:
                _write(beside / signing.FILENAME, sign(text))
            try:
                beside.rename(home / str(version))
            except OSError:
                if not (home / str(version)).exists():
                    raise
                continue  # another export took this version: take the next
            _sync(home)
            return contract.decode(text)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _remove_abandoned(home: Path) -> None:
    """Remove the folders of killed trainers; one younger than a day may be in use."""
    for left in home.glob(".export-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
