"""MLServer's custom runtime for the same model.onnx, as in its documentation.

MODEL is the version's folder.
"""

import os
from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(Path(os.environ["MODEL"], "model.onnx"), options)
        return True

    async def predict(self, payload):
        names = ["logit", "probability"]
        found = self._session.run(names, {"x": NumpyCodec.decode_input(payload.inputs[0])})
        outputs = [NumpyCodec.encode_output(name, values) for name, values in zip(names, found, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
