"""Scores files: CSV, Parquet, or a folder of parts, on all cores, in constant memory.

A row of CSV is copied to the output, with the cells that POST /predict would add. A file appears under its name only
when it is complete, and its receipt after it.
"""

import csv
import hashlib
import io
import json
import os
import platform
import time
from codecs import BOM_UTF8
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from passfail.arrays import Floats
from passfail.batches import Answers, Scorer, array, numbers, problems
from passfail.codecs.answers import added
from passfail.codecs.csv_rows import WORDS, csv_line
from passfail.columns import Column, InvalidValue
from passfail.errors import ConfigError, InvalidInstance, MalformedBody
from passfail.figures import Figures
from passfail.files import replacing
from passfail.manifest import Feature
from passfail.model import Model

BLOCK, ROWS = 2**20, 2**16  # bytes of CSV, or rows of Parquet, answered at a time
LONGEST = 2**26  # bytes of a record: an unclosed quote must not fill the memory
CSV_ENDS, PARQUET_END = (".csv", ".csv.gz", ".csv.zst"), ".parquet"
RECEIPT = ".receipt.json"
PACKAGES = ("numpy", "onnxruntime", "pyarrow")

Progress = Callable[[int, float], object]
Write = Callable[[Any], object]  # takes a block's `Scored.data`


class Scored(NamedTuple):
    """A block of n rows with its answers.

    Attributes
    ----------
    data : the output: an Arrow table, or CSV in which each row follows a line's end.
    outcome : the target (n,), 1 or 0, NaN if it is neither; None if the table has no target.
    """

    answers: Answers
    data: Any
    outcome: Floats | None


