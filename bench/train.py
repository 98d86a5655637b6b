"""The trainer compared with pandas and scikit-learn: seconds, peak memory, final gradient.

python bench/train.py                      1e4, 1e5 and 1e6 rows, 20 columns; about two minutes on two cores
python bench/train.py --rows 10000 100000 1000000 --columns 10 100 --parquet
python bench/train.py --rows 10000000 --columns 20 --parquet --only ours    flat memory; 6 GB of disk
python bench/train.py --separated          outcomes that columns separate: processor seconds until that is said

The bench needs bench/requirements.txt. Each runs in a process of its own. Rounds are interleaved and the median counts,
so that other work on the machine affects all alike. Only the ratios of each one's seconds to ours are meaningful: of
the fit, of reading and fitting, and of the whole with the imports. Ours also hashes the file.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

sys.path.insert(0, str(Path(__file__).parent.parent))
SOLVERS = {"lbfgs": 1e-8, "newton-cholesky": 1e-8}  # tolerances with which the gradient is about as small as ours
PART = 100_000


def main():
    """Measure every requested row of the table, print it, and write it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--columns", type=int, nargs="+", default=[20])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parquet", action="store_true", help="the file's format (default: CSV)")
    parser.add_argument("--only", choices=["ours", *SOLVERS], help="measure one alone")
    parser.add_argument("--separated", action="store_true", help="measure wide tables of separated outcomes alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure)))
        return
    if args.separated:
        separated()
        return
    records = []
    print(f"{'rows':>9} {'d':>4} {'who':16} {'import':>6} {'read s':>7} {'fit s':>7} {'cpu s':>7}", end=" ")
    print(f"{'MiB':>6} {'gradient':>9}  fit, file to model, whole")
    for rows in args.rows:
        for columns in args.columns:
            with tempfile.TemporaryDirectory() as folder:
                path = generate(Path(folder) / f"t.{'parquet' if args.parquet else 'csv'}", rows, columns)
                records += compare(path, rows, columns, [args.only] if args.only else ["ours", *SOLVERS], args.rounds)
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n")


def separated():
    """Fit to separated outcomes: Adult's look-alike, and 20,000 x 964 by all columns."""
    from passfail.manifest import Feature
    from train.evaluation.coefficients import statistics
    from train.solvers.fit import fit
    from train.solvers.options import Options
    from train.table.data import Data

    generator = np.random.default_rng(0)
    levels = [generator.integers(0, count, 30_162) for count in (7, 16, 7, 14, 6, 5, 2, 43)]
    indicators = [level[:, None] == np.arange(1, level.max() + 1) for level in levels]
    adult = np.column_stack([generator.normal(size=(30_162, 5)), *indicators])
    slope = generator.normal(0, 0.5, adult.shape[1])
    outcome = adult @ slope + generator.logistic(size=len(adult)) > 1
    outcome &= (levels[1] != 3) & (levels[7] != 11)  # two levels have one outcome alone
    wide = generator.normal(size=(20_000, 964))
    tables = [(adult, outcome), (wide, wide @ generator.normal(size=964) > 0)]
    print(f"{'rows':>7} {'columns':>7} {'passes':>6} {'fit, cpu s':>10} {'table, cpu s':>12}  separation")
    for x, y in tables:
        features = [Feature(f"x{i}", "numeric", (), c.min().item(), c.max().item(), None) for i, c in enumerate(x.T)]
        began = time.process_time()
        fitted = fit(Data(features, x, y.astype(np.float64), np.ones(len(y))), Options(), lambda line: None)
        fit_done = time.process_time()
        found = statistics(features, fitted, Options())
        done = time.process_time()
        print(
            f"{len(x):7} {x.shape[1]:7} {len(fitted.losses):6} {fit_done - began:10.1f} {done - fit_done:12.1f}  "
            f"{found.separation}, by {len(found.separating)} columns",
            flush=True,
        )


def compare(path, rows, columns, who, rounds):
    """Measure each of `who` on a file, print its ratio to ours, and return the records."""
    runs = {name: [] for name in who}
    for _ in range(rounds):
        for name in who:
            command = [sys.executable, __file__, "--measure", name, str(path)]
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[name].append(json.loads(run.stdout.splitlines()[-1]))
    records = []
    for name in who:
        middle = {key: statistics.median(run[key] for run in runs[name]) for key in runs[name][0]}
        first = records[0] if records else middle
        ratios = {f"{key}_ratio": middle[key] / first[key] for key in ("fit", "model", "whole")}
        records.append({"rows": rows, "columns": columns, "who": name, **middle, **ratios})
        print(
            f"{rows:9} {columns:4} {name:16} {middle['import']:6.2f} {middle['read']:7.2f} {middle['fit']:7.2f} "
            f"{middle['cpu']:7.2f} {middle['mib']:6.0f} {middle['gradient']:9.1e}  "
            + ", ".join(f"{ratio:.2f}" for ratio in ratios.values()),
            flush=True,
        )
    return records


def generate(path, rows, columns, seed=0):
    """Write a table whose outcome follows a logistic model, in parts, so that it may be long."""
    generator = np.random.default_rng(seed)
    slope = generator.normal(size=columns) / columns**0.5
    names = [f"x{index}" for index in range(columns)]
    schema = pa.schema([*((name, pa.float64()) for name in names), ("y", pa.int8())])
    writer = pa.parquet.ParquetWriter if path.suffix == ".parquet" else pa.csv.CSVWriter
    with writer(path, schema) as file:
        for start in range(0, rows, PART):
            x = generator.normal(size=(min(PART, rows - start), columns))
            y = generator.random(len(x)) < 1 / (1 + np.exp(-x @ slope))
            file.write_table(pa.table([*x.T.copy(), y.astype(np.int8)], schema=schema))
    os.sync()  # else the system would still write it to the disk during the first measurement
    return path


def measure(who, path):
    """Read the file and fit it: seconds, CPU seconds, peak MiB, and the largest gradient entry.

    The gradient is that of the mean log loss. "model" is reading and fitting together, "whole" also has the imports.
    """
    started = time.perf_counter()
    if who == "ours":
        with suppress(ImportError):
            import pandas  # pyarrow imports pandas if it is installed, which the trainer's own environment doesn't have

            started = time.perf_counter()
        import torch

        from train.solvers.fit import fit
        from train.solvers.options import Options
        from train.table import out_of_core
        from train.table.table import read_table

        began, busy = time.perf_counter(), time.process_time()
        table = read_table(path)
        read = time.perf_counter()
        model = fit(table.data, Options(), log=lambda line: None).model
        done, busy = time.perf_counter(), time.process_time() - busy
        gradient = np.zeros(table.x.shape[1] + 1)
        with torch.inference_mode():
            for part in out_of_core.pieces(len(table.y), out_of_core.BLOCK, table.x, table.y):
                x = torch.from_numpy(table.x[part])
                gradient += _slope(model.design(x).numpy(), model(x)[1].numpy() - table.y[part])
        gradient /= len(table.y)
    else:
        import pandas
        from sklearn.linear_model import LogisticRegression

        began, busy = time.perf_counter(), time.process_time()
        frame = (pandas.read_parquet if path.endswith(".parquet") else pandas.read_csv)(path)
        x, y = frame.drop(columns="y").to_numpy(), frame["y"].to_numpy()
        read = time.perf_counter()
        model = LogisticRegression(C=np.inf, solver=who, tol=SOLVERS[who], max_iter=1000).fit(x, y)
        done, busy = time.perf_counter(), time.process_time() - busy
        gradient = _slope(x, model.predict_proba(x)[:, 1] - y) / len(y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"import": began - started, "read": read - began, "fit": done - read, "cpu": busy}
    figures |= {"model": done - began, "whole": done - started}
    return {**figures, "mib": peak, "gradient": float(np.abs(gradient).max())}


def _slope(x, residual):
    return np.append(x.T @ residual, residual.sum())


if __name__ == "__main__":
    main()
