"""Cost and scale of Spark, Ray and Dask, beside bare Arrow reading and passfail score.

python bench/engines.py models/admissions --rows 10000000

Each runs in a process of its own on this machine, with the interpreter of its environment (make test-engines makes
them). The processor seconds are those of all its processes; those of a file of few rows are called the start. Every
logit and probability is compared with those of Model.score, bit for bit. The last columns were not measured. They
extrapolate from the rows' processor seconds, and suppose that each core answers as many rows as here, that no worker
is lost, and that the parts are read as fast as from this disk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.processes import cpu_seconds

CODE = {
    "arrow": "import sys, pyarrow.parquet as pq; [b.nbytes for b in pq.ParquetFile(sys.argv[2]).iter_batches(65536)]",
    "score": "import sys; from passfail.__main__ import main; from pathlib import Path; p = Path(sys.argv[1]); "
    "main(['score', sys.argv[2], '-o', sys.argv[3], '--models', str(p.parent), '--model', p.name])",
}
HOMES = {"spark": ".venv-spark", "ray": ".venv-ray", "dask": ".venv-ray"}
PRICE = 0.05  # dollars for an hour of one core, an assumption: about the list price of a virtual core
SIZES = (1e9, 1e11)
FEW = 10_000  # rows, whose processor seconds are those of the start


def main():
    """Measure each engine, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of the admissions' model")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--only", nargs="+", choices=[*CODE, *HOMES], default=["arrow", "score", "spark", "ray"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "rows.parquet")
        expected = answers(args.model, generate(source, args.rows))
        few = Path(folder, "few.parquet")
        generate(few, FEW)
        found = {}
        for who in args.only:
            out = Path(folder, f"{who}.parquet")
            _, start = measured(command(who, args.model.resolve(), few, Path(folder, f"{who}.few.parquet")))
            wall, cpu = measured(command(who, args.model.resolve(), source, out))
            found[who] = wall, start, cpu - start, differ(out, expected) if out.exists() else None
    heads = [f"core-hours, {size:.0e} rows (dollars)" for size in SIZES]
    print(f"{args.rows:,} rows of Parquet, {len(os.sched_getaffinity(0))} cores")
    print(f"{'engine':8} {'wall s':>8} {'start, cpu s':>13} {'rows, cpu s':>12} {'rows/s a core':>14} "
          f"{'over Arrow':>11} {'bits differ':>12}   {'   '.join(heads)}")  # fmt: skip
    for who, (wall, start, cpu, wrong) in found.items():
        over = f"{cpu / found['arrow'][2]:.1f}" if "arrow" in found else "-"
        hours = [size / args.rows * cpu / 3600 for size in SIZES]
        scale = "   ".join(
            f"{f'{h:,.1f} ({h * PRICE:,.2f})':>{len(head)}}" for h, head in zip(hours, heads, strict=True)
        )
        print(f"{who:8} {wall:8.1f} {start:13.1f} {cpu:12.1f} {args.rows / cpu:14,.0f} {over:>11} "
              f"{'-' if wrong is None else wrong:>12}   {scale}")  # fmt: skip


def command(who, model, source, out):
    """The command that answers the file."""
    if who in CODE:
        return [sys.executable, "-c", CODE[who], str(model), str(source), str(out)]
    python = ROOT / HOMES[who] / "bin" / "python"
    return [str(python), "-m", "tests.support.clusters", who, str(model), str(source), str(out)]


def measured(command):
    """Wall and processor seconds of a command and of all its processes."""
    mark = f"PASSFAIL_BENCH={time.monotonic_ns()}"
    name, _, value = mark.partition("=")
    environ = {**os.environ, name: value, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    environ["PYSPARK_PYTHON"] = command[0]
    used, began = {}, time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        for home in Path("/proc").glob("[0-9]*"):  # the engines' processes are no children of the command
            try:
                if mark.encode() in (home / "environ").read_bytes():
                    used[home.name] = cpu_seconds(int(home.name))
            except OSError:
                continue
        time.sleep(0.1)
    wall = time.perf_counter() - began
    assert process.returncode == 0, command
    return wall, sum(used.values())


def generate(path, rows):
    """Write rows in the admissions' training range; returns x (n, 3)."""
    draw = np.random.default_rng(0)
    gre, gpa, rank = draw.integers(220, 801, rows), draw.uniform(2.26, 4, rows), draw.integers(1, 5, rows)
    table = pa.table({"id": np.arange(rows), "gre": gre.astype(float), "gpa": gpa, "rank": rank})
    pa.parquet.write_table(table, path, row_group_size=250_000)
    return np.column_stack([gre, gpa, rank - 1.0])


def answers(model, x):
    """(logit, probability) of Model.score, (n,) each."""
    from passfail.loading import load

    return load(model).score(x)


def differ(out, expected):
    """The number of logits and probabilities of an output that differ in a bit."""
    found = pa.parquet.read_table(out, columns=["id", "logit", "probability"]).sort_by("id")
    pairs = zip(("logit", "probability"), expected, strict=True)
    return sum(int((found[name].to_numpy().view(np.int64) != some.view(np.int64)).sum()) for name, some in pairs)


if __name__ == "__main__":
    main()
