"""The replay of an export's recorded examples in other engines, from the same bytes."""

from pathlib import Path

import numpy as np

from passfail.columns import row
from passfail.manifest import Manifest
from passfail.proof.engines import onnx_reference
from passfail.runtimes import Runtime
from train.errors import ExportError
from train.export import parity

# The largest error of a probability, with a margin, in engines that always compute in float32.
FLOAT32 = {"openvino": 1e-5}


def conform(models: Path, name: str, version: int | None = None) -> list[str]:
    """Replay a version's examples in each installed engine that the service does not use.

    Returns lines of text. Raises ExportError if an engine answers differently.
    """
    folder, manifest, files = parity.published(models, name, version)
    engines = {"onnx reference": onnx_reference(files["model.onnx"]), **parity.others(files)}
    lines = [f"{folder}: unchanged, {len(manifest.examples)} recorded examples"]
    lines += [replay(manifest, engine, run) for engine, run in engines.items()]
    return lines + ["openvino: not installed (make conform installs it)"] * ("openvino" not in engines)


def replay(manifest: Manifest, engine: str, run: Runtime) -> str:
    """Answer the recorded examples in an engine, and return a line with the largest error.

    Raises ExportError if the error is too large.
    """
    x = np.array([row(manifest.features, example.instance) for example in manifest.examples])
    expected = np.array([example.probability for example in manifest.examples])
    error = float(np.abs(np.ravel(run(x)[1]) - expected).max())
    limit = FLOAT32.get(engine, 1e-15)
    if not error <= limit:
        raise ExportError(f"{engine}: largest error of a probability {error:.2g}, more than {limit:.0e}")
    return f"{engine}: largest error of a probability {error:.2g}"
