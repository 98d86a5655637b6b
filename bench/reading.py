"""Reading a file into a matrix: ours, Arrow, polars, DuckDB and pandas.

python -m bench.reading                                    CSV of 1e5 x 20, 1e6 x 20 and 1e6 x 100
python -m bench.reading --sizes 1000000x20 --parquet --rounds 5

Each runs in a process of its own on all cores, from the file to a float64 matrix and the outcome. Rounds are
interleaved and the median counts, without the imports. Ours also hashes the file, checks each cell, and keeps the
matrix in a temporary file. `bits` says whether the matrix has the bits of ours. The bench needs bench/requirements.txt,
polars and duckdb.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from bench.train import generate


def ours(path):
    """Read by the trainer."""
    from train.table.table import read_table

    def read():
        table = read_table(path)
        return table.x, table.y

    return read


def arrow(path):
    """Read by pyarrow, as the trainer does, but in one call."""
    from pyarrow import csv, parquet

    def read():
        table = parquet.read_table(path) if path.endswith("parquet") else csv.read_csv(path)
        columns = [column.to_numpy() for column in table.columns]
        return np.column_stack(columns[:-1]), columns[-1]

    return read


def polars(path):
    """Read by polars."""
    import polars

    def read():
        frame = polars.read_parquet(path) if path.endswith("parquet") else polars.read_csv(path)
        return frame.drop("y").to_numpy(order="c"), frame["y"].to_numpy()

    return read


def duckdb(path):
    """Read by DuckDB."""
    import duckdb

    def read():
        kind = "parquet" if path.endswith("parquet") else "csv"
        columns = list(duckdb.sql(f"SELECT * FROM read_{kind}('{path}')").fetchnumpy().values())
        return np.column_stack(columns[:-1]), columns[-1]

    return read


def pandas(path):
    """Read by pandas."""
    import pandas

    def read():
        frame = pandas.read_parquet(path) if path.endswith("parquet") else pandas.read_csv(path)
        return np.ascontiguousarray(frame.drop(columns="y").to_numpy()), frame["y"].to_numpy()

    return read


TIMES = "wall", "cpu"
READERS = {reader.__name__: reader for reader in (ours, arrow, polars, duckdb, pandas)}


def main():
    """Measure each reader on each file, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["100000x20", "1000000x20", "1000000x100"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parquet", action="store_true", help="the file's format (default: CSV)")
    parser.add_argument("--only", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measured(*args.measure)))
        return
    print("| file | reader | wall s | cpu s | MiB | of ours: wall | cpu | bits |\n|-|-|-|-|-|-|-|-|")
    for size in args.sizes:
        rows, columns = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            path = generate(Path(folder) / f"t.{'parquet' if args.parquet else 'csv'}", rows, columns)
            runs = {name: [] for name in args.only}
            for _ in range(args.rounds):
                for name in args.only:
                    command = [sys.executable, "-m", "bench.reading", "--measure", name, str(path)]
                    run = subprocess.run(command, check=True, capture_output=True, text=True)
                    runs[name].append(json.loads(run.stdout.splitlines()[-1]))
        first = next(iter(runs.values()))
        for name, found in runs.items():
            wall, cpu, mib = (statistics.median(run[key] for run in found) for key in ("wall", "cpu", "mib"))
            ratios = (statistics.median(a[key] / b[key] for a, b in zip(found, first, strict=True)) for key in TIMES)
            bits = "same" if found[0]["bits"] == first[0]["bits"] else "others"
            cells = [size, name, f"{wall:.2f}", f"{cpu:.2f}", f"{mib:.0f}", *(f"{ratio:.2f}" for ratio in ratios), bits]
            print(f"| {' | '.join(cells)} |", flush=True)


def measured(name, path):
    """Wall and processor seconds, peak MiB, and the sum of the matrix's bits."""
    with suppress(ImportError):  # pyarrow imports pandas if it is installed, which the trainer's own set does not have
        import pandas  # noqa: F401
    read = READERS[name](path)
    began, busy = time.perf_counter(), time.process_time()
    x, y = read()
    wall, cpu = time.perf_counter() - began, time.process_time() - busy
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bits = int(sum(int(part.view(np.uint64).sum()) for part in np.array_split(x, 64))) + int(y.sum())
    return {"wall": wall, "cpu": cpu, "mib": mib, "bits": bits}


if __name__ == "__main__":
    main()
