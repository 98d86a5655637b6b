"""The proof that each engine installed here answers the same rows alike."""

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from passfail.arrays import Floats
from passfail.columns import Column
from passfail.errors import ConfigError, PassfailError
from passfail.links import score_at
from passfail.manifest import Manifest
from passfail.proof import certificate, reference, samples
from passfail.runtimes import MODEL_FILES, load_runtime

ROWS, ACROSS = 2_000, 10_000  # of each random kind, and across the probabilities
Answer = tuple[Floats, Floats | None]  # logit and probability (n,); None: the engine gives no probability
SCRIPT = """
import * as model from './model.mjs';
import fs from 'node:fs';
const bytes = new Uint8Array(fs.readFileSync('x')), x = new Float64Array(bytes.buffer), d = %d;
const n = x.length / d, out = new Float64Array(2 * n);
for (let row = 0; row < n; row++) {
  out[row] = model.logit(x.subarray(row * d, (row + 1) * d));
  out[n + row] = model.probability(out[row]);
}
fs.writeFileSync('out', out);
"""


class Proof(NamedTuple):
    """The comparison of one engine with the closed form.

    Attributes
    ----------
    absent : the reason why the engine was not asked; "" if it was.
    rows : the number of rows asked.
    logits, verdicts : the number that differ.
    ulp : the largest distance of a probability from ONNX Runtime's, in units in the last place.
    """

    engine: str
    absent: str = ""
    rows: int = 0
    logits: int = 0
    verdicts: int = 0
    ulp: int | None = None


def prove(manifest: Manifest, files: Mapping[str, bytes]) -> Iterator[Proof]:
    """Compare each engine with the closed form on some 20,000 rows.

    Boundary rows, extremes and missing values are among them.
    """
    x, _ = samples.rows(manifest, ROWS, seed=2, across=ACROSS)
    with np.errstate(all="ignore"):
        expected = reference.logit(manifest, x)
    # Leave out rows that a SQL table can't hold, or that PostgreSQL and BigQuery refuse to multiply.
    usual = np.isfinite(expected) & ~(np.abs(x) > 1e150).any(axis=1)
    x, expected = x[usual], expected[usual]
    threshold = score_at(manifest.link, manifest.threshold)
    _, probability = load_runtime("onnx", files["model.onnx"])(x)
    for name, ask in ENGINES.items():
        try:
            logit, p = ask(manifest, files, x)
        except (PassfailError, ModuleNotFoundError) as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            yield Proof(name, f"{missing} is not installed" if missing else str(error))
            continue
        ulp = None if p is None else certificate.ulp(p, probability)
        differ = int((logit != expected).sum())
        yield Proof(name, "", len(x), differ, int(((logit > threshold) != (expected > threshold)).sum()), ulp)


def table(proofs: list[Proof]) -> str:
    """The proofs as a table in plain text, with a line of totals."""
    lines = [f"{'engine':16} {'rows':>7} {'logits differ':>14} {'verdicts differ':>16} {'probability, ulp':>17}"]
    for one in proofs:
        ulp = "-" if one.ulp is None else str(one.ulp)
        asked = f"{one.rows:7} {one.logits:14} {one.verdicts:16} {ulp:>17}"
        lines.append(f"{one.engine:16} {f'not asked: {one.absent}' if one.absent else asked}")
    asked_of = [one for one in proofs if not one.absent]
    lines.append(f"one export, {len(asked_of)} engines, {sum(one.verdicts for one in asked_of)} verdicts differ")
    return "\n".join(lines)


def _runtime(name: str) -> Callable[[Manifest, Mapping[str, bytes], Floats], Answer]:
    return lambda manifest, files, x: load_runtime(name, files[MODEL_FILES[name]])(x)


def _onnx_reference(manifest: Manifest, files: Mapping[str, bytes], x: Floats) -> Answer:
    import onnx
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        evaluator = ReferenceEvaluator(onnx.load_from_string(files["model.onnx"]))
        found: Any = evaluator.run(["logit", "probability"], {"x": x})
    return found[0], found[1]


def _cells(manifest: Manifest, x: Floats) -> list[list[Any]]:
    """Rows of x as a table's cells, a list for each column."""
    columns = [Column(feature) for feature in manifest.features]
    return [[column.value(number) for number in some] for column, some in zip(columns, x.T.tolist(), strict=True)]


def _answer(found: list[tuple[Any, ...]]) -> Answer:
    numbers = np.array(found, dtype=np.float64)
    return numbers[:, 0], numbers[:, 1] if numbers.shape[1] > 1 else None


def _query(manifest: Manifest, dialect: str) -> str:
    from passfail.sql import select

    answer = "logit, probability" if manifest.link == "logit" else "logit"
    return f"SELECT {answer} FROM ({select(manifest, dialect, 'asked')}) AS answers"


def _duckdb(manifest: Manifest, files: Mapping[str, bytes], x: Floats) -> Answer:
    import duckdb
    import pyarrow as pa

    names = [feature.name for feature in manifest.features]
    with duckdb.connect() as engine:
        engine.register("asked", pa.table(_cells(manifest, x), names=names))
        return _answer(engine.sql(_query(manifest, "duckdb")).fetchall())


def _sqlite(manifest: Manifest, files: Mapping[str, bytes], x: Floats) -> Answer:
    query, marks = _query(manifest, "sqlite"), ", ".join("?" * len(manifest.features))
    kinds = {"numeric": "REAL", "categorical": "TEXT"}
    names = ", ".join('"' + f.name.replace('"', '""') + '" ' + kinds[f.kind] for f in manifest.features)
    with sqlite3.connect(":memory:") as engine:
        engine.execute(f"CREATE TABLE asked ({names})")
        engine.executemany(f"INSERT INTO asked VALUES ({marks})", zip(*_cells(manifest, x), strict=True))
        try:
            return _answer(engine.execute(query).fetchall())
        except sqlite3.OperationalError as error:  # a build without mathematical functions has no exp()
            raise ConfigError(str(error)) from error


def _javascript(manifest: Manifest, files: Mapping[str, bytes], x: Floats) -> Answer:
    node = shutil.which("node")
    if node is None or "model.js" not in files:
        raise ConfigError("node is not installed" if node is None else "the export has no model.js")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "model.mjs").write_bytes(files["model.js"])
        (home / "program.mjs").write_text(SCRIPT % x.shape[1])
        (home / "x").write_bytes(x.tobytes())
        done = subprocess.run([node, "program.mjs"], cwd=home, capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(f"node can't run model.js: {done.stderr.strip().splitlines()[-1]}")
        logit, probability = np.fromfile(home / "out").reshape(2, len(x))
    return logit, probability


ENGINES = {
    "onnx": _runtime("onnx"),
    "torchscript": _runtime("torchscript"),
    "onnx reference": _onnx_reference,
    "sql, duckdb": _duckdb,
    "sql, sqlite": _sqlite,
    "javascript, node": _javascript,
}
