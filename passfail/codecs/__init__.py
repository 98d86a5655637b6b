"""Codecs of rows and answers: JSON, CSV and tensors, with one rule for each column."""

from passfail.codecs.csv_rows import CsvRows
from passfail.codecs.json_rows import JsonRows
from passfail.codecs.tensor_row import TensorRow
from passfail.codecs.tensors import TensorRows
from passfail.columns import Columns
from passfail.manifest import Manifest


class Codecs:
    """The decoders and encoders of one model's rows; a body may have at most max_rows rows."""

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        self.columns = Columns(manifest, max_rows)
        self.json, self.csv = JsonRows(manifest, self.columns), CsvRows(manifest, self.columns)
        self.tensors, self.tensor_row = TensorRows(self.columns), TensorRow(manifest, self.columns)
