"""The model files of an export, as bytes: ONNX, TorchScript and torch.export."""

import io
import logging
import math
import warnings
from typing import cast

import numpy as np
import onnx
import torch
from onnxscript import DOUBLE, opset18

from train.model.logistic import LogisticModel


def to_onnx(model: LogisticModel) -> bytes:
    """The bytes of model.onnx: input x, float64 [n, d]; outputs logit, probability, float64 [n].

    The same model gives the same bits: the exporter's notes on source lines and paths are removed.
    """
    example = torch.zeros(2, len(model.fill), dtype=torch.float64)
    # The exporter warns that torchvision is missing, which the model does not use.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec", category=FutureWarning)
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=18,
            external_data=False,
            input_names=["x"],
            output_names=["logit", "probability"],
            dynamic_shapes={"x": {0: torch.export.Dim("n")}},
            custom_translation_table={torch.ops.aten.exp.default: _exp},
        )
    assert program is not None  # torch returns None only if it writes a file
    proto = program.model_proto
    graph = proto.graph
    for part in [proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    onnx.checker.check_model(proto, full_check=True)
    return cast(bytes, proto.SerializeToString(deterministic=True))


def to_torchscript(model: LogisticModel) -> bytes:
    """The bytes of model.pt; like every TorchScript archive, they differ between runs."""
    example = torch.zeros(2, len(model.fill), dtype=torch.float64)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated", category=DeprecationWarning)
        # The constants of passfail/proof/activations.py are meant to be constants.
        warnings.filterwarnings("ignore", "torch.tensor results", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.jit.save(torch.jit.trace(model, (example,), check_trace=False), buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def to_exported_program(model: LogisticModel) -> bytes:
    """The bytes of model.pt2: torch.export's archive, without pickles and local paths."""
    example = torch.zeros(2, len(model.fill), dtype=torch.float64)
    program = torch.export.export(model, (example,), dynamic_shapes={"x": {0: torch.export.Dim("n")}})
    for node in program.graph.nodes:  # remove the notes on each step's source line
        for note in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn"):
            node.meta.pop(note, None)
    program.example_inputs = None  # they would be pickled
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _exp(x: DOUBLE) -> DOUBLE:
    """exp(x) as a power, (e^64)^(x / 64), for ONNX Runtime.

    ONNX Runtime's Exp on float64 is vectorised: it is not monotone everywhere, and a row alone and in a batch differ by
    up to 3 units in the last place. Its Pow calls the C library for each value and has neither fault. Dividing by 64 is
    exact, and the rounding of e^64 adds a few thousandths of a unit per unit of x, so the two agree within 4 units. A
    larger power would be closer, but engines that compute in float32, such as OpenVINO, can't hold it.
    """
    numbers = (onnx.numpy_helper.from_array(np.array(number)) for number in (math.exp(64), 1 / 64))
    base, share = (cast(DOUBLE, opset18.Constant(value=number)) for number in numbers)
    return opset18.Pow(base, opset18.Mul(x, share))


def graphs(model: LogisticModel) -> dict[str, bytes]:
    """The model files of an export, by name."""
    return {"model.onnx": to_onnx(model), "model.pt": to_torchscript(model), "model.pt2": to_exported_program(model)}
