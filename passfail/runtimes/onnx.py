"""Runs model.onnx on ONNX Runtime's CPU provider, one thread."""

import os

# Official builds since 1.29 send telemetry unless this is set before the library is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime


def load(model):
    """model: the bytes of model.onnx. Returns a runtime as serve/runtimes/__init__.py describes it."""
    options = onnxruntime.SessionOptions()
    # Its thread pool would be sized by the host, not by the container, and a request is microseconds of work.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs = ["logit", "probability"]

    def run(x):
        return tuple(session.run(outputs, {"x": x}))

    return run
