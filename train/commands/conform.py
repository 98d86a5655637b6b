"""The command conform: replay a version's examples in other engines, from the same bytes."""

from argparse import Namespace

import numpy as np

from passfail.columns import row
from passfail.manifest import Manifest
from passfail.proof.engines import onnx_reference
from passfail.runtimes import Runtime
from train.arguments import model_name
from train.errors import ExportError
from train.export import parity

# The largest error of a probability, with a margin, in engines that always compute in float32.
FLOAT32 = {"openvino": 1e-5}


def run(args: Namespace) -> None:
    """Replay the examples in each installed engine that the service does not use.

    Raises ExportError if an engine answers differently.
    """
    folder, manifest, files = parity.published(args.models, model_name(args), args.version)
    engines = {"onnx reference": onnx_reference(files["model.onnx"]), **parity.uncertified(files)}
    print(f"{folder}: unchanged, {len(manifest.examples)} recorded examples")
    for engine, answer in engines.items():
        print(replay(manifest, engine, answer))
    if "openvino" not in engines:
        print("openvino: not installed (make conform installs it)")


def replay(manifest: Manifest, engine: str, answer: Runtime) -> str:
    """Answer the recorded examples in an engine, and return a line with the largest error.

    Raises ExportError if the error is too large.
    """
    x = np.array([row(manifest.features, example.instance) for example in manifest.examples])
    expected = np.array([example.probability for example in manifest.examples])
    error = float(np.abs(np.ravel(answer(x)[1]) - expected).max())
    limit = FLOAT32.get(engine, 1e-15)
    if not error <= limit:
        raise ExportError(f"{engine}: largest error of a probability {error:.2g}, more than {limit:.0e}")
    return f"{engine}: largest error of a probability {error:.2g}"
