"""The same bytes in other engines: an export's folder, unchanged, answers the recorded examples elsewhere."""

import contextlib

import numpy as np

from passfail.columns import row
from tests.support import triton
from train.errors import ExportError
from train.export import parity

# Engines that compute in float32, whatever the model says: of a probability, what that costs and a little more.
FLOAT32 = {"openvino": 1e-5}


def conform(models, name, number=None):
    """Replay the examples of a published version in every engine at hand that is not the service's own.

    Returns lines of text, one an engine. Raises ExportError where one answers otherwise than it should.
    """
    folder, manifest, files = parity.published(models, name, number)
    x = np.array([row(manifest.features, example.instance) for example in manifest.examples])
    wanted = np.array([example.probability for example in manifest.examples])
    lines, wrong = [f"{folder}: unchanged, on {len(x)} recorded examples"], []
    engines = {"onnx reference": parity.reference(files["model.onnx"]), **parity.others(files)}
    with contextlib.ExitStack() as stack:
        if triton.installed():
            engines["triton"] = stack.enter_context(triton.serving(folder))
        for engine, run in engines.items():
            _, probability = run(x)
            off = float(np.abs(np.ravel(probability) - wanted).max())
            lines.append(f"{engine}: largest difference of a probability {off:.2g}")
            if not off <= FLOAT32.get(engine, 1e-15):
                wrong.append(engine)
    if wrong:
        raise ExportError("; ".join(lines) + f": {', '.join(wrong)} can't stand in for the service")
    absent = [engine for engine in ("openvino", "triton") if engine not in engines]
    return lines + [f"{engine}: not installed (make conform installs it)" for engine in absent]
