"""A million rows on a real local Spark, Ray and Dask have the bits of Model.score."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from passfail.loading import load
from tests.support import ROOT

pytestmark = pytest.mark.engines
ROWS = 1_000_000


@pytest.mark.parametrize("engine", ["spark", "spark35", "ray", "dask"])
def test_a_million_rows_have_the_bits_of_the_model(models: Path, tmp_path: Path, engine: str) -> None:
    python = ROOT / f".venv-{'ray' if engine == 'dask' else engine}" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{engine} is not installed (make test-engines): it is NOT tested")
    draw = np.random.default_rng(1)
    gre, gpa, rank = draw.uniform(220, 800, ROWS), draw.uniform(2.26, 4, ROWS), draw.integers(1, 5, ROWS)
    columns = {"id": np.arange(ROWS), "gre": gre, "gpa": gpa, "rank": rank.astype(str).tolist()}
    columns["rank"][7] = "9"
    pa.parquet.write_table(pa.table(columns), tmp_path / "rows.parquet", row_group_size=100_000)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": str(python), "RAY_USAGE_STATS_ENABLED": "0"}
    arguments = [models / "admissions", tmp_path / "rows.parquet", tmp_path / "out"]

    command = [python, "-m", "tests.support.clusters", engine.removesuffix("35"), *arguments]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environ, capture_output=True, text=True, timeout=1200)

    assert done.returncode == 0, done.stderr[-3000:]
    found = pa.parquet.read_table(tmp_path / "out").sort_by("id")
    logit, probability = load(models / "admissions").score(np.column_stack([gre, gpa, rank - 1.0]))
    answered = np.arange(ROWS) != 7
    assert found["logit"].to_numpy()[answered].tobytes() == logit[answered].tobytes()
    assert found["probability"].to_numpy()[answered].tobytes() == probability[answered].tobytes()
    assert found["error"].drop_null().to_pylist() == ["rank: not one of the levels: 1, 2, 3, 4"]
    assert found["logit"][7].as_py() is None
