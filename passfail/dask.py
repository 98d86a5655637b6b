"""Dask: answers the partitions of a DataFrame in the processes that hold them."""

from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pandas
import pyarrow as pa

from passfail.batches import Export, Scorer


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
    export = Export.read(path, version)
    return frame.map_partitions(_answered, export, explained, meta=_answered(frame._meta, export, explained))


def _answered(part: pandas.DataFrame, export: Export, explained: bool) -> Any:
    table = Scorer(export.open(), explained=explained)(pa.Table.from_pandas(part, preserve_index=False))
    answers = table.drop_columns([str(name) for name in part.columns]).to_pandas(types_mapper=pandas.ArrowDtype)
    return pandas.concat([part, answers.set_axis(part.index)], axis=1)
