"""Spark, Ray and Dask give up to ten million rows the bits of Model.score."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

from passfail.loading import load
from tests.support import ROOT

pytestmark = pytest.mark.engines
PART = 1_000_000  # rows
PARTS = {"spark": 10, "ray": 10, "spark35": 1, "dask": 1}


@pytest.mark.parametrize("engine", PARTS)
def test_each_row_has_the_bits_of_the_model(models: Path, tmp_path: Path, engine: str) -> None:
    python = ROOT / f".venv-{'ray' if engine == 'dask' else engine}" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{engine} is not installed (make test-engines): it is NOT tested")
    source, parts, model = tmp_path / "rows", PARTS[engine], load(models / "admissions")
    source.mkdir()
    # A file, so that this process holds a part at a time.
    expected = np.lib.format.open_memmap(tmp_path / "bits.npy", "w+", np.int64, (parts * PART, 2))
    draw = np.random.default_rng(1)
    for part in range(parts):
        ids = np.arange(part * PART, (part + 1) * PART)
        gre, gpa, rank = draw.uniform(220, 800, PART), draw.uniform(2.26, 4, PART), draw.integers(1, 5, PART)
        expected[ids] = np.column_stack(model.score(np.column_stack([gre, gpa, rank - 1.0]))).view(np.int64)
        rank[ids == 7] = 9
        table = pa.table({"id": ids, "gre": gre, "gpa": gpa, "rank": pa.array(rank).cast(pa.string())})
        pa.parquet.write_table(table, source / f"{part}.parquet", row_group_size=PART // 10)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": str(python), "RAY_USAGE_STATS_ENABLED": "0"}
    arguments = [models / "admissions", source, tmp_path / "out"]

    command = [python, "-m", "tests.support.clusters", engine.removesuffix("35"), *arguments]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environ, capture_output=True, text=True, timeout=1200)

    assert done.returncode == 0, done.stderr[-3000:]
    answered, refused = np.zeros(len(expected), dtype=bool), []
    for batch in pa.dataset.dataset(tmp_path / "out").to_batches(columns=["id", "logit", "probability", "error"]):
        refused += batch.filter(pa.compute.field("error").is_valid()).to_pylist()
        batch = batch.filter(pa.compute.field("error").is_null())
        ids = batch["id"].to_numpy()
        found = np.column_stack([batch["logit"], batch["probability"]])
        assert (found.view(np.int64) == expected[ids]).all()
        assert not answered[ids].any()
        answered[ids] = True
    error = "rank: not one of the levels: 1, 2, 3, 4"
    assert refused == [{"id": 7, "logit": None, "probability": None, "error": error}]
    assert np.flatnonzero(~answered).tolist() == [7]