class Files:
    """Scores files with one model.

    Parameters
    ----------
    strict : end with an error, and write nothing, if a row is invalid.
    explained : add each feature's contribution.
    progress : called after each block with the rows answered and the seconds taken.
    """

    def __init__(
        self, model: Model, strict: bool = False, explained: bool = False, progress: Progress = lambda rows, took: None
    ) -> None:
        self.scorer = Scorer(model, strict, explained)
        self.manifest, self._progress = model.manifest, progress
        self._threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        values = self.manifest.target.values
        self.target = Column(Feature(self.manifest.target.name, "categorical", values, None, None, 0.0))

    def score(self, source: Path, out: Path) -> dict[str, Any]:
        """Score a file, write its receipt beside it, and return the receipt.

        Raises
        ------
        ConfigError : a file can't be read or written, or its kind is unknown.
        RequestError : the rows are not rows of this model; with `strict`, one row is invalid.
        """
        for path in (source, out):
            if not path.name.endswith((*CSV_ENDS, PARQUET_END)):
                raise ConfigError(f"{path}: its name must end in {', '.join(CSV_ENDS)} or {PARQUET_END}")
        if source.resolve() == out.resolve():
            raise ConfigError(f"{out}: is also the input; choose another output")
        parquet = out.name.endswith(PARQUET_END)
        try:
            with replacing(out) as temporary, (_parquet_sink if parquet else _csv_sink)(temporary) as write:
                if source.name.endswith(PARQUET_END):
                    summary = self._parquet(source, write, parquet)
                else:
                    with pa.input_stream(str(source), compression="detect") as stream:
                        summary = self.csv(stream, write, parquet)
            receipt = {**self._asked(source), **summary, "output": _described(out)}
            with replacing(_receipt(out)) as temporary:
                temporary.write_text(json.dumps(receipt, indent=1) + "\n")
            return receipt
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{source}: {getattr(error, 'strerror', None) or str(error).splitlines()[0]}") from error

    def folder(self, source: Path, out: Path) -> list[dict[str, Any]]:
        """Score each part of a folder into a folder, except parts that a receipt shows as scored."""
        parts = sorted(part for part in source.iterdir() if part.name.endswith((*CSV_ENDS, PARQUET_END)))
        if not parts:
            raise ConfigError(f"{source}: holds no file that ends in {', '.join(CSV_ENDS)} or {PARQUET_END}")
        out.mkdir(parents=True, exist_ok=True)
        return [self._done(part, out / part.name) or self.score(part, out / part.name) for part in parts]

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
        }  # fmt: skip

    def csv(self, stream: Any, write: Write, parquet: bool = False) -> dict[str, Any]:
        """Score CSV from a stream of bytes; `write` takes the header, then each `Scored.data`."""
        header, blocks = _records(stream)
        work = _CsvBlocks(self, header, parquet)
        if not parquet:
            write(csv_line([*header, *added(header, self.scorer.names)]).encode())
        return self._run(work, blocks, write)

    def _parquet(self, source: Path, write: Write, parquet: bool) -> dict[str, Any]:
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(source)
        names = file.schema_arrow.names
        if not parquet:
            write(csv_line([*names, *added(names, self.scorer.names)]).encode())
        batches = file.iter_batches(ROWS) if file.metadata.num_rows else file.schema_arrow.empty_table().to_batches()

        def work(batch: pa.RecordBatch) -> Scored:
            table = pa.Table.from_batches([batch], file.schema_arrow)
            answers = self.scorer.answer_table(table)
            outcome = self.outcome(array(table[self.target.name])) if names.count(self.target.name) == 1 else None
            data = self.scorer.extended(table, answers)
            return Scored(answers, data if parquet else _as_csv(data), outcome)

        return self._run(work, batches, write)

    def outcome(self, values: pa.Array) -> Floats:
        """The target's column as 1 or 0, NaN if it is neither."""
        return numbers(self.target, values)[0]

    def _run(self, work: Callable[[Any], Scored], items: Iterable[Any], write: Write) -> dict[str, Any]:
        """Answer blocks on all cores, write them in order, and return the receipt's counts."""
        began, rows, refused, unseen, figures = time.perf_counter(), 0, 0, Counter[str](), Figures(self.manifest.link)
        with ThreadPoolExecutor(self._threads) as pool:
            for answers, data, outcome in _in_order(pool, work, items, 2 * self._threads):
                wrong = problems(answers.refused, rows)
                if wrong and self.scorer.strict:
                    pool.shutdown(cancel_futures=True)
                    raise InvalidInstance("some rows are wrong", wrong)
                if outcome is not None:
                    outcome[list(answers.refused)] = np.nan
                    figures.add(outcome, answers.verdict, answers.logit, answers.probability)
                write(data)
                rows, refused = rows + len(answers.logit), refused + len(answers.refused)
                unseen.update(problem.unseen for problem in wrong if problem.unseen)
                self._progress(rows, time.perf_counter() - began)
        found: dict[str, Any] = {"rows": rows, "answered": rows - refused, "refused": refused, "unseen": dict(unseen)}
        found |= {"figures": figures.measured()} if figures.rows else {}
        versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
        return {**found, "seconds": round(time.perf_counter() - began, 3), "versions": versions}


