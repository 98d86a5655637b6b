"""Codecs of rows and answers: JSON, CSV and tensors, with one rule for each column."""

from dataclasses import dataclass

from passfail.codecs.csv_rows import CsvRows
from passfail.codecs.json_rows import JsonRows
from passfail.codecs.tensor_row import TensorRow
from passfail.codecs.tensors import TensorRows
from passfail.columns import Columns
from passfail.manifest import Manifest


@dataclass(frozen=True)
class Codecs:
    """The decoders and encoders of one model's rows."""

    columns: Columns
    json: JsonRows
    csv: CsvRows
    tensors: TensorRows
    tensor_row: TensorRow


def codecs(manifest: Manifest, max_rows: int) -> Codecs:
    """The codecs of a model; a body may have at most max_rows rows."""
    columns = Columns(manifest, max_rows)
    return Codecs(
        columns,
        JsonRows(manifest, columns),
        CsvRows(manifest, columns),
        TensorRows(columns),
        TensorRow(manifest, columns),
    )
