"""Runs model.onnx on ONNX Runtime's CPU provider, one thread."""

import os

# Official builds since 1.29 send telemetry unless this is set before the library is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime

from passfail.arrays import Floats
from passfail.runtimes import Runtime

MOST_VALUES = 2**14  # values of x in a run: more would leave the CPU's cache, and ONNX Runtime would keep their memory


def load(model: bytes) -> Runtime:
    """Open the bytes of model.onnx."""
    options = onnxruntime.SessionOptions()
    # ONNX Runtime would size its thread pool by the host, not by the container, and a request takes microseconds.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs = ["logit", "probability"]

    def run(x: Floats) -> tuple[Floats, Floats]:
        if x.size <= MOST_VALUES:
            logit, probability = session.run(outputs, {"x": x})
            return logit, probability
        rows = max(1, MOST_VALUES // x.shape[1])
        parts = [session.run(outputs, {"x": x[at : at + rows]}) for at in range(0, len(x), rows)]
        logit, probability = map(np.concatenate, zip(*parts, strict=True))
        return logit, probability

    return run
