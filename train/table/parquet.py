"""Parquet files, read a batch of rows at a time."""

import re
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from passfail.commandline import option
from train.errors import DataError
from train.table.parts import Block, Cells, Job, Part, usable
from train.table.reading import Reading

BATCH = 1 << 15  # rows decoded at a time, or fewer: at most CELLS cells
CELLS = 1 << 20


class Parquet(Part):
    """A Parquet file; its texts are trimmed and may mean missing, like cells of CSV."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path, reading)
        with self._damage():
            self.schema = pq.read_schema(path)

    def header(self) -> list[str]:
        """The names of the columns, without the unnamed index that pandas adds."""
        names = [name for name in self.schema.names if not re.fullmatch(r"__index_level_\d+__", name)]
        names, self.warnings, self.unnamed = usable(names, str(self.path))
        return names

    def blocks(self, names: Sequence[str], as_text: Set[str]) -> Iterator[Job]:
        for name in names:
            if pa.types.is_nested(kind := self.schema.field(name).type):
                raise self._unusable(name, f"holds {kind}; a column needs one value a row")
        # Stream the file: otherwise Arrow would hold each whole row group, and read the next ones ahead.
        with self._damage(), pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(max(1, min(BATCH, CELLS // len(names))), columns=list(names)):
                yield partial(self._block, batch, as_text)

    def _block(self, batch: pa.RecordBatch, as_text: Set[str]) -> Block:
        return {name: self._column(name, batch[name], name in as_text) for name in batch.schema.names}

    def _column(self, name: str, array: pa.Array, as_text: bool) -> Cells:
        lost = [float(text) for text in ("inf", "-inf") if text in self.missing]
        if lost and pa.types.is_floating(array.type):
            array = pc.if_else(pc.is_in(array, pa.array(lost, array.type)), pa.scalar(None, array.type), array)
        try:
            return self.cells(array, as_text)
        except pa.ArrowException as error:  # such as bytes that are not UTF-8, or a UUID
            raise self._unusable(name, f"its {array.type} can't be read as numbers or as text") from error

    def _unusable(self, name: str, found: str) -> DataError:
        return DataError(f"{self.path}: column '{name}': {found}; leave it out with {option('--drop', name)}")

    def line(self, row: int | None) -> str:
        return "" if row is None else f" row {row + 1}:"

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: not a Parquet file: {str(error).splitlines()[0]}; write it again") from error
