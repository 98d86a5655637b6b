"""Ray Data: actors that hold the model answer the rows of a Dataset."""

from pathlib import Path
from typing import Any

from ray.data import Dataset

from passfail.batches import Scorer
from passfail.loading import load


def score(
    dataset: Dataset, path: str | Path, version: int | None = None, explained: bool = False, **options: Any
) -> Dataset:
    """Add the answer's columns to a Dataset with the model's features.

    Each actor opens the model once. A row that the service would refuse gets its error in the column `error`.

    Parameters
    ----------
    path, version : as `passfail.load` takes them; they are read here.
    explained : add each feature's contribution to the logit.
    options : further options of `Dataset.map_batches`, such as compute or num_cpus.

    Raises
    ------
    StartupError : the export must not be used.
    """
    arguments = {"model": load(path, version), "explained": explained}
    return dataset.map_batches(Scorer, fn_constructor_kwargs=arguments, batch_format="pyarrow", **options)
