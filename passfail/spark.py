"""Spark: answers the rows of a DataFrame in the processes that hold them."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from passfail.batches import Scorer
from passfail.loading import load


def score(frame: DataFrame, path: str | Path, version: int | None = None, explained: bool = False) -> DataFrame:
    """Add the answer's columns to a DataFrame with the model's features.

    A broadcast sends the model to each worker once; each process verifies it and opens it once. A row that the service
    would refuse gets its error in the column `error`.

    Parameters
    ----------
    path, version : as `passfail.load` takes them; they are read on the driver.
    explained : add each feature's contribution to the logit.

    Raises
    ------
    StartupError : the export must not be used.
    """
    model = load(path, version)
    schema = StructType(list(frame.schema.fields))
    for name, kind in Scorer(model, explained=explained).types(frame.columns).items():
        schema.add(name, kind)
    sent = frame.sparkSession.sparkContext.broadcast(model)

    def answered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = Scorer(sent.value, explained=explained)
        for batch in batches:
            yield from scorer(batch).to_batches()

    return frame.mapInArrow(answered, schema)
