"""Ray Data: actors that hold the model answer the rows of a Dataset."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from ray.data import Dataset

from passfail import batches
from passfail.loading import load
from passfail.model import Model


class Scorer:
    """A callable class for `Dataset.map_batches`; each actor opens the model once."""

    def __init__(self, model: Model, explained: bool = False) -> None:
        self._score = batches.Scorer(model, explained=explained)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self._score(batch)


def score(
    dataset: Dataset, path: str | Path, version: int | None = None, explained: bool = False, **options: Any
) -> Dataset:
    """Add the answer's columns to a Dataset with the model's features.

    A row that the service would refuse gets its error in the column `error`.

    Parameters
    ----------
    path, version : as `passfail.load` takes them; they are read here.
    explained : add each feature's contribution to the logit.
    options : further options of `Dataset.map_batches`, such as compute or num_cpus.

    Raises
    ------
    StartupError : the export must not be used.
    """
    arguments = load(path, version), explained
    return dataset.map_batches(Scorer, fn_constructor_args=arguments, batch_format="pyarrow", **options)