class _CsvBlocks:
    """Answers blocks of CSV."""

    def __init__(self, files: Files, header: Sequence[str], parquet: bool) -> None:
        self._files, self._scorer, self._parquet = files, files.scorer, parquet
        names = list(header)
        self._scorer.check(names, "line 1")
        self._order, self._names = self._scorer.columns.order(names), names
        self._outcome = names.index(files.target.name) if names.count(files.target.name) == 1 else None
        needed = [*self._order, *([] if self._outcome is None else [self._outcome])]
        self._needed = range(len(names)) if parquet else sorted(set(needed))
        manifest = files.manifest
        self._verdicts = [
            f",{csv_line([WORDS[flag], manifest.target.labels[flag]])}".encode() for flag in (True, False)
        ]
        self._stables = {flag: f",{csv_line([WORDS[flag], manifest.name, str(manifest.version)])}".encode()
                         for flag in WORDS}  # fmt: skip

    def __call__(self, block: bytes) -> Scored:
        lines, cells, ragged = self._plain(block) or self._careful(block)
        answers = self._scorer.answer([cells[at] for at in self._order], ragged)
        outcome = None if self._outcome is None else self._files.outcome(pc.utf8_trim_whitespace(cells[self._outcome]))
        if not self._parquet:
            return Scored(answers, self._written(lines, answers), outcome)
        for at, column, x in zip(self._order, self._scorer.columns, answers.x.T, strict=True):
            if column.codes is None:
                cells[at] = pa.array(x, from_pandas=True)
        table = pa.table([cells[at] for at in range(len(self._names))], names=self._names)
        return Scored(answers, self._scorer.extended(table, answers), outcome)

    def _plain(self, block: bytes) -> tuple[pa.Array, dict[int, pa.Array], dict[int, InvalidValue]] | None:
        """Split a block without quotes: (lines, {index of a column: cells}, {}); else None.

        Each line begins with the previous line's end.
        """
        d, block = len(self._names), block.replace(b"\r\n", b"\n")
        if any(mark in block for mark in (b'"', b"\r", b"\0")) or b"\n\n" in b"\n%b\n" % block:
            return None
        data = b"\n" + block
        starts = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        names = [str(at) for at in range(d)]
        needed = [names[at] for at in self._needed]
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(block),
                pa.csv.ReadOptions(use_threads=False, block_size=len(data), column_names=names),
                pa.csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
                pa.csv.ConvertOptions(column_types=dict.fromkeys(needed, pa.string()), include_columns=needed),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != len(starts):
            return None
        return _binary(data, starts), {at: array(table[names[at]]) for at in self._needed}, {}

    def _careful(self, block: bytes) -> tuple[pa.Array, dict[int, pa.Array], dict[int, InvalidValue]]:
        """Split a block with Python's csv module; rows with a wrong number of cells are refused."""
        try:
            rows = [row for row in csv.reader(io.StringIO(block.decode(), newline=""), strict=True) if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise MalformedBody(f"not CSV in UTF-8: {error}") from error
        d = len(self._names)
        ragged = {at: InvalidValue(f"{len(row)} cells where the header has {d}")
                  for at, row in enumerate(rows) if len(row) != d}  # fmt: skip
        for at in ragged:
            rows[at] = (rows[at] + [""] * d)[:d]
        lines = pa.array([f"\n{csv_line(row)}".encode() for row in rows], pa.binary())
        return lines, {at: pa.array([row[at] for row in rows], pa.string()) for at in self._needed}, ragged

    def _written(self, lines: pa.Array, answers: Answers) -> memoryview:
        """The lines with the answer's cells, joined by Arrow without a Python object for each row."""
        n, errors = len(lines), answers.errors()
        stables = pa.repeat(self._stables[None], n)
        if answers.stable is not None:
            stables = pc.if_else(pa.array(answers.stable), *(pa.scalar(self._stables[flag]) for flag in (True, False)))
        verdicts = pc.if_else(pa.array(answers.verdict), *map(pa.scalar, self._verdicts))
        outside: pa.Scalar | pa.Array = pa.scalar(b",")
        if answers.outside is not None:
            outside = _cells({at: ", ".join(names) for at, names in enumerate(answers.outside) if names}, n)
        pieces = [(verdicts, 2), (_texts([answers.probability, answers.logit]), 2), (stables, 3), (outside, 1)]
        if answers.more:
            pieces.append((_texts(list(answers.more.values())), len(answers.more)))
        found = [piece for piece, _ in pieces]
        if errors:
            bad = pa.array([row in errors for row in range(n)])
            found = [pc.if_else(bad, pa.scalar(b"," * width), piece) for piece, width in pieces]
        if not self._scorer.strict:
            found.append(_cells(errors, n) if errors else pa.scalar(b","))
        joined = pc.binary_join_element_wise(lines, *found, pa.scalar(b""))
        length = int(np.frombuffer(joined.buffers()[1], np.int32)[n]) if n else 0
        return memoryview(joined.buffers()[2])[:length] if n else memoryview(b"")


def _texts(columns: Sequence[Floats]) -> pa.Array:
    """Write k columns of numbers (n,) as n texts `,a,b`, in JSON's shortest exact form."""
    text = msgspec.json.encode(np.column_stack(columns).ravel().tolist())
    data = b"," + text[1:-1]
    commas = np.flatnonzero(np.frombuffer(data, np.uint8) == ord(","))
    return _binary(data, commas[: len(columns) * len(columns[0]) : len(columns)])


def _cells(texts: Mapping[int, str], n: int) -> pa.Array:
    """Write {row: text} as n cells, `,text` or `,` alone."""
    cells = {row: f",{csv_line([text])}".encode() for row, text in texts.items()}
    return pa.array([cells.get(row, b",") for row in range(n)], pa.binary())


def _binary(data: bytes, starts: Any) -> pa.Array:
    """Cut bytes at the starts (n,) into an Arrow array of n pieces."""
    offsets = np.append(starts, len(data)).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _records(stream: Any) -> tuple[list[str], Iterator[bytes]]:
    """The header of a CSV, and an iterator over blocks of whole records."""
    data = stream.read(BLOCK).removeprefix(BOM_UTF8).lstrip(b"\r\n")
    end = data.find(b"\n")
    while end >= 0 and data.count(b'"', 0, end) % 2:
        end = data.find(b"\n", end + 1)
    first, rest = (data, b"") if end < 0 else (data[:end], data[end + 1 :])
    try:
        header = list(csv.reader(io.StringIO(first.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedBody(f"not CSV in UTF-8: {error}") from error
    if len(header) != 1:
        raise MalformedBody("CSV needs a header line, and lines that end in \\n")
    return [name.strip() for name in header[0]], _blocks(stream, rest)


def _blocks(stream: Any, data: bytes) -> Iterator[bytes]:
    more = True
    while more:
        read = stream.read(BLOCK)
        more, end = bool(read), len(data)
        if more:
            end = data.rfind(b"\n") + 1
            while data.count(b'"', 0, end) % 2:  # inside a quoted cell: go back to the line in which it begins
                end = data.rfind(b"\n", 0, data.rfind(b'"', 0, end)) + 1
        if end or not more:
            yield data[:end].removesuffix(b"\n").removesuffix(b"\r")
        data = data[end:] + read
        if len(data) > LONGEST:
            raise MalformedBody(f"not CSV: a row has more than {LONGEST} bytes; is a quote never closed?")


def _as_csv(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pa.csv.write_csv(table, buffer, pa.csv.WriteOptions(include_header=False))
    text: bytes = buffer.getvalue().to_pybytes()
    return b"\n" + text[:-1] if text else b""


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Any], Scored], items: Iterable[Any], ahead: int
) -> Iterator[Scored]:
    """Yield results in the items' order, with at most `ahead` items in work."""
    waiting = deque[Any]()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _csv_sink(path: Path) -> Iterator[Write]:
    with pa.output_stream(str(path), compression="detect") as stream:
        yield stream.write
        stream.write(b"\n")


@contextmanager
def _parquet_sink(path: Path) -> Iterator[Write]:
    import pyarrow.parquet

    writers: list[Any] = []

    def write(table: pa.Table) -> None:
        if not writers:
            texts = [part.name for part in table.schema if not pa.types.is_floating(part.type)]
            writers.append(pyarrow.parquet.ParquetWriter(path, table.schema, use_dictionary=texts))
        writers[0].write_table(table)

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()


def _receipt(out: Path) -> Path:
    return out.with_name(out.name + RECEIPT)


def _described(path: Path) -> dict[str, Any]:
    """A file's name, length and SHA-256."""
    with open(path, "rb") as file:
        return {
            "name": path.name,
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }
