"""The proof that each engine installed here answers the same rows alike."""

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from passfail.arrays import Floats
from passfail.columns import Column
from passfail.errors import ConfigError, PassfailError
from passfail.links import LINKS
from passfail.manifest import Manifest
from passfail.measurements import Proof, totals
from passfail.proof import certificate, reference, samples
from passfail.runtimes import Runtime, load_runtime

ROWS, ACROSS = 2_000, 10_000  # of each random kind, and across the probabilities
PREDICTED = 500  # rows that model.js answers from JSON, too: half of them the nearest to the threshold
# (logit, probability, words), float64 (n,) each. None: the engine gives no probability, or no words of its own. Words
# are 2 if the engine's verdict and label are both positive, 0 if neither is, and 1 if they differ.
Answer = tuple[Floats, Floats | None, Floats | None]
PROGRAM = Path(__file__).with_name("program.mjs")  # runs model.js


def prove(manifest: Manifest, files: Mapping[str, bytes], rows: int = ROWS, across: int = ACROSS) -> dict[str, Proof]:
    """Compare each engine with the closed form on the same rows.

    Boundary rows, extremes and missing values are among them.

    Parameters
    ----------
    rows, across : as passfail.proof.samples.rows takes them; the defaults make some 20,000 rows.
    """
    x, _ = samples.rows(manifest, rows, seed=2, across=across)
    with np.errstate(all="ignore"):
        expected = reference.logit(manifest, x)
    # Leave out rows that a SQL table can't hold, or that PostgreSQL and BigQuery refuse to multiply.
    usual = np.isfinite(expected) & ~(np.abs(x) > 1e150).any(axis=1)
    x, expected = x[usual], expected[usual]
    threshold = manifest.logit_threshold
    _, probability = load_runtime("onnx", files["model.onnx"])(x)
    found = {}
    for name, ask in ENGINES.items():
        try:
            logit, p, words = ask(manifest, files, x)
        except (PassfailError, ModuleNotFoundError) as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            found[name] = Proof(f"{missing} is not installed" if missing else str(error))
            continue
        words = np.where(logit > threshold, 2.0, 0.0) if words is None else words
        wrong = int((words != np.where(expected > threshold, 2.0, 0.0)).sum())
        ulp = None if p is None else certificate.ulp(p, probability)
        found[name] = Proof("", len(x), int((logit != expected).sum()), wrong, ulp)
    return found | {name: Proof(why) for name, why in ELSEWHERE.items()}


def wrong(proofs: Mapping[str, Proof], link: str) -> list[str]:
    """The engines that do not answer as the parameters say.

    Both compared probabilities may have the link's error.
    """
    most = 2 * LINKS[link].ulp
    return [name for name, one in proofs.items() if one.logits or one.verdicts or (one.ulp or 0) > most]


def table(proofs: Mapping[str, Proof]) -> str:
    """The proofs as a table in plain text, with a line of totals."""
    lines = [f"{'engine':16} {'rows':>7} {'logits differ':>14} {'verdicts differ':>16} {'probability, ulp':>17}"]
    for name, one in proofs.items():
        ulp = "-" if one.ulp is None else str(one.ulp)
        asked = f"{one.rows:7} {one.logits:14} {one.verdicts:16} {ulp:>17}"
        lines.append(f"{name:16} {f'not proven here: {one.absent}' if one.absent else asked}")
    return "\n".join([*lines, totals(proofs)])


def _runtime(name: str, file: str) -> Callable[[Manifest, Mapping[str, bytes], Floats], Answer]:
    return lambda manifest, files, x: (*load_runtime(name, files[file])(x), None)


def onnx_reference(model: bytes) -> Runtime:
    """ONNX's reference evaluator, which defines each operation in NumPy, for a model.onnx."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_from_string(model))

    def evaluate(x: Floats) -> tuple[Floats, Floats]:
        with np.errstate(all="ignore"):
            return tuple(evaluator.run(["logit", "probability"], {"x": x}))

    return evaluate


def _numpy(manifest: Manifest, files: Mapping[str, bytes], x: Floats) -> Answer:
    """The closed form itself, which the proof of the export has compared with exact arithmetic."""
    logit = reference.logit(manifest, x)
    with np.errstate(over="ignore"):
        return logit, 1 / (1 + np.exp(-logit)) if manifest.link == "logit" else None, None


def _cells(manifest: Manifest, x: Floats) -> list[list[Any]]:
    """Rows of x as a table's cells, a list for each column."""
    columns = [Column(feature) for feature in manifest.features]
    return [[column.value(number) for number in some] for column, some in zip(columns, x.T.tolist(), strict=True)]


