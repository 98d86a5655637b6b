"""Scoring a file, compared with pandas and scikit-learn, polars and ONNX Runtime, DuckDB.

python -m bench.score                                   a CSV of 1e6 rows
python -m bench.score --rows 10000000 --parquet

Each runs in a process of its own, with its imports, on all cores, from file to file. Rounds are interleaved, and the
median of each one's ratio to ours counts. The bench needs bench/requirements.txt. Ours also writes label, stable,
outside, errors and a receipt; the others write logit and probability only, and check nothing.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.model import ROOT, publish

WHO = ("ours", "pandas", "polars", "duckdb")
TRAINING = ROOT / "data" / "admissions.csv"


def main():
    """Measure each on one file; print wall and CPU seconds, peak MiB, and the ratios to ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parquet", action="store_true", help="the format of both files (default: CSV)")
    parser.add_argument("--only", nargs="+", choices=WHO, default=WHO)
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        who, model, source, out = args.run
        globals()[who](Path(model), source, out)
        return
    with tempfile.TemporaryDirectory() as folder:
        end = "parquet" if args.parquet else "csv"
        source, out = f"{folder}/in.{end}", f"{folder}/out.{end}"
        generate(source, args.rows)
        model = f"{publish(sys.executable, folder, TRAINING, '--categorical', 'rank')}/admissions"
        runs = {who: [] for who in args.only}
        for _ in range(args.rounds):
            for who in args.only:
                runs[who].append(measured([sys.executable, "-m", "bench.score", "--run", who, model, source, out]))
    print(f"{'who':8} {'wall s':>7} {'cpu s':>7} {'MiB':>6}   wall and cpu, as multiples of ours")
    for who, found in runs.items():
        middle = [statistics.median(run[index] for run in found) for index in range(3)]
        ratios = [statistics.median(a[i] / b[i] for a, b in zip(found, runs["ours"], strict=True)) for i in range(2)]
        print(f"{who:8} {middle[0]:7.2f} {middle[1]:7.2f} {middle[2]:6.0f}   {ratios[0]:.2f} {ratios[1]:.2f}")


def measured(command):
    """Wall seconds, processor seconds and peak MiB of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def generate(path, rows):
    """Write rows in the admissions' training range."""
    import numpy as np  # each run imports what it needs alone
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    draw = np.random.default_rng(0)
    gre, gpa = draw.integers(220, 801, rows), draw.uniform(2.26, 4, rows).round(2)
    table = pa.table({"gre": gre, "gpa": gpa, "rank": draw.integers(1, 5, rows)})
    if path.endswith("parquet"):
        pa.parquet.write_table(table, path)
    else:
        pa.csv.write_csv(table, path, pa.csv.WriteOptions(quoting_style="none"))
    os.sync()


def ours(model, source, out):
    """The command."""
    from passfail.__main__ import main

    sys.exit(main(["score", source, "-o", out, "--models", str(model.parent), "--model", model.name]))


def pandas(model, source, out):
    """pandas and a LogisticRegression of scikit-learn with the same columns."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    csv = source.endswith("csv")
    train = pd.read_csv(TRAINING)
    encode = make_column_transformer((OneHotEncoder(drop="first"), ["rank"]), remainder="passthrough")
    fitted = make_pipeline(encode, LogisticRegression(C=1e9, max_iter=1000)).fit(
        train[["gre", "gpa", "rank"]], train.admit
    )
    table = pd.read_csv(source) if csv else pd.read_parquet(source)
    table["probability"] = fitted.predict_proba(table)[:, 1]
    table.to_csv(out, index=False) if csv else table.to_parquet(out, index=False)


def polars(model, source, out):
    """polars and the export's model.onnx on ONNX Runtime, with its own threads."""
    import onnxruntime
    import polars as pl

    csv = source.endswith("csv")
    table = pl.read_csv(source) if csv else pl.read_parquet(source)
    version = max(int(path.name) for path in model.iterdir() if path.name.isdecimal())
    session = onnxruntime.InferenceSession(model / str(version) / "model.onnx", providers=["CPUExecutionProvider"])
    x = table.select(pl.col("gre").cast(float), pl.col("gpa"), pl.col("rank").cast(float) - 1).to_numpy(order="c")
    logit, probability = session.run(["logit", "probability"], {"x": x})
    table = table.with_columns(pl.Series("logit", logit), pl.Series("probability", probability))
    table.write_csv(out) if csv else table.write_parquet(out)


def duckdb(model, source, out):
    """DuckDB and the SELECT of passfail sql."""
    import duckdb as engine

    from passfail.loading import load
    from passfail.sql import select

    read = "read_csv" if source.endswith("csv") else "read_parquet"
    with engine.connect() as connection:
        connection.sql(f"CREATE VIEW asked AS SELECT * FROM {read}('{source}')")
        connection.sql(f"COPY ({select(load(model).manifest, 'duckdb', 'asked')}) TO '{out}'")


if __name__ == "__main__":
    main()
