"""Dask: answers the partitions of a DataFrame in the processes that hold them."""

from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pandas
import pyarrow as pa
from dask.dataframe.utils import make_meta

from passfail.batches import Scorer
from passfail.loading import load


def score(frame: dd.DataFrame, path: str | Path, version: int | None = None, explained: bool = False) -> dd.DataFrame:
    """Add the answer's columns, with Arrow's types, to a DataFrame with the model's features.

    A row that the service would refuse gets its error in the column `error`.

    Parameters
    ----------
    path, version : as `passfail.load` takes them; they are read here.
    explained : add each feature's contribution to the logit.

    Raises
    ------
    StartupError : the export must not be used.
    """
    model = load(path, version)

    def answered(part: pandas.DataFrame) -> Any:
        table = Scorer(model, explained=explained)(pa.Table.from_pandas(part, preserve_index=False))
        answers = table.drop_columns([str(name) for name in part.columns]).to_pandas(types_mapper=pandas.ArrowDtype)
        return pandas.concat([part, answers.set_axis(part.index)], axis=1)

    return frame.map_partitions(answered, meta=answered(make_meta(frame)))
