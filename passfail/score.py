"""Scores files: CSV, Parquet, or a folder of parts, on all cores, in constant memory.

A row of CSV is copied to the output, with the cells that POST /predict would add. A file appears under its name only
when it is complete, and its receipt after it.
"""

import hashlib
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from passfail.arrays import Floats
from passfail.batches import Scorer, array, coded, problems
from passfail.codecs.answers import added
from passfail.codecs.csv_rows import csv_line
from passfail.csv_blocks import DETECTED, CsvBlocks, CsvOptions, Scored, records
from passfail.errors import ConfigError, InvalidInstance, RequestError
from passfail.figures import Figures
from passfail.files import replacing
from passfail.spelling import outcome
from passfail.threads import in_order

ROWS, GROUP = 2**16, 2**18  # rows of Parquet answered at a time, and written as a group
PARQUET_END = ".parquet"
ENDS = (".csv", ".csv.gz", ".csv.zst", PARQUET_END)
WANTED = f"{', '.join(ENDS[:-1])} or {PARQUET_END}"
TEXTS = (".tsv", ".txt", ".tsv.gz", ".txt.gz", ".psv", ".md")  # other names of CSV that is read
RECEIPT = ".receipt.json"
PACKAGES = ("numpy", "onnxruntime", "pyarrow", "torch")

Progress = Callable[[int, float], object]
Write = Callable[[Any], object]  # takes a block's `Scored.data`


class Files:
    """Scores files with one model.

    Parameters
    ----------
    scorer : if it is strict, an invalid row is an error, and nothing is written.
    progress : called after each block with the rows answered and the seconds taken.
    options : on the layout of CSV. By default it has commas, or the training file's layout.
    """

    def __init__(
        self, scorer: Scorer, progress: Progress = lambda rows, took: None, options: CsvOptions = DETECTED
    ) -> None:
        self.scorer, self._progress, self._options = scorer, progress, options
        self.manifest = scorer.model.manifest
        self._threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.target = self.manifest.target

    def score(self, source: Path, out: Path) -> dict[str, Any]:
        """Score a file, write its receipt beside it, and return the receipt.

        Raises
        ------
        ConfigError : a file can't be read or written, or its kind is unknown.
        RequestError : the rows are not rows of this model; if the scorer is strict, one row is invalid.
        """
        for path, ends in ((source, (*ENDS, *TEXTS)), (out, ENDS)):
            if not path.name.endswith(ends):
                raise ConfigError(f"{path}: its name must end in {WANTED}; save an Excel sheet as CSV")
        if source.resolve() == out.resolve():
            raise ConfigError(f"{out}: is also the input; choose another output")
        parquet = out.name.endswith(PARQUET_END)
        with _named(source), replacing(out) as temporary:
            with _named(out):
                temporary.touch()
            with (_parquet_sink if parquet else _csv_sink)(temporary) as write:
                if source.name.endswith(PARQUET_END):
                    summary = self._parquet(source, write, parquet)
                else:
                    with pa.input_stream(str(source), compression="detect") as stream:
                        summary = self.csv(stream, write, parquet)
        receipt = {**self._asked(source), **summary, "output": _described(out)}
        with _named(_receipt(out)), replacing(_receipt(out)) as temporary:
            temporary.write_text(json.dumps(receipt, indent=1) + "\n")
        return receipt

    def folder(self, source: Path, out: Path) -> list[dict[str, Any]]:
        """Score each part of a folder into a folder, except parts that a receipt shows as scored.

        As in training, files whose names begin with . or _ are not parts. Raises ConfigError as `score`.
        """
        files = [file for file in source.iterdir() if file.name[0] not in "._" and not file.name.endswith(RECEIPT)]
        if others := [file for file in files if not (file.is_file() and file.name.endswith(ENDS))]:
            raise ConfigError(f"{others[0]}: not a part: its name must end in {WANTED}; move it to another folder")
        if not files:
            raise ConfigError(f"{source}: holds no file whose name ends in {WANTED}")
        with _named(out):
            out.mkdir(parents=True, exist_ok=True)
        return [self._done(part, out / part.name) or self.score(part, out / part.name) for part in sorted(files)]

    def stream(self, source: BinaryIO, out: BinaryIO) -> dict[str, Any]:
        """Score CSV from one stream to another. Raises as `score`."""

        def write(data: Any) -> None:
            with _named("standard output"):
                out.write(data)
                out.flush()

        with _named("standard input"):
            summary = self.csv(source, write)
        write(b"\n")
        return summary

    def _done(self, source: Path, out: Path) -> dict[str, Any] | None:
        """The receipt of a part; None unless this model scored it and no file changed since."""
        try:
            receipt: dict[str, Any] = json.loads(_receipt(out).read_bytes())
            same = {**receipt, **self._asked(source), "output": _described(out)} == receipt
        except (OSError, ValueError):
            return None
        return receipt if same else None

    def _asked(self, source: Path) -> dict[str, Any]:
        """Describe the model and the input, for a receipt."""
        return {
            "model": self.manifest.name, "version": self.manifest.version, "digest": self.manifest.digest,
            "answer": self.scorer.names, "input": _described(source),
            **({"given": self._options._asdict()} if any(self._options) else {}),
        }  # fmt: skip

    def csv(self, stream: Any, write: Write, parquet: bool = False) -> dict[str, Any]:
        """Score CSV from a stream of bytes; `write` takes the header, then each `Scored.data`."""
        layout, header, blocks = records(stream, self.scorer.columns, self._options)
        work = CsvBlocks(self.scorer, self.outcome, layout, header, parquet)
        if not parquet:
            write(csv_line([*header, *added(header, self.scorer.names)], layout.separator).encode())
        return self._run(work, blocks, write)

    def _parquet(self, source: Path, write: Write, parquet: bool) -> dict[str, Any]:
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(source)
        names = file.schema_arrow.names
        if not parquet:
            if nested := [field.name for field in file.schema_arrow if pa.types.is_nested(field.type)]:
                raise ConfigError(f"{source}: {nested[0]} holds lists or records, which CSV can't: write Parquet")
            write(csv_line([*names, *added(names, self.scorer.names)]).encode())
        batches = file.iter_batches(ROWS) if file.metadata.num_rows else file.schema_arrow.empty_table().to_batches()

        def work(batch: pa.RecordBatch) -> Scored:
            table = pa.Table.from_batches([batch], file.schema_arrow)
            answered = self.scorer.answer_table(table)
            outcome = self.outcome(array(table[self.target.name])) if names.count(self.target.name) == 1 else None
            data = self.scorer.extended(table, answered)
            return Scored(answered, data if parquet else _as_csv(data), outcome)

        return self._run(work, batches, write)

    def outcome(self, values: pa.Array) -> Floats:
        """The target's column as 1 or 0, NaN if it is neither."""
        texts = coded(values)
        found = [outcome(str(text).strip(), self.target.values) for text in texts.dictionary.to_pylist()]
        numbers: Floats = np.array(found, dtype=np.float64)[np.from_dlpack(texts.indices)]
        return numbers

    def _run(self, work: Callable[[Any], Scored], items: Iterable[Any], write: Write) -> dict[str, Any]:
        """Answer blocks on all cores, write them in order, and return the receipt's counts."""
        began, rows, refused, unseen, figures = time.perf_counter(), 0, 0, Counter[str](), Figures(self.manifest.link)
        with closing(in_order((partial(work, item) for item in items), self._threads)) as blocks:
            for (_, answers, _, bad), data, outcome in blocks:
                wrong = problems(bad, rows)
                if wrong and self.scorer.strict:
                    raise InvalidInstance("some rows are wrong", wrong)
                if outcome is not None:
                    outcome[list(bad)] = np.nan
                    figures.add(outcome, answers.verdict, answers.logit, answers.probability)
                write(data)
                rows, refused = rows + len(answers.logit), refused + len(bad)
                unseen.update(problem.column for problem in wrong if problem.unseen)
                self._progress(rows, time.perf_counter() - began)
        found: dict[str, Any] = {"rows": rows, "answered": rows - refused, "refused": refused, "unseen": dict(unseen)}
        found |= {"figures": figures.measured()} if figures.rows else {}
        used = {name: sys.modules[name].__version__ for name in PACKAGES if name in sys.modules}
        versions = {"python": platform.python_version(), **used}
        return {**found, "seconds": round(time.perf_counter() - began, 3), "versions": versions}