def _answer(manifest: Manifest, found: list[tuple[Any, ...]]) -> Answer:
    logit, verdict, label, *probability = zip(*found, strict=True)
    words = np.array(verdict, np.float64) + (np.array(label) == manifest.target.labels[1])
    return np.array(logit, np.float64), np.array(probability[0], np.float64) if probability else None, words


def _query(manifest: Manifest, dialect: str) -> str:
    from passfail.sql import names, select

    return f"SELECT {', '.join(names(manifest))} FROM ({select(manifest, dialect, 'asked')}) AS answers"


def _duckdb(manifest: Manifest, files: Mapping[str, bytes], x: Floats) -> Answer:
    import duckdb
    import pyarrow as pa

    names = [feature.name for feature in manifest.features]
    with duckdb.connect() as engine:
        engine.register("asked", pa.table(_cells(manifest, x), names=names))
        return _answer(manifest, engine.sql(_query(manifest, "duckdb")).fetchall())


def _sqlite(manifest: Manifest, files: Mapping[str, bytes], x: Floats) -> Answer:
    query, marks = _query(manifest, "sqlite"), ", ".join("?" * len(manifest.features))
    kinds = {"numeric": "REAL", "categorical": "TEXT"}
    names = ", ".join('"' + f.name.replace('"', '""') + '" ' + kinds[f.kind] for f in manifest.features)
    with sqlite3.connect(":memory:") as engine:
        engine.execute(f"CREATE TABLE asked ({names})")
        engine.executemany(f"INSERT INTO asked VALUES ({marks})", zip(*_cells(manifest, x), strict=True))
        try:
            return _answer(manifest, engine.execute(query).fetchall())
        except sqlite3.OperationalError as error:  # a build without mathematical functions has no exp()
            raise ConfigError(str(error)) from error


def _spark(manifest: Manifest, files: Mapping[str, bytes], x: Floats) -> Answer:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

    query, schema = _query(manifest, "spark"), StructType()
    for feature in manifest.features:
        schema.add(feature.name, "double" if feature.kind == "numeric" else "string")
    try:
        session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
        rows = list(zip(*_cells(manifest, x), strict=True))
        session.createDataFrame(rows, schema).createOrReplaceTempView("asked")
        return _answer(manifest, session.sql(query).collect())
    except PySparkException as error:  # without Java it has no engine
        raise ConfigError(str(error).splitlines()[0]) from error


def _javascript(manifest: Manifest, files: Mapping[str, bytes], x: Floats) -> Answer:
    node = shutil.which("node")
    if node is None or "model.js" not in files:
        raise ConfigError("node is not installed" if node is None else "the export has no model.js")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "model.mjs").write_bytes(files["model.js"])
        near = np.argsort(np.abs(reference.logit(manifest, x) - manifest.logit_threshold))
        at = np.concatenate([near[: PREDICTED // 2], np.arange(0, len(x), -(-2 * len(x) // PREDICTED))])
        names = [feature.name for feature in manifest.features]
        rows = [dict(zip(names, cells, strict=True)) for cells in zip(*_cells(manifest, x[at]), strict=True)]
        asked = {"rows": rows, "at": at.tolist(), "d": x.shape[1], "positive": manifest.target.labels[1]}
        (home / PROGRAM.name).write_bytes(PROGRAM.read_bytes())
        (home / "rows").write_bytes(msgspec.json.encode(asked))
        (home / "x").write_bytes(x.tobytes())
        done = subprocess.run([node, PROGRAM.name], cwd=home, capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(f"node can't run model.js: {done.stderr.strip().splitlines()[-1]}")
        logit, probability, words = np.fromfile(home / "out").reshape(3, len(x))
    return logit, probability, words


ENGINES: dict[str, Callable[[Manifest, Mapping[str, bytes], Floats], Answer]] = {
    "onnx": _runtime("onnx", "model.onnx"),
    "torchscript": _runtime("torchscript", "model.pt"),
    "torch.export": _runtime("torchexport", "model.pt2"),
    "onnx reference": lambda manifest, files, x: (*onnx_reference(files["model.onnx"])(x), None),
    "numpy": _numpy,
    "sql, duckdb": _duckdb,
    "sql, sqlite": _sqlite,
    "sql, spark": _spark,
    "javascript, node": _javascript,
}
ELSEWHERE = {
    "sql, postgres": "make test-engines asks a real PostgreSQL",
    "sql, bigquery": "only its vendor runs it; make test parses the text",
    "sql, snowflake": "only its vendor runs it; make test parses the text",
}
