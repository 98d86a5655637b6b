"""MLflow's python_function flavour: the loader that an export's MLmodel names."""

from pathlib import Path

import pandas

from passfail.batches import Export
from passfail.codecs.answers import names
from passfail.manifest import FILENAME, decode
from passfail.model import Model


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
    files = {name: (folder / name).read_bytes() for name in decode(text).files}
    return PyFunc(Export({FILENAME: text, **files}).open())