def _as_csv(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pa.csv.write_csv(table, buffer, pa.csv.WriteOptions(include_header=False))
    text: bytes = buffer.getvalue().to_pybytes()
    return b"\n" + text[:-1] if text else b""


@contextmanager
def _named(what: Path | str) -> Iterator[None]:
    """Put a file's name before the errors of its block."""
    try:
        yield
    except RequestError as error:
        raise type(error)(f"{what}: {error}", error.problems) from error
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{what}: {getattr(error, 'strerror', None) or str(error).splitlines()[0]}") from error


@contextmanager
def _csv_sink(path: Path) -> Iterator[Write]:
    with pa.output_stream(str(path), compression="detect") as stream:
        yield stream.write
        stream.write(b"\n")


@contextmanager
def _parquet_sink(path: Path) -> Iterator[Write]:
    from pyarrow.parquet import ParquetWriter

    writers: list[Any] = []
    waiting: list[pa.Table] = []

    def flush() -> None:
        group = pa.concat_tables(waiting)
        waiting.clear()
        if not writers:
            texts = [part.name for part in group.schema if not pa.types.is_floating(part.type)]
            writers.append(ParquetWriter(path, group.schema, use_dictionary=texts))
        writers[0].write_table(group)

    def write(table: pa.Table) -> None:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP:
            flush()

    try:
        yield write
        if waiting:
            flush()
    finally:
        for writer in writers:
            writer.close()


def _receipt(out: Path) -> Path:
    return out.with_name(out.name + RECEIPT)


def _described(path: Path) -> dict[str, Any]:
    """A file's name, length and SHA-256."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}
