"""From a checkpoint to models/<name>/<version>/, proven first and published in one step."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from passfail import manifest as contract
from passfail import signing
from passfail.columns import row
from passfail.manifest import Example, File, Manifest
from passfail.runtimes import load_runtime
from train.errors import ExportError
from train.export import formats, parity
from train.model.logistic import parameters
from train.report import report

CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: 65536
input [ {{ name: "x" data_type: TYPE_FP64 dims: [ {d} ] }} ]
output [
  {{ name: "logit" data_type: TYPE_FP64 dims: [ 1 ] reshape: {{ shape: [ ] }} }},
  {{ name: "probability" data_type: TYPE_FP64 dims: [ 1 ] reshape: {{ shape: [ ] }} }}
]
"""


# What the manifest, and so GET /model and the model card, say of a file.
ABOUT = {
    "model.onnx": "ONNX: what the service runs unless told otherwise",
    "model.pt": "TorchScript: the second opinion of the proof; deprecated by PyTorch, so a later PyTorch or Python may "
    "not load it: then the default, ONNX, goes on, and model.pt2 is its successor",
    "model.pt2": "torch.export: PyTorch's successor of TorchScript, proven alike",
}


def export(description, model, rows, models, sign_with=None):
    """Export a checkpoint's (Description, LogisticModel, training rows) into the repository folder `models`.

    sign_with: the Ed25519 private key that signs the manifest, if there is one.

    Returns the Manifest of the new version, the integer after the highest one there. A reader of the folder sees the
    whole version or nothing. Raises ExportError where the proof fails or the folder can't be written.
    """
    files = {
        "model.onnx": formats.to_onnx(model),
        "model.pt": formats.to_torchscript(model),
        "model.pt2": formats.to_exported_program(model),
    }
    manifest = _describe(description, model, rows, files)
    pages = {
        report.CARD: report.card(manifest, description.evaluation).encode(),
        report.PAGE: report.html(manifest, description.evaluation).encode(),
    }
    manifest = msgspec.structs.replace(manifest, files={**manifest.files, **_files(pages)})
    home = Path(models) / description.name
    try:
        home.mkdir(parents=True, exist_ok=True)
        _write_config(home, len(description.features))
        return _publish(home, manifest, {**files, **pages}, sign_with)
    except OSError as error:
        raise ExportError(f"{home}: can't be written: {error.strerror}") from error


def _describe(description, model, rows, files):
    """The manifest, all but its version and the pages that show it; the proof is part of it."""
    draft = Manifest(
        format=contract.FORMAT,
        digest="",
        name=description.name,
        version=0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        features=description.features,
        target=description.target,
        link=description.training.options["link"],
        threshold=description.threshold,
        parameters=parameters(model),
        files=_files(files),
        examples=(),
        certificate=None,
        training=description.training,
        units=description.units,
    )
    certificate = parity.certificate(draft, files, rows, eager=model)
    instances = example_instances(draft.features)
    answer = load_runtime("onnx", files["model.onnx"])
    logit, probability = answer(np.array([row(draft.features, instance) for instance in instances]))
    examples = zip(instances, logit.tolist(), probability.tolist(), strict=True)
    return msgspec.structs.replace(
        draft, certificate=certificate, examples=tuple(Example(*example) for example in examples)
    )


def _files(files):
    return {
        name: File(hashlib.sha256(data).hexdigest(), len(data), ABOUT.get(name, "")) for name, data in files.items()
    }


def example_instances(features):
    """Rows to record, as instances: across the training range in four steps, as far again beyond it, and missing.

    Made from the features' ranges and levels, not taken from the table: rows of the table may be personal data.
    """
    instances = []
    for step, share in enumerate([0.0, 1 / 3, 2 / 3, 1.0, 2.0]):
        instances.append(
            {
                f.name: f.levels[step % len(f.levels)]
                if f.kind == "categorical"
                else f.minimum + share * (f.maximum - f.minimum)
                for f in features
            }
        )
    for feature in features:
        if feature.nullable:
            instances.append({**instances[1], feature.name: None})
    return instances


def newest(home):
    """The highest version in a model's folder, 0 where there is none."""
    return max((int(path.name) for path in home.glob("[0-9]*") if path.name.isdigit()), default=0)


def _write_config(home, d):
    text = CONFIG.format(name=home.name, d=d)
    path = home / "config.pbtxt"
    if not path.exists() or path.read_text() != text:
        beside = home / f".config.{os.getpid()}.tmp"
        beside.write_text(text)
        beside.replace(path)


def _publish(home, manifest, files, sign_with):
    _sweep(home)
    beside = Path(tempfile.mkdtemp(prefix=".export-", dir=home))
    try:
        beside.chmod(0o755)
        for name, data in files.items():
            _write(beside / name, data)
        while True:
            version = 1 + newest(home)
            numbered = msgspec.structs.replace(manifest, version=version)
            text = numbered.encode()
            _write(beside / contract.FILENAME, text)
            if sign_with is not None:
                _write(beside / signing.FILENAME, sign_with.sign(text))
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


def _sweep(home):
    """Remove what trainers that were killed have left; a folder younger than a day may be one that is at work."""
    for left in home.glob(".export-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)


def _write(path, data):
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
