"""MLflow's python_function flavour: the loader that an export's MLmodel names."""

from pathlib import Path

import pandas

from passfail.codecs.answers import names
from passfail.loading import received
from passfail.manifest import FILENAME, decode
from passfail.model import Model
from passfail.repository import read_verified


class PyFunc:
    """A model with the interface that MLflow calls."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, model_input: pandas.DataFrame, params: object = None) -> pandas.DataFrame:
        """The answer's columns for each row. Raises InvalidInstance with the wrong places."""
        found = self.model.predict(model_input)
        manifest = self.model.manifest
        stable = found.stable if found.stable is not None else [None] * len(model_input)
        values = [found.verdict, found.label, found.probability, found.logit, stable, manifest.name, manifest.version]
        return pandas.DataFrame(dict(zip(names(manifest), values, strict=True)), index=model_input.index)


def _load_pyfunc(path: str) -> PyFunc:
    """Open an export, whose folder a registry may have moved. Raises StartupError."""
    folder = Path(path)
    text = (folder / FILENAME).read_bytes()
    return PyFunc(received(text, "onnx", read_verified(folder, decode(text))["model.onnx"]))
