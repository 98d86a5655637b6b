"""The engines that run a model file, each as one callable.

A runtime is a callable: x float64 (n, d), C order -> (logit, probability), float64 (n,) each, for any n from 0 up.
An engine's module is imported only when that engine is chosen, so that serving ONNX never needs torch.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from passfail.errors import IntegrityError, RuntimeUnavailable

if TYPE_CHECKING:  # settings are read in a process without NumPy
    from passfail.arrays import Floats

Runtime = Callable[["Floats"], tuple["Floats", "Floats"]]

MODEL_FILES = {"onnx": "model.onnx", "torchscript": "model.pt"}


def load_runtime(name: str, model: bytes) -> Runtime:
    """Make a runtime from the bytes of its model file.

    Parameters
    ----------
    name : a key of MODEL_FILES.

    Raises
    ------
    RuntimeUnavailable : the engine is not installed.
    IntegrityError : it can't read the model.
    """
    try:
        engine = import_module(f"passfail.runtimes.{name}")
    except ModuleNotFoundError as error:
        fault = f"the runtime {name} needs {error.name}, which is not installed"
        raise RuntimeUnavailable(f"{fault}: install it, or choose another runtime") from error
    try:
        runtime: Runtime = engine.load(model)
    except Exception as error:  # each engine has its own error types, without a common base class
        raise IntegrityError(f"{name} can't load it: {str(error).splitlines()[0]}") from error
    return runtime
