"""Triton's backend `onnxruntime`, which its wheel lacks, on the service's own runtime."""

from pathlib import Path

import torch
import triton_python_backend_utils as triton

from passfail.runtimes import load_runtime


class TritonPythonModel:
    """The backend, by Triton's names.

    Tensors come and go by torch: the wheel's 0.7.0 misreads arrays of NumPy 2.
    """

    def initialize(self, args):
        file = Path(args["model_repository"], args["model_version"], "model.onnx")
        self.run = load_runtime("onnx", file.read_bytes())

    def execute(self, requests):
        return [self.answer(triton.get_input_tensor_by_name(request, "x")) for request in requests]

    def answer(self, x):
        outputs = zip(("logit", "probability"), self.run(torch.from_dlpack(x.to_dlpack()).numpy()), strict=True)
        return triton.InferenceResponse([triton.Tensor.from_dlpack(n, torch.from_numpy(v)) for n, v in outputs])
