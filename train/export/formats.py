"""The model files of an export, as bytes: ONNX, TorchScript and torch.export's."""

import io
import logging
import math
import warnings

import numpy as np
import onnx
import torch
from onnxscript import opset18


def to_onnx(model):
    """The bytes of model.onnx: input x float64 [n, d], outputs logit and probability float64 [n].

    The same model gives the same bits: the exporter's notes about source lines and paths are taken out.
    """
    example = torch.zeros(2, len(model.fill), dtype=torch.float64)
    # The exporter reports that torchvision, which we don't use, is missing.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
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
    proto = program.model_proto
    graph = proto.graph
    for part in [proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def to_torchscript(model):
    """The bytes of model.pt. Not the same from run to run: TorchScript archives never are."""
    example = torch.zeros(2, len(model.fill), dtype=torch.float64)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated", category=DeprecationWarning)
        # Those are the constants of passfail/proof/activations.py, and constants they are.
        warnings.filterwarnings("ignore", "torch.tensor results", category=torch.jit.TracerWarning)
        torch.jit.save(torch.jit.trace(model, (example,), check_trace=False), buffer)
    return buffer.getvalue()


def to_exported_program(model):
    """The bytes of model.pt2, TorchScript's successor: torch.export's archive, no pickle and no path of ours in it."""
    example = torch.zeros(2, len(model.fill), dtype=torch.float64)
    program = torch.export.export(model, (example,), dynamic_shapes={"x": {0: torch.export.Dim("n")}})
    for node in program.graph.nodes:  # notes on the source line that each step came from
        for note in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn"):
            node.meta.pop(note, None)
    program.example_inputs = None  # they would be pickled
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _exp(x):
    """exp(x) as a power, (e^64)^(x / 64), for ONNX Runtime.

    Its Exp on float64 is vectorised: it decreases here and there, and answers differently for a row alone and in a
    batch (up to 3 units in the last place). Its Pow asks the C library value by value and does neither. Dividing by
    64 is exact, and so is e^64 to a few thousandths of a unit per unit of x, so the two agree within 4 units. A larger
    power would be closer still, but an engine that computes in float32, as OpenVINO's does, can't hold it.
    """
    base = opset18.Constant(value=onnx.numpy_helper.from_array(np.float64(math.exp(64))))
    share = opset18.Constant(value=onnx.numpy_helper.from_array(np.float64(1 / 64)))
    return opset18.Pow(base, opset18.Mul(x, share))
